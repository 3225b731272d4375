//! The store of hooks: random changes of several nodes, made at the same time. What a receiver gathers from the events must be the
//! state, with no hole in the numbers of a session, and beginnings and ends of a key in turns.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::{
    Harness,
    hook_fixture::{FIRST, HookNode, PARTITION, channel, draft, ids, member, plan},
};
use crate::hook_store::{
    HookApplied, HookChange, HookDelivered, HookEvent, HookEventKind, HookStorePlan, OccupancyKey,
};

/// Nodes that own sessions and keys, whatever number of stores the medium has.
const OWNERS: [&str; 3] = ["n0", "n1", "n2"];
/// Clients of each owner.
const CLIENTS: usize = 4;
/// Their users; the first is none.
const USERS: [&str; 3] = ["", "joe", "ann"];
const CHANNELS: [&str; 2] = ["news", "sport"];
/// Far longer than a run takes.
const LONG: Duration = Duration::from_secs(3600);

/// Something that an owner does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RandomChange {
    Connect(usize),
    Lose(usize),
    Note(usize),
    Enter(usize),
    Leave(usize, bool),
    Append,
}

/// Changes of each owner that are made at the same time, and what follows.
#[derive(Debug, Clone)]
pub(crate) struct Round {
    pub(crate) changes: [Vec<RandomChange>; OWNERS.len()],
    /// So many events are taken.
    pub(crate) taken: usize,
    /// Each owner begins the partition anew.
    pub(crate) begins: bool,
}

/// Keys: the channels, and each user in each of them.
pub(crate) fn keys() -> Vec<OccupancyKey> {
    let members = CHANNELS.iter().flat_map(|name| USERS.iter().map(|user| member(name, user)));
    CHANNELS.iter().map(|name| channel(name)).chain(members).collect()
}

pub(crate) const fn clients() -> usize {
    CLIENTS
}

/// The state of the partition as a receiver folds it from the events.
#[derive(Debug, Default, PartialEq, Eq)]
struct Folded {
    sessions: BTreeMap<Arc<str>, Arc<str>>,
    sequences: BTreeMap<Arc<str>, u64>,
    keys: BTreeSet<OccupancyKey>,
}

impl Folded {
    fn follow(&mut self, event: &HookEvent) {
        let (client, user) = (&event.draft.client, &event.draft.user);
        let key = |user| OccupancyKey { channel: Arc::clone(&event.draft.channel), user };
        match event.draft.kind {
            HookEventKind::Connected => {
                assert!(self.sessions.insert(Arc::clone(client), Arc::clone(user)).is_none(), "{event:?}");
            }
            HookEventKind::Disconnected => {
                assert!(self.sessions.remove(client).is_some(), "{event:?}");
            }
            HookEventKind::Subscribed => assert!(self.sessions.contains_key(client), "{event:?}"),
            HookEventKind::Occupied => assert!(self.keys.insert(key(None)), "{event:?}"),
            HookEventKind::Vacated => assert!(self.keys.remove(&key(None)), "{event:?}"),
            HookEventKind::MemberAdded => assert!(self.keys.insert(key(Some(Arc::clone(user)))), "{event:?}"),
            HookEventKind::MemberRemoved => {
                assert!(self.keys.remove(&key(Some(Arc::clone(user)))), "{event:?}");
            }
            HookEventKind::Reset => *self = Self::default(),
            _ => {}
        }
        if event.sequence > 0 {
            let last = self.sequences.entry(Arc::clone(client)).or_default();
            assert_eq!(event.sequence, *last + 1, "{event:?}");
            *last += 1;
            let of_user = self.sessions.values().filter(|other| !other.is_empty() && *other == user).count();
            assert_eq!(event.user_sessions, of_user as u64, "{event:?}");
        }
    }
}

/// The state as the owners made it.
#[derive(Debug, Default)]
struct Truth {
    sessions: BTreeMap<Arc<str>, Arc<str>>,
    nodes: BTreeMap<OccupancyKey, BTreeSet<&'static str>>,
}

/// An owner's client and its user.
fn session(owner: usize, client: usize) -> (String, &'static str) {
    (format!("{}c{client}", OWNERS[owner]), USERS[client % USERS.len()])
}

impl Truth {
    /// Makes the change here too, as one of an owner whose own entries nobody else touches.
    fn follow(&mut self, owner: usize, change: RandomChange) {
        match change {
            RandomChange::Connect(client) => {
                let (client, user) = session(owner, client);
                self.sessions.insert(client.into(), user.into());
            }
            RandomChange::Lose(client) => {
                self.sessions.remove(session(owner, client).0.as_str());
            }
            RandomChange::Enter(key) => {
                let key = keys().swap_remove(key);
                self.nodes.entry(key).or_default().insert(OWNERS[owner]);
            }
            RandomChange::Leave(key, _) => {
                let key = keys().swap_remove(key);
                if let Some(nodes) = self.nodes.get_mut(&key) {
                    nodes.remove(OWNERS[owner]);
                }
            }
            RandomChange::Note(_) | RandomChange::Append => {}
        }
    }
}

/// The change for the store, under the owner's name.
fn change(node: &HookNode, owner: usize, change: RandomChange) -> HookChange {
    let named = |client| session(owner, client);
    let mut change = match change {
        RandomChange::Connect(client) => node.connect(&named(client).0, named(client).1),
        RandomChange::Lose(client) => node.lose(&named(client).0, named(client).1),
        RandomChange::Note(client) => node.note(&named(client).0, named(client).1, "x"),
        RandomChange::Enter(key) => node.enter(&keys()[key]),
        RandomChange::Leave(key, has_grace) => {
            node.leave(&keys()[key], if has_grace { LONG } else { Duration::ZERO })
        }
        RandomChange::Append => node.append("x"),
    };
    let (HookChange::Connect { event }
    | HookChange::Disconnect { event, .. }
    | HookChange::Note { event }
    | HookChange::Enter { event, .. }
    | HookChange::Leave { event, .. }
    | HookChange::EndDue { event, .. }
    | HookChange::Append { event }) = &mut change;
    event.node = OWNERS[owner].into();
    change
}

/// Makes the rounds and checks all events, and the state at the end. The partition begins anew before.
pub(crate) async fn check_rounds(nodes: &[HookNode], rounds: &[Round]) {
    let reset = || draft(HookEventKind::Reset, "x");
    let first = &nodes[0];
    let mut run = first.store().begin(PARTITION, None, reset()).await.unwrap();
    run = first.store().begin(PARTITION, Some(&run), reset()).await.unwrap();
    let (mut truth, mut folded) = (Truth::default(), Folded::default());
    for round in rounds {
        let calls = round.changes.iter().enumerate().map(|(owner, changes)| {
            let node = &nodes[owner % nodes.len()];
            let changes = changes.iter().map(|each| change(node, owner, *each)).collect();
            node.store().apply(PARTITION, &run, changes)
        });
        for answer in join_all(calls).await {
            assert!(matches!(answer.unwrap(), HookApplied::Done(_)));
        }
        for (owner, changes) in round.changes.iter().enumerate() {
            changes.iter().for_each(|change| truth.follow(owner, *change));
        }
        take(first, round.taken, &mut folded).await;
        if round.begins {
            let begun = nodes.iter().map(|node| node.store().begin(PARTITION, Some(&run), reset()));
            let runs: Vec<Arc<str>> = join_all(begun).await.into_iter().map(Result::unwrap).collect();
            assert!(runs.iter().all(|other| *other == runs[0] && *other != run));
            run = Arc::clone(&runs[0]);
            truth = Truth::default();
        }
    }
    take(first, usize::MAX, &mut folded).await;
    assert_eq!(folded.sessions, truth.sessions);
    check_keys(first, &truth, &folded).await;
}

/// Takes events from the head and follows them.
async fn take(node: &HookNode, count: usize, folded: &mut Folded) {
    let mut events = node.events().await;
    events.truncate(count);
    events.iter().for_each(|event| folded.follow(event));
    node.complete(FIRST, HookDelivered { taken: ids(&events), ..HookDelivered::default() }).await;
}

/// Each owner has in the store what it made. A key that someone has was told; one that nobody has may have a grace.
async fn check_keys(node: &HookNode, truth: &Truth, folded: &Folded) {
    let mut present = BTreeSet::new();
    for owner in OWNERS {
        let has = node.entries_of(owner, 3).await;
        let sessions = truth.sessions.iter().filter(|(client, _)| client.starts_with(owner));
        let sessions: BTreeMap<_, _> =
            sessions.map(|(one, two)| (Arc::clone(one), Arc::clone(two))).collect();
        assert_eq!(has.sessions.into_iter().collect::<BTreeMap<_, _>>(), sessions);
        let owned = truth.nodes.iter().filter(|(_, nodes)| nodes.contains(owner));
        let owned: BTreeSet<OccupancyKey> = owned.map(|(key, _)| key.clone()).collect();
        assert_eq!(has.occupancies.into_iter().collect::<BTreeSet<_>>(), owned);
        present.extend(owned);
    }
    assert!(folded.keys.is_superset(&present), "{present:?} {:?}", folded.keys);
    // Those that are told and that nobody has wait for their end: an entry of theirs is told by nothing.
    for key in folded.keys.difference(&present) {
        assert!(!node_enters(node, key).await, "{key:?}");
    }
    for key in keys().into_iter().filter(|key| !folded.keys.contains(key)) {
        assert!(node_enters(node, &key).await, "{key:?}");
    }
}

async fn node_enters(node: &HookNode, key: &OccupancyKey) -> bool {
    let run = node.store().due(PARTITION, 0).await.unwrap().run.unwrap();
    match node.store().apply(PARTITION, &run, vec![node.enter(key)]).await.unwrap() {
        HookApplied::Done(done) => done[0],
        HookApplied::OtherRun { .. } => panic!("the run ended"),
    }
}

fn random_change(random: &mut StdRng) -> RandomChange {
    let (client, key) = (random.random_range(0..CLIENTS), random.random_range(0..keys().len()));
    match random.random_range(0..10) {
        0 | 1 => RandomChange::Connect(client),
        2 => RandomChange::Lose(client),
        3 => RandomChange::Note(client),
        4..7 => RandomChange::Enter(key),
        7 | 8 => RandomChange::Leave(key, random.random_bool(0.4)),
        _ => RandomChange::Append,
    }
}

fn random_round(random: &mut StdRng) -> Round {
    let changes = [0, 1, 2].map(|_| {
        let count = random.random_range(0..9);
        (0..count).map(|_| random_change(random)).collect()
    });
    Round { changes, taken: random.random_range(0..30), begins: random.random_bool(0.05) }
}

pub async fn random_changes_of_several_nodes_fold_to_the_state(harness: &impl Harness) {
    let plan = HookStorePlan { sequence_ttl: LONG, ..plan(harness) };
    let mut nodes = Vec::new();
    for name in OWNERS.iter().take(harness.max_nodes()) {
        nodes.push(HookNode::join_with(harness, name, plan.clone()).await);
    }
    for seed in 0..12 {
        let mut random = StdRng::seed_from_u64(seed);
        let rounds: Vec<Round> = (0..30).map(|_| random_round(&mut random)).collect();
        check_rounds(&nodes, &rounds).await;
    }
}
