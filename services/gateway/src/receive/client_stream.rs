//! The client protocol over a response that goes on: `http_stream` (lines) and `sse` (events). Commands come through
//! [`super::emulation`]. `docs/protocols/http.md` §12.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

use crate::http::{body, refusal::HttpRefusal, request_context::RequestContext};
use crate::{connection::state::OpenedSession, outbox::Outbox};
use crate::{
    format::encoding::{Encoding, Framing, Protocol},
    http::head::is_head,
    http_session::{
        Lifetime, Response, WorkerContext,
        new_session::NewSession,
        pipe::{ended, pipe},
        registry::HttpSessionRegistry,
        writer::StreamWriter,
    },
    metrics::TransportLabel,
    session::{
        Now,
        client::{ClientSession, TransportTraits},
    },
};

static HTTP_STREAM: TransportLabel = TransportLabel::new("http_stream");
static SSE: TransportLabel = TransportLabel::new("sse");

/// Type of a response of lines.
pub(super) const LINES_TYPE: &str = "application/x-ndjson; charset=utf-8";
/// Type of a response of events.
pub(super) const EVENTS_TYPE: &str = "text/event-stream; charset=utf-8";

/// `POST /connection/http_stream`: the body is the connect command, the response an object a line.
pub async fn http_stream(
    request: HttpRequest,
    payload: web::Payload,
    local: web::Data<WorkerContext>,
) -> HttpResponse {
    let context = match RequestContext::of(&request, &local) {
        Ok(context) => context,
        Err(refusal) => return refusal.response(),
    };
    let most = local.node.settings.client.message_max_bytes;
    let opened = match body::read(request.headers(), payload, most).await {
        Ok(body) => match String::from_utf8(body.into()) {
            Ok(commands) => open(&context, &HTTP_STREAM, commands),
            Err(_) => Err(HttpRefusal::bad_request("the body is no UTF-8")),
        },
        Err(error) => Err(error.into()),
    };
    opened.unwrap_or_else(|refusal| context.refuse(&refusal))
}

/// The query of `/connection/sse`.
#[derive(Deserialize)]
pub struct ConnectQuery {
    /// The connect command.
    #[serde(default)]
    cf_connect: String,
}

/// `GET /connection/sse?cf_connect=…`: the query is the connect command, the response an event for each message.
pub async fn sse(
    request: HttpRequest,
    query: Result<web::Query<ConnectQuery>, actix_web::Error>,
    local: web::Data<WorkerContext>,
) -> HttpResponse {
    let context = match RequestContext::of(&request, &local) {
        Ok(context) => context,
        Err(refusal) => return refusal.response(),
    };
    let opened = match query {
        Ok(query) if !query.cf_connect.is_empty() && is_head(&request) => {
            context.check_capacity().map(|()| context.stream(EVENTS_TYPE, ended()))
        }
        Ok(query) if !query.cf_connect.is_empty() => open(&context, &SSE, query.into_inner().cf_connect),
        _ => Err(HttpRefusal::bad_request("cf_connect must be a connect command")),
    };
    opened.unwrap_or_else(|refusal| context.refuse(&refusal))
}

fn open(
    context: &RequestContext,
    transport: &'static TransportLabel,
    commands: String,
) -> Result<HttpResponse, HttpRefusal> {
    let permit = context.acquire_permit()?;
    let (framing, stream, content_type) = if transport == &SSE {
        (Framing::Events, StreamWriter::Events, EVENTS_TYPE)
    } else {
        (Framing::Lines, StreamWriter::Lines, LINES_TYPE)
    };
    let node = &context.local.node;
    let id = HttpSessionRegistry::new_id();
    let traits = TransportTraits { emulation: Some(id.clone()), ..TransportTraits::default() };
    let session = ClientSession::new(node.policy.clone(), traits, Now::read());
    let (writer, body) = pipe();
    let new_session = NewSession {
        opened: OpenedSession {
            session: Box::new(session.with_login_limit(node.admission.login_limit(context.peer))),
            outbox: Outbox::new(node.settings.client.outbox_max_bytes),
            encoding: Encoding { protocol: Protocol::Client, framing },
            transport: transport,
            protocol: "json",
            peer: context.peer,
            permit,
        },
        response: Response { pipe: writer, writer: Box::new(stream) },
        lifetime: Lifetime::Response,
        id: Some(id),
        messages: vec![commands],
    };
    // Nobody else has an id of 128 random bits.
    new_session
        .open(&context.local)
        .map_err(|_| HttpRefusal::from(crate::disconnect::ErrorCode::INTERNAL))?;
    Ok(context.stream_session(content_type, body))
}
