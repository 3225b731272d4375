//! What this node knows of the others: who is alive, who died lately. Design §5, "Membership".
//!
//! A pure table: leases in, deaths out. A node is dead when its lease is gone while ours was running all the time. Where
//! our own lease ran out, or the broker lost its data, the leases of others may be missing although they live: then, for
//! the time of a lease, those who were known are believed in.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use gorani_broker::{Announced, Member};

use super::description::Description;

/// Dead nodes that are remembered; far more than die while their clients' presence lasts.
const DEAD_MAX: usize = 10_000;

/// Whether a node is alive, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Alive,
    Dead,
    Unknown,
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct View {
    own: Arc<str>,
    lease: Duration,
    /// How long what a dead node left behind lasts.
    trace: Duration,
    nodes: BTreeMap<String, Description>,
    /// From when on a missing lease is a death; `None` until the first announcement.
    settled_at: Option<Instant>,
    dead: BTreeMap<String, Instant>,
    /// From when on nothing is left of the dead of whom is known, and of those who died before this node began.
    quiet_at: Instant,
}

impl View {
    pub(super) fn new(own: Arc<str>, lease: Duration, trace: Duration, now: Instant) -> Self {
        Self {
            own,
            lease,
            trace,
            nodes: BTreeMap::new(),
            settled_at: None,
            dead: BTreeMap::new(),
            quiet_at: now + trace + lease,
        }
    }

    /// Takes the answer to an announcement in; gives those who died.
    pub(super) fn announced(&mut self, announced: &Announced, now: Instant) -> Vec<String> {
        if !announced.renewed {
            self.settled_at = Some(now + self.lease);
        }
        self.meet(&announced.members, now);
        if !self.is_settled(now) {
            return Vec::new();
        }
        let live: BTreeSet<&str> = announced.members.iter().map(|member| member.node.as_str()).collect();
        let died: Vec<String> =
            self.nodes.keys().filter(|node| !live.contains(node.as_str())).cloned().collect();
        for node in &died {
            self.bury(node, now);
        }
        died
    }

    /// Takes in whose lease is running, and gives all who have to be reckoned with: them, and while the leases cannot be
    /// trusted, those who were known. Without this node.
    pub(super) fn others(&mut self, members: &[Member], now: Instant) -> BTreeSet<String> {
        if !members.iter().any(|member| *member.node == *self.own) {
            // Our own lease is gone, so those of others may be gone for the same reason.
            self.settled_at = Some(now + self.lease);
        }
        self.meet(members, now);
        let believed = self.nodes.keys().filter(|_| !self.is_settled(now)).cloned();
        let live = members.iter().map(|member| member.node.clone());
        live.chain(believed).filter(|node| **node != *self.own).collect()
    }

    /// Of nodes of unknown standing, those who are dead, now that the leases were read. They are remembered.
    pub(super) fn dead_among(
        &mut self,
        unknown: BTreeSet<String>,
        members: &[Member],
        now: Instant,
    ) -> BTreeSet<String> {
        let live = self.others(members, now);
        if !self.is_settled(now) {
            return BTreeSet::new();
        }
        let dead: BTreeSet<String> =
            unknown.into_iter().filter(|node| !live.contains(node) && **node != *self.own).collect();
        for node in &dead {
            self.bury(node, now);
        }
        dead
    }

    pub(super) fn standing(&self, node: &str) -> Standing {
        if node == &*self.own || self.nodes.contains_key(node) {
            Standing::Alive
        } else if self.dead.contains_key(node) {
            Standing::Dead
        } else {
            Standing::Unknown
        }
    }

    /// Whether nothing can be left of a dead node.
    pub(super) fn is_quiet(&self, now: Instant) -> bool {
        now >= self.quiet_at
    }

    /// What a node said of itself.
    pub(super) fn description(&self, node: &str) -> Option<&Description> {
        self.nodes.get(node)
    }

    fn is_settled(&self, now: Instant) -> bool {
        self.settled_at.is_some_and(|at| now >= at)
    }

    fn meet(&mut self, members: &[Member], now: Instant) {
        for member in members.iter().filter(|member| *member.node != *self.own) {
            self.dead.remove(&member.node);
            self.nodes.insert(member.node.clone(), Description::read(&member.description));
        }
        let trace = self.trace;
        self.dead.retain(|_, since| now.duration_since(*since) < trace);
    }

    fn bury(&mut self, node: &str, now: Instant) {
        self.nodes.remove(node);
        if self.dead.len() < DEAD_MAX {
            self.dead.insert(node.to_owned(), now);
        }
        self.quiet_at = self.quiet_at.max(now + self.trace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(9);
    const TRACE: Duration = Duration::from_secs(60);

    fn members(nodes: &[&str]) -> Vec<Member> {
        let member = |node: &&str| Member { node: (*node).to_owned(), description: "{}".into() };
        nodes.iter().map(member).collect()
    }

    fn announced(renewed: bool, nodes: &[&str]) -> Announced {
        Announced { renewed, members: members(nodes) }
    }

    fn set(nodes: &[&str]) -> BTreeSet<String> {
        nodes.iter().map(|node| (*node).to_owned()).collect()
    }

    fn view(now: Instant) -> View {
        View::new("me".into(), LEASE, TRACE, now)
    }

    #[test]
    fn a_node_whose_lease_is_gone_while_ours_runs_is_dead_once() {
        let start = Instant::now();
        let mut view = view(start);
        assert_eq!(view.announced(&announced(false, &["a", "b", "me"]), start), [""; 0]);
        let later = start + LEASE;
        assert_eq!(view.announced(&announced(true, &["b", "me"]), later), ["a"]);
        assert_eq!(view.standing("a"), Standing::Dead);
        assert_eq!(view.standing("b"), Standing::Alive);
        assert_eq!(view.standing("c"), Standing::Unknown);
        assert_eq!(view.announced(&announced(true, &["b", "me"]), later), [""; 0]);
        assert_eq!(view.announced(&announced(true, &["a", "b", "me"]), later), [""; 0]);
        assert_eq!(view.standing("a"), Standing::Alive, "it was only away");
    }

    #[test]
    fn where_our_own_lease_ran_out_the_others_are_believed_in_for_a_lease() {
        let start = Instant::now();
        let mut view = view(start);
        view.announced(&announced(false, &["a", "b", "me"]), start);
        let back = start + 10 * LEASE;
        assert_eq!(view.announced(&announced(false, &["me"]), back), [""; 0]);
        assert_eq!(view.others(&members(&["b", "me"]), back), set(&["a", "b"]));
        let soon = back + LEASE / 2;
        assert_eq!(view.announced(&announced(true, &["b", "me"]), soon), [""; 0]);
        assert_eq!(view.announced(&announced(true, &["b", "me"]), back + LEASE), ["a"]);
    }

    #[test]
    fn leases_that_miss_our_own_are_not_trusted() {
        let start = Instant::now();
        let mut view = view(start);
        view.announced(&announced(false, &["a", "me"]), start);
        let later = start + 10 * LEASE;
        assert_eq!(view.others(&members(&["me"]), later), set(&[]), "a's lease is gone, ours runs");
        assert_eq!(view.others(&members(&["b"]), later), set(&["a", "b"]));
        assert_eq!(view.dead_among(set(&["c"]), &members(&["b"]), later), set(&[]));
    }

    #[test]
    fn somebody_unknown_is_dead_only_when_the_leases_can_be_trusted() {
        let start = Instant::now();
        let mut view = view(start);
        view.announced(&announced(false, &["me"]), start);
        assert_eq!(view.dead_among(set(&["a"]), &members(&["me"]), start), set(&[]));
        let later = start + LEASE;
        let unknown = set(&["a", "b", "me"]);
        assert_eq!(view.dead_among(unknown, &members(&["b", "me"]), later), set(&["a"]));
        assert_eq!(view.standing("a"), Standing::Dead);
        assert_eq!(view.standing("b"), Standing::Alive);
    }

    #[test]
    fn it_is_quiet_when_nothing_can_be_left_of_the_dead() {
        let start = Instant::now();
        let mut view = view(start);
        view.announced(&announced(false, &["a", "me"]), start);
        assert!(!view.is_quiet(start + TRACE), "somebody may have died before");
        let quiet = start + TRACE + LEASE;
        assert!(view.is_quiet(quiet));
        view.announced(&announced(true, &["me"]), quiet);
        assert!(!view.is_quiet(quiet));
        assert!(view.is_quiet(quiet + TRACE));
        view.announced(&announced(true, &["me"]), quiet + TRACE);
        assert_eq!(view.standing("a"), Standing::Unknown, "it is forgotten");
    }
}
