//! Keeps the worker's sessions present: an entry that is not refreshed is forgotten, so that the clients of a dead
//! node vanish with it. Design §5, "Membership".

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use gorani_broker::{BrokerError, ClientInfo, PresenceQuery};

use crate::hub::{
    subscribe::PRESENCE_TTL,
    worker::{Load, Worker},
};

/// How often entries are refreshed: twice within their life, so that one failure is survived.
const REFRESH_EVERY: Duration = Duration::from_secs(25);
/// Refreshes under way at a time.
const BATCH: usize = 256;

/// A session that stands in a channel's presence.
struct Present {
    info: Arc<ClientInfo>,
    announce: bool,
}

impl Worker {
    /// Refreshes presence and the places among users' connections, for ever.
    pub(super) async fn keep_present(self: Rc<Self>, load: Arc<Load>) {
        loop {
            let lapsed = tokio::select! {
                () = tokio::time::sleep(REFRESH_EVERY) => false,
                () = load.lapsed.notified() => true,
            };
            let present = if lapsed { self.restore_present().await } else { self.refresh_present().await };
            if let Err(error) = present {
                tracing::warn!(%error, "presence could not be refreshed");
            }
            if let Err(error) = self.refresh_places().await {
                tracing::warn!(%error, "places among users' connections could not be refreshed");
            }
        }
    }

    async fn refresh_present(&self) -> Result<(), BrokerError> {
        let present: Vec<_> = {
            let hub = self.hub();
            let sessions = hub.roster().all().flat_map(|session| session.present_in());
            sessions.map(|membership| (membership.channel.clone(), membership.info.clone())).collect()
        };
        let mut failed = Ok(());
        for batch in present.chunks(BATCH) {
            let refreshes = batch
                .iter()
                .map(|(channel, info)| self.broker.presence_add(channel, info.clone(), PRESENCE_TTL));
            if let Some(error) = join_all(refreshes).await.into_iter().find_map(Result::err) {
                failed = Err(error);
            }
        }
        failed
    }

    /// Other nodes may have taken this one for dead, and its clients out of presence: they are entered again, and those who
    /// were out have joined.
    async fn restore_present(&self) -> Result<(), BrokerError> {
        let mut channels: HashMap<Arc<str>, Vec<Present>> = HashMap::new();
        for membership in self.hub().roster().all().flat_map(|session| session.present_in()) {
            let present = Present { info: membership.info.clone(), announce: membership.announce };
            channels.entry(membership.channel.clone()).or_default().push(present);
        }
        for (channel, sessions) in channels {
            let there = self.there_among(&channel, &sessions).await?;
            for batch in sessions.chunks(BATCH) {
                let added = batch
                    .iter()
                    .map(|present| self.broker.presence_add(&channel, present.info.clone(), PRESENCE_TTL));
                for added in join_all(added).await {
                    added?;
                }
                let out =
                    batch.iter().filter(|present| present.announce && !there.contains(&present.info.client));
                let joined = out.map(|present| self.broker.publish_join(&channel, present.info.clone()));
                for joined in join_all(joined).await {
                    joined?;
                }
            }
        }
        Ok(())
    }

    /// The client ids of these sessions that stand in a channel's presence.
    async fn there_among(&self, channel: &str, sessions: &[Present]) -> Result<HashSet<String>, BrokerError> {
        let wanted: HashSet<&str> = sessions.iter().map(|present| present.info.client.as_str()).collect();
        let mut there = HashSet::new();
        let mut query = PresenceQuery::default();
        loop {
            let page = self.broker.presence(channel, query.clone()).await?;
            let ours = page.clients.iter().filter(|info| wanted.contains(info.client.as_str()));
            there.extend(ours.map(|info| info.client.clone()));
            match page.cursor {
                Some(cursor) => query.cursor = cursor,
                None => return Ok(there),
            }
        }
    }
}
