//! One pipeline to a server: what is sent together, and the answers handed out. A server that has lost its scripts (`SCRIPT FLUSH`) gets
//! them again, and order is kept: nothing is sent behind a pipeline that is sent a second time until all before are answered.
//! Only if another node loads the scripts between two pipelines of this one, the second may overtake the first.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use redis::{
    Pipeline, ServerError, Value,
    aio::{ConnectionLike as _, MultiplexedConnection},
};
use tokio::time::{Instant, timeout};

use super::shared::SharedConnections;
use crate::{
    BrokerError,
    redis::{dialer::ReplicationId, request::Request, scripts::Scripts},
};

/// True while pipelines of a connection are sent again, with the scripts before them.
#[derive(Debug, Clone, Default)]
pub(super) struct Reloading(Arc<AtomicBool>);

impl Reloading {
    pub(super) fn is_on(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    pub(super) fn set(&self, is_on: bool) {
        self.0.store(is_on, Ordering::Release);
    }
}

/// The result of a pipeline.
pub(super) enum PipelineResult {
    /// There was nothing left to send.
    Empty,
    /// Nothing of it was sent: an earlier one is being sent again.
    Held(Vec<Request>),
    /// It was answered.
    Answered,
    /// Its time is over. The connection may be busy with earlier ones, or dead.
    Late,
    /// The connection cannot be used any more, for this reason.
    Broken(String),
}

/// Sends one pipeline and hands out the answers.
pub(super) async fn run_batch(
    mut connection: MultiplexedConnection,
    batch: Vec<Request>,
    life: ReplicationId,
    common: SharedConnections,
    reloading: Reloading,
    time_limit: Duration,
) -> PipelineResult {
    if reloading.is_on() {
        return PipelineResult::Held(batch);
    }
    let now = Instant::now();
    let mut pipeline = Pipeline::with_capacity(batch.len());
    let mut sent = Vec::with_capacity(batch.len());
    for mut request in batch {
        if request.is_late(now) {
            request.fail("time is over");
        } else if request.begin() {
            pipeline.add_command(request.command_for(&life));
            sent.push(request);
        }
    }
    if sent.is_empty() {
        return PipelineResult::Empty;
    }
    let exchange = exchange(&mut connection, &pipeline, &common.scripts, &reloading);
    let answers = match timeout(time_limit, exchange).await {
        Ok(Ok(answers)) => answers,
        Ok(Err(error)) => {
            let reason = error.to_string();
            fail(sent, &reason, &common);
            return PipelineResult::Broken(reason);
        }
        Err(_) => {
            fail(sent, "time is over", &common);
            return PipelineResult::Late;
        }
    };
    let (took, mut is_replica) = (now.elapsed(), false);
    for ((answer, mut request), command) in answers.into_iter().zip(sent).zip(pipeline.cmd_iter()) {
        let answer = match (&common.redirects, answer) {
            (Some(redirects), Value::ServerError(error)) if is_redirection(&error) => {
                request.restore(command);
                redirects.take_back(request, &error);
                continue;
            }
            (_, Value::ServerError(error)) => {
                is_replica |= error.code() == "READONLY";
                Err(refusal(&error))
            }
            (_, answer) => Ok(answer),
        };
        if let (Some(redirects), Some(place)) = (&common.redirects, &request.redirect) {
            redirects.carried_out(place);
        }
        common.counters.request_times.add(common.scripts.kind_of(command), took);
        request.answer(answer);
    }
    // After a failover the old primary may be a replica: the new primary must be found.
    if is_replica {
        PipelineResult::Broken("the server is a replica".to_owned())
    } else {
        PipelineResult::Answered
    }
}

/// Ends requests whose outcome is unknown.
fn fail(sent: Vec<Request>, reason: &str, common: &SharedConnections) {
    for request in sent {
        if let (Some(redirects), Some(place)) = (&common.redirects, &request.redirect) {
            redirects.carried_out(place);
        }
        request.fail(reason);
    }
}

/// One round trip; a second one when the server did not know a script.
async fn exchange(
    connection: &mut MultiplexedConnection,
    pipeline: &Pipeline,
    scripts: &Scripts,
    reloading: &Reloading,
) -> Result<Vec<Value>, redis::RedisError> {
    let mut answers = connection.req_packed_commands(pipeline, 0, pipeline.len()).await?;
    let is_unknown =
        |answer: &Value| matches!(answer, Value::ServerError(error) if error.code() == "NOSCRIPT");
    if !answers.iter().any(is_unknown) {
        return Ok(answers);
    }
    reloading.set(true);
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

/// True if a server of a cluster did nothing, since the slot is not its own, not its own alone, or without a server.
pub(in crate::redis) fn is_redirection(error: &ServerError) -> bool {
    matches!(error.code(), "MOVED" | "ASK" | "TRYAGAIN" | "CLUSTERDOWN")
}

/// The broker error for an error of the server. These codes are given before anything was written.
fn refusal(error: &ServerError) -> BrokerError {
    let reason = format!("{} {}", error.code(), error.details().unwrap_or_default());
    match error.code() {
        "MOVED" | "ASK" => BrokerError::Unavailable(format!(
            "the server belongs to a cluster, which the settings do not say (broker.redis.cluster): {reason}"
        )),
        "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "READONLY" | "OOM" | "MISCONF" | "NOREPLICAS" | "BUSY"
        | "NOPERM" | "NOAUTH" | "NOSCRIPT" | "TRYAGAIN" => BrokerError::Unavailable(reason),
        _ => BrokerError::UnknownOutcome(reason),
    }
}
