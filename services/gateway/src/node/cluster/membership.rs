//! The members that this node knows to be alive, and what each says of itself. `docs/architecture.md` §5.7.
//!
//! A pure table: leases in, deaths out. A node is dead when its lease is gone while ours was running all the time. Where
//! our own lease ran out, or the broker lost its data, the leases of others may be missing although they live: then, for
//! the time of a lease, those who were known are believed in.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use gorani_broker::{Announced, Member};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// The changes that an announcement brought to light.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MembershipChange {
    /// Our own lease had ended in between.
    pub(super) lapsed: bool,
    /// The nodes that died.
    pub(super) died: Vec<String>,
}

/// A node's view of the other members, by their leases.
#[derive(Debug)]
pub(super) struct MembershipView {
    own: Arc<str>,
    lease: Duration,
    /// Time for which the entries of a dead node last.
    trace: Duration,
    /// The nodes, each with its description.
    nodes: BTreeMap<String, Bytes>,
    /// The members of the last announcement: where they are the same there is nothing to look at, however many they are.
    last: Arc<[Member]>,
    /// The time of the last renewal of the lease, as far as is known; `None` until the first announcement.
    renewed_at: Option<Instant>,
    /// The time from which on a missing lease is a death; `None` until the first announcement.
    settled_at: Option<Instant>,
    /// The time from which on nothing is left of known dead nodes, and of those that died before this node began.
    quiet_at: Instant,
}

impl MembershipView {
    pub(super) fn new(own: Arc<str>, lease: Duration, trace: Duration, now: Instant) -> Self {
        Self {
            own,
            lease,
            trace,
            nodes: BTreeMap::new(),
            last: Arc::default(),
            renewed_at: None,
            settled_at: None,
            quiet_at: now + trace + lease,
        }
    }

    /// Takes the answer to an announcement in, which was sent at `sent`.
    pub(super) fn announced(
        &mut self,
        announced: &Announced,
        sent: Instant,
        now: Instant,
    ) -> MembershipChange {
        // An announcement whose answer was lost may have renewed a lease that had ended: then this one found it running.
        let before = self.renewed_at.replace(sent);
        let in_time = before.is_some_and(|before| now.duration_since(before) < self.lease);
        let lapsed = !(announced.renewed && in_time);
        if lapsed {
            self.settled_at = Some(now + self.lease);
        }
        if !Arc::ptr_eq(&self.last, &announced.members) {
            self.observe(&announced.members);
            self.last = Arc::clone(&announced.members);
        }
        let mut died = Vec::new();
        // All members are known by now: who else is known is not among them.
        let others = announced.members.iter().filter(|member| *member.node != *self.own).count();
        if self.is_complete(now) && self.nodes.len() > others {
            let live: BTreeSet<&str> = announced.members.iter().map(|member| member.node.as_str()).collect();
            died.extend(self.nodes.keys().filter(|node| !live.contains(node.as_str())).cloned());
        }
        for node in &died {
            self.nodes.remove(node);
            self.note_death(now);
        }
        MembershipChange { lapsed: lapsed && before.is_some(), died }
    }

    /// Takes in the nodes whose lease is running, and returns all that count as members: them, and while the leases cannot be
    /// trusted, those that were known. Without this node.
    pub(super) fn others(&mut self, members: &[Member], now: Instant) -> BTreeSet<String> {
        if !members.iter().any(|member| *member.node == *self.own) {
            // Our own lease is gone, so those of others may be gone for the same reason.
            self.settled_at = Some(now + self.lease);
        }
        self.observe(members);
        let believed = self.nodes.keys().filter(|_| !self.is_complete(now)).cloned();
        let live = members.iter().map(|member| member.node.clone());
        live.chain(believed).filter(|node| **node != *self.own).collect()
    }

    /// The dead ones among nodes that were not known, now that the leases were read.
    pub(super) fn dead_among(
        &mut self,
        unknown: BTreeSet<String>,
        members: &[Member],
        now: Instant,
    ) -> BTreeSet<String> {
        let live = self.others(members, now);
        if !self.is_complete(now) {
            return BTreeSet::new();
        }
        let is_dead = |node: &String| !live.contains(node) && **node != *self.own;
        let dead: BTreeSet<String> = unknown.into_iter().filter(is_dead).collect();
        if !dead.is_empty() {
            self.note_death(now);
        }
        dead
    }

    /// True if this node is alive, as far as is known.
    pub(super) fn knows(&self, node: &str) -> bool {
        node == &*self.own || self.nodes.contains_key(node)
    }

    /// Ids of the others that are alive, as far as is known.
    pub(super) fn known(&self) -> impl Iterator<Item = &String> {
        self.nodes.keys()
    }

    /// True if nothing can be left of a dead node.
    pub(super) fn is_quiet(&self, now: Instant) -> bool {
        now >= self.quiet_at
    }

    /// The description of a node.
    pub(super) fn description(&self, node: &str) -> Option<NodeDescription> {
        self.nodes.get(node).map(|description| NodeDescription::read(description))
    }

    /// True if a missing lease is a death.
    pub(super) fn is_complete(&self, now: Instant) -> bool {
        self.settled_at.is_some_and(|at| now >= at)
    }

    fn observe(&mut self, members: &[Member]) {
        for member in members.iter().filter(|member| *member.node != *self.own) {
            match self.nodes.get_mut(&member.node) {
                Some(description) => description.clone_from(&member.description),
                None => drop(self.nodes.insert(member.node.clone(), member.description.clone())),
            }
        }
    }

    fn note_death(&mut self, now: Instant) {
        self.quiet_at = self.quiet_at.max(now + self.trace);
    }
}

/// Numbers of a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeCounts {
    /// Clients that are connected.
    pub clients: usize,
    /// Distinct users among them.
    pub users: usize,
    /// Channels with subscribers.
    pub channels: usize,
    /// Subscriptions of all clients.
    pub subscriptions: usize,
}

/// A node's description of itself, which it announces with its lease: a small JSON object. The node's id is beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct NodeDescription {
    /// The node's name; empty from older nodes.
    pub(super) name: String,
    /// Version of the server.
    pub(super) version: String,
    /// Seconds since the start.
    pub(super) uptime_s: u64,
    /// Its numbers, some seconds old.
    pub(super) counts: NodeCounts,
    /// The address where other nodes reach it: `host:port`; empty if it does not know.
    pub(super) address: String,
    /// The kinds of requests that it understands: see [`super::envelope::KINDS`]; 0 if it lists none.
    pub(super) understands: u64,
    /// Fingerprints of settings that must be equal on all nodes, by section; none from older nodes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) settings: BTreeMap<String, String>,
}

impl NodeDescription {
    pub(super) fn write(&self) -> Bytes {
        // A struct of numbers and a text has no reason to fail; without a description the lease counts all the same.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// One that cannot be read says nothing.
    pub(super) fn read(description: &[u8]) -> Self {
        serde_json::from_slice(description).unwrap_or_default()
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

    fn set(nodes: &[&str]) -> BTreeSet<String> {
        nodes.iter().map(|node| (*node).to_owned()).collect()
    }

    fn nothing() -> MembershipChange {
        MembershipChange { lapsed: false, died: Vec::new() }
    }

    fn died(node: &str) -> MembershipChange {
        MembershipChange { died: vec![node.to_owned()], ..nothing() }
    }

    impl MembershipView {
        fn change(&mut self, renewed: bool, nodes: &[&str], now: Instant) -> MembershipChange {
            self.announced(&Announced { renewed, members: members(nodes).into() }, now, now)
        }
    }

    fn new(now: Instant) -> MembershipView {
        MembershipView::new("me".into(), LEASE, TRACE, now)
    }

    /// A view that has been renewing its lease until `now`, with these others.
    fn settled(nodes: &[&str], now: Instant) -> MembershipView {
        let start = now - 2 * LEASE;
        let mut view = new(start);
        assert_eq!(view.change(false, nodes, start), nothing());
        for step in 1..=8 {
            assert_eq!(view.change(true, nodes, start + LEASE * step / 4), nothing());
        }
        view
    }

    #[test]
    fn a_node_whose_lease_is_gone_while_ours_runs_is_dead_once() {
        let now = Instant::now();
        let mut view = settled(&["a", "b", "me"], now);
        assert_eq!(view.change(true, &["b", "me"], now), died("a"));
        assert_eq!([view.knows("a"), view.knows("b"), view.knows("me")], [false, true, true]);
        assert_eq!(view.change(true, &["b", "me"], now), nothing());
        assert_eq!(view.change(true, &["a", "b", "me"], now), nothing());
        assert!(view.knows("a"), "it was only away");
    }

    #[test]
    fn where_our_own_lease_ran_out_the_others_are_believed_in_for_a_lease() {
        let now = Instant::now();
        // The second: an announcement without an answer renewed it, so that the next one found it running.
        for (renewed, back) in [(false, now + LEASE / 2), (true, now + LEASE)] {
            let mut view = settled(&["a", "b", "me"], now);
            assert_eq!(
                view.change(renewed, &["b", "me"], back),
                MembershipChange { lapsed: true, ..nothing() }
            );
            assert_eq!(view.others(&members(&["b", "me"]), back), set(&["a", "b"]));
            assert_eq!(view.change(true, &["b", "me"], back + LEASE / 2), nothing());
            assert_eq!(view.change(true, &["b", "me"], back + LEASE), died("a"));
        }
    }

    #[test]
    fn leases_that_miss_our_own_are_not_trusted() {
        let now = Instant::now();
        let mut view = settled(&["a", "me"], now);
        assert_eq!(view.others(&members(&["me"]), now), set(&[]), "a's lease is gone, ours runs");
        assert_eq!(view.others(&members(&["b"]), now), set(&["a", "b"]));
        assert_eq!(view.dead_among(set(&["c"]), &members(&["b"]), now), set(&[]));
    }

    #[test]
    fn somebody_unknown_is_dead_only_when_the_leases_can_be_trusted() {
        let now = Instant::now();
        let mut view = new(now);
        view.change(false, &["me"], now);
        assert_eq!(view.dead_among(set(&["a"]), &members(&["me"]), now), set(&[]));
        let unknown = set(&["a", "b", "me"]);
        assert_eq!(view.dead_among(unknown, &members(&["b", "me"]), now + LEASE), set(&["a"]));
        assert_eq!([view.knows("a"), view.knows("b")], [false, true]);
    }

    #[test]
    fn it_is_quiet_when_nothing_can_be_left_of_the_dead() {
        let start = Instant::now();
        let view = new(start);
        assert!(!view.is_quiet(start + TRACE), "somebody may have died before");
        let quiet = start + TRACE + LEASE;
        assert!(view.is_quiet(quiet));
        let mut view = settled(&["a", "me"], quiet);
        view.change(true, &["me"], quiet);
        assert!(!view.is_quiet(quiet));
        assert!(view.is_quiet(quiet + TRACE));
    }

    #[test]
    fn a_description_survives_the_trip_and_one_of_another_version_is_read_as_far_as_it_goes() {
        let (version, address) = ("1.2.3".to_owned(), "10.0.0.1:8000".to_owned());
        let description =
            NodeDescription { version, uptime_s: 7, address, understands: 5, ..NodeDescription::default() };
        assert_eq!(NodeDescription::read(&description.write()), description);
        let other = NodeDescription::read(br#"{"version":"9","mood":"good"}"#);
        assert_eq!(other, NodeDescription { version: "9".to_owned(), ..NodeDescription::default() });
        assert_eq!(NodeDescription::read(b"?"), NodeDescription::default());
    }

    /// As a node of the version before fingerprints has written it; it is never changed.
    #[test]
    fn a_golden_lease_of_a_released_version_is_read() {
        let lease = br#"{"name":"n1","version":"0.1.0","uptime_s":7,"counts":{"clients":3,"users":2,"channels":1,"subscriptions":4},"address":"10.0.0.1:8000","understands":511}"#;
        let read = NodeDescription::read(lease);
        assert_eq!((read.name.as_str(), read.version.as_str(), read.uptime_s), ("n1", "0.1.0", 7));
        assert_eq!((read.counts.clients, read.counts.subscriptions, read.understands), (3, 4, 511));
        assert_eq!((read.address.as_str(), read.settings.len()), ("10.0.0.1:8000", 0));
    }
}
