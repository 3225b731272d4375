//! The entries of an ended session that have to be removed from the broker: its connection among its user's, its presence,
//! a leave for others. Removals that failed because the broker was away are retried until the broker forgets the entry by itself:
//! else a user would be locked out, and observers would see somebody who is gone.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use futures_util::future::{BoxFuture, join_all};
use gorani_broker::{Broker, BrokerError, ClientInfo};
use tokio::time::Instant;

use crate::{
    hub::{Hub, registry::SessionKey},
    tasks::Tasks,
};

/// Presence is forgotten this long after the last sign of the client's node.
pub const PRESENCE_TTL: Duration = Duration::from_secs(60);
/// A slot among a user's connections is forgotten this long after the last sign of its node. Those of a node whose lease is gone
/// do not count anyhow.
pub const USER_SLOT_TTL: Duration = Duration::from_secs(60);
/// Removals that are asked for again at the same time.
const BATCH: usize = 256;
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
        let count = again.len().min(BATCH);
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

#[cfg(test)]
mod tests;
