//! The store of hooks: who is connected, which channels are occupied and who is a member of them, in the whole cluster, and the events that
//! tell a backend of each change. One atomic step changes the store and appends the events: no event without a change, no change
//! without its event.
//!
//! The store has partitions, each with an order of its own: a session is in that of its user (an anonymous one in that of its
//! client), a channel and its members in that of the channel. For each endpoint of the backend a partition has a queue, from
//! whose head one node delivers.

mod event;
mod queue;

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;

pub use self::event::{HookEventDraft, HookEventKind};
pub use self::queue::{DeadHook, HookDelivered, HookDeliveryState, HookEvent, HookQueueHead};
use crate::BrokerError;

/// Changes of one call of [`HookStore::apply`], at most.
pub const MAX_CHANGES: usize = 100;

/// Events of one call of [`HookStore::complete`], and dead letters of one of [`HookStore::take_dead_letters`], at most.
pub const MAX_TAKEN: usize = 1000;

/// Why calls before [`HookStore::open`] are refused.
pub(crate) const NOT_OPEN: &str = "the store of hooks is not open";
/// Why a call for a partition beyond the last is refused.
pub(crate) const NO_PARTITION: &str = "partitions of the store of hooks";
/// Why a call is refused that needs the plan of an endpoint and names one that is not in the plan.
pub(crate) const NO_ENDPOINT: &str = "endpoints of the store of hooks";

/// The number of a partition, below [`HookStorePlan::partitions`].
pub type Partition = u16;

/// The settings of a store of hooks, the same on all nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookStorePlan {
    /// Number of partitions. The medium keeps the number that it was first opened with.
    pub partitions: Partition,
    /// The queues.
    pub endpoints: Vec<HookQueuePlan>,
    /// Time for which the last number of a session is kept that ended and may come back.
    pub sequence_ttl: Duration,
}

/// The queue of one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookQueuePlan {
    /// The endpoint's name.
    pub name: Arc<str>,
    /// Events of one partition that may wait; over it the oldest go, and are counted.
    pub max_events: u64,
    /// Bytes of one partition that may wait, by [`HookEventDraft::content_bytes`]; a store may count a few bytes of framing with
    /// each event. Its dead letters may take as many again.
    pub max_bytes: u64,
    /// Dead letters of one partition that are kept; over it, or over their bytes, the oldest events go, and are counted.
    pub max_dead_letters: u64,
}

/// An entry whose first and last node are told: a channel, or a user in a channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OccupancyKey {
    /// The channel.
    pub channel: Arc<str>,
    /// The user; `None`: the entry is the channel itself.
    pub user: Option<Arc<str>>,
}

/// A change of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookChange {
    /// A session is there; tells `event` unless it was there already. The event names node, client and user.
    Connect {
        /// `Connected`.
        event: HookEventDraft,
    },
    /// A session of this node is gone; tells `event` if it was there under the node of the event.
    Disconnect {
        /// `Disconnected`.
        event: HookEventDraft,
        /// True if it may come back, since its node may only be paused: its last number is kept for
        /// [`HookStorePlan::sequence_ttl`]. Client ids do not come again, so the end that its own node tells needs none.
        keep_sequence: bool,
    },
    /// Something happened to a session; tells `event` if it is there.
    Note {
        /// `Subscribed` or `Unsubscribed`.
        event: HookEventDraft,
    },
    /// The node of the event has the key; tells `event` if no node had, unless its end was not told yet.
    Enter {
        /// The key.
        key: OccupancyKey,
        /// `Occupied` or `MemberAdded`.
        event: HookEventDraft,
    },
    /// The node of the event no longer has the key. If no other has, tells `event`, or keeps its end as due after `grace`.
    Leave {
        /// The key.
        key: OccupancyKey,
        /// Time in which a return keeps the end from being told; zero: it is told at once.
        grace: Duration,
        /// `Vacated` or `MemberRemoved`.
        event: HookEventDraft,
    },
    /// The end of a key is due: tells `event` if its time is over and no node has it again.
    EndDue {
        /// The key.
        key: OccupancyKey,
        /// `Vacated` or `MemberRemoved`.
        event: HookEventDraft,
    },
    /// Tells `event`, and changes nothing.
    Append {
        /// `Publication`, `Reset`, …
        event: HookEventDraft,
    },
}

impl HookChange {
    /// The event that it may tell.
    pub fn event(&self) -> &HookEventDraft {
        match self {
            Self::Connect { event }
            | Self::Disconnect { event, .. }
            | Self::Note { event }
            | Self::Enter { event, .. }
            | Self::Leave { event, .. }
            | Self::EndDue { event, .. }
            | Self::Append { event } => event,
        }
    }
}

/// The answer to [`HookStore::apply`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookApplied {
    /// All changes were made, in their order. Of each: true if it told its event, or would have if that had an endpoint.
    Done(Vec<bool>),
    /// The partition is not that of `run`: its medium lost it or it was begun anew. Nothing was changed.
    OtherRun {
        /// The run of the partition now; `None`: it has none, and [`HookStore::begin`] gives it one.
        run: Option<Arc<str>>,
    },
}

/// A page of what a node has in a partition, as the store knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HookNodeEntries {
    /// Its sessions: client and user.
    pub sessions: Vec<(Arc<str>, Arc<str>)>,
    /// Its occupancies.
    pub occupancies: Vec<OccupancyKey>,
    /// The start of the next page; `None`: this is the last one.
    pub cursor: Option<String>,
}

/// The answer to [`HookStore::due`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HooksDue {
    /// Keys whose end is due, the earliest first.
    pub keys: Vec<OccupancyKey>,
    /// The run of the partition, if it has one.
    pub run: Option<Arc<str>>,
}

/// The store of hooks of a broker.
///
/// # Order
/// Changes of one partition take effect in the order of the calls of a node; events lie in a queue in the order of the changes.
///
/// # Time
/// It is the store's: that of the medium, in Unix milliseconds, the same for all nodes.
///
/// # Faults
/// As with [`crate::Broker`]. After [`BrokerError::UnknownOutcome`] a call of [`HookStore::apply`] may have been carried out:
/// repeating `Connect`, `Disconnect`, `Enter`, `Leave` and `EndDue` tells nothing twice; `Note` and `Append` may.
pub trait HookStore: Send + Sync + 'static {
    /// Opens the store, at the start; again, with a new plan of its endpoints. Gives the number of partitions that the medium was first opened with: if it is another
    /// than the plan's, the store is not open.
    fn open(&self, plan: HookStorePlan) -> BoxFuture<'static, Result<Partition, BrokerError>>;

    /// Begins a partition anew, unless it has another run than `previous` by now (`None`: it had none): nothing is in it but
    /// `event`, a `Reset`, at the end of the queue of each endpoint of the plan, whatever endpoints it names. Events that wait
    /// stay, dead letters too. Gives the run that it has then.
    fn begin(
        &self,
        partition: Partition,
        previous: Option<&str>,
        event: HookEventDraft,
    ) -> BoxFuture<'static, Result<Arc<str>, BrokerError>>;

    /// Makes changes, [`MAX_CHANGES`] at most, in one atomic step. More, or a node, client or channel with a NUL in it, is
    /// [`BrokerError::Limit`].
    fn apply(
        &self,
        partition: Partition,
        run: &str,
        changes: Vec<HookChange>,
    ) -> BoxFuture<'static, Result<HookApplied, BrokerError>>;

    /// The entries of a node in a partition, `limit` entries at most from `cursor` on ([`HookNodeEntries::cursor`]; empty: the first
    /// page). Over all pages an entry that stays is given exactly once, whatever comes and goes meanwhile. A cursor that is not
    /// this store's is [`BrokerError::BadCursor`].
    fn entries(
        &self,
        partition: Partition,
        node: &str,
        cursor: &str,
        limit: u32,
    ) -> BoxFuture<'static, Result<HookNodeEntries, BrokerError>>;

    /// Nodes that have anything in a partition.
    fn nodes(&self, partition: Partition) -> BoxFuture<'static, Result<Vec<String>, BrokerError>>;

    /// Keys whose end is due, the earliest first, `limit` at most, and the run of the partition.
    fn due(&self, partition: Partition, limit: u32) -> BoxFuture<'static, Result<HooksDue, BrokerError>>;

    /// The head of a queue: `max_events` at most, and `max_bytes` of them, but one in any case.
    fn head(
        &self,
        partition: Partition,
        endpoint: &str,
        max_events: u32,
        max_bytes: u64,
    ) -> BoxFuture<'static, Result<HookQueueHead, BrokerError>>;

    /// Notes what came of a delivery, in one atomic step. May be repeated. Ids of events that are not in the queue are no error; more
    /// than [`MAX_TAKEN`] are [`BrokerError::Limit`].
    fn complete(
        &self,
        partition: Partition,
        endpoint: &str,
        delivered: HookDelivered,
    ) -> BoxFuture<'static, Result<(), BrokerError>>;

    /// Dead letters of an endpoint in a partition, in the order of their events, after the event `after` (empty: from the oldest),
    /// `limit` at most.
    fn dead_letters(
        &self,
        partition: Partition,
        endpoint: &str,
        after: &str,
        limit: u32,
    ) -> BoxFuture<'static, Result<Vec<DeadHook>, BrokerError>>;

    /// Takes dead letters out; `replay`: they go to the end of the queue in the order of `ids`, with the same ids, marked as
    /// replayed. Gives how many there were. More ids than [`MAX_TAKEN`] are [`BrokerError::Limit`].
    fn take_dead_letters(
        &self,
        partition: Partition,
        endpoint: &str,
        ids: &[String],
        replay: bool,
    ) -> BoxFuture<'static, Result<u64, BrokerError>>;

    /// Deletes the queues and dead letters of endpoints that have been in no plan for `kept`, and gives their names. An endpoint of
    /// the plan of this call counts as seen now.
    fn forget_endpoints(
        &self,
        partition: Partition,
        kept: Duration,
    ) -> BoxFuture<'static, Result<Vec<String>, BrokerError>>;
}
