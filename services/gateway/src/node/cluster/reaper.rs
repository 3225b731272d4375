//! Takes the clients of dead nodes out of presence, and tells that they left. Design §5, "Membership".
//!
//! Every node does so for the channels of its own subscribers; the broker gives each client to one of them, which tells its
//! leaving: once, and to all.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;

use crate::node::Node;

/// Clients of one step; a step is one atomic script.
const CLIENTS_AT_A_TIME: u32 = 500;
/// Channels looked after at the same time.
const CHANNELS_AT_A_TIME: usize = 64;
/// Attempts while the broker fails; after them the entries expire by themselves.
const ATTEMPTS: usize = 10;
/// Pause between two of them.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl Node {
    /// Looks through the channels that have subscribers here.
    pub(in crate::node) async fn reap_everywhere(self: Arc<Self>, dead: String) {
        let keeps_presence =
            |channel: &Arc<str>| self.channel_options(channel).is_ok_and(|options| options.presence);
        let channels: Vec<Arc<str>> = self.interest.channels().into_iter().filter(keeps_presence).collect();
        for batch in channels.chunks(CHANNELS_AT_A_TIME) {
            join_all(batch.iter().map(|channel| self.clone().reap(channel.clone(), dead.clone()))).await;
        }
    }

    /// Takes all clients of a dead node out of one channel.
    pub(in crate::node) async fn reap(self: Arc<Self>, channel: Arc<str>, dead: String) {
        let announces = self.channel_options(&channel).is_ok_and(|options| options.join_leave);
        let mut attempts = 0;
        loop {
            let reaped = match self.broker.presence_reap(&channel, &dead, CLIENTS_AT_A_TIME).await {
                Ok(reaped) => reaped,
                Err(error) => {
                    attempts += 1;
                    if attempts == ATTEMPTS {
                        tracing::warn!(%channel, %error, "clients of a dead node stay present until they expire");
                        return;
                    }
                    tokio::time::sleep(RETRY_AFTER).await;
                    continue;
                }
            };
            let count = reaped.len();
            self.metrics.cluster.reaped.inc_by(count as u64);
            if announces {
                let told = reaped.into_iter().map(|info| self.broker.publish_leave(&channel, info));
                // All take their place in line before the first is waited for.
                let told: Vec<_> = told.collect();
                if let Some(error) = join_all(told).await.into_iter().find_map(Result::err) {
                    tracing::warn!(%channel, %error, "subscribers were not told that clients of a dead node left");
                }
            }
            if u32::try_from(count).is_ok_and(|count| count < CLIENTS_AT_A_TIME) {
                return;
            }
        }
    }
}
