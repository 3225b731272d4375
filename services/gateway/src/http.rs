//! The common part of requests over HTTP, whatever they ask for. `docs/protocols/http.md` §1 to §3.
//!
//! - [`request_context`]: origin, peer, limits and draining of a request for a session, and responses that go on.
//! - [`refusal`]: errors as JSON with a status.
//! - [`body`]: reads a body within a limit.
//! - [`head`]: HEAD, wherever GET is.

pub mod body;
pub mod head;
pub mod refusal;
pub mod request_context;

/// Bytes of a request's line and headers, near enough.
pub fn header_bytes(uri: &actix_http::Uri, headers: &actix_http::header::HeaderMap) -> usize {
    let headers = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    uri.to_string().len() + headers.sum::<usize>()
}
