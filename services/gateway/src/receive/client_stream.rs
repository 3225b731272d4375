//! The client protocol over a response that goes on: `http_stream` (lines) and `sse` (events). Commands come through
//! [`super::emulation`]. `docs/protocols/http.md` §12.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;

use crate::{
    format::encoding::{Encoding, Framing, Protocol},
    http::{
        is_head,
        refusal::HttpRefusal,
        request_context::{ReceiverSession, RequestContext, answer},
    },
    http_session::{WorkerContext, pipe::ended, registry::HttpSessionRegistry, writer::StreamWriter},
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
    answer(&request, &local, async |context| {
        let most = local.node.policy.settings.message_max_bytes;
        let body = context.body(payload, most).await?;
        let commands =
            String::from_utf8(body.into()).map_err(|_| HttpRefusal::bad_request("the body is no UTF-8"))?;
        open(context, &HTTP_STREAM, commands)
    })
    .await
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
    answer(&request, &local, async |context| match query {
        Ok(query) if !query.cf_connect.is_empty() && is_head(&request) => {
            context.check_capacity()?;
            Ok(context.stream(EVENTS_TYPE, ended()))
        }
        Ok(query) if !query.cf_connect.is_empty() => open(context, &SSE, query.into_inner().cf_connect),
        _ => Err(HttpRefusal::bad_request("cf_connect must be a connect command")),
    })
    .await
}

fn open(
    context: &RequestContext<'_>,
    transport: &'static TransportLabel,
    commands: String,
) -> Result<HttpResponse, HttpRefusal> {
    let (framing, stream, content_type) = if transport == &SSE {
        (Framing::Events, StreamWriter::Events, EVENTS_TYPE)
    } else {
        (Framing::Lines, StreamWriter::Lines, LINES_TYPE)
    };
    let node = &context.local.node;
    let id = HttpSessionRegistry::new_id();
    let traits = TransportTraits { emulation: Some(id.clone()), ..TransportTraits::default() };
    let session = ClientSession::new(node.policy.clone(), traits, Now::read());
    let opened = ReceiverSession {
        session: Box::new(session.with_login_limit(node.admission.login_limit(context.peer))),
        transport,
        encoding: Encoding { protocol: Protocol::Client, framing },
        writer: Box::new(stream),
        id: Some(id),
        commands: vec![commands],
    };
    Ok(context.stream_session(content_type, context.open(opened)?))
}
