//! The ids of sessions that this node has claimed at the broker: kept while the sessions live, given back when they are
//! over.

use std::{collections::HashMap, mem::replace, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    http_session::registry::HttpSessionRegistry,
    node::{Node, cluster::ClaimName},
};

/// Time for which a claim holds without renewal. Long, since it counts for nothing once its node's lease has ended.
pub(super) const TTL: Duration = Duration::from_secs(3600);
/// After so long it is renewed.
const RENEW_AFTER: Duration = Duration::from_secs(1200);
/// Time between two checks of the claims.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Longest time for a session to open after its id was claimed.
const OPENING: Duration = Duration::from_secs(10);
/// Calls to the broker under way at a time.
const CALLS_AT_A_TIME: usize = 64;

/// Claimed ids.
#[derive(Default)]
pub(super) struct SessionClaims(Mutex<HashMap<Arc<str>, SessionClaim>>);

struct SessionClaim {
    /// The time at which it was last made or renewed.
    at: Instant,
    /// True if its session was opened; else it is about to be.
    is_opened: bool,
}

impl SessionClaims {
    pub(super) fn enter(&self, session: &Arc<str>) {
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
    pub(super) fn forget(&self, session: &str) {
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
}
