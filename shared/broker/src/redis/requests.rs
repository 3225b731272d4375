//! The connection for requests: a bounded queue, and one task that sends what is in it as pipelines. Design §5 (publishes
//! are pipelined as they come, without sleeping), [`crate::Broker`] (Order, Blocking).
//!
//! A request takes its place in the queue when it is made. The task takes all that waits, sends it as one pipeline, and
//! takes the next while the answers are on their way. What was never sent is answered with
//! [`BrokerError::Unavailable`], what was sent and not answered with [`BrokerError::UnknownOutcome`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use redis::{
    Cmd, Pipeline, ServerError, Value,
    aio::{ConnectionLike as _, MultiplexedConnection},
};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::{Instant, timeout, timeout_at},
};

use super::{
    link::{Backoff, Dialer, Status},
    scripts::Scripts,
    settings::RedisSettings,
};
use crate::BrokerError;

/// Requests of one pipeline: enough to make the round trip cheap, few enough that the answers come soon.
const MAX_BATCH: usize = 256;

/// Memory of a request beside its command.
const REQUEST_BYTES: usize = 256;

/// States of a request. Whoever changes `WAITING` decides what becomes of it.
const WAITING: u8 = 0;
const SENT: u8 = 1;
const GIVEN_UP: u8 = 2;

type Answer = Result<Value, BrokerError>;

/// What a request holds of the bound on bytes, until it is answered.
#[derive(Debug)]
struct Charge {
    bytes: usize,
    pending_bytes: Arc<AtomicUsize>,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.pending_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Request {
    command: Cmd,
    state: Arc<AtomicU8>,
    deadline: Instant,
    reply: oneshot::Sender<Answer>,
    charge: Charge,
    /// Its share of the bound on numbers, until it is answered.
    permit: OwnedSemaphorePermit,
}

/// Where requests are made.
#[derive(Debug)]
pub(super) struct Requests {
    queue: mpsc::Sender<Request>,
    permits: Arc<Semaphore>,
    pending_bytes: Arc<AtomicUsize>,
    max_pending_bytes: usize,
    timeout: Duration,
    status: Arc<Status>,
}

impl Requests {
    /// The door, and the task that is to be run behind it.
    pub(super) fn new(settings: &RedisSettings, dialer: Dialer, scripts: Arc<Scripts>) -> (Self, Sender) {
        let max_pending = settings.max_pending.min(Semaphore::MAX_PERMITS);
        let (queue, waiting) = mpsc::channel(max_pending);
        let status = Arc::new(Status::down("the broker is not started"));
        let requests = Self {
            queue,
            permits: Arc::new(Semaphore::new(max_pending)),
            pending_bytes: Arc::default(),
            max_pending_bytes: settings.max_pending_bytes,
            timeout: settings.request_timeout,
            status: Arc::clone(&status),
        };
        let backoff = Backoff::new(settings);
        (requests, Sender { waiting, dialer, scripts, status, backoff, timeout: settings.request_timeout })
    }

    pub(super) fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// Makes a request: it has its place in line when this returns. Dropping the future does not take it back.
    pub(super) fn make(&self, command: Cmd) -> impl Future<Output = Answer> + Send + 'static + use<> {
        let deadline = Instant::now() + self.timeout;
        let state = Arc::new(AtomicU8::new(WAITING));
        let made = self.enqueue(command, deadline, Arc::clone(&state));
        async move {
            match timeout_at(deadline, made?).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(lost_outcome(&state, "the connection was lost")),
                Err(_) => Err(lost_outcome(&state, "time is over")),
            }
        }
    }

    fn enqueue(
        &self,
        command: Cmd,
        deadline: Instant,
        state: Arc<AtomicU8>,
    ) -> Result<oneshot::Receiver<Answer>, BrokerError> {
        if let Some(reason) = self.status.trouble() {
            return Err(BrokerError::Unavailable(reason));
        }
        let full = BrokerError::Limit("requests waiting for Redis");
        let permit = Arc::clone(&self.permits).try_acquire_owned().map_err(|_| full.clone())?;
        let bytes = command.args_iter().map(argument_bytes).sum::<usize>() + REQUEST_BYTES;
        let before = self.pending_bytes.fetch_add(bytes, Ordering::Relaxed);
        let charge = Charge { bytes, pending_bytes: Arc::clone(&self.pending_bytes) };
        if before > 0 && before.saturating_add(bytes) > self.max_pending_bytes {
            return Err(full);
        }
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(Request { command, state, deadline, reply, charge, permit }).map_err(|_| full)?;
        Ok(answer)
    }
}

fn argument_bytes(argument: redis::Arg<&[u8]>) -> usize {
    match argument {
        redis::Arg::Simple(bytes) => bytes.len(),
        _ => 0,
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

/// The task that sends.
#[derive(Debug)]
pub(super) struct Sender {
    waiting: mpsc::Receiver<Request>,
    dialer: Dialer,
    scripts: Arc<Scripts>,
    status: Arc<Status>,
    backoff: Backoff,
    timeout: Duration,
}

impl Sender {
    /// Keeps a connection and sends over it, until the door is dropped.
    pub(super) async fn run(mut self) {
        while !self.waiting.is_closed() {
            let lost = Arc::new(Notify::new());
            let reason = match self.connect(&lost).await {
                Ok(connection) => {
                    let since = Instant::now();
                    self.status.set_up();
                    tracing::info!("connected to Redis for requests");
                    let reason = self.serve(connection, &lost).await;
                    self.backoff.lasted(since.elapsed());
                    reason
                }
                Err(reason) => reason,
            };
            tracing::warn!(reason, "no connection to Redis for requests");
            self.status.set_down(reason.clone());
            while let Ok(request) = self.waiting.try_recv() {
                let _ = request.reply.send(Err(BrokerError::Unavailable(reason.clone())));
            }
            tokio::time::sleep(self.backoff.pause()).await;
        }
    }

    /// A connection to a server that knows the scripts. One that cannot take them yet (it still loads its data) is refused.
    async fn connect(&self, lost: &Arc<Notify>) -> Result<MultiplexedConnection, String> {
        let mut connection = self.dialer.dial(Arc::clone(lost), |_| ()).await?;
        let mut load = Pipeline::new();
        for command in self.scripts.load() {
            load.add_command(command);
        }
        match timeout(self.timeout, load.exec_async(&mut connection)).await {
            Ok(loaded) => loaded.map_err(|error| format!("cannot load scripts: {error}"))?,
            Err(_) => return Err(format!("no answer within {:?}", self.timeout)),
        }
        Ok(connection)
    }

    /// Gives the reason why it ended.
    async fn serve(&mut self, connection: MultiplexedConnection, lost: &Notify) -> String {
        let mut under_way = FuturesUnordered::new();
        let mut batch = Vec::with_capacity(MAX_BATCH);
        let mut last_answer = Instant::now();
        loop {
            tokio::select! {
                // In this order, so that a new pipeline is begun (first polled) before the next is taken, and answers that
                // came before the connection's end still count.
                biased;
                Some(ended) = under_way.next(), if !under_way.is_empty() => match ended {
                    Ended::Empty => {}
                    Ended::Answered => last_answer = Instant::now(),
                    // A server that answers others in the meantime is slow, not away.
                    Ended::Late if last_answer.elapsed() < self.timeout => {}
                    Ended::Late => return format!("no answer within {:?}", self.timeout),
                    Ended::Broken(reason) => return reason,
                },
                () = lost.notified() => return "the connection was closed".to_owned(),
                taken = self.waiting.recv_many(&mut batch, MAX_BATCH) => {
                    if taken == 0 {
                        return "the broker was dropped".to_owned();
                    }
                    let batch = std::mem::take(&mut batch);
                    under_way.push(carry_out(connection.clone(), batch, Arc::clone(&self.scripts), self.timeout));
                }
            }
        }
    }
}

/// What became of a pipeline.
enum Ended {
    /// There was nothing left to send.
    Empty,
    /// It was answered.
    Answered,
    /// Its time is over. The connection may be busy with earlier ones, or dead.
    Late,
    /// The connection cannot be used any more, for this reason.
    Broken(String),
}

/// Sends one pipeline and hands out the answers.
async fn carry_out(
    mut connection: MultiplexedConnection,
    batch: Vec<Request>,
    scripts: Arc<Scripts>,
    patience: Duration,
) -> Ended {
    let now = Instant::now();
    let mut pipeline = Pipeline::with_capacity(batch.len());
    let mut senders = Vec::with_capacity(batch.len());
    for Request { command, state, deadline, reply, charge, permit } in batch {
        if deadline <= now {
            let _ = reply.send(Err(lost_outcome(&state, "time is over")));
        } else if state.compare_exchange(WAITING, SENT, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            pipeline.add_command(command);
            senders.push((reply, charge, permit));
        }
    }
    if senders.is_empty() {
        return Ended::Empty;
    }
    let exchange = exchange(&mut connection, &pipeline, &scripts);
    let answers = match timeout(patience, exchange).await {
        Ok(Ok(answers)) => answers,
        Ok(Err(error)) => {
            let reason = error.to_string();
            fail(senders, &reason);
            return Ended::Broken(reason);
        }
        Err(_) => {
            fail(senders, "time is over");
            return Ended::Late;
        }
    };
    let mut is_replica = false;
    for (answer, (reply, ..)) in answers.into_iter().zip(senders) {
        let answer = match answer {
            Value::ServerError(error) => {
                is_replica |= error.code() == "READONLY";
                Err(refusal(&error))
            }
            answer => Ok(answer),
        };
        let _ = reply.send(answer);
    }
    // After a failover the old primary may be a replica: whoever it follows must be found.
    if is_replica { Ended::Broken("the server is a replica".to_owned()) } else { Ended::Answered }
}

type Senders = Vec<(oneshot::Sender<Answer>, Charge, OwnedSemaphorePermit)>;

fn fail(senders: Senders, reason: &str) {
    for (reply, ..) in senders {
        let _ = reply.send(Err(BrokerError::UnknownOutcome(reason.to_owned())));
    }
}

/// One round trip; a second one when the server did not know a script.
async fn exchange(
    connection: &mut MultiplexedConnection,
    pipeline: &Pipeline,
    scripts: &Scripts,
) -> Result<Vec<Value>, redis::RedisError> {
    let mut answers = connection.req_packed_commands(pipeline, 0, pipeline.len()).await?;
    let is_unknown =
        |answer: &Value| matches!(answer, Value::ServerError(error) if error.code() == "NOSCRIPT");
    if !answers.iter().any(is_unknown) {
        return Ok(answers);
    }
    let loads = scripts.load();
    let first = loads.len();
    let mut again = Pipeline::new();
    for load in loads {
        again.add_command(load);
    }
    for (command, answer) in pipeline.cmd_iter().zip(&answers) {
        if is_unknown(answer) {
            again.add_command(command.clone());
        }
    }
    let second = connection.req_packed_commands(&again, 0, again.len()).await?;
    for (answer, again) in
        answers.iter_mut().filter(|answer| is_unknown(answer)).zip(second.into_iter().skip(first))
    {
        *answer = again;
    }
    Ok(answers)
}

/// What an error of the server means. These codes are given before anything was written.
fn refusal(error: &ServerError) -> BrokerError {
    let reason = format!("{} {}", error.code(), error.details().unwrap_or_default());
    match error.code() {
        "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "READONLY" | "OOM" | "MISCONF" | "NOREPLICAS" | "BUSY"
        | "NOPERM" | "NOAUTH" | "NOSCRIPT" | "TRYAGAIN" | "MOVED" | "ASK" => BrokerError::Unavailable(reason),
        _ => BrokerError::UnknownOutcome(reason),
    }
}
