//! Clients that were asked to come back to channels: until they do they stay present there.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use gorani_broker::ClientInfo;
use tokio::time::Instant;

use super::{AbsentClient, SessionKey, SessionRegistry};

impl SessionRegistry {
    /// A session was asked to come back to a channel, in whose presence it stays meanwhile.
    pub(in crate::hub) fn expect_back(&mut self, key: SessionKey, channel: Arc<str>, info: Arc<ClientInfo>) {
        self.absent.entry(key).or_default().push(AbsentClient { channel, info, since: Instant::now() });
    }

    /// The channels that a session, which is gone, was expected back in.
    pub(in crate::hub) fn absent_of(&mut self, key: SessionKey) -> Vec<(Arc<str>, Arc<ClientInfo>)> {
        let absent = self.absent.remove(&key).unwrap_or_default();
        absent.into_iter().map(|absent| (absent.channel, absent.info)).collect()
    }

    /// Those who have not come back for so long are no longer expected.
    pub(in crate::hub) fn absent_for(
        &mut self,
        time: Duration,
    ) -> Vec<(SessionKey, Arc<str>, Arc<ClientInfo>)> {
        let mut gone = Vec::new();
        self.absent.retain(|key, channels| {
            for absent in channels.extract_if(.., |absent| absent.since.elapsed() >= time) {
                gone.push((*key, absent.channel, absent.info));
            }
            !channels.is_empty()
        });
        gone
    }
}

/// True if the session was expected back in the channel; it is not expected any more.
pub(super) fn take(
    absent: &mut BTreeMap<SessionKey, Vec<AbsentClient>>,
    key: SessionKey,
    channel: &str,
) -> bool {
    let Some(channels) = absent.get_mut(&key) else { return false };
    let before = channels.len();
    channels.retain(|absent| *absent.channel != *channel);
    let was_there = channels.len() < before;
    if channels.is_empty() {
        absent.remove(&key);
    }
    was_there
}
