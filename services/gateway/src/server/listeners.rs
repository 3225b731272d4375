//! The listening sockets: opened, and closed while the connections that came through them go on.
//!
//! Here too: the things that the listeners of one worker thread share, and the error of a server that does not start.

use std::{
    cell::RefCell,
    io,
    net::{Shutdown, SocketAddr, TcpListener},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix_server::ServerHandle;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::{limits::ConnectionLimits, slots::Slots, tls::TlsError};
use crate::{hub::worker::Worker, node::Node, settings::HttpSettings};

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
    Tls(#[from] TlsError),
}

/// Listens, with `SO_REUSEADDR` so that a restarted node has its address at once.
pub(super) fn listen(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

thread_local! {
    /// The worker of this thread, made by its first listener.
    static WORKER: RefCell<Option<Rc<Worker>>> = const { RefCell::new(None) };
    /// The slots of its connections.
    static SLOTS: RefCell<Option<Rc<Slots>>> = const { RefCell::new(None) };
}

/// The worker of this thread.
pub(super) fn own_worker(node: &Arc<Node>) -> Rc<Worker> {
    WORKER.with_borrow_mut(|worker| worker.get_or_insert_with(|| node.workers.start()).clone())
}

/// The slots of this thread's connections, of all its listeners.
pub(super) fn own_slots(node: &Arc<Node>, settings: &HttpSettings, limits: ConnectionLimits) -> Rc<Slots> {
    SLOTS.with_borrow_mut(|slots| slots.get_or_insert_with(|| Slots::new(node, settings, limits)).clone())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn no_more_connections_wait_to_be_accepted_than_the_backlog_says() {
        const BACKLOG: u32 = 4;
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)), BACKLOG).unwrap();
        let address = listener.local_addr().unwrap();
        let connect = || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300)).ok();
        let waiting: Vec<_> = std::iter::from_fn(connect).take(100).collect();
        // The system lets in one more than the backlog.
        assert!((1..=BACKLOG as usize + 1).contains(&waiting.len()), "{}", waiting.len());
    }

    #[test]
    fn an_address_can_be_listened_on_again_at_once() {
        let first = listen(SocketAddr::from(([127, 0, 0, 1], 0)), 16).unwrap();
        first.set_nonblocking(false).unwrap();
        let address = first.local_addr().unwrap();
        let peer = std::net::TcpStream::connect(address).unwrap();
        // Closed by this side first, the connection stays in TIME_WAIT.
        drop(first.accept().unwrap());
        drop((first, peer));
        listen(address, 16).unwrap();
    }
}
