//! The connection that listens: interest in channels, resubscribing after a loss, and the canary. Design §5 (interest, after
//! any loss, deaf-node detection).
//!
//! One task keeps the connection. What it hears goes from the connection's reader straight to the [`Ear`]; the task itself
//! sends SUBSCRIBE and UNSUBSCRIBE, as many channels at once as wait, in the order of the calls.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use redis::{aio::MultiplexedConnection, cmd};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, timeout, timeout_at},
};

use super::{
    ear::{Ear, Names},
    link::{Backoff, Dialer, Status},
    requests::Requests,
    settings::RedisSettings,
};
use crate::BrokerError;

/// Calls that are put together into one command.
const MAX_BATCH: usize = 256;
/// Calls that may wait.
const MAX_WAITING: usize = 100_000;
/// Channels of one command while everything is subscribed anew.
const RESUBSCRIBE_CHANNELS: usize = 1000;
/// Such commands under way at the same time.
const RESUBSCRIBE_COMMANDS: usize = 8;

type Answer = Result<(), BrokerError>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Subscribe,
    Unsubscribe,
}

#[derive(Debug)]
struct Call {
    act: Act,
    names: Names,
    reply: oneshot::Sender<Answer>,
}

/// Where interest is told.
pub(super) struct Listener {
    calls: mpsc::Sender<Call>,
    ear: Arc<Ear>,
    status: Arc<Status>,
    timeout: Duration,
}

impl Listener {
    /// The door, and the task that is to be run behind it.
    pub(super) fn new(
        settings: &RedisSettings,
        dialer: Dialer,
        requests: Arc<Requests>,
        ear: Arc<Ear>,
    ) -> (Self, Keeper) {
        let (calls, waiting) = mpsc::channel(MAX_WAITING);
        let status = Arc::new(Status::down("the broker is not started"));
        let listener = Self {
            calls,
            ear: Arc::clone(&ear),
            status: Arc::clone(&status),
            timeout: settings.request_timeout,
        };
        let keeper = Keeper {
            waiting,
            dialer,
            requests,
            ear,
            status,
            backoff: Backoff::new(settings),
            timeout: settings.request_timeout,
            canary_interval: settings.canary_interval,
            canary_timeout: settings.canary_timeout,
        };
        (listener, keeper)
    }

    pub(super) fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// Has its place in line when it returns; the future resolves when the server has confirmed. After an error the channels
    /// may still be wanted, and be subscribed with the next connection, until an unsubscribe.
    pub(super) fn subscribe(
        &self,
        channels: Vec<(String, Arc<str>)>,
    ) -> impl Future<Output = Answer> + Send + 'static + use<> {
        let names = channels.iter().map(|(name, _)| name.clone()).collect();
        let called = match self.status.trouble() {
            Some(reason) => Err(BrokerError::Unavailable(reason)),
            None => self.ear.want(channels, || self.call(Act::Subscribe, names)),
        };
        self.wait(called)
    }

    /// As [`Listener::subscribe`]. Nothing reaches the sink any more as soon as this returns.
    pub(super) fn unsubscribe(&self, names: Names) -> impl Future<Output = Answer> + Send + 'static + use<> {
        let called = self.ear.drop_interest(&names.clone(), || match self.status.trouble() {
            // A connection that is not there subscribes to nothing; the next one only to what is wanted.
            Some(_) => Ok(None),
            None => self.call(Act::Unsubscribe, names),
        });
        self.wait(called)
    }

    fn call(&self, act: Act, names: Names) -> Result<Option<oneshot::Receiver<Answer>>, BrokerError> {
        if names.is_empty() {
            return Ok(None);
        }
        let (reply, answer) = oneshot::channel();
        self.calls
            .try_send(Call { act, names, reply })
            .map_err(|_| BrokerError::Limit("subscriptions waiting for Redis"))?;
        Ok(Some(answer))
    }

    fn wait(
        &self,
        called: Result<Option<oneshot::Receiver<Answer>>, BrokerError>,
    ) -> impl Future<Output = Answer> + Send + 'static + use<> {
        let deadline = Instant::now() + self.timeout;
        async move {
            let Some(answer) = called? else { return Ok(()) };
            match timeout_at(deadline, answer).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(BrokerError::Unavailable("the connection was lost".to_owned())),
                Err(_) => Err(BrokerError::UnknownOutcome("time is over".to_owned())),
            }
        }
    }
}

/// The task that keeps the connection.
pub(super) struct Keeper {
    waiting: mpsc::Receiver<Call>,
    dialer: Dialer,
    requests: Arc<Requests>,
    ear: Arc<Ear>,
    status: Arc<Status>,
    backoff: Backoff,
    timeout: Duration,
    canary_interval: Duration,
    canary_timeout: Duration,
}

impl Keeper {
    /// Keeps a connection, until the door is dropped.
    pub(super) async fn run(mut self) {
        while !self.waiting.is_closed() {
            let reason = match self.connect().await {
                Ok((connection, lost)) => {
                    let since = Instant::now();
                    self.status.set_up();
                    tracing::info!("listening to Redis");
                    let reason = self.serve(connection, &lost).await;
                    self.backoff.lasted(since.elapsed());
                    reason
                }
                Err(reason) => reason,
            };
            tracing::warn!(reason, "not listening to Redis");
            self.status.set_down(reason.clone());
            while let Ok(call) = self.waiting.try_recv() {
                refuse(call, &reason);
            }
            tokio::time::sleep(self.backoff.pause()).await;
        }
    }

    /// A connection that is subscribed to everything wanted, with the gaps told.
    async fn connect(&self) -> Result<(MultiplexedConnection, Arc<Notify>), String> {
        let lost = Arc::new(Notify::new());
        let generation = self.ear.begin();
        let ear = Arc::clone(&self.ear);
        let mut connection =
            self.dialer.dial(Arc::clone(&lost), move |pushed| ear.hear(generation, pushed)).await?;
        let patience = self.timeout;
        let first = self.ear.canary().to_owned();
        within(patience, connection.subscribe(&first)).await?;
        let wanted = self.ear.interest();
        let mut batches = futures_util::stream::iter(wanted.chunks(RESUBSCRIBE_CHANNELS).map(<[_]>::to_vec))
            .map(|names| {
                let mut connection = connection.clone();
                async move { within(patience, connection.subscribe(&names)).await.map(|()| names) }
            })
            .buffered(RESUBSCRIBE_COMMANDS);
        while let Some(names) = batches.next().await {
            // Now that every later message will be heard, the node can read what it missed.
            self.ear.tell_gaps(&names?);
        }
        drop(batches);
        let unwanted = self.ear.unwanted(wanted);
        if !unwanted.is_empty() {
            within(patience, connection.unsubscribe(&unwanted)).await?;
        }
        self.ear.heard_now();
        Ok((connection, lost))
    }

    /// Gives the reason why it ended.
    async fn serve(&mut self, connection: MultiplexedConnection, lost: &Notify) -> String {
        let mut under_way = FuturesUnordered::new();
        let mut calls = Vec::with_capacity(MAX_BATCH);
        let mut canary = interval(self.canary_interval);
        canary.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = canary.tick() => {
                    if self.ear.silence().is_some_and(|silence| silence > self.canary_timeout) {
                        return "the node does not hear itself".to_owned();
                    }
                    let mut publish = cmd("PUBLISH");
                    publish.arg(self.ear.canary()).arg("");
                    // Whether it was sent shows in whether it is heard.
                    drop(self.requests.make(publish));
                }
                Some((calls, ended)) = under_way.next(), if !under_way.is_empty() => {
                    let calls: Vec<Call> = calls;
                    match ended {
                        Ok(()) => calls.into_iter().for_each(|call| drop(call.reply.send(Ok(())))),
                        Err(reason) => {
                            let reason: String = reason;
                            calls.into_iter().for_each(|call| refuse(call, &reason));
                            return reason;
                        }
                    }
                }
                () = lost.notified() => return "the connection was closed".to_owned(),
                taken = self.waiting.recv_many(&mut calls, MAX_BATCH) => {
                    if taken == 0 {
                        return "the broker was dropped".to_owned();
                    }
                    // Neighbours of one kind are one command; the order of kinds is kept.
                    for group in std::mem::take(&mut calls).into_iter().fold(Vec::new(), join_group) {
                        under_way.push(carry_out(connection.clone(), group, self.timeout));
                    }
                }
            }
        }
    }
}

fn refuse(call: Call, reason: &str) {
    let answer = match call.act {
        Act::Subscribe => Err(BrokerError::Unavailable(reason.to_owned())),
        // Nothing of it reaches the sink, and the next connection subscribes only to what is wanted.
        Act::Unsubscribe => Ok(()),
    };
    let _ = call.reply.send(answer);
}

/// Adds a call to the last group if that is of its kind, else begins a new one.
fn join_group(mut groups: Vec<Vec<Call>>, call: Call) -> Vec<Vec<Call>> {
    match groups.last_mut() {
        Some(group) if group.first().is_some_and(|first| first.act == call.act) => group.push(call),
        _ => groups.push(vec![call]),
    }
    groups
}

/// Carries out calls of one kind as one command. An error means that the connection cannot be used any more.
async fn carry_out(
    mut connection: MultiplexedConnection,
    calls: Vec<Call>,
    patience: Duration,
) -> (Vec<Call>, Result<(), String>) {
    let names: Vec<&String> = calls.iter().flat_map(|call| &call.names).collect();
    let ended = match calls.first().map(|call| call.act) {
        Some(Act::Subscribe) => within(patience, connection.subscribe(&names)).await,
        _ => within(patience, connection.unsubscribe(&names)).await,
    };
    (calls, ended)
}

async fn within(
    patience: Duration,
    exchange: impl Future<Output = redis::RedisResult<()>>,
) -> Result<(), String> {
    match timeout(patience, exchange).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {patience:?}")),
    }
}
