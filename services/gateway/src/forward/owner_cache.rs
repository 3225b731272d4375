//! Owners of sessions on other nodes, as far as is remembered: a bounded table in two generations.

use std::{collections::HashMap, mem, sync::Arc};

use parking_lot::Mutex;

/// Owners that are remembered, in each of two generations.
const REMEMBERED: usize = 32 * 1024;

/// The remembered owners of sessions on other nodes.
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
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(session, owner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
