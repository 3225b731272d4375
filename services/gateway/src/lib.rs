//! Gorani, a realtime push server: a backend POSTs a message once, and every subscribed client has it within
//! milliseconds.
//!
//! The rooms, from the outside inwards; each uses only those below it (`make layers`):
//!
//! | room | what it is |
//! |---|---|
//! | `main`, [`cli`] | the command: serve, check, init, token, completions, man, version |
//! | [`server`] | listeners, workers, the table of routes |
//! | [`conformance`] | `/echo` and others, for trying out |
//! | [`endpoints`], [`api`], `admin`, [`page`], [`health`] | what each path serves: clients, backends, people, operators |
//! | [`receive`], [`sockjs`] | receiving over HTTP; SockJS |
//! | [`forward`] | requests for sessions of other nodes |
//! | [`http`], [`http_session`], [`connection`], [`endpoint`] | requests, sessions that outlive them, connections, the trait of endpoints |
//! | [`node`] | the broker and the workers; publishing |
//! | [`hub`] | one per worker: channel → subscriptions; encode once, deliver |
//! | [`proxy`] | calls to the backend that decide or answer clients' commands |
//! | [`hooks`] | what happens to clients and channels, written into the store from which the backend is told |
//! | [`session`], [`outbox`] | a client's protocol as a state machine; its waiting bytes |
//! | [`mod@format`] | what is published as clients see it: protocols, framings |
//! | [`backend`] | the HTTP client to the user's backend, and the signature of its requests |
//! | [`settings`], [`metrics`], [`session_command`], [`disconnect`] | the words that all rooms share |
//!
//! To embed it, with a handler of one's own on a path, see [`Gorani::handler`] and [`WebSocketHandler`].

// The macro by which a test's broker goes on to another one stands before all that uses it.
#[cfg(test)]
#[macro_use]
mod simulation;

#[cfg(feature = "admin")]
pub mod admin;
pub mod api;
pub mod backend;
pub mod cli;
pub mod clock;
pub mod conformance;
pub mod connection;
pub mod disconnect;
pub mod drain;
pub mod endpoint;
pub mod endpoints;
pub mod event_log;
pub mod explain;
pub mod format;
pub mod forward;
pub mod health;
pub mod hooks;
pub mod http;
pub mod http_session;
pub mod hub;
pub mod memory;
pub mod metrics;
pub mod node;
pub mod outbox;
pub mod page;
pub mod proxy;
pub mod proxy_call;
pub mod random;
pub mod receive;
pub mod refusal_log;
pub mod server;
pub mod session;
pub mod session_command;
pub mod settings;
pub mod sockjs;
pub mod tasks;
pub mod telemetry;

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use gorani_auth::OriginError;
use tokio::sync::mpsc;

use self::{
    conformance::{
        AMPLIFY_PATH, Amplify, BROADCAST_PATH, Broadcast, CLOSE_PATH, COOKIE_NEEDED_PATH, Close,
        DISABLED_WEBSOCKET_PATH, ECHO_PATH, Echo, RESPONSE_MAX_BYTES, TICKER_PATH, Ticker,
    },
    endpoints::client::ReceiverEndpoint,
};
use crate::{
    endpoint::Endpoint,
    endpoints::{Endpoints, client::ClientEndpoint, embedder::HandlerEndpoint, stomp::StompEndpoint},
    node::{Node, NodeError},
    server::{
        ConnectionLimits, Listening, ServerError,
        reload::{LoadSettings, Reloader},
    },
    settings::{Settings, SettingsError, warnings::variables},
    sockjs::options::SockJsEndpoint,
};

pub use crate::{
    disconnect::Disconnect,
    endpoints::embedder::Registration,
    session::{
        Handshake, MessageKind,
        handler::{
            Admission, Attributes, HandlerError, HandlerResult, Part, Refusal, SendError, SessionHandle,
            WebSocketHandler,
        },
    },
    sockjs::options::SockJs,
};

/// Path of the client protocol over WebSocket.
pub const CLIENT_PATH: &str = "/connection/websocket";
/// Path of STOMP over WebSocket.
pub const STOMP_PATH: &str = "/stomp";

/// Time for the last spans of a node that stops.
const FLUSH_TRACES: Duration = Duration::from_secs(2);

/// Path of receivers over WebSocket.
pub const RECEIVER_PATH: &str = "/connection/uni_websocket";
/// Path of the client protocol over SockJS.
pub const CLIENT_SOCKJS_PATH: &str = "/connection/sockjs";
/// Path of STOMP over SockJS.
pub const STOMP_SOCKJS_PATH: &str = "/stomp/sockjs";

/// A node to be: settings, and the handlers that an embedder adds.
pub struct Gorani {
    settings: Settings,
    endpoints: Vec<Served>,
    /// The way to read the settings again, and the requests for it.
    reload: Option<(LoadSettings, mpsc::Receiver<()>)>,
}

/// An endpoint to be served on a path.
struct Served {
    path: String,
    make: MakeEndpoint,
    /// True if WebSockets are served on the path itself.
    websocket: bool,
    /// The SockJS options, if it is served over SockJS.
    sockjs: Option<SockJs>,
}

impl Served {
    fn enter(self, node: &Arc<Node>, endpoints: &mut Endpoints) -> Result<(), RunError> {
        let Self { path, make, websocket, sockjs } = self;
        if !path.starts_with('/') || path.contains(['?', '#', '{']) {
            return Err(RunError::Path(path, "it must begin with a slash and have no query and no pattern"));
        }
        if sockjs.is_some() && path.ends_with('/') {
            return Err(RunError::Path(path, "over SockJS it must not end with a slash"));
        }
        let endpoint = make(node).map_err(|error| RunError::Origins(path.clone(), error))?;
        let mut is_free = true;
        if let Some(options) = sockjs {
            let settings = &node.settings.sockjs;
            is_free &=
                endpoints.insert_sockjs(SockJsEndpoint::new(&path, endpoint.clone(), &options, settings));
        }
        if websocket {
            is_free &= endpoints.insert(&path, endpoint);
        }
        if is_free { Ok(()) } else { Err(RunError::Path(path, "something is served there already")) }
    }
}

type MakeEndpoint = Box<dyn FnOnce(&Arc<Node>) -> Result<Arc<dyn Endpoint>, OriginError>>;

/// Warnings for an operator about settings that are allowed, and about the system that a node with them would run on. A node logs
/// these sentences when it starts, and `gorani check` prints them.
pub fn startup_warnings(settings: &Settings) -> Vec<String> {
    let mut warnings = variables::of_process();
    warnings.extend(settings.warnings());
    warnings.extend(ConnectionLimits::warning(&settings.http));
    warnings
}

/// Why a node does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The node cannot start.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A path that nothing can be served on.
    #[error("path {0:?}: {1}")]
    Path(String, &'static str),
    /// An origin of a handler that cannot be understood.
    #[error("origins of {0:?}: {1}")]
    Origins(String, #[source] OriginError),
    /// The server cannot start.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The server failed while it ran.
    #[error("server: {0}")]
    Io(#[from] std::io::Error),
}

impl Gorani {
    /// A node with these settings.
    pub fn new(settings: Settings) -> Self {
        let (is_echo, is_sockjs) = (settings.development.echo, settings.development.sockjs_conformance);
        let sockjs = conformance::sockjs(&settings.sockjs);
        let node = Self { settings, endpoints: Vec::new(), reload: None }
            .sockjs(CLIENT_SOCKJS_PATH, SockJs::new(), |node| {
                Arc::new(ClientEndpoint::text_only(node.clone()))
            })
            .sockjs(STOMP_SOCKJS_PATH, SockJs::new(), |node| {
                Arc::new(StompEndpoint::text_only(node.clone(), &node.settings))
            });
        if !is_sockjs {
            return if is_echo { node.handler(ECHO_PATH, Echo::registration()) } else { node };
        }
        let echo = |options: SockJs| Echo::registration().sockjs(options);
        node.handler(ECHO_PATH, echo(sockjs.clone().response_max_bytes(RESPONSE_MAX_BYTES)))
            .handler(DISABLED_WEBSOCKET_PATH, echo(sockjs.clone().websocket(false)))
            .handler(COOKIE_NEEDED_PATH, echo(sockjs.clone().cookie_needed(true)))
            .handler(CLOSE_PATH, Close::registration(sockjs.clone()))
            .handler(AMPLIFY_PATH, Amplify::registration(sockjs.clone()))
            .handler(BROADCAST_PATH, Broadcast::registration(sockjs.clone()))
            .handler(TICKER_PATH, Ticker::registration(sockjs))
    }

    /// Serves a handler on a path: `.handler("/chat", Chat::default)`, or with a [`Registration`] where more is to be
    /// said than how a handler is made.
    pub fn handler<H: WebSocketHandler>(
        mut self,
        path: impl Into<String>,
        registration: impl Into<Registration<H>>,
    ) -> Self {
        let registration = registration.into();
        let sockjs = registration.sockjs_options().cloned();
        let make = |node: &Arc<Node>| {
            HandlerEndpoint::new(node.clone(), registration).map(|endpoint| Arc::new(endpoint) as _)
        };
        let served = Served { path: path.into(), make: Box::new(make), websocket: true, sockjs };
        self.endpoints.push(served);
        self
    }

    /// Adds an endpoint on a path.
    pub fn endpoint(
        mut self,
        path: impl Into<String>,
        make: impl FnOnce(&Arc<Node>) -> Arc<dyn Endpoint> + 'static,
    ) -> Self {
        let make = Box::new(|node: &Arc<Node>| Ok(make(node)));
        self.endpoints.push(Served { path: path.into(), make, websocket: true, sockjs: None });
        self
    }

    /// Adds an endpoint that is served over SockJS alone, below a path.
    pub fn sockjs(
        mut self,
        path: impl Into<String>,
        options: SockJs,
        make: impl FnOnce(&Arc<Node>) -> Arc<dyn Endpoint> + 'static,
    ) -> Self {
        let make = Box::new(|node: &Arc<Node>| Ok(make(node)));
        self.endpoints.push(Served { path: path.into(), make, websocket: false, sockjs: Some(options) });
        self
    }

    /// Reads the settings again by `load` at each of `requests` and at [`node::live::LiveSettings::reload`], and puts the live ones in place without ending a
    /// connection ([`settings::live`]). Settings that `load` refuses, or whose files cannot be used, change nothing. `load` may block.
    pub fn reload(
        mut self,
        load: impl Fn() -> Result<Settings, SettingsError> + Send + Sync + 'static,
        requests: mpsc::Receiver<()>,
    ) -> Self {
        self.reload = Some((Arc::new(load), requests));
        self
    }

    /// Runs until `shutdown` is ready, then drains; before it has started it ends at once. When it has returned, nothing of the node
    /// goes on: no task, no listener, no connection. `started` gets the address and the node once it listens.
    ///
    /// To be called within an actix system (`#[actix::main]`).
    pub async fn run(
        mut self,
        shutdown: impl Future<Output = ()>,
        started: impl FnOnce(SocketAddr, Arc<Node>),
    ) -> Result<(), RunError> {
        for warning in startup_warnings(&self.settings) {
            tracing::warn!("{warning}");
        }
        let loaded = self.settings.clone();
        let limits = ConnectionLimits::read(&self.settings.http);
        self.settings.http.max_connections = limits.sessions;
        let mut shutdown = std::pin::pin!(shutdown);
        // A node that waits for its broker can be stopped as well.
        let node = tokio::select! {
            biased;
            node = Node::start(self.settings) => node?,
            () = &mut shutdown => return Ok(()),
        };
        let _stopping = StopOnDrop(node.clone());
        let mut endpoints = Endpoints::default();
        if !node.settings.admin.address.is_empty() {
            endpoints.set_probes_elsewhere();
        }
        endpoints.insert(CLIENT_PATH, Arc::new(ClientEndpoint::new(node.clone())));
        endpoints.insert(RECEIVER_PATH, Arc::new(ReceiverEndpoint(node.clone())));
        endpoints.insert(STOMP_PATH, Arc::new(StompEndpoint::new(node.clone(), &node.settings)));
        for served in self.endpoints {
            served.enter(&node, &mut endpoints)?;
        }
        let Listening { address, handle, listeners, certificates, server } =
            server::start(node.clone(), Arc::new(endpoints), limits)?;
        if node.settings.http.address.port() == 0 {
            node.cluster.advertise(address).await;
        }
        if let Some((load, requests)) = self.reload {
            node.live.loaded(loaded);
            node.tasks.spawn(Reloader::new(node.clone(), certificates, load).run(requests));
        }
        node.deliver_hooks();
        tracing::info!(%address, node = &*node.policy.node_name, id = %node.id, workers = node.settings.http.worker_count(), "listening");
        started(address, node.clone());
        let mut server = std::pin::pin!(server);
        tokio::select! {
            ended = &mut server => return Ok(ended?),
            () = &mut shutdown => {}
        }
        // The server carries the stop out itself, so it must go on being polled meanwhile.
        let stop = async {
            drain::drain(&node, &node.live.running(), listeners.close()).await;
            handle.stop(true).await;
            if let Some(hooks) = &node.hooks {
                hooks.leases.end().await;
            }
            node.cluster.retire().await;
            if let Some(tracer) = &node.tracer {
                // A collector that is away keeps no node from its end.
                let _ = tokio::time::timeout(FLUSH_TRACES, tracer.flush()).await;
            }
        };
        Ok(tokio::join!(stop, server).1?)
    }
}

/// Ends the tasks of a node, however its run ends.
struct StopOnDrop(Arc<Node>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}
