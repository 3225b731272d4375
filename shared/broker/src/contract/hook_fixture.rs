//! The fixture of the scenarios of the store of hooks: a node's store, opened, with short ways to make and read what they need.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{ContractNode, Harness};
use crate::hook_store::{
    DeadHook, HookApplied, HookChange, HookDelivered, HookDeliveryState, HookEvent, HookEventDraft,
    HookEventKind, HookNodeEntries, HookQueueHead, HookQueuePlan, HookStore, HookStorePlan, OccupancyKey,
    Partition,
};

/// Partitions of the scenarios' store.
pub(crate) const PARTITIONS: Partition = 4;
/// The partition that most of them use.
pub(crate) const PARTITION: Partition = 3;
/// The endpoints, by their order in the plan.
pub(crate) const FIRST: &str = "first";
pub(crate) const SECOND: &str = "second";

/// A node that has opened its store, and its partition's run.
pub(crate) struct HookNode {
    pub(crate) node: ContractNode,
    pub(crate) name: &'static str,
    pub(crate) run: Arc<str>,
}

pub(crate) fn queue_plan(name: &str) -> HookQueuePlan {
    HookQueuePlan { name: name.into(), max_events: 10_000, max_bytes: 1 << 20, max_dead_letters: 100 }
}

pub(crate) fn plan(harness: &impl Harness) -> HookStorePlan {
    HookStorePlan {
        partitions: PARTITIONS,
        endpoints: vec![queue_plan(FIRST), queue_plan(SECOND)],
        sequence_ttl: 4 * harness.span(),
    }
}

/// Two nodes of a partition that has begun: the same one twice where the medium has room for one.
pub(crate) struct TwoNodes {
    pub(crate) one: HookNode,
    pub(crate) other: Option<HookNode>,
}

impl TwoNodes {
    pub(crate) async fn join(harness: &impl Harness) -> Self {
        let one = HookNode::join(harness, "one").await;
        let other = if harness.max_nodes() > 1 { Some(HookNode::join(harness, "other").await) } else { None };
        Self { one, other }
    }

    /// The store of the other node.
    pub(crate) fn other(&self) -> &HookNode {
        self.other.as_ref().unwrap_or(&self.one)
    }
}

impl HookNode {
    pub(crate) async fn join(harness: &impl Harness, name: &'static str) -> Self {
        Self::join_with(harness, name, plan(harness)).await
    }

    pub(crate) async fn join_with(harness: &impl Harness, name: &'static str, plan: HookStorePlan) -> Self {
        let node = harness.node().await;
        let store = node.broker.hook_store().expect("this broker has a store of hooks");
        assert_eq!(store.open(plan).await.unwrap(), PARTITIONS);
        let run = store.begin(PARTITION, None, draft(HookEventKind::Reset, name)).await.unwrap();
        let node = Self { node, name, run };
        node.forget_queues().await;
        node
    }

    pub(crate) fn store(&self) -> &dyn HookStore {
        self.node.broker.hook_store().unwrap()
    }

    /// Takes what waits, so that a scenario begins with empty queues.
    pub(crate) async fn forget_queues(&self) {
        for endpoint in [FIRST, SECOND] {
            let taken = ids(&self.head(endpoint).await.events);
            self.complete(endpoint, HookDelivered { taken, ..HookDelivered::default() }).await;
        }
    }

    /// Makes changes, which must be made; gives of each if it told its event.
    pub(crate) async fn apply(&self, changes: Vec<HookChange>) -> Vec<bool> {
        match self.store().apply(PARTITION, &self.run, changes).await.unwrap() {
            HookApplied::Done(done) => done,
            HookApplied::OtherRun { run } => panic!("another run: {run:?}"),
        }
    }

    pub(crate) async fn change(&self, change: HookChange) -> bool {
        self.apply(vec![change]).await[0]
    }

    pub(crate) async fn head(&self, endpoint: &str) -> HookQueueHead {
        self.store().head(PARTITION, endpoint, 1000, u64::MAX).await.unwrap()
    }

    pub(crate) async fn events(&self) -> Vec<HookEvent> {
        self.head(FIRST).await.events
    }

    /// The events that wait, in short; they are taken.
    pub(crate) async fn take(&self) -> Vec<String> {
        let events = self.events().await;
        let delivered = HookDelivered { taken: ids(&events), ..HookDelivered::default() };
        self.complete(FIRST, delivered).await;
        events.iter().map(short).collect()
    }

    pub(crate) async fn complete(&self, endpoint: &str, delivered: HookDelivered) {
        self.store().complete(PARTITION, endpoint, delivered).await.unwrap();
    }

    pub(crate) async fn dead_letters(&self) -> Vec<DeadHook> {
        self.store().dead_letters(PARTITION, FIRST, "", 1000).await.unwrap()
    }

    /// All that a node has, read in pages of `limit`.
    pub(crate) async fn entries_of(&self, node: &str, limit: u32) -> HookNodeEntries {
        let (mut all, mut cursor) = (HookNodeEntries::default(), String::new());
        loop {
            let page = self.store().entries(PARTITION, node, &cursor, limit).await.unwrap();
            assert!(page.sessions.len() + page.occupancies.len() <= limit as usize);
            all.sessions.extend(page.sessions);
            all.occupancies.extend(page.occupancies);
            match page.cursor {
                Some(next) => cursor = next,
                None => return all,
            }
        }
    }

    pub(crate) async fn due(&self) -> Vec<OccupancyKey> {
        self.store().due(PARTITION, 1000).await.unwrap().keys
    }

    pub(crate) fn connect(&self, client: &str, user: &str) -> HookChange {
        HookChange::Connect { event: self.session_event(HookEventKind::Connected, client, user) }
    }

    pub(crate) fn disconnect(&self, client: &str, user: &str) -> HookChange {
        let event = self.session_event(HookEventKind::Disconnected, client, user);
        HookChange::Disconnect { event, keep_sequence: false }
    }

    /// As another node tells it, which believes this one dead.
    pub(crate) fn lose(&self, client: &str, user: &str) -> HookChange {
        let event = self.session_event(HookEventKind::Disconnected, client, user);
        HookChange::Disconnect { event, keep_sequence: true }
    }

    pub(crate) fn note(&self, client: &str, user: &str, channel: &str) -> HookChange {
        let event = self.session_event(HookEventKind::Subscribed, client, user);
        HookChange::Note { event: HookEventDraft { channel: channel.into(), ..event } }
    }

    pub(crate) fn enter(&self, key: &OccupancyKey) -> HookChange {
        HookChange::Enter { key: key.clone(), event: self.key_event(key, true) }
    }

    pub(crate) fn leave(&self, key: &OccupancyKey, grace: Duration) -> HookChange {
        HookChange::Leave { key: key.clone(), grace, event: self.key_event(key, false) }
    }

    pub(crate) fn end_due(&self, key: &OccupancyKey) -> HookChange {
        HookChange::EndDue { key: key.clone(), event: self.key_event(key, false) }
    }

    pub(crate) fn append(&self, text: &str) -> HookChange {
        let details = Bytes::from(format!("\"data\":\"{text}\""));
        let event = HookEventDraft { details, ..draft(HookEventKind::Publication, self.name) };
        HookChange::Append { event: HookEventDraft { channel: text.into(), ..event } }
    }

    fn session_event(&self, kind: HookEventKind, client: &str, user: &str) -> HookEventDraft {
        HookEventDraft { client: client.into(), user: user.into(), ..draft(kind, self.name) }
    }

    fn key_event(&self, key: &OccupancyKey, is_begin: bool) -> HookEventDraft {
        let kind = match (&key.user, is_begin) {
            (None, true) => HookEventKind::Occupied,
            (None, false) => HookEventKind::Vacated,
            (Some(_), true) => HookEventKind::MemberAdded,
            (Some(_), false) => HookEventKind::MemberRemoved,
        };
        let user = key.user.clone().unwrap_or_default();
        HookEventDraft { channel: key.channel.clone(), user, ..draft(kind, self.name) }
    }
}

/// An event for the first endpoint.
pub(crate) fn draft(kind: HookEventKind, node: &str) -> HookEventDraft {
    HookEventDraft {
        kind,
        time_ms: 7,
        node: node.into(),
        client: Arc::default(),
        user: Arc::default(),
        channel: Arc::default(),
        details: Bytes::new(),
        meta: Bytes::new(),
        endpoints: Arc::from([0]),
    }
}

pub(crate) fn channel(name: &str) -> OccupancyKey {
    OccupancyKey { channel: name.into(), user: None }
}

pub(crate) fn member(name: &str, user: &str) -> OccupancyKey {
    OccupancyKey { channel: name.into(), user: Some(user.into()) }
}

pub(crate) fn ids(events: &[HookEvent]) -> Vec<String> {
    events.iter().map(|event| event.id.clone()).collect()
}

pub(crate) fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// Kind and subject; of a session's event its number and the user's sessions.
pub(crate) fn short(event: &HookEvent) -> String {
    let draft = &event.draft;
    let subject = [&draft.client, &draft.channel, &draft.user];
    let subject: Vec<&str> =
        subject.into_iter().map(|text| &**text).filter(|text| !text.is_empty()).collect();
    let numbers = if event.sequence > 0 {
        format!(" {} {}", event.sequence, event.user_sessions)
    } else {
        String::new()
    };
    format!("{:?} {}{numbers}", draft.kind, subject.join(" ")).trim_end().to_owned()
}

/// The outcome of a delivery that failed.
pub(crate) fn failed(tries: u32, next_ms: u64, suspect: &str) -> HookDelivered {
    let state = HookDeliveryState { tries, next_ms, suspect: suspect.to_owned(), is_paused: false };
    HookDelivered { state, ..HookDelivered::default() }
}
