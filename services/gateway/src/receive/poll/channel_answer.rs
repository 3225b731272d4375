//! Reads the new publications of a poll from its channels' history. As many channels are read side by side as one connection may
//! read at a time (`client.max_reads`); what they bring joins the answer in the order of the channels.

use std::sync::Arc;

use futures_util::future::try_join_all;
use gorani_broker::{HistoryPage, HistoryQuery, Position, Publication, Retention};

use crate::{
    disconnect::ErrorCode, format::position::Unrecovered, hub::history_reads::ReadSource, node::Node,
    session::client::receiver::PollableChannel,
};

/// The part of one channel.
pub(super) struct ChannelAnswer {
    pub(super) channel: Arc<str>,
    /// In order.
    pub(super) publications: Vec<Arc<Publication>>,
    /// The position to go on from.
    pub(super) position: Position,
    /// The client named a position, and does not go on from it: these are the latest.
    pub(super) unrecovered: Option<Unrecovered>,
}

/// The room that is left in an answer.
#[derive(Clone, Copy)]
pub(super) struct AnswerBudget {
    pub(super) publications: usize,
    pub(super) bytes: u64,
}

impl AnswerBudget {
    fn is_spent(self) -> bool {
        self.publications == 0 || self.bytes == 0
    }

    fn query(self, since: Option<u64>, reverse: bool) -> HistoryQuery {
        let publications = if self.is_spent() { 0 } else { self.publications };
        let limit = u32::try_from(publications).unwrap_or(u32::MAX);
        HistoryQuery { limit, since, reverse, max_bytes: Some(self.bytes) }
    }

    /// Takes as many of these as it allows. The first of all is taken whatever its size, as brokers do.
    fn take<'p>(
        &mut self,
        publications: impl Iterator<Item = &'p Arc<Publication>>,
        is_first: bool,
    ) -> usize {
        let mut taken = 0;
        for publication in publications {
            let bytes = publication.content_bytes();
            if self.is_spent() || (bytes > self.bytes && !(is_first && taken == 0)) {
                break;
            }
            self.publications -= 1;
            self.bytes = self.bytes.saturating_sub(bytes);
            taken += 1;
        }
        taken
    }
}

/// The result of one read.
struct ReadPage {
    publications: Vec<Arc<Publication>>,
    /// Top of the stream, or of the page.
    position: Position,
    /// It follows a position without a gap; else it is the latest.
    since: Option<Position>,
    unrecovered: Option<Unrecovered>,
}

impl ReadPage {
    /// Leaves out what is over the budget: of new publications the end, which the next poll brings; of the latest the beginning.
    fn fit(mut self, budget: &mut AnswerBudget, is_first: bool) -> Self {
        match &self.since {
            Some(since) => {
                let taken = budget.take(self.publications.iter(), is_first);
                if taken < self.publications.len() {
                    self.publications.truncate(taken);
                    let last = self.publications.last();
                    self.position.offset = last.map_or(since.offset, |last| last.offset);
                }
            }
            None => {
                let taken = budget.take(self.publications.iter().rev(), is_first);
                self.publications.drain(..self.publications.len() - taken);
            }
        }
        self
    }
}

/// Reads what is new in each channel.
///
/// # Errors
/// The broker's.
pub(super) async fn read(
    node: &Arc<Node>,
    channels: &[(&PollableChannel, Retention)],
    budget: AnswerBudget,
) -> Result<Vec<ChannelAnswer>, ErrorCode> {
    let most = node.reads.budget().per_connection();
    read_by(channels, budget, most, |readable, retention, budget| page(node, readable, budget, retention))
        .await
}

/// The same with a reader of its own. `most`: channels that are read side by side.
async fn read_by<'c, F: Future<Output = Result<ReadPage, ErrorCode>>>(
    channels: &[(&'c PollableChannel, Retention)],
    mut budget: AnswerBudget,
    most: usize,
    reader: impl Fn(&'c PollableChannel, Retention, AnswerBudget) -> F,
) -> Result<Vec<ChannelAnswer>, ErrorCode> {
    let mut all = Vec::with_capacity(channels.len());
    let mut is_first = true;
    for side_by_side in channels.chunks(most.max(1)) {
        // Together they bring no more than the budget, and a publication each that is larger than its share.
        let share = AnswerBudget { bytes: budget.bytes.div_ceil(side_by_side.len() as u64), ..budget };
        let pages = side_by_side.iter().map(|(readable, retention)| reader(readable, *retention, share));
        let pages = try_join_all(pages).await?;
        for ((readable, _), page) in side_by_side.iter().zip(pages) {
            let ReadPage { publications, position, unrecovered, .. } = page.fit(&mut budget, is_first);
            is_first &= publications.is_empty();
            all.push(ChannelAnswer {
                channel: readable.channel.clone(),
                publications,
                position,
                unrecovered,
            });
        }
    }
    Ok(all)
}

/// Reads one channel.
async fn page(
    node: &Arc<Node>,
    readable: &PollableChannel,
    budget: AnswerBudget,
    retention: Retention,
) -> Result<ReadPage, ErrorCode> {
    let PollableChannel { channel, since, .. } = readable;
    let mut unrecovered = readable.unrecovered;
    if let Some(since) = since {
        if budget.is_spent() {
            let (publications, position) = (Vec::new(), since.clone());
            return Ok(ReadPage { publications, position, since: Some(since.clone()), unrecovered });
        }
        if let Some((publications, position)) = read_since(node, channel, since, budget, retention).await? {
            return Ok(ReadPage { publications, position, since: Some(since.clone()), unrecovered });
        }
        unrecovered = Some(Unrecovered::Lost);
    }
    let (publications, position) = read_latest(node, channel, budget, retention).await?;
    Ok(ReadPage { publications, position, since: None, unrecovered })
}

/// The publications after a position, without a gap; `None` if there is one.
async fn read_since(
    node: &Arc<Node>,
    channel: &Arc<str>,
    since: &Position,
    budget: AnswerBudget,
    retention: Retention,
) -> Result<Option<(Vec<Arc<Publication>>, Position)>, ErrorCode> {
    let query = budget.query(Some(since.offset), false);
    let page = node.reads.history(ReadSource::Client, channel, query, retention).await?;
    if !page.continues(since) {
        return Ok(None);
    }
    let HistoryPage { publications, top, .. } = page;
    let mut offset = since.offset;
    for publication in &publications {
        if publication.offset != offset + 1 {
            return Ok(None);
        }
        offset = publication.offset;
    }
    if publications.is_empty() && top.offset != since.offset {
        return Ok(None);
    }
    Ok(Some((publications, Position { offset, epoch: top.epoch })))
}

/// The latest publications, the oldest first, and the top of the stream.
async fn read_latest(
    node: &Arc<Node>,
    channel: &Arc<str>,
    budget: AnswerBudget,
    retention: Retention,
) -> Result<(Vec<Arc<Publication>>, Position), ErrorCode> {
    let query = budget.query(None, true);
    let HistoryPage { mut publications, top, .. } =
        node.reads.history(ReadSource::Client, channel, query, retention).await?;
    publications.reverse();
    Ok((publications, top))
}

#[cfg(test)]
mod tests;
