//! Proxies: the calls to the backend that decide or answer clients' commands. `docs/protocols/proxy.md`; record 47.
//!
//! - [`pool`]: what the workers of a node share of each proxy. `limits`: how many calls, and who waits; `concurrency`: how many a
//!   slow backend gets. `breaker`: a backend that is down. `retry`: what may be repeated.
//! - `request`: what is sent, with `trace` for its header `traceparent`; [`answer`]: what comes back; [`routes`]: which proxy is
//!   asked about what.

pub mod answer;
mod breaker;
mod concurrency;
mod limits;
pub mod pool;
mod recent;
mod request;
mod retry;
pub mod routes;
#[cfg(test)]
mod tests;
mod trace;

use std::{
    cell::{OnceCell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix_http::StatusCode;
use tokio::time::Instant;

use self::{
    breaker::{AdmittedCall, CallResult},
    limits::NoSlot,
    pool::SharedProxy,
};
use crate::{
    backend::{BackendAnswer, BackendClient, PostError},
    clock,
    disconnect::ErrorCode,
    proxy_call::{ProxyAnswer, ProxyCall, ProxyFailure, ProxyId, ProxyOutcome},
    settings::ProxyEvent,
    telemetry::spans::{begin_call, end_backend_request},
};

pub use self::pool::{ProxyFilesError, ProxyPool, check_files};

/// The proxies as one worker asks them. Its connections to a backend are its own.
#[derive(Default)]
pub struct ProxyClients {
    pool: OnceCell<Arc<ProxyPool>>,
    clients: RefCell<HashMap<ProxyId, BackendClient>>,
}

impl ProxyClients {
    /// Gives a new worker the proxies of its node.
    pub fn share(&self, pool: Arc<ProxyPool>) {
        if self.pool.set(pool).is_err() {
            tracing::debug!("a worker has its proxies already");
        }
    }

    /// Asks the backend. Dropping the future ends the call and gives its place to another one.
    pub async fn call(self: Rc<Self>, call: ProxyCall) -> ProxyOutcome {
        let unavailable = Err(ProxyFailure::NotProcessed(ErrorCode::NOT_AVAILABLE));
        let Some(pool) = self.pool.get() else { return unavailable };
        let Some(proxy) = pool.get(call.proxy) else { return unavailable };
        let event = request::event(&call.request);
        let mut ending = Ending { proxy, event, outcome: "cancelled" };
        let asked = match self.client(call.proxy, proxy) {
            Ok(client) => ask(proxy, &client, event, &call).await,
            Err(error) => Err(CallFailure::Post(error)),
        };
        let outcome = match asked {
            Ok(answered) => {
                if let Some(remark) = answered.remark {
                    pool.log_failure(proxy, event, remark, &request::request_id(&call));
                }
                ending.outcome = "ok";
                Ok(answered.answer)
            }
            Err(failure) => {
                pool.log_failure(proxy, event, &failure.to_string(), &request::request_id(&call));
                ending.outcome = failure.outcome_of(event);
                Err(failure.of_client(proxy.legacy_errors))
            }
        };
        drop(ending);
        outcome
    }

    fn client(&self, id: ProxyId, proxy: &SharedProxy) -> Result<BackendClient, PostError> {
        let mut clients = self.clients.borrow_mut();
        if let Some(client) = clients.get(&id) {
            return Ok(client.clone());
        }
        let client = BackendClient::new(proxy.target.clone())?;
        clients.insert(id, client.clone());
        Ok(client)
    }
}

/// Counts a call at its end, however it comes.
struct Ending<'p> {
    proxy: &'p SharedProxy,
    event: ProxyEvent,
    outcome: &'static str,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.proxy.count(self.event, self.outcome, 1);
    }
}

/// Why a call has no answer, for the log.
#[derive(Debug, thiserror::Error)]
enum CallFailure {
    #[error("breaker is open")]
    BreakerOpen,
    #[error("too many calls wait")]
    Busy,
    #[error("no place in time: max_in_flight calls are under way")]
    NoSlotInTime,
    #[error(transparent)]
    Post(#[from] PostError),
    #[error("status {0} instead of 200")]
    Status(StatusCode),
    #[error("the body is no answer: {0}")]
    Answer(#[from] answer::AnswerError),
}

impl CallFailure {
    /// The outcome in metrics of a call of this kind. A refresh that failed ends nothing and is asked again, whatever the cause;
    /// the log has the cause.
    fn outcome_of(&self, event: ProxyEvent) -> &'static str {
        match event {
            ProxyEvent::Refresh | ProxyEvent::SubRefresh => "deferred",
            _ => self.label(),
        }
    }

    /// The cause in metrics.
    fn label(&self) -> &'static str {
        match self {
            Self::BreakerOpen => "breaker_open",
            Self::Busy => "busy",
            Self::NoSlotInTime | Self::Post(PostError::Timeout) => "timeout",
            Self::Post(PostError::Stale(_) | PostError::Lost(_)) => "lost",
            Self::Post(error) if error.is_not_processed() => "unreachable",
            Self::Post(_) | Self::Status(_) | Self::Answer(_) => "bad_answer",
        }
    }

    /// The outcome for the session. `legacy_errors`: as if the backend had surely not seen it, as Centrifugo has it.
    fn of_client(&self, legacy_errors: bool) -> ProxyFailure {
        let failure = match self {
            Self::Busy => ProxyFailure::NotProcessed(ErrorCode::TOO_MANY_REQUESTS),
            Self::BreakerOpen | Self::NoSlotInTime => ProxyFailure::NotProcessed(ErrorCode::INTERNAL),
            Self::Post(error) if error.is_not_processed() => ProxyFailure::NotProcessed(ErrorCode::INTERNAL),
            Self::Post(PostError::Timeout | PostError::Stale(_) | PostError::Lost(_)) => {
                ProxyFailure::Unknown
            }
            Self::Post(_) | Self::Status(_) | Self::Answer(_) => ProxyFailure::BadAnswer,
        };
        match failure {
            ProxyFailure::Unknown | ProxyFailure::BadAnswer if legacy_errors => {
                ProxyFailure::NotProcessed(ErrorCode::INTERNAL)
            }
            failure => failure,
        }
    }
}

/// An answer, with what an operator should know of it.
struct Answered {
    answer: ProxyAnswer,
    remark: Option<&'static str>,
}

/// Waits for a place, sends the call, and reads the answer, all within the proxy's time.
async fn ask(
    proxy: &SharedProxy,
    client: &BackendClient,
    event: ProxyEvent,
    call: &ProxyCall,
) -> Result<Answered, CallFailure> {
    let began = Instant::now();
    let deadline = began + proxy.timeout();
    // Of a backend that is down nobody waits for a place.
    if proxy.breaker.as_ref().is_some_and(|breaker| !breaker.is_passable(began)) {
        return Err(CallFailure::BreakerOpen);
    }
    let slot = proxy.limits.enter(&call.caller.client, deadline).await;
    let slot = slot.map_err(|reason| match reason {
        NoSlot::Full => CallFailure::Busy,
        NoSlot::Timeout => CallFailure::NoSlotInTime,
    })?;
    let admitted = match &proxy.breaker {
        Some(breaker) => Some(breaker.admit(Instant::now()).ok_or(CallFailure::BreakerOpen)?),
        None => None,
    };
    let posted = post(proxy, client, event, call, deadline).await;
    proxy.observe(began.elapsed());
    match &posted {
        Ok(answer) if is_overload(answer.status) => slot.overloaded(),
        Ok(_) => slot.answered(proxy.timeout()),
        Err(PostError::Timeout) => slot.timed_out(proxy.timeout()),
        Err(_) => {}
    }
    judge(proxy, event, posted, admitted)
}

/// A backend that has too much to do, by its own words.
fn is_overload(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
}

/// Sends the call, and once more where that is harmless.
async fn post(
    proxy: &SharedProxy,
    client: &BackendClient,
    event: ProxyEvent,
    call: &ProxyCall,
    deadline: Instant,
) -> Result<BackendAnswer, PostError> {
    let body = proxy.form.body(call);
    let mut headers = proxy.form.headers(call);
    let span = proxy.tracer.get().and_then(|tracer| {
        let host = proxy.target.endpoint.host_str();
        begin_call(tracer, proxy.form.trace_of_client(call).as_ref(), &proxy.label, event.label(), host)
    });
    if let Some(span) = &span {
        proxy.form.continue_from(span, &mut headers);
    }
    request::sign(&mut headers, &proxy.signer(), call, &body, clock::unix_ms() / 1000);
    if let Some(budget) = &proxy.retries {
        budget.count(Instant::now());
    }
    let first = client.post(headers.clone(), body.clone(), deadline).await;
    let answer = match (first, &proxy.retries) {
        (Err(error), Some(budget))
            if retry::may_repeat(event, &error)
                && Instant::now() < deadline
                && budget.take(Instant::now()) =>
        {
            client.post(headers, body, deadline).await
        }
        (first, _) => first,
    };
    if let Some(span) = span {
        let status = answer.as_ref().map(|answer| answer.status.as_u16());
        end_backend_request(span, status.map_err(ToString::to_string));
    }
    answer
}

/// Decides what came back, and tells the breaker.
fn judge(
    proxy: &SharedProxy,
    event: ProxyEvent,
    posted: Result<BackendAnswer, PostError>,
    admitted: Option<AdmittedCall<'_>>,
) -> Result<Answered, CallFailure> {
    let (result, judged) = match posted {
        Err(error) => (CallResult::Failed, Err(error.into())),
        Ok(BackendAnswer { status: StatusCode::OK, body, .. }) => match answer::decode(event, &body) {
            Ok(decoded) => {
                (CallResult::Good, Ok(Answered { answer: decoded.answer, remark: decoded.remark }))
            }
            Err(error) => (CallResult::Failed, Err(error.into())),
        },
        Ok(BackendAnswer { status, retry_after, .. }) => {
            let wish = retry_after.filter(|_| is_overload(status));
            let result = match wish {
                Some(time) if time > Duration::ZERO => CallResult::Busy(time),
                // A refusal is the work of a backend that is there.
                _ if status.is_client_error() => CallResult::Good,
                _ => CallResult::Failed,
            };
            let judged = proxy.transformed(status).map(|answer| Answered { answer, remark: None });
            (result, judged.ok_or(CallFailure::Status(status)))
        }
    };
    if admitted.is_some_and(|admitted| admitted.report(result, Instant::now())) {
        proxy.limits.restart();
    }
    judged
}
