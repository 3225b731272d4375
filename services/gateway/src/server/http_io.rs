//! The stream from which actix-http reads requests, and to which it writes answers.
//!
//! It follows the requests ([`gorani_protocol::http1`]) for what actix-http 3 does not do:
//! - A head has `http.request_timeout` on every request of a connection, from its first byte, or from the end of the answer
//!   before it; else 408 and the end. actix-http times the first head alone, so its own timer is off.
//! - Empty lines between two requests keep a connection no longer than silence does: `http.keep_alive`.
//! - `Upgrade` lists are made plain. Record 9. HEAD is renamed ([`gorani_protocol::http1`]).
//! - After `connection: close` the stream ends ([`HttpConnection`]).
//!
//! While a request is answered nothing is timed here, and no byte of an answer or a body is looked at or copied.

mod end;

use std::{
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use gorani_protocol::http1::{RequestPhase, RequestStream};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use self::end::{Awaited, ConnectionEnd, DISCARDED_READS, ReadDeadline};
use super::request::HttpConnection;

pub(super) use self::end::{Times, poll_discard};

/// A connection of HTTP/1.
pub(super) struct HttpIo<T> {
    stream: T,
    connection: Rc<HttpConnection>,
    times: Rc<Times>,
    requests: RequestStream,
    /// The beginning of a line that may be an `Upgrade` list.
    held: Vec<u8>,
    wait: Option<ReadDeadline>,
    /// The client has not taken all that was answered.
    is_write_blocked: bool,
    /// The client has sent its end.
    has_ended: bool,
    end: Option<Box<ConnectionEnd>>,
}

impl<T> HttpIo<T> {
    pub(super) fn new(stream: T, times: Rc<Times>) -> Self {
        Self {
            stream,
            connection: Rc::default(),
            times,
            requests: RequestStream::default(),
            held: Vec::new(),
            wait: None,
            is_write_blocked: false,
            has_ended: false,
            end: None,
        }
    }

    /// The plain stream.
    pub(super) fn into_inner(self) -> T {
        self.stream
    }

    /// The plain stream, to look at.
    pub(super) fn get_ref(&self) -> &T {
        &self.stream
    }

    /// The connection's state that the middleware shares with this stream.
    pub(super) fn connection(&self) -> Rc<HttpConnection> {
        self.connection.clone()
    }

    /// An answer has said `connection: close`.
    pub(super) fn is_closing(&self) -> bool {
        self.connection.is_closing()
    }

    /// The part of a request that the client owes, when nothing is owed to the client.
    fn awaited(&self) -> Option<Awaited> {
        if self.is_write_blocked
            || self.has_ended
            || self.end.is_some()
            || self.connection.is_closing()
            || self.connection.is_answering()
        {
            return None;
        }
        match self.requests.phase() {
            RequestPhase::Head => Some(Awaited::Head),
            // actix-http times an idle connection once it has answered a request.
            RequestPhase::Between | RequestPhase::EmptyLines if self.requests.complete_heads() == 0 => {
                Some(Awaited::Head)
            }
            RequestPhase::EmptyLines => Some(Awaited::Request),
            RequestPhase::Between | RequestPhase::Body | RequestPhase::Opaque => None,
        }
    }

    /// Ready when a client has taken too long. `task` is woken for it.
    fn poll_overdue(&mut self, task: &mut Context<'_>) -> Poll<Awaited> {
        let Some(awaited) = self.awaited() else {
            self.wait = None;
            return Poll::Pending;
        };
        let heads = self.requests.complete_heads();
        let times = &self.times;
        let wait = match &mut self.wait {
            Some(wait) if wait.is_for(awaited, heads) => wait,
            other => other.insert(ReadDeadline::new(awaited, heads, times)),
        };
        ready!(wait.poll(task));
        self.wait = None;
        Poll::Ready(awaited)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> HttpIo<T> {
    /// Writes what was answered before an upgrade, which actix-http leaves to it.
    ///
    /// # Errors
    /// The connection breaks, or the client does not take it in time.
    pub(super) async fn write_answers(&mut self, answers: &[u8]) -> io::Result<()> {
        if answers.is_empty() {
            return Ok(());
        }
        tokio::time::timeout(self.times.to_take(answers.len()), async {
            self.stream.write_all(answers).await?;
            self.stream.flush().await
        })
        .await
        .map_err(|_| io::ErrorKind::TimedOut)?
    }

    /// Ends the connection after its last answer, so that the client can read it.
    pub(super) async fn close(mut self) {
        let end = self.end.insert(Box::new(ConnectionEnd::new(Vec::new(), self.times.linger)));
        let closed = std::future::poll_fn(|task| end.poll(&mut self.stream, task)).await;
        if let Err(error) = closed {
            tracing::debug!(%error, "client left before its connection was closed");
        }
    }

    /// Reads and forgets what comes after the last answer, until the client ends too or its time is over.
    fn poll_discard(&mut self, task: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        for _ in 0..DISCARDED_READS {
            if !self.connection.is_over() {
                ready!(Pin::new(&mut self.stream).poll_read(task, buffer))?;
            }
            if buffer.filled().len() == before {
                self.has_ended = true;
                return Poll::Ready(Ok(()));
            }
            buffer.set_filled(before);
        }
        task.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads, and follows the requests through what came.
    fn poll_requests(&mut self, task: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        loop {
            let may_hold = buffer.remaining() > self.held.len();
            if !may_hold {
                // The buffer is too small to keep a line back: its bytes go on as they are.
                let count = buffer.remaining().min(self.held.len());
                let (now, later) = self.held.split_at_mut(count);
                self.requests.advance(now, false);
                buffer.put_slice(now);
                self.held = later.to_vec();
                return Poll::Ready(Ok(()));
            }
            buffer.put_slice(&self.held);
            let read_from = buffer.filled().len();
            match Pin::new(&mut self.stream).poll_read(task, buffer) {
                Poll::Ready(Ok(())) => {}
                other => {
                    buffer.set_filled(before);
                    return other;
                }
            }
            self.has_ended = buffer.filled().len() == read_from;
            let Some(came) = buffer.filled_mut().get_mut(before..) else { return Poll::Ready(Ok(())) };
            let heads = self.requests.complete_heads();
            let passed = self.requests.advance(came, !self.has_ended);
            self.connection.count_requests(self.requests.complete_heads() - heads);
            if passed == came.len() {
                self.held = Vec::new();
            } else {
                self.held = came.get(passed..).unwrap_or_default().to_vec();
                buffer.set_filled(before + passed);
            }
            if passed > 0 || self.has_ended {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for HttpIo<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.connection.is_refusing() {
            return self.poll_discard(task, buffer);
        }
        if self.end.is_some() {
            return Poll::Ready(Ok(()));
        }
        if let Poll::Ready(result) = self.poll_requests(task, buffer) {
            return Poll::Ready(result);
        }
        let awaited = ready!(self.poll_overdue(task));
        self.end = Some(Box::new(ConnectionEnd::overdue(awaited, self.times.linger)));
        // For actix-http the client has ended: it comes to `poll_shutdown`.
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for HttpIo<T> {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(task, bytes);
        self.is_write_blocked |= written.is_pending();
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.connection.is_refusing() {
            let flushed = Pin::new(&mut self.stream).poll_flush(task);
            self.is_write_blocked = flushed.is_pending();
            // After an answer actix-http may read no more before something comes.
            if self.poll_overdue(task).is_ready() {
                task.waker().wake_by_ref();
            }
            return flushed;
        }
        if self.connection.is_over() && !self.has_ended {
            // actix-http reads no more where its buffer is full of requests.
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        // All answers are written.
        Pin::new(&mut self.stream).poll_shutdown(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.end.is_none() && this.requests.complete_heads() > 0 && this.awaited() == Some(Awaited::Head) {
            // `http.keep_alive` is over before `http.request_timeout`.
            this.end = Some(Box::new(ConnectionEnd::overdue(Awaited::Head, this.times.linger)));
        }
        match &mut this.end {
            Some(end) => end.poll(&mut this.stream, task),
            None => Pin::new(&mut this.stream).poll_shutdown(task),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(task, slices);
        self.is_write_blocked |= written.is_pending();
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
