//! Requests that receive: they open a session, or carry one that waits. `docs/protocols/sockjs.md` §4 and §5.

use actix_web::{HttpResponse, HttpResponseBuilder, body, http::StatusCode};
use gorani_protocol::sockjs::{Callback, Transport, Wrapping, path::Direction};

use super::{
    request::{SockJsRequest, not_found, refuse},
    writer::SockJsFrameWriter,
};
use crate::{
    connection::state::OpenedSession,
    endpoint::EndpointRefused,
    format::encoding::{Encoding, Framing},
    http_session::{
        Lifetime, NewSession, Response,
        pipe::{PipeReader, PipeWriter, ended, pipe},
        registry::{DeliveryError, SessionOwner, SessionRequest},
    },
    node::admission::permits::ConnectionPermit,
    outbox::Outbox,
    session::Now,
};

/// Attempts to reach a session that may end just when the request comes for it.
const ATTEMPTS: usize = 4;

/// Answers a request that receives. `permit`: a slot for its session, where that is to be opened.
pub(super) async fn receive(
    asked: &SockJsRequest<'_>,
    session: &str,
    transport: Transport,
    mut permit: Option<ConnectionPermit>,
) -> HttpResponse {
    let callback = if transport.has_callback() {
        match Callback::from_query(asked.context.request.query_string()) {
            Ok(callback) => Some(callback),
            Err(error) => return asked.message(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    } else {
        None
    };
    let Some(wrapping) = Wrapping::of(transport, callback) else { return not_found() };
    for _ in 0..ATTEMPTS {
        let (pipe, body) = pipe();
        let writer = SockJsFrameWriter::new(transport, wrapping.clone(), asked.endpoint.response_max_bytes);
        if let Err(refused) = attach(asked, session, transport, &mut permit, pipe, writer) {
            return refuse(&asked.context.local.node, &refused);
        }
        // A session that was about to end left nothing: an empty answer would make the client ask at once, again and again.
        if body.begins().await {
            return respond(asked, transport, body).await;
        }
        actix_rt::task::yield_now().await;
    }
    asked.unreachable()
}

/// Answers HEAD: what a request that receives would be answered, without one. A session is neither opened nor touched.
pub(super) fn head(asked: &SockJsRequest<'_>, session: &str, transport: Transport) -> HttpResponse {
    if transport.has_callback()
        && let Err(error) = Callback::from_query(asked.context.request.query_string())
    {
        return asked.message(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    }
    let key = asked.endpoint.key(session);
    let may =
        if asked.context.local.registry.has(&key) { asked.check_owner(&key) } else { asked.check_capacity() };
    if let Err(refused) = may {
        return refuse(&asked.context.local.node, &refused);
    }
    if transport.direction() == Direction::Stream {
        return asked.stream(transport.content_type(), ended());
    }
    // The length of a frame that is not there is unknown.
    let mut response = frame_answer(asked, transport);
    response
        .message_body(body::None::new())
        .map_or_else(HttpResponse::from_error, HttpResponse::map_into_boxed_body)
}

/// Brings a response to its session, which is opened if nobody has it.
fn attach(
    asked: &SockJsRequest<'_>,
    session: &str,
    transport: Transport,
    permit: &mut Option<ConnectionPermit>,
    pipe: PipeWriter,
    writer: SockJsFrameWriter,
) -> Result<(), EndpointRefused> {
    let key = asked.endpoint.key(session);
    let registry = &asked.context.local.registry;
    match registry.owner("", &key) {
        SessionOwner::Here => {
            asked.check_owner(&key)?;
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
    asked.context.check_handshake_rate()?;
    let permit = match permit.take() {
        Some(permit) => permit,
        None => asked.context.acquire_permit()?,
    };
    let handshake = asked.handshake();
    let endpoint = &asked.endpoint.endpoint;
    let new_session = NewSession {
        opened: OpenedSession {
            session: endpoint.open(&handshake, Now::read())?,
            outbox: Outbox::new(endpoint.outbox_max_bytes()),
            encoding: Encoding { protocol: endpoint.protocol(), framing: Framing::SockJs },
            transport: asked.endpoint.label(transport),
            protocol: endpoint.name(),
            peer: handshake.peer,
            permit,
        },
        response: Response { pipe, writer: Box::new(writer.opening()) },
        lifetime: Lifetime::Requests {
            attach_timeout: asked.endpoint.disconnect_delay,
            heartbeat: asked.endpoint.heartbeat,
            max_waiting: asked.endpoint.max_waiting,
        },
        id: Some(key),
        messages: Vec::new(),
    };
    // Taken: another request was faster. This one is answered by that one's session, at the next attempt.
    if new_session.open(asked.context.local).is_ok() {
        asked.forwarder.opened(&asked.endpoint.key(session));
    }
    Ok(())
}

async fn respond(asked: &SockJsRequest<'_>, transport: Transport, body: PipeReader) -> HttpResponse {
    if transport.direction() == Direction::Stream {
        return asked.stream(transport.content_type(), body);
    }
    // One frame, and its length is known.
    let frame = body.collect().await.freeze();
    frame_answer(asked, transport).body(frame)
}

/// Begins an answer of one frame.
fn frame_answer(asked: &SockJsRequest<'_>, transport: Transport) -> HttpResponseBuilder {
    let mut response = asked.session_answer(StatusCode::OK, transport.content_type());
    if transport == Transport::Jsonp {
        response.insert_header(("X-Content-Type-Options", "nosniff"));
    }
    response
}
