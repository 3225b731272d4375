//! The common part of requests over HTTP, whatever they ask for. `docs/protocols/http.md` §1 to §3.
//!
//! - [`request_context`]: origin, peer, limits and draining of a request for a session, and responses that go on.
//! - [`refusal`]: errors as JSON with a status.
//! - [`body`]: reads a body within its limits.
//!
//! HEAD is answered wherever GET is, with the status and the headers that GET has, and without a body (RFC 9110 §9.3.2). The
//! server's middleware makes a GET of it (from [`gorani_protocol::http1::HEAD_METHOD`]) with a mark before routing, and empties
//! the answer's body (`server/request.rs`). Routes whose GET opens a session look for the mark and open none.

pub mod body;
pub mod refusal;
pub mod request_context;

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::{
    HttpMessage,
    body::{BodySize, BoxBody, MessageBody},
    dev::ServiceResponse,
    http::{
        StatusCode,
        header::{CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING},
    },
};
use bytes::Bytes;

/// Bytes of a request's line and headers, near enough. Counted for every request, so nothing is written for it.
pub fn header_bytes(uri: &actix_http::Uri, headers: &actix_http::header::HeaderMap) -> usize {
    let headers = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    let scheme = uri.scheme_str().map_or(0, |scheme| scheme.len() + "://".len());
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
    scheme + authority + path + headers.sum::<usize>()
}

/// True if a query asks for the protobuf form of the client protocol.
pub fn asks_for_protobuf(query: &str) -> bool {
    query.split('&').any(|pair| matches!(pair, "format=protobuf" | "cf_protocol=protobuf"))
}

/// A request that was HEAD.
struct HeadRequest;

/// Marks a request.
pub fn mark_head(request: &impl HttpMessage) {
    request.extensions_mut().insert(HeadRequest);
}

/// True if a request is answered without a body, and opens nothing.
pub fn is_head(request: &impl HttpMessage) -> bool {
    request.extensions().contains::<HeadRequest>()
}

/// The same answer without its body.
///
/// The header of the body's length is written like others, and the body as one that ends at once: for actix-http it was
/// another method ([`gorani_protocol::http1::HEAD_METHOD`]), and it would wait for so many bytes.
pub fn without_body(mut response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    let has_body = !matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let size = response.response().body().size();
    let is_chunked = response.response_mut().head_mut().chunked();
    match size {
        BodySize::Sized(bytes) if has_body => {
            response.headers_mut().insert(CONTENT_LENGTH, bytes.into());
        }
        BodySize::Stream if is_chunked => {
            response.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        BodySize::None | BodySize::Sized(_) | BodySize::Stream => {}
    }
    let size = if has_body && size != BodySize::None { BodySize::Stream } else { BodySize::None };
    response.response_mut().head_mut().no_chunking(true);
    response.map_body(|_, _| EmptyBody(size).boxed())
}

/// A body of which nothing is sent.
struct EmptyBody(BodySize);

impl MessageBody for EmptyBody {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        self.0
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Poll::Ready(None)
    }
}
