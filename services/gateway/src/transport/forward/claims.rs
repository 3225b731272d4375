//! The ids of sessions that this node has claimed at the broker: kept while the sessions live, given back when they are
//! over.

use std::{
    collections::HashMap,
    mem::replace,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use parking_lot::Mutex;

use super::Shared;
use crate::{node::Node, transport::held::directory::Directory};

/// How long a claim holds that is not renewed. Long, since it counts for nothing once its node's lease has ended.
pub(super) const TTL: Duration = Duration::from_secs(3600);
/// After so long it is renewed.
const RENEW_AFTER: Duration = Duration::from_secs(1200);
/// How often is looked for what has to be done.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long a session may take to open after its id was claimed.
const OPENING: Duration = Duration::from_secs(10);
/// Calls to the broker under way at a time.
const CALLS_AT_A_TIME: usize = 64;

/// Claimed ids, and when each was claimed last.
#[derive(Default)]
pub(super) struct Claims(Mutex<HashMap<Arc<str>, Instant>>);

impl Claims {
    pub(super) fn enter(&self, session: &Arc<str>) {
        self.0.lock().insert(session.clone(), Instant::now());
    }

    /// Those to renew, and those whose sessions are over.
    fn due(&self, directory: &Directory, renew_after: Duration) -> (Vec<Arc<str>>, Vec<Arc<str>>) {
        let (mut stale, mut over) = (Vec::new(), Vec::new());
        for (session, at) in &*self.0.lock() {
            let age = at.elapsed();
            if directory.has(session) {
                if age >= renew_after {
                    stale.push(session.clone());
                }
            } else if age >= OPENING {
                over.push(session.clone());
            }
        }
        (stale, over)
    }
}

/// Keeps the claims of a node, for ever.
pub async fn keep(node: Arc<Node>, shared: Arc<Shared>, directory: Arc<Directory>) {
    let mut lapses = node.lapses();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        // Where the lease was lost, the claims may be: others may not know whose the sessions are.
        let lost = replace(&mut lapses, node.lapses()) != lapses;
        let renew_after = if lost { Duration::ZERO } else { RENEW_AFTER };
        let (stale, over) = shared.claims.due(&directory, renew_after);
        stream::iter(stale)
            .for_each_concurrent(CALLS_AT_A_TIME, |session| renew(&node, &shared, session))
            .await;
        stream::iter(over)
            .for_each_concurrent(CALLS_AT_A_TIME, |session| release(&node, &shared, session))
            .await;
    }
}

async fn renew(node: &Node, shared: &Shared, session: Arc<str>) {
    match node.broker().cluster().claim(&session, &node.id, TTL, None).await {
        Ok(owner) if *owner == *node.id => shared.claims.enter(&session),
        Ok(_) => {
            // Somebody could not reach us. No request comes here any more, so the session ends by itself.
            tracing::debug!("another node has claimed a session");
            shared.claims.0.lock().remove(&session);
        }
        Err(error) => tracing::debug!(%error, "a session's claim could not be renewed"),
    }
}

async fn release(node: &Node, shared: &Shared, session: Arc<str>) {
    // One that is not given back counts for nothing: this node says that the session is not here.
    let _ = node.broker().cluster().release(&session, &node.id).await;
    shared.claims.0.lock().remove(&session);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_of_sessions_that_are_over_are_given_back_after_the_time_to_open() {
        let (claims, directory) = (Claims::default(), Directory::new("a".into()));
        claims.enter(&"new".into());
        assert_eq!(claims.due(&directory, Duration::ZERO), (vec![], vec![]), "it may be about to open");
        if let Some(before) = Instant::now().checked_sub(OPENING) {
            claims.0.lock().insert("over".into(), before);
            assert_eq!(claims.due(&directory, Duration::ZERO), (vec![], vec!["over".into()]));
        }
    }
}
