//! The owners of sessions whose ids do not tell them: the ids that this node has claimed at the broker, and the owners of others
//! that it remembers.

use std::{
    collections::HashMap,
    mem::{replace, take},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, stream};
use gorani_broker::BrokerError;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    http_session::registry::HttpSessionRegistry,
    node::{Node, cluster::ClaimName},
};

/// Time for which a claim holds without renewal. Long, since it counts for nothing once its node's lease has ended.
const TTL: Duration = Duration::from_secs(3600);
/// After so long it is renewed.
const RENEW_AFTER: Duration = Duration::from_secs(1200);
/// Time between two checks of the claims.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Longest time for a session to open after its id was claimed.
const OPENING: Duration = Duration::from_secs(10);
/// Calls to the broker under way at a time.
const CALLS_AT_A_TIME: usize = 64;
/// Owners that are remembered, in each of two generations.
const REMEMBERED: usize = 32 * 1024;

/// The ids that this node has claimed: kept while their sessions live, given back when they are over.
#[derive(Default)]
pub(super) struct SessionClaims(Mutex<HashMap<Arc<str>, SessionClaim>>);

struct SessionClaim {
    /// The time at which it was last made or renewed.
    at: Instant,
    /// True if its session was opened; else it is about to be.
    is_opened: bool,
}

impl SessionClaims {
    /// Claims an id for this node, or learns whose it is. `replacing`: an owner that is gone.
    ///
    /// # Errors
    /// The broker's. The claim is kept then, since it may have been made.
    pub(super) async fn claim(
        &self,
        node: &Node,
        session: &Arc<str>,
        replacing: Option<&str>,
    ) -> Result<String, BrokerError> {
        // Before it is claimed: a client that goes meanwhile leaves no claim behind.
        self.enter(session);
        let name = ClaimName::Session(session).to_string();
        let owner = node.broker().cluster().claim(&name, &node.id, TTL, replacing).await?;
        if *owner != *node.id {
            self.forget(session);
        }
        Ok(owner)
    }

    fn enter(&self, session: &Arc<str>) {
        let mut claims = self.0.lock();
        let claim = claims.entry(session.clone());
        claim.or_insert(SessionClaim { at: Instant::now(), is_opened: false }).at = Instant::now();
    }

    /// The session of this id was opened.
    pub(super) fn opened(&self, session: &str) {
        if let Some(claim) = self.0.lock().get_mut(session) {
            claim.is_opened = true;
        }
    }

    /// The id is another node's.
    fn forget(&self, session: &str) {
        self.0.lock().remove(session);
    }

    /// Forgets an id whose session was not opened; whether there is such a one.
    pub(super) fn forget_unopened(&self, session: &str) -> bool {
        let mut claims = self.0.lock();
        let is_unopened = claims.get(session).is_some_and(|claim| !claim.is_opened);
        is_unopened && claims.remove(session).is_some()
    }

    fn renewed(&self, session: &str) {
        if let Some(claim) = self.0.lock().get_mut(session) {
            claim.at = Instant::now();
        }
    }

    /// Those to renew, and those whose sessions are over.
    fn due(&self, registry: &HttpSessionRegistry, renew_after: Duration) -> (Vec<Arc<str>>, Vec<Arc<str>>) {
        let (mut stale, mut over) = (Vec::new(), Vec::new());
        for (session, claim) in &*self.0.lock() {
            let age = claim.at.elapsed();
            if registry.has(session) {
                if age >= renew_after {
                    stale.push(session.clone());
                }
            } else if claim.is_opened || age >= OPENING {
                over.push(session.clone());
            }
        }
        (stale, over)
    }

    /// Keeps the claims of a node, for ever.
    pub(super) async fn keep(&self, node: &Node, registry: &HttpSessionRegistry) {
        let mut lapses = node.cluster.lapses();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            // Where the lease was lost, the claims may be: others may not know whose the sessions are.
            let lost = replace(&mut lapses, node.cluster.lapses()) != lapses;
            let renew_after = if lost { Duration::ZERO } else { RENEW_AFTER };
            let (stale, over) = self.due(registry, renew_after);
            let renewing = stream::iter(stale);
            renewing.for_each_concurrent(CALLS_AT_A_TIME, |session| self.renew(node, session)).await;
            let releasing = stream::iter(over);
            releasing.for_each_concurrent(CALLS_AT_A_TIME, |session| self.release(node, session)).await;
        }
    }

    async fn renew(&self, node: &Node, session: Arc<str>) {
        let name = ClaimName::Session(&session).to_string();
        match node.broker().cluster().claim(&name, &node.id, TTL, None).await {
            Ok(owner) if *owner == *node.id => self.renewed(&session),
            Ok(_) => {
                // Somebody could not reach us. No request comes here any more, so the session ends by itself.
                tracing::debug!("session claimed by another node");
                self.forget(&session);
            }
            Err(error) => tracing::debug!(%error, "renewing the claim of a session failed"),
        }
    }

    async fn release(&self, node: &Node, session: Arc<str>) {
        let name = ClaimName::Session(&session).to_string();
        // One that is not given back counts for nothing: this node says that the session is not here.
        let _ = node.broker().cluster().release(&name, &node.id).await;
        self.forget(&session);
    }
}

/// The remembered owners of sessions on other nodes: a bounded table in two generations.
#[derive(Default)]
pub(super) struct OwnerCache(Mutex<OwnerGenerations>);

#[derive(Default)]
struct OwnerGenerations {
    young: HashMap<Arc<str>, Arc<str>>,
    old: HashMap<Arc<str>, Arc<str>>,
}

impl OwnerCache {
    pub(super) fn get(&self, session: &str) -> Option<Arc<str>> {
        let mut generations = self.0.lock();
        if let Some(owner) = generations.young.get(session) {
            return Some(owner.clone());
        }
        let (session, owner) = generations.old.remove_entry(session)?;
        generations.enter(session, owner.clone());
        Some(owner)
    }

    pub(super) fn put(&self, session: &Arc<str>, owner: &str) {
        self.0.lock().enter(session.clone(), owner.into());
    }

    pub(super) fn forget(&self, session: &str) {
        let mut generations = self.0.lock();
        generations.young.remove(session);
        generations.old.remove(session);
    }
}

impl OwnerGenerations {
    fn enter(&mut self, session: Arc<str>, owner: Arc<str>) {
        if self.young.len() >= REMEMBERED {
            self.old = take(&mut self.young);
        }
        self.young.insert(session, owner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_of_sessions_that_are_over_are_given_back_after_the_time_to_open() {
        let (claims, registry) = (SessionClaims::default(), HttpSessionRegistry::new("a".into()));
        claims.enter(&"new".into());
        assert_eq!(claims.due(&registry, Duration::ZERO), (vec![], vec![]), "it may be about to open");
        if let Some(before) = Instant::now().checked_sub(OPENING) {
            claims.0.lock().insert("over".into(), SessionClaim { at: before, is_opened: false });
            assert_eq!(claims.due(&registry, Duration::ZERO), (vec![], vec!["over".into()]));
        }
        claims.opened("new");
        claims.forget("over");
        assert_eq!(claims.due(&registry, Duration::ZERO), (vec![], vec!["new".into()]), "it is over");
    }

    #[test]
    fn a_claim_is_given_back_at_once_where_its_session_was_not_opened() {
        let claims = SessionClaims::default();
        claims.enter(&"refused".into());
        claims.enter(&"opened".into());
        claims.opened("opened");
        assert!(claims.forget_unopened("refused"));
        assert!(!claims.forget_unopened("refused") && !claims.forget_unopened("opened"));
    }

    #[test]
    fn owners_are_remembered_while_they_are_asked_for_and_bounded() {
        let cache = OwnerCache::default();
        let session = |number: usize| -> Arc<str> { format!("/chat/{number}").into() };
        cache.put(&session(0), "a");
        for number in 1..5 * REMEMBERED {
            cache.put(&session(number), "b");
            assert_eq!(cache.get(&session(0)).as_deref(), Some("a"));
        }
        assert_eq!(cache.get(&session(1)), None, "nobody asked for it");
        let generations = cache.0.lock();
        assert!(generations.young.len() <= REMEMBERED && generations.old.len() <= REMEMBERED);
    }

    #[test]
    fn what_was_wrong_is_forgotten() {
        let cache = OwnerCache::default();
        cache.put(&"s".into(), "a");
        cache.put(&"s".into(), "b");
        assert_eq!(cache.get("s").as_deref(), Some("b"));
        cache.forget("s");
        assert_eq!(cache.get("s"), None);
    }
}
