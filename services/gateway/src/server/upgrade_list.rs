//! Lists in the `Upgrade` header, made plain for actix-http.
//!
//! RFC 9110 allows `Upgrade: h2c, websocket`; actix-http 3 hands a socket over only where the value is `websocket`
//! alone (its `h1/decoder.rs`). So the streams that it reads from put that word in the place of such a list, in the
//! read buffer and with the same length. Only the head of a GET is looked at, and after the upgrade the connection's
//! actor has the bare stream again. `specs/websocket.md`, item 1.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use super::request::Connection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Reads of what a client still sends to a connection that ends, in one turn.
const DISCARDED_READS: usize = 8;

/// A stream whose `Upgrade` lists are made plain, and which ends once its [`Connection`] does.
pub(super) struct PlainUpgrade<T> {
    stream: T,
    connection: Rc<Connection>,
    has_ended: bool,
}

impl<T> PlainUpgrade<T> {
    pub(super) fn new(stream: T) -> Self {
        Self { stream, connection: Rc::default(), has_ended: false }
    }

    /// The bare stream.
    pub(super) fn into_inner(self) -> T {
        self.stream
    }

    /// The bare stream, to look at.
    pub(super) fn get_ref(&self) -> &T {
        &self.stream
    }

    /// What the middleware says of the connection's end.
    pub(super) fn connection(&self) -> Rc<Connection> {
        self.connection.clone()
    }

    /// An answer has said `connection: close`.
    pub(super) fn is_closing(&self) -> bool {
        self.connection.is_closing()
    }
}

impl<T: AsyncRead + Unpin> PlainUpgrade<T> {
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
}

impl<T: AsyncRead + Unpin> AsyncRead for PlainUpgrade<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.connection.is_refusing() {
            return self.poll_discard(task, buffer);
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(task, buffer))?;
        if let Some(read) = buffer.filled_mut().get_mut(before..) {
            make_plain(read);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for PlainUpgrade<T> {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(task, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.connection.is_refusing() {
            return Pin::new(&mut self.stream).poll_flush(task);
        }
        if self.connection.is_over() && !self.has_ended {
            // actix-http reads no more where its buffer is full of requests.
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        // All answers are written.
        Pin::new(&mut self.stream).poll_shutdown(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(task)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(task, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Puts `websocket` in the place of a list that holds it, in the head of a GET request.
fn make_plain(read: &mut [u8]) {
    const NAME: &[u8] = b"upgrade:";
    const PLAIN: &[u8] = b"websocket";
    if !read.starts_with(b"GET ") {
        return;
    }
    for line in read.split_mut(|byte| *byte == b'\n') {
        if matches!(line, [] | [b'\r']) {
            return;
        }
        let Some((name, value)) = line.split_at_mut_checked(NAME.len()) else { continue };
        if !name.eq_ignore_ascii_case(NAME) || !value.contains(&b',') {
            continue;
        }
        let lists_it =
            value.split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(PLAIN));
        if let Some((word, rest)) = value.split_at_mut_checked(PLAIN.len())
            && lists_it
        {
            word.copy_from_slice(PLAIN);
            // The carriage return at the end of the line stays.
            rest.iter_mut().filter(|byte| **byte != b'\r').for_each(|byte| *byte = b' ');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(head: &str) -> String {
        let mut bytes = head.as_bytes().to_vec();
        make_plain(&mut bytes);
        String::from_utf8(bytes).unwrap_or_default()
    }

    #[test]
    fn a_list_that_holds_websocket_becomes_the_word_alone_and_keeps_its_length() {
        let head = "GET / HTTP/1.1\r\nHost: a\r\nupgrade: h2c, WebSocket\r\nX: y\r\n\r\n";
        assert_eq!(plain(head), "GET / HTTP/1.1\r\nHost: a\r\nupgrade:websocket      \r\nX: y\r\n\r\n");
    }

    #[test]
    fn nothing_else_is_touched() {
        for head in [
            "GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
            "GET / HTTP/1.1\r\nUpgrade: h2c, foo\r\n\r\n",
            "GET / HTTP/1.1\r\nX-Upgrade: h2c, websocket\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\nUpgrade: h2c, websocket\r\n",
            "POST / HTTP/1.1\r\nUpgrade: h2c, websocket\r\n\r\n",
            "GET / HTTP/1.1\r\nUpgrade:,",
            "",
        ] {
            assert_eq!(plain(head), head);
        }
    }
}
