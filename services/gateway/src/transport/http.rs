//! The HTTP transports: requests become held sessions, and responses that carry them. `docs/protocols/http.md` §7 to §13.
//!
//! - [`request_context`]: what every request passes: origin, limits, drain. - [`refusal`]: errors as JSON with a status.
//! - [`query`]: what a receiver asks for, in its [`query`] and elsewhere. - [`poll`]: polling, with [`if_none_match`]. - [`receiving`]: streams without commands.
//! - [`streaming`]: `http_stream` and `sse`, the client protocol over a response. - [`emulation`]: commands for them.

pub mod emulation;
pub mod if_none_match;
pub mod poll;
pub mod query;
pub mod receive_query;
pub mod receiving;
pub mod refusal;
pub mod request_context;
pub mod streaming;

use actix_web::{
    middleware::from_fn,
    web::{self, ServiceConfig},
};

use crate::transport::{forward::accept::accept, http_session::new_session::WorkerContext};

/// The HTTP transports' paths.
pub fn routes(config: &mut ServiceConfig, local: &WorkerContext) {
    config
        .app_data(web::Data::new(local.clone()))
        .service(resource("/connection/poll").route(web::get().to(poll::poll)))
        .service(
            resource("/connection/uni_http_stream")
                .route(web::get().to(receiving::uni_http_stream))
                .route(web::post().to(receiving::uni_http_stream)),
        )
        .service(resource("/connection/uni_sse").route(web::get().to(receiving::uni_sse)))
        .service(resource("/connection/http_stream").route(web::post().to(streaming::http_stream)))
        .service(resource("/connection/sse").route(web::get().to(streaming::sse)))
        .service(resource("/emulation").route(web::post().to(emulation::emulation)).wrap(from_fn(accept)));
}

/// A path that browsers may ask for from elsewhere; methods that it does not have are refused.
fn resource(path: &str) -> actix_web::Resource {
    web::resource(path)
        .route(web::method(actix_web::http::Method::OPTIONS).to(request_context::preflight))
        .default_service(web::route().to(request_context::wrong_method))
}
