//! SockJS's frames over one WebSocket: a session inside another one, which takes batches apart. Its output is framed by
//! the hub's encoder. `docs/protocols/sockjs.md` §5.1.

use std::{borrow::Cow, collections::VecDeque};

use gorani_protocol::sockjs::{BatchError, BatchLimits, batch};

use crate::{
    disconnect::Disconnect,
    session::{Actions, Incoming, Now, Outcome, Session, Signal, Ticket, session_methods},
};

/// WebSocket: a kind of message that is not accepted.
const NOT_ACCEPTABLE: u16 = 1003;
/// WebSocket: the message is too large.
const TOO_BIG: u16 = 1009;

/// A session that gets its messages in batches.
pub struct FramedSession {
    session: Box<dyn Session>,
    limits: BatchLimits,
    /// Messages of a batch that the session could not take yet: until it has, nothing more is read.
    waiting: VecDeque<String>,
    /// Their bytes.
    waiting_bytes: usize,
    /// Messages that may still be handed on in this step.
    left: usize,
}

/// Messages of a batch that are handed on before the transport looks at the clock.
const MESSAGES_PER_STEP: usize = 16;

impl FramedSession {
    /// The session inside.
    pub fn new(session: Box<dyn Session>, limits: BatchLimits) -> Self {
        Self { session, limits, waiting: VecDeque::new(), waiting_bytes: 0, left: 0 }
    }

    /// Hands on what waits, as far as the session can take it in this step.
    fn hand_on(&mut self, now: Now, actions: &mut Actions) {
        while self.left > 0
            && !self.session.is_blocked()
            && !self.session.has_more()
            && !actions.is_closing()
            && let Some(message) = self.waiting.pop_front()
        {
            self.left -= 1;
            self.waiting_bytes -= size_of_message(&message);
            self.session.message(Incoming::Text(&message), now, actions);
        }
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
    }
}

/// Bytes that a message holds while it waits, near enough.
fn size_of_message(message: &str) -> usize {
    message.len() + size_of::<String>()
}

impl Session for FramedSession {
    session_methods!(to session: opened pong poll_outside deadline has_connected principal has_left failed closed);

    fn message(&mut self, message: Incoming<'_>, now: Now, actions: &mut Actions) {
        let Incoming::Text(text) = message else {
            return actions.close(Disconnect::new(NOT_ACCEPTABLE, "binary is not accepted here"));
        };
        match batch::decode(text.as_bytes(), self.limits) {
            Ok(messages) => {
                self.left = MESSAGES_PER_STEP;
                self.waiting.extend(messages.into_iter().map(Cow::into_owned));
                self.waiting_bytes = self.waiting.iter().map(|message| size_of_message(message)).sum();
                self.hand_on(now, actions);
            }
            Err(BatchError::Empty) => {}
            Err(BatchError::Broken) => {
                // Without a close message: nothing may follow what is broken.
                actions.close(Disconnect::ABNORMAL);
            }
            Err(error @ (BatchError::TooMany | BatchError::TooLarge)) => {
                actions.close(Disconnect::new(TOO_BIG, error.to_string()));
            }
        }
    }

    fn signal(&mut self, signal: Signal, now: Now, actions: &mut Actions) {
        self.session.signal(signal, now, actions);
        self.hand_on(now, actions);
    }

    fn outcome(&mut self, ticket: Ticket, outcome: Outcome, now: Now, actions: &mut Actions) {
        self.session.outcome(ticket, outcome, now, actions);
        self.hand_on(now, actions);
    }

    fn is_blocked(&self) -> bool {
        !self.waiting.is_empty() || self.session.is_blocked()
    }

    fn has_more(&self) -> bool {
        self.session.has_more() || (self.left == 0 && !self.waiting.is_empty() && !self.session.is_blocked())
    }

    fn resume(&mut self, now: Now, actions: &mut Actions) {
        if self.session.has_more() {
            self.session.resume(now, actions);
        }
        self.left = MESSAGES_PER_STEP;
        self.hand_on(now, actions);
    }

    fn input_bytes(&self) -> usize {
        self.waiting_bytes + self.session.input_bytes()
    }

    fn ending(&mut self) {
        self.waiting = VecDeque::new();
        self.waiting_bytes = 0;
        self.session.ending();
    }
}
