//! The listening socket, to close it while the connections that came through it go on.

use std::{
    net::{Shutdown, TcpListener},
    time::Duration,
};

use actix_server::ServerHandle;
use socket2::SockRef;

/// The thread that accepts hears of a pause a moment later; the end of the socket before that it would take for an error.
const PAUSE_IS_HEARD_WITHIN: Duration = Duration::from_millis(20);

/// The way in.
pub struct Doors {
    listener: TcpListener,
    server: ServerHandle,
}

impl Doors {
    /// `listener` is a second handle of the socket on which the server accepts.
    pub(super) fn new(listener: TcpListener, server: ServerHandle) -> Self {
        Self { listener, server }
    }

    /// Closes it: from here on connecting is refused, which every balancer takes as a reason to try another node. A pause
    /// alone would leave clients waiting in the socket's backlog.
    pub async fn close(&self) {
        self.server.pause().await;
        tokio::time::sleep(PAUSE_IS_HEARD_WITHIN).await;
        if let Err(error) = SockRef::from(&self.listener).shutdown(Shutdown::Read) {
            tracing::warn!(%error, "the listening socket cannot be closed");
        }
    }
}
