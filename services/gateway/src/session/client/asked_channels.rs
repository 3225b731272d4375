//! Channels that a receiver names and a subscribe proxy decides on: the backend is asked about each before the receiver begins.
//! `docs/protocols/proxy.md`.

use std::{collections::HashSet, sync::Arc};

use super::{
    ClientSession,
    receiver::ReceiveQuery,
    state::{
        AdmittedClient, AskedChannels, ClientState, ClientSubscription, GrantedChannels, ProxiedCommand,
    },
};
use crate::{
    disconnect::{ErrorCode, Refused},
    proxy_call::{ProxyId, ProxyOutcome, ProxyRequest, ProxyResult},
    session::{
        Actions, Now,
        shared::{policy::Policy, proxied::decided, recovery::RequestedFeatures},
    },
    session_command::SessionCommand,
};

/// Calls of one receiver at a time. As many may wait at a proxy; of more some would be refused.
pub(super) const CALLS_AT_A_TIME: usize = 8;

impl AskedChannels {
    /// A backend has something done to the client, who has none of it yet.
    pub(super) fn apply(&mut self, command: &SessionCommand) {
        match command {
            SessionCommand::Unsubscribe { channel, .. } => {
                self.receive_query.channels.retain(|known| known != channel);
                self.client.subscriptions.retain(|known| *known.channel != **channel);
                self.left.retain(|(_, known)| **known != **channel);
                self.granted.remove(channel.as_str());
            }
            SessionCommand::Refresh { expire_at, .. } => self.client.expires_at = *expire_at,
            SessionCommand::Disconnect { .. } | SessionCommand::Subscribe { .. } => {}
        }
    }
}

impl Policy {
    /// The channels that a receiver names, has not got yet, and a backend decides on.
    ///
    /// # Errors
    /// There are too many, or one is none.
    pub(super) fn channels_to_ask_about(
        &self,
        receive_query: &ReceiveQuery,
        client: &AdmittedClient,
    ) -> Result<Vec<(ProxyId, Arc<str>)>, Refused> {
        if self.proxies.is_empty() {
            return Ok(Vec::new());
        }
        let known = client.subscriptions.iter().map(|known| &*known.channel);
        let mut known: HashSet<&str> = known.collect();
        let mut asked = Vec::new();
        for channel in &receive_query.channels {
            if known.insert(channel)
                && let Some(proxy) = self.subscribe_proxy(channel)
            {
                self.channel_options(channel)?;
                asked.push((proxy, channel.as_str().into()));
            }
        }
        if known.len() > self.settings.max_subscriptions {
            return Err(ErrorCode::LIMIT_EXCEEDED.into());
        }
        Ok(asked)
    }
}

impl ClientSession {
    /// Begins a receiver that is admitted, once the backend has decided on the channels that it names.
    pub(super) fn begin_receiver(
        &mut self,
        admitted: Result<AdmittedClient, Refused>,
        receive_query: ReceiveQuery,
        now: Now,
        actions: &mut Actions,
    ) {
        let asked = admitted.and_then(|client| {
            let left = self.policy.channels_to_ask_about(&receive_query, &client)?;
            Ok((client, left))
        });
        let (client, left) = match asked {
            Ok(asked) => asked,
            Err(refused) => return self.refuse_connect(0, refused, actions),
        };
        self.identify(&client.meta, actions);
        if left.is_empty() {
            return self.begin_with_channels(client, &receive_query, GrantedChannels::new(), now, actions);
        }
        self.state = ClientState::Asked;
        self.calls.get_or_insert_default().channels = Some(Box::new(AskedChannels {
            receive_query,
            client,
            left: left.into(),
            under_way: 0,
            granted: GrantedChannels::new(),
        }));
        self.ask_about_channels(now, actions);
    }

    /// Asks about the next channels, or begins where the backend has decided on all.
    fn ask_about_channels(&mut self, now: Now, actions: &mut Actions) {
        while let Some(asked) = self.calls.as_mut().and_then(|calls| calls.channels.as_mut())
            && asked.under_way < CALLS_AT_A_TIME
            && let Some((proxy, channel)) = asked.left.pop_front()
        {
            asked.under_way += 1;
            let request =
                ProxyRequest::Subscribe { channel: channel.clone(), token: String::new(), data: None };
            self.ask(proxy, request, ProxiedCommand::ReceiverChannel { channel }, actions);
        }
        let finished = self
            .calls
            .as_mut()
            .and_then(|calls| calls.channels.take_if(|asked| asked.under_way == 0 && asked.left.is_empty()));
        if let Some(asked) = finished {
            self.state = ClientState::New;
            let AskedChannels { receive_query, client, granted, .. } = *asked;
            self.begin_with_channels(client, &receive_query, granted, now, actions);
        }
    }

    /// The backend has decided on a channel of a receiver, or has not.
    pub(super) fn on_receiver_channel_answer(
        &mut self,
        channel: Arc<str>,
        outcome: ProxyOutcome,
        now: Now,
        actions: &mut Actions,
    ) {
        let Some(asked) = self.calls.as_mut().and_then(|calls| calls.channels.as_mut()) else {
            return self.drop_stale_answer();
        };
        asked.under_way -= 1;
        if !asked.receive_query.channels.iter().any(|known| **known == *channel) {
            // The server ended it meanwhile.
            self.drop_stale_answer();
            return self.ask_about_channels(now, actions);
        }
        match self.granted_to_receiver(&channel, outcome, now) {
            Ok(subscription) => {
                if let Some(asked) = self.calls.as_mut().and_then(|calls| calls.channels.as_mut()) {
                    asked.granted.insert(channel, subscription);
                }
                self.ask_about_channels(now, actions);
            }
            Err(refused) => {
                if let Some(calls) = &mut self.calls {
                    calls.channels = None;
                }
                self.refuse_connect(0, refused, actions);
            }
        }
    }

    /// The subscription of a receiver to a channel, as the backend grants it.
    ///
    /// # Errors
    /// The backend refuses it, or could not be asked.
    pub(super) fn granted_to_receiver(
        &self,
        channel: &str,
        outcome: ProxyOutcome,
        now: Now,
    ) -> Result<ClientSubscription, Refused> {
        let ProxyResult::Subscribe(grant) = decided(outcome)? else {
            return Err(ErrorCode::INTERNAL.into());
        };
        self.subscription_of_server(channel, &grant, RequestedFeatures::ALL, now)
    }
}
