//! A response that goes on takes the connection over from actix-http, and is written on it behind its head. Record 39.
//!
//! [`Detaching`] is the connection below actix-http, which leaves it when such a response has said so
//! ([`crate::http_session::writer`]). To actix-http the client has ended then, and it frees what it kept.
//!
//! All that waits in the session's pipe becomes one chunk of HTTP, and leaves in one write. The client's input is read
//! and forgotten: nothing more is expected of it, but its end has to be seen. The pipe is emptied only when all is written, so a
//! client that does not read fills it, and then the session's outbox, which is bounded.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    io::{self, IoSlice},
    mem,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::{
    accepted::OnAccepted,
    chunk::PendingChunk,
    http_io::{HttpIo, Times, poll_discard},
};
use crate::http_session::{
    pipe::PipeReader,
    writer::{Detachable, Detached},
};

/// Bytes of a worker's buffer, in which small pieces are put together for one write.
const JOINED_BYTES: usize = 64 * 1024;

thread_local! {
    static JOINED: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(JOINED_BYTES));
}

/// A connection of HTTP/1 until a response takes it over.
pub(super) enum Detaching<T> {
    Http {
        io: HttpIo<T>,
        detachable: Rc<Detachable>,
        times: Rc<Times>,
    },
    /// A response has it. Bytes that actix-http still writes are thrown away.
    Detached,
}

impl<T: OnAccepted> Detaching<T> {
    pub(super) fn new(stream: T, times: Rc<Times>) -> Self {
        let detachable = Rc::new(Detachable::new(stream.accepted().addresses()));
        Self::Http { io: HttpIo::new(stream, times.clone()), detachable, times }
    }

    /// The connection, unless a response has it.
    pub(super) fn http(&self) -> Option<&HttpIo<T>> {
        match self {
            Self::Http { io, .. } => Some(io),
            Self::Detached => None,
        }
    }

    /// The same.
    pub(super) fn into_http(self) -> Option<HttpIo<T>> {
        match self {
            Self::Http { io, .. } => Some(io),
            Self::Detached => None,
        }
    }

    /// The detachable connection, for the handlers of its requests.
    pub(super) fn detachable(&self) -> Option<Rc<Detachable>> {
        match self {
            Self::Http { detachable, .. } => Some(detachable.clone()),
            Self::Detached => None,
        }
    }
}

/// Writes the rest of a response on its connection, and closes that.
async fn write_response<T: OnAccepted>(mut stream: T, response: Detached, times: Rc<Times>) {
    let Detached { pipe, is_chunked, open } = response;
    let written = {
        let mut response = ResponseStream::new(pipe, is_chunked, times.clone());
        poll_fn(|task| response.poll(&mut stream, task)).await
    };
    drop(open);
    match written {
        // The client is given time to read the last chunk. Boxed: every idle response would be as large.
        Ok(true) => Box::pin(HttpIo::new(stream, times).close()).await,
        Ok(false) => {}
        Err(error) => tracing::debug!(%error, "response cut off"),
    }
}

impl<T: OnAccepted> AsyncRead for Detaching<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Http { io, .. } => Pin::new(io).poll_read(task, buffer),
            Self::Detached => Poll::Ready(Ok(())),
        }
    }
}

impl<T: OnAccepted> AsyncWrite for Detaching<T> {
    fn poll_write(self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Http { io, .. } => Pin::new(io).poll_write(task, bytes),
            Self::Detached => Poll::Ready(Ok(bytes.len())),
        }
    }

    /// actix-http flushes when all that it had is written: the head of a response that waits is out then.
    fn poll_flush(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Self::Http { io, detachable, times } = this else { return Poll::Ready(Ok(())) };
        ready!(Pin::new(io).poll_flush(task))?;
        let Some(response) = detachable.take() else { return Poll::Ready(Ok(())) };
        let times = times.clone();
        if let Self::Http { io, .. } = mem::replace(this, Self::Detached) {
            let mut stream = io.into_inner();
            stream.accepted_mut().slot.keep_for_session();
            actix_rt::spawn(write_response(stream, response, times));
            // actix-http comes back, and sees the end.
            task.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Http { io, .. } => Pin::new(io).poll_shutdown(task),
            Self::Detached => Poll::Ready(Ok(())),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        task: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Http { io, .. } => Pin::new(io).poll_write_vectored(task, slices),
            Self::Detached => Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.http().is_some_and(AsyncWrite::is_write_vectored)
    }
}

/// A response that is being written.
struct ResponseStream {
    pipe: PipeReader,
    is_chunked: bool,
    times: Rc<Times>,
    /// The chunk that is being written.
    chunk: PendingChunk,
    /// Something was written since the last flush of a buffering stream (TLS).
    needs_flush: bool,
    /// The last bytes are in `chunk`, or written.
    is_last: bool,
    /// The time until which a client must take the last bytes of a session that has ended.
    end: Option<Pin<Box<Sleep>>>,
}

impl ResponseStream {
    fn new(pipe: PipeReader, is_chunked: bool, times: Rc<Times>) -> Self {
        Self {
            pipe,
            is_chunked,
            times,
            chunk: PendingChunk::default(),
            needs_flush: false,
            is_last: false,
            end: None,
        }
    }

    /// Writes what there is. Ready with true when all is written; with false when the client has ended, or does not take the
    /// last bytes in time.
    ///
    /// # Errors
    /// Those of `stream`.
    fn poll<T>(&mut self, stream: &mut T, task: &mut Context<'_>) -> Poll<io::Result<bool>>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        if self.poll_write(stream, task)?.is_ready() {
            return Poll::Ready(Ok(true));
        }
        if poll_discard(stream, task)?.is_ready() || self.poll_overdue(task).is_ready() {
            return Poll::Ready(Ok(false));
        }
        Poll::Pending
    }

    /// Ready when all is written, the last chunk too.
    fn poll_write<T: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut T,
        task: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            while !self.chunk.is_empty() {
                match poll_chunk(&self.chunk, stream, task)? {
                    Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(written) => {
                        self.chunk.advance(written);
                        self.needs_flush = true;
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
            if !self.is_last {
                match self.pipe.poll_chunks(task, self.chunk.pieces_mut()) {
                    Poll::Ready(true) => self.chunk.begin(self.is_chunked),
                    Poll::Ready(false) => {
                        self.is_last = true;
                        self.chunk.begin_last(self.is_chunked);
                    }
                    Poll::Pending => {}
                }
            }
            if self.chunk.is_empty() {
                if self.needs_flush {
                    ready!(Pin::new(&mut *stream).poll_flush(task))?;
                    self.needs_flush = false;
                }
                return if self.is_last { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
        }
    }

    /// Ready when a client has not taken the last bytes in time, after its session has ended.
    fn poll_overdue(&mut self, task: &mut Context<'_>) -> Poll<()> {
        if self.end.is_none() {
            if self.pipe.poll_end(task).is_pending() {
                return Poll::Pending;
            }
            let time_limit = self.times.to_take(self.chunk.len() + self.pipe.len_bytes());
            self.end = Some(Box::pin(sleep(time_limit)));
        }
        self.end.as_mut().map_or(Poll::Pending, |end| end.as_mut().poll(task))
    }
}

/// Writes of a chunk what the stream takes: small pieces together, large ones from where they are.
fn poll_chunk<T: AsyncWrite + Unpin>(
    chunk: &PendingChunk,
    stream: &mut T,
    task: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let stream = Pin::new(stream);
    if !chunk.has_small_pieces() || chunk.len() > JOINED_BYTES {
        return chunk.with_slices(|slices| stream.poll_write_vectored(task, slices));
    }
    JOINED.with_borrow_mut(|joined| {
        joined.clear();
        chunk.copy_to(joined);
        stream.poll_write(task, joined)
    })
}

#[cfg(test)]
mod tests;
