//! Lists a worker's channels and connections in slices of its time, for the HTTP API of this node or another one.
//!
//! A scan walks a table from its end backwards by index. Removing an entry moves the last one, which was seen already, into its
//! place: so nothing that stays is missed, and neither a copy nor a lock is kept between two slices. Of what it sees it keeps the first
//! names after the cursor, at most as many as the page holds. Record 28.

use std::{
    collections::BTreeMap,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use wildmatch::WildMatch;

use crate::hub::{Hub, control::ConnectionView, roster::Registered, worker::Worker};

/// Time of a worker that one slice may take before others get their turn. Half of the promised 2 ms: the slice ends with the entry
/// under way, and a busy machine adds to it.
const SLICE: Duration = Duration::from_millis(1);
/// Entries between two looks at the clock. The dearest pattern takes some 0.1 ms for a name of 255 bytes.
const ENTRIES_PER_LOOK: usize = 8;
/// Bytes of one answer; the entry that passes it is the last.
pub const ANSWER_BYTES: usize = 5 * 1024 * 1024;
/// Bytes of an entry besides its names: keys, quotes, numbers.
const ENTRY_BYTES: usize = 128;

/// Entries by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The first ones after the cursor.
    pub entries: BTreeMap<String, T>,
    /// Whether the byte limit cut them short: there may be more entries after the last one, however few these are.
    pub is_cut: bool,
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), is_cut: false }
    }
}

/// A question to a worker, with the way back.
pub enum Question {
    /// Connections by client id, after the cursor, up to the limit; of one user, if named.
    Connections {
        /// Of this user only.
        user: Option<String>,
        /// Client ids above this one.
        after: String,
        /// At most so many.
        limit: usize,
        /// Where the answer goes.
        answer: oneshot::Sender<Page<ConnectionView>>,
    },
    /// Channels by name with their subscribers, after the cursor, up to the limit.
    Channels {
        /// Names like this only.
        pattern: Option<String>,
        /// Names above this one.
        after: String,
        /// At most so many.
        limit: usize,
        /// Where the answer goes.
        answer: oneshot::Sender<Page<usize>>,
    },
}

impl Question {
    /// Looks through the worker's table. Ends early when nobody waits for the answer.
    pub(super) async fn answer(self, worker: Rc<Worker>) {
        match self {
            Self::Channels { pattern, after, limit, answer } => {
                let pattern = pattern.as_deref().map(WildMatch::new);
                let mut found = First::new(after, limit);
                let size = |hub: &Hub| hub.channel_count();
                let visit = |hub: &Hub, index: usize| {
                    let Some((name, count)) = hub.channel_at(index) else { return };
                    if found.wants(name) && pattern.as_ref().is_none_or(|pattern| pattern.matches(name)) {
                        found.insert(name.clone(), count);
                    }
                };
                if walk(&worker, &answer, size, visit).await {
                    let entries =
                        found.entries.into_iter().map(|(name, count)| (name.as_ref().to_owned(), count));
                    // Whoever asked may have gone meanwhile; then nobody misses the answer.
                    let _ = answer.send(Page { entries: entries.collect(), is_cut: false });
                }
            }
            Self::Connections { user, after, limit, answer } => {
                let user = user.as_deref();
                let mut found = First::new(after, limit);
                let size = |hub: &Hub| hub.roster().len(user);
                let visit = |hub: &Hub, index: usize| {
                    let Some(session) = hub.roster().at(user, index) else { return };
                    if !session.client.is_empty() && found.wants(&session.client) {
                        found.insert(session.client.clone(), ());
                    }
                };
                if walk(&worker, &answer, size, visit).await {
                    let _ = answer.send(describe(&worker, found.entries).await);
                }
            }
        }
    }
}

/// The first names after a cursor, at most as many as fit.
struct First<T> {
    after: String,
    limit: usize,
    entries: BTreeMap<Arc<str>, T>,
}

impl<T> First<T> {
    fn new(after: String, limit: usize) -> Self {
        Self { after, limit, entries: BTreeMap::new() }
    }

    fn wants(&self, name: &str) -> bool {
        name > self.after.as_str()
            && (self.entries.len() < self.limit
                || self.entries.last_key_value().is_some_and(|(last, _)| name < &**last))
    }

    /// One that comes again takes its own place.
    fn insert(&mut self, name: Arc<str>, value: T) {
        self.entries.insert(name, value);
        if self.entries.len() > self.limit {
            self.entries.pop_last();
        }
    }
}

/// Visits all indexes of a table from the end, in slices; false if it ended early because nobody waits for the answer.
async fn walk<A>(
    worker: &Worker,
    answer: &oneshot::Sender<A>,
    size: impl Fn(&Hub) -> usize,
    mut visit: impl FnMut(&Hub, usize),
) -> bool {
    let mut next = size(&worker.hub());
    while next > 0 {
        if answer.is_closed() {
            return false;
        }
        let started = Instant::now();
        {
            let hub = worker.hub();
            // It may have become smaller: what was moved away from behind its end was seen.
            next = next.min(size(&hub));
            while next > 0 && started.elapsed() < SLICE {
                for _ in 0..ENTRIES_PER_LOOK.min(next) {
                    next -= 1;
                    visit(&hub, next);
                }
            }
        }
        tokio::task::yield_now().await;
    }
    true
}

/// Describes connections, in slices, as far as an answer holds them.
async fn describe(worker: &Worker, clients: BTreeMap<Arc<str>, ()>) -> Page<ConnectionView> {
    let mut page = Page::default();
    let mut bytes = 0;
    let mut clients = clients.into_keys();
    loop {
        let started = Instant::now();
        {
            let hub = worker.hub();
            while started.elapsed() < SLICE {
                if bytes >= ANSWER_BYTES {
                    page.is_cut = true;
                    return page;
                }
                let Some(client) = clients.next() else { return page };
                // It may have gone since it was found.
                let Some(session) = hub.roster().client(&client) else { continue };
                let view = view(session);
                bytes += size_of_view(&client, &view);
                page.entries.insert(client.as_ref().to_owned(), view);
            }
        }
        tokio::task::yield_now().await;
    }
}

fn view(session: &Registered) -> ConnectionView {
    ConnectionView {
        user: session.user.as_ref().to_owned(),
        transport: session.transport.to_owned(),
        protocol: session.protocol.to_owned(),
        connected_at: session.connected_at_ms,
        channels: session.channel_names().iter().map(ToString::to_string).collect(),
    }
}

/// Bytes that a connection takes in an answer, about.
pub fn size_of_view(client: &str, view: &ConnectionView) -> usize {
    // A name of a channel comes with quotes and a comma.
    let channels: usize = view.channels.iter().map(|name| name.len() + 3).sum();
    ENTRY_BYTES + client.len() + view.user.len() + channels
}

#[cfg(test)]
mod tests;
