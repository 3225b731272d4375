//! The places that sessions take among their user's connections, where those are limited: kept while the session lasts,
//! given back when it ends. `client.max_connections_per_user`; taking one is [`crate::node`]'s.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use futures_util::future::join_all;
use gorani_broker::{Broker, BrokerError, ConnectionEntry};
use indexmap::IndexMap;

use crate::{
    disconnect::Disconnect,
    hub::{
        Hub,
        registry::SessionKey,
        removals::{Removal, Removals, USER_SLOT_TTL},
    },
    session::Signal,
};

/// Users whose slots are refreshed at the same time.
const BATCH: usize = 256;

/// A session that holds a slot.
struct UserSlot {
    key: SessionKey,
    client: Arc<str>,
    limit: u32,
}

/// The slots of a worker's sessions among their users' connections.
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
            session.place = Some(limit);
        }
    }

    /// Takes a session out of its user's connections, if it counts there. The request is in line when this returns.
    pub fn release(&self, key: SessionKey) {
        let removal = {
            let mut hub = self.hub.borrow_mut();
            let Some(session) = hub.registry_mut().get_mut(key) else { return };
            if session.place.take().is_none() {
                return;
            }
            Removal::Connection { user: session.user.clone(), client: session.client.clone() }
        };
        self.removals.remove(removal);
    }

    /// Renews the places of all sessions. One that is lost is taken again if there is still room, else its session ends.
    pub(super) async fn refresh(&self) -> Result<(), BrokerError> {
        let mut users: IndexMap<Arc<str>, Vec<UserSlot>> = IndexMap::new();
        for (key, session) in self.hub.borrow().registry().entries() {
            if let Some(limit) = session.place {
                let holder = UserSlot { key, client: session.client.clone(), limit };
                users.entry(session.user.clone()).or_default().push(holder);
            }
        }
        let users: Vec<_> = users.into_iter().collect();
        let mut failed = Ok(());
        for batch in users.chunks(BATCH) {
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
        let holds_place =
            self.hub.borrow().registry().get(holder.key).is_some_and(|session| session.place.is_some());
        if !holds_place {
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
