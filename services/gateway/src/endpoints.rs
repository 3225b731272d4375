//! Endpoints by path, and [`Upgrades`] of requests to their WebSockets: from a request with `Upgrade: websocket` to the actor
//! that owns the socket. `docs/protocols/websocket.md` §1 to §4.
//!
//! - [`crate::endpoint`]: the trait: session, subprotocols, origins.
//! - [`client`], [`stomp`]: the client protocol and receivers without commands; STOMP.
//! - [`embedder`]: handlers of applications that embed the node.

pub mod client;
pub mod embedder;
pub mod stomp;

use std::{collections::HashMap, rc::Rc, sync::Arc};

use actix_http::{HttpMessage as _, Request, Version};
use bytes::Bytes;
use gorani_protocol::{
    sockjs::{self, Route, Transport},
    websocket::{DeflateParams, HandshakeRefusal, Offer, WebSocketDecoder},
};
use tokio::io::AsyncWriteExt;

use crate::{
    connection::{
        Connection,
        codec::{WebSocketCodec, text_frame},
        socket::Io,
        state::OpenedSession,
    },
    endpoint::{Endpoint, EndpointRefused, Handshake},
    format::encoding::{Encoding, Framing},
    http::{
        header_bytes,
        refusal::{self, RETRY_AFTER_SECONDS, may_retry},
        request_context::RequestClient,
    },
    http_session::{WorkerContext, writer::Detachable},
    metrics::TransportLabel,
    outbox::Outbox,
    session::{Now, Session},
    settings::{Settings, WebSocketSettings},
    sockjs::{
        options::{FRAMED_WEBSOCKET, RAW_WEBSOCKET, SockJsEndpoint},
        send::FramedSession,
    },
};

/// The beginning of the answer to a request for a path that is not served.
pub const NOTHING_SERVED: &str = "nothing is served at this path";

/// The endpoints of a listener, by path. That of operators has none.
#[derive(Default)]
pub struct Endpoints {
    websocket: HashMap<String, Arc<dyn Endpoint>>,
    sockjs: HashMap<String, Arc<SockJsEndpoint>>,
    /// Probes are answered by another listener: `admin.address`.
    probes_elsewhere: bool,
}

/// The endpoint and the framing of a WebSocket at one path.
pub struct WebSocketRoute<'e> {
    /// The endpoint behind the path.
    pub endpoint: &'e Arc<dyn Endpoint>,
    /// The endpoint's path. With SockJS, the request's path continues behind it.
    pub path: &'e str,
    /// Label of its connections among the counters.
    pub transport: &'static TransportLabel,
    /// True if it is below an endpoint that is served over SockJS.
    pub is_sockjs: bool,
    /// The SockJS endpoint, if messages are framed by SockJS.
    pub frames: Option<&'e SockJsEndpoint>,
}

impl Endpoints {
    /// Probes are answered by another listener.
    pub fn set_probes_elsewhere(&mut self) {
        self.probes_elsewhere = true;
    }

    /// Serves an endpoint's WebSockets on a path. False if something is there already.
    pub fn insert(&mut self, path: &str, endpoint: Arc<dyn Endpoint>) -> bool {
        self.websocket.insert(path.to_owned(), endpoint).is_none()
    }

    /// Serves an endpoint over SockJS below its path. False if something is there already.
    pub fn insert_sockjs(&mut self, endpoint: SockJsEndpoint) -> bool {
        self.sockjs.insert(endpoint.path.clone(), Arc::new(endpoint)).is_none()
    }

    /// Paths that WebSockets alone are served on.
    pub fn websocket_paths(&self) -> impl Iterator<Item = &str> {
        self.websocket.keys().map(String::as_str).filter(|path| !self.sockjs.contains_key(*path))
    }

    /// The endpoints that are served over SockJS.
    pub fn sockjs(&self) -> impl Iterator<Item = &Arc<SockJsEndpoint>> {
        self.sockjs.values()
    }

    /// One line for whoever asks for a path that is not served: where clients and backends find what they look for.
    pub fn directions(&self) -> String {
        let list = |mut paths: Vec<&str>| {
            paths.sort_unstable();
            paths.join(", ")
        };
        if self.websocket.is_empty() && self.sockjs.is_empty() {
            return format!("{NOTHING_SERVED}: clients and backends find theirs on http.address");
        }
        let mut directions = format!(
            "{NOTHING_SERVED}: WebSocket clients connect to {}",
            list(self.websocket.keys().map(String::as_str).collect())
        );
        if !self.sockjs.is_empty() {
            let paths = list(self.sockjs.keys().map(String::as_str).collect());
            directions.push_str(&format!(", SockJS clients to {paths}"));
        }
        directions.push_str("; backends call POST /api/publish and its like");
        if !self.probes_elsewhere {
            directions.push_str("; probes ask /health/ready");
        }
        directions
    }

    /// The route of a WebSocket at this path; `None` if none is served there.
    pub fn websocket(&self, path: &str) -> Option<WebSocketRoute<'_>> {
        if let Some((path, endpoint)) = self.websocket.get_key_value(path) {
            let transport = endpoint.transport();
            return Some(WebSocketRoute { endpoint, path, transport, is_sockjs: false, frames: None });
        }
        let below = path.strip_suffix("/websocket")?;
        let (served, frames) = match self.sockjs.get(below) {
            Some(served) => (served, None),
            None => {
                let (server, _session) = below.rsplit_once('/')?;
                let (base, _server) = server.rsplit_once('/')?;
                let served = self.sockjs.get(base)?;
                let rest = path.get(base.len()..)?;
                match Route::parse(rest)? {
                    Route::Session { transport: Transport::WebSocket, .. } => {}
                    _ => return None,
                }
                (served, Some(&**served))
            }
        };
        served.websocket.then_some(WebSocketRoute {
            endpoint: &served.endpoint,
            path: &served.path,
            transport: if frames.is_some() { &FRAMED_WEBSOCKET } else { &RAW_WEBSOCKET },
            is_sockjs: true,
            frames,
        })
    }
}

/// The node's parts and the settings that the upgrades of a worker need.
#[derive(Clone)]
pub struct Upgrades {
    /// The node and the worker of this thread.
    pub local: WorkerContext,
    endpoints: Arc<Endpoints>,
    header_max_bytes: usize,
    settings: WebSocketSettings,
}

/// An upgrade that all parties agreed on.
struct AgreedUpgrade<'e> {
    client: RequestClient<'e>,
    route: WebSocketRoute<'e>,
    handshake: Handshake,
    deflate: Option<DeflateParams>,
    response: Vec<u8>,
}

impl Upgrades {
    /// The upgrades of a worker. `endpoints`: the endpoint of each path.
    pub fn new(local: WorkerContext, endpoints: Arc<Endpoints>, settings: &Settings) -> Self {
        let (header_max_bytes, settings) = (settings.http.header_max_bytes, settings.websocket.clone());
        Self { local, endpoints, header_max_bytes, settings }
    }

    /// Takes a socket out of HTTP: starts its actor, or answers why not and closes it.
    /// `early` are bytes that followed the request in the same packet.
    pub async fn take<T: Io>(self, request: Request, io: T, early: Bytes) {
        let result = self.agree(&request).and_then(|agreed| {
            let permit = agreed.client.acquire_permit()?;
            let session = agreed.route.endpoint.open(&agreed.handshake, Now::read())?;
            Ok((agreed, session, permit))
        });
        let (agreed, session, permit) = match result {
            Ok(opened) => opened,
            Err(refused) => return self.refuse(io, &refused).await,
        };
        let AgreedUpgrade { route, handshake, deflate, response, .. } = agreed;
        let WebSocketRoute { endpoint, transport, frames, .. } = route;
        let window_bits = deflate.map(|deflate| deflate.server_max_window_bits);
        let framing = match (frames, window_bits) {
            (Some(_), deflate_window_bits) => Framing::SockJsWebSocket { deflate_window_bits },
            (None, Some(window_bits)) => Framing::WebSocketDeflate { window_bits },
            (None, None) => Framing::WebSocket,
        };
        let (session, decoder): (Box<dyn Session>, _) = match frames {
            Some(frames) => (
                Box::new(FramedSession::new(session, frames.batch_limits())),
                WebSocketDecoder::new(frames.batch_max_bytes, deflate.is_some(), false),
            ),
            None => (
                session,
                WebSocketDecoder::new(
                    endpoint.message_max_bytes(),
                    deflate.is_some(),
                    endpoint.wants_parts(),
                ),
            ),
        };
        let outbox = Outbox::new(endpoint.outbox_max_bytes());
        // The response waits in the outbox like everything else, so the session's first message follows it.
        let _ = outbox.push(Bytes::from(response));
        if frames.is_some() {
            let _ = outbox.push(text_frame(sockjs::frame::OPEN));
        }
        let opened = OpenedSession {
            session,
            outbox,
            encoding: Encoding { protocol: endpoint.protocol(&handshake), framing },
            transport,
            protocol: endpoint.name(&handshake),
            peer: handshake.peer,
            connection: request.peer_addr(),
            permit,
        };
        let WorkerContext { node, worker, .. } = &self.local;
        let codec = WebSocketCodec::new(decoder);
        Connection::start(node, worker, opened, io, codec, self.settings.close_timeout, &early);
    }

    /// Checks a request against the protocol, the endpoint and the node's limits.
    fn agree(&self, request: &Request) -> Result<AgreedUpgrade<'_>, EndpointRefused> {
        let head = request.head();
        let route = self
            .endpoints
            .websocket(head.uri.path())
            .ok_or_else(|| EndpointRefused::Status(404, self.endpoints.directions()))?;
        let endpoint = route.endpoint;
        let node = &self.local.node;
        let peer = node.admission.client_address(request.peer_addr(), request.headers());
        let client = RequestClient::new(node, peer, None);
        client.check_draining()?;
        if header_bytes(request.uri(), request.headers()) > self.header_max_bytes {
            return Err(EndpointRefused::Status(431, "the request's headers are too large".to_owned()));
        }
        client.check_handshake_rate().map_err(|refused| {
            let sentence = "too many handshakes from this address";
            EndpointRefused::Status(refused.status().as_u16(), sentence.to_owned())
        })?;
        let offer = if route.is_sockjs {
            parse_early(head.method.as_str(), head.version, request.headers()).map_err(
                |refusal| match refusal {
                    // SockJS has a 400 here, which its suites look for.
                    HandshakeRefusal::UpgradeRequired => {
                        HandshakeRefusal::BadRequest("an upgrade is missing")
                    }
                    refusal => refusal,
                },
            )
        } else {
            parse(head.method.as_str(), head.version, request.headers())
        }?;
        if !endpoint.allows_origin(offer.origin.as_deref(), &offer.host) {
            let setting = endpoint.origins_setting();
            node.policy.log.write_origin(offer.origin.as_deref(), &offer.host, setting);
            return Err(HandshakeRefusal::OriginForbidden.into());
        }
        let subprotocol =
            offer.choose_subprotocol(endpoint.subprotocols(), self.settings.subprotocol_policy())?;
        let deflate = if self.settings.compression { offer.negotiate_deflate() } else { None };
        let response = offer.response(subprotocol, deflate.as_ref());
        let handshake = Handshake {
            path: route.path.to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            headers: request.headers().clone(),
            peer,
            local: request.conn_data::<Rc<Detachable>>().and_then(|connection| connection.addresses.local),
            is_secure: self.local.is_secure,
            subprotocol,
        };
        Ok(AgreedUpgrade { client, route, handshake, deflate, response })
    }

    /// Answers a handshake that leads nowhere, and closes.
    pub async fn refuse<T: Io>(&self, mut io: T, refused: &EndpointRefused) {
        let answer = HandshakeAnswer::of(refused);
        refusal::count(&self.local.node, answer.status, None, &answer.sentence);
        let time_limit = self.settings.close_timeout;
        let written = tokio::time::timeout(time_limit, async {
            io.write_all(answer.response().as_bytes()).await?;
            io.shutdown().await
        });
        // The peer may be gone already; then the answer is not missed.
        let _ = written.await;
    }
}

/// Reads the parts of a handshake.
pub fn parse(
    method: &str,
    version: Version,
    headers: &actix_http::header::HeaderMap,
) -> Result<Offer, HandshakeRefusal> {
    let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    Offer::parse(method, version == Version::HTTP_11, headers)
}

/// The same for SockJS, whose suites also come as browsers of the drafts 7 and 8 did: the handshake is that of version 13, with
/// another name for the origin.
fn parse_early(
    method: &str,
    version: Version,
    headers: &actix_http::header::HeaderMap,
) -> Result<Offer, HandshakeRefusal> {
    let of = |name: &str| headers.get(name).map(|value| value.as_bytes());
    if !matches!(of("sec-websocket-version"), Some(b"7" | b"8")) {
        return parse(method, version, headers);
    }
    let has_origin = of("origin").is_some();
    let headers = headers.iter().map(|(name, value)| match name.as_str() {
        "sec-websocket-version" => (name.as_str(), b"13".as_slice()),
        "sec-websocket-origin" if !has_origin => ("origin", value.as_bytes()),
        name => (name, value.as_bytes()),
    });
    Offer::parse(method, version == Version::HTTP_11, headers)
}

/// An HTTP answer to a handshake that leads nowhere.
pub struct HandshakeAnswer {
    /// The status.
    pub status: u16,
    /// Headers besides those of every answer.
    pub headers: &'static [(&'static str, &'static str)],
    /// The body: one sentence.
    pub sentence: String,
}

impl HandshakeAnswer {
    /// The answer to a refusal.
    pub fn of(refused: &EndpointRefused) -> Self {
        match refused {
            EndpointRefused::Protocol(refusal) => {
                Self { status: refusal.status(), headers: refusal.headers(), sentence: refusal.to_string() }
            }
            EndpointRefused::Status(status, sentence) => {
                let headers: &[_] =
                    if may_retry(*status) { &[("Retry-After", RETRY_AFTER_SECONDS)] } else { &[] };
                Self { status: *status, headers, sentence: sentence.clone() }
            }
        }
    }

    fn response(&self) -> String {
        let reason =
            actix_http::StatusCode::from_u16(self.status).ok().and_then(|status| status.canonical_reason());
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason.unwrap_or("Refused"));
        for (name, value) in self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        // The methods say it all; SockJS asks for an answer without a type here.
        let sentence = if self.status == 405 { "" } else { &self.sentence };
        if !sentence.is_empty() {
            head.push_str("Content-Type: text/plain; charset=utf-8\r\n");
        }
        // RFC 9110 §7.8: who sends Upgrade names it in Connection.
        let connection = if self.status == 426 { "Upgrade, close" } else { "close" };
        let length = sentence.len();
        head.push_str(&format!("Content-Length: {length}\r\nConnection: {connection}\r\n\r\n{sentence}"));
        head
    }
}
