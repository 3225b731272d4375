//! The listeners, the workers, and the table of all HTTP routes.
//!
//! The paths of operators are served on the listener of clients, or on one of their own (`admin.address`, record 68).
//! A request with `Upgrade: websocket` leaves HTTP with its socket ([`crate::endpoints::Upgrades`]);
//! everything else is served by the actix-web `App` of [`routes`]. `docs/architecture.md` §3.2.

mod accepted;
mod admin;
mod chunk;
mod http_io;
mod limits;
mod listeners;
pub mod reload;
mod request;
mod response_stream;
mod slots;
mod stomp;
mod tls;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix_codec::Framed;
use actix_http::{HttpService, Protocol, Request, h1};
use actix_server::{Server, ServerBuilder, ServerHandle};
use actix_service::{ServiceFactoryExt, apply_fn_factory, fn_service, map_config};
use actix_web::{
    App, HttpRequest, HttpResponse,
    dev::AppConfig,
    middleware::from_fn,
    web::{self, ServiceConfig},
};
use futures_util::FutureExt;
use tokio::net::TcpStream;

pub use self::{
    limits::ConnectionLimits,
    listeners::{Listeners, ServerError},
    tls::Certificates,
};
use crate::{
    api,
    endpoint::EndpointRefused,
    endpoints::{Endpoints, HandshakeAnswer, Upgrades, parse},
    forward::{ForwardState, Forwarder},
    health,
    http_session::{WorkerContext, registry::HttpSessionRegistry},
    node::Node,
    page, receive,
    server::{
        accepted::{AcceptedConnection, OnAccepted, TlsConnection, accept_tls_for_http},
        admin::AdminRoutes,
        http_io::Times,
        listeners::{listen, own_slots, own_worker},
        request::HttpRequestLimits,
        response_stream::Detaching,
        slots::Slots,
        tls::{ListenerCertificate, TlsListener},
    },
    settings::Settings,
    sockjs,
};

/// A server that listens.
pub struct Listening {
    /// The address that it listens on.
    pub address: SocketAddr,
    /// To stop it.
    pub handle: ServerHandle,
    /// To stop accepting before that.
    pub listeners: Listeners,
    /// The certificates of the listeners, to replace them.
    pub certificates: Certificates,
    /// Ends when it has stopped.
    pub server: Server,
}

/// The service for the connections of one worker thread. A macro, since the type of the whole cannot be written down.
macro_rules! http_service {
    ($listener:expr, $upgrades:ident, $stream:ty) => {{
        let listener: HttpListener = $listener;
        let http = &listener.settings.http;
        let (keep_alive, disconnect_timeout) = (http.keep_alive, http.shutdown_timeout);
        let drained = listener.node.clone();
        let local = $upgrades.local.clone();
        let app = App::new()
            .wrap(from_fn(request::check))
            .configure(move |config| routes(config, &listener, &local));
        HttpService::build()
            .keep_alive(keep_alive)
            // It times the first head of a connection alone; [`HttpIo`] times each.
            .client_request_timeout(Duration::ZERO)
            .client_disconnect_timeout(disconnect_timeout)
            // Else a client that goes away stays unseen until the next write to it.
            .h1_allow_half_closed(false)
            // A node that drains ends kept connections after the request under way, idle ones at once.
            .graceful_shutdown_signal(move || drained.lifecycle.draining())
            .on_connect_ext(move |stream: &Detaching<$stream>, data| {
                if let Some(detachable) = stream.detachable() {
                    data.insert(detachable);
                }
                let Some(stream) = stream.http() else { return };
                let accepted = stream.get_ref().accepted();
                if let Some(watched) = accepted.slot.watched() {
                    data.insert(watched);
                }
                data.insert(stream.connection());
            })
            .upgrade(fn_service(
                move |(request, framed): (Request, Framed<Detaching<$stream>, h1::Codec>)| {
                    let upgrades = $upgrades.clone();
                    // Boxed: inside the task of each connection it would hold room that most never need.
                    let upgrade = async move {
                        let parts = framed.into_parts();
                        let Some(mut io) = parts.io.into_http() else { return Ok(()) };
                        if let Err(error) = io.write_answers(&parts.write_buf).await {
                            tracing::debug!(%error, "client did not read the answers before its upgrade");
                            return Ok::<(), actix_web::Error>(());
                        }
                        if io.is_closing() {
                            io.close().await;
                            return Ok(());
                        }
                        let mut stream = io.into_inner();
                        if stream.accepted().slot.is_reserved() {
                            let full = EndpointRefused::Status(503, request::FULL.to_owned());
                            upgrades.refuse(stream, &full).await;
                        } else {
                            stream.accepted_mut().slot.keep_for_session();
                            upgrades.take(request, stream, parts.read_buf.freeze()).await;
                        }
                        Ok::<(), actix_web::Error>(())
                    };
                    upgrade.boxed_local()
                },
            ))
            .finish(apply_fn_factory(map_config(app, |_| AppConfig::default()), request::serve))
    }};
}

/// Opens the certificates and keys that the settings name, as the start does.
///
/// # Errors
/// [`ServerError::Tls`].
pub fn check_tls_files(settings: &Settings) -> Result<(), ServerError> {
    Certificates::open(settings)?;
    Ok(())
}

/// Binds and starts the workers.
pub fn start(
    node: Arc<Node>,
    endpoints: Arc<Endpoints>,
    limits: ConnectionLimits,
) -> Result<Listening, ServerError> {
    let settings = Arc::new(node.settings.clone());
    let http = settings.http.clone();
    let failed = |error| ServerError::Listen(http.address, error);
    let listener = listen(http.address, http.backlog).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let mut listening = vec![listener.try_clone().map_err(failed)?];
    let certificates = Certificates::open(&settings)?;
    certificates.show_ends(&node.metrics.certificates);
    let registry = Arc::new(HttpSessionRegistry::new(node.id.clone()));
    let forwarded = Arc::<ForwardState>::default();
    node.tasks.spawn(forwarded.clone().keep_claims(node.clone(), registry.clone()));
    let admin = AdminRoutes::start(&node);
    let builder = Server::build()
        .workers(http.worker_count())
        // A worker at this limit accepts nothing at all; [`Slots`] bound connections instead, and refuse those over it.
        .max_concurrent_connections(usize::MAX)
        .shutdown_timeout(http.shutdown_timeout.as_secs())
        .disable_signals();
    let mut builder = stomp::add(builder, &node, &settings, limits, &certificates, &mut listening)?;
    let paths = ServedPaths::All;
    let mut clients = HttpListener { node, settings, endpoints, registry, forwarded, admin, limits, paths };
    if let Some(address) = clients.settings.admin.address().ok().flatten() {
        let operators = clients.split_operators();
        let failed = |error| ServerError::Listen(address, error);
        let listener = listen(address, http.backlog).map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        listening.push(listener.try_clone().map_err(failed)?);
        let certificate = certificates.of(TlsListener::Admin);
        tracing::info!(address = %bound, tls = certificate.is_some(), "listening for the admin page, metrics and health");
        builder = operators.add(builder, "admin", listener, certificate).map_err(failed)?;
    }
    let certificate = certificates.of(TlsListener::Http);
    let server = clients.add(builder, "http", listener, certificate).map_err(failed)?.run();
    let listeners = Listeners::new(listening, server.handle());
    Ok(Listening { address, handle: server.handle(), listeners, certificates, server })
}

/// The paths that a listener of HTTP serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ServedPaths {
    /// All: it is the only one.
    All,
    /// Those of clients and backends.
    Clients,
    /// The admin page and its API, metrics and health.
    Operators,
}

/// A listener of HTTP, and the things that its connections need. Each worker has a copy.
#[derive(Clone)]
struct HttpListener {
    node: Arc<Node>,
    settings: Arc<Settings>,
    endpoints: Arc<Endpoints>,
    registry: Arc<HttpSessionRegistry>,
    forwarded: Arc<ForwardState>,
    admin: Option<AdminRoutes>,
    limits: ConnectionLimits,
    paths: ServedPaths,
}

impl HttpListener {
    /// Takes the paths of operators away from it; the listener that serves them.
    fn split_operators(&mut self) -> Self {
        self.paths = ServedPaths::Clients;
        let (endpoints, paths) = (Arc::default(), ServedPaths::Operators);
        Self { endpoints, paths, admin: self.admin.take(), ..self.clone() }
    }

    /// Adds it to the server. With a certificate it speaks TLS only.
    fn add(
        self,
        builder: ServerBuilder,
        name: &str,
        listener: TcpListener,
        certificate: Option<Arc<ListenerCertificate>>,
    ) -> io::Result<ServerBuilder> {
        let Some(certificate) = certificate else {
            return builder.listen(name, listener, move || {
                let upgrades = self.upgrades(false);
                let (slots, times) = self.own_limits();
                let service = http_service!(self.clone(), upgrades, AcceptedConnection)
                    .map_err(|error| error.to_string());
                fn_service(move |stream: TcpStream| {
                    let accepted = AcceptedConnection::take(stream, &slots);
                    let accepted = accepted.map(|accepted| of_http(accepted, &times));
                    std::future::ready(accepted.ok_or_else(|| DRAINING.to_owned()))
                })
                .and_then(service)
            });
        };
        builder.listen(name, listener, move || {
            let upgrades = self.upgrades(true);
            let (slots, times) = self.own_limits();
            let service =
                http_service!(self.clone(), upgrades, TlsConnection).map_err(|error| error.to_string());
            let certificate = certificate.clone();
            fn_service(move |stream: TcpStream| {
                let accepted = AcceptedConnection::take(stream, &slots);
                let (acceptor, times) = (certificate.acceptor(), times.clone());
                // Boxed, as the upgrades are.
                let handshake = async move {
                    let accepted = accepted.ok_or_else(|| DRAINING.to_owned())?;
                    let stream = accept_tls_for_http(&acceptor, accepted).await?;
                    Ok(of_http(stream, &times))
                };
                handshake.boxed_local()
            })
            .and_then(service)
        })
    }

    /// The upgrades of this thread. `is_secure`: the listener speaks TLS.
    fn upgrades(&self, is_secure: bool) -> Upgrades {
        let worker = own_worker(&self.node);
        let (node, registry) = (self.node.clone(), self.registry.clone());
        let local = WorkerContext { node, worker, registry, is_secure };
        Upgrades::new(local, self.endpoints.clone(), &self.settings)
    }

    /// The slots and the times of this thread's connections.
    fn own_limits(&self) -> (Rc<Slots>, Rc<Times>) {
        let http = &self.settings.http;
        (own_slots(&self.node, http, self.limits), Rc::new(Times::new(http)))
    }
}

/// Why a connection that came through a closing listener is dropped.
const DRAINING: &str = "the node drains";

/// The parts of a connection that actix-http takes: its stream, the protocol, and the peer's address.
fn of_http<T: OnAccepted>(stream: T, times: &Rc<Times>) -> (Detaching<T>, Protocol, Option<SocketAddr>) {
    let peer = stream.accepted().peer();
    (Detaching::new(stream, times.clone()), Protocol::Http1, peer)
}

/// All that a listener serves over HTTP.
fn routes(config: &mut ServiceConfig, listener: &HttpListener, local: &WorkerContext) {
    let HttpListener { settings, endpoints, admin, paths, .. } = listener;
    let WorkerContext { node, worker, is_secure, .. } = local;
    config
        .app_data(web::Data::from(node.clone()))
        .app_data(web::Data::new(worker.clone()))
        .app_data(web::Data::from(endpoints.clone()))
        .app_data(web::Data::new(HttpRequestLimits::new(&settings.http, node.memory.clone())))
        .default_service(web::to(not_found));
    if *paths != ServedPaths::Clients {
        config
            .route("/health/live", web::get().to(health::live))
            .route("/health/ready", web::get().to(health::ready))
            .route("/health", web::get().to(health::ready))
            .route("/metrics", web::get().to(health::metrics));
    }
    if let Some(admin) = admin {
        admin.configure(config, *is_secure);
    }
    if *paths != ServedPaths::Operators {
        client_routes(config, listener, local);
    }
}

/// The paths of clients and backends.
fn client_routes(config: &mut ServiceConfig, listener: &HttpListener, local: &WorkerContext) {
    let HttpListener { settings, endpoints, forwarded, .. } = listener;
    let node = &local.node;
    config.service(web::scope("/api").configure(|scope| api::routes(scope, node, &settings.api)));
    let forwarder = web::Data::new(Forwarder::new(node.clone(), forwarded.clone(), settings));
    receive::routes(config, local, &forwarder, &settings.poll);
    if settings.development.page {
        let shows_key = settings.development.page_api_key;
        page::routes(config, settings.api.keys.first().filter(|_| shows_key).cloned());
    }
    for path in endpoints.websocket_paths() {
        config.route(path, web::route().to(not_upgraded));
    }
    for endpoint in endpoints.sockjs() {
        sockjs::routes(config, endpoint);
    }
}

/// A WebSocket's path, asked for without a WebSocket: says what is missing.
async fn not_upgraded(request: HttpRequest) -> HttpResponse {
    let refusal = match parse(request.method().as_str(), request.version(), request.headers()) {
        Err(refusal) => EndpointRefused::Protocol(refusal),
        Ok(_) => EndpointRefused::Status(
            400,
            "the upgrade was not asked for on a connection of its own".to_owned(),
        ),
    };
    let answer = HandshakeAnswer::of(&refusal);
    let status = actix_web::http::StatusCode::from_u16(answer.status).unwrap_or_default();
    let mut response = HttpResponse::build(status);
    for header in answer.headers {
        response.insert_header(*header);
    }
    response.content_type("text/plain; charset=utf-8").body(answer.sentence)
}

/// No such path: says which ones there are.
async fn not_found(endpoints: web::Data<Endpoints>) -> HttpResponse {
    HttpResponse::NotFound().content_type("text/plain; charset=utf-8").body(endpoints.directions())
}
