//! Endpoints for conformance runs: `/echo` with `development.echo`, and over SockJS all of them with
//! `development.sockjs_conformance`. They are written with the trait that embedders use, so they double as its examples.
//! `docs/protocols/sockjs.md` §9.

pub mod amplify;
pub mod broadcast;
pub mod close;
pub mod echo;
pub mod ticker;

use crate::{settings::SockJsSettings, transport::sockjs::options::SockJs};

/// Where the page for hidden frames has the client library from when the settings name none: nothing is served there, but
/// the page is.
const CLIENT_URL: &str = "/sockjs.js";

/// How the endpoints are served over SockJS.
pub fn sockjs(settings: &SockJsSettings) -> SockJs {
    let options = SockJs::new();
    if settings.client_url.is_empty() { options.client_url(CLIENT_URL) } else { options }
}
