//! Writes a session's messages to one response: one frame is one piece of bytes, wrapped as the transport has it.
//! `docs/protocols/sockjs.md` §3, §4 and §5.

use bytes::{Bytes, BytesMut};
use gorani_protocol::sockjs::{Transport, Wrapping, frame, path::Direction};

use crate::{
    disconnect::Disconnect,
    http_session::{pipe::PipeWriter, writer::ResponseWriter},
    outbox::Outbox,
};

/// Writes frames to one response.
pub(super) struct SockJsFrameWriter {
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
    pub(super) fn new(transport: Transport, wrapping: Wrapping, limit_bytes: usize) -> Self {
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
    pub(super) fn opening(self) -> Self {
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
        let told = "data: c[2010,\"Another connection still open\"]\r\n\r\n";
        assert_eq!(chunks(&reader), ["\r\n", told]);
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
