//! Receiving over HTTP: requests become sessions, and responses carry them. `docs/protocols/http.md` §7 to §13.
//!
//! - [`query`]: what a receiver asks for, in its query, body and headers.
//! - [`poll`]: polling, with `If-None-Match` in [`poll_writer`], and the backend's word on it in `poll/begin.rs`.
//! - [`unidirectional`]: streams without commands.
//! - [`client_stream`]: `http_stream` and `sse`, the client protocol over a response, and the commands for their sessions.

pub mod client_stream;
pub mod poll;
pub mod poll_writer;
pub mod query;
pub mod unidirectional;

use actix_web::{
    middleware::from_fn,
    web::{self, ServiceConfig},
};

use crate::{
    forward::{Forwarder, accept::accept},
    http_session::WorkerContext,
    settings::PollSettings,
};

/// The HTTP transports' paths.
pub fn routes(
    config: &mut ServiceConfig,
    local: &WorkerContext,
    forwarder: &web::Data<Forwarder>,
    polls: &PollSettings,
) {
    config
        .app_data(web::Data::new(local.clone()))
        .app_data(forwarder.clone())
        .app_data(web::Data::new(polls.clone()))
        .service(resource("/connection/poll").route(web::get().to(poll::poll)))
        .service(
            resource("/connection/uni_http_stream")
                .route(web::get().to(unidirectional::uni_http_stream))
                .route(web::post().to(unidirectional::uni_http_stream)),
        )
        .service(
            resource("/connection/uni_sse")
                .route(web::get().to(unidirectional::uni_sse))
                .route(web::post().to(unidirectional::uni_sse)),
        )
        .service(resource("/connection/http_stream").route(web::post().to(client_stream::http_stream)))
        .service(resource("/connection/sse").route(web::get().to(client_stream::sse)))
        .service(
            resource("/emulation").route(web::post().to(client_stream::emulation)).wrap(from_fn(accept)),
        );
}

/// A path that browsers may ask for from elsewhere; methods that it does not have are refused.
fn resource(path: &str) -> actix_web::Resource {
    web::resource(path)
        .route(web::method(actix_web::http::Method::OPTIONS).to(crate::http::request_context::preflight))
        .default_service(web::route().to(crate::http::request_context::wrong_method))
}
