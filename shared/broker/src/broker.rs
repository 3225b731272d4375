//! The contract between a node and whatever carries publications between nodes. `docs/architecture.md` §4, §5.
//!
//! It also defines the counters that a broker shows to operators, next to its readiness (`docs/protocols/http.md` §6.2).

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::{
    BrokerError, ChannelEvent, ClientInfo, Cluster, Position, Publication, ServerStatus,
    hook_store::HookStore, queue::Queues,
};

/// The bounds of a channel's history. Both must be above zero for the channel to keep history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Newest publications kept, at most.
    pub size: u32,
    /// Age after which a publication is forgotten.
    pub ttl: Duration,
}

impl Retention {
    /// True if the channel keeps history at all.
    pub fn keeps_history(&self) -> bool {
        self.size > 0 && !self.ttl.is_zero()
    }
}

/// Makes a retried publish safe: the same key on the same channel within `ttl` gives the first answer again and
/// publishes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The publisher's key, 1 to 255 bytes.
    pub key: String,
    /// Time for which the first answer is remembered.
    pub ttl: Duration,
}

/// Options of one publication.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PublishOptions {
    /// The channel's retention; without history the publication gets offset 0 and no epoch.
    pub retention: Retention,
    /// Deliver live but do not append to history, although the channel keeps one: offset 0, no epoch.
    pub skip_history: bool,
    /// The retry guard, if the publisher gave one.
    pub idempotency: Option<Idempotency>,
}

/// The broker's answer to an accepted publication.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Published {
    /// Its position in the stream; offset 0 and an empty epoch without history.
    pub position: Position,
    /// True if an earlier publication with the same idempotency key answered, and nothing was published now.
    pub repeated: bool,
}

/// A query for a part of a channel's history.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct HistoryQuery {
    /// Publications at most; 0 reads the position alone.
    pub limit: u32,
    /// Publications after this offset (before it, when `reverse`); absent: from the oldest (the newest).
    pub since: Option<u64>,
    /// Newest first.
    pub reverse: bool,
    /// Bytes of the publications at most: data, tags and client info; the first one is given whatever its size. A broker may
    /// count a few bytes of framing with each. Absent: no bound but `limit`.
    pub max_bytes: Option<u64>,
}

/// A page of history, and the top of the stream at the moment of the read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HistoryPage {
    /// In ascending order of offset; descending when the query asked for `reverse`.
    pub publications: Vec<Arc<Publication>>,
    /// The stream's newest offset and its epoch. A stream that was never written gets its epoch by being read.
    pub top: Position,
    /// `max_bytes` ended the page before `limit` did: more can be read from its last publication on.
    pub truncated: bool,
    /// Earlier epochs of the stream, each with the last offset up to which its publications are those of this one. Such an epoch
    /// ended where the broker's medium may have forgotten publications that it had accepted (a failover does that).
    pub ancestors: Vec<Position>,
}

impl HistoryPage {
    /// True if who stands at `position` has had the beginning of this stream: what follows its offset here is what it is missing.
    /// A position without an epoch is taken at its word.
    pub fn continues(&self, position: &Position) -> bool {
        let is_shared =
            |shared: &Position| shared.epoch == position.epoch && position.offset <= shared.offset;
        position.epoch.is_empty() || position.epoch == self.top.epoch || self.ancestors.iter().any(is_shared)
    }
}

/// A query for a page of a channel's presence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceQuery {
    /// The end of the previous page ([`PresencePage::cursor`]); empty: the first page.
    pub cursor: String,
    /// Clients, about: a page may have a few more, or fewer although it is not the last.
    pub limit: u32,
    /// Bytes of the clients ([`ClientInfo::content_bytes`]), about: the page ends soon after them, and has one client at least.
    pub max_bytes: u64,
}

impl Default for PresenceQuery {
    fn default() -> Self {
        Self { cursor: String::new(), limit: PRESENCE_PAGE, max_bytes: PRESENCE_PAGE_BYTES }
    }
}

/// Default number of clients of a page of presence.
const PRESENCE_PAGE: u32 = 1000;
/// Default size of a page of presence, in bytes.
const PRESENCE_PAGE_BYTES: u64 = 1024 * 1024;

/// A page of a channel's presence.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PresencePage {
    /// In no particular order.
    pub clients: Vec<Arc<ClientInfo>>,
    /// The start of the next page; `None`: this is the last one.
    pub cursor: Option<String>,
}

/// A broker's readiness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Publications flow both ways.
    Ready,
    /// They do not; the reason is for operators, without secrets.
    NotReady(String),
}

/// The receiver of everything that a broker received for this node. The node implements it.
pub trait Sink: Send + Sync + 'static {
    /// One event of a channel this node is subscribed to.
    ///
    /// Called from any thread, and for one channel never concurrently: the order of calls is the channel's order.
    /// It must return at once: it only puts the event into bounded queues, never waits, never calls the broker back.
    fn on_event(&self, channel: &Arc<str>, event: ChannelEvent);

    /// The broker cannot say whether it missed events of this channel (a lost connection, a full queue): the node
    /// must compare positions and read history before it goes on. Same calling rules as [`Sink::on_event`].
    fn on_gap(&self, channel: &Arc<str>);

    /// A message from a node, this one or another: see [`Cluster::listen`]. Same calling rules as [`Sink::on_event`], as if
    /// all messages were of one channel. A lost message is not reported.
    fn on_message(&self, _message: Bytes) {}
}

/// Carries publications between nodes and keeps their history, positions and presence.
///
/// # Order
/// Each channel has one order, that in which the broker accepted publications; every subscribed node sees that
/// order, and offsets grow by one along it. A request enters the queue when the method is *called*, not when
/// its future is first polled: a publisher that calls `publish` twice gets that order, and many calls made before any
/// is awaited share round trips.
///
/// # Delivery
/// A future that resolves to `Ok` means the broker accepted. After an `Err` nothing is known unless the error says so
/// ([`BrokerError::is_unknown_outcome`]); the idempotency key makes a retry safe.
/// Each event reaches the [`Sink`] of each subscribed node exactly once, or [`Sink::on_gap`] is called instead.
/// The publisher's own node receives its copy the same way, never by a short cut.
///
/// # Blocking
/// No method blocks its thread. Futures are `Send`, may be dropped (the request goes on), and end within the broker's
/// own time-out. Called by nodes, from any worker thread.
pub trait Broker: Send + Sync + 'static {
    /// Gives the broker its sink. Called once, before any other method.
    fn start(&self, sink: Arc<dyn Sink>) -> BoxFuture<'static, Result<(), BrokerError>>;

    /// Publishes one message: idempotency look-up, offset and epoch, append, distribution, as one atomic step.
    /// The broker sets `offset` and `epoch` of the publication; the other fields are the caller's.
    fn publish(
        &self,
        channel: &str,
        publication: Publication,
        options: PublishOptions,
    ) -> BoxFuture<'static, Result<Published, BrokerError>>;

    /// Tells the subscribers of a channel without presence that a client joined. At most once, no history.
    /// [`Broker::presence_add`] does it for channels with presence.
    fn publish_join(
        &self,
        channel: &str,
        info: Arc<ClientInfo>,
    ) -> BoxFuture<'static, Result<(), BrokerError>>;

    /// See [`Broker::publish_join`].
    fn publish_leave(
        &self,
        channel: &str,
        info: Arc<ClientInfo>,
    ) -> BoxFuture<'static, Result<(), BrokerError>>;

    /// This node wants the events of these channels. When the future resolves, every later publication, made on any
    /// node, reaches the sink. Subscribing twice is harmless.
    fn subscribe(&self, channels: &[Arc<str>]) -> BoxFuture<'static, Result<(), BrokerError>>;

    /// This node no longer wants them. Events already under way may still arrive.
    fn unsubscribe(&self, channels: &[Arc<str>]) -> BoxFuture<'static, Result<(), BrokerError>>;

    /// Reads history. `retention` is the channel's; without history: [`BrokerError::NoHistory`].
    fn history(
        &self,
        channel: &str,
        query: HistoryQuery,
        retention: Retention,
    ) -> BoxFuture<'static, Result<HistoryPage, BrokerError>>;

    /// The stream was found to have gone back: its medium forgot publications that it had accepted (a failover does that), and
    /// gives their offsets to others. Begins a new epoch, unless `epoch` is no longer the current one; the publications stay.
    /// A broker that cannot forget has nothing to do.
    fn renew(&self, _channel: &str, _epoch: &str) -> BoxFuture<'static, Result<(), BrokerError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Forgets the publications of a channel; its position goes on, so subscribers see no new epoch.
    fn remove_history(&self, channel: &str) -> BoxFuture<'static, Result<(), BrokerError>>;

    /// Bytes that the kept publications of a channel take, with what the broker needs to keep them; 0 without any. A server may
    /// estimate. `None` where it cannot be told.
    fn history_bytes(&self, _channel: &str) -> BoxFuture<'static, Result<Option<u64>, BrokerError>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Enters or refreshes a client in a channel's presence; it is forgotten `ttl` after the last call.
    ///
    /// `announce`: subscribers get its join, and its leave when it goes, in the same atomic step that enters it or takes
    /// it out, whichever node does that and for whatever reason, its time being over included. So joins and leaves of a client
    /// take turns. One that is there already does not join again.
    fn presence_add(
        &self,
        channel: &str,
        info: Arc<ClientInfo>,
        ttl: Duration,
        announce: bool,
    ) -> BoxFuture<'static, Result<(), BrokerError>>;

    /// Takes a client out of a channel's presence. An unknown client is no error.
    fn presence_remove(&self, channel: &str, client: &str) -> BoxFuture<'static, Result<(), BrokerError>>;

    /// A page of the clients present in a channel, on all nodes. Over all pages, a client that stays present is given at least
    /// once, and may be given twice; one that comes or goes meanwhile may be given. A cursor that is not this broker's is
    /// [`BrokerError::BadCursor`].
    fn presence(
        &self,
        channel: &str,
        query: PresenceQuery,
    ) -> BoxFuture<'static, Result<PresencePage, BrokerError>>;

    /// Numbers of clients and of distinct users present in a channel, on all nodes.
    fn presence_stats(&self, channel: &str) -> BoxFuture<'static, Result<(u64, u64), BrokerError>>;

    /// The nodes with clients in a channel's presence: the first `id_bytes` bytes of their client ids, each once. A client that
    /// comes or goes meanwhile may count or not. Cheaper than reading the clients, and small however many there are.
    fn presence_nodes(
        &self,
        channel: &str,
        id_bytes: usize,
    ) -> BoxFuture<'static, Result<BTreeSet<String>, BrokerError>>;

    /// Takes clients of one node out of a channel's presence, `limit` at most, and gives them: those whose client id begins
    /// with `node`. One atomic step: of many callers each client is given to one. Fewer than `limit`: none is left.
    /// Clients whose time is over are not among them. After [`BrokerError::UnknownOutcome`] some may be out that
    /// no caller was given.
    fn presence_reap(
        &self,
        channel: &str,
        node: &str,
        limit: u32,
    ) -> BoxFuture<'static, Result<Vec<Arc<ClientInfo>>, BrokerError>>;

    /// Leases of nodes, messages between them, connections of users, owners of names.
    fn cluster(&self) -> &dyn Cluster;

    /// Its work queues, if it has any.
    fn queues(&self) -> Option<&dyn Queues> {
        None
    }

    /// Its store of hooks, if it has one.
    fn hook_store(&self) -> Option<&dyn HookStore> {
        None
    }

    /// Tells if this node would deliver right now. Cheap: answers from what the broker already knows.
    fn health(&self) -> Health;

    /// The broker's counters. As cheap.
    fn stats(&self) -> BrokerStats {
        BrokerStats::default()
    }

    /// Each server; none where the broker is in this process. As cheap.
    fn servers(&self) -> Vec<ServerStatus> {
        Vec::new()
    }
}

/// Upper bounds of the buckets of [`RoundTrips`], in nanoseconds.
pub const ROUND_TRIP_BOUNDS: [u64; 16] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// Times between sending something to a server and what comes back of it, by their length.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RoundTrips {
    /// Those up to each of [`ROUND_TRIP_BOUNDS`], and the longer ones.
    pub buckets: [u64; ROUND_TRIP_BOUNDS.len() + 1],
    /// Their sum in nanoseconds.
    pub sum: u64,
}

impl RoundTrips {
    /// Counts one.
    pub(crate) fn add(&mut self, time: Duration) {
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get_mut(ROUND_TRIP_BOUNDS.partition_point(|bound| *bound < time)) {
            *bucket += 1;
            self.sum = self.sum.saturating_add(time);
        }
    }
}

/// A snapshot of a broker's counters; all zero where a broker has nothing to say. Those that count only grow.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BrokerStats {
    /// Servers that this node is to be connected to: 1, or the primaries of a cluster; 0 without any.
    pub servers: usize,
    /// Those of them that both connections are up to.
    pub servers_connected: usize,
    /// The canaries of each server, by its address.
    pub round_trips: Vec<(String, RoundTrips)>,
    /// Requests that were answered, by the name of their script or command, with the times of their pipelines.
    pub request_times: Vec<(&'static str, RoundTrips)>,
    /// Seconds by which the clock of this machine is ahead of that of the server that is furthest from it.
    pub clock_offset: Option<f64>,
    /// Connections for requests that were lost after they had been usable.
    pub request_connections_lost: u64,
    /// The same of connections that listen.
    pub listening_connections_lost: u64,
    /// Bytes that the broker itself keeps in this process: histories, queues and idempotency keys; presence is not
    /// counted in bytes.
    pub memory_bytes: usize,
    /// Requests without an answer at the moment.
    pub pending_requests: usize,
    /// Bytes that these requests take.
    pub pending_bytes: usize,
    /// Age of the last canary that came back, of the server with the oldest one; absent before the first one.
    pub canary_age: Option<Duration>,
    /// Canaries that a server did not publish: publishing did not work at that moment.
    pub canaries_refused: u64,
    /// Messages of channels that arrived, wanted or not; messages of nodes and canaries are not among them.
    pub messages_received: u64,
    /// Gaps reported to the node, each of one channel.
    pub gaps_told: u64,
    /// Requests that a server of a cluster did not carry out, since their slot was another's or on its way.
    pub redirected: u64,
    /// True if the server may evict the store of hooks when it is out of memory, by its settings when the store was opened.
    pub hooks_evictable: bool,
    /// Publishes that ended with [`crate::BrokerError::Unavailable`].
    pub publishes_unavailable: u64,
    /// Publishes that ended with [`crate::BrokerError::UnknownOutcome`].
    pub publishes_unknown: u64,
    /// Messages of work queues that went to their queue of dead letters.
    pub dead_letters: u64,
    /// Attempts to move one that failed, since that queue was full or its server away. The message waits and is tried again.
    pub dead_letters_waiting: u64,
}
