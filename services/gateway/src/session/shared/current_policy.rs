//! The policy that counts now, for all that outlives a command: the node, its endpoints, the cluster.
//!
//! A [`Policy`] never changes. A reload puts another one in its place, in one step: a request takes one and keeps it until it ends, and a
//! session takes the next one between two of its turns ([`Policy::renew`]), so that no command is decided by parts of both. Record 61.

use std::sync::Arc;

use parking_lot::RwLock;
use tokio::sync::Notify;

use super::policy::Policy;
use crate::{event_log::commands::CommandLog, proxy_call::ProxyCounts, refusal_log::RefusalLog};

/// The policy that counts now, and what all of them share.
pub struct CurrentPolicy {
    policy: Arc<RwLock<Arc<Policy>>>,
    /// The node's id, 8 hexadecimal digits.
    pub node_id: Arc<str>,
    /// The node's name (`node.name`), for people.
    pub node_name: Arc<str>,
    /// Counts of what became of the answers of proxies.
    pub proxy_counts: Arc<ProxyCounts>,
    /// Notified when a token names a key that is not known yet, and when the settings of tokens are replaced.
    pub key_wanted: Arc<Notify>,
    /// Why clients are refused, for the operator.
    pub log: Arc<RefusalLog>,
    /// Commands of users that an operator follows.
    pub command_log: Arc<CommandLog>,
}

impl CurrentPolicy {
    /// The first policy of a node.
    pub fn new(policy: Policy) -> Self {
        Self {
            node_id: policy.node_id.clone(),
            node_name: policy.node_name.clone(),
            proxy_counts: policy.proxy_counts.clone(),
            key_wanted: policy.key_wanted.clone(),
            log: policy.log.clone(),
            command_log: policy.command_log.clone(),
            policy: Arc::new(RwLock::new(Arc::new(policy))),
        }
    }

    /// The one that counts now, to be kept for all of a request.
    pub fn get(&self) -> Arc<Policy> {
        self.policy.read().clone()
    }

    /// Puts the next one in its place. Sessions that have the one before see it in their next turn.
    pub fn replace(&self, next: Policy) {
        let before = std::mem::replace(&mut *self.policy.write(), Arc::new(next));
        // Only the policy that counts is replaced, so nobody has set it before.
        let _ = before.replaced_by.set(Arc::downgrade(&self.policy));
        self.key_wanted.notify_one();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::{
        sync::atomic::{AtomicBool, Ordering},
        thread,
    };

    use serde_json::json;

    use super::*;
    use crate::{session::tests::policy, settings::ClientSettings};

    /// A policy whose rules and settings both carry a number.
    fn numbered(number: u32) -> Policy {
        let settings = ClientSettings { history_max: number, ..ClientSettings::default() };
        let namespaces = json!([{ "name": "a", "history_size": number, "history_ttl": "60s" }]);
        Arc::into_inner(policy(namespaces, settings)).unwrap()
    }

    /// The number, which all parts of one policy have.
    fn number(policy: &Policy) -> u32 {
        let of_rules = policy.channel_retention("a:1").unwrap().size;
        assert_eq!(of_rules, policy.settings.history_max, "parts of two policies");
        policy.settings.history_max
    }

    #[test]
    fn a_session_takes_the_next_policy_between_two_turns_and_never_parts_of_two() {
        let current = Arc::new(CurrentPolicy::new(numbered(1)));
        let is_over = Arc::new(AtomicBool::new(false));
        let sessions: Vec<_> = (0..4)
            .map(|_| {
                let (current, is_over) = (current.clone(), is_over.clone());
                thread::spawn(move || {
                    let mut own = current.get();
                    let mut last = number(&own);
                    loop {
                        let ends = is_over.load(Ordering::Acquire);
                        Policy::renew(&mut own);
                        let next = number(&own);
                        assert!(next >= last, "an older policy came back");
                        last = next;
                        if ends {
                            return last;
                        }
                    }
                })
            })
            .collect();
        for next in 2..=500 {
            current.replace(numbered(next));
        }
        is_over.store(true, Ordering::Release);
        for session in sessions {
            assert_eq!(session.join().unwrap(), 500);
        }
    }

    #[test]
    fn a_policy_that_nobody_uses_is_freed_and_one_that_outlives_its_node_goes_on() {
        let current = CurrentPolicy::new(numbered(1));
        let mut idle = current.get();
        let first = Arc::downgrade(&idle);
        current.replace(numbered(2));
        current.replace(numbered(3));
        let second = Arc::downgrade(&current.get());
        Policy::renew(&mut idle);
        assert_eq!((number(&idle), first.strong_count()), (3, 0));
        current.replace(numbered(4));
        drop(current);
        Policy::renew(&mut idle);
        assert_eq!((number(&idle), second.strong_count()), (3, 1));
    }
}
