//! Options of the listening socket and of accepted ones. `specs/websocket.md`, item 15.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::TcpStream;

use crate::{server::tls, transport::endpoint::SocketAddresses};

/// A stream with a TCP socket beneath it.
pub trait OnTcp {
    /// The socket.
    fn tcp(&self) -> &TcpStream;
}

impl OnTcp for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl OnTcp for tls::Stream {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// Sets the options of an accepted socket. Failing to is not fatal: the connection works without.
pub(super) fn prepare(stream: &impl OnTcp, user_timeout: Duration) -> SocketAddresses {
    let stream = stream.tcp();
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    let user_timeout = (!user_timeout.is_zero()).then_some(user_timeout);
    if let Err(error) = SockRef::from(stream).set_tcp_user_timeout(user_timeout) {
        tracing::debug!(%error, "TCP_USER_TIMEOUT");
    }
    SocketAddresses { local: stream.local_addr().ok() }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[actix_rt::test]
    async fn accepted_sockets_send_at_once_and_give_a_silent_peer_up() {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)), 16).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let addresses = prepare(&accepted, Duration::from_secs(7));
        assert_eq!(addresses.local, Some(peer.peer_addr().unwrap()));
        assert!(accepted.nodelay().unwrap());
        assert_eq!(SockRef::from(&accepted).tcp_user_timeout().unwrap(), Some(Duration::from_secs(7)));
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
