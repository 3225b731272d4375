//! HEAD: answered wherever GET is, with the status and the headers that GET has, and without a body (RFC 9110 §9.3.2).
//!
//! The server's middleware makes a GET of it before routing, with this mark, and empties the body of whatever is answered
//! (`server/request.rs`). Routes whose GET opens a session look for the mark and open none.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::{
    HttpMessage,
    body::{BodySize, MessageBody},
};
use bytes::Bytes;

/// A request that was HEAD.
struct Marked;

/// Marks a request.
pub fn mark(request: &impl HttpMessage) {
    request.extensions_mut().insert(Marked);
}

/// Whether a request is answered without a body, and opens nothing.
pub fn is_head(request: &impl HttpMessage) -> bool {
    request.extensions().contains::<Marked>()
}

/// A body that is not sent. Its size is that of the body in its place, since headers tell it.
pub struct Unsent(pub BodySize);

impl MessageBody for Unsent {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        self.0
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Poll::Ready(None)
    }
}
