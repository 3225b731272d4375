//! The last use of each API key, its time and address, so that the report of a reload can say whether a key that goes is still in use.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use gorani_auth::ApiKeys;
use parking_lot::Mutex;

/// Milliseconds within which a further use of a key is not noted: a busy backend must not make workers wait for one another.
const NOTED_EVERY_MS: u64 = 1000;

/// The keys of backends, with what is known of their use.
#[derive(Default)]
pub struct NotedApiKeys {
    /// The keys.
    pub keys: ApiKeys,
    /// Their last uses.
    pub uses: ApiKeyUses,
}

/// The last use of one key.
#[derive(Debug, Default)]
struct ApiKeyUse {
    /// Unix milliseconds; 0: never.
    at: AtomicU64,
    from: Mutex<Option<IpAddr>>,
}

/// The last uses of the keys of `api.keys`, in their order.
#[derive(Debug, Default)]
pub struct ApiKeyUses(Vec<Arc<ApiKeyUse>>);

impl ApiKeyUses {
    /// For these keys. Those that were there `before` keep what is known of them.
    pub fn new(keys: &[String], before: (&[String], &Self)) -> Self {
        let (old_keys, old) = before;
        let of_key = |key: &String| {
            let at = old_keys.iter().position(|old| old == key)?;
            old.0.get(at).cloned()
        };
        Self(keys.iter().map(|key| of_key(key).unwrap_or_default()).collect())
    }

    /// Notes that the key at this place was used now. `from` is asked at most once a second for a key.
    pub fn note(&self, key: usize, now_ms: u64, from: impl FnOnce() -> Option<IpAddr>) {
        let Some(used) = self.0.get(key) else { return };
        if now_ms.saturating_sub(used.at.load(Ordering::Relaxed)) >= NOTED_EVERY_MS {
            used.at.store(now_ms, Ordering::Relaxed);
            *used.from.lock() = from();
        }
    }

    /// The last use of the key at this place: its time in Unix milliseconds, and its address.
    pub fn last(&self, key: usize) -> Option<(u64, Option<IpAddr>)> {
        let used = self.0.get(key)?;
        let at = used.at.load(Ordering::Relaxed);
        (at > 0).then(|| (at, *used.from.lock()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_key_keeps_its_last_use_when_others_come_and_go() {
        let address = |last| Some(IpAddr::from([10, 0, 0, last]));
        let before = ApiKeyUses::new(&keys(&["a", "b"]), (&[], &ApiKeyUses::default()));
        assert_eq!(before.last(1), None);
        before.note(1, 5000, || address(1));
        before.note(1, 5999, || address(2));
        assert_eq!(before.last(1), Some((5000, address(1))), "once a second");
        before.note(1, 6000, || address(3));
        before.note(2, 6000, || address(4));
        let after = ApiKeyUses::new(&keys(&["c", "b"]), (&keys(&["a", "b"]), &before));
        assert_eq!((after.last(0), after.last(1)), (None, Some((6000, address(3)))));
        before.note(1, 9000, || address(5));
        assert_eq!(after.last(1), Some((9000, address(5))), "a call by the settings before counts too");
    }
}
