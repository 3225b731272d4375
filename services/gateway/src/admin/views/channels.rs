//! Channels: exact, by prefix in pages, or those with the most subscribers; one channel with its options and publications; its
//! subscribers with their lag.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use futures_util::{StreamExt as _, future::join, stream};
use gorani_auth::{ChannelName, ChannelOptions};
use gorani_broker::{BrokerError, DataKind, HistoryPage, HistoryQuery, Position, PresenceQuery, Publication};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout_at};

use super::options::option_rows;
use crate::{
    admin::{
        access::AdminCaller,
        answer::{AdminAnswer, Parameters, parts},
        error::AdminError,
        inspector::InspectQuery,
        state::Admin,
    },
    disconnect::ErrorCode,
    hub::{
        history_reads::ReadSource,
        scan::detail::{SubscriberDetail, TopChannels},
    },
    session::shared::recovery::retention,
    settings::visible::set_by_environment,
};

/// Publications of the page of one channel.
const PUBLICATIONS: u32 = 20;
/// Bytes of them.
const PUBLICATIONS_BYTES: u64 = 1024 * 1024;
/// Clients of the page of presence.
const PRESENT: u32 = 100;

/// Channels of a list about which the broker is asked.
const ASKED_MAX: usize = 100;
/// Of them at a time.
const ASKED_AT_A_TIME: usize = 16;
/// Time for the sizes of the histories of one answer. Those that are not known by then are missing.
const SIZES_WITHIN: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
struct ChannelPage<T> {
    entries: BTreeMap<String, T>,
    cut_at: Option<String>,
}

impl Admin {
    /// The options of a channel.
    pub(in crate::admin) fn options(&self, channel: &str) -> Result<ChannelOptions, AdminError> {
        self.node.policy.get().channel_options(channel).copied().map_err(|error| {
            if error == ErrorCode::UNKNOWN_CHANNEL {
                AdminError::NotFound("there is no such namespace".to_owned())
            } else {
                AdminError::BadRequest("channel: not a name of a channel".to_owned())
            }
        })
    }

    async fn history(&self, channel: &str, limit: u32, reverse: bool) -> Option<HistoryPage> {
        let options = self.options(channel).ok().filter(|options| options.has_history())?;
        let query = HistoryQuery { limit, since: None, reverse, max_bytes: Some(PUBLICATIONS_BYTES) };
        let read = self.node.reads.history(ReadSource::Api, channel, query, retention(&options)).await;
        read.inspect_err(|error| tracing::debug!(%error, "history not read for an operator")).ok()
    }

    /// Bytes of a history in the broker, if it tells them in time.
    async fn history_bytes(&self, channel: &str, until: Instant) -> Option<u64> {
        size_until(until, self.node.broker().history_bytes(channel)).await
    }

    /// Rows of a list of channels. In a long list only what the nodes themselves know.
    async fn rows(&self, found: Vec<(String, (usize, Vec<String>))>) -> Vec<Value> {
        if found.len() > ASKED_MAX {
            let rows = found
                .into_iter()
                .map(|(channel, (count, on))| json!({"channel": channel, "subscribers": count, "nodes": on}));
            return rows.collect();
        }
        let until = Instant::now() + SIZES_WITHIN;
        let rows = found.into_iter().map(|(channel, (count, on))| self.row(channel, count, on, until));
        stream::iter(rows).buffered(ASKED_AT_A_TIME).collect().await
    }

    /// A row of a list of channels, with what the broker knows of the channel.
    async fn row(&self, channel: String, count: usize, on: Vec<String>, until: Instant) -> Value {
        let oldest = self.history(&channel, 1, false).await;
        let kept = oldest.as_ref().map(|page| {
            let first = page.publications.first();
            first.map_or(0, |first| page.top.offset.saturating_sub(first.offset) + 1)
        });
        let present = async {
            match self.options(&channel) {
                Ok(options) if options.presence => {
                    self.node.presence.stats(ReadSource::Api, &channel).await.ok()
                }
                _ => None,
            }
        };
        let bytes = async {
            match oldest {
                Some(_) => self.history_bytes(&channel, until).await,
                None => None,
            }
        };
        let (present, bytes) = join(present, bytes).await;
        json!({
            "channel": channel,
            "subscribers": count,
            "nodes": on,
            "offset": oldest.as_ref().map(|page| page.top.offset),
            "epoch": oldest.as_ref().map(|page| &*page.top.epoch),
            "history_size": kept,
            "bytes": bytes,
            "presence": present.map(|(clients, _)| clients),
        })
    }

    /// The newest position of a channel that keeps history.
    pub(super) async fn top(&self, channel: &str) -> Option<Position> {
        Some(self.history(channel, 0, false).await?.top)
    }
}

async fn size_until(
    until: Instant,
    read: impl Future<Output = Result<Option<u64>, BrokerError>>,
) -> Option<u64> {
    let size = timeout_at(until, read).await.ok()?;
    size.inspect_err(|error| tracing::debug!(%error, "size of a history not read for an operator")).ok()?
}

pub(super) async fn channels(admin: &Admin, parameters: &Parameters) -> Result<AdminAnswer, AdminError> {
    if let Some(top) = parameters.number("top")? {
        let limit = usize::try_from(top).unwrap_or(usize::MAX).clamp(1, 1000);
        return top_channels(admin, limit).await;
    }
    let exact = parameters.get("channel");
    let pattern = match (exact, parameters.get("prefix")) {
        (Some(channel), _) => return one_row(admin, channel).await,
        (None, prefix) => prefix.map(|prefix| format!("{prefix}*")),
    };
    let (after, limit) = (parameters.after()?, parameters.limit()?);
    // One more than the page holds tells whether there is a next one.
    let mut nodes = admin.ask(None, &InspectQuery::Channels { pattern, after, limit: limit + 1 }).await?;
    let pages: Vec<(String, ChannelPage<usize>)> = parts(&mut nodes);
    let cut = pages.iter().filter_map(|(_, page)| page.cut_at.clone()).min();
    let mut found: BTreeMap<String, (usize, Vec<String>)> = BTreeMap::new();
    for (node, page) in pages {
        for (channel, count) in page.entries {
            let entry = found.entry(channel).or_default();
            entry.0 += count;
            entry.1.push(node.clone());
        }
    }
    if let Some(cut) = &cut {
        found.retain(|channel, _| channel <= cut);
    }
    let is_full = found.len() > limit;
    let rows: Vec<_> = found.into_iter().take(limit).collect();
    let end = if is_full { rows.last().map(|(channel, _)| channel.clone()) } else { cut.clone() };
    let listed = admin.rows(rows).await;
    let is_cut = cut.is_some() && !is_full;
    Ok(AdminAnswer::of(listed.into()).with_nodes(nodes).with_cursor(end.as_deref(), is_cut))
}

async fn top_channels(admin: &Admin, limit: usize) -> Result<AdminAnswer, AdminError> {
    let mut nodes = admin.ask(None, &InspectQuery::TopChannels { limit }).await?;
    let tops: Vec<(String, TopChannels)> = parts(&mut nodes);
    let is_cut = tops.iter().any(|(_, top)| !top.complete);
    let mut found: BTreeMap<String, (usize, Vec<String>)> = BTreeMap::new();
    for (node, top) in tops {
        for (count, channel) in top.channels {
            let entry = found.entry(channel).or_default();
            entry.0 += count;
            entry.1.push(node.clone());
        }
    }
    let mut rows: Vec<_> = found.into_iter().collect();
    rows.sort_by(|one, other| other.1.0.cmp(&one.1.0).then_with(|| one.0.cmp(&other.0)));
    rows.truncate(limit);
    let listed = admin.rows(rows).await;
    Ok(AdminAnswer::of(listed.into()).with_nodes(nodes).with_cursor(None, is_cut))
}

/// The row of one channel, with what the broker knows of it.
async fn one_row(admin: &Admin, channel: &str) -> Result<AdminAnswer, AdminError> {
    admin.options(channel)?;
    let query = InspectQuery::CountSubscribers { channel: channel.to_owned() };
    let mut nodes = admin.ask(None, &query).await?;
    let counts: Vec<(String, usize)> = parts(&mut nodes);
    let count = counts.iter().map(|(_, count)| count).sum::<usize>();
    let on = counts.into_iter().filter(|(_, count)| *count > 0).map(|(node, _)| node).collect();
    let row = admin.row(channel.to_owned(), count, on, Instant::now() + SIZES_WITHIN).await;
    Ok(AdminAnswer::of(json!([row])).with_nodes(nodes))
}

pub(super) async fn channel(
    admin: &Admin,
    caller: &AdminCaller,
    parameters: &Parameters,
) -> Result<AdminAnswer, AdminError> {
    let channel = parameters.need("channel")?;
    let options = admin.options(channel)?;
    let query = InspectQuery::CountSubscribers { channel: channel.to_owned() };
    let mut nodes = admin.ask(None, &query).await?;
    let counts: Vec<(String, usize)> = parts(&mut nodes);
    let newest = admin.history(channel, PUBLICATIONS, true).await;
    let (oldest, bytes) = match newest {
        Some(_) => {
            let bytes = admin.history_bytes(channel, Instant::now() + SIZES_WITHIN);
            join(admin.history(channel, 1, false), bytes).await
        }
        None => (None, None),
    };
    let publications: Vec<Value> = newest
        .iter()
        .flat_map(|page| &page.publications)
        .map(|publication| publication_row(publication, caller.grant.contents))
        .collect();
    let presence = if options.presence { presence(admin, caller, channel).await } else { Value::Null };
    let running = admin.node.live.running();
    let options = option_rows(channel, &options, &running.channel, &set_by_environment());
    let result = json!({
        "channel": channel,
        "namespace": ChannelName::parse(channel).namespace.unwrap_or_default(),
        "options": options,
        "subscribers": counts.iter().map(|(_, count)| count).sum::<usize>(),
        "nodes": counts.iter().filter(|(_, count)| *count > 0).map(|(node, _)| node).collect::<Vec<_>>(),
        "position": newest.as_ref().map(|page| json!({"epoch": &*page.top.epoch, "offset": page.top.offset})),
        "bytes": bytes,
        "oldest_offset": oldest.and_then(|page| page.publications.first().map(|first| first.offset)),
        "presence": presence,
        "publications": publications,
    });
    Ok(AdminAnswer::of(result).with_nodes(nodes))
}

async fn presence(admin: &Admin, caller: &AdminCaller, channel: &str) -> Value {
    let stats = admin.node.presence.stats(ReadSource::Api, channel).await;
    let query = PresenceQuery { limit: PRESENT, ..PresenceQuery::default() };
    let page = admin.node.presence.page(channel, query).await;
    let (Ok((clients, users)), Ok(page)) = (stats, page) else { return Value::Null };
    let rows: Vec<Value> = page
        .clients
        .iter()
        .map(|info| {
            let mut row = json!({"client": info.client, "user": info.user});
            if caller.grant.contents {
                row["info"] = json_or_text(&info.connection_info);
            }
            row
        })
        .collect();
    json!({"clients": clients, "users": users, "page": rows})
}

fn publication_row(publication: &Publication, with_contents: bool) -> Value {
    let mut row = json!({
        "offset": publication.offset,
        "time": publication.time_ms,
        "bytes": publication.data.len(),
        "tags": publication.tags.iter().map(|(name, value)| json!([name, value])).collect::<Vec<_>>(),
        "client": publication.info.as_ref().map(|info| info.client.as_str()),
        "user": publication.info.as_ref().map(|info| info.user.as_str()),
    });
    if with_contents {
        row["data"] = match publication.kind {
            DataKind::Json => json_or_text(&publication.data),
            DataKind::Text => String::from_utf8_lossy(&publication.data).into(),
            DataKind::Binary => BASE64.encode(&publication.data).into(),
        };
    }
    row
}

fn json_or_text(bytes: &[u8]) -> Value {
    if bytes.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(bytes).unwrap_or_else(|_| String::from_utf8_lossy(bytes).into())
}

pub(super) async fn subscribers(admin: &Admin, parameters: &Parameters) -> Result<AdminAnswer, AdminError> {
    let channel = parameters.need("channel")?.to_owned();
    admin.options(&channel)?;
    let (after, limit) = (parameters.after()?, parameters.limit()?);
    let top = admin.top(&channel).await;
    let mut nodes = admin.ask(None, &InspectQuery::Subscribers { channel, after, limit: limit + 1 }).await?;
    let pages: Vec<(String, ChannelPage<SubscriberDetail>)> = parts(&mut nodes);
    let cut = pages.iter().filter_map(|(_, page)| page.cut_at.clone()).min();
    let mut found = BTreeMap::new();
    for (node, page) in pages {
        found.extend(page.entries.into_iter().map(|(client, one)| (client, (node.clone(), one))));
    }
    if let Some(cut) = &cut {
        found.retain(|client: &String, _| client <= cut);
    }
    let is_full = found.len() > limit;
    let rows: Vec<_> = found.into_iter().take(limit).collect();
    let end = if is_full { rows.last().map(|(client, _)| client.clone()) } else { cut.clone() };
    let lag = |one: &SubscriberDetail| {
        let top = top.as_ref().filter(|top| one.epoch.as_deref() == Some(&*top.epoch))?;
        Some(top.offset.saturating_sub(one.seen?))
    };
    let listed: Vec<Value> = rows
        .into_iter()
        .map(|(client, (node, one))| {
            json!({
                "client": client, "user": one.user, "node": node, "seen": one.seen, "lag": lag(&one),
                "waiting_bytes": one.waiting_bytes,
            })
        })
        .collect();
    let is_cut = cut.is_some() && !is_full;
    Ok(AdminAnswer::of(listed.into()).with_nodes(nodes).with_cursor(end.as_deref(), is_cut))
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn sizes_that_are_not_known_in_time_are_missing_and_all_of_an_answer_share_that_time() {
        let begun = Instant::now();
        let until = begun + SIZES_WITHIN;
        assert_eq!(size_until(until, ready(Ok(Some(7)))).await, Some(7));
        assert_eq!(size_until(until, ready(Ok(None))).await, None);
        assert_eq!(size_until(until, ready(Err(BrokerError::Unavailable("away".to_owned())))).await, None);
        for _ in 0..100 {
            assert_eq!(size_until(until, pending()).await, None);
        }
        assert_eq!(begun.elapsed(), SIZES_WITHIN);
    }
}
