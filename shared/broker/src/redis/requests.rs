//! The connection for requests: a bounded queue, and one task that sends what is in it as pipelines. `docs/architecture.md` §5.2 (publishes
//! are pipelined as they come, without sleeping), [`crate::Broker`] (Order, Blocking).
//!
//! A request enters the queue when it is made. The task takes all that waits, sends it as one pipeline, and
//! takes the next while the answers are on their way. What was never sent is answered with
//! [`BrokerError::Unavailable`], what was sent and not answered with [`BrokerError::UnknownOutcome`]. What a server of a
//! cluster sent elsewhere goes to the [`super::shards::redirects::Redirects`].

mod pipeline;
mod shared;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use parking_lot::Mutex;
use redis::{Cmd, Pipeline, aio::MultiplexedConnection, cmd};
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};

use self::pipeline::{PipelineResult, Reloading, run_batch};
pub(super) use self::{pipeline::is_redirection, shared::SharedConnections};
use super::{
    dialer::{Backoff, ConnectionStatus, Dialer, ReplicationId, newer_life, read_life},
    request::{PendingCounter, Reply, Request, RequestLimits},
    settings::RedisSettings,
};
use crate::{BrokerError, server_status::ServerFacts};

/// Requests of one pipeline: enough to make the round trip cheap, few enough that the answers come soon.
const MAX_BATCH: usize = 256;
/// Between two looks at the server's life, which changes under a connection when the first replica comes.
const LOOK_AT_LIFE_EVERY: Duration = Duration::from_secs(10);

/// The handle through which requests to one server are made.
#[derive(Debug)]
pub(super) struct Requests {
    queue: mpsc::Sender<Request>,
    limits: Arc<RequestLimits>,
    /// Those of this server without an answer.
    pending: Arc<PendingCounter>,
    status: Arc<ConnectionStatus>,
    facts: Arc<Mutex<ServerFacts>>,
}

impl Requests {
    /// Makes the handle, and the task that has to be run for it.
    pub(super) fn new(
        settings: &RedisSettings,
        dialer: Dialer,
        common: SharedConnections,
    ) -> (Self, SenderTask) {
        let limits = Arc::clone(&common.limits);
        let (queue, waiting) = mpsc::channel(limits.max_pending());
        let status = Arc::new(ConnectionStatus::down("the broker is not started"));
        let facts = Arc::<Mutex<ServerFacts>>::default();
        let pending = Arc::default();
        let requests =
            Self { queue, limits, pending, status: Arc::clone(&status), facts: Arc::clone(&facts) };
        let (backoff, timeout) = (Backoff::new(settings), settings.request_timeout);
        (requests, SenderTask { waiting, dialer, common, status, facts, backoff, timeout })
    }

    pub(super) fn status(&self) -> &Arc<ConnectionStatus> {
        &self.status
    }

    /// The server's last answer about itself.
    pub(super) fn facts(&self) -> ServerFacts {
        self.facts.lock().clone()
    }

    /// Requests without an answer, sent or still to be sent, and their bytes.
    pub(super) fn pending(&self) -> (usize, usize) {
        self.pending.read()
    }

    /// True if some are not sent yet.
    #[cfg(test)]
    pub(super) fn has_queued(&self) -> bool {
        self.queue.capacity() < self.queue.max_capacity()
    }

    /// Makes a request: it is in the queue when this returns. Dropping the future does not take it back.
    pub(super) fn make(&self, command: Cmd) -> impl Future<Output = Reply> + Send + 'static + use<> {
        let made = match self.status.trouble() {
            Some(reason) => Err(BrokerError::Unavailable(reason)),
            None => self.limits.admit(command, false).map(|(request, caller)| {
                self.put(request);
                caller
            }),
        };
        async move { made?.wait().await }
    }

    /// Puts a request at the end of the queue.
    pub(super) fn put(&self, mut request: Request) {
        if let Some(reason) = self.status.trouble() {
            return request.fail(&reason);
        }
        request.count_at(&self.pending);
        // As long as the bounds are; it is closed only when the broker is dropped.
        if let Err(refused) = self.queue.try_send(request) {
            refused.into_inner().fail("the broker was dropped");
        }
    }
}

/// The task that sends.
#[derive(Debug)]
pub(super) struct SenderTask {
    waiting: mpsc::Receiver<Request>,
    dialer: Dialer,
    common: SharedConnections,
    status: Arc<ConnectionStatus>,
    facts: Arc<Mutex<ServerFacts>>,
    backoff: Backoff,
    timeout: Duration,
}

impl SenderTask {
    /// Keeps a connection and sends over it, until the handle is dropped.
    pub(super) async fn run(mut self) {
        while !self.waiting.is_closed() {
            let lost = Arc::new(Notify::new());
            let reason = match self.connect(&lost).await {
                Ok((connection, life)) => {
                    let since = Instant::now();
                    self.status.set_up();
                    self.common.mark_unverified();
                    tracing::info!(server = self.dialer.server(), "connected to Redis for requests");
                    let reason = self.serve(connection, life, &lost).await;
                    self.backoff.lasted(since.elapsed());
                    self.common.counters.request_connections_lost.add(1);
                    reason
                }
                Err(reason) => reason,
            };
            tracing::warn!(server = self.dialer.server(), reason, "not connected to Redis for requests");
            self.status.set_down(reason.clone());
            self.common.mark_unverified();
            while let Ok(request) = self.waiting.try_recv() {
                request.fail(&reason);
            }
            tokio::time::sleep(self.backoff.pause()).await;
        }
    }

    /// A connection to a server that knows the scripts. One that cannot take them yet (it still loads its data) is refused.
    async fn connect(&self, lost: &Arc<Notify>) -> Result<(MultiplexedConnection, ReplicationId), String> {
        let mut connection = self.dialer.dial(Arc::clone(lost), |_| ()).await?;
        let mut load = Pipeline::new();
        for command in self.common.scripts.load() {
            load.add_command(command);
        }
        match timeout(self.timeout, load.exec_async(&mut connection)).await {
            Ok(loaded) => loaded.map_err(|error| format!("cannot load scripts: {error}"))?,
            Err(_) => return Err(format!("no answer within {:?}", self.timeout)),
        }
        let life = read_life(connection.clone(), self.timeout).await?;
        if life.is_empty() {
            tracing::warn!(
                server = self.dialer.server(),
                "Redis does not tell its replication id (INFO replication); failovers that lose publications go unnoticed"
            );
        }
        Ok((connection, life))
    }

    /// Gives the reason why it ended.
    async fn serve(
        &mut self,
        connection: MultiplexedConnection,
        mut life: ReplicationId,
        lost: &Notify,
    ) -> String {
        let mut under_way = FuturesUnordered::new();
        let mut lives = FuturesUnordered::new();
        lives.push(look_at_server(connection.clone(), self.timeout, Arc::clone(&self.facts)));
        let mut look = interval_at(Instant::now() + LOOK_AT_LIFE_EVERY, LOOK_AT_LIFE_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(MAX_BATCH);
        let (reloading, mut held) = (Reloading::default(), VecDeque::new());
        let mut last_answer = Instant::now();
        loop {
            if under_way.is_empty() {
                reloading.set(false);
            }
            while let Some(batch) = held.pop_front_if(|_| !reloading.is_on()) {
                under_way.push(run_batch(
                    connection.clone(),
                    batch,
                    Arc::clone(&life),
                    self.common.clone(),
                    reloading.clone(),
                    self.timeout,
                ));
            }
            tokio::select! {
                // In this order, so that a new pipeline is begun (first polled) before the next is taken, and answers that
                // came before the connection's end still count.
                biased;
                Some(ended) = under_way.next(), if !under_way.is_empty() => match ended {
                    PipelineResult::Empty => {}
                    PipelineResult::Held(batch) => held.push_back(batch),
                    PipelineResult::Answered => last_answer = Instant::now(),
                    // A server that answers others in the meantime is slow, not away.
                    PipelineResult::Late if last_answer.elapsed() < self.timeout => {}
                    PipelineResult::Late => return format!("no answer within {:?}", self.timeout),
                    PipelineResult::Broken(reason) => return reason,
                },
                () = lost.notified() => return "the connection was closed".to_owned(),
                Some(read) = lives.next(), if !lives.is_empty() => match read {
                    Ok(now) => life = newer_life(life, now),
                    Err(reason) => return reason,
                },
                _ = look.tick() => {
                    lives.push(look_at_server(connection.clone(), self.timeout, Arc::clone(&self.facts)));
                }
                taken = self.waiting.recv_many(&mut batch, MAX_BATCH), if held.is_empty() => {
                    if taken == 0 {
                        return "the broker was dropped".to_owned();
                    }
                    held.push_back(std::mem::take(&mut batch));
                }
            }
        }
    }
}

/// Reads the server's life, and what it says of itself. A server that does not tell the latter is not ill.
async fn look_at_server(
    mut connection: MultiplexedConnection,
    time_limit: Duration,
    facts: Arc<Mutex<ServerFacts>>,
) -> Result<ReplicationId, String> {
    let life = read_life(connection.clone(), time_limit).await?;
    let info = cmd("INFO");
    if let Ok(Ok(text)) = timeout(time_limit, info.query_async::<String>(&mut connection)).await {
        *facts.lock() = ServerFacts::read(&text);
    }
    Ok(life)
}
