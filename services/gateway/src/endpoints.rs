//! Endpoints by path: the table that the server and the upgrade ask.
//!
//! - [`crate::endpoint`]: the trait: session, subprotocols, origins.
//! - [`client`], [`stomp`]: the client protocol and receivers without commands; STOMP.
//! - [`upgrade`]: from an upgrade request to the connection.
//! - [`embedder`]: handlers of applications that embed the node.

pub mod client;
pub mod embedder;
pub mod stomp;
pub mod upgrade;

use std::{collections::HashMap, sync::Arc};

use gorani_protocol::sockjs::{Route, Transport};

use crate::{
    endpoint::Endpoint,
    metrics::TransportLabel,
    sockjs::options::{FRAMED_WEBSOCKET, RAW_WEBSOCKET, SockJsEndpoint},
};

/// The endpoints of a node, by path.
#[derive(Default)]
pub struct Endpoints {
    websocket: HashMap<String, Arc<dyn Endpoint>>,
    sockjs: HashMap<String, Arc<SockJsEndpoint>>,
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
