//! An accepted TCP connection with its slot. It fails like a broken one when its slot is wanted for others.

use std::{
    io::{self, ErrorKind, IoSlice},
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use super::{
    slots::{ConnectionSlot, Slots},
    socket,
};
use crate::{endpoint::SocketAddresses, settings::HttpSettings};

/// A TCP connection of this node.
pub(super) struct AcceptedConnection {
    tcp: TcpStream,
    /// Its slot.
    pub(super) slot: ConnectionSlot,
}

impl AcceptedConnection {
    /// Takes a connection in: sets its options and gives it a slot. `None`, and closed, when the node drains.
    pub(super) fn take(tcp: TcpStream, slots: &Rc<Slots>, settings: &HttpSettings) -> Option<Self> {
        let slot = slots.open(tcp.peer_addr().ok().map(|peer| peer.ip()))?;
        socket::prepare(&tcp, settings);
        Some(Self { tcp, slot })
    }

    /// The peer's address, as far as the system knows it.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.tcp.peer_addr().ok()
    }

    /// Its own end.
    pub(super) fn addresses(&self) -> SocketAddresses {
        SocketAddresses { local: self.tcp.local_addr().ok() }
    }

    fn check(&self, task: &Context<'_>) -> io::Result<()> {
        if self.slot.is_shed(task) { Err(ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

impl AsyncRead for AcceptedConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(task)?;
        Pin::new(&mut self.tcp).poll_read(task, buffer)
    }
}

impl AsyncWrite for AcceptedConnection {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(task)?;
        Pin::new(&mut self.tcp).poll_write(task, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(task)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(task)?;
        Pin::new(&mut self.tcp).poll_write_vectored(task, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }
}

/// A stream on an accepted connection.
pub(super) trait OnAccepted: AsyncRead + AsyncWrite + Unpin + 'static {
    /// The connection.
    fn accepted(&self) -> &AcceptedConnection;

    /// The same, to change it.
    fn accepted_mut(&mut self) -> &mut AcceptedConnection;

    /// Ready when the peer's first bytes are there, which stay unread; false if it closed instead.
    fn poll_first(&mut self, task: &mut Context<'_>) -> Poll<io::Result<bool>>;
}

impl OnAccepted for AcceptedConnection {
    fn accepted(&self) -> &AcceptedConnection {
        self
    }

    fn accepted_mut(&mut self) -> &mut AcceptedConnection {
        self
    }

    fn poll_first(&mut self, task: &mut Context<'_>) -> Poll<io::Result<bool>> {
        self.check(task)?;
        let mut byte = [0];
        self.tcp.poll_peek(task, &mut ReadBuf::new(&mut byte)).map_ok(|count| count > 0)
    }
}

/// A TLS connection.
pub(super) type TlsConnection = TlsStream<AcceptedConnection>;

impl OnAccepted for TlsConnection {
    fn accepted(&self) -> &AcceptedConnection {
        self.get_ref().0
    }

    fn accepted_mut(&mut self) -> &mut AcceptedConnection {
        self.get_mut().0
    }

    fn poll_first(&mut self, task: &mut Context<'_>) -> Poll<io::Result<bool>> {
        Pin::new(self).poll_fill_buf(task).map_ok(|bytes| !bytes.is_empty())
    }
}
