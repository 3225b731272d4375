//! An accepted TCP connection with its slot and its options. It fails like a broken one when its slot is wanted for others.
//!
//! A connection of a TLS listener has TLS by rustls on it, with the certificate and the key of the settings. HTTP/2 is not
//! served; a client that speaks nothing else gets a refusal in HTTP/2. Record 22; `docs/protocols/websocket.md` §15.

use std::{
    io::{self, ErrorKind, IoSlice},
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use rand::RngExt as _;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncBufRead, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    slots::{ConnectionSlot, Slots},
    tls::HTTP2_ALPN,
};
use crate::{endpoint::SocketAddresses, settings::HttpSettings};

/// Time between two probes of a peer that does not answer the first one.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Probes without an answer, after which the system gives a peer up.
const KEEPALIVE_PROBES: u32 = 3;

/// Time for a TLS handshake: a few round trips on a bad mobile line.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// An empty SETTINGS frame, with which a server begins (RFC 9113 §3.4), and GOAWAY for all streams with `HTTP_1_1_REQUIRED`
/// (§6.8, §7).
const HTTP2_ANSWER: [u8; 26] =
    [0, 0, 0, 4, 0, 0, 0, 0, 0, /* GOAWAY */ 0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xD];

/// Time for which the input of a client of HTTP/2 is read behind the answer: closing before would reset the connection and take
/// the answer with it.
const HTTP2_LINGER: Duration = Duration::from_secs(1);
/// Bytes of that input that are read.
const HTTP2_LINGER_BYTES: u64 = 64 * 1024;

/// A TCP connection of this node.
pub(super) struct AcceptedConnection {
    tcp: TcpStream,
    /// Its slot.
    pub(super) slot: ConnectionSlot,
}

impl AcceptedConnection {
    /// Takes a connection in: sets its options and gives it a slot. `None`, and closed, when the node drains.
    pub(super) fn take(tcp: TcpStream, slots: &Rc<Slots>) -> Option<Self> {
        let slot = slots.open(tcp.peer_addr().ok().map(|peer| peer.ip()))?;
        prepare(&tcp, &slots.settings);
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

/// Sets the options of an accepted socket. Failing to is not fatal: the connection works without.
fn prepare(stream: &TcpStream, settings: &HttpSettings) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    let socket = SockRef::from(stream);
    let user_timeout = user_timeout(settings);
    if let Err(error) = socket.set_tcp_user_timeout((!user_timeout.is_zero()).then_some(user_timeout)) {
        tracing::debug!(%error, "TCP_USER_TIMEOUT");
    }
    if settings.tcp_keepalive.is_zero() {
        return;
    }
    let keepalive = TcpKeepalive::new()
        .with_time(silence(settings.tcp_keepalive))
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    if let Err(error) = socket.set_tcp_keepalive(&keepalive) {
        tracing::debug!(%error, "SO_KEEPALIVE");
    }
}

/// `TCP_USER_TIMEOUT` of an accepted socket: at least the time in which every keep-alive probe can be answered.
///
/// Linux compares it with the whole silence of a peer that has not answered a probe, not only with data that waits for an
/// acknowledgement, and no longer counts probes (`tcp_keepalive_timer` in `net/ipv4/tcp_timer.c`). Were it shorter, one lost
/// probe would reset an idle connection.
fn user_timeout(settings: &HttpSettings) -> Duration {
    let (user_timeout, keepalive) = (settings.tcp_user_timeout, settings.tcp_keepalive);
    if user_timeout.is_zero() || keepalive.is_zero() {
        return user_timeout;
    }
    user_timeout.max(keepalive + KEEPALIVE_INTERVAL * KEEPALIVE_PROBES)
}

/// Silence of one socket before its first probe, in whole seconds: between half of the setting and all of it, by chance. Linux
/// sends the probes of sockets that were accepted within two seconds in one burst, and a full queue on the way drops some.
fn silence(keepalive: Duration) -> Duration {
    let longest = keepalive.as_secs().max(1);
    Duration::from_secs(crate::random::rng().random_range(longest.div_ceil(2)..=longest))
}

/// Does the TLS handshake.
///
/// # Errors
/// It fails or takes too long, or the connection has to make room for others: then it is over.
pub(super) async fn accept_tls(
    acceptor: &TlsAcceptor,
    stream: AcceptedConnection,
) -> Result<TlsConnection, String> {
    let result = match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("it took too long".to_owned()),
    };
    result.inspect_err(|reason| tracing::debug!(reason, "TLS handshake failed"))
}

/// The same for HTTP: refuses clients that speak HTTP/2 alone.
pub(super) async fn accept_tls_for_http(
    acceptor: &TlsAcceptor,
    stream: AcceptedConnection,
) -> Result<TlsConnection, String> {
    let stream = accept_tls(acceptor, stream).await?;
    if stream.get_ref().1.alpn_protocol() == Some(HTTP2_ALPN) {
        refuse_http2(stream).await;
        return Err("HTTP/2".to_owned());
    }
    Ok(stream)
}

/// Tells the client to use HTTP/1.1, and closes.
async fn refuse_http2(mut stream: TlsConnection) {
    let shutdown = tokio::time::timeout(HTTP2_LINGER, async {
        stream.write_all(&HTTP2_ANSWER).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(HTTP2_LINGER_BYTES), &mut tokio::io::sink()).await?;
        Ok::<_, io::Error>(())
    });
    match shutdown.await {
        Ok(Err(error)) => {
            tracing::debug!(%error, "HTTP/2 client left before it was told to use HTTP/1.1")
        }
        Ok(Ok(())) | Err(_) => tracing::debug!("HTTP/2 client told to use HTTP/1.1"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use tokio::net::TcpListener;

    use super::*;

    #[actix_rt::test]
    async fn accepted_sockets_send_at_once_and_give_a_silent_peer_up() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let _peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let seconds = Duration::from_secs;
        let settings = HttpSettings {
            tcp_user_timeout: seconds(77),
            tcp_keepalive: seconds(42),
            ..HttpSettings::default()
        };
        prepare(&accepted, &settings);
        assert!(accepted.nodelay().unwrap());
        let socket = SockRef::from(&accepted);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(seconds(77)));
        assert!(socket.keepalive().unwrap());
        assert!((seconds(21)..=seconds(42)).contains(&socket.tcp_keepalive_time().unwrap()));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), KEEPALIVE_PROBES);
    }

    #[test]
    fn an_idle_peer_that_misses_one_probe_is_asked_again_before_it_is_given_up() {
        let seconds = Duration::from_secs;
        let timeout = |after, keepalive| {
            user_timeout(&HttpSettings {
                tcp_user_timeout: seconds(after),
                tcp_keepalive: seconds(keepalive),
                ..HttpSettings::default()
            })
        };
        // Three probes, ten seconds apart, the first after the silence.
        assert_eq!(timeout(30, 60), seconds(90));
        assert_eq!(timeout(30, 1), seconds(31));
        assert_eq!(timeout(120, 60), seconds(120));
        // Without probes there is nothing to wait for, and the system's own is left alone.
        assert_eq!(timeout(30, 0), seconds(30));
        assert_eq!(timeout(0, 60), seconds(0));
    }

    #[test]
    fn probes_of_peers_that_came_together_are_spread() {
        let silences: std::collections::BTreeSet<_> =
            (0..1000).map(|_| silence(Duration::from_secs(60)).as_secs()).collect();
        assert_eq!(silences, (30..=60).collect());
        assert_eq!(silence(Duration::from_secs(1)), Duration::from_secs(1));
    }

    #[actix_rt::test]
    async fn what_is_set_to_0_is_left_to_the_system() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let _peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let zero = Duration::ZERO;
        prepare(
            &accepted,
            &HttpSettings { tcp_user_timeout: zero, tcp_keepalive: zero, ..HttpSettings::default() },
        );
        let socket = SockRef::from(&accepted);
        assert_eq!((socket.tcp_user_timeout().unwrap(), socket.keepalive().unwrap()), (None, false));
    }
}
