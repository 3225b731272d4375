//! The state of a STOMP session, in parts that do not know the session: how far it is, its subscriptions
//! (`docs/protocols/stomp.md` §5) with the messages of a queue that are not yet acknowledged (§7) and the publications of a
//! channel that were missed, and its deadlines (§2.2, §2.12, §3 and §10.5).

use std::{collections::VecDeque, sync::Arc, time::Duration, vec};

use gorani_auth::{ConnectionClaims, GrantedBy};
use gorani_broker::{Publication, queue::DeliveryId};
use gorani_protocol::stomp::{AgreedHeartBeat, HeartBeat};
use tokio::time::Instant;

use crate::{
    format::message_headers::{self, FrameStyle, SubscriptionHeaders},
    session::{
        Actions, Now, Subscribed, Ticket,
        shared::deadlines::{FAR, Pings, is_due},
    },
};

/// The state of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StompState {
    /// Only a CONNECT is accepted.
    New,
    /// The CONNECT waits for one of the user's connection slots.
    Entering(HeartBeat),
    /// Open.
    Open,
    /// A DISCONNECT was received: what follows is ignored.
    Leaving,
    /// The session is over.
    Ended,
}

/// The way in which the rules of channels apply to a session.
pub(super) enum Access {
    /// The rules decide, except for what its token allows.
    Client(Box<ConnectionClaims>),
    /// No rule applies: a backend is trusted, as with a key of the API.
    Backend,
}

impl Default for Access {
    fn default() -> Self {
        Self::Client(Box::default())
    }
}

/// The source of a subscription's messages.
pub(super) enum SubscriptionSource {
    Channel(Arc<str>),
    Queue(QueueConsumer),
    /// Only what the backend replies to this session.
    Replies,
}

/// The mode of acknowledging.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AckMode {
    /// No acknowledgement: a message that is sent counts as handled.
    Auto,
    /// An ACK holds for the message and all before it.
    Client,
    /// An ACK holds for one message.
    Individual,
}

/// One subscription of the session.
pub(super) struct StompSubscription {
    pub(super) shown: SubscriptionHeaders,
    pub(super) source: SubscriptionSource,
    pub(super) ack_mode: AckMode,
    /// The step of the check that allowed it.
    pub(super) by: GrantedBy,
    /// The ticket of the request to the node that is pending for it.
    pub(super) under_way: Option<Ticket>,
    /// True if the backend decides on it: then only frames of the same channel wait while the request is pending.
    pub(super) is_asked: bool,
    pub(super) expires: Option<Instant>,
    pub(super) asked_recovery: bool,
}

impl StompSubscription {
    /// One that is open, and that the server or a backend allowed.
    pub(super) fn new(shown: SubscriptionHeaders, source: SubscriptionSource, ack_mode: AckMode) -> Self {
        Self {
            shown,
            source,
            ack_mode,
            by: GrantedBy::ConnectionToken,
            under_way: None,
            is_asked: false,
            expires: None,
            asked_recovery: false,
        }
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// The name that identifies it within its session: the id, or the destination if 1.0 gave none.
    pub(super) fn name(&self) -> &str {
        self.shown.id.as_deref().unwrap_or(&self.shown.destination)
    }

    /// True if it gets nothing but replies.
    pub(super) fn is_replies(&self) -> bool {
        matches!(self.source, SubscriptionSource::Replies)
    }

    pub(super) fn is_of(&self, channel: &str) -> bool {
        matches!(&self.source, SubscriptionSource::Channel(own) if **own == *channel)
    }
}

/// A subscription's side of a queue: the messages that it has taken and not yet acknowledged.
pub(super) struct QueueConsumer {
    pub(super) queue: Arc<str>,
    /// Unacknowledged messages at most.
    pub(super) prefetch: usize,
    pub(super) taking: Option<Ticket>,
    /// In the order in which they were sent: serials rise.
    pub(super) unacknowledged: VecDeque<Unacknowledged>,
}

/// A message that was sent to the client.
pub(super) struct Unacknowledged {
    /// The number that names it within the session.
    pub(super) serial: u64,
    pub(super) message_id: Box<str>,
    pub(super) id: DeliveryId,
}

impl QueueConsumer {
    pub(super) fn new(queue: Arc<str>, prefetch: usize) -> Self {
        Self { queue, prefetch, taking: None, unacknowledged: VecDeque::new() }
    }

    pub(super) fn find(&self, is_it: impl Fn(&Unacknowledged) -> bool) -> Option<u64> {
        self.unacknowledged.iter().find(|message| is_it(message)).map(|message| message.serial)
    }

    /// The index of the unacknowledged message with this serial.
    pub(super) fn position(&self, serial: u64) -> Option<usize> {
        self.unacknowledged.binary_search_by_key(&serial, |message| message.serial).ok()
    }

    /// Takes out the message of this serial, and with `and_earlier` all before it.
    pub(super) fn fetch(&mut self, serial: u64, and_earlier: bool) -> Vec<DeliveryId> {
        let Some(index) = self.position(serial) else { return Vec::new() };
        let first = if and_earlier { 0 } else { index };
        self.unacknowledged.drain(first..=index).map(|message| message.id).collect()
    }

    /// All that is not acknowledged.
    pub(super) fn fetch_all(&mut self) -> Vec<DeliveryId> {
        self.unacknowledged.drain(..).map(|message| message.id).collect()
    }
}

/// The message that an ACK or NACK is about.
#[derive(Debug, Clone, Copy)]
pub(super) enum Acknowledged {
    /// A message of a channel: nothing waits for it.
    Channel,
    /// The message of a queue with this serial.
    Queue(u64),
}

/// Bytes of a piece, and at least one message: a fraction of a millisecond.
const PIECE_BYTES: usize = 64 * 1024;

/// Bytes of a message's headers, about.
const HEADERS_BYTES: usize = 160;

/// A recovery that is being written, a piece at a time. A piece is a step of the session
/// ([`crate::session::shared::input_budget`]), so that the transport looks at the clock between two of them. All messages are
/// sent together when the last is written.
pub(super) struct RecoveryInProgress {
    pub(super) ticket: Ticket,
    publications: vec::IntoIter<Arc<Publication>>,
    pub(super) written: Actions,
    /// Without publications and permit.
    pub(super) subscribed: Subscribed,
}

impl RecoveryInProgress {
    pub(super) fn new(ticket: Ticket, mut subscribed: Subscribed) -> Self {
        let publications = std::mem::take(&mut subscribed.publications);
        let mut written = Actions::default();
        written.reserve(publications.iter().map(|publication| publication.data.len() + HEADERS_BYTES).sum());
        written.hold(subscribed.permit.take());
        Self { ticket, publications: publications.into_iter(), written, subscribed }
    }

    /// Writes a piece of what this client is to see, with these headers of its subscription. True if nothing is left to write.
    pub(super) fn write_piece(
        &mut self,
        shown: &SubscriptionHeaders,
        style: FrameStyle,
        client: &str,
    ) -> bool {
        let mut message_id = String::new();
        let until = self.written.message_bytes() + PIECE_BYTES;
        for publication in self.publications.by_ref() {
            if publication.is_for(client) {
                message_headers::write_message_id(&publication, 0, &mut message_id);
                self.written.message(message_headers::message_kind(&publication, style), |out| {
                    shown.write(style, &publication, &message_id, out);
                });
            }
            if self.written.message_bytes() >= until {
                return false;
            }
        }
        true
    }
}

/// Share of the promised interval after which the server sends: the rest is for the way to the client.
const BEAT_AT: f64 = 0.8;
/// Multiple of the client's promised interval for which it may be silent: the excess is for the way to the server.
const MARGIN: u32 = 2;

/// The times of a session: the first frame, heart-beats both ways, the transport's pings where the client has none, expiry, the
/// end.
#[derive(Debug)]
pub(super) struct StompDeadlines {
    /// The time by which the first frame must have come; absent once it has.
    pub(super) connect_by: Option<Instant>,
    beat_every: Option<Duration>,
    next_beat: Option<Instant>,
    silence_max: Option<Duration>,
    last_input: Instant,
    /// The transport's own pings. They do not begin if the client is to send heart-beats, or the transport has none.
    pub(super) pings: Pings,
    pub(super) expires: Option<Instant>,
    /// The time at which the earliest subscription ends.
    pub(super) subscription_expires: Option<Instant>,
    /// The time at which a session is closed after DISCONNECT.
    pub(super) leave_by: Option<Instant>,
}

impl StompDeadlines {
    pub(super) fn new(now: Now, connect_timeout: Duration) -> Self {
        Self {
            connect_by: Some(now.instant + connect_timeout),
            beat_every: None,
            next_beat: None,
            silence_max: None,
            last_input: now.instant,
            pings: Pings::default(),
            expires: None,
            subscription_expires: None,
            leave_by: None,
        }
    }

    /// The session is open, with these heart-beats. A client that promised none may be gone unnoticed: it is asked with
    /// the transport's pings, if it has any, once every `ping_interval`.
    pub(super) fn start(&mut self, agreed: AgreedHeartBeat, ping_interval: Option<Duration>, now: Now) {
        self.connect_by = None;
        self.beat_every = agreed.to_client.map(|every| every.mul_f64(BEAT_AT));
        self.next_beat = self.beat_every.map(|every| now.instant + every);
        self.silence_max = agreed.from_client.map(|every| every.saturating_mul(MARGIN));
        self.last_input = now.instant;
        if let Some(interval) = ping_interval.filter(|_| agreed.from_client.is_none()) {
            self.pings.start(interval, now.instant);
        }
    }

    /// Something came from the client.
    pub(super) fn on_input(&mut self, now: Now) {
        self.last_input = now.instant;
        self.pings.take_pong();
    }

    /// True if a beat is to be sent now.
    pub(super) fn take_beat(&mut self, now: Now) -> bool {
        let due = is_due(self.next_beat, now);
        if due {
            self.next_beat = self.beat_every.map(|every| now.instant + every);
        }
        due
    }

    /// True if a ping was not answered in time. While the session does not read, that proves nothing: the next ping asks again.
    pub(super) fn is_unanswered(&mut self, reads: bool, now: Now) -> bool {
        self.pings.is_unanswered(now.instant) && self.pings.take_pong() && reads
    }

    /// True if the client has been silent for too long.
    pub(super) fn is_silent(&self, now: Now) -> bool {
        is_due(self.silent_at(), now)
    }

    fn silent_at(&self) -> Option<Instant> {
        self.silence_max.map(|most| self.last_input + most.min(FAR))
    }

    /// The time at which [`super::StompSession`] is to check again. While it does not read, silence proves nothing.
    pub(super) fn deadline(&self, reads: bool) -> Option<Instant> {
        if self.leave_by.is_some() {
            return self.leave_by;
        }
        let silent_at = self.silent_at().filter(|_| reads);
        let pings = self.pings.deadline();
        let all =
            [self.connect_by, self.next_beat, silent_at, pings, self.expires, self.subscription_expires];
        all.into_iter().flatten().min()
    }
}
