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

use super::{
    ConnectionLimits,
    accepted::{AcceptedConnection, OnAccepted, accept_tls},
    listeners::{ServerError, listen, own_slots, own_worker},
    slots::Slots,
    tls::{Certificates, TlsListener},
};
use crate::{
    endpoints::stomp::{StompEndpoint, accept},
    hub::worker::Worker,
    node::Node,
    settings::Settings,
};

/// Adds the listener, where the settings want one, and to `listening` a second handle of it.
pub(super) fn add(
    builder: ServerBuilder,
    node: &Arc<Node>,
    settings: &Arc<Settings>,
    limits: ConnectionLimits,
    certificates: &Certificates,
    listening: &mut Vec<TcpListener>,
) -> Result<ServerBuilder, ServerError> {
    let tcp = &settings.stomp.tcp;
    let Some(address) = tcp.address().ok().flatten() else { return Ok(builder) };
    let failed = |error| ServerError::Listen(address, error);
    let listener = listen(address, settings.http.backlog).map_err(failed)?;
    let bound: SocketAddr = listener.local_addr().map_err(failed)?;
    listening.push(listener.try_clone().map_err(failed)?);
    tracing::info!(address = %bound, tls = tcp.tls.is_on(), "listening for STOMP");
    let (node, settings) = (node.clone(), settings.clone());
    let builder = if let Some(certificate) = certificates.of(TlsListener::Stomp) {
        builder.listen("stomps", listener, move || {
            let (listener, certificate) = (StompListener::new(&node, &settings, limits), certificate.clone());
            fn_service(move |stream: TcpStream| {
                let (listener, acceptor) = (listener.clone(), certificate.acceptor());
                async move {
                    if let Some(stream) = listener.accept(stream) {
                        listener.serve(accept_tls(&acceptor, stream).await?).await;
                    }
                    Ok::<(), String>(())
                }
            })
        })
    } else {
        builder.listen("stomp", listener, move || {
            let listener = StompListener::new(&node, &settings, limits);
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
    fn new(node: &Arc<Node>, settings: &Settings, limits: ConnectionLimits) -> Rc<Self> {
        Rc::new(Self {
            node: node.clone(),
            worker: own_worker(node),
            slots: own_slots(node, &settings.http, limits),
            endpoint: StompEndpoint::new(node.clone(), settings),
        })
    }

    /// Takes a connection in; `None`, and closed, where only health and metrics are served on new ones.
    fn accept(&self, stream: TcpStream) -> Option<AcceptedConnection> {
        let accepted = AcceptedConnection::take(stream, &self.slots)?;
        (!accepted.slot.is_reserved()).then_some(accepted)
    }

    /// Starts a session with the client's first bytes, so that a silent client takes no slot of a session.
    async fn serve(&self, mut stream: impl OnAccepted) {
        let connect_timeout = self.node.policy.get().settings.connect_timeout;
        match tokio::time::timeout(connect_timeout, poll_fn(|task| stream.poll_first(task))).await {
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
