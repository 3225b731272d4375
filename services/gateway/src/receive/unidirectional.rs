//! Receiving without an SDK: `uni_http_stream` (an object a line) and `uni_sse` (an event for each object, whose id says
//! how far it brings its reader). `docs/protocols/http.md` §9, §10.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web,
};

use super::{
    client_stream::{EVENTS_TYPE, LINES_TYPE},
    query::Query,
    receive_query::receive_query,
};
use crate::http::{body, refusal::HttpRefusal, request_context::RequestContext};
use crate::{connection::state::OpenedSession, outbox::Outbox};
use crate::{
    disconnect::ErrorCode,
    format::encoding::{Encoding, Framing, Protocol},
    http::head::is_head,
    http_session::{
        Lifetime, Response, WorkerContext,
        new_session::NewSession,
        pipe::{PipeReader, ended, pipe},
        writer::{ResponseWriter, StreamWriter},
    },
    metrics::TransportLabel,
    receive::event_id_writer::EventIdWriter,
    session::{
        Now,
        client::{OutputFormat, TransportTraits},
        uni::{self, ReceiveQuery, UniSession},
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
    let context = match RequestContext::of(&request, &local) {
        Ok(context) => context,
        Err(refusal) => return refusal.response(),
    };
    let streamed = async {
        let most = local.node.settings.client.message_max_bytes;
        let body = body::read(request.headers(), payload, most).await?;
        let query = Query::parse(request.query_string());
        let receive_query = receive_query(request.headers(), &query, &body, &local.node.policy.rules)?;
        if is_head(&request) {
            check(&context, &receive_query)?;
            return Ok(context.stream(LINES_TYPE, ended()));
        }
        let encoding = Encoding { protocol: Protocol::Plain, framing: Framing::Lines };
        let body = open(
            &context,
            &UNI_HTTP_STREAM,
            encoding,
            OutputFormat::Plain,
            receive_query,
            StreamWriter::BareLines,
        )?;
        begun(&body).await?;
        Ok(context.stream_session(LINES_TYPE, body))
    };
    streamed.await.unwrap_or_else(|refusal: HttpRefusal| context.refuse(&refusal))
}

/// `GET /connection/uni_sse`.
pub async fn uni_sse(request: HttpRequest, local: web::Data<WorkerContext>) -> HttpResponse {
    let context = match RequestContext::of(&request, &local) {
        Ok(context) => context,
        Err(refusal) => return refusal.response(),
    };
    let streamed = async {
        let query = Query::parse(request.query_string());
        let receive_query = receive_query(request.headers(), &query, &[], &local.node.policy.rules)?;
        if is_head(&request) {
            check(&context, &receive_query)?;
            return Ok(context.stream(EVENTS_TYPE, ended()));
        }
        let writer = EventIdWriter::default();
        let encoding = Encoding { protocol: Protocol::WithPositions, framing: Framing::EventsWithIds };
        let body = open(&context, &UNI_SSE, encoding, OutputFormat::WithPositions, receive_query, writer)?;
        begun(&body).await?;
        Ok(context.stream_session(EVENTS_TYPE, body))
    };
    streamed.await.unwrap_or_else(|refusal: HttpRefusal| {
        let mut response = context.refuse(&refusal);
        if is_event_source(&request) && !refusal.is_temporary() {
            // An EventSource reads no body; this is the status that tells it not to come back.
            response = context.response(StatusCode::NO_CONTENT).finish();
        }
        response
    })
}

/// True if a receiver would be let in.
fn check(context: &RequestContext, receive_query: &ReceiveQuery) -> Result<(), HttpRefusal> {
    context.check_capacity()?;
    let node = &context.local.node;
    Ok(uni::check(node.policy.clone(), receive_query, node.admission.login_limit(context.peer), Now::read())?)
}

/// Opens the session of a receiver; its response is what comes out of the pipe.
pub(super) fn open(
    context: &RequestContext,
    transport: &'static TransportLabel,
    encoding: Encoding,
    format: OutputFormat,
    receive_query: ReceiveQuery,
    writer: impl ResponseWriter + 'static,
) -> Result<PipeReader, HttpRefusal> {
    let traits = TransportTraits { format, ..TransportTraits::default() };
    let session = UniSession::new(context.local.node.policy.clone(), traits, receive_query, Now::read());
    open_session(context, transport, encoding, session, writer)
}

/// The same with a session that is made already.
pub(super) fn open_session(
    context: &RequestContext,
    transport: &'static TransportLabel,
    encoding: Encoding,
    session: UniSession,
    writer: impl ResponseWriter + 'static,
) -> Result<PipeReader, HttpRefusal> {
    let permit = context.acquire_permit()?;
    let (pipe, body) = pipe();
    let new_session = NewSession {
        opened: OpenedSession {
            session: Box::new(
                session.with_login_limit(context.local.node.admission.login_limit(context.peer)),
            ),
            outbox: Outbox::new(context.local.node.settings.client.outbox_max_bytes),
            encoding: encoding,
            transport: transport,
            protocol: "json",
            peer: context.peer,
            permit,
        },
        response: Response { pipe, writer: Box::new(writer) },
        lifetime: Lifetime::Response,
        id: None,
        messages: Vec::new(),
    };
    // Only an id can be taken, and it has none.
    new_session.open(&context.local).map_err(|_| HttpRefusal::from(ErrorCode::INTERNAL))?;
    Ok(body)
}

/// Waits until the session has begun.
async fn begun(body: &PipeReader) -> Result<(), HttpRefusal> {
    match body.begun().await {
        Some(Err(refused)) => Err(refused.into()),
        Some(Ok(_)) | None => Ok(()),
    }
}

/// Whether a browser's `EventSource` asks: it says what it reads.
fn is_event_source(request: &HttpRequest) -> bool {
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/event-stream"))
}
