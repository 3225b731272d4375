//! The channel of a tail: history first where it is asked for, then what comes, without a hole or a double between the two.
//!
//! The tail listens before it reads history, so what is published meanwhile is in one of both. Events that it has had are known by
//! their offset. Where events did not fit while it read, it forgets those that wait and reads on: history has them all.

use std::{sync::Arc, time::Duration};

use gorani_broker::{ChannelEvent, HistoryPage, HistoryQuery, Position, Publication, Retention};
use serde_json::{Value, json};

use super::{
    line,
    matched::MatchedSubscribers,
    output::{ReaderGone, TailOutput},
    request::{TailRequest, TailStart},
};
use crate::{
    admin::{error::AdminError, state::Admin},
    clock::unix_ms,
    hub::{
        history_reads::ReadSource,
        interest::tails::{ChannelTail, TailedEvent},
    },
    session::shared::recovery::retention,
};

/// Publications of history in a tail at most: the newest ones.
pub(super) const HISTORY_MAX: u64 = 10_000;
/// Publications of one read.
const PAGE: u32 = 500;
/// Bytes of one read.
const PAGE_BYTES: u64 = 1024 * 1024;
/// A tail of a channel.
pub(super) struct ChannelWatch {
    admin: Arc<Admin>,
    tail: ChannelTail,
    retention: Retention,
    /// The last publication that was told, or that was there before; none where the channel keeps no history.
    last: Option<Position>,
    /// History is to be told first.
    has_start: bool,
    /// Skipped events that were told before an event came after them.
    told_ahead: u64,
    matched: MatchedSubscribers,
    with_contents: bool,
}

impl ChannelWatch {
    /// Listens, and finds out where it begins.
    ///
    /// # Errors
    /// There is no such channel, or no such beginning; the broker does not answer.
    pub(super) async fn open(
        admin: &Arc<Admin>,
        channel: &Arc<str>,
        asked: &TailRequest,
    ) -> Result<Self, AdminError> {
        let options = admin.options(channel)?;
        if asked.since.is_some() && !options.has_history() {
            return Err(AdminError::BadRequest("since: this channel keeps no history".to_owned()));
        }
        let unavailable = |error: gorani_broker::BrokerError| AdminError::Unavailable(error.to_string());
        let tails = &admin.node.workers.tails;
        let tail = tails.listen(channel, asked.rate, asked.with_joins).await.map_err(unavailable)?;
        let mut watch = Self {
            admin: admin.clone(),
            tail,
            retention: retention(&options),
            last: None,
            has_start: asked.since.is_some(),
            told_ahead: 0,
            matched: MatchedSubscribers::new(admin, channel),
            with_contents: asked.with_contents,
        };
        if options.has_history() {
            let top = watch.read(None, 0, false).await.map_err(unavailable)?.top;
            let offset = match asked.since {
                None => top.offset,
                Some(TailStart::After(offset)) if offset > top.offset => {
                    let message = format!("since: the newest offset is {}", top.offset);
                    return Err(AdminError::BadRequest(message));
                }
                Some(TailStart::After(offset)) => offset,
                Some(TailStart::Ago(ago)) => watch.before(ago, &top).await.map_err(unavailable)?,
            };
            watch.last = Some(Position { offset, epoch: top.epoch });
        }
        Ok(watch)
    }

    /// The position after which it tells.
    pub(super) fn position(&self) -> Option<Value> {
        self.last.as_ref().map(|last| json!({"epoch": &*last.epoch, "offset": last.offset}))
    }

    /// The next event. It may be given up at any time.
    pub(super) async fn next(&self) -> TailedEvent {
        self.tail.next().await
    }

    /// Tells what has been, where it is asked for.
    pub(super) async fn begin(&mut self, output: &mut TailOutput) -> Result<(), ReaderGone> {
        if self.has_start {
            self.replay(output).await?;
        }
        self.tail.set_replaying(false);
        Ok(())
    }

    async fn read(
        &self,
        since: Option<u64>,
        limit: u32,
        reverse: bool,
    ) -> Result<HistoryPage, gorani_broker::BrokerError> {
        let query = HistoryQuery { limit, since, reverse, max_bytes: Some(PAGE_BYTES) };
        self.admin.node.reads.history(ReadSource::Api, self.tail.channel(), query, self.retention).await
    }

    /// The offset before the oldest publication of so long, at most [`HISTORY_MAX`] before the top.
    async fn before(&self, ago: Duration, top: &Position) -> Result<u64, gorani_broker::BrokerError> {
        let ago = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
        let from = unix_ms().saturating_sub(ago);
        let mut begin = top.offset.saturating_add(1);
        while top.offset.saturating_sub(begin) < HISTORY_MAX {
            let page = self.read(Some(begin), PAGE, true).await?;
            let Some(oldest) = page.publications.last() else { break };
            match page.publications.iter().find(|publication| publication.time_ms < from) {
                Some(before) => return Ok(before.offset),
                None => begin = oldest.offset,
            }
        }
        Ok(begin.saturating_sub(1).min(top.offset))
    }

    /// Tells what history has after the last publication, until nothing is missing before the events that wait.
    async fn replay(&mut self, output: &mut TailOutput) -> Result<(), ReaderGone> {
        self.tail.set_replaying(true);
        let mut left = HISTORY_MAX;
        while let Some(last) = self.last.clone() {
            let page = match self.read(Some(last.offset), PAGE, false).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::debug!(%error, channel = &**self.tail.channel(), "history not read for a tail");
                    output.line(&json!({"kind": "gap", "cause": "broker"})).await?;
                    break;
                }
            };
            if !page.continues(&last) {
                self.change_epoch(&page.top, output).await?;
                break;
            }
            let is_empty = page.publications.is_empty();
            if let Some(last) = &mut self.last {
                last.epoch = page.top.epoch.clone();
            }
            // Too much for one tail: the newest ones count.
            let oldest = page.top.offset.saturating_sub(left);
            for publication in page.publications.into_iter().filter(|one| one.offset > oldest) {
                let missing = self.advance(&publication);
                output.skipped(missing, "history").await?;
                let line = line::publication(&publication, None, None, self.with_contents);
                output.event(&line).await?;
                left = left.saturating_sub(1);
            }
            if self.last.as_ref().is_some_and(|last| last.offset < oldest) {
                output.skipped(oldest - last.offset, "history").await?;
                self.last = Some(Position { offset: oldest, epoch: page.top.epoch });
                continue;
            }
            if is_empty && last.offset < page.top.offset {
                // The channel does not keep them any more.
                output.skipped(page.top.offset - last.offset, "history").await?;
                self.last = Some(page.top.clone());
            }
            let is_end = is_empty || self.last.as_ref().is_none_or(|last| last.offset >= page.top.offset);
            if left > 0 && !is_end {
                continue;
            }
            // Those that are forgotten are in history; above the bound they are counted by their offsets.
            let forgotten = self.tail.forget_holes();
            output.skipped(forgotten.unwrap_or_default(), "rate").await?;
            if left == 0 || forgotten.is_none() {
                break;
            }
        }
        self.tail.set_replaying(false);
        Ok(())
    }

    async fn change_epoch(&mut self, top: &Position, output: &mut TailOutput) -> Result<(), ReaderGone> {
        output.line(&json!({"kind": "epoch", "epoch": &*top.epoch})).await?;
        self.last = Some(top.clone());
        Ok(())
    }

    /// Moves on to a publication; the number of those between it and the last one.
    fn advance(&mut self, publication: &Publication) -> u64 {
        let epoch = publication.epoch.clone();
        let last = self.last.replace(Position { offset: publication.offset, epoch });
        last.map_or(0, |last| publication.offset.saturating_sub(last.offset.saturating_add(1)))
    }

    /// Tells an event.
    pub(super) async fn event(
        &mut self,
        event: TailedEvent,
        output: &mut TailOutput,
    ) -> Result<(), ReaderGone> {
        let TailedEvent { arrived_ms, skipped, event } = event;
        let publication = match event {
            Some(ChannelEvent::Publication(publication)) => publication,
            Some(ChannelEvent::Join(info)) => {
                self.write_left_out(skipped, output).await?;
                return output.event(&line::presence("join", &info, arrived_ms)).await;
            }
            Some(ChannelEvent::Leave(info)) => {
                self.write_left_out(skipped, output).await?;
                return output.event(&line::presence("leave", &info, arrived_ms)).await;
            }
            None if self.last.is_some() => return self.replay(output).await,
            None => return output.line(&json!({"kind": "gap", "cause": "broker"})).await,
        };
        let mut missing = skipped;
        if publication.offset > 0 {
            match &self.last {
                Some(last) if last.epoch == publication.epoch => {
                    if publication.offset <= last.offset {
                        return Ok(());
                    }
                    let before = publication.offset.saturating_sub(last.offset.saturating_add(1));
                    missing = before.saturating_sub(self.told_ahead).max(skipped);
                }
                Some(_) => {
                    let top = Position {
                        offset: publication.offset.saturating_sub(1),
                        epoch: publication.epoch.clone(),
                    };
                    self.change_epoch(&top, output).await?;
                }
                None => {}
            }
            self.advance(&publication);
        }
        self.told_ahead = 0;
        output.skipped(missing, "rate").await?;
        let matched = self.matched.now().await.clone();
        let line = line::publication(&publication, Some(arrived_ms), Some(matched), self.with_contents);
        output.event(&line).await
    }

    /// Says how many events were skipped after the last one, where none has come since.
    pub(super) async fn write_skipped(&mut self, output: &mut TailOutput) -> Result<(), ReaderGone> {
        let skipped = self.tail.take_skipped();
        self.write_left_out(skipped, output).await
    }

    async fn write_left_out(&mut self, skipped: u64, output: &mut TailOutput) -> Result<(), ReaderGone> {
        self.told_ahead += skipped;
        output.skipped(skipped, "rate").await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use bytes::Bytes;
    use gorani_broker::PublishOptions;
    use tokio::sync::mpsc;

    use super::*;
    use crate::{
        admin::{answer::Parameters, tail::output::TailFraming},
        node::Node,
        settings::Settings,
    };

    const CHANNEL: &str = "kept:a";

    async fn admin() -> Arc<Admin> {
        let text = "[[channel.namespaces]]\nname = 'kept'\nhistory_size = 20000\nhistory_ttl = '60s'";
        let node = Node::start(Settings::from_text(text, &Default::default()).unwrap()).await.unwrap();
        Arc::new(Admin::new(&node))
    }

    async fn publish(admin: &Admin, count: u64) {
        let retention = retention(&admin.options(CHANNEL).unwrap());
        for _ in 0..count {
            let publication =
                Publication { data: Bytes::from_static(b"1"), time_ms: unix_ms(), ..Publication::default() };
            let options = PublishOptions { retention, ..PublishOptions::default() };
            admin.node.broker().publish(CHANNEL, publication, options).await.unwrap();
        }
    }

    async fn open(admin: &Arc<Admin>, query: &str) -> Result<ChannelWatch, AdminError> {
        let asked = TailRequest::parse(&Parameters::parse(query).unwrap(), "")?;
        ChannelWatch::open(admin, &CHANNEL.into(), &asked).await
    }

    /// The offsets that a tail tells at its beginning, and the number of those that it leaves out.
    async fn told(mut watch: ChannelWatch) -> (Vec<u64>, u64) {
        let (lines, mut body) = mpsc::channel(100_000);
        let mut output = TailOutput::new(lines, TailFraming::Ndjson);
        watch.begin(&mut output).await.unwrap();
        drop(output);
        let (mut offsets, mut skipped) = (Vec::new(), 0);
        while let Some(line) = body.recv().await {
            let line: Value = serde_json::from_slice(&line).unwrap();
            offsets.extend(line["offset"].as_u64());
            skipped += line["skipped"].as_u64().unwrap_or_default();
        }
        (offsets, skipped)
    }

    #[actix_rt::test]
    async fn of_more_history_than_a_tail_tells_the_newest_is_told_and_the_rest_counted() {
        let admin = admin().await;
        publish(&admin, HISTORY_MAX + 50).await;
        for since in ["since=0", "since=-1h"] {
            let watch = open(&admin, &format!("channel={CHANNEL}&{since}")).await.unwrap();
            let begin = watch.last.clone().unwrap().offset;
            let (offsets, skipped) = told(watch).await;
            assert_eq!(
                (begin + skipped, offsets.first(), offsets.len() as u64),
                (50, Some(&51), HISTORY_MAX)
            );
            assert!(offsets.is_sorted_by(|one, other| one + 1 == *other));
        }
    }

    #[actix_rt::test]
    async fn a_time_ago_begins_at_the_first_publication_after_it() {
        let admin = admin().await;
        publish(&admin, 3).await;
        let watch = open(&admin, "channel=kept:a&since=-1h").await.unwrap();
        assert_eq!(told(watch).await, (vec![1, 2, 3], 0));
        let later = unix_ms() + 5;
        while unix_ms() < later {
            tokio::task::yield_now().await;
        }
        let watch = open(&admin, "channel=kept:a&since=-1ms").await.unwrap();
        assert_eq!(watch.last.as_ref().map(|last| last.offset), Some(3));
        assert!(matches!(open(&admin, "channel=kept:a&since=4").await, Err(AdminError::BadRequest(_))));
        assert_eq!(admin.node.workers.tails.open_count(), 1, "one that is refused does not listen");
    }
}
