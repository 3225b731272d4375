//! A poll before it is a session: the backend may be asked about its connect and about its channels. A poll that finds something to
//! read never becomes a session. `docs/protocols/http.md` §7; `docs/protocols/proxy.md`.

use std::{sync::Arc, time::Duration};

use gorani_broker::{Position, Retention};

use super::{
    ClientSession, TransportTraits,
    asked_channels::CALLS_AT_A_TIME,
    receiver::{AdmittedReceiver, ReceiveQuery, UniSession},
    state::{AdmittedClient, ClientSubscription, GrantedChannels},
};
use crate::{
    disconnect::Refused,
    format::position::Unrecovered,
    proxy_call::{ProxyCall, ProxyOutcome, ProxyRequest},
    session::{
        Now,
        shared::{
            login_limit::LoginLimit,
            policy::{ClientIdentity, Policy},
            proxied::SessionCalls,
            recovery::retention,
        },
    },
};

/// Calls about the channels of one poll at a time.
pub const POLL_CALLS_AT_A_TIME: usize = CALLS_AT_A_TIME;

/// A channel of a poll, with what it may read of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PollableChannel {
    /// The channel.
    pub channel: Arc<str>,
    /// The retention of its publications, or the reason why this receiver reads none.
    pub retention: Result<Retention, NotPollable>,
    /// The positions that the receiver has reached; `None`: it did not say, or not so that it helps.
    pub since: Option<Position>,
    /// The position that it named is of no use already.
    pub unrecovered: Option<Unrecovered>,
}

/// The reason why a channel cannot be polled. The reasons are stable: clients get them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotPollable {
    /// It keeps no history (`history_size`, `history_ttl`).
    NoHistory,
    /// It keeps some for reading only (`allow_recovery = false`).
    NotAllowed,
}

impl NotPollable {
    /// The reason's name for clients.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NoHistory => "no_history",
            Self::NotAllowed => Unrecovered::NotAllowed.reason(),
        }
    }
}

/// The calls of a poll, and the backend's answer to its connect, which comes before there is a session.
#[derive(Default)]
pub struct AskedPoll {
    /// Its calls, where some proxy is configured.
    calls: Option<Box<SessionCalls>>,
    /// The answer, where the connect proxy decides.
    pub answer: Option<ProxyOutcome>,
}

impl AskedPoll {
    /// A poll with these calls, whose answer is still to come.
    pub fn new(calls: Option<Box<SessionCalls>>) -> Self {
        Self { calls, answer: None }
    }

    /// The call that asks the backend about it. `None`: its token decides, or there is no connect proxy.
    ///
    /// # Errors
    /// Its headers are refused.
    pub fn ask(
        &mut self,
        policy: &Policy,
        receive_query: &ReceiveQuery,
    ) -> Result<Option<Box<ProxyCall>>, Refused> {
        let Some(calls) = &mut self.calls else { return Ok(None) };
        calls.emulate(policy, receive_query.details.headers()).map_err(Refused::Disconnect)?;
        let Some(proxy) = policy.connect_proxy(&receive_query.token) else { return Ok(None) };
        calls.identify(&ClientIdentity::unknown(policy.new_client_id()));
        Ok(Some(calls.ask(proxy, receive_query.connect_request())))
    }

    /// The poll's client, as its token or the backend says who it is.
    ///
    /// # Errors
    /// The token or the backend refuses it.
    pub fn admit(
        self,
        policy: Arc<Policy>,
        traits: TransportTraits,
        receive_query: ReceiveQuery,
        limit: Arc<dyn LoginLimit>,
        now: Now,
    ) -> Result<AdmittedPoll, Refused> {
        let Self { calls, answer } = self;
        let mut session = ClientSession::new(policy, traits, now).with_login_limit(limit).with_calls(calls);
        let client = match answer {
            Some(answer) => session.admit_by_backend(answer, now)?,
            None => session.admit(&receive_query.token, now)?,
        };
        if let Some(calls) = &mut session.calls {
            calls.session.identify(&session.identity);
        }
        Ok(AdmittedPoll { session, client, receive_query, granted: GrantedChannels::new() })
    }
}

/// A poll whose client is known. A backend may still have to decide on its channels.
pub struct AdmittedPoll {
    session: ClientSession,
    client: AdmittedClient,
    receive_query: ReceiveQuery,
    granted: GrantedChannels,
}

/// A channel, and the call that asks the backend about it.
pub type ChannelCall = (Arc<str>, Box<ProxyCall>);

impl AdmittedPoll {
    /// The user and the client id.
    pub fn identity(&self) -> (&str, &Arc<str>) {
        (&self.session.identity.user, &self.session.identity.client)
    }

    /// The calls that ask the backend about channels.
    ///
    /// # Errors
    /// The poll names too many, or one that is none.
    pub fn ask_about_channels(&mut self) -> Result<Vec<ChannelCall>, Refused> {
        let asked = self.session.policy.channels_to_ask_about(&self.receive_query, &self.client)?;
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let calls = self.session.calls.get_or_insert_default();
        let calls = asked.into_iter().map(|(proxy, channel)| {
            let request =
                ProxyRequest::Subscribe { channel: channel.clone(), token: String::new(), data: None };
            let call = calls.session.ask(proxy, request);
            (channel, call)
        });
        Ok(calls.collect())
    }

    /// The backend has decided on a channel.
    ///
    /// # Errors
    /// It refuses the channel, or could not be asked.
    pub fn answered(&mut self, channel: Arc<str>, outcome: ProxyOutcome, now: Now) -> Result<(), Refused> {
        let subscription = self.session.granted_to_receiver(&channel, outcome, now)?;
        self.granted.insert(channel, subscription);
        Ok(())
    }

    /// The session of the poll, and its channels with what it may read. It ends after `wait`, and does not begin where a position
    /// cannot be recovered.
    ///
    /// # Errors
    /// A channel is refused.
    pub fn begin(self, wait: Duration, now: Now) -> Result<(UniSession, Vec<PollableChannel>), Refused> {
        let Self { session, client, receive_query, granted } = self;
        let admitted = session.admit_receiver(client, &receive_query, granted, true, now)?;
        let readable = session.readable(&admitted);
        Ok((UniSession::of_poll(session, admitted, wait), readable))
    }
}

impl ClientSession {
    /// The channels of a poll, and what the receiver may read of them.
    fn readable(&self, admitted: &AdmittedReceiver) -> Vec<PollableChannel> {
        let readable = |subscription: &ClientSubscription| {
            let options = &subscription.options;
            let retention = if !options.has_history() {
                Err(NotPollable::NoHistory)
            } else if subscription.recoverable {
                Ok(retention(options))
            } else {
                Err(NotPollable::NotAllowed)
            };
            PollableChannel {
                channel: subscription.channel.clone(),
                retention,
                since: subscription.recover.clone(),
                unrecovered: subscription.unrecovered,
            }
        };
        admitted.client.subscriptions.iter().map(readable).collect()
    }
}
