//! Writes what waits for a session to one response.

use bytes::{Bytes, BytesMut};
use gorani_protocol::{
    client::{PING, plain, push},
    sse,
};

use super::pipe::PipeWriter;
use crate::{disconnect::Disconnect, outbox::Outbox};

/// Writes a session's outbox to one response. Chosen by the request, used on the session's worker.
pub trait ResponseWriter: Send {
    /// The response begins.
    fn begin(&mut self, _pipe: &PipeWriter) {}

    /// Moves what waits into the response, while there is room. What stays waits on, within the outbox's limit.
    fn write(&mut self, outbox: &Outbox, pipe: &PipeWriter) {
        pipe.fill(|| outbox.pop());
    }

    /// True if the response has all that it may carry and ends, while the session goes on or ends with it.
    fn is_done(&self) -> bool {
        false
    }

    /// A heartbeat of the transport's own, for sessions whose protocol has none; empty for none.
    fn ping(&mut self) -> Bytes {
        Bytes::new()
    }

    /// Another response carries the session.
    fn reject(&mut self, _pipe: &PipeWriter) {}

    /// Writes the close message: the session ends. The outbox is written already.
    fn close_message(&mut self, reason: &Disconnect, pipe: &PipeWriter);
}

/// A response that carries a session for a while.
pub struct Response {
    /// Its end of the pipe.
    pub pipe: PipeWriter,
    /// The writer of the response.
    pub writer: Box<dyn ResponseWriter>,
}

impl Response {
    /// Tells that the session has ended.
    pub fn tell_ended(mut self, reason: &Disconnect) {
        self.writer.begin(&self.pipe);
        self.writer.close_message(reason, &self.pipe);
    }
}

/// Messages as lines or as events; the framing has made them already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamWriter {
    /// The client protocol, a line for each object.
    Lines,
    /// The client protocol as server-sent events.
    Events,
    /// Objects without envelopes, one a line.
    BareLines,
}

impl ResponseWriter for StreamWriter {
    fn ping(&mut self) -> Bytes {
        let mut line = BytesMut::from(PING);
        line.extend_from_slice(b"\n");
        match self {
            Self::BareLines => line.freeze(),
            // Their sessions ping by themselves.
            Self::Lines | Self::Events => Bytes::new(),
        }
    }

    fn close_message(&mut self, reason: &Disconnect, pipe: &PipeWriter) {
        let mut object = BytesMut::new();
        let mut out = BytesMut::new();
        let code = u32::from(reason.code);
        match self {
            Self::BareLines => plain::disconnect(code, &reason.reason, &mut object),
            Self::Lines | Self::Events => push::push_disconnect(code, &reason.reason, &mut object),
        }
        match self {
            Self::Events => sse::event(&object, &mut out),
            Self::Lines | Self::BareLines => {
                out.extend_from_slice(&object);
                out.extend_from_slice(b"\n");
            }
        }
        pipe.push(out.freeze());
    }
}
