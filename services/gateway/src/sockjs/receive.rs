//! Requests that receive: they open a session, or carry one that waits. `docs/protocols/sockjs.md` §4 and §5.

use actix_web::{HttpResponse, HttpResponseBuilder, body, http::StatusCode};
use gorani_protocol::sockjs::{Callback, Transport, Wrapping, transport::Direction};

use super::{SockJsRequest, label, pages, request, writer::SockJsFrameWriter};
use crate::{connection::state::OpenedSession, outbox::Outbox};
use crate::{
    endpoint::EndpointRefused,
    format::encoding::{Encoding, Framing},
    http_session::{
        Lifetime, Response,
        new_session::NewSession,
        pipe::{PipeReader, PipeWriter, ended, pipe},
        registry::{DeliveryError, SessionOwner},
        request::SessionRequest,
    },
    node::admission::permits::ConnectionPermit,
    session::Now,
};

/// How often a session may end just when the request comes for it.
const ATTEMPTS: usize = 4;

/// Answers a request that receives. `place`: a slot for its session, where that is to be opened.
pub(super) async fn receive(
    context: &SockJsRequest<'_>,
    session: &str,
    transport: Transport,
    mut place: Option<ConnectionPermit>,
) -> HttpResponse {
    let callback = if transport.has_callback() {
        match Callback::from_query(context.request.query_string()) {
            Ok(callback) => Some(callback),
            Err(error) => return context.message(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    } else {
        None
    };
    let Some(wrapping) = Wrapping::of(transport, callback) else { return pages::not_found() };
    for _ in 0..ATTEMPTS {
        let (pipe, body) = pipe();
        let writer = SockJsFrameWriter::new(transport, wrapping.clone(), context.endpoint.response_max_bytes);
        if let Err(refused) = attach(context, session, transport, &mut place, pipe, writer) {
            return request::refuse(&context.local.node, &refused);
        }
        // A session that was about to end left nothing: an empty answer would make the client ask at once, again and again.
        if body.begins().await {
            return respond(context, transport, body).await;
        }
        actix_rt::task::yield_now().await;
    }
    context.unreachable()
}

/// Answers HEAD: what a request that receives would be answered, without one. A session is neither opened nor touched.
pub(super) fn head(context: &SockJsRequest<'_>, session: &str, transport: Transport) -> HttpResponse {
    if transport.has_callback()
        && let Err(error) = Callback::from_query(context.request.query_string())
    {
        return context.message(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    }
    let key = context.endpoint.key(session);
    let may =
        if context.local.registry.has(&key) { context.check_owner(&key) } else { context.check_capacity() };
    if let Err(refused) = may {
        return request::refuse(&context.local.node, &refused);
    }
    if transport.direction() == Direction::Stream {
        return context.stream(transport.content_type(), ended());
    }
    // The length of a frame that is not there cannot be told.
    let mut response = frame_answer(context, transport);
    response
        .message_body(body::None::new())
        .map_or_else(HttpResponse::from_error, HttpResponse::map_into_boxed_body)
}

/// Brings a response to its session, which is opened if nobody has it.
fn attach(
    context: &SockJsRequest<'_>,
    session: &str,
    transport: Transport,
    place: &mut Option<ConnectionPermit>,
    pipe: PipeWriter,
    writer: SockJsFrameWriter,
) -> Result<(), EndpointRefused> {
    let key = context.endpoint.key(session);
    let registry = &context.local.registry;
    match registry.owner("", &key) {
        SessionOwner::Here => {
            context.check_owner(&key)?;
            let brought =
                registry.deliver(&key, SessionRequest::Attach(Response { pipe, writer: Box::new(writer) }));
            return match brought {
                // One that is over left nothing: the next attempt sees that.
                Ok(()) | Err(DeliveryError::Over) => Ok(()),
                Err(busy @ DeliveryError::Busy) => Err(EndpointRefused::Status(503, busy.to_string())),
            };
        }
        SessionOwner::Ended(reason) => {
            Response { pipe, writer: Box::new(writer) }.tell_ended(&reason);
            return Ok(());
        }
        SessionOwner::Elsewhere(_) => {
            return Err(EndpointRefused::Status(503, "the session is another node's".to_owned()));
        }
        SessionOwner::Nobody => {}
    }
    context.check_handshakes()?;
    let permit = match place.take() {
        Some(place) => place,
        None => context.acquire_permit()?,
    };
    let handshake = context.handshake();
    let endpoint = &context.endpoint.endpoint;
    let settings = &context.local.node.settings.sockjs;
    let new_session = NewSession {
        opened: OpenedSession {
            session: endpoint.open(&handshake, Now::read())?,
            outbox: Outbox::new(endpoint.outbox_max_bytes()),
            encoding: Encoding { protocol: endpoint.protocol(), framing: Framing::SockJs },
            transport: label(transport),
            protocol: endpoint.name(),
            peer: handshake.peer,
            permit,
        },
        response: Response { pipe, writer: Box::new(writer.opening()) },
        lifetime: Lifetime::Visits {
            patience: settings.disconnect_delay,
            heartbeat: settings.heartbeat,
            most: settings.max_waiting,
        },
        id: Some(key),
        messages: Vec::new(),
    };
    // Taken: another request was faster. This one is answered by that one's session, at the next attempt.
    if new_session.open(context.local).is_ok() {
        context.forwarder.opened(&context.endpoint.key(session));
    }
    Ok(())
}

async fn respond(context: &SockJsRequest<'_>, transport: Transport, body: PipeReader) -> HttpResponse {
    if transport.direction() == Direction::Stream {
        return context.stream(transport.content_type(), body);
    }
    // One frame, and its length is known.
    let frame = body.collect().await.freeze();
    frame_answer(context, transport).body(frame)
}

/// Begins an answer of one frame.
fn frame_answer(context: &SockJsRequest<'_>, transport: Transport) -> HttpResponseBuilder {
    let mut response = context.session_answer(StatusCode::OK, transport.content_type());
    if transport == Transport::Jsonp {
        response.insert_header(("X-Content-Type-Options", "nosniff"));
    }
    response
}
