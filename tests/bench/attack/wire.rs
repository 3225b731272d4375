//! A hostile connection's socket: from an address of its own, plain or TLS, never blocking.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};
use socket2::{Domain, Socket, Type};

/// How long the kernel may take to connect: longer only where the backlog is full, which is told as refused.
const CONNECT_WITHIN: Duration = Duration::from_millis(200);
/// Receive buffer of a client that does not read, in bytes: little hides in the kernel.
const SMALL_BUFFER_BYTES: usize = 4096;

/// Bytes in and out.
pub(crate) trait Wire: Read + Write + Send {}

impl<T: Read + Write + Send> Wire for T {}

/// Connects from `source`; with a configuration it speaks TLS. Reads and writes answer `WouldBlock` rather than wait.
pub(crate) fn connect(
    source: Ipv4Addr,
    to: SocketAddr,
    tls: Option<&Arc<ClientConfig>>,
    small_buffer: bool,
) -> io::Result<Box<dyn Wire>> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    if small_buffer {
        socket.set_recv_buffer_size(SMALL_BUFFER_BYTES)?;
    }
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    socket.connect_timeout(&to.into(), CONNECT_WITHIN)?;
    socket.set_nonblocking(true)?;
    let stream = TcpStream::from(socket);
    let Some(config) = tls else { return Ok(Box::new(stream)) };
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    let session = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
    Ok(Box::new(StreamOwned::new(session, stream)))
}
