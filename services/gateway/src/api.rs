//! The HTTP push API for backends. `POST /api/<method>` with a key, JSON in and out. `docs/protocols/http.md` §4, §5.
//!
//! The journey of a call: `call` (the key and the body) → [`method`] (the table: decoded, and handed to its group) →
//! [`publish`], [`sessions`], [`channels`], [`overview`] or [`hooks`] (a method's request, run and result) → [`error`] (writes answers too).
//! A [`batch`] begins its commands one by one, and so do [`lines`].
//!
//! `GET /api/openapi.json` describes it from the same types ([`openapi`]), and needs no key: it holds no secret.

pub mod batch;
mod call;
pub mod channels;
pub mod error;
pub mod explain;
pub mod hooks;
pub mod lines;
pub mod method;
pub mod openapi;
pub mod overview;
pub mod publish;
pub mod sessions;
pub mod value;

use std::{future::Future, sync::Arc};

use actix_web::{
    HttpRequest, HttpResponse, Responder, ResponseError,
    http::header::{ALLOW, HeaderValue},
    web::{self, Data, ServiceConfig},
};
use tokio::time::Instant;

use self::{
    call::{ApiCall, CallContext, check_key},
    error::{ApiError, encode, ok},
    method::{ApiCommand, Method},
};
use crate::{
    disconnect::ErrorCode,
    metrics::api::MethodMetrics,
    node::Node,
    settings::{ApiSettings, ErrorMode},
    telemetry::{spans::end_request, trace::Span},
};

/// Path of the batch, below `/api/`.
const BATCH: &str = "batch";
/// Path of the OpenAPI document, below `/api/`.
const OPENAPI: &str = "openapi.json";

/// The routes below `/api`.
pub fn routes(config: &mut ServiceConfig, node: &Arc<Node>, settings: &ApiSettings) {
    config.app_data(Data::from(node.clone())).app_data(Data::new(settings.clone()));
    for method in Method::ALL {
        let metrics = node.metrics.api.of(method.name());
        let only = web::post().to(move |call| run(method, call, metrics.clone()));
        config.service(web::resource(method.name()).route(only).default_service(web::to(post_only)));
    }
    let metrics = node.metrics.api.of(BATCH);
    let of_lines = metrics.clone();
    let only = web::post().to(move |call| run_lines(call, of_lines.clone()));
    config.service(web::resource("").route(only).default_service(web::to(post_only)));
    let only = web::post().to(move |call| run_batch(call, metrics.clone()));
    config.service(web::resource(BATCH).route(only).default_service(web::to(post_only)));
    config.service(web::resource(OPENAPI).route(web::get().to(document)).default_service(web::to(get_only)));
    config.default_service(web::to(unknown));
}

/// One call of one method.
async fn run(method: Method, mut call: ApiCall, metrics: MethodMetrics) -> Result<HttpResponse, ApiError> {
    let (mode, began) = (call.error_mode, Instant::now());
    let span = call.take_span(method == Method::Broadcast);
    let answered = if method == Method::Broadcast {
        to_its_end(carry_out(method, call)).await
    } else {
        carry_out(method, call).await
    };
    answer(answered, mode, span, method.name(), (&metrics, began))
}

/// Counts a call that has its answer, ends its span, and puts an error into the form of the call.
fn answer(
    answered: Result<HttpResponse, ApiError>,
    mode: ErrorMode,
    span: Option<Span>,
    method: &'static str,
    (metrics, began): (&MethodMetrics, Instant),
) -> Result<HttpResponse, ApiError> {
    let code = answered.as_ref().err().map(|error| error.code().code);
    metrics.count(code.unwrap_or_default(), began.elapsed());
    let answer = answered.or_else(|error| error.in_mode(mode));
    if let Some(span) = span {
        let status = match &answer {
            Ok(response) => response.status(),
            Err(error) => error.status_code(),
        };
        end_request(span, method, status.as_u16(), code);
    }
    answer
}

async fn carry_out(method: Method, call: ApiCall) -> Result<HttpResponse, ApiError> {
    let command = ApiCommand::decode(method, &call.body)?;
    command.run(&CallContext::new(&call)).await?.into_response()
}

async fn run_batch(mut call: ApiCall, metrics: MethodMetrics) -> Result<HttpResponse, ApiError> {
    let (mode, began) = (call.error_mode, Instant::now());
    let span = call.take_span(true);
    let batch = async move {
        let request = batch::decode(&call.body)?;
        encode(&batch::run(&request, &CallContext::new(&call)).await).map(ok)
    };
    answer(to_its_end(batch).await, mode, span, BATCH, (&metrics, began))
}

async fn run_lines(mut call: ApiCall, metrics: MethodMetrics) -> Result<HttpResponse, ApiError> {
    let (mode, began) = (call.error_mode, Instant::now());
    let span = call.take_span(true);
    let answered = async move {
        let request = lines::decode(&call.body)?;
        let result = batch::run(&request, &CallContext::new(&call)).await;
        lines::answer(result.replies)
    };
    answer(to_its_end(answered).await, mode, span, BATCH, (&metrics, began))
}

/// Carries out a call that pauses between its publications: all of it, also where the caller does not wait for the answer.
async fn to_its_end(
    call: impl Future<Output = Result<HttpResponse, ApiError>> + 'static,
) -> Result<HttpResponse, ApiError> {
    actix_web::rt::spawn(call).await.map_err(|_| ErrorCode::INTERNAL)?
}

async fn document() -> impl Responder {
    HttpResponse::Ok().content_type("application/json").body(openapi::document_text())
}

async fn post_only() -> HttpResponse {
    wrong_verb("this method takes POST only", "POST")
}

async fn get_only() -> HttpResponse {
    wrong_verb("the document takes GET only", "GET, HEAD")
}

fn wrong_verb(message: &'static str, allow: &'static str) -> HttpResponse {
    let mut response = ApiError::wrong_verb(message).error_response();
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

/// Only a caller with a key learns the names of methods.
async fn unknown(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let node = request.app_data::<Data<Node>>().ok_or(ErrorCode::INTERNAL)?;
    check_key(node, &request)?;
    let name = request.path().rsplit_once("/api/").map_or(request.path(), |(_, name)| name);
    Err(method::unknown_method(name))
}

#[cfg(test)]
mod tests;
