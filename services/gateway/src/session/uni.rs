//! A receiver: a session that gets no commands. What it wants comes with the request that opens it; the rest, its token,
//! its permissions and its recovery, is the client protocol's own. `specs/http-transports.md`, items 1 to 5.

use std::{sync::Arc, task::Context, time::Duration};

use gorani_broker::Retention;
use tokio::time::Instant;

use super::{
    Action, Actions, Incoming, Now, Outcome, Session, Signal, Ticket,
    client::{ClientSession, TransportTraits, policy::Policy},
    login_limit::LoginLimit,
    position::Positions,
};
use crate::disconnect::{Disconnect, Refused};

/// What a receiver asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// Its connection token; empty for none.
    pub token: String,
    /// Channels besides those of the token.
    pub channels: Vec<String>,
    /// How far it has come.
    pub positions: Positions,
}

/// A channel that a receiver may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readable {
    /// The channel.
    pub channel: Arc<str>,
    /// How long it keeps publications; `None`: it keeps none that this receiver may read.
    pub retention: Option<Retention>,
}

/// A receiver's session.
pub struct UniSession {
    inner: ClientSession,
    /// Taken when the transport opens.
    wish: Option<Wish>,
    /// A poll's: how long it waits.
    patience: Option<Duration>,
    /// When that is over.
    until: Option<Instant>,
}

impl UniSession {
    /// A session for a transport whose traits have a dialect for receivers.
    pub fn new(policy: Arc<Policy>, traits: TransportTraits, wish: Wish, now: Now) -> Self {
        let inner = ClientSession::new(policy, traits, now);
        Self { inner, wish: Some(wish), patience: None, until: None }
    }

    /// Limits its failed logins.
    #[must_use]
    pub fn with_login_limit(mut self, limit: Arc<dyn LoginLimit>) -> Self {
        self.inner = self.inner.with_login_limit(limit);
        self
    }

    /// The session of a poll: it ends after this time, and does not begin where a position cannot be recovered.
    #[must_use]
    pub fn for_poll(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }
}

impl Session for UniSession {
    fn opened(&mut self, now: Now, actions: &mut Actions) {
        self.until = self.patience.map(|patience| now.instant + patience);
        if let Some(wish) = self.wish.take() {
            self.inner.receive(&wish, self.patience.is_some(), now, actions);
        }
    }

    fn message(&mut self, _message: Incoming<'_>, _now: Now, actions: &mut Actions) {
        // A receiver has nothing to say; over HTTP it cannot.
        self.inner.close(Disconnect::BAD_REQUEST, actions);
    }

    fn signal(&mut self, signal: Signal, now: Now, actions: &mut Actions) {
        if matches!(signal, Signal::Timer) && self.until.is_some_and(|until| until <= now.instant) {
            self.until = None;
            return actions.push(Action::Close(Disconnect::NORMAL));
        }
        self.inner.signal(signal, now, actions);
    }

    fn outcome(&mut self, ticket: Ticket, outcome: Outcome, now: Now, actions: &mut Actions) {
        self.inner.outcome(ticket, outcome, now, actions);
    }

    fn pong(&mut self, now: Now) {
        self.inner.pong(now);
    }

    fn poll_outside(&mut self, task: &mut Context<'_>, actions: &mut Actions) {
        self.inner.poll_outside(task, actions);
    }

    fn deadline(&self) -> Option<Instant> {
        self.inner.deadline().into_iter().chain(self.until).min()
    }

    fn has_connected(&self) -> bool {
        self.inner.has_connected()
    }

    fn closed(&mut self, disconnect: &Disconnect) {
        self.inner.closed(disconnect);
    }
}

/// The channels of a receiver, and what it may read of them, without a session of its own.
///
/// # Errors
/// The token or a channel is refused.
pub fn readable(
    policy: &Arc<Policy>,
    wish: &Wish,
    limit: Arc<dyn LoginLimit>,
    now: Now,
) -> Result<Vec<Readable>, Refused> {
    let session = ClientSession::new(policy.clone(), TransportTraits::default(), now);
    session.with_login_limit(limit).readable(wish, now)
}
