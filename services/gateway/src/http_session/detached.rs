//! A response that goes on leaves HTTP with its connection, once its head is written: actix-http would keep a request, two
//! buffers of 8 KiB and its timers for as long as the stream lasts. Record 39.
//!
//! The handler answers with a [`DetachedBody`]. It says on the [`Detachable`] of its connection that the response waits; the
//! stream below actix-http looks there whenever all bytes are written, and takes the connection over (`server/detaching.rs`).

use std::{
    cell::RefCell,
    convert::Infallible,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;

use super::pipe::PipeReader;
use crate::{endpoint::SocketAddresses, node::open_responses::OpenResponse};

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
