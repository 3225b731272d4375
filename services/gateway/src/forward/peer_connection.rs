//! Connections to other nodes: made when a request needs one, kept a while for the next, given up when the node is dead.
//!
//! The body of an answer goes from its connection into the response, chunk by chunk. It is read only when the client takes
//! more, so a slow client holds up its session at the owner, whose outbox is bounded. Dropped before its end, it closes the
//! connection, and the owner sees the client gone.

use std::{
    cell::RefCell,
    collections::HashMap,
    future::Future,
    io,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_web::body::{BodySize, MessageBody};
use bytes::{Bytes, BytesMut};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, ReadBuf},
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::wire::{self, BodyLength, BodyPart, WireError};
use crate::node::Node;

/// Time to connect: nodes are near one another.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest time that an idle connection is kept: well below the time after which the other node closes it.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Idle connections kept to one node by one worker.
const IDLE_PER_NODE: usize = 64;
/// Time between two checks that the awaited nodes are alive.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Bytes read of the socket at once.
const READ_BYTES: usize = 16 * 1024;

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

/// The nodes that requests of this worker wait for. A machine that lost its power closes no connection: the end of its lease
/// ends the requests.
pub(super) struct PeerLiveness {
    node: Arc<Node>,
    awaited: Rc<RefCell<HashMap<String, CancellationToken>>>,
}

impl PeerLiveness {
    pub(super) fn new(node: Arc<Node>) -> Self {
        Self { node, awaited: Rc::default() }
    }

    /// Ready when the node is known to be dead.
    pub(super) fn gone(&self, node: &str) -> WaitForCancellationFutureOwned {
        let mut awaited = self.awaited.borrow_mut();
        if let Some(token) = awaited.get(node) {
            return token.clone().cancelled_owned();
        }
        if awaited.is_empty() {
            actix_rt::spawn(watch(self.node.clone(), self.awaited.clone()));
        }
        let token = CancellationToken::new();
        awaited.insert(node.to_owned(), token.clone());
        token.cancelled_owned()
    }
}

/// Looks until all are dead: as long as a node lives it stays awaited.
async fn watch(node: Arc<Node>, awaited: Rc<RefCell<HashMap<String, CancellationToken>>>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let mut awaited = awaited.borrow_mut();
        awaited.retain(|other, token| {
            let lives = node.cluster.is_alive(other);
            if !lives {
                token.cancel();
            }
            lives
        });
        if awaited.is_empty() {
            return;
        }
    }
}

/// Why a body ends early.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyCutOff {
    /// The connection failed.
    #[error("the session's node cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It ended before the body did.
    #[error("the session's node broke off")]
    BrokeOff,
    /// The bytes are no body.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Its lease is over.
    #[error("the session's node is gone")]
    Gone,
}

/// One of the requests under way, counted while it is.
pub(super) struct InFlightRequest {
    node: Arc<Node>,
    open: Arc<AtomicUsize>,
}

impl InFlightRequest {
    /// One more of `open`, and how many there were before.
    pub(super) fn begin(node: &Arc<Node>, open: &Arc<AtomicUsize>) -> (Self, usize) {
        node.metrics.forward.open.inc();
        let before = open.fetch_add(1, Ordering::Relaxed);
        (Self { node: node.clone(), open: open.clone() }, before)
    }

    fn broken(&self, error: &BodyCutOff) {
        self.node.metrics.forward.count_sent("broken");
        tracing::debug!(%error, "answer of another node cut off");
    }
}

impl Drop for InFlightRequest {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.node.metrics.forward.open.dec();
    }
}

/// A connection on which an answer comes.
pub(super) struct ResponseConnection {
    pub(super) stream: TcpStream,
    /// Bytes that were read and not used yet.
    pub(super) input: BytesMut,
    /// Ready when the other node is known to be dead.
    pub(super) gone: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl ResponseConnection {
    /// Reads more. No more bytes: the other side has ended.
    pub(super) fn poll_more(&mut self, task: &mut Context<'_>) -> Poll<Result<usize, BodyCutOff>> {
        if self.gone.as_mut().poll(task).is_ready() {
            return Poll::Ready(Err(BodyCutOff::Gone));
        }
        if self.input.is_empty() {
            // Takes no memory while nothing comes.
            self.input = BytesMut::new();
        }
        let mut scratch = [0; READ_BYTES];
        let mut buffer = ReadBuf::new(&mut scratch);
        ready!(Pin::new(&mut self.stream).poll_read(task, &mut buffer))?;
        self.input.extend_from_slice(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    }
}

/// The body of another node's answer, as it goes into the response.
pub(super) struct RelayedBody {
    pub(super) incoming: Option<ResponseConnection>,
    pub(super) body: wire::BodyDecoder,
    pub(super) length: BodyLength,
    /// The pool that takes the connection after the end, if it can be used again.
    pub(super) home: Option<(Rc<ConnectionPool>, String)>,
    pub(super) share: InFlightRequest,
}

impl RelayedBody {
    fn poll_piece(&mut self, task: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyCutOff>> {
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(Ok(None)) };
        loop {
            match self.body.next(&mut incoming.input)? {
                BodyPart::Bytes(bytes) => return Poll::Ready(Ok(Some(bytes))),
                BodyPart::End => {
                    self.finish();
                    return Poll::Ready(Ok(None));
                }
                BodyPart::Wanting if ready!(incoming.poll_more(task))? > 0 => {}
                BodyPart::Wanting if self.body.may_be_closed() => {
                    self.incoming = None;
                    return Poll::Ready(Ok(None));
                }
                BodyPart::Wanting => return Poll::Ready(Err(BodyCutOff::BrokeOff)),
            }
        }
    }

    /// The whole answer is read.
    pub(super) fn finish(&mut self) {
        if let Some(incoming) = self.incoming.take()
            && incoming.input.is_empty()
            && let Some((pool, address)) = self.home.take()
        {
            pool.give_back(&address, incoming.stream);
        }
    }
}

impl MessageBody for RelayedBody {
    type Error = BodyCutOff;

    fn size(&self) -> BodySize {
        match self.length {
            BodyLength::None => BodySize::None,
            BodyLength::Known(length) => BodySize::Sized(length),
            BodyLength::Chunks | BodyLength::UntilClose => BodySize::Stream,
        }
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let piece = ready!(self.poll_piece(task));
        if let Err(error) = &piece {
            self.share.broken(error);
            self.incoming = None;
        }
        Poll::Ready(piece.transpose())
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
