//! Responses of a session: a writer puts what waits for the session into one.
//!
//! A response that goes on leaves HTTP with its connection, once its head is written: actix-http would keep a request, two
//! buffers of 8 KiB and its timers for as long as the stream lasts. Record 39. The handler answers with a [`DetachedBody`]. It
//! says on the [`Detachable`] of its connection that the response waits; the stream below actix-http looks there whenever all
//! bytes are written, and takes the connection over (`server/response_stream.rs`).

use std::{
    cell::RefCell,
    convert::Infallible,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use actix_web::body::{BodySize, MessageBody};
use bytes::{Bytes, BytesMut};
use gorani_protocol::{
    client::{ClientForm, PING, plain},
    sse,
};

use super::pipe::{PipeReader, PipeWriter};
use crate::{
    disconnect::Disconnect, endpoint::SocketAddresses, node::lifecycle::OpenResponse, outbox::Outbox,
};

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
    /// The client protocol's protobuf form, whose messages have their length before them.
    Delimited,
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
            Self::Lines | Self::Events | Self::Delimited => Bytes::new(),
        }
    }

    fn close_message(&mut self, reason: &Disconnect, pipe: &PipeWriter) {
        let mut object = BytesMut::new();
        let mut out = BytesMut::new();
        let code = u32::from(reason.code);
        match self {
            Self::BareLines => plain::disconnect(code, &reason.reason, &mut object),
            Self::Lines | Self::Events => ClientForm::Json.push_disconnect(code, &reason.reason, &mut object),
            Self::Delimited => ClientForm::Protobuf.push_disconnect(code, &reason.reason, &mut object),
        }
        match self {
            Self::Events => sse::event(&object, &mut out),
            Self::Delimited => out = object,
            Self::Lines | Self::BareLines => {
                out.extend_from_slice(&object);
                out.extend_from_slice(b"\n");
            }
        }
        pipe.push(out.freeze());
    }
}

/// The rest of a response, behind its head.
pub struct Detached {
    /// The bytes to write.
    pub pipe: PipeReader,
    /// False for clients of HTTP/1.0: the end of the connection is the end of the response.
    pub is_chunked: bool,
    /// The node does not stop before it is written.
    pub open: OpenResponse,
}

/// A connection of HTTP/1, as the handlers of its requests see it.
pub struct Detachable {
    /// Its own addresses. Here, since each entry of a connection's data costs every idle connection.
    pub addresses: SocketAddresses,
    /// Boxed: most connections have none.
    waiting: RefCell<Option<Box<Detached>>>,
}

impl Detachable {
    /// A connection with these addresses.
    pub fn new(addresses: SocketAddresses) -> Self {
        Self { addresses, waiting: RefCell::default() }
    }

    /// The response that waits for the connection.
    pub fn take(&self) -> Option<Detached> {
        self.waiting.take().map(|response| *response)
    }

    fn is_waiting(&self) -> bool {
        self.waiting.borrow().is_some()
    }
}

/// The body of a response that leaves HTTP. For actix-http it has no bytes, and ends once the connection is taken over.
pub struct DetachedBody {
    connection: Rc<Detachable>,
    response: Option<Box<Detached>>,
}

impl DetachedBody {
    /// The body of this response on this connection.
    pub fn new(connection: Rc<Detachable>, response: Detached) -> Self {
        Self { connection, response: Some(Box::new(response)) }
    }
}

impl MessageBody for DetachedBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        if let Some(response) = self.response.take() {
            self.connection.waiting.replace(Some(response));
        }
        // actix-http writes what it has now, and is woken when the connection is taken over.
        if self.connection.is_waiting() { Poll::Pending } else { Poll::Ready(None) }
    }
}
