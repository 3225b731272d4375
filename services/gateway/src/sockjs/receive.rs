//! Requests that receive: they open a session, or carry one that waits, and get its messages in frames. `docs/protocols/sockjs.md`
//! §3, §4 and §5.

use actix_web::{HttpResponse, HttpResponseBuilder, body, http::StatusCode};
use bytes::{Bytes, BytesMut};
use gorani_protocol::sockjs::{Callback, Direction, Transport, Wrapping, frame};

use super::request::{SockJsRequest, not_found, refuse};
use crate::{
    connection::state::OpenedSession,
    disconnect::Disconnect,
    endpoint::EndpointRefused,
    format::encoding::{Encoding, Framing},
    http_session::{
        Lifetime, NewSession, Response,
        pipe::{PipeReader, PipeWriter, ended, pipe},
        registry::{DeliveryError, SessionOwner, SessionRequest},
        writer::ResponseWriter,
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
            encoding: Encoding { protocol: endpoint.protocol(&handshake), framing: Framing::SockJs },
            transport: asked.endpoint.label(transport),
            protocol: endpoint.name(&handshake),
            peer: handshake.peer,
            connection: asked.context.request.peer_addr(),
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

/// Writes a session's messages to one response: one frame is one piece of bytes, wrapped as the transport has it.
struct SockJsFrameWriter {
    wrapping: Wrapping,
    is_poll: bool,
    /// True if this is the first response of its session.
    opens: bool,
    limit_bytes: usize,
    written_bytes: usize,
    is_done: bool,
}

impl SockJsFrameWriter {
    /// The writer of a response: after `limit_bytes` it ends.
    fn new(transport: Transport, wrapping: Wrapping, limit_bytes: usize) -> Self {
        Self {
            wrapping,
            is_poll: transport.direction() == Direction::Poll,
            opens: false,
            limit_bytes,
            written_bytes: 0,
            is_done: false,
        }
    }

    /// The same for the response that opens a session.
    fn opening(self) -> Self {
        Self { opens: true, ..self }
    }

    fn wrap(&mut self, frame: &[u8]) -> Bytes {
        let bytes = self.wrapping.wrap(frame);
        self.written_bytes += bytes.len();
        self.is_done = self.is_poll || self.written_bytes >= self.limit_bytes;
        bytes
    }
}

impl ResponseWriter for SockJsFrameWriter {
    fn begin(&mut self, pipe: &PipeWriter) {
        // The prelude does not count: it is the same for all.
        pipe.push(self.wrapping.prelude());
        if self.opens {
            pipe.push(self.wrap(frame::OPEN));
        }
    }

    fn write(&mut self, outbox: &Outbox, pipe: &PipeWriter) {
        while !self.is_done && pipe.has_room() && !outbox.is_empty() {
            let mut lists = Vec::new();
            let mut bytes = 0;
            // All that waits makes one frame, unless it is more than a response should have.
            while bytes < self.limit_bytes
                && let Some(list) = outbox.pop()
            {
                bytes += list.len();
                lists.push(list);
            }
            let mut messages = BytesMut::with_capacity(bytes + 3);
            frame::write_messages(&mut messages, lists.iter().map(Bytes::as_ref));
            pipe.push(self.wrap(&messages));
        }
    }

    fn is_done(&self) -> bool {
        self.is_done
    }

    fn ping(&mut self) -> Bytes {
        self.wrap(frame::HEARTBEAT)
    }

    fn reject(&mut self, pipe: &PipeWriter) {
        let (code, reason) = frame::ANOTHER_CONNECTION;
        pipe.push(self.wrapping.prelude());
        pipe.push(self.wrap(&frame::close(code, reason)));
    }

    fn close_message(&mut self, reason: &Disconnect, pipe: &PipeWriter) {
        pipe.push(self.wrap(&frame::close(reason.code, &reason.reason)));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use gorani_protocol::sockjs::Callback;

    use super::*;
    use crate::http_session::pipe::{PipeReader, pipe};

    fn writer(transport: Transport, limit_bytes: usize) -> SockJsFrameWriter {
        let callback = Callback::from_query("c=cb").unwrap();
        SockJsFrameWriter::new(transport, Wrapping::of(transport, Some(callback)).unwrap(), limit_bytes)
    }

    fn chunks(reader: &PipeReader) -> Vec<String> {
        std::iter::from_fn(|| reader.try_chunk())
            .map(|chunk| String::from_utf8(chunk.to_vec()).unwrap())
            .collect()
    }

    fn outbox(messages: &[&str]) -> Outbox {
        let outbox = Outbox::new(1 << 20);
        for message in messages {
            let mut list = BytesMut::new();
            frame::push_message(&mut list, message.as_bytes());
            outbox.push(list.freeze()).unwrap();
        }
        outbox
    }

    #[test]
    fn item_12_and_25_a_stream_opens_with_its_prelude_and_o_each_a_chunk() {
        let (pipe, reader) = pipe();
        writer(Transport::XhrStreaming, 4096).opening().begin(&pipe);
        assert_eq!(chunks(&reader), [format!("{}\n", "h".repeat(2048)), "o\n".to_owned()]);
    }

    #[test]
    fn item_13_and_23_a_poll_brings_all_that_waits_in_one_frame_and_ends() {
        let (pipe, reader) = pipe();
        let mut writer = writer(Transport::Xhr, 4096);
        writer.begin(&pipe);
        assert!(!writer.is_done());
        writer.write(&outbox(&["a", "b", "c"]), &pipe);
        assert!(writer.is_done());
        assert_eq!(chunks(&reader), ["a[\"a\",\"b\",\"c\"]\n"]);
    }

    #[test]
    fn item_13_a_poll_brings_no_more_than_about_the_limit_of_a_response() {
        let (pipe, reader) = pipe();
        let mut writer = writer(Transport::Xhr, 8);
        let outbox = outbox(&["1234", "5678", "rest"]);
        writer.write(&outbox, &pipe);
        assert_eq!(chunks(&reader), ["a[\"1234\",\"5678\"]\n"]);
        assert_eq!(outbox.pop().unwrap(), b"\"rest\",".as_slice());
    }

    #[test]
    fn item_12_a_poll_that_opens_brings_o_alone() {
        let (pipe, reader) = pipe();
        let mut writer = writer(Transport::Jsonp, 4096).opening();
        writer.begin(&pipe);
        writer.write(&outbox(&["later"]), &pipe);
        assert_eq!(chunks(&reader), ["/**/cb(\"o\");\r\n"]);
    }

    #[test]
    fn item_30_a_stream_ends_once_the_limit_is_reached_framing_included() {
        let (pipe, reader) = pipe();
        let mut writer = writer(Transport::EventSource, 60);
        writer.begin(&pipe);
        for _ in 0..2 {
            assert!(!writer.is_done());
            writer.write(&outbox(&["12345678901234567890"]), &pipe);
        }
        assert!(writer.is_done());
        assert_eq!(chunks(&reader).len(), 3);
    }

    #[test]
    fn item_14_who_is_turned_away_gets_a_whole_response_of_its_transport() {
        let (pipe, reader) = pipe();
        writer(Transport::EventSource, 4096).reject(&pipe);
        let closed = "data: c[2010,\"Another connection still open\"]\r\n\r\n";
        assert_eq!(chunks(&reader), ["\r\n", closed]);
    }

    #[test]
    fn item_17_a_heartbeat_completes_a_poll_but_not_a_stream() {
        for (transport, completes) in [(Transport::Xhr, true), (Transport::XhrStreaming, false)] {
            let mut writer = writer(transport, 4096);
            assert_eq!(writer.ping(), b"h\n".as_slice());
            assert_eq!(writer.is_done(), completes);
        }
    }
}
