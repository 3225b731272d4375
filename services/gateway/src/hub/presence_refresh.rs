//! Keeps the worker's sessions present: an entry that is not refreshed is forgotten, so that the clients of a dead
//! node vanish with it. `docs/architecture.md` §5.7.

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use futures_util::future::join_all;
use gorani_broker::{Broker, BrokerError};

use crate::hub::{
    Hub,
    inbox::InboxLoad,
    registry::{ChannelMembership, SessionKey},
    removals::{PRESENCE_TTL, Removal, Removals},
    user_limit::UserLimit,
};

/// How often entries are refreshed: twice within their life, so that one failure is survived.
const REFRESH_EVERY: Duration = Duration::from_secs(25);
/// Pause before another attempt, after one that failed.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// A client that was told to come back to a channel stays present for so long.
const EXPECTED_BACK: Duration = Duration::from_secs(10);
/// Refreshes under way at a time.
const BATCH: usize = 256;

/// Keeps alive what the broker knows of a worker's sessions.
pub(super) struct PresenceRefresh {
    pub(super) hub: Rc<RefCell<Hub>>,
    pub(super) broker: Arc<dyn Broker>,
    pub(super) load: Arc<InboxLoad>,
    pub(super) removals: Rc<Removals>,
    pub(super) user_limit: Rc<UserLimit>,
}

impl PresenceRefresh {
    /// Refreshes presence and the places among users' connections, for ever.
    pub(super) async fn run(self) {
        let mut pause = REFRESH_EVERY;
        loop {
            // Other nodes may have taken this one for dead, and its clients out of presence.
            tokio::select! {
                biased;
                () = self.load.lapsed.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
            let gone = self.hub.borrow_mut().registry_mut().absent_for(EXPECTED_BACK);
            for (key, channel, info) in gone {
                self.removals.remove(Removal::Presence { key, channel, info });
            }
            pause = REFRESH_EVERY;
            if let Err(error) = self.refresh().await {
                tracing::warn!(%error, "refreshing presence failed");
                pause = AGAIN_AFTER;
            }
            if let Err(error) = self.user_limit.refresh().await {
                tracing::warn!(%error, "refreshing slots of users' connections failed");
                pause = AGAIN_AFTER;
            }
        }
    }

    /// Enters all sessions into presence again. Of those who were out the broker tells that they joined.
    async fn refresh(&self) -> Result<(), BrokerError> {
        let present: Vec<_> = {
            let hub = self.hub.borrow();
            let sessions = hub.registry().entries();
            let channels =
                sessions.flat_map(|(key, session)| session.present_in().map(move |found| (key, found)));
            channels.map(|(key, membership)| (key, membership.channel.clone())).collect()
        };
        let mut failed = Ok(());
        for batch in present.chunks(BATCH) {
            let refreshes: Vec<_> = {
                // Who has left meanwhile must not be entered again.
                let hub = self.hub.borrow();
                let membership = |(key, channel): &(SessionKey, Arc<str>)| {
                    let membership = hub.registry().get(*key)?.membership(channel)?;
                    let ChannelMembership { info, announce, .. } = membership;
                    Some(self.broker.presence_add(channel, info.clone(), PRESENCE_TTL, *announce))
                };
                batch.iter().filter_map(membership).collect()
            };
            if let Some(error) = join_all(refreshes).await.into_iter().find_map(Result::err) {
                failed = Err(error);
            }
        }
        failed
    }
}
