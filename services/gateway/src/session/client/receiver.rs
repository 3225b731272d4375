//! A receiver: a session that gets no commands. Its channels come with the request that opens it, or with its first message, and it
//! gets objects without envelopes; its token, its permissions and its recovery are the client protocol's own. `docs/protocols/http.md` §7.

use std::{collections::HashSet, sync::Arc, time::Duration};

use gorani_protocol::client::{ConnectResult, plain};
use tokio::time::Instant;

pub use super::receive_query::{ReceiveQuery, ReceiverDetails};
use super::{
    ClientSession, OutputFormat, TransportTraits,
    state::{AdmittedClient, ClientSubscription, GrantedChannels, ProxiedCommand},
};
use crate::{
    disconnect::{Disconnect, ErrorCode, Refused},
    format::position::{self, Unrecovered},
    session::{
        Action, Actions, Incoming, Now, Session, Signal, session_methods,
        shared::{
            login_limit::LoginLimit, policy::Policy, proxied::SessionCalls, recovery::RequestedFeatures,
        },
    },
};

/// A receiver's session.
pub struct UniSession {
    inner: ClientSession,
    /// The beginning, used when the transport opens.
    begin: Option<UniStart>,
    /// Longest wait of a poll; absent for streams.
    wait: Option<Duration>,
    /// The time at which that wait is over.
    until: Option<Instant>,
}

/// The beginning of a session.
enum UniStart {
    /// Its token and channels are checked when the transport opens.
    Query(ReceiveQuery),
    /// They are checked already.
    Admitted(AdmittedReceiver),
    /// They come with its first message, a connect object.
    FirstMessage,
}

impl UniSession {
    /// A session for a transport whose traits have an output format for receivers.
    pub fn new(policy: Arc<Policy>, traits: TransportTraits, receive_query: ReceiveQuery, now: Now) -> Self {
        let inner = ClientSession::new(policy, traits, now);
        Self { inner, begin: Some(UniStart::Query(receive_query)), wait: None, until: None }
    }

    /// A session whose token and channels come with the first message. It has as long for it as a client for its connect.
    pub fn awaiting_connect(policy: Arc<Policy>, traits: TransportTraits, now: Now) -> Self {
        let inner = ClientSession::new(policy, traits, now);
        Self { inner, begin: Some(UniStart::FirstMessage), wait: None, until: None }
    }

    /// The session of a poll that was admitted already, so that one that reads and then waits has its token verified once. It ends
    /// after `wait`.
    pub(super) fn of_poll(inner: ClientSession, admitted: AdmittedReceiver, wait: Duration) -> Self {
        Self { inner, begin: Some(UniStart::Admitted(admitted)), wait: Some(wait), until: None }
    }

    /// Asks the backend as this client. `None`: where no proxy is configured.
    #[must_use]
    pub fn with_calls(mut self, calls: Option<Box<SessionCalls>>) -> Self {
        self.inner = self.inner.with_calls(calls);
        self
    }

    /// Limits its failed logins.
    #[must_use]
    pub fn with_login_limit(mut self, limit: Arc<dyn LoginLimit>) -> Self {
        self.inner = self.inner.with_login_limit(limit);
        self
    }
}

impl Session for UniSession {
    session_methods!(to inner: outcome pong poll_outside is_blocked has_connected has_more resume input_bytes principal ending has_left failed closed);

    fn opened(&mut self, now: Now, actions: &mut Actions) {
        self.until = self.wait.map(|wait| now.instant + wait);
        let admitted = match self.begin.take() {
            Some(UniStart::Query(receive_query)) => {
                return self.inner.open_receiver(receive_query, now, actions);
            }
            Some(UniStart::Admitted(admitted)) => admitted,
            begin @ (Some(UniStart::FirstMessage) | None) => {
                self.begin = begin;
                return;
            }
        };
        self.inner.identify(&admitted.client.meta, actions);
        self.inner.receive(admitted, now, actions);
    }

    fn message(&mut self, message: Incoming<'_>, now: Now, actions: &mut Actions) {
        let asked = match (self.begin.take(), message) {
            (Some(UniStart::FirstMessage), Incoming::Text(text)) => ReceiveQuery::read(text),
            (Some(UniStart::FirstMessage), _) => Err(Disconnect::INAPPROPRIATE_PROTOCOL),
            // A receiver has nothing more to say; over HTTP it cannot.
            _ => Err(Disconnect::BAD_REQUEST),
        };
        match asked {
            Ok(receive_query) => self.inner.open_receiver(receive_query, now, actions),
            Err(disconnect) => self.inner.close(disconnect, actions),
        }
    }

    fn signal(&mut self, signal: Signal, now: Now, actions: &mut Actions) {
        if matches!(signal, Signal::Timer) && self.until.is_some_and(|until| until <= now.instant) {
            self.until = None;
            return actions.push(Action::Close(Disconnect::NORMAL));
        }
        self.inner.signal(signal, now, actions);
    }

    fn deadline(&self) -> Option<Instant> {
        self.inner.deadline().into_iter().chain(self.until).min()
    }
}

/// Checks that a receiver would be admitted, without a session of its own. The backend is not asked: a client or a channel that it
/// is to decide on passes.
///
/// # Errors
/// The token or a channel is refused.
pub fn check(
    policy: Arc<Policy>,
    receive_query: &ReceiveQuery,
    limit: Arc<dyn LoginLimit>,
    now: Now,
) -> Result<(), Refused> {
    if policy.connect_proxy(&receive_query.token).is_some() {
        return Ok(());
    }
    let mut receive_query = receive_query.clone();
    receive_query.channels.retain(|channel| policy.subscribe_proxy(channel).is_none());
    let session = ClientSession::new(policy, TransportTraits::default(), now);
    let mut session = session.with_login_limit(limit);
    let admitted = session.admit(&receive_query.token, now)?;
    session.admit_receiver(admitted, &receive_query, GrantedChannels::new(), false, now).map(drop)
}

/// A receiver that is admitted: its subscriptions with their positions, and the expiry of its token.
pub(super) struct AdmittedReceiver {
    pub(super) client: AdmittedClient,
    is_poll: bool,
}

impl ClientSession {
    /// Begins a receiver, or asks the backend about it.
    fn open_receiver(&mut self, receive_query: ReceiveQuery, now: Now, actions: &mut Actions) {
        if let Some(calls) = &mut self.calls
            && let Err(disconnect) = calls.session.emulate(&self.policy, receive_query.details.headers())
        {
            return self.close(disconnect, actions);
        }
        match self.policy.connect_proxy(&receive_query.token) {
            Some(proxy) => {
                let request = receive_query.connect_request();
                let command = ProxiedCommand::Receiver(Box::new(receive_query));
                self.ask_about_connect(proxy, request, command, actions);
            }
            None => {
                let admitted = self.admit(&receive_query.token, now);
                self.begin_receiver(admitted, receive_query, now, actions);
            }
        }
    }

    /// Begins a receiver that is admitted, with the channels that a backend granted and those that the rules open to it.
    pub(super) fn begin_with_channels(
        &mut self,
        client: AdmittedClient,
        receive_query: &ReceiveQuery,
        granted: GrantedChannels,
        now: Now,
        actions: &mut Actions,
    ) {
        match self.admit_receiver(client, receive_query, granted, false, now) {
            Ok(admitted) => self.receive(admitted, now, actions),
            Err(refused) => self.refuse_connect(0, refused, actions),
        }
    }

    /// Adds what a receiver asks for. A poll may read the history of its channels, and wants all that it missed or nothing.
    ///
    /// # Errors
    /// A channel is refused.
    pub(super) fn admit_receiver(
        &self,
        mut client: AdmittedClient,
        receive_query: &ReceiveQuery,
        granted: GrantedChannels,
        is_poll: bool,
        now: Now,
    ) -> Result<AdmittedReceiver, Refused> {
        self.add_requested(receive_query, granted, &mut client.subscriptions, now)?;
        for subscription in &mut client.subscriptions {
            if is_poll {
                // Else every poll that waits would be a join and a leave for the whole channel.
                subscription.hide();
            }
            match receive_query.positions.get(&subscription.channel) {
                Some(position) => subscription.recover_from(position.clone()),
                None if receive_query.is_unreadable => {
                    subscription.unrecovered = Some(Unrecovered::BadPosition)
                }
                None => {}
            }
        }
        Ok(AdmittedReceiver { client, is_poll })
    }

    /// Begins what was admitted.
    fn receive(&mut self, admitted: AdmittedReceiver, now: Now, actions: &mut Actions) {
        let AdmittedReceiver { client, is_poll } = admitted;
        self.begin_connect(0, client, is_poll, now, actions);
    }

    /// Adds the channels that a receiver asks for by name, as far as its user may have them. `granted`: by a backend.
    fn add_requested(
        &self,
        receive_query: &ReceiveQuery,
        mut granted: GrantedChannels,
        subscriptions: &mut Vec<ClientSubscription>,
        now: Now,
    ) -> Result<(), Refused> {
        let settings = &self.policy.settings;
        let mut known: HashSet<Arc<str>> =
            subscriptions.iter().map(|subscription| subscription.channel.clone()).collect();
        for channel in &receive_query.channels {
            if known.contains(channel.as_str()) {
                continue;
            }
            if subscriptions.len() >= settings.max_subscriptions {
                return Err(ErrorCode::LIMIT_EXCEEDED.into());
            }
            // Like a subscription that the server makes: the receiver cannot subscribe again, only come again.
            let subscription = match granted.remove(channel.as_str()) {
                Some(subscription) => subscription,
                None => self.subscription_by_name(channel, RequestedFeatures::ALL, now)?,
            };
            known.insert(subscription.channel.clone());
            subscriptions.push(subscription);
        }
        Ok(())
    }

    /// The first object of a receiver, with the position from which it begins.
    pub(super) fn write_connected(&self, result: &ConnectResult<'_>, actions: &mut Actions) {
        actions.line(|out| {
            if self.traits.format == OutputFormat::WithPositions {
                let begins = result.subs.iter().filter(|(_, subscribed)| !subscribed.epoch.is_empty());
                for (index, (channel, subscribed)) in begins.enumerate() {
                    if index > 0 {
                        out.extend_from_slice(b".");
                    }
                    position::write(channel, subscribed.offset, subscribed.epoch, out);
                }
                out.extend_from_slice(b"\n");
            }
            plain::connect(result, out);
        });
    }
}
