//! Receiving without an SDK: `uni_http_stream` (an object a line) and `uni_sse` (an event for each object, whose id says
//! how far it brings its reader). `specs/http-transports.md`, items 3 and 4.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web,
};

use super::{
    door::Door,
    query::Query,
    refusal::Refusal,
    streaming::{EVENTS_TYPE, LINES_TYPE},
    wish::wish,
};
use crate::{
    disconnect::ErrorCode,
    hub::fanout::{Encoding, Framing, Protocol},
    metrics::TransportLabel,
    session::{
        Now,
        client::{Dialect, TransportTraits},
        uni::{self, UniSession, Wish},
    },
    transport::{
        head::is_head,
        held::{
            Lifetime, Response,
            opening::{Local, Opening},
            pipe::{PipeReader, ended, pipe},
            tracked::TrackedEvents,
            writer::{Stream, Writer},
        },
    },
};

static UNI_HTTP_STREAM: TransportLabel = TransportLabel::new("uni_http_stream");
static UNI_SSE: TransportLabel = TransportLabel::new("uni_sse");

/// `GET` or `POST /connection/uni_http_stream`.
pub async fn uni_http_stream(
    request: HttpRequest,
    payload: web::Payload,
    local: web::Data<Local>,
) -> HttpResponse {
    let door = match Door::of(&request, &local) {
        Ok(door) => door,
        Err(refusal) => return refusal.response(),
    };
    let streamed = async {
        let body = door.body(payload, local.node.settings.client.message_max_bytes).await?;
        let query = Query::parse(request.query_string());
        let wish = wish(request.headers(), &query, &body, &local.node.policy.rules)?;
        if is_head(&request) {
            check(&door, &wish)?;
            return Ok(door.stream(LINES_TYPE, ended()));
        }
        let encoding = Encoding { protocol: Protocol::Bare, framing: Framing::Lines };
        let body = open(&door, &UNI_HTTP_STREAM, encoding, Dialect::Bare, wish, Stream::BareLines)?;
        begun(&body).await?;
        Ok(door.stream_session(LINES_TYPE, body))
    };
    streamed.await.unwrap_or_else(|refusal: Refusal| door.refuse(&refusal))
}

/// `GET /connection/uni_sse`.
pub async fn uni_sse(request: HttpRequest, local: web::Data<Local>) -> HttpResponse {
    let door = match Door::of(&request, &local) {
        Ok(door) => door,
        Err(refusal) => return refusal.response(),
    };
    let streamed = async {
        let query = Query::parse(request.query_string());
        let wish = wish(request.headers(), &query, &[], &local.node.policy.rules)?;
        if is_head(&request) {
            check(&door, &wish)?;
            return Ok(door.stream(EVENTS_TYPE, ended()));
        }
        let writer = TrackedEvents::default();
        let encoding = Encoding { protocol: Protocol::Tracked, framing: Framing::TrackedEvents };
        let body = open(&door, &UNI_SSE, encoding, Dialect::Tracked, wish, writer)?;
        begun(&body).await?;
        Ok(door.stream_session(EVENTS_TYPE, body))
    };
    streamed.await.unwrap_or_else(|refusal: Refusal| {
        let mut response = door.refuse(&refusal);
        if is_event_source(&request) && !refusal.is_temporary() {
            // An EventSource reads no body; this is the status that tells it not to come back.
            response = door.response(StatusCode::NO_CONTENT).finish();
        }
        response
    })
}

/// True if a receiver would be let in.
fn check(door: &Door, wish: &Wish) -> Result<(), Refusal> {
    door.check_capacity()?;
    let node = &door.local.node;
    Ok(uni::check(node.policy.clone(), wish, node.login_limit(door.peer), Now::read())?)
}

/// Opens the session of a receiver; its response is what comes out of the pipe.
pub(super) fn open(
    door: &Door,
    transport: &'static TransportLabel,
    encoding: Encoding,
    dialect: Dialect,
    wish: Wish,
    writer: impl Writer + 'static,
) -> Result<PipeReader, Refusal> {
    let traits = TransportTraits { dialect, ..TransportTraits::default() };
    let session = UniSession::new(door.local.node.policy.clone(), traits, wish, Now::read());
    open_session(door, transport, encoding, session, writer)
}

/// The same with a session that is made already.
pub(super) fn open_session(
    door: &Door,
    transport: &'static TransportLabel,
    encoding: Encoding,
    session: UniSession,
    writer: impl Writer + 'static,
) -> Result<PipeReader, Refusal> {
    let place = door.place()?;
    let (pipe, body) = pipe();
    let opening = Opening {
        session: Box::new(session.with_login_limit(door.local.node.login_limit(door.peer))),
        encoding,
        outbox_max_bytes: door.local.node.settings.client.outbox_max_bytes,
        transport,
        protocol: "json",
        peer: door.peer,
        response: Response { pipe, writer: Box::new(writer) },
        lifetime: Lifetime::Response,
        id: None,
        messages: Vec::new(),
        place,
    };
    // Only an id can be taken, and it has none.
    opening.open(&door.local).map_err(|_| Refusal::from(ErrorCode::INTERNAL))?;
    Ok(body)
}

/// Waits until the session has begun.
async fn begun(body: &PipeReader) -> Result<(), Refusal> {
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
