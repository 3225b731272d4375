//! The secret with which the nodes of a cluster know one another's requests.
//!
//! It is in the settings, or the nodes agree on a random one through the broker, which they trust already: the first to
//! claim its name decides. Every node claims it again once in a while, so it outlives a loss of the broker's data.
//! Decision record 21.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::hmac::{HMAC_SHA256, Key};
use gorani_broker::Broker;
use parking_lot::RwLock;
use rand::Rng;
use tokio::{sync::Mutex, time::Instant};

use super::ClaimName;
use crate::settings::{BrokerKind, Settings};

/// Time for which the broker keeps it after the last node has claimed it.
const TTL: Duration = Duration::from_secs(7 * 24 * 3600);
/// Interval at which a node makes sure that it has the secret of the others.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The least time between two looks, whatever forged requests ask for.
const LOOK_AT_MOST_EVERY: Duration = Duration::from_millis(500);

/// One secret, as a key for proofs.
#[derive(Clone)]
pub struct ClusterSecret {
    text: Arc<str>,
    key: Arc<Key>,
}

impl ClusterSecret {
    /// Any text; its length is for the settings to judge.
    pub fn new(text: &str) -> Self {
        Self { text: text.into(), key: Arc::new(Key::new(HMAC_SHA256, text.as_bytes())) }
    }

    /// The key.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The secret itself.
    #[cfg(test)]
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    fn random() -> Self {
        let mut random = [0; 32];
        rand::rng().fill_bytes(&mut random);
        Self::new(&random.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }
}

/// The secrets that a node knows.
pub struct ClusterSecrets {
    /// The one to use, then the one that was used before it.
    known: RwLock<Vec<ClusterSecret>>,
    /// The secret that this node proposes where there is none.
    proposal: ClusterSecret,
    /// The broker through which the nodes agree on one; `None` if there is nothing to agree on.
    broker: Option<Arc<dyn Broker>>,
    looked_at: Mutex<Option<Instant>>,
}

impl ClusterSecrets {
    /// That of the settings, or none yet: then [`Self::keep`] finds it.
    pub(in crate::node) fn new(settings: &Settings, broker: &Arc<dyn Broker>) -> Arc<Self> {
        let configured = &settings.cluster.secret;
        let is_agreed_on = configured.is_empty() && settings.broker.kind != BrokerKind::Memory;
        let known = if configured.is_empty() { Vec::new() } else { vec![ClusterSecret::new(configured)] };
        Arc::new(Self {
            known: RwLock::new(known),
            proposal: ClusterSecret::random(),
            broker: is_agreed_on.then(|| broker.clone()),
            looked_at: Mutex::default(),
        })
    }

    /// The secrets that are accepted. The first is the one to use; without one no node is accepted, and none would accept us.
    pub fn known(&self) -> Vec<ClusterSecret> {
        self.known.read().clone()
    }

    fn set_current(&self, text: &str) {
        let mut known = self.known.write();
        if known.first().is_none_or(|current| *current.text != *text) {
            known.insert(0, ClusterSecret::new(text));
            known.truncate(2);
        }
    }

    /// Keeps the secret equal to that of the cluster, for ever; returns at once if there is nothing to agree on.
    pub(in crate::node) async fn keep(self: Arc<Self>) {
        while self.broker.is_some() {
            self.renew().await;
            let is_known = !self.known.read().is_empty();
            tokio::time::sleep(if is_known { LOOK_EVERY } else { LOOK_AT_MOST_EVERY }).await;
        }
    }

    /// Makes sure that it has the secret of the others, unless that was done a moment ago; without the broker it keeps the
    /// one that it has.
    pub async fn renew(&self) {
        let Some(broker) = &self.broker else { return };
        // Other callers wait for the same answer meanwhile.
        let mut looked_at = self.looked_at.lock().await;
        if looked_at.is_some_and(|at| at.elapsed() < LOOK_AT_MOST_EVERY) {
            return;
        }
        let current = self.known().into_iter().next();
        let proposed = current.as_ref().unwrap_or(&self.proposal).text.clone();
        match broker.cluster().claim(&ClaimName::Secret.to_string(), &proposed, TTL, None).await {
            Ok(agreed) => self.set_current(&agreed),
            Err(error) => tracing::debug!(%error, "cluster secret not known yet"),
        }
        *looked_at = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_have_the_names_of_every_version_and_no_session_has_that_of_the_secret() {
        assert_eq!(ClaimName::Secret.to_string(), "secret of the cluster");
        let reaper = ClaimName::Reaper { dead: "0badcafe", channel: "a b" };
        assert_eq!(reaper.to_string(), "reaper 0badcafe a b");
        let session = ClaimName::Session("/chat/secret of the cluster").to_string();
        assert_eq!(session, "/chat/secret of the cluster");
    }
}
