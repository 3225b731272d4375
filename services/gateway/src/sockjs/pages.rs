//! The answers that belong to no session: greeting, info, the page for hidden frames. `docs/protocols/sockjs.md` §1.

use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
};
use bytes::BytesMut;
use gorani_protocol::sockjs::{
    iframe,
    info::{self, Info},
};
use rand::Rng;

use super::request::{SockJsRequest, in_seconds, plain};
use crate::random;

/// Nothing is there.
pub(super) fn not_found() -> HttpResponse {
    plain(StatusCode::NOT_FOUND, "Not found\n")
}

/// The endpoint itself.
pub(super) fn greeting() -> HttpResponse {
    plain(StatusCode::OK, "Welcome to SockJS!\n")
}

/// What a client must know before it chooses a transport.
pub(super) fn info(asked: &SockJsRequest<'_>) -> HttpResponse {
    let info = Info {
        websocket: asked.endpoint.websocket,
        cookie_needed: asked.endpoint.cookie_needed,
        entropy: random::rng().next_u32(),
        base_url: &asked.endpoint.base_url,
    };
    let mut body = BytesMut::new();
    info.write(&mut body);
    asked.answer(StatusCode::OK, info::CONTENT_TYPE).body(body.freeze())
}

/// The page for hidden frames, where there is one.
pub(super) fn iframe(asked: &SockJsRequest<'_>) -> HttpResponse {
    let Some(page) = &asked.endpoint.page else { return not_found() };
    let is_known = asked.context.header("if-none-match").is_some_and(|tags| page.is_known(tags));
    let mut response = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response
        .insert_header((header::CACHE_CONTROL, format!("public, max-age={}", iframe::MAX_AGE_S)))
        .insert_header((header::EXPIRES, in_seconds(iframe::MAX_AGE_S)))
        .insert_header((header::ETAG, page.etag.clone()));
    if is_known {
        return response.finish();
    }
    response.content_type("text/html; charset=UTF-8").body(page.body.clone())
}
