//! Takes the clients of dead nodes out of presence, and tells that they left. Design §5, "Membership".
//!
//! Every node does so for the channels of its own subscribers; the broker gives each client to one of them, which tells its
//! leaving: once, and to all.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::future::{FutureExt as _, Shared, join_all};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::node::Node;

/// Clients of one step; a step is one atomic script.
const CLIENTS_AT_A_TIME: u32 = 500;
/// Channels looked after at the same time.
const CHANNELS_AT_A_TIME: usize = 64;
/// Attempts while the broker fails; after them the entries expire by themselves.
const ATTEMPTS: usize = 10;
/// Pause between two of them.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A dead node's clients are being taken out of a channel: ends with true when they are out, else false or an error.
pub(in crate::node) type Reaping = Shared<oneshot::Receiver<bool>>;

/// What is under way, by channel and dead node: whoever finds the same dead clients meanwhile waits for it.
#[derive(Default)]
pub(super) struct UnderWay(Mutex<HashMap<(Arc<str>, String), Reaping>>);

impl Node {
    /// Looks through the channels that have subscribers here.
    pub(in crate::node) async fn reap_everywhere(self: Arc<Self>, dead: String) {
        let keeps_presence =
            |channel: &Arc<str>| self.channel_options(channel).is_ok_and(|options| options.presence);
        let channels: Vec<Arc<str>> = self.interest.channels().into_iter().filter(keeps_presence).collect();
        for batch in channels.chunks(CHANNELS_AT_A_TIME) {
            join_all(batch.iter().map(|channel| self.reap(channel, &dead))).await;
        }
    }

    /// Takes all clients of a dead node out of one channel. It goes on where nobody waits for it.
    pub(in crate::node) fn reap(self: &Arc<Self>, channel: &Arc<str>, dead: &str) -> Reaping {
        let key = (channel.clone(), dead.to_owned());
        let mut under_way = self.peers.reaping.0.lock();
        if let Some(reaping) = under_way.get(&key) {
            return reaping.clone();
        }
        let (done, reaping) = oneshot::channel();
        let reaping = reaping.shared();
        under_way.insert(key.clone(), reaping.clone());
        let node = self.clone();
        actix_rt::spawn(async move {
            let are_out = node.take_out(&key.0, &key.1).await;
            node.peers.reaping.0.lock().remove(&key);
            // Nobody may wait for it.
            let _ = done.send(are_out);
        });
        reaping
    }

    /// False: the broker failed too often.
    async fn take_out(&self, channel: &Arc<str>, dead: &str) -> bool {
        let announces = self.channel_options(channel).is_ok_and(|options| options.join_leave);
        let mut attempts = 0;
        loop {
            let reaped = match self.broker.presence_reap(channel, dead, CLIENTS_AT_A_TIME).await {
                Ok(reaped) => reaped,
                Err(error) => {
                    attempts += 1;
                    if attempts == ATTEMPTS {
                        tracing::warn!(%channel, %error, "clients of a dead node stay present until they expire");
                        return false;
                    }
                    tokio::time::sleep(RETRY_AFTER).await;
                    continue;
                }
            };
            let count = reaped.len();
            self.metrics.cluster.reaped.inc_by(count as u64);
            if announces {
                let told = reaped.into_iter().map(|info| self.broker.publish_leave(channel, info));
                // All take their place in line before the first is waited for.
                let told: Vec<_> = told.collect();
                if let Some(error) = join_all(told).await.into_iter().find_map(Result::err) {
                    tracing::warn!(%channel, %error, "subscribers were not told that clients of a dead node left");
                }
            }
            if u32::try_from(count).is_ok_and(|count| count < CLIENTS_AT_A_TIME) {
                return true;
            }
        }
    }
}
