//! Keeps the worker's sessions present: an entry that is not refreshed is forgotten, so that the clients of a dead
//! node vanish with it. Design §5, "Membership".

use std::{rc::Rc, time::Duration};

use futures_util::future::join_all;

use crate::hub::{subscribe::PRESENCE_TTL, worker::Worker};

/// How often entries are refreshed: twice within their life, so that one failure is survived.
const REFRESH_EVERY: Duration = Duration::from_secs(25);
/// Refreshes under way at a time.
const BATCH: usize = 256;

impl Worker {
    /// Refreshes presence for ever.
    pub(super) async fn keep_present(self: Rc<Self>) {
        loop {
            tokio::time::sleep(REFRESH_EVERY).await;
            let present: Vec<_> = {
                let hub = self.hub();
                let sessions = hub.roster().all().flat_map(|session| session.present_in());
                sessions.map(|(channel, info)| (channel.clone(), info.clone())).collect()
            };
            for batch in present.chunks(BATCH) {
                let refreshes = batch
                    .iter()
                    .map(|(channel, info)| self.broker.presence_add(channel, info.clone(), PRESENCE_TTL));
                let failed = join_all(refreshes).await.into_iter().find_map(Result::err);
                if let Some(error) = failed {
                    tracing::warn!(%error, "presence could not be refreshed");
                }
            }
        }
    }
}
