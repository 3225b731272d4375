//! Options of the listening socket and of accepted ones. `docs/protocols/websocket.md` §15.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use rand::RngExt as _;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpStream;

use crate::settings::HttpSettings;

/// Time between two probes of a peer that does not answer the first one.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Probes without an answer, after which the system gives a peer up.
const KEEPALIVE_PROBES: u32 = 3;

/// Sets the options of an accepted socket. Failing to is not fatal: the connection works without.
pub(super) fn prepare(stream: &TcpStream, settings: &HttpSettings) {
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
