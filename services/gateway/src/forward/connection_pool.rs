//! Connections to other nodes: made when a request needs one, kept a while for the next.

use std::{cell::RefCell, collections::HashMap, io, time::Duration};

use socket2::SockRef;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};

/// Time to connect: nodes are near one another.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest time that an idle connection is kept: well below the time after which the other node closes it.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Idle connections kept to one node by one worker.
const IDLE_PER_NODE: usize = 64;

/// The idle connections of a worker.
pub(super) struct ConnectionPool {
    idle: RefCell<HashMap<String, Vec<(TcpStream, Instant)>>>,
    keep: Duration,
    user_timeout: Duration,
}

impl ConnectionPool {
    /// None yet. `keep_alive`: how long a node keeps an idle connection; `user_timeout`: when a peer that acknowledges
    /// nothing is given up.
    pub(super) fn new(keep_alive: Duration, user_timeout: Duration) -> Self {
        Self { idle: RefCell::default(), keep: IDLE_MAX.min(keep_alive / 2), user_timeout }
    }

    /// A connection to this address.
    ///
    /// # Errors
    /// Nobody listens there, or gives no answer in time.
    pub(super) async fn take(&self, address: &str) -> io::Result<TcpStream> {
        match self.reuse(address) {
            Some(stream) => Ok(stream),
            None => self.connect(address).await,
        }
    }

    /// Keeps a connection on which nothing is under way.
    pub(super) fn give_back(&self, address: &str, stream: TcpStream) {
        let mut idle = self.idle.borrow_mut();
        // Nodes come and go: what is too old goes with each that is kept.
        idle.retain(|_, streams| {
            streams.retain(|(_, since)| since.elapsed() < self.keep);
            !streams.is_empty()
        });
        let streams = idle.entry(address.to_owned()).or_default();
        if streams.len() < IDLE_PER_NODE {
            streams.push((stream, Instant::now()));
        }
    }

    fn reuse(&self, address: &str) -> Option<TcpStream> {
        let mut idle = self.idle.borrow_mut();
        let streams = idle.get_mut(address)?;
        while let Some((stream, since)) = streams.pop() {
            // A node that says something on an idle connection says that it ends.
            let is_silent =
                matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
            if since.elapsed() < self.keep && is_silent {
                return Some(stream);
            }
        }
        None
    }

    async fn connect(&self, address: &str) -> io::Result<TcpStream> {
        let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        if !self.user_timeout.is_zero() {
            SockRef::from(&stream).set_tcp_user_timeout(Some(self.user_timeout))?;
        }
        Ok(stream)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    async fn ready(stream: &TcpStream) {
        stream.readable().await.unwrap();
    }

    #[actix_rt::test]
    async fn an_idle_connection_is_used_again_unless_the_other_side_has_spoken_or_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let pool = ConnectionPool::new(LONG, LONG);
        let one = pool.take(&address).await.unwrap();
        let (mut other_end, _) = listener.accept().await.unwrap();
        let port = one.local_addr().unwrap();
        pool.give_back(&address, one);
        let again = pool.take(&address).await.unwrap();
        assert_eq!(again.local_addr().unwrap(), port);

        other_end.write_all(b"408").await.unwrap();
        ready(&again).await;
        pool.give_back(&address, again);
        let fresh = pool.take(&address).await.unwrap();
        assert_ne!(fresh.local_addr().unwrap(), port);

        let (other_end, _) = listener.accept().await.unwrap();
        let port = fresh.local_addr().unwrap();
        drop(other_end);
        ready(&fresh).await;
        pool.give_back(&address, fresh);
        assert_ne!(pool.take(&address).await.unwrap().local_addr().unwrap(), port);
    }

    #[actix_rt::test]
    async fn idle_connections_are_bounded_in_number_and_age() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let pool = ConnectionPool::new(LONG, LONG);
        let mut streams = Vec::new();
        for _ in 0..IDLE_PER_NODE + 3 {
            streams.push(pool.connect(&address).await.unwrap());
        }
        streams.into_iter().for_each(|stream| pool.give_back(&address, stream));
        assert_eq!(pool.idle.borrow()[&address].len(), IDLE_PER_NODE);
        let brief = ConnectionPool::new(Duration::ZERO, Duration::ZERO);
        let one = brief.take(&address).await.unwrap();
        let port = one.local_addr().unwrap();
        brief.give_back(&address, one);
        assert_ne!(brief.take(&address).await.unwrap().local_addr().unwrap(), port);
    }
}
