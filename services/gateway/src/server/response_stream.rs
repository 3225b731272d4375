//! Writes a response that goes on, behind its head, on the connection that it took over. Record 39.
//!
//! All that waits in the session's pipe becomes one chunk of HTTP, and leaves in one write. The client's input is read
//! and forgotten: nothing more is expected of it, but its end has to be seen. The pipe is emptied only when all is written, so a
//! client that does not read fills it, and then the session's outbox, which is bounded.

use std::{
    cell::RefCell,
    future::Future,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::{chunk::PendingChunk, http_io::Times};
use crate::http_session::pipe::PipeReader;

/// Bytes of one read of what is forgotten.
const DISCARDED_BYTES: usize = 1024;
/// Such reads in one turn.
const DISCARDED_READS: usize = 8;
/// Bytes of a worker's buffer, in which small pieces are put together for one write.
const JOINED_BYTES: usize = 64 * 1024;

thread_local! {
    static JOINED: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(JOINED_BYTES));
}

/// A response that is being written.
pub(super) struct ResponseStream {
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
    pub(super) fn new(pipe: PipeReader, is_chunked: bool, times: Rc<Times>) -> Self {
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
    pub(super) fn poll<T>(&mut self, stream: &mut T, task: &mut Context<'_>) -> Poll<io::Result<bool>>
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
                    std::task::ready!(Pin::new(&mut *stream).poll_flush(task))?;
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
            let patience = self.times.to_take(self.chunk.len() + self.pipe.len_bytes());
            self.end = Some(Box::pin(sleep(patience)));
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

/// Reads and forgets. Ready when the client has ended.
fn poll_discard<T: AsyncRead + Unpin>(stream: &mut T, task: &mut Context<'_>) -> Poll<io::Result<()>> {
    let mut bytes = [0; DISCARDED_BYTES];
    for _ in 0..DISCARDED_READS {
        let mut buffer = ReadBuf::new(&mut bytes);
        std::task::ready!(Pin::new(&mut *stream).poll_read(task, &mut buffer))?;
        if buffer.filled().is_empty() {
            return Poll::Ready(Ok(()));
        }
    }
    task.waker().wake_by_ref();
    Poll::Pending
}

#[cfg(test)]
mod tests;
