//! The listener of STOMP over TCP, on the workers of the HTTP one. `specs/stomp.md`, item 58.

use std::{
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::Arc,
};

use actix_server::ServerBuilder;
use actix_service::{ServiceFactoryExt, fn_service};
use tokio::net::TcpStream;

use super::{
    ServerError, own_worker,
    socket::{listen, prepare},
    tls,
};
use crate::{
    hub::worker::Worker,
    node::Node,
    transport::{stomp::StompEndpoint, stomp_tcp},
};

/// Adds the listener, where the settings want one, and to `listening` a second handle of it.
pub(super) fn add(
    builder: ServerBuilder,
    node: &Arc<Node>,
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
        builder.listen("stomps", listener, move || {
            let door = Door::new(&node);
            tls::acceptor(config.clone()).map_err(|error| format!("{error:?}")).and_then(fn_service(
                move |stream: tls::Stream| {
                    let peer = stream.get_ref().0.peer_addr().ok();
                    prepare(&stream, door.node.settings.http.tcp_user_timeout);
                    stomp_tcp::take(&door.node, &door.worker, &door.endpoint, stream, peer);
                    std::future::ready(Ok::<(), String>(()))
                },
            ))
        })
    } else {
        builder.listen("stomp", listener, move || {
            let door = Door::new(&node);
            fn_service(move |stream: TcpStream| {
                let peer = stream.peer_addr().ok();
                prepare(&stream, door.node.settings.http.tcp_user_timeout);
                stomp_tcp::take(&door.node, &door.worker, &door.endpoint, stream, peer);
                std::future::ready(Ok::<(), String>(()))
            })
        })
    };
    builder.map_err(failed)
}

/// What the connections of one worker need.
struct Door {
    node: Arc<Node>,
    worker: Rc<Worker>,
    endpoint: StompEndpoint,
}

impl Door {
    fn new(node: &Arc<Node>) -> Rc<Self> {
        Rc::new(Self {
            node: node.clone(),
            worker: own_worker(node),
            endpoint: StompEndpoint::new(node.clone()),
        })
    }
}
