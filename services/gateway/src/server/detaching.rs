//! The connection below actix-http, which leaves it when a response that goes on has said so
//! ([`crate::http_session::detached`]). To actix-http the client has ended then, and it frees what it kept. Record 39.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    mem,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    accepted::OnAccepted,
    http_io::{HttpIo, Times},
    response_stream::ResponseStream,
};
use crate::http_session::detached::{Detachable, Detached};

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
