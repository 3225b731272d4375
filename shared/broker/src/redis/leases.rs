//! The members that this broker knows, so that an announcement need not bring them again while they stay the same.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::{FULL_EVERY, Member};

/// Members, and the revision of theirs that the server gave.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownMembers {
    pub(super) revision: String,
    pub(super) members: Arc<[Member]>,
    /// Announcements since they were read.
    age: u32,
}

/// The result of the last announcement. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Leases(Arc<Mutex<KnownMembers>>);

impl Leases {
    /// The state on which the next announcement may build; nothing where the members were not read for long.
    pub(super) fn known(&self) -> KnownMembers {
        let mut known = self.0.lock();
        known.age += 1;
        if known.age >= FULL_EVERY { KnownMembers::default() } else { known.clone() }
    }

    /// Learns from the answer to an announcement that was built on `known`: the members, or none if the revision is the same.
    pub(super) fn learn(
        &self,
        known: KnownMembers,
        revision: String,
        members: Option<Vec<Member>>,
    ) -> Arc<[Member]> {
        let Some(members) = members else { return known.members };
        let members: Arc<[Member]> = members.into();
        *self.0.lock() = KnownMembers { revision, members: Arc::clone(&members), age: 0 };
        members
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_asked_for_again_after_some_announcements() {
        let leases = Leases::default();
        let first = leases.known();
        assert_eq!(first.revision, "");
        let member = Member { node: "a".to_owned(), description: "".into() };
        let read = leases.learn(first, "1".to_owned(), Some(vec![member]));
        for _ in 1..FULL_EVERY {
            let known = leases.known();
            assert_eq!(known.revision, "1");
            assert!(Arc::ptr_eq(&read, &leases.learn(known, "1".to_owned(), None)));
        }
        assert_eq!(leases.known().revision, "");
    }
}
