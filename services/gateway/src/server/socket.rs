//! Options of the listening socket and of accepted ones. `specs/websocket.md`, item 15.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpStream;

use crate::settings::HttpSettings;

/// Between two probes of a peer that does not answer the first one.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Probes without an answer, after which the system gives a peer up, where `http.tcp_user_timeout` does not do so before.
const KEEPALIVE_PROBES: u32 = 3;

/// Sets the options of an accepted socket. Failing to is not fatal: the connection works without.
pub(super) fn prepare(stream: &TcpStream, settings: &HttpSettings) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    let socket = SockRef::from(stream);
    let user_timeout = settings.tcp_user_timeout;
    if let Err(error) = socket.set_tcp_user_timeout((!user_timeout.is_zero()).then_some(user_timeout)) {
        tracing::debug!(%error, "TCP_USER_TIMEOUT");
    }
    if settings.tcp_keepalive.is_zero() {
        return;
    }
    let keepalive = TcpKeepalive::new()
        .with_time(settings.tcp_keepalive)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    if let Err(error) = socket.set_tcp_keepalive(&keepalive) {
        tracing::debug!(%error, "SO_KEEPALIVE");
    }
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
        let _peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let seconds = Duration::from_secs;
        let settings = HttpSettings {
            tcp_user_timeout: seconds(7),
            tcp_keepalive: seconds(42),
            ..HttpSettings::default()
        };
        prepare(&accepted, &settings);
        assert!(accepted.nodelay().unwrap());
        let socket = SockRef::from(&accepted);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(seconds(7)));
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), seconds(42));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), KEEPALIVE_PROBES);
    }

    #[test]
    fn no_more_connections_wait_to_be_accepted_than_the_backlog_says() {
        const BACKLOG: u32 = 4;
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)), BACKLOG).unwrap();
        let address = listener.local_addr().unwrap();
        let connect = || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300)).ok();
        let waiting: Vec<_> = std::iter::from_fn(connect).take(100).collect();
        // The system lets one more in than it was told.
        assert!((1..=BACKLOG as usize + 1).contains(&waiting.len()), "{}", waiting.len());
    }

    #[actix_rt::test]
    async fn what_is_set_to_0_is_left_to_the_system() {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)), 16).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
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
