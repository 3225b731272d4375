//! Lists a worker's channels and connections in pages, for the HTTP API of this node or another one.
//!
//! Names are kept in order, so a page begins at its cursor (or at the literal beginning of its pattern) and looks only at what
//! comes next. It takes the worker's time in slices. Between two of them only the last name is kept, so neither a copy nor a
//! lock outlives a slice, and names that stay while others come and go are never missed. A page
//! whose pattern matches few names ends after a while and says how far it looked. Record 28.

pub mod evidence;

use std::{cell::RefCell, collections::BTreeMap, ops::Bound, rc::Rc, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{sync::oneshot, time::Instant};
use wildmatch::WildMatch;

use self::evidence::answer_query;
use super::{Hub, registry::SessionEntry};
use crate::{
    event_log::query::{EventAnswer, EventQuery},
    metrics::TrafficCounters,
};

/// Time of a worker that one slice may take before others get their turn. Half of the promised 2 ms: the slice ends with the
/// entry under way, and a busy machine adds to it.
const SLICE: Duration = Duration::from_millis(1);
/// Entries between two looks at the clock. The dearest pattern takes some 0.1 ms for a name of 255 bytes.
const ENTRIES_PER_LOOK: usize = 8;
/// Time of a worker that one page may take. A page whose pattern matches too few names by then ends where it has looked.
const PAGE_TIME: Duration = Duration::from_millis(25);
/// Bytes of one answer; the entry that passes it is the last.
pub const ANSWER_BYTES: usize = 5 * 1024 * 1024;
/// Bytes of an entry besides its names: keys, quotes, numbers.
const ENTRY_BYTES: usize = 128;

/// Entries by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanPage<T> {
    /// The first ones after the cursor.
    pub entries: BTreeMap<String, T>,
    /// The last name that was looked at, where the page ends before its limit and before the last name of all: there may be more
    /// entries after it, however few these are.
    pub cut_at: Option<String>,
}

impl<T> Default for ScanPage<T> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), cut_at: None }
    }
}

/// The description of a connection in the API.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ConnectionInfo {
    /// User id; empty for anonymous.
    pub user: String,
    /// `websocket`, …
    pub transport: String,
    /// `json`, …
    pub protocol: String,
    /// Milliseconds since the Unix epoch.
    pub connected_at: u64,
    /// Subscribed channels.
    pub channels: Vec<String>,
}

/// A query to a worker, with the way back.
pub enum ScanRequest {
    /// Connections by client id, after the cursor, up to the limit; of one user, if named.
    Connections {
        /// Of this user only.
        user: Option<String>,
        /// Client ids above this one.
        after: String,
        /// At most so many.
        limit: usize,
        /// Receives the answer.
        answer: oneshot::Sender<ScanPage<ConnectionInfo>>,
    },
    /// Channels by name with their subscribers, after the cursor, up to the limit.
    Channels {
        /// Names like this only.
        pattern: Option<String>,
        /// Names above this one.
        after: String,
        /// At most so many.
        limit: usize,
        /// Receives the answer.
        answer: oneshot::Sender<ScanPage<usize>>,
    },
    /// The subscribers of one channel.
    Subscribers {
        /// Its name.
        channel: String,
        /// Receives the answer.
        answer: oneshot::Sender<usize>,
    },
    /// What happened on the worker.
    Events {
        /// The query.
        query: Arc<EventQuery>,
        /// Receives the answer.
        answer: oneshot::Sender<EventAnswer>,
    },
}

impl ScanRequest {
    /// Looks through the worker's names from the cursor on. Ends early when nobody waits for the answer.
    pub(super) async fn answer(self, hub: Rc<RefCell<Hub>>, traffic: Rc<TrafficCounters>) {
        match self {
            Self::Channels { pattern, after, limit, answer } => {
                let channels = ChannelScan { pattern: pattern.map(Pattern::new) };
                Scan::new(channels, &after, limit).answer(&hub, &traffic, answer).await;
            }
            Self::Connections { user, after, limit, answer } => {
                let connections = ConnectionScan { user: user.map(Arc::from) };
                Scan::new(connections, &after, limit).answer(&hub, &traffic, answer).await;
            }
            Self::Subscribers { channel, answer } => {
                // The requester may have gone meanwhile; then nobody misses the answer.
                let _ = answer.send(hub.borrow().subscribers(&channel).unwrap_or_default());
            }
            Self::Events { query, answer } => answer_query(&query, &hub, &traffic, answer).await,
        }
    }
}

/// Names in order.
type ScanNames<'a> = Box<dyn Iterator<Item = &'a Arc<str>> + 'a>;

/// A source of a list: names, with an entry for each.
trait ScanSource {
    /// The entry for a name.
    type Entry;

    /// The name at which a scan begins that has no cursor yet.
    fn start(&self) -> &str;

    /// The names from there on that may be wanted.
    fn names<'a>(&'a self, hub: &'a Hub, from: Bound<&str>) -> ScanNames<'a>;

    /// The entry for a name and about how many bytes it has; `None` if it is not wanted.
    fn entry(&self, hub: &Hub, name: &str) -> Option<(Self::Entry, usize)>;
}

/// The channels of a worker.
struct ChannelScan {
    pattern: Option<Pattern>,
}

impl ScanSource for ChannelScan {
    type Entry = usize;

    fn start(&self) -> &str {
        self.pattern.as_ref().map_or("", Pattern::literal)
    }

    fn names<'a>(&'a self, hub: &'a Hub, from: Bound<&str>) -> ScanNames<'a> {
        let names = hub.channel_names(from);
        match &self.pattern {
            Some(pattern) => Box::new(names.take_while(|name| pattern.may_match_from(name))),
            None => Box::new(names),
        }
    }

    fn entry(&self, hub: &Hub, name: &str) -> Option<(usize, usize)> {
        let is_wanted = self.pattern.as_ref().is_none_or(|pattern| pattern.matches(name));
        let subscribers = if is_wanted { hub.subscribers(name) } else { None };
        subscribers.map(|subscribers| (subscribers, size_of_channel(name)))
    }
}

/// The clients of a worker; of one user, if named.
struct ConnectionScan {
    user: Option<Arc<str>>,
}

impl ScanSource for ConnectionScan {
    type Entry = ConnectionInfo;

    fn start(&self) -> &str {
        ""
    }

    fn names<'a>(&'a self, hub: &'a Hub, from: Bound<&str>) -> ScanNames<'a> {
        match &self.user {
            Some(user) => Box::new(hub.registry().client_ids_of(user, from)),
            None => Box::new(hub.registry().client_ids(from)),
        }
    }

    fn entry(&self, hub: &Hub, client: &str) -> Option<(ConnectionInfo, usize)> {
        let view = view(hub.registry().client(client)?);
        let bytes = size_of_view(client, &view);
        Some((view, bytes))
    }
}

/// A page that is being filled.
struct Scan<T: ScanSource> {
    table: T,
    limit: usize,
    /// The beginning of the next slice.
    next: Bound<Arc<str>>,
    page: ScanPage<T::Entry>,
    bytes: usize,
    /// Names that were looked at.
    looked_at: usize,
    /// Time of the worker that was taken.
    spent: Duration,
}

impl<T: ScanSource> Scan<T> {
    /// One that has not begun: names above `after`, at most `limit` of them.
    fn new(table: T, after: &str, limit: usize) -> Self {
        let next = if after >= table.start() && !after.is_empty() {
            Bound::Excluded(after.into())
        } else {
            Bound::Included(table.start().into())
        };
        Self { table, limit, next, page: ScanPage::default(), bytes: 0, looked_at: 0, spent: Duration::ZERO }
    }

    /// Fills the page and sends it, unless nobody waits for it any more.
    async fn answer(
        mut self,
        hub: &RefCell<Hub>,
        traffic: &TrafficCounters,
        answer: oneshot::Sender<ScanPage<T::Entry>>,
    ) {
        while !answer.is_closed() {
            if self.slice(hub, traffic) {
                // The requester may have gone meanwhile; then nobody misses the answer.
                let _ = answer.send(self.page);
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Looks at names for as long as a slice lasts; true if the page is done.
    fn slice(&mut self, hub: &RefCell<Hub>, traffic: &TrafficCounters) -> bool {
        let started = Instant::now();
        let hub = hub.borrow();
        let mut last = None;
        let mut done = true;
        let from = as_str(&self.next);
        for (index, name) in self.table.names(&hub, from).enumerate() {
            if self.page.entries.len() >= self.limit {
                break;
            }
            let is_over = index > 0 && index % ENTRIES_PER_LOOK == 0 && started.elapsed() >= SLICE;
            if is_over || self.bytes >= ANSWER_BYTES {
                done = false;
                break;
            }
            if let Some((entry, bytes)) = self.table.entry(&hub, name) {
                self.page.entries.insert(name.as_ref().to_owned(), entry);
                self.bytes += bytes;
            }
            self.looked_at += 1;
            last = Some(name);
        }
        let took = started.elapsed();
        self.spent += took;
        traffic.held(took);
        if !done && (self.bytes >= ANSWER_BYTES || self.spent >= PAGE_TIME) {
            self.page.cut_at = last.map(|name| name.as_ref().to_owned());
            done = true;
        }
        if let Some(last) = last.cloned() {
            self.next = Bound::Excluded(last);
        }
        done
    }
}

fn as_str(bound: &Bound<Arc<str>>) -> Bound<&str> {
    bound.as_ref().map(|name| &**name)
}

fn view(session: &SessionEntry) -> ConnectionInfo {
    ConnectionInfo {
        user: session.user.as_ref().to_owned(),
        transport: session.transport.to_owned(),
        protocol: session.protocol.to_owned(),
        connected_at: session.connected_at_ms,
        channels: session.channel_names().iter().map(ToString::to_string).collect(),
    }
}

/// Bytes that a channel takes in an answer, about.
pub fn size_of_channel(name: &str) -> usize {
    ENTRY_BYTES + name.len()
}

/// Bytes that a connection takes in an answer, about.
pub fn size_of_view(client: &str, view: &ConnectionInfo) -> usize {
    // A name of a channel comes with quotes and a comma.
    let channels: usize = view.channels.iter().map(|name| name.len() + 3).sum();
    ENTRY_BYTES + client.len() + view.user.len() + channels
}

/// Both wildcards.
const WILDCARDS: [char; 2] = ['*', '?'];

/// A pattern of channel names: `*` stands for any characters, `?` for one. Its literal beginning bounds what a scan looks at.
struct Pattern {
    /// All of it up to the first wildcard.
    literal: String,
    /// There is no wildcard.
    is_name: bool,
    whole: WildMatch,
}

impl Pattern {
    /// Any text is a pattern.
    fn new(text: String) -> Self {
        let whole = WildMatch::new(&text);
        let mut literal = text;
        let wildcard = literal.find(WILDCARDS);
        if let Some(wildcard) = wildcard {
            literal.truncate(wildcard);
        }
        Self { literal, is_name: wildcard.is_none(), whole }
    }

    /// The beginning of every name that matches.
    fn literal(&self) -> &str {
        &self.literal
    }

    /// False once neither this name nor one after it can match. To be asked of names in order, from [`Pattern::literal`] on.
    fn may_match_from(&self, name: &str) -> bool {
        if self.is_name { name == self.literal } else { name.starts_with(&self.literal) }
    }

    /// Holds a name against the whole pattern.
    fn matches(&self, name: &str) -> bool {
        self.whole.matches(name)
    }
}

#[cfg(test)]
mod tests;
