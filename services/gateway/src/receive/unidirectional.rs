//! Receiving without an SDK: `uni_http_stream` (an object a line) and `uni_sse` (an event for each object, whose id says
//! how far it brings its reader). `docs/protocols/http.md` §9, §10.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web,
};

use super::{
    client_stream::{EVENTS_TYPE, LINES_TYPE},
    query::{Query, receive_query},
};
use crate::{
    format::encoding::{Encoding, Framing, Protocol},
    http::{
        is_head,
        refusal::HttpRefusal,
        request_context::{ReceiverSession, RequestContext, answer},
    },
    http_session::{
        WorkerContext,
        pipe::{PipeReader, ended},
        writer::{ResponseWriter, StreamWriter},
    },
    metrics::TransportLabel,
    receive::event_id_writer::EventIdWriter,
    session::{
        Now,
        client::{
            OutputFormat, TransportTraits,
            receiver::{self, ReceiveQuery, UniSession},
        },
    },
};

static UNI_HTTP_STREAM: TransportLabel = TransportLabel::new("uni_http_stream");
static UNI_SSE: TransportLabel = TransportLabel::new("uni_sse");

/// `GET` or `POST /connection/uni_http_stream`.
pub async fn uni_http_stream(
    request: HttpRequest,
    payload: web::Payload,
    local: web::Data<WorkerContext>,
) -> HttpResponse {
    answer(&request, &local, async |context| {
        let most = local.node.policy.settings.message_max_bytes;
        let body = context.body(payload, most).await?;
        let receive_query = read_query(context, &body)?;
        if is_head(&request) {
            check(context, &receive_query)?;
            return Ok(context.stream(LINES_TYPE, ended()));
        }
        let encoding = Encoding { protocol: Protocol::Plain, framing: Framing::Lines };
        let writer = Box::new(StreamWriter::BareLines);
        let body = open(context, &UNI_HTTP_STREAM, encoding, OutputFormat::Plain, receive_query, writer)?;
        begun(&body).await?;
        Ok(context.stream_session(LINES_TYPE, body))
    })
    .await
}

/// `GET /connection/uni_sse`.
pub async fn uni_sse(request: HttpRequest, local: web::Data<WorkerContext>) -> HttpResponse {
    answer(&request, &local, async |context| {
        let answered = stream_events(context).await;
        if is_event_source(context)
            && let Err(refusal) = &answered
            && !refusal.is_temporary()
        {
            // An EventSource reads no body; this is the status that tells it not to come back.
            refusal.count(&local.node);
            return Ok(context.response(StatusCode::NO_CONTENT).finish());
        }
        answered
    })
    .await
}

async fn stream_events(context: &RequestContext<'_>) -> Result<HttpResponse, HttpRefusal> {
    let receive_query = read_query(context, &[])?;
    if is_head(context.request) {
        check(context, &receive_query)?;
        return Ok(context.stream(EVENTS_TYPE, ended()));
    }
    let writer = Box::new(EventIdWriter::default());
    let encoding = Encoding { protocol: Protocol::WithPositions, framing: Framing::EventsWithIds };
    let body = open(context, &UNI_SSE, encoding, OutputFormat::WithPositions, receive_query, writer)?;
    begun(&body).await?;
    Ok(context.stream_session(EVENTS_TYPE, body))
}

fn read_query(context: &RequestContext<'_>, body: &[u8]) -> Result<ReceiveQuery, HttpRefusal> {
    let query = Query::parse(context.request.query_string());
    receive_query(context.request.headers(), &query, body, &context.local.node.policy.rules)
}

/// True if a receiver would be let in.
fn check(context: &RequestContext<'_>, receive_query: &ReceiveQuery) -> Result<(), HttpRefusal> {
    context.check_capacity()?;
    let node = &context.local.node;
    Ok(receiver::check(
        node.policy.clone(),
        receive_query,
        node.admission.login_limit(context.peer),
        Now::read(),
    )?)
}

fn open(
    context: &RequestContext<'_>,
    transport: &'static TransportLabel,
    encoding: Encoding,
    format: OutputFormat,
    receive_query: ReceiveQuery,
    writer: Box<dyn ResponseWriter>,
) -> Result<PipeReader, HttpRefusal> {
    let node = &context.local.node;
    let traits = TransportTraits { format, ..TransportTraits::default() };
    let session = UniSession::new(node.policy.clone(), traits, receive_query, Now::read());
    let session = Box::new(session.with_login_limit(node.admission.login_limit(context.peer)));
    context.open(ReceiverSession { session, transport, encoding, writer, id: None, commands: Vec::new() })
}

/// Waits until the session has begun.
async fn begun(body: &PipeReader) -> Result<(), HttpRefusal> {
    match body.begun().await {
        Some(Err(refused)) => Err(refused.into()),
        Some(Ok(_)) | None => Ok(()),
    }
}

/// True if a browser's `EventSource` asks: it says what it reads.
fn is_event_source(context: &RequestContext<'_>) -> bool {
    context.header(header::ACCEPT.as_str()).is_some_and(|accept| accept.contains("text/event-stream"))
}
