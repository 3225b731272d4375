//! The beginning of a poll: the backend is asked about its connect and its channels, where proxies decide on them. It has no session
//! meanwhile, so what a backend does to its user in that time is remembered for it. `docs/protocols/proxy.md`.

use std::{rc::Rc, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};

use crate::{
    disconnect::{Disconnect, ErrorCode, Refused},
    http::request_context::RequestContext,
    hub::{registry::SessionKey, worker::Worker},
    metrics::TransportLabel,
    proxy_call::{ProxyCall, ProxyOutcome},
    session::{
        Now, Signal,
        client::{
            TransportTraits,
            asked_poll::{AskedPoll, POLL_CALLS_AT_A_TIME, PollableChannel},
            receiver::{ReceiveQuery, UniSession},
        },
        shared::login_limit::LoginLimit,
    },
    session_command::{
        SessionCommand,
        pending_connects::{AskedConnect, MissedCommands},
    },
};

/// A poll that is to begin.
pub(in crate::receive) struct NewPoll {
    pub(in crate::receive) transport: &'static TransportLabel,
    pub(in crate::receive) traits: TransportTraits,
    pub(in crate::receive) receive_query: ReceiveQuery,
    pub(in crate::receive) limit: Arc<dyn LoginLimit>,
    pub(in crate::receive) wait: Duration,
}

/// A poll that may read or wait.
pub(in crate::receive) struct BegunPoll {
    pub(in crate::receive) session: UniSession,
    pub(in crate::receive) channels: Vec<PollableChannel>,
    /// Kept until the session has its user, or the poll has read.
    pub(in crate::receive) pending: PendingPoll,
}

impl NewPoll {
    /// Asks the backend what it decides on.
    ///
    /// # Errors
    /// The token, the backend or the rules refuse it, or the backend ended it meanwhile.
    pub(in crate::receive) async fn begin(self, context: &RequestContext<'_>) -> Result<BegunPoll, Refused> {
        let Self { transport, traits, receive_query, limit, wait } = self;
        let (worker, policy) = (&context.local.worker, context.local.node.policy.get());
        let mut pending = PendingPoll { worker: worker.clone(), client: None };
        let mut asked = AskedPoll::new(context.calls(transport, "json"));
        if let Some(call) = asked.ask(&policy, &receive_query)? {
            pending.begin(&call.caller.client);
            asked.answer = Some(worker.proxies.clone().call(*call).await);
        }
        let mut admitted = asked.admit(policy, traits, receive_query, limit, Now::read())?;
        let calls = admitted.ask_about_channels()?;
        if !calls.is_empty() {
            pending.begin(admitted.identity().1);
            let mut answers =
                stream::iter(calls).map(|call| answered(worker, call)).buffer_unordered(POLL_CALLS_AT_A_TIME);
            while let Some((channel, outcome)) = answers.next().await {
                admitted.answered(channel, outcome, Now::read())?;
            }
        }
        let (user, client) = admitted.identity();
        let missed = pending.missed(user, client);
        let (session, channels) = admitted.begin(wait, Now::read())?;
        refuse_if_ended(missed, &channels)?;
        Ok(BegunPoll { session, channels, pending })
    }
}

async fn answered(worker: &Worker, (channel, call): (Arc<str>, Box<ProxyCall>)) -> (Arc<str>, ProxyOutcome) {
    let outcome = worker.proxies.clone().call(*call).await;
    (channel, outcome)
}

/// Refuses a poll that a backend ended while it was asked about it.
fn refuse_if_ended(missed: MissedCommands, channels: &[PollableChannel]) -> Result<(), Refused> {
    for signal in Signal::of_missed(missed) {
        if let Some(disconnect) = signal.disconnect() {
            return Err(Refused::Disconnect(disconnect.clone()));
        }
        let Signal::Command(command) = signal else { continue };
        match &*command {
            SessionCommand::Unsubscribe { channel, .. }
                if channels.iter().any(|known| *known.channel == **channel) =>
            {
                return Err(ErrorCode::PERMISSION_DENIED.into());
            }
            SessionCommand::Refresh { expired: true, .. } => {
                return Err(Refused::Disconnect(Disconnect::EXPIRED));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Has the worker remember what backends do while a poll is asked about, until it is dropped.
pub(in crate::receive) struct PendingPoll {
    worker: Rc<Worker>,
    /// The client id, once the backend is asked.
    client: Option<Arc<str>>,
}

impl PendingPoll {
    fn begin(&mut self, client: &Arc<str>) {
        if self.client.is_none() {
            self.worker.hub_mut().registry_mut().pending_connects.begin_poll(client.clone());
            self.client = Some(client.clone());
        }
    }

    fn missed(&self, user: &str, client: &str) -> MissedCommands {
        let Some(name) = self.name() else { return MissedCommands::default() };
        self.worker.hub().registry().pending_connects.missed(&name, user, client)
    }

    fn name(&self) -> Option<AskedConnect<SessionKey>> {
        self.client.clone().map(AskedConnect::Poll)
    }
}

impl Drop for PendingPoll {
    fn drop(&mut self) {
        if let Some(name) = self.name() {
            self.worker.hub_mut().registry_mut().pending_connects.forget(&name);
        }
    }
}
