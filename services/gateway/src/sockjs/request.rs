//! What every request below a SockJS endpoint passes, and what the answers have in common: origins, cookies, the headers
//! that the protocol fixes. `docs/protocols/sockjs.md` §6 and §7.

use std::{
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime},
};

use actix_http::{ConnectionType, Version};
use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    body::MessageBody,
    http::{
        StatusCode,
        header::{self, HttpDate},
    },
};
use gorani_protocol::sockjs::{
    Transport,
    headers::{self, Header},
};

use super::options::SockJsEndpoint;
use crate::{
    endpoint::{EndpointRefused, Handshake},
    forward::{Forwarder, is_forwarded},
    http_session::{WorkerContext, detached::Detachable},
    metrics::RefusalLabel,
    node::{
        Node,
        admission::{
            attempts::AttemptKind,
            permits::{ConnectionPermit, NoPermit},
        },
    },
};

/// What is told of a session that is not there, and of one that is somebody else's.
pub(super) const NO_SUCH_SESSION: &str = "no such session";

/// What is told by a node that goes down.
const DRAINING: &str = "this node is draining, try another";

/// A request that may ask.
pub(super) struct SockJsRequest<'r> {
    pub(super) request: &'r HttpRequest,
    pub(super) endpoint: Arc<SockJsEndpoint>,
    pub(super) local: &'r WorkerContext,
    pub(super) forwarder: &'r Forwarder,
    /// The client, as far as a balancer's word for it can be believed.
    peer: Option<SocketAddr>,
    origin: Option<&'r str>,
}

impl<'r> SockJsRequest<'r> {
    /// Looks at who asks. `transport`: that of a session's path.
    ///
    /// # Errors
    /// The page's origin may not connect.
    pub(super) fn of(
        request: &'r HttpRequest,
        endpoint: Arc<SockJsEndpoint>,
        local: &'r WorkerContext,
        forwarder: &'r Forwarder,
        transport: Option<Transport>,
    ) -> Result<Self, EndpointRefused> {
        let origin = match request.headers().get(header::ORIGIN).map(|value| value.to_str()) {
            None => None,
            Some(Ok(origin)) => Some(origin),
            Some(Err(_)) => return Err(EndpointRefused::Status(400, "the origin is no text".to_owned())),
        };
        let peer = local.node.admission.client_address(request.peer_addr(), request.headers());
        let context = Self { request, endpoint, local, forwarder, peer, origin };
        let hides_origin = transport.is_some_and(Transport::hides_origin);
        if context.allows(origin) && (origin.is_some() || !hides_origin || context.is_of_allowed_page()) {
            return Ok(context);
        }
        Err(EndpointRefused::Status(403, "this origin may not connect".to_owned()))
    }

    fn allows(&self, origin: Option<&str>) -> bool {
        let host = self.header("host").or_else(|| self.request.uri().authority().map(|host| host.as_str()));
        self.endpoint.endpoint.allows_origin(origin, host.unwrap_or_default())
    }

    /// A script tag, a frame and a form carry the visitor's cookies and no `Origin`. Where not every page may connect, they
    /// must show otherwise that they come from one that may.
    fn is_of_allowed_page(&self) -> bool {
        if self.endpoint.is_open_to_all() {
            return true;
        }
        if matches!(self.header("sec-fetch-site"), Some("same-origin" | "none")) {
            return true;
        }
        let Some((scheme, rest)) = self.header("referer").and_then(|referer| referer.split_once("://"))
        else {
            return false;
        };
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        self.allows(Some(&format!("{scheme}://{host}")))
    }

    pub(super) fn header(&self, name: &str) -> Option<&'r str> {
        self.request.headers().get(name)?.to_str().ok()
    }

    /// The request as guards and sessions see it: on whatever transport, its path is that of the endpoint.
    pub(super) fn handshake(&self) -> Handshake {
        Handshake {
            path: self.endpoint.path.clone(),
            query: self.request.query_string().to_owned(),
            headers: self.request.headers().clone(),
            peer: self.peer,
            local: self
                .request
                .conn_data::<Rc<Detachable>>()
                .and_then(|connection| connection.addresses.local),
            is_secure: self.local.is_secure,
            subprotocol: None,
        }
    }

    /// A session of somebody takes requests of nobody else: its id alone is not much of a secret. One of nobody known takes
    /// requests of the network alone that opened it (`sockjs.bind_to_address`). Decision record 24.
    ///
    /// # Errors
    /// The guard does not let this request in, or as somebody else; or it comes from elsewhere, and is told that there is
    /// no such session. Either is counted as a wrong id.
    pub(super) fn check_owner(&self, key: &str) -> Result<(), EndpointRefused> {
        let Some(opened_by) = self.local.registry.opened_by(key) else { return Ok(()) };
        let network = self.local.node.admission.network_of(self.peer);
        let refused = match opened_by.principal {
            Some(owner) => match self.endpoint.endpoint.principal(&self.handshake()) {
                Ok(Some(principal)) if principal == owner => return Ok(()),
                Ok(_) => EndpointRefused::Status(403, "the session is somebody else's".to_owned()),
                Err(refused) => refused,
            },
            None if self.local.node.settings.sockjs.bind_to_address && opened_by.network != network => {
                EndpointRefused::Status(404, NO_SUCH_SESSION.to_owned())
            }
            None => return Ok(()),
        };
        self.count_wrong_id();
        Err(refused)
    }

    /// Whether this client may ask for sessions by their ids now, or has named too many that do not exist. A request that
    /// another node forwards was counted there.
    pub(super) fn may_name_sessions(&self) -> bool {
        let node = &self.local.node;
        is_forwarded(self.request)
            || node.admission.allows_attempt(AttemptKind::SessionId, node.admission.network_of(self.peer))
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
    pub(super) fn count_wrong_id(&self) {
        if !is_forwarded(self.request) {
            let node = &self.local.node;
            node.admission.failed_attempt(AttemptKind::SessionId, node.admission.network_of(self.peer));
        }
    }

    /// A place for a session that the request is to open.
    ///
    /// # Errors
    /// The node is going down or full, or holds too many sessions that have not connected.
    pub(super) fn acquire_permit(&self) -> Result<ConnectionPermit, EndpointRefused> {
        let node = &self.local.node;
        if node.lifecycle.is_draining() {
            return Err(EndpointRefused::Status(503, DRAINING.to_owned()));
        }
        let source = node.admission.session_source(self.peer, self.request.peer_addr());
        node.admission
            .acquire_permit(&source)
            .map_err(|no_slot| EndpointRefused::Status(no_slot.status(), no_slot.to_string()))
    }

    /// Looks whether the node would take a session of this client now, and takes nothing.
    ///
    /// # Errors
    /// The node is going down or full, or the client would not be let in.
    pub(super) fn check_capacity(&self) -> Result<(), EndpointRefused> {
        let node = &self.local.node;
        if node.lifecycle.is_draining() {
            return Err(EndpointRefused::Status(503, DRAINING.to_owned()));
        }
        if node.admission.is_full() {
            return Err(EndpointRefused::Status(NoPermit::Full.status(), NoPermit::Full.to_string()));
        }
        self.endpoint.endpoint.principal(&self.handshake()).map(drop)
    }

    /// Whether this address may open another session now.
    ///
    /// # Errors
    /// It asks too often.
    pub(super) fn check_handshakes(&self) -> Result<(), EndpointRefused> {
        if self.peer.is_some_and(|peer| !self.local.node.admission.allows_handshake(peer.ip())) {
            return Err(EndpointRefused::Status(429, "too many sessions from this address".to_owned()));
        }
        Ok(())
    }

    /// Begins an answer that nobody may keep.
    pub(super) fn answer(&self, status: StatusCode, content_type: &'static str) -> HttpResponseBuilder {
        let mut response = HttpResponse::build(status);
        response.content_type(content_type).insert_header((header::CACHE_CONTROL, headers::NO_CACHE));
        insert(&mut response, headers::cors(self.origin));
        response
    }

    /// The same for a session's URL, which sets the cookie where one is needed.
    pub(super) fn session_answer(
        &self,
        status: StatusCode,
        content_type: &'static str,
    ) -> HttpResponseBuilder {
        let mut response = self.answer(status, content_type);
        if let Some(names) = headers::requested(self.header("access-control-request-headers")) {
            response.insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, names));
        }
        if self.endpoint.cookie_needed {
            let cookies =
                self.request.headers().get_all(header::COOKIE).filter_map(|value| value.to_str().ok());
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
        let mut response = self.session_answer(StatusCode::OK, content_type);
        response.insert_header(("X-Accel-Buffering", "no"));
        let mut response = match response.message_body(body) {
            Ok(response) => response.map_into_boxed_body(),
            Err(error) => return HttpResponse::from_error(error),
        };
        if self.request.version() < Version::HTTP_11 {
            // It knows no chunks: the end of the connection is the end of the response.
            let head = response.head_mut();
            head.no_chunking(true);
            head.set_connection_type(ConnectionType::Close);
        }
        response
    }

    /// The answer to a browser that asks whether it may ask.
    pub(super) fn preflight(&self, method: &str) -> HttpResponse {
        let mut response = HttpResponse::NoContent();
        response.insert_header((header::EXPIRES, in_seconds(headers::PREFLIGHT_MAX_AGE_S)));
        let requested = self.header("access-control-request-headers");
        insert(&mut response, headers::preflight(self.origin, requested, method));
        response.finish()
    }

    /// An answer with a sentence, on a session's URL.
    pub(super) fn message(&self, status: StatusCode, sentence: impl Into<String>) -> HttpResponse {
        self.session_answer(status, headers::PLAIN).body(sentence.into())
    }

    /// Answers that nothing can be said of the session at the moment.
    pub(super) fn unreachable(&self) -> HttpResponse {
        self.message(StatusCode::SERVICE_UNAVAILABLE, "the session cannot be reached")
    }
}

/// Answers that the request leads nowhere.
pub(super) fn refuse(node: &Node, refused: &EndpointRefused) -> HttpResponse {
    let (status, sentence) = match refused {
        EndpointRefused::Protocol(refusal) => (refusal.status(), refusal.to_string()),
        EndpointRefused::Status(status, sentence) => (*status, sentence.clone()),
    };
    node.metrics.handshakes_refused.get_or_create(&RefusalLabel { status }).inc();
    tracing::debug!(status, reason = sentence, "request refused");
    let mut response = plain(StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN), &sentence);
    if matches!(status, 429 | 503) {
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
    }
    response
}

fn insert(response: &mut HttpResponseBuilder, headers: Vec<Header>) {
    for header in headers {
        response.insert_header(header);
    }
}

/// An answer with a sentence, for whomever.
pub(super) fn plain(status: StatusCode, sentence: &str) -> HttpResponse {
    HttpResponse::build(status).content_type(headers::PLAIN).body(sentence.to_owned())
}

/// The path is served, but by another method (`docs/protocols/sockjs.md` §2.4).
pub(super) fn wrong_method(method: &'static str) -> HttpResponse {
    HttpResponse::MethodNotAllowed().insert_header((header::ALLOW, method)).finish()
}

/// A date in the future.
pub(super) fn in_seconds(seconds: u64) -> String {
    HttpDate::from(SystemTime::now() + Duration::from_secs(seconds)).to_string()
}
