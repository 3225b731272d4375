//! The end of a connection by the node: a last answer, the end of the stream, and time for the client to read it.
//!
//! A socket that is dropped with unread bytes resets the connection, and may take the answer along. So what the client still
//! sends is read and forgotten for `http.shutdown_timeout` at most.
//!
//! A wait for a part of a request that the client owes, with a limit of time.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use actix_http::header::HttpDate;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use crate::settings::HttpSettings;

/// Reads of what is forgotten, in one turn.
pub(super) const DISCARDED_READS: usize = 8;

/// Bytes of one read of what is forgotten.
const DISCARDED_BYTES: usize = 1024;

/// The end.
pub(super) struct ConnectionEnd {
    /// The rest of the answer to write.
    answer: Vec<u8>,
    written: usize,
    is_shut: bool,
    over: Pin<Box<Sleep>>,
}

impl ConnectionEnd {
    /// An end with `answer`, written and read by the client within `time`.
    pub(super) fn new(answer: Vec<u8>, time: Duration) -> Self {
        Self { answer, written: 0, is_shut: false, over: Box::pin(sleep(time)) }
    }

    /// The end for a client that owes something: 408 where a head has begun.
    pub(super) fn overdue(awaited: Awaited, time: Duration) -> Self {
        tracing::debug!(?awaited, "client takes too long; closing its connection");
        match awaited {
            Awaited::Head => Self::new(request_timeout(), time),
            Awaited::Request => Self::new(Vec::new(), time),
        }
    }

    /// Ready when the client has ended too, or its time is over.
    ///
    /// # Errors
    /// Those of `stream`.
    pub(super) fn poll<T>(&mut self, stream: &mut T, task: &mut Context<'_>) -> Poll<io::Result<()>>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        if self.over.as_mut().poll(task).is_ready() {
            return Poll::Ready(Ok(()));
        }
        while let Some(rest) = self.answer.get(self.written..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut *stream).poll_write(task, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
        if !self.is_shut {
            ready!(Pin::new(&mut *stream).poll_flush(task))?;
            ready!(Pin::new(&mut *stream).poll_shutdown(task))?;
            self.is_shut = true;
        }
        poll_discard(stream, task)
    }
}

/// Reads and forgets. Ready when the client has ended.
///
/// # Errors
/// Those of `stream`.
pub(in crate::server) fn poll_discard<T: AsyncRead + Unpin>(
    stream: &mut T,
    task: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    let mut bytes = [0; DISCARDED_BYTES];
    for _ in 0..DISCARDED_READS {
        let mut buffer = ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut *stream).poll_read(task, &mut buffer))?;
        if buffer.filled().is_empty() {
            return Poll::Ready(Ok(()));
        }
    }
    task.waker().wake_by_ref();
    Poll::Pending
}

/// The answer to a head that does not come (RFC 9110 §15.5.9).
fn request_timeout() -> Vec<u8> {
    const SENTENCE: &str = "the request's head takes too long";
    let date = HttpDate::from(SystemTime::now());
    format!(
        "HTTP/1.1 408 Request Timeout\r\ncontent-length: {}\r\nconnection: close\r\n\
         content-type: text/plain; charset=utf-8\r\ndate: {date}\r\n\r\n{SENTENCE}",
        SENTENCE.len()
    )
    .into_bytes()
}

/// Bytes a second in which a client must take its last bytes, beyond `http.request_timeout`.
const MIN_BYTES_PER_SECOND: usize = 4 * 1024;

/// Limits of time of a connection.
pub(in crate::server) struct Times {
    /// Time for a head: `http.request_timeout`.
    pub(super) head: Duration,
    /// Time between two requests: `http.keep_alive`.
    pub(super) idle: Duration,
    /// Time to read the last answer: `http.shutdown_timeout`.
    pub(super) linger: Duration,
}

impl Times {
    /// Time for a client to take this number of last bytes.
    pub(in crate::server) fn to_take(&self, bytes: usize) -> Duration {
        self.head + Duration::from_secs(u64::try_from(bytes / MIN_BYTES_PER_SECOND).unwrap_or(u64::MAX))
    }

    pub(in crate::server) fn new(settings: &HttpSettings) -> Self {
        Self { head: settings.request_timeout, idle: settings.keep_alive, linger: settings.shutdown_timeout }
    }
}

/// A part of a request that the client owes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    /// The rest of a head, or all of the first one.
    Head,
    /// The next request, after empty lines.
    Request,
}

/// The wait. However many bytes come meanwhile, its end stays.
pub(super) struct ReadDeadline {
    awaited: Awaited,
    /// Heads before it.
    heads: u64,
    sleep: Pin<Box<Sleep>>,
}

impl ReadDeadline {
    pub(super) fn new(awaited: Awaited, heads: u64, times: &Times) -> Self {
        let time = match awaited {
            Awaited::Head => times.head,
            Awaited::Request => times.idle,
        };
        Self { awaited, heads, sleep: Box::pin(sleep(time)) }
    }

    /// True if it is this one: for the same part of the same request.
    pub(super) fn is_for(&self, awaited: Awaited, heads: u64) -> bool {
        self.awaited == awaited && self.heads == heads
    }

    pub(super) fn poll(&mut self, task: &mut Context<'_>) -> Poll<()> {
        self.sleep.as_mut().poll(task)
    }
}
