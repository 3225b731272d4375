//! The names of sessions and of their subscriptions on a worker, and maps by session.

use foldhash::fast::RandomState;
use indexmap::IndexMap;

/// A map by session, in the order in which they came as long as none is removed. A worker counts the keys up itself, so that nobody can
/// choose some that collide; the hash that maps have by default costs ten times as much, and each connect and subscribe looks a session up
/// a dozen times.
pub type SessionMap<V> = IndexMap<SessionKey, V, RandomState>;

/// Names a session on its worker; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct SessionKey(u64);

impl SessionKey {
    /// The key of a worker's first session.
    pub(in crate::hub) const FIRST: Self = Self(0);
    /// The key of no session.
    pub(in crate::hub) const NOBODY: Self = Self(u64::MAX);

    /// The key after this one.
    pub(in crate::hub) fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// One of 64 bits, which few other sessions have.
    pub(in crate::hub) fn bit(self) -> u64 {
        1 << (self.0 % 64)
    }
}

/// Names a subscription of a session in a channel; never used twice on a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation(pub(super) u64);
