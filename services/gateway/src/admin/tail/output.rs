//! The lines of a tail, on their way into the body of its response.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::Instant};

/// After so long without a line an empty one shows that the node is there, and finds out that the reader is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// The form of the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TailFraming {
    /// JSON, one a line.
    Ndjson,
    /// Server-sent events.
    EventStream,
}

impl TailFraming {
    /// The one that a header `Accept` asks for.
    pub(super) fn accepted(accept: &str) -> Self {
        if accept.contains("text/event-stream") { Self::EventStream } else { Self::Ndjson }
    }

    /// The content type of the response.
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            Self::EventStream => "text/event-stream",
        }
    }

    fn framed(self, line: &Value) -> Bytes {
        match self {
            Self::Ndjson => format!("{line}\n").into(),
            Self::EventStream => format!("data: {line}\n\n").into(),
        }
    }

    const fn nothing(self) -> Bytes {
        match self {
            Self::Ndjson => Bytes::from_static(b"\n"),
            Self::EventStream => Bytes::from_static(b":\n\n"),
        }
    }
}

/// Nobody reads the tail any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the reader of the tail is gone")]
pub(super) struct ReaderGone;

/// The way to the reader of a tail.
pub(super) struct TailOutput {
    lines: mpsc::Sender<Bytes>,
    framing: TailFraming,
    last_line: Instant,
    events: u64,
    skipped: u64,
}

impl TailOutput {
    /// One to which nothing was written.
    pub(super) fn new(lines: mpsc::Sender<Bytes>, framing: TailFraming) -> Self {
        Self { lines, framing, last_line: Instant::now(), events: 0, skipped: 0 }
    }

    /// Resolves when the reader is gone.
    pub(super) fn closed(&self) -> impl Future<Output = ()> + 'static + use<> {
        let lines = self.lines.clone();
        async move { lines.closed().await }
    }

    /// Writes an event, waiting for the reader.
    pub(super) async fn event(&mut self, line: &Value) -> Result<(), ReaderGone> {
        self.events += 1;
        self.line(line).await
    }

    /// Says how many events were left out, if any were. `cause`: `rate`, where they were too many for the rate or for the reader;
    /// `history`, where the channel does not keep them any more.
    pub(super) async fn skipped(&mut self, skipped: u64, cause: &'static str) -> Result<(), ReaderGone> {
        if skipped == 0 {
            return Ok(());
        }
        self.skipped += skipped;
        self.line(&json!({"kind": "skipped", "skipped": skipped, "cause": cause})).await
    }

    /// Writes a line, waiting for the reader.
    pub(super) async fn line(&mut self, line: &Value) -> Result<(), ReaderGone> {
        self.send(self.framing.framed(line)).await
    }

    /// Writes an empty line if there was none for a while.
    pub(super) async fn keep_alive(&mut self) -> Result<(), ReaderGone> {
        if self.last_line.elapsed() < KEEP_ALIVE {
            return Ok(());
        }
        self.send(self.framing.nothing()).await
    }

    async fn send(&mut self, line: Bytes) -> Result<(), ReaderGone> {
        self.lines.send(line).await.map_err(|_| ReaderGone)?;
        self.last_line = Instant::now();
        Ok(())
    }

    /// Writes the last line, unless the reader does not read.
    pub(super) fn end(self, cause: &str) {
        let line =
            json!({"kind": "ended", "cause": cause, "events": self.events, "skipped_total": self.skipped});
        // A reader that left so much unread sees the end of the response.
        let _ = self.lines.try_send(self.framing.framed(&line));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    async fn written(framing: TailFraming) -> Vec<Bytes> {
        let (lines, mut body) = mpsc::channel(8);
        let mut output = TailOutput::new(lines, framing);
        output.keep_alive().await.unwrap();
        output.event(&json!({"a": "b\n"})).await.unwrap();
        output.skipped(0, "rate").await.unwrap();
        output.skipped(3, "rate").await.unwrap();
        tokio::time::advance(KEEP_ALIVE).await;
        output.keep_alive().await.unwrap();
        output.end("time");
        let mut all = Vec::new();
        while let Some(line) = body.recv().await {
            all.push(line);
        }
        all
    }

    #[actix_rt::test]
    async fn lines_are_json_or_events_and_the_last_one_counts_them() {
        tokio::time::pause();
        assert_eq!(
            written(TailFraming::accepted("*/*")).await,
            [
                "{\"a\":\"b\\n\"}\n",
                "{\"cause\":\"rate\",\"kind\":\"skipped\",\"skipped\":3}\n",
                "\n",
                "{\"cause\":\"time\",\"events\":1,\"kind\":\"ended\",\"skipped_total\":3}\n",
            ]
        );
        let events = written(TailFraming::accepted("text/event-stream, */*")).await;
        assert_eq!(events[..1], ["data: {\"a\":\"b\\n\"}\n\n"]);
        assert_eq!(events[2], ":\n\n");
    }

    #[actix_rt::test]
    async fn a_reader_that_is_gone_ends_a_line_that_waits_for_it() {
        let (lines, body) = mpsc::channel(1);
        let mut output = TailOutput::new(lines, TailFraming::Ndjson);
        output.line(&json!(1)).await.unwrap();
        drop(body);
        assert_eq!(output.line(&json!(2)).await, Err(ReaderGone));
        output.closed().await;
    }
}
