//! Requests that receive: they open a session, or carry one that waits. `specs/sockjs.md` items 12 to 16, 19, 23, 25 to 30.

use actix_web::{HttpResponse, HttpResponseBuilder, body, http::StatusCode};
use gorani_protocol::sockjs::{Callback, Transport, Wrapping, transport::Direction};

use super::{Door, door, label, pages, writer::FrameWriter};
use crate::{
    hub::fanout::{Encoding, Framing},
    node::Place,
    session::Now,
    transport::{
        endpoint::Refused,
        held::{
            Lifetime, Response,
            directory::{NotBrought, Owner},
            opening::Opening,
            pipe::{PipeReader, PipeWriter, ended, pipe},
            visit::Visit,
        },
    },
};

/// How often a session may end just when the request comes for it.
const ATTEMPTS: usize = 4;

/// Answers a request that receives. `place`: a slot for its session, where that is to be opened.
pub(super) async fn receive(
    door: &Door<'_>,
    session: &str,
    transport: Transport,
    mut place: Option<Place>,
) -> HttpResponse {
    let callback = if transport.has_callback() {
        match Callback::from_query(door.request.query_string()) {
            Ok(callback) => Some(callback),
            Err(error) => return door.sentence(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    } else {
        None
    };
    let Some(wrapping) = Wrapping::of(transport, callback) else { return pages::not_found() };
    for _ in 0..ATTEMPTS {
        let (pipe, body) = pipe();
        let writer = FrameWriter::new(transport, wrapping.clone(), door.endpoint.response_max_bytes);
        if let Err(refused) = come(door, session, transport, &mut place, pipe, writer) {
            return door::refuse(&door.local.node, &refused);
        }
        // A session that was about to end left nothing: an empty answer would make the client ask at once, again and again.
        if body.begins().await {
            return respond(door, transport, body).await;
        }
        actix_rt::task::yield_now().await;
    }
    door.unreachable()
}

/// Answers HEAD: what a request that receives would be answered, without one. A session is neither opened nor touched.
pub(super) fn head(door: &Door<'_>, session: &str, transport: Transport) -> HttpResponse {
    if transport.has_callback()
        && let Err(error) = Callback::from_query(door.request.query_string())
    {
        return door.sentence(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    }
    let key = door.endpoint.key(session);
    let may = if door.local.directory.has(&key) { door.check_owner(&key) } else { door.check_capacity() };
    if let Err(refused) = may {
        return door::refuse(&door.local.node, &refused);
    }
    if transport.direction() == Direction::Stream {
        return door.stream(transport.content_type(), ended());
    }
    // The length of a frame that is not there cannot be told.
    let mut response = frame_answer(door, transport);
    response
        .message_body(body::None::new())
        .map_or_else(HttpResponse::from_error, HttpResponse::map_into_boxed_body)
}

/// Brings a response to its session, which is opened if nobody has it.
fn come(
    door: &Door<'_>,
    session: &str,
    transport: Transport,
    place: &mut Option<Place>,
    pipe: PipeWriter,
    writer: FrameWriter,
) -> Result<(), Refused> {
    let key = door.endpoint.key(session);
    let directory = &door.local.directory;
    match directory.owner("", &key) {
        Owner::Here => {
            door.check_owner(&key)?;
            let brought = directory.bring(&key, Visit::Attach(Response { pipe, writer: Box::new(writer) }));
            return match brought {
                // One that is over left nothing: the next attempt sees that.
                Ok(()) | Err(NotBrought::Over) => Ok(()),
                Err(busy @ NotBrought::Busy) => Err(Refused::Status(503, busy.to_string())),
            };
        }
        Owner::Ended(reason) => {
            Response { pipe, writer: Box::new(writer) }.tell_ended(&reason);
            return Ok(());
        }
        Owner::Elsewhere(_) => {
            return Err(Refused::Status(503, "the session is another node's".to_owned()));
        }
        Owner::Nobody => {}
    }
    door.check_handshakes()?;
    let place = match place.take() {
        Some(place) => place,
        None => door.place()?,
    };
    let handshake = door.handshake();
    let endpoint = &door.endpoint.endpoint;
    let settings = &door.local.node.settings.sockjs;
    let opening = Opening {
        session: endpoint.open(&handshake, Now::read())?,
        encoding: Encoding { protocol: endpoint.protocol(), framing: Framing::SockJs },
        outbox_max_bytes: endpoint.outbox_max_bytes(),
        transport: label(transport),
        protocol: endpoint.name(),
        peer: handshake.peer,
        response: Response { pipe, writer: Box::new(writer.opening()) },
        lifetime: Lifetime::Visits {
            patience: settings.disconnect_delay,
            heartbeat: settings.heartbeat,
            most: settings.max_waiting,
        },
        id: Some(key),
        messages: Vec::new(),
        place,
    };
    // Taken: another request was faster. This one is answered by that one's session, at the next attempt.
    if opening.open(door.local).is_ok() {
        door.local.forwarding.opened(&door.endpoint.key(session));
    }
    Ok(())
}

async fn respond(door: &Door<'_>, transport: Transport, body: PipeReader) -> HttpResponse {
    if transport.direction() == Direction::Stream {
        return door.stream(transport.content_type(), body);
    }
    // One frame, and its length is known.
    let frame = body.collect().await.freeze();
    frame_answer(door, transport).body(frame)
}

/// Begins an answer of one frame.
fn frame_answer(door: &Door<'_>, transport: Transport) -> HttpResponseBuilder {
    let mut response = door.session_answer(StatusCode::OK, transport.content_type());
    if transport == Transport::Jsonp {
        response.insert_header(("X-Content-Type-Options", "nosniff"));
    }
    response
}
