//! The checks of every request below a SockJS endpoint, the common part of the answers, and those that belong to no session: greeting,
//! info, the page for hidden frames. `docs/protocols/sockjs.md` §1, §6 and §7.

use std::time::{Duration, SystemTime};

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    body::MessageBody,
    http::{
        StatusCode,
        header::{self, HttpDate},
    },
};
use bytes::BytesMut;
use gorani_protocol::sockjs::{
    Transport,
    headers::{self, CONTENT_TYPE, Header, Info},
    iframe,
};
use rand::Rng;

use super::options::SockJsEndpoint;
use crate::{
    endpoint::{EndpointRefused, Handshake},
    forward::{Forwarder, is_forwarded},
    http::{
        refusal::{self, RETRY_AFTER},
        request_context::RequestContext,
    },
    http_session::WorkerContext,
    node::{Node, admission::attempts::AttemptKind},
    random,
};

/// The answer for a session that is not there, and for one that is somebody else's.
pub(super) const NO_SUCH_SESSION: &str = "no such session";

/// A request that may ask.
pub(super) struct SockJsRequest<'r> {
    pub(super) context: RequestContext<'r>,
    pub(super) endpoint: &'r SockJsEndpoint,
    pub(super) forwarder: &'r Forwarder,
}

impl<'r> SockJsRequest<'r> {
    /// Checks the page's origin. `transport`: that of a session's path.
    ///
    /// # Errors
    /// The page's origin may not connect.
    pub(super) fn of(
        request: &'r HttpRequest,
        endpoint: &'r SockJsEndpoint,
        local: &'r WorkerContext,
        forwarder: &'r Forwarder,
        transport: Option<Transport>,
    ) -> Result<Self, EndpointRefused> {
        let context = RequestContext::new(request, local)?;
        let origin = context.origin;
        let asked = Self { context, endpoint, forwarder };
        let hides_origin = transport.is_some_and(Transport::hides_origin);
        if asked.allows(origin) && (origin.is_some() || !hides_origin || asked.is_of_allowed_page()) {
            return Ok(asked);
        }
        let setting = asked.endpoint.endpoint.origins_setting();
        asked.context.local.node.policy.log.write_origin(origin, asked.context.host(), setting);
        Err(EndpointRefused::Status(403, "this origin may not connect".to_owned()))
    }

    fn allows(&self, origin: Option<&str>) -> bool {
        self.endpoint.endpoint.allows_origin(origin, self.context.host())
    }

    /// A script tag, a frame and a form carry the visitor's cookies and no `Origin`. Where not every page may connect, they
    /// must show otherwise that they come from one that may.
    fn is_of_allowed_page(&self) -> bool {
        if self.endpoint.is_open_to_all() {
            return true;
        }
        if matches!(self.context.header("sec-fetch-site"), Some("same-origin" | "none")) {
            return true;
        }
        let Some((scheme, rest)) =
            self.context.header("referer").and_then(|referer| referer.split_once("://"))
        else {
            return false;
        };
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        self.allows(Some(&format!("{scheme}://{host}")))
    }

    /// The request as guards and sessions see it: on whatever transport, its path is that of the endpoint.
    pub(super) fn handshake(&self) -> Handshake {
        Handshake {
            path: self.endpoint.path.clone(),
            query: self.context.request.query_string().to_owned(),
            headers: self.context.request.headers().clone(),
            peer: self.context.peer,
            local: self.context.connection().and_then(|connection| connection.addresses.local),
            is_secure: self.context.local.is_secure,
            subprotocol: None,
        }
    }

    /// A session with a principal takes requests of no other: its id alone is not much of a secret. One without a principal takes
    /// only requests of the network that opened it (`sockjs.bind_to_address`). Decision record 24.
    ///
    /// # Errors
    /// The guard does not let this request in, or as somebody else; or it comes from elsewhere, and gets the answer that there is
    /// no such session. Either is counted as a wrong id.
    pub(super) fn check_owner(&self, key: &str) -> Result<(), EndpointRefused> {
        let Some(opened_by) = self.context.local.registry.opened_by(key) else { return Ok(()) };
        let network = self.context.local.node.admission.network_of(self.context.peer);
        let refused = match opened_by.principal {
            Some(owner) => match self.endpoint.endpoint.principal(&self.handshake()) {
                Ok(Some(principal)) if principal == owner => return Ok(()),
                Ok(_) => EndpointRefused::Status(403, "the session is somebody else's".to_owned()),
                Err(refused) => refused,
            },
            None if self.endpoint.bind_to_address && opened_by.network != network => {
                EndpointRefused::Status(404, NO_SUCH_SESSION.to_owned())
            }
            None => return Ok(()),
        };
        self.count_wrong_id();
        Err(refused)
    }

    /// True if this client may ask for sessions by their ids now, and has not named too many that do not exist. A request that
    /// another node forwards was counted there.
    pub(super) fn may_name_sessions(&self) -> bool {
        let node = &self.context.local.node;
        is_forwarded(self.context.request)
            || node
                .admission
                .allows_attempt(AttemptKind::SessionId, node.admission.network_of(self.context.peer))
    }

    /// Answers that there is no such session, and counts it.
    pub(super) fn no_such_session(&self) -> HttpResponse {
        self.count_wrong_id();
        self.message(StatusCode::NOT_FOUND, NO_SUCH_SESSION)
    }

    /// Counts a wrong id by what the session's node answers.
    pub(super) fn count_if_wrong(&self, response: &HttpResponse) {
        // Not there, or somebody else's: there is no other reason for either that this node has not looked for already.
        if matches!(response.status(), StatusCode::NOT_FOUND | StatusCode::FORBIDDEN) {
            self.count_wrong_id();
        }
    }

    /// Counts a wrong id, where the client's request has arrived.
    fn count_wrong_id(&self) {
        if !is_forwarded(self.context.request) {
            let node = &self.context.local.node;
            node.admission
                .failed_attempt(AttemptKind::SessionId, node.admission.network_of(self.context.peer));
        }
    }

    /// Looks whether the node would take a session of this client now, and takes nothing.
    ///
    /// # Errors
    /// The node is going down or full, or the client would not be let in.
    pub(super) fn check_capacity(&self) -> Result<(), EndpointRefused> {
        self.context.check_capacity()?;
        self.endpoint.endpoint.principal(&self.handshake()).map(drop)
    }

    /// Begins an answer that nobody may keep.
    pub(super) fn answer(&self, status: StatusCode, content_type: &'static str) -> HttpResponseBuilder {
        let mut response = HttpResponse::build(status);
        response.content_type(content_type).insert_header((header::CACHE_CONTROL, headers::NO_CACHE));
        insert(&mut response, headers::cors(self.context.origin));
        response
    }

    /// The same for a session's URL, which sets the cookie where one is needed.
    pub(super) fn session_answer(
        &self,
        status: StatusCode,
        content_type: &'static str,
    ) -> HttpResponseBuilder {
        let mut response = self.answer(status, content_type);
        if let Some(names) = headers::requested(self.context.header("access-control-request-headers")) {
            response.insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, names));
        }
        if self.endpoint.cookie_needed {
            let cookies = self
                .context
                .request
                .headers()
                .get_all(header::COOKIE)
                .filter_map(|value| value.to_str().ok());
            response.insert_header((header::SET_COOKIE, headers::session_cookie(cookies)));
        }
        response
    }

    /// A session's answer that goes on: nothing between us and the client is to hold it back.
    pub(super) fn stream(
        &self,
        content_type: &'static str,
        body: impl MessageBody + 'static,
    ) -> HttpResponse {
        self.context.stream_with(self.session_answer(StatusCode::OK, content_type), body)
    }

    /// The answer to a browser that asks whether it may ask.
    pub(super) fn preflight(&self, method: &str) -> HttpResponse {
        let mut response = HttpResponse::NoContent();
        response.insert_header((header::EXPIRES, in_seconds(headers::PREFLIGHT_MAX_AGE_S)));
        let requested = self.context.header("access-control-request-headers");
        insert(&mut response, headers::preflight(self.context.origin, requested, method));
        response.finish()
    }

    /// An answer with a message, on a session's URL.
    pub(super) fn message(&self, status: StatusCode, message: impl Into<String>) -> HttpResponse {
        self.session_answer(status, headers::PLAIN).body(message.into())
    }

    /// Answers that the session cannot be reached at the moment.
    pub(super) fn unreachable(&self) -> HttpResponse {
        self.message(StatusCode::SERVICE_UNAVAILABLE, "the session cannot be reached")
    }
}

/// Answers that the request leads nowhere.
pub(super) fn refuse(node: &Node, refused: &EndpointRefused) -> HttpResponse {
    let (status, message) = match refused {
        EndpointRefused::Protocol(refusal) => (refusal.status(), refusal.to_string()),
        EndpointRefused::Status(status, message) => (*status, message.clone()),
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN);
    refusal::count(node, status.as_u16(), None, &message);
    let mut response = plain(status, &message);
    if refusal::may_retry(status.as_u16()) {
        let (name, seconds) = RETRY_AFTER;
        response.headers_mut().insert(name, seconds);
    }
    response
}

fn insert(response: &mut HttpResponseBuilder, headers: Vec<Header>) {
    for header in headers {
        response.insert_header(header);
    }
}

/// An answer with a message, for whomever.
pub(super) fn plain(status: StatusCode, message: &str) -> HttpResponse {
    HttpResponse::build(status).content_type(headers::PLAIN).body(message.to_owned())
}

/// The path is served, but by another method (`docs/protocols/sockjs.md` §2.4).
pub(super) fn wrong_method(method: &'static str) -> HttpResponse {
    HttpResponse::MethodNotAllowed().insert_header((header::ALLOW, method)).finish()
}

/// A date in the future.
fn in_seconds(seconds: u64) -> String {
    HttpDate::from(SystemTime::now() + Duration::from_secs(seconds)).to_string()
}

/// Nothing is there.
pub(super) fn not_found() -> HttpResponse {
    plain(StatusCode::NOT_FOUND, "Not found\n")
}

/// The endpoint itself.
pub(super) fn greeting() -> HttpResponse {
    plain(StatusCode::OK, "Welcome to SockJS!\n")
}

/// Answers `/info`: the facts that a client must know before it chooses a transport.
pub(super) fn info(asked: &SockJsRequest<'_>) -> HttpResponse {
    let info = Info {
        websocket: asked.endpoint.websocket,
        cookie_needed: asked.endpoint.cookie_needed,
        entropy: random::rng().next_u32(),
        base_url: &asked.endpoint.base_url,
    };
    let mut body = BytesMut::new();
    info.write(&mut body);
    asked.answer(StatusCode::OK, CONTENT_TYPE).body(body.freeze())
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
