//! Gorani, a realtime push server: a backend POSTs a message once, and every subscribed client has it within
//! milliseconds.
//!
//! The rooms, from the door inwards; each uses only those below it (`make layers`):
//!
//! | room | what it is |
//! |---|---|
//! | `main`, [`cli`] | the command: serve, check, token, version |
//! | [`server`] | listeners, workers, the table of routes |
//! | [`transport`], [`api`], [`page`], [`health`] | the doors for clients, backends, people, operators |
//! | [`node`] | the broker and the workers; publishing |
//! | [`hub`] | one per worker: channel → subscriptions; encode once, deliver |
//! | [`session`], [`outbox`] | a client's protocol as a state machine; its waiting bytes |
//! | [`settings`], [`metrics`], [`disconnect`] | what everybody knows |
//!
//! To embed it, with a handler of one's own on a path, see [`Gorani`].

pub mod api;
pub mod cli;
pub mod disconnect;
pub mod drain;
pub mod health;
pub mod hub;
pub mod metrics;
pub mod node;
pub mod outbox;
pub mod page;
pub mod server;
pub mod session;
pub mod settings;
pub mod telemetry;
pub mod transport;

use std::{future::Future, net::SocketAddr, sync::Arc};

use crate::{
    node::{Node, NodeError},
    server::{Listening, ServerError},
    settings::Settings,
    transport::{
        client::ClientEndpoint,
        endpoint::{Endpoint, Endpoints},
    },
};

/// Path of the client protocol over WebSocket.
pub const CLIENT_PATH: &str = "/connection/websocket";

/// A node to be: settings, and the handlers that an embedder adds.
pub struct Gorani {
    settings: Settings,
    endpoints: Vec<(String, MakeEndpoint)>,
}

type MakeEndpoint = Box<dyn FnOnce(&Arc<Node>) -> Arc<dyn Endpoint>>;

/// Why a node does not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The node cannot start.
    #[error(transparent)]
    Node(#[from] NodeError),
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
        Self { settings, endpoints: Vec::new() }
    }

    /// Adds an endpoint on a path.
    pub fn endpoint(
        mut self,
        path: impl Into<String>,
        make: impl FnOnce(&Arc<Node>) -> Arc<dyn Endpoint> + 'static,
    ) -> Self {
        self.endpoints.push((path.into(), Box::new(make)));
        self
    }

    /// Runs until `shutdown` is ready, then drains. `started` is told the address and the node once it listens.
    ///
    /// To be called within an actix system (`#[actix::main]`).
    pub async fn run(
        self,
        shutdown: impl Future<Output = ()>,
        started: impl FnOnce(SocketAddr, Arc<Node>),
    ) -> Result<(), RunError> {
        server::raise_file_limit(self.settings.http.max_connections);
        let node = Node::start(self.settings).await?;
        let mut endpoints = Endpoints::new();
        endpoints.insert(CLIENT_PATH.to_owned(), Arc::new(ClientEndpoint(node.clone())));
        for (path, make) in self.endpoints {
            endpoints.insert(path, make(&node));
        }
        let Listening { address, handle, server } = server::start(node.clone(), Arc::new(endpoints))?;
        tracing::info!(%address, node = %node.id, workers = node.settings.http.worker_count(), "listening");
        started(address, node.clone());
        let mut server = std::pin::pin!(server);
        tokio::select! {
            ended = &mut server => return Ok(ended?),
            () = shutdown => {}
        }
        drain::drain(&node).await;
        handle.stop(true).await;
        Ok(server.await?)
    }
}
