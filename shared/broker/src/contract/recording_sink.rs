//! A sink that remembers what it was given, and notices when the rules of [`Sink`] are broken.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    thread,
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::timeout};

use crate::{ChannelEvent, Publication, Sink};

/// Longest time to wait for an event: far longer than any medium takes, so that it only ends a test that has failed.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Remembers the events of each channel in the order of the calls.
#[derive(Default)]
pub struct RecordingSink {
    seen: Mutex<SeenEvents>,
    arrived: Notify,
}

#[derive(Default)]
struct SeenEvents {
    events: HashMap<Arc<str>, Vec<ChannelEvent>>,
    gaps: HashMap<Arc<str>, usize>,
    /// Channels with a call under way.
    busy: HashSet<Arc<str>>,
    overlaps: usize,
    messages: Vec<Bytes>,
}

impl RecordingSink {
    /// The channel's events until now.
    pub fn events(&self, channel: &str) -> Vec<ChannelEvent> {
        self.seen.lock().events.get(channel).cloned().unwrap_or_default()
    }

    /// Waits until the channel has at least `count` events, and gives all it has. Panics if they do not come, or if a
    /// gap came: no scenario gives cause for one.
    pub async fn wait_for(&self, channel: &str, count: usize) -> Vec<ChannelEvent> {
        let wait = async {
            loop {
                let mut arrived = std::pin::pin!(self.arrived.notified());
                arrived.as_mut().enable();
                if self.events(channel).len() >= count {
                    return;
                }
                arrived.await;
            }
        };
        if timeout(TIME_LIMIT, wait).await.is_err() {
            panic!("{channel:?}: {count} events expected, {} came", self.events(channel).len());
        }
        assert_eq!(self.gaps(channel), 0, "{channel:?}: a gap was told without a cause");
        self.events(channel)
    }

    /// As [`RecordingSink::wait_for`], of a channel where only publications are expected.
    pub async fn wait_for_publications(&self, channel: &str, count: usize) -> Vec<Arc<Publication>> {
        let publication = |event| match event {
            ChannelEvent::Publication(publication) => publication,
            other => panic!("{channel:?}: a publication expected, not {other:?}"),
        };
        self.wait_for(channel, count).await.into_iter().map(publication).collect()
    }

    /// Messages until now.
    pub fn messages(&self) -> Vec<Bytes> {
        self.seen.lock().messages.clone()
    }

    /// Waits until there are at least `count` messages, and gives all. Panics if they do not come.
    pub async fn wait_for_messages(&self, count: usize) -> Vec<Bytes> {
        let wait = async {
            loop {
                let mut arrived = std::pin::pin!(self.arrived.notified());
                arrived.as_mut().enable();
                if self.messages().len() >= count {
                    return;
                }
                arrived.await;
            }
        };
        if timeout(TIME_LIMIT, wait).await.is_err() {
            panic!("{count} messages expected, {} came", self.messages().len());
        }
        self.messages()
    }

    /// The number of gaps of the channel.
    pub fn gaps(&self, channel: &str) -> usize {
        self.seen.lock().gaps.get(channel).copied().unwrap_or_default()
    }

    /// The number of events that were handed over while another event of the same channel was.
    pub fn overlaps(&self) -> usize {
        self.seen.lock().overlaps
    }

    /// A call for a channel, in two steps with time between them for another thread to break the rule.
    fn record(&self, channel: &Arc<str>, act: impl FnOnce(&mut SeenEvents)) {
        {
            let mut seen = self.seen.lock();
            if !seen.busy.insert(Arc::clone(channel)) {
                seen.overlaps += 1;
            }
        }
        thread::yield_now();
        {
            let mut seen = self.seen.lock();
            act(&mut seen);
            seen.busy.remove(channel);
        }
        self.arrived.notify_waiters();
    }
}

impl Sink for RecordingSink {
    fn on_event(&self, channel: &Arc<str>, event: ChannelEvent) {
        self.record(channel, |seen| seen.events.entry(Arc::clone(channel)).or_default().push(event));
    }

    fn on_gap(&self, channel: &Arc<str>) {
        self.record(channel, |seen| *seen.gaps.entry(Arc::clone(channel)).or_default() += 1);
    }

    fn on_message(&self, message: Bytes) {
        self.record(&Arc::from("messages"), |seen| seen.messages.push(message));
    }
}
