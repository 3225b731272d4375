//! The body of an answer that another node gives: from its connection into the response, chunk by chunk.
//!
//! It is read only when the client takes more, so a slow client holds up its session at the owner, whose outbox is
//! bounded. Dropped before its end, it closes the connection, and the owner sees the client gone.

use std::{
    future::Future,
    io,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use actix_web::body::{BodySize, MessageBody};
use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, ReadBuf},
    net::TcpStream,
};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{
    connection_pool::ConnectionPool,
    wire::{self, BodyLength, BodyPart, WireError},
};
use crate::node::Node;

/// Bytes read of the socket at once.
const READ_BYTES: usize = 16 * 1024;

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
