//! The way of bytes from a session to the response that carries them, which may live on another thread of the node.
//!
//! Bounded: the session's side fills it while there is room and is woken when there is again, so what waits, waits in
//! the outbox with its limit. Bytes in it belong to the response: they are written even when the session has ended.
//! Each side learns at once that the other is gone. `docs/architecture.md` §3.8.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::poll_fn,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use actix_web::body::{BodySize, MessageBody};
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use crate::disconnect::Refused;

/// Bytes from which on a pipe has no room: as much as actix-http takes at a time.
const ROOM_BYTES: usize = 32 * 1024;

/// The head of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status.
    pub status: u16,
    /// The `ETag`, without quotes.
    pub tag: Option<String>,
}

#[derive(Debug, Default)]
struct PipeState {
    chunks: VecDeque<Bytes>,
    bytes: usize,
    /// The head of the response, for those whose session decides that.
    head: Option<Result<ResponseHead, Refused>>,
    /// Nothing more will come.
    ended: bool,
    /// Nobody reads any more.
    abandoned: bool,
    /// There is room for whatever comes: the session ends, and hands over all that it has.
    wide: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl PipeState {
    fn has_room(&self) -> bool {
        self.wide || self.bytes < ROOM_BYTES
    }

    fn poll_end(&mut self, task: &mut Context<'_>) -> Poll<()> {
        if self.ended {
            return Poll::Ready(());
        }
        match &mut self.reader {
            Some(reader) => reader.clone_from(task.waker()),
            none => *none = Some(task.waker().clone()),
        }
        Poll::Pending
    }

    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn wake_writer(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }
}

/// A new pipe.
pub fn pipe() -> (PipeWriter, PipeReader) {
    let state = Arc::new(Mutex::new(PipeState::default()));
    (PipeWriter(state.clone()), PipeReader(state))
}

/// The end of a response whose session does not exist: nothing comes.
pub fn ended() -> PipeReader {
    pipe().1
}

/// Nobody reads the response any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abandoned;

/// The session's end. Dropping it ends the response after what is in the pipe.
#[derive(Debug)]
pub struct PipeWriter(Arc<Mutex<PipeState>>);

impl PipeWriter {
    /// True if more may be put in now; else the task is woken when it may.
    ///
    /// # Errors
    /// The response is gone. While it is not, the task is woken when it goes.
    pub fn poll_room(&self, task: &mut Context<'_>) -> Result<bool, Abandoned> {
        let mut state = self.0.lock();
        if state.abandoned {
            return Err(Abandoned);
        }
        match &mut state.writer {
            Some(writer) => writer.clone_from(task.waker()),
            none => *none = Some(task.waker().clone()),
        }
        Ok(state.has_room())
    }

    /// True if there is room.
    pub fn has_room(&self) -> bool {
        self.0.lock().has_room()
    }

    /// Makes room for whatever comes: the session has ended, and what waits for it belongs to the response now.
    pub fn widen(&self) {
        self.0.lock().wide = true;
    }

    /// True if the response is gone.
    pub fn is_abandoned(&self) -> bool {
        self.0.lock().abandoned
    }

    /// Puts bytes in, whether there is room or not.
    pub fn push(&self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        let mut state = self.0.lock();
        if !state.abandoned {
            state.bytes += bytes.len();
            state.chunks.push_back(bytes);
            state.wake_reader();
        }
    }

    /// Puts in what `next` gives, as long as there is room.
    pub fn fill(&self, mut next: impl FnMut() -> Option<Bytes>) {
        let mut state = self.0.lock();
        let mut is_filled = false;
        while state.has_room()
            && let Some(bytes) = next()
        {
            if !state.abandoned && !bytes.is_empty() {
                state.bytes += bytes.len();
                state.chunks.push_back(bytes);
                is_filled = true;
            }
        }
        if is_filled {
            state.wake_reader();
        }
    }

    /// Decides how the response begins, if it has not begun yet.
    pub fn begin(&self, head: Result<ResponseHead, Refused>) {
        let mut state = self.0.lock();
        if state.head.is_none() {
            state.head = Some(head);
            state.wake_reader();
        }
    }
}

impl Drop for PipeWriter {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.ended = true;
        state.writer = None;
        state.wake_reader();
    }
}

/// The response's end: its body.
#[derive(Debug)]
pub struct PipeReader(Arc<Mutex<PipeState>>);

impl PipeReader {
    /// Waits until it is known how the response begins: as its session decided, or by its first bytes, then `None`. A
    /// session that ends without either has nothing to say.
    pub async fn begun(&self) -> Option<Result<ResponseHead, Refused>> {
        poll_fn(|task| {
            let mut state = self.0.lock();
            if state.head.is_some() || !state.chunks.is_empty() || state.ended {
                return Poll::Ready(state.head.clone());
            }
            state.reader = Some(task.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Waits until there are bytes. False if there will be none: the session ended before it had any for this response.
    pub async fn begins(&self) -> bool {
        poll_fn(|task| {
            let mut state = self.0.lock();
            if !state.chunks.is_empty() || state.ended {
                return Poll::Ready(!state.chunks.is_empty());
            }
            state.reader = Some(task.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// The next bytes, if they are there.
    #[cfg(test)]
    pub fn try_chunk(&self) -> Option<Bytes> {
        match self.poll_chunk(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(chunk) => chunk,
            Poll::Pending => None,
        }
    }

    /// Everything up to the end, for a response that is sent as a whole.
    pub async fn collect(&self) -> BytesMut {
        let mut all = BytesMut::new();
        while let Some(chunk) = poll_fn(|task| self.poll_chunk(task)).await {
            all.extend_from_slice(&chunk);
        }
        all
    }

    /// Moves all bytes that are there to `chunks`, which is empty. False at the end: then there are none and none will be.
    pub fn poll_chunks(&self, task: &mut Context<'_>, chunks: &mut VecDeque<Bytes>) -> Poll<bool> {
        let mut state = self.0.lock();
        if !state.chunks.is_empty() {
            let was_full = state.bytes >= ROOM_BYTES;
            state.bytes = 0;
            mem::swap(&mut state.chunks, chunks);
            if was_full {
                state.wake_writer();
            }
            return Poll::Ready(true);
        }
        state.poll_end(task).map(|()| false)
    }

    /// Bytes that are in the pipe.
    pub fn len_bytes(&self) -> usize {
        self.0.lock().bytes
    }

    /// Ready once the session has ended; what it wrote may still be in the pipe.
    pub fn poll_end(&self, task: &mut Context<'_>) -> Poll<()> {
        self.0.lock().poll_end(task)
    }

    pub(super) fn poll_chunk(&self, task: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut state = self.0.lock();
        if let Some(chunk) = state.chunks.pop_front() {
            let was_full = state.bytes >= ROOM_BYTES;
            state.bytes -= chunk.len();
            if was_full && state.bytes < ROOM_BYTES {
                state.wake_writer();
            }
            if state.chunks.is_empty() {
                state.chunks = VecDeque::new();
            }
            return Poll::Ready(Some(chunk));
        }
        state.poll_end(task).map(|()| None)
    }
}

impl Drop for PipeReader {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.abandoned = true;
        state.chunks = VecDeque::new();
        state.bytes = 0;
        state.reader = None;
        state.wake_writer();
    }
}

impl MessageBody for PipeReader {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        self.poll_chunk(task).map(|chunk| chunk.map(Ok))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn woken() -> (Arc<Woken>, Waker) {
        let woken = Arc::new(Woken::default());
        (woken.clone(), woken.into())
    }

    #[test]
    fn the_writer_is_woken_once_there_is_room_again() {
        let (writer, reader) = pipe();
        let (woken, waker) = woken();
        let mut task = Context::from_waker(&waker);
        assert_eq!(writer.poll_room(&mut task), Ok(true));
        writer.push(Bytes::from(vec![1; ROOM_BYTES]));
        writer.push(Bytes::from_static(b"2"));
        assert_eq!(writer.poll_room(&mut task), Ok(false));
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        assert!(reader.poll_chunk(&mut task).is_ready());
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(writer.has_room());
    }

    #[test]
    fn a_pipe_is_filled_until_it_has_no_room_and_emptied_at_once_in_order() {
        let (writer, reader) = pipe();
        let ((read, reading), (wrote, writing)) = (woken(), woken());
        let (mut of_reader, mut of_writer) = (Context::from_waker(&reading), Context::from_waker(&writing));
        let mut chunks = VecDeque::new();
        assert!(reader.poll_chunks(&mut of_reader, &mut chunks).is_pending());
        assert_eq!(writer.poll_room(&mut of_writer), Ok(true));
        let mut left: VecDeque<Bytes> = (0..5).map(|byte| Bytes::from(vec![byte; ROOM_BYTES / 2])).collect();
        writer.fill(|| left.pop_front());
        assert_eq!((left.len(), read.0.load(Ordering::Relaxed)), (3, 1));
        writer.fill(|| left.pop_front());
        assert_eq!(left.len(), 3, "it has no room");
        assert_eq!(reader.poll_chunks(&mut of_reader, &mut chunks), Poll::Ready(true));
        assert_eq!(chunks.iter().map(|chunk| chunk[0]).collect::<Vec<_>>(), [0, 1]);
        assert_eq!((reader.len_bytes(), wrote.0.load(Ordering::Relaxed)), (0, 1));
        chunks.clear();
        writer.widen();
        writer.fill(|| left.pop_front());
        assert!(left.is_empty() && reader.poll_end(&mut of_reader).is_pending());
        drop(writer);
        assert!(reader.poll_end(&mut of_reader).is_ready());
        assert_eq!(reader.poll_chunks(&mut of_reader, &mut chunks), Poll::Ready(true));
        assert_eq!(chunks.len(), 3);
        chunks.clear();
        assert_eq!(reader.poll_chunks(&mut of_reader, &mut chunks), Poll::Ready(false));
    }

    #[test]
    fn what_is_in_the_pipe_is_read_after_the_writer_has_ended() {
        let (writer, reader) = pipe();
        let (woken, waker) = woken();
        let mut task = Context::from_waker(&waker);
        assert!(reader.poll_chunk(&mut task).is_pending());
        writer.push(Bytes::from_static(b"last words"));
        drop(writer);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert_eq!(reader.poll_chunk(&mut task), Poll::Ready(Some(Bytes::from_static(b"last words"))));
        assert_eq!(reader.poll_chunk(&mut task), Poll::Ready(None));
    }

    #[test]
    fn the_writer_learns_at_once_that_nobody_reads() {
        let (writer, reader) = pipe();
        let (woken, waker) = woken();
        assert_eq!(writer.poll_room(&mut Context::from_waker(&waker)), Ok(true));
        drop(reader);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(writer.is_abandoned());
        assert_eq!(writer.poll_room(&mut Context::from_waker(&waker)), Err(Abandoned));
    }

    #[test]
    fn a_response_begins_as_its_session_says_or_by_its_first_bytes() {
        let begun = |reader: &PipeReader| {
            let mut task = Context::from_waker(Waker::noop());
            std::pin::pin!(reader.begun()).as_mut().poll(&mut task)
        };
        let (writer, reader) = pipe();
        assert!(begun(&reader).is_pending());
        writer.begin(Ok(ResponseHead { status: 304, tag: None }));
        assert_eq!(begun(&reader), Poll::Ready(Some(Ok(ResponseHead { status: 304, tag: None }))));
        let (writer, reader) = pipe();
        writer.push(Bytes::from_static(b"x"));
        assert_eq!(begun(&reader), Poll::Ready(None));
    }
}
