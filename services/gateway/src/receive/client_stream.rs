//! The client protocol over a response that goes on: `http_stream` (lines) and `sse` (events). Commands come by `POST /emulation`,
//! which may land on any node and goes to the session's ([`crate::forward`]). `docs/protocols/http.md` §12 and §13.

use std::borrow::Cow;

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use bytes::Bytes;
use gorani_protocol::client::{ClientForm, protobuf};
use serde::Deserialize;

use crate::{
    disconnect::ErrorCode,
    format::encoding::{Encoding, Framing, Protocol},
    forward::{ForwardError, Forwarder, is_forwarded},
    http::{
        is_head,
        refusal::HttpRefusal,
        request_context::{PROTOBUF_TYPE, ReceiverSession, RequestContext, answer, answer_in_form},
    },
    http_session::{
        WorkerContext,
        pipe::ended,
        registry::{
            Busy, DeliveryError, HttpSessionRegistry, InboundMessage, InboundMessages, SessionOwner,
            SessionRequest,
        },
        writer::StreamWriter,
    },
    metrics::TransportLabel,
    node::admission::attempts::AttemptKind,
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
/// Most bytes that one byte of the data takes in the body: `"` takes two, a control character six.
const ESCAPED_BYTES: usize = 6;
/// Bytes of a body besides the data.
const ENVELOPE_BYTES: usize = 1024;

/// `POST /connection/http_stream`: the body is the connect command, the response an object a line, or a message behind its length
/// where the body is protobuf.
pub async fn http_stream(
    request: HttpRequest,
    payload: web::Payload,
    local: web::Data<WorkerContext>,
) -> HttpResponse {
    answer_in_form(&request, &local, async |context, form| {
        let most = local.node.policy.get().settings.message_max_bytes;
        let body = context.body(payload, most).await?;
        let commands = match form {
            ClientForm::Json => InboundMessage::Text(
                String::from_utf8(body.into())
                    .map_err(|_| HttpRefusal::bad_request("the body is no UTF-8"))?,
            ),
            ClientForm::Protobuf => InboundMessage::Binary(body),
        };
        open(context, &HTTP_STREAM, form, commands)
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
        Ok(query) if !query.cf_connect.is_empty() => {
            open(context, &SSE, ClientForm::Json, query.into_inner().cf_connect.into())
        }
        _ => Err(HttpRefusal::bad_request("cf_connect must be a connect command")),
    })
    .await
}

fn open(
    context: &RequestContext<'_>,
    transport: &'static TransportLabel,
    form: ClientForm,
    commands: InboundMessage,
) -> Result<HttpResponse, HttpRefusal> {
    let (framing, stream, content_type) = match form {
        ClientForm::Protobuf => (Framing::Raw, StreamWriter::Delimited, PROTOBUF_TYPE),
        ClientForm::Json if transport == &SSE => (Framing::Events, StreamWriter::Events, EVENTS_TYPE),
        ClientForm::Json => (Framing::Lines, StreamWriter::Lines, LINES_TYPE),
    };
    let node = &context.local.node;
    let id = HttpSessionRegistry::new_id();
    let traits = TransportTraits { emulation: Some(id.clone()), form, ..TransportTraits::default() };
    let session = ClientSession::new(node.policy.get(), traits, Now::read());
    let session = session.with_login_limit(node.admission.login_limit(context.peer));
    let opened = ReceiverSession {
        session: Box::new(session.with_calls(context.calls(transport, form.name()))),
        transport,
        encoding: Encoding { protocol: Protocol::Client(form), framing },
        writer: Box::new(stream),
        id: Some(id),
        commands: vec![commands],
    };
    Ok(context.stream_session(content_type, context.open(opened)?))
}

/// Commands, and the session that they are for.
#[derive(Deserialize)]
struct EmulationRequest<'a> {
    #[serde(borrow, default)]
    session: Cow<'a, str>,
    #[serde(borrow, default)]
    node: Cow<'a, str>,
    /// Commands, joined by newlines.
    #[serde(default)]
    data: String,
}

/// The same in either form.
struct EmulatedCommands {
    session: String,
    node: String,
    data: InboundMessage,
    bytes: usize,
}

impl EmulatedCommands {
    fn read(body: &Bytes, form: ClientForm) -> Result<Self, HttpRefusal> {
        match form {
            ClientForm::Json => {
                let EmulationRequest { session, node, data } =
                    serde_json::from_slice(body).map_err(|_| {
                        HttpRefusal::bad_request("the body must be an object with session, node and data")
                    })?;
                let (session, node) = (session.into_owned(), node.into_owned());
                Ok(Self { session, node, bytes: data.len(), data: data.into() })
            }
            ClientForm::Protobuf => {
                let protobuf::Emulated { session, node, data } = protobuf::decode_emulation(body.clone())
                    .map_err(|_| HttpRefusal::bad_request("the body must be an EmulationRequest"))?;
                Ok(Self { session, node, bytes: data.len(), data: InboundMessage::Binary(data) })
            }
        }
    }
}

/// `POST /emulation`: answers 204 once the session has taken the commands.
pub async fn emulation(
    request: HttpRequest,
    payload: web::Payload,
    local: web::Data<WorkerContext>,
    forwarder: web::Data<Forwarder>,
) -> HttpResponse {
    answer_in_form(&request, &local, async |context, form| {
        let escaped = match form {
            ClientForm::Json => ESCAPED_BYTES,
            ClientForm::Protobuf => 1,
        };
        let most =
            local.node.policy.get().settings.message_max_bytes.saturating_mul(escaped) + ENVELOPE_BYTES;
        let body = context.body(payload, most).await?;
        deliver(context, &forwarder, form, &body).await
    })
    .await
}

async fn deliver(
    context: &RequestContext<'_>,
    forwarder: &Forwarder,
    form: ClientForm,
    body: &Bytes,
) -> Result<HttpResponse, HttpRefusal> {
    let local = context.local;
    let emulated = EmulatedCommands::read(body, form)?;
    if emulated.session.is_empty() || emulated.bytes == 0 {
        return Err(HttpRefusal::bad_request("session and data must be there"));
    }
    if emulated.bytes > local.node.policy.get().settings.message_max_bytes {
        return Err(HttpRefusal::new(ErrorCode::LIMIT_EXCEEDED, "the commands are too large"));
    }
    match local.registry.owner(&emulated.node, &emulated.session) {
        SessionOwner::Here => {
            let (messages, taken) = InboundMessages::new([emulated.data]);
            match local.registry.deliver(&emulated.session, SessionRequest::Send(messages)) {
                Ok(()) => {}
                Err(DeliveryError::Busy) => return Err(ErrorCode::TOO_MANY_REQUESTS.into()),
                Err(DeliveryError::Over) => return Err(over()),
            }
            match taken.await {
                Ok(Ok(())) => Ok(context.response(StatusCode::NO_CONTENT).finish()),
                Ok(Err(Busy)) => Err(ErrorCode::TOO_MANY_REQUESTS.into()),
                Err(_) => Err(over()),
            }
        }
        SessionOwner::Elsewhere(node) => match forwarder.relay(&node, context.request, body).await {
            Ok(response) if response.status() == StatusCode::NOT_FOUND => Err(unknown(context)),
            Ok(response) => Ok(response),
            Err(ForwardError::Busy) => Err(ErrorCode::TOO_MANY_REQUESTS.into()),
            Err(ForwardError::Unreachable | ForwardError::Elsewhere) => Err(unknown(context)),
        },
        SessionOwner::Ended(_) => Err(over()),
        SessionOwner::Nobody => Err(unknown(context)),
    }
}

fn over() -> HttpRefusal {
    HttpRefusal::new(ErrorCode::NOT_AVAILABLE, "no such session, or it is over")
        .with_status(StatusCode::NOT_FOUND)
}

/// Nobody has the session: its client is late, or somebody guesses. It is counted where the client's request has arrived;
/// a client that names too many gets a refusal that says so. A right id of 128 random bits is nobody's guess and never refused.
fn unknown(context: &RequestContext<'_>) -> HttpRefusal {
    let node = &context.local.node;
    if is_forwarded(context.request)
        || node.admission.failed_attempt(AttemptKind::OwnSessionId, node.admission.network_of(context.peer))
    {
        return over();
    }
    HttpRefusal::new(ErrorCode::TOO_MANY_REQUESTS, "too many requests for sessions that do not exist")
}
