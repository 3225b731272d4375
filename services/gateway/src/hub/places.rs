//! The places that sessions take among their user's connections, where those are limited: kept while the session lasts,
//! given back when it ends. `client.max_connections_per_user`; taking one is [`crate::node`]'s.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use gorani_broker::{Broker, BrokerError, ConnectionEntry};

use crate::{
    disconnect::Disconnect,
    hub::{roster::SessionKey, worker::Worker},
    session::Signal,
};

/// A place is forgotten this long after the last sign of its node. Those of a node whose lease is gone do not count anyhow.
pub const PLACE_TTL: Duration = Duration::from_secs(60);
/// Users whose places are refreshed, or clients that are taken out, at the same time.
const BATCH: usize = 256;
/// Pause before clients are taken out once more.
const LEAVE_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Clients that wait to be taken out at most; further ones are forgotten by the broker after [`PLACE_TTL`].
const LEAVES: usize = 100_000;

/// A session that holds a place.
struct Holder {
    key: SessionKey,
    client: Arc<str>,
    limit: u32,
}

impl Worker {
    /// The session takes a place: from now on it is given back when the session ends. To be called before the broker is
    /// asked, so that it hears of the end after the beginning.
    pub fn hold_place(&self, key: SessionKey, limit: u32) {
        if let Some(session) = self.hub_mut().roster_mut().get_mut(key) {
            session.place = Some(limit);
        }
    }

    /// Takes a session out of its user's connections, if it counts there. The request is in line when this returns.
    pub fn give_place_back(&self, key: SessionKey) {
        let mut hub = self.hub_mut();
        let Some(session) = hub.roster_mut().get_mut(key) else { return };
        if session.place.take().is_some() {
            self.leaves.begin(&self.broker, &session.user, &session.client);
        }
    }

    /// Renews the places of all sessions. One that is lost is taken again if there is still room, else its session ends.
    pub(super) async fn refresh_places(&self) -> Result<(), BrokerError> {
        let mut users: HashMap<Arc<str>, Vec<Holder>> = HashMap::new();
        for (key, session) in self.hub().roster().entries() {
            if let Some(limit) = session.place {
                let holder = Holder { key, client: session.client.clone(), limit };
                users.entry(session.user.clone()).or_default().push(holder);
            }
        }
        let users: Vec<_> = users.into_iter().collect();
        let mut failed = Ok(());
        for batch in users.chunks(BATCH) {
            let refreshed = join_all(batch.iter().map(|(user, holders)| {
                let clients: Vec<&str> = holders.iter().map(|holder| &*holder.client).collect();
                self.broker.cluster().connection_refresh(user, &clients, PLACE_TTL)
            }));
            for ((user, holders), lost) in batch.iter().zip(refreshed.await) {
                match lost {
                    Ok(lost) if lost.is_empty() => {}
                    Ok(lost) => {
                        let lost = |holder: &&Holder| lost.iter().any(|client| **client == *holder.client);
                        for holder in holders.iter().filter(lost) {
                            if let Err(error) = self.take_place_again(user, holder).await {
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

    async fn take_place_again(&self, user: &str, holder: &Holder) -> Result<(), BrokerError> {
        let holds_place = self.hub().roster().get(holder.key).is_some_and(|session| session.place.is_some());
        if !holds_place {
            // It has ended meanwhile.
            return Ok(());
        }
        let entry =
            self.broker.cluster().connection_enter(user, &holder.client, PLACE_TTL, holder.limit).await?;
        if matches!(entry, ConnectionEntry::Full { .. })
            && let Some(session) = self.hub().roster().get(holder.key)
        {
            session.tell(Signal::Disconnect(Disconnect::CONNECTION_LIMIT));
        }
        Ok(())
    }
}

/// Clients that are to be taken out of their user's connections. One that could not be, because the broker was away, would lock
/// its user out with a terminal code, so it is tried again until the broker forgets it by itself.
#[derive(Default)]
pub(super) struct Leaves {
    again: RefCell<VecDeque<Leave>>,
    is_running: Cell<bool>,
}

struct Leave {
    user: Arc<str>,
    client: Arc<str>,
    /// By then the broker has forgotten it.
    until: Instant,
}

impl Leaves {
    /// Asks the broker, and again later if that fails.
    fn begin(self: &Rc<Self>, broker: &Arc<dyn Broker>, user: &Arc<str>, client: &Arc<str>) {
        let asked = broker.cluster().connection_leave(user, client);
        let leave = Leave { user: user.clone(), client: client.clone(), until: Instant::now() + PLACE_TTL };
        let (leaves, broker) = (self.clone(), broker.clone());
        actix_rt::spawn(async move {
            if asked.await.is_err() {
                leaves.put_back(leave);
                leaves.run(&broker).await;
            }
        });
    }

    fn put_back(&self, leave: Leave) {
        let mut again = self.again.borrow_mut();
        if again.len() < LEAVES {
            again.push_back(leave);
        } else {
            tracing::warn!(
                "too many connections to take out of their users' limits; they expire by themselves"
            );
        }
    }

    /// Asks for all that wait until none does. One at a time runs.
    async fn run(&self, broker: &Arc<dyn Broker>) {
        if self.is_running.replace(true) {
            return;
        }
        loop {
            let batch: Vec<Leave> = {
                let (now, mut again) = (Instant::now(), self.again.borrow_mut());
                let count = again.len().min(BATCH);
                again.drain(..count).filter(|leave| leave.until > now).collect()
            };
            let asked =
                batch.iter().map(|leave| broker.cluster().connection_leave(&leave.user, &leave.client));
            let outcomes = join_all(asked).await;
            let failed = outcomes.iter().any(Result::is_err);
            let unsettled = batch.into_iter().zip(outcomes).filter(|(_, outcome)| outcome.is_err());
            unsettled.for_each(|(leave, _)| self.put_back(leave));
            if self.again.borrow().is_empty() {
                break;
            }
            if failed {
                tokio::time::sleep(LEAVE_AGAIN_AFTER).await;
            }
        }
        self.is_running.set(false);
    }
}

#[cfg(test)]
mod tests;
