//! The listening sockets, to close them while the connections that came through them go on.
//!
//! The error of a server that does not start.

use std::{
    io,
    net::{Shutdown, SocketAddr, TcpListener},
    time::Duration,
};

use actix_server::ServerHandle;
use socket2::SockRef;

use super::tls;

/// The thread that accepts learns of a pause a moment later; it would take the end of the socket before that for an error.
const PAUSE_IS_HEARD_WITHIN: Duration = Duration::from_millis(20);

/// The ways in.
pub struct Listeners {
    listeners: Vec<TcpListener>,
    server: ServerHandle,
}

impl Listeners {
    /// `listeners` are second handles of the sockets on which the server accepts.
    pub(super) fn new(listeners: Vec<TcpListener>, server: ServerHandle) -> Self {
        Self { listeners, server }
    }

    /// Closes them: from here on connecting is refused, which every balancer takes as a reason to try another node. A pause
    /// alone would leave clients waiting in the socket's backlog.
    pub async fn close(&self) {
        self.server.pause().await;
        tokio::time::sleep(PAUSE_IS_HEARD_WITHIN).await;
        for listener in &self.listeners {
            if let Err(error) = SockRef::from(listener).shutdown(Shutdown::Read) {
                tracing::warn!(%error, "closing a listening socket failed");
            }
        }
    }
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, #[source] io::Error),
    /// The certificate or the key is not usable.
    #[error("tls: {0}")]
    Tls(#[from] tls::TlsError),
}
