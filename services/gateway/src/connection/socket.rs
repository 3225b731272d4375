//! Socket: the stream of a connection, TCP or TLS. Writes an outbox into it as far as a turn goes, and flushes what it buffers.

use std::{
    io,
    pin::Pin,
    task::{Context as Task, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::outbox::Outbox;

/// Bytes that are written before others have their turn: the kernel takes half a millisecond to copy a MiB, and a peer that
/// reads as fast would be written to without an end.
const WRITTEN_PER_TURN: usize = 1024 * 1024;

/// The stream of a connection: a TCP socket, or TLS on one.
pub trait Io: AsyncRead + AsyncWrite + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + 'static> Io for T {}

/// The stream of a connection.
pub(crate) struct Socket<T: Io> {
    io: T,
    /// True if something was written since the last flush of a buffering stream (TLS).
    needs_flush: bool,
}

impl<T: Io> Socket<T> {
    /// A stream that nothing was written to yet.
    pub(crate) fn new(io: T) -> Self {
        Self { io, needs_flush: false }
    }

    /// Writes what waits, as far as a turn goes, and flushes it where the stream buffers. Ready when nothing waits.
    /// `sent` gets the bytes of each write.
    pub(crate) fn poll_write(
        &mut self,
        outbox: &Outbox,
        sent: impl Fn(usize),
        task: &mut Task<'_>,
    ) -> Poll<io::Result<()>> {
        let mut bytes = 0;
        while !outbox.is_empty() {
            if bytes >= WRITTEN_PER_TURN {
                task.waker().wake_by_ref();
                return Poll::Pending;
            }
            let written = outbox.write_with(|slices| {
                let io = Pin::new(&mut self.io);
                // One chunk, the usual case, costs the kernel less by `send` than by `writev`.
                let written = match slices {
                    [chunk] => io.poll_write(task, chunk),
                    chunks => io.poll_write_vectored(task, chunks),
                };
                match written {
                    Poll::Ready(Ok(0)) => Err(Some(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(written) => written.map_err(Some),
                    Poll::Pending => Err(None),
                }
            });
            match written {
                Ok(written) => {
                    bytes += written;
                    self.needs_flush = true;
                    sent(written);
                }
                Err(None) => {
                    outbox.note_blocked();
                    return Poll::Pending;
                }
                Err(Some(error)) => return Poll::Ready(Err(error)),
            }
        }
        if self.needs_flush {
            ready!(Pin::new(&mut self.io).poll_flush(task))?;
            self.needs_flush = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads into a buffer. Ready with the number of bytes, zero at the end of the stream.
    pub(crate) fn poll_read(&mut self, buffer: &mut [u8], task: &mut Task<'_>) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(&mut self.io).poll_read(task, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Closes the own half of the stream. A failure is ignored: then the peer is gone.
    pub(crate) fn poll_shutdown(&mut self, task: &mut Task<'_>) -> Poll<()> {
        Pin::new(&mut self.io).poll_shutdown(task).map(drop)
    }
}
