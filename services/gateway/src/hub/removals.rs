//! The entries of sessions in the broker: their slots among their user's connections, which are kept while the session lasts,
//! and the removal of what an ended session leaves there: its slot, its presence, a leave for others.
//!
//! Removals that failed because the broker was away are retried until the broker forgets the entry by itself: else a user would
//! be locked out, and observers would see somebody who is gone.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use futures_util::future::{BoxFuture, join_all};
use gorani_broker::{Broker, BrokerError, ClientInfo, ConnectionEntry};
use indexmap::IndexMap;
use tokio::time::Instant;

use super::{Hub, registry::SessionKey};
use crate::{disconnect::Disconnect, session::Signal, tasks::Tasks};

/// Presence is forgotten this long after the last sign of the client's node.
pub const PRESENCE_TTL: Duration = Duration::from_secs(60);
/// A slot among a user's connections is forgotten this long after the last sign of its node. Those of a node whose lease is gone
/// do not count anyhow.
pub const USER_SLOT_TTL: Duration = Duration::from_secs(60);
/// Removals that are asked for again at the same time.
const REMOVALS_AT_ONCE: usize = 256;
/// Pause before the broker is asked again.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Removals that wait at most; further ones are left to the broker, where they expire.
const WAITING: usize = 100_000;

/// An entry that is to be removed from the broker.
pub(super) enum Removal {
    /// A client among its user's connections.
    Connection {
        /// The user.
        user: Arc<str>,
        /// The client's id.
        client: Arc<str>,
    },
    /// A client in a channel's presence, unless its session is in the channel again.
    Presence {
        /// The session.
        key: SessionKey,
        /// The channel.
        channel: Arc<str>,
        /// The client.
        info: Arc<ClientInfo>,
    },
    /// A client of a channel without presence, whose leave is published.
    Leave {
        /// The channel.
        channel: Arc<str>,
        /// The client.
        info: Arc<ClientInfo>,
    },
}

impl Removal {
    /// After this time the broker has forgotten it.
    fn ttl(&self) -> Duration {
        match self {
            Self::Connection { .. } => USER_SLOT_TTL,
            Self::Presence { .. } | Self::Leave { .. } => PRESENCE_TTL,
        }
    }

    /// True if the broker is to be asked again after this error.
    fn is_unsettled(&self, error: &BrokerError) -> bool {
        // A leave that may have been published is not published twice.
        !matches!(self, Self::Leave { .. }) || !error.is_unknown_outcome()
    }
}

/// Takes things out of the broker; keeps those that failed.
pub(super) struct Removals {
    hub: Rc<RefCell<Hub>>,
    broker: Arc<dyn Broker>,
    tasks: Tasks,
    again: RefCell<VecDeque<(Removal, Instant)>>,
    is_running: Cell<bool>,
}

impl Removals {
    /// Nothing to take out yet.
    pub(super) fn new(hub: Rc<RefCell<Hub>>, broker: Arc<dyn Broker>, tasks: Tasks) -> Rc<Self> {
        Rc::new(Self { hub, broker, tasks, again: RefCell::default(), is_running: Cell::new(false) })
    }

    fn put_back(&self, removal: Removal, until: Instant) {
        let mut again = self.again.borrow_mut();
        if again.len() < WAITING {
            again.push_back((removal, until));
        } else {
            tracing::warn!("too many clients to remove from the broker; they will expire");
        }
    }

    /// Takes the next ones that are not over.
    fn next(&self) -> Vec<(Removal, Instant)> {
        let (now, mut again) = (Instant::now(), self.again.borrow_mut());
        let count = again.len().min(REMOVALS_AT_ONCE);
        again.drain(..count).filter(|(_, until)| *until > now).collect()
    }

    /// Takes something out of the broker, and tries again later if that fails. The request is in line when this returns.
    pub(super) fn remove(self: &Rc<Self>, removal: Removal) {
        let until = Instant::now() + removal.ttl();
        let Some(asked) = self.ask_to_remove(&removal) else { return };
        let removals = Rc::clone(self);
        self.tasks.spawn(async move {
            if let Err(error) = asked.await
                && removal.is_unsettled(&error)
            {
                removals.put_back(removal, until);
                removals.remove_again().await;
            }
        });
    }

    /// `None` if it is to stay.
    fn ask_to_remove(&self, removal: &Removal) -> Option<BoxFuture<'static, Result<(), BrokerError>>> {
        match removal {
            Removal::Connection { user, client } => {
                Some(self.broker.cluster().connection_leave(user, client))
            }
            Removal::Presence { key, channel, info } => {
                let is_back = self.hub.borrow().is_entered(*key, channel);
                (!is_back).then(|| self.broker.presence_remove(channel, &info.client))
            }
            Removal::Leave { channel, info } => Some(self.broker.publish_leave(channel, info.clone())),
        }
    }

    /// Asks for all that wait until none does. One at a time runs.
    async fn remove_again(&self) {
        if self.is_running.replace(true) {
            return;
        }
        while !self.again.borrow().is_empty() {
            tokio::time::sleep(AGAIN_AFTER).await;
            let batch = self.next();
            let asked = batch.into_iter().filter_map(|(removal, until)| {
                let asked = self.ask_to_remove(&removal)?;
                Some(async move { (asked.await, removal, until) })
            });
            for (outcome, removal, until) in join_all(asked).await {
                if let Err(error) = outcome
                    && removal.is_unsettled(&error)
                {
                    self.put_back(removal, until);
                }
            }
        }
        self.is_running.set(false);
    }
}

/// Users whose slots are refreshed at the same time.
const USERS_AT_ONCE: usize = 256;

/// A session that holds a slot.
struct UserSlot {
    key: SessionKey,
    client: Arc<str>,
    limit: u32,
}

/// The slots of a worker's sessions among their users' connections, where those are limited: `client.max_connections_per_user`.
/// [`crate::node`] takes them.
pub struct UserLimit {
    pub(super) hub: Rc<RefCell<Hub>>,
    pub(super) broker: Arc<dyn Broker>,
    pub(super) removals: Rc<Removals>,
}

impl UserLimit {
    /// The session takes a slot, which is given back when the session ends. To be called before the broker is
    /// asked, so that the broker gets the end after the beginning.
    pub fn hold(&self, key: SessionKey, limit: u32) {
        if let Some(session) = self.hub.borrow_mut().registry_mut().get_mut(key) {
            session.user_slot = Some(limit);
        }
    }

    /// Takes a session out of its user's connections, if it counts there. The request is in line when this returns.
    pub fn release(&self, key: SessionKey) {
        let removal = {
            let mut hub = self.hub.borrow_mut();
            let Some(session) = hub.registry_mut().get_mut(key) else { return };
            if session.user_slot.take().is_none() {
                return;
            }
            Removal::Connection { user: session.user.clone(), client: session.client.clone() }
        };
        self.removals.remove(removal);
    }

    /// Renews the slots of all sessions. One that is lost is taken again if there is still room, else its session ends.
    pub(super) async fn refresh(&self) -> Result<(), BrokerError> {
        let mut users: IndexMap<Arc<str>, Vec<UserSlot>> = IndexMap::new();
        for (key, session) in self.hub.borrow().registry().entries() {
            if let Some(limit) = session.user_slot {
                let holder = UserSlot { key, client: session.client.clone(), limit };
                users.entry(session.user.clone()).or_default().push(holder);
            }
        }
        let users: Vec<_> = users.into_iter().collect();
        let mut failed = Ok(());
        for batch in users.chunks(USERS_AT_ONCE) {
            let refreshed = join_all(batch.iter().map(|(user, holders)| {
                let clients: Vec<&str> = holders.iter().map(|holder| &*holder.client).collect();
                self.broker.cluster().connection_refresh(user, &clients, USER_SLOT_TTL)
            }));
            for ((user, holders), lost) in batch.iter().zip(refreshed.await) {
                match lost {
                    Ok(lost) if lost.is_empty() => {}
                    Ok(lost) => {
                        let lost = |holder: &&UserSlot| lost.iter().any(|client| **client == *holder.client);
                        for holder in holders.iter().filter(lost) {
                            if let Err(error) = self.retake(user, holder).await {
                                failed = Err(error);
                            }
                        }
                    }
                    Err(error) => failed = Err(error),
                }
            }
        }
        failed
    }

    async fn retake(&self, user: &str, holder: &UserSlot) -> Result<(), BrokerError> {
        let holds_slot =
            self.hub.borrow().registry().get(holder.key).is_some_and(|session| session.user_slot.is_some());
        if !holds_slot {
            // It has ended meanwhile.
            return Ok(());
        }
        let entry =
            self.broker.cluster().connection_enter(user, &holder.client, USER_SLOT_TTL, holder.limit).await?;
        if matches!(entry, ConnectionEntry::Full { .. })
            && let Some(session) = self.hub.borrow().registry().get(holder.key)
        {
            session.signal(Signal::Disconnect(Disconnect::CONNECTION_LIMIT));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
