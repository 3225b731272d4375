//! Clients that were asked to come back to channels: until they do they stay present there.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use gorani_broker::ClientInfo;
use tokio::time::Instant;

/// The clients of a worker that are expected back, by the key of the session that each had.
pub(in crate::hub) struct AbsentClients<K>(BTreeMap<K, Vec<AbsentClient>>);

struct AbsentClient {
    channel: Arc<str>,
    info: Arc<ClientInfo>,
    since: Instant,
}

impl<K> Default for AbsentClients<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Copy> AbsentClients<K> {
    /// A session was asked to come back to a channel, in whose presence it stays meanwhile.
    pub(in crate::hub) fn expect(&mut self, key: K, channel: Arc<str>, info: Arc<ClientInfo>) {
        self.0.entry(key).or_default().push(AbsentClient { channel, info, since: Instant::now() });
    }

    /// The channels that a session, which is gone, was expected back in.
    pub(in crate::hub) fn take_all(&mut self, key: K) -> Vec<(Arc<str>, Arc<ClientInfo>)> {
        let absent = self.0.remove(&key).unwrap_or_default();
        absent.into_iter().map(|absent| (absent.channel, absent.info)).collect()
    }

    /// Those who have not come back for so long are no longer expected.
    pub(in crate::hub) fn take_older(&mut self, time: Duration) -> Vec<(K, Arc<str>, Arc<ClientInfo>)> {
        let mut gone = Vec::new();
        self.0.retain(|key, channels| {
            for absent in channels.extract_if(.., |absent| absent.since.elapsed() >= time) {
                gone.push((*key, absent.channel, absent.info));
            }
            !channels.is_empty()
        });
        gone
    }

    /// True if the session was expected back in the channel; it is not expected any more.
    pub(super) fn take(&mut self, key: K, channel: &str) -> bool {
        let Some(channels) = self.0.get_mut(&key) else { return false };
        let before = channels.len();
        channels.retain(|absent| *absent.channel != *channel);
        let was_there = channels.len() < before;
        if channels.is_empty() {
            self.0.remove(&key);
        }
        was_there
    }
}
