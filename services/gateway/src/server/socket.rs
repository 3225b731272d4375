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
