//! One request to a server: its bounds, its position in the queue, its error without an answer. `docs/architecture.md` §6
//! (everything is bounded), [`crate::Broker`] (Order, Blocking).
//!
//! - `pending`: how many have no answer.

mod pending;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use redis::{Cmd, Value};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

pub(super) use self::pending::PendingCounter;
use self::pending::{Charge, MAX_REQUESTS};
use super::{settings::RedisSettings, shards::slots::RedirectTicket};
use crate::BrokerError;

/// Memory of a request beside its command.
const REQUEST_BYTES: usize = 256;

/// States of a request. The one that changes `WAITING` decides its outcome.
const WAITING: u8 = 0;
const SENT: u8 = 1;
const GIVEN_UP: u8 = 2;

/// A server's answer; its errors are [`BrokerError`]s.
pub(super) type Reply = Result<Value, BrokerError>;

/// The limits that all requests of a broker share.
#[derive(Debug)]
pub(super) struct RequestLimits {
    pending: Arc<PendingCounter>,
    max_pending: usize,
    max_pending_bytes: usize,
    timeout: Duration,
}

/// A request until it is answered; dropped without an answer, its caller learns that there is none.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) command: Cmd,
    /// Its ticket among the requests of its slot, in a cluster.
    pub(super) redirect: Option<RedirectTicket>,
    /// The life of the server is added as the last argument when it is sent.
    needs_life: bool,
    state: Arc<AtomicU8>,
    deadline: Instant,
    reply: oneshot::Sender<Reply>,
    /// Its part of the limits.
    charge: Charge,
    /// Its part of the numbers of the server that has it; none while it waits for one.
    at_server: Option<Charge>,
}

/// The caller's end of a request.
#[derive(Debug)]
pub(super) struct Caller {
    answer: oneshot::Receiver<Reply>,
    state: Arc<AtomicU8>,
    deadline: Instant,
}

impl RequestLimits {
    pub(super) fn new(settings: &RedisSettings) -> Self {
        Self {
            pending: Arc::default(),
            max_pending: settings.max_pending.min(MAX_REQUESTS),
            max_pending_bytes: settings.max_pending_bytes,
            timeout: settings.request_timeout,
        }
    }

    /// Requests at most, so that a queue of this length never overflows.
    pub(super) fn max_pending(&self) -> usize {
        self.max_pending
    }

    /// Requests without an answer now, and their bytes.
    pub(super) fn pending(&self) -> (usize, usize) {
        self.pending.read()
    }

    /// A request for this command, if there is room for it.
    pub(super) fn admit(&self, command: Cmd, needs_life: bool) -> Result<(Request, Caller), BrokerError> {
        let bytes = command.args_iter().map(argument_bytes).sum::<usize>() + REQUEST_BYTES;
        let (charge, (requests, before)) = self.pending.charge(bytes);
        let is_full = before > 0 && before.saturating_add(bytes) > self.max_pending_bytes;
        if is_full || requests >= self.max_pending {
            return Err(BrokerError::Limit("requests waiting for Redis"));
        }
        let (reply, answer) = oneshot::channel();
        let state = Arc::new(AtomicU8::new(WAITING));
        let deadline = Instant::now() + self.timeout;
        let caller = Caller { answer, state: Arc::clone(&state), deadline };
        let request =
            Request { command, redirect: None, needs_life, state, deadline, reply, charge, at_server: None };
        Ok((request, caller))
    }
}

fn argument_bytes(argument: redis::Arg<&[u8]>) -> usize {
    simple(argument).map_or(0, <[u8]>::len)
}

fn simple(argument: redis::Arg<&[u8]>) -> Option<&[u8]> {
    match argument {
        redis::Arg::Simple(bytes) => Some(bytes),
        _ => None,
    }
}

impl Request {
    pub(super) fn is_late(&self, now: Instant) -> bool {
        self.deadline <= now
    }

    /// The command as it is sent to a server of this life.
    pub(super) fn command_for(&mut self, life: &str) -> Cmd {
        let mut command = std::mem::take(&mut self.command);
        if self.needs_life {
            command.arg(life);
        }
        command
    }

    /// It is to be sent to another server than the one that got `sent`.
    pub(super) fn restore(&mut self, sent: &Cmd) {
        let arguments: Vec<&[u8]> = sent.args_iter().filter_map(simple).collect();
        let kept = arguments.len() - usize::from(self.needs_life && !arguments.is_empty());
        let mut command = Cmd::new();
        command.arg(arguments.get(..kept));
        self.command = command;
    }

    /// It is about to be sent. False if its caller has given up: then it must not be.
    pub(super) fn begin(&self) -> bool {
        self.state.compare_exchange(WAITING, SENT, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// A server has it now, and counts it.
    pub(super) fn count_at(&mut self, server: &Arc<PendingCounter>) {
        self.at_server = Some(server.charge_as(&self.charge));
    }

    /// It was sent and certainly not carried out: it waits again, for a server.
    pub(super) fn take_back(&mut self) {
        self.at_server = None;
        self.state.store(WAITING, Ordering::Release);
    }

    pub(super) fn answer(self, answer: Reply) {
        let _ = self.reply.send(answer);
    }

    /// It gets no answer. If it still waits, it will not be sent.
    pub(super) fn fail(self, reason: &str) {
        let error = lost_outcome(&self.state, reason);
        let _ = self.reply.send(Err(error));
    }
}

impl Caller {
    /// The answer; by the deadline, at the latest, an error.
    pub(super) async fn wait(self) -> Reply {
        match timeout_at(self.deadline, self.answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(lost_outcome(&self.state, "the connection was lost")),
            Err(_) => Err(lost_outcome(&self.state, "time is over")),
        }
    }
}

/// The error of a request that got no answer; if it still waits, it will not be sent.
fn lost_outcome(state: &AtomicU8, reason: &str) -> BrokerError {
    if state.compare_exchange(WAITING, GIVEN_UP, Ordering::AcqRel, Ordering::Acquire).is_ok() {
        BrokerError::Unavailable(reason.to_owned())
    } else {
        BrokerError::UnknownOutcome(reason.to_owned())
    }
}
