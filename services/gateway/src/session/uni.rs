//! A receiver: a session that gets no commands. Its channels come with the request that opens it; the rest, its token,
//! its permissions and its recovery, is the client protocol's own. `docs/protocols/http.md` §7.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Action, Actions, Incoming, Now, Session, Signal,
    client::{ClientSession, TransportTraits, receive::AdmittedReceiver},
    receiver::{PollableChannel, ReceiveQuery},
    shared::{delegate::session_methods, login_limit::LoginLimit, policy::Policy},
};
use crate::disconnect::{Disconnect, Refused};

/// A receiver's session.
pub struct UniSession {
    inner: ClientSession,
    /// The beginning, used when the transport opens.
    begin: Option<UniStart>,
    /// Longest wait of a poll; absent for streams.
    timeout: Option<Duration>,
    /// The time at which that wait is over.
    until: Option<Instant>,
}

/// The beginning of a session.
enum UniStart {
    /// Its token and channels are checked when the transport opens.
    Query(ReceiveQuery),
    /// They are checked already.
    Admitted(AdmittedReceiver),
}

impl UniSession {
    /// A session for a transport whose traits have an output format for receivers.
    pub fn new(policy: Arc<Policy>, traits: TransportTraits, receive_query: ReceiveQuery, now: Now) -> Self {
        let inner = ClientSession::new(policy, traits, now);
        Self { inner, begin: Some(UniStart::Query(receive_query)), timeout: None, until: None }
    }

    /// The session of a poll, and its channels with what it may read. It was admitted already, so a poll that reads and then
    /// waits has its token verified once. It ends after `patience`, and does not begin where a position cannot be recovered.
    ///
    /// # Errors
    /// The token or a channel is refused.
    pub fn poll(
        policy: Arc<Policy>,
        traits: TransportTraits,
        receive_query: &ReceiveQuery,
        limit: Arc<dyn LoginLimit>,
        patience: Duration,
        now: Now,
    ) -> Result<(Self, Vec<PollableChannel>), Refused> {
        let mut inner = ClientSession::new(policy, traits, now).with_login_limit(limit);
        let admitted = inner.admit_receiver(receive_query, true, now)?;
        let readable = inner.readable(&admitted);
        let begin = Some(UniStart::Admitted(admitted));
        Ok((Self { inner, begin, timeout: Some(patience), until: None }, readable))
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
        self.until = self.timeout.map(|patience| now.instant + patience);
        let admitted = match self.begin.take() {
            Some(UniStart::Query(receive_query)) => self.inner.admit_receiver(&receive_query, false, now),
            Some(UniStart::Admitted(admitted)) => Ok(admitted),
            None => return,
        };
        self.inner.receive(admitted, now, actions);
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

    fn deadline(&self) -> Option<Instant> {
        self.inner.deadline().into_iter().chain(self.until).min()
    }
}

/// Checks that a receiver would be admitted, without a session of its own.
///
/// # Errors
/// The token or a channel is refused.
pub fn check(
    policy: Arc<Policy>,
    receive_query: &ReceiveQuery,
    limit: Arc<dyn LoginLimit>,
    now: Now,
) -> Result<(), Refused> {
    let session = ClientSession::new(policy, TransportTraits::default(), now);
    session.with_login_limit(limit).admit_receiver(receive_query, false, now).map(drop)
}
