//! SockJS: the sessions of an endpoint for clients that cannot, or need not, speak WebSocket. `docs/protocols/sockjs.md`.
//!
//! Every path below an endpoint's comes here ([`serve`]) except the WebSockets, which leave HTTP before
//! ([`crate::endpoints`]). A session is an HTTP session ([`crate::http_session`]) and outlives the requests
//! that receive. The session's actor alone decides which of them may, what a broken one means and how long an end is kept.
//! The one registry knows who owns a session.
//!
//! - [`options`]: how an endpoint is served.
//! - `request`: who may ask, and the headers of answers.
//! - `receive`: the requests that receive, and the frames that they get.
//! - [`send`]: the batches that clients send, in requests or over one WebSocket.

pub mod options;
mod receive;
mod request;
pub mod send;

use std::sync::Arc;

use actix_http::ConnectionType;
use actix_web::{
    HttpRequest, HttpResponse,
    http::{Method, StatusCode},
    middleware::from_fn,
    web::{self, ServiceConfig},
};
use gorani_protocol::sockjs::{Direction, Route, Transport};

use self::{
    options::SockJsEndpoint,
    request::{SockJsRequest, greeting, iframe, info, not_found},
};
use crate::{
    endpoint::EndpointRefused,
    forward::{Forwarder, accept::accept, routing::SessionRoute},
    http::{is_head, request_context::RequestContext},
    http_session::WorkerContext,
    node::Node,
};

/// The paths of an endpoint.
pub fn routes(config: &mut ServiceConfig, endpoint: &Arc<SockJsEndpoint>) {
    // All of them in one: slashes that are too many must not be put right, and the rest is read by the protocol.
    let paths = format!("{}{{rest:(?:/.*)?}}", endpoint.path);
    let endpoint = web::Data::from(endpoint.clone());
    config
        .service(web::resource(paths).app_data(endpoint).route(web::route().to(serve)).wrap(from_fn(accept)));
}

/// Answers a request below an endpoint's path.
async fn serve(
    request: HttpRequest,
    payload: web::Payload,
    endpoint: web::Data<SockJsEndpoint>,
    local: web::Data<WorkerContext>,
    forwarder: web::Data<Forwarder>,
) -> HttpResponse {
    let rest = request.uri().path().strip_prefix(endpoint.path.as_str()).unwrap_or_default();
    let Some(route) = Route::parse(rest) else { return not_found() };
    let transport = match route {
        Route::Session { transport, .. } => Some(transport),
        _ => None,
    };
    let asked = match SockJsRequest::of(&request, &endpoint, &local, &forwarder, transport) {
        Ok(asked) => asked,
        Err(refused) => return request::refuse(&local.node, &refused),
    };
    match route {
        Route::Greeting => only(&asked, "GET", greeting),
        Route::Info if request.method() == Method::OPTIONS => asked.preflight("GET"),
        Route::Info => only(&asked, "GET", || info(&asked)),
        Route::Iframe => only(&asked, "GET", || iframe(&asked)),
        Route::RawWebSocket => not_upgraded(&asked),
        Route::Session { transport: Transport::WebSocket, .. } => not_upgraded(&asked),
        Route::Session { transport, .. }
            if transport.has_preflight() && request.method() == Method::OPTIONS =>
        {
            asked.preflight(transport.method())
        }
        Route::Session { transport, .. } if *request.method() != *transport.method() => {
            request::wrong_method(transport.method())
        }
        Route::Session { .. } if !asked.may_name_sessions() => refuse_guesses(&local.node),
        Route::Session { session, transport } if is_head(&request) => {
            receive::head(&asked, session, transport)
        }
        Route::Session { session, transport } => match transport.direction() {
            Direction::Send => send::send(&asked, session, transport, payload).await,
            _ => receive_somewhere(&asked, session, transport).await,
        },
    }
}

/// A request that receives is answered by its session's node, which may be this one.
async fn receive_somewhere(asked: &SockJsRequest<'_>, session: &str, transport: Transport) -> HttpResponse {
    let RequestContext { request, local, .. } = asked.context;
    let key = asked.endpoint.key(session);
    if local.registry.has(&key) {
        return receive::receive(asked, session, transport, None).await;
    }
    match asked.forwarder.route(&key, request, || Ok(asked.context.acquire_permit()?)).await {
        SessionRoute::Here(permit) => {
            let response = receive::receive(asked, session, transport, Some(permit)).await;
            asked.forwarder.give_back(&key, &local.registry);
            response
        }
        SessionRoute::Answered(response) => {
            asked.count_if_wrong(&response);
            response
        }
        SessionRoute::Refused(refused) => request::refuse(&local.node, &refused),
        SessionRoute::Unavailable => asked.unreachable(),
    }
}

/// Answers a client that has named too many wrong ids, and closes its connection: what it has sent behind costs nothing more.
fn refuse_guesses(node: &Node) -> HttpResponse {
    let refused = EndpointRefused::Status(429, "too many requests for sessions that do not exist".to_owned());
    let mut response = request::refuse(node, &refused);
    response.head_mut().set_connection_type(ConnectionType::Close);
    response
}

fn only(
    asked: &SockJsRequest<'_>,
    method: &'static str,
    answer: impl FnOnce() -> HttpResponse,
) -> HttpResponse {
    if *asked.context.request.method() == *method { answer() } else { request::wrong_method(method) }
}

/// A WebSocket's path, asked for without a WebSocket, or on a connection not for it alone (`docs/protocols/sockjs.md` §2.3).
fn not_upgraded(asked: &SockJsRequest<'_>) -> HttpResponse {
    if !asked.endpoint.websocket {
        return not_found();
    }
    only(asked, "GET", || {
        let upgrade = asked.context.header("upgrade");
        let missing = if upgrade.is_some_and(|value| value.eq_ignore_ascii_case("websocket")) {
            "\"Connection\" must be \"Upgrade\".\n"
        } else {
            "Can \"Upgrade\" only to \"WebSocket\".\n"
        };
        request::plain(StatusCode::BAD_REQUEST, missing)
    })
}
