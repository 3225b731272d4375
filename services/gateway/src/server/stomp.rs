//! The listener of STOMP over TCP, on the workers of the HTTP one. `docs/protocols/stomp.md` §11.4.

use std::{
    future::poll_fn,
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::Arc,
};

use actix_server::ServerBuilder;
use actix_service::fn_service;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::{
    ConnectionLimits,
    accepted::{AcceptedConnection, OnAccepted},
    listeners::ServerError,
    slots::Slots,
    socket::listen,
    tls,
    worker_thread::{own_slots, own_worker},
};
use crate::{
    endpoints::stomp::{StompEndpoint, accept},
    hub::worker::Worker,
    node::Node,
};

/// Adds the listener, where the settings want one, and to `listening` a second handle of it.
pub(super) fn add(
    builder: ServerBuilder,
    node: &Arc<Node>,
    limits: ConnectionLimits,
    listening: &mut Vec<TcpListener>,
) -> Result<ServerBuilder, ServerError> {
    let settings = &node.settings.stomp.tcp;
    let Some(address) = settings.address().ok().flatten() else { return Ok(builder) };
    let failed = |error| ServerError::Listen(address, error);
    let listener = listen(address, node.settings.http.backlog).map_err(failed)?;
    let bound: SocketAddr = listener.local_addr().map_err(failed)?;
    listening.push(listener.try_clone().map_err(failed)?);
    tracing::info!(address = %bound, tls = settings.tls.is_on(), "listening for STOMP");
    let node = node.clone();
    let builder = if settings.tls.is_on() {
        let mut config = tls::config(&settings.tls)?;
        // Nothing is negotiated on top: one protocol is spoken here.
        config.alpn_protocols.clear();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        builder.listen("stomps", listener, move || {
            let (listener, acceptor) = (StompListener::new(&node, limits), acceptor.clone());
            fn_service(move |stream: TcpStream| {
                let (listener, acceptor) = (listener.clone(), acceptor.clone());
                async move {
                    if let Some(stream) = listener.accept(stream) {
                        listener.serve(tls::accept(&acceptor, stream).await?).await;
                    }
                    Ok::<(), String>(())
                }
            })
        })
    } else {
        builder.listen("stomp", listener, move || {
            let listener = StompListener::new(&node, limits);
            fn_service(move |stream: TcpStream| {
                let listener = listener.clone();
                async move {
                    if let Some(stream) = listener.accept(stream) {
                        listener.serve(stream).await;
                    }
                    Ok::<(), String>(())
                }
            })
        })
    };
    builder.map_err(failed)
}

/// The things that the connections of one worker need.
struct StompListener {
    node: Arc<Node>,
    worker: Rc<Worker>,
    slots: Rc<Slots>,
    endpoint: StompEndpoint,
}

impl StompListener {
    fn new(node: &Arc<Node>, limits: ConnectionLimits) -> Rc<Self> {
        Rc::new(Self {
            node: node.clone(),
            worker: own_worker(node),
            slots: own_slots(node, limits),
            endpoint: StompEndpoint::new(node.clone()),
        })
    }

    /// Takes a connection in; `None`, and closed, where only health and metrics are served on new ones.
    fn accept(&self, stream: TcpStream) -> Option<AcceptedConnection> {
        let accepted = AcceptedConnection::take(stream, &self.slots, &self.node.settings.http)?;
        (!accepted.slot.is_reserved()).then_some(accepted)
    }

    /// Starts a session with the client's first bytes, so that a silent client takes no slot of a session.
    async fn serve(&self, mut stream: impl OnAccepted) {
        let patience = self.node.policy.settings.connect_timeout;
        match tokio::time::timeout(patience, poll_fn(|task| stream.poll_first(task))).await {
            Ok(Ok(true)) => {
                let peer = stream.accepted().peer();
                stream.accepted_mut().slot.keep_for_session();
                accept(&self.node, &self.worker, &self.endpoint, stream, peer);
            }
            Ok(Ok(false)) => tracing::debug!("STOMP client closed before its first byte"),
            Ok(Err(error)) => tracing::debug!(%error, "STOMP connection broke before its first byte"),
            Err(_) => tracing::debug!("STOMP client sent nothing in time"),
        }
    }
}
