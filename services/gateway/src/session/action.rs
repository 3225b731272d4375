//! Actions: what a session wants done, with the messages that it sends in the same turn, and the outcomes that come back under
//! their tickets.

use std::{net::IpAddr, sync::Arc};

use bytes::{Bytes, BytesMut};
use gorani_auth::GrantedBy;
use gorani_broker::{
    ClientInfo, HistoryPage, HistoryQuery, Position, Publication, PublishOptions, Published, Retention,
    queue::{DeliveryId, QueueDelivery},
};
use gorani_protocol::client::ClientForm;

use crate::{
    disconnect::{Disconnect, ErrorCode, Refused, Unsubscribed},
    format::{encoding::SubscriptionFormat, message_headers::MessageKind},
    memory::ReplyPermit,
    proxy_call::{ProxyCall, ProxyOutcome},
};

/// Names a request to the node, so that its outcome finds the command it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ticket(pub u32);

/// The parameters of a session's subscription to a channel.
#[derive(Debug, Clone)]
pub struct SubscribeParams {
    /// The channel.
    pub channel: Arc<str>,
    /// The subscribing client, as presence and joins show it.
    pub info: Arc<ClientInfo>,
    /// The channel's retention.
    pub retention: Retention,
    /// True if the position in the stream is tracked: the session is then notified of a gap, which is never hidden.
    pub positioned: bool,
    /// The last position that the client has seen, if it wants what came since.
    pub recover: Option<Position>,
    /// Bytes of publications that it can be brought at once; more is not recovered.
    pub recover_max_bytes: usize,
    /// True if the client appears in the channel's presence.
    pub presence: bool,
    /// True if its join and leave are published to others.
    pub announce: bool,
    /// True if it gets the joins and leaves of others.
    pub join_leave: bool,
    /// True if the server made it: its client did not ask for it.
    pub server_side: bool,
    /// The step of the check that allowed it.
    pub by: GrantedBy,
    /// The format in which it shows the channel's messages.
    pub format: SubscriptionFormat,
}

/// A subscription in effect: everything published from now on reaches the session after [`Action::Release`].
#[derive(Debug, Default)]
pub struct Subscribed {
    /// Top of the stream at the moment of the read; absent where the position is not tracked.
    pub top: Option<Position>,
    /// True if a recovery was asked for.
    pub was_recovering: bool,
    /// True if it succeeded; then `publications` are exactly those missed.
    pub recovered: bool,
    /// The publications missed, oldest first.
    pub publications: Vec<Arc<Publication>>,
    /// The permit for the reply that holds them, if it is large.
    pub permit: Option<ReplyPermit>,
}

/// The description of a client for operators, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientDescription {
    /// Its address, as far as forwarded addresses are trusted.
    pub address: Option<IpAddr>,
    /// The proxy through which it came, where it came through one that is trusted.
    pub forwarded_by: Option<IpAddr>,
    /// Name of its SDK, as it says.
    pub sdk: Box<str>,
    /// Version of its SDK, as it says.
    pub sdk_version: Box<str>,
}

impl ClientDescription {
    /// Bytes of a name or a version that are kept.
    const TEXT_MAX_BYTES: usize = 64;

    /// One of a client that says what it is.
    pub fn of_sdk(name: &str, version: &str) -> Self {
        let cut = |text: &str| {
            text.get(..text.floor_char_boundary(Self::TEXT_MAX_BYTES)).unwrap_or_default().into()
        };
        Self { sdk: cut(name), sdk_version: cut(version), ..Self::default() }
    }
}

/// An action of a session. Bytes written to [`super::Actions`] are sent before the actions of the same turn.
#[derive(Debug)]
pub enum Action {
    /// The session has a user and a client id: the hub can address it.
    Identify {
        /// User id; empty for anonymous.
        user: Arc<str>,
        /// Client id.
        client: Arc<str>,
    },
    /// Hooks are to send this with the client's events from now on, as JSON: what the backend keeps with the connection.
    KeepMeta(Arc<Bytes>),
    /// Operators see this of the client. Only where the node serves the admin page.
    Describe(Box<ClientDescription>),
    /// Take one of the user's connection slots, which are limited. After [`Action::Identify`]; it is given back when the
    /// session ends.
    Enter(Ticket, u32),
    /// Join a channel; live events are held back until [`Action::Release`].
    Subscribe(Ticket, SubscribeParams),
    /// The session refused a subscribe by itself, with this error code: note it.
    NoteRefused(Arc<str>, u32),
    /// The reply of a subscribe is written: let held back events follow.
    Release(Arc<str>),
    /// Show the messages of a channel in this way from now on.
    SetFormat(Arc<str>, SubscriptionFormat),
    /// From now on this step of the check allows the subscription to a channel.
    SetGrant(Arc<str>, GrantedBy),
    /// Send the session publications of a channel, with the permit for them if they are large, and let held back events follow.
    Replay(Arc<str>, Vec<Arc<Publication>>, Option<ReplyPermit>),
    /// Leave a channel, as the client wants.
    Unsubscribe(Arc<str>),
    /// Leave a channel, as the server wants.
    EndSubscription(Arc<str>, Unsubscribed),
    /// Leave a channel that the client is to subscribe to again: it stays present for a while.
    Interrupt(Arc<str>),
    /// Publish.
    Publish(Ticket, Arc<str>, Publication, PublishOptions),
    /// Add a message to a work queue; its outcome is that of a publication.
    PushToQueue(Ticket, Arc<str>, Publication),
    /// Take so many messages of a work queue, or fewer, as soon as there are any.
    Fetch(Ticket, Arc<str>, u32),
    /// Stop waiting for the messages of this ticket.
    StopFetching(Ticket),
    /// These messages of a work queue were handled, or (false) are for others.
    Acknowledge(Ticket, Arc<str>, Vec<DeliveryId>, bool),
    /// Ask the backend.
    Proxy(Ticket, Box<ProxyCall>),
    /// Read history.
    History(Ticket, Arc<str>, HistoryQuery, Retention),
    /// Read presence.
    Presence(Ticket, Arc<str>),
    /// Count presence.
    PresenceStats(Ticket, Arc<str>),
    /// Send the transport's own ping, for protocols without one.
    Ping,
    /// The session does not begin, and ends: over HTTP this is the response's status. Nothing else is done after it.
    Refuse(Refused),
    /// End the session. Nothing else is done after it.
    Close(Disconnect),
}

/// The outcome of an action with a ticket.
#[derive(Debug)]
pub enum Outcome {
    /// Of [`Action::Enter`]; an error is the end of the session.
    Entered(Result<(), Disconnect>),
    /// Of [`Action::Subscribe`].
    Subscribed(Result<Subscribed, ErrorCode>),
    /// Of [`Action::Publish`].
    Published(Result<Published, ErrorCode>),
    /// Of [`Action::Fetch`]; nothing after [`Action::StopFetching`].
    Fetched(Result<Vec<QueueDelivery>, ErrorCode>),
    /// Of [`Action::Acknowledge`].
    Acknowledged(Result<(), ErrorCode>),
    /// Of [`Action::Proxy`].
    Proxied(Box<ProxyOutcome>),
    /// Of [`Action::History`], with the permit for a large reply.
    History(Result<(HistoryPage, Option<ReplyPermit>), ErrorCode>),
    /// Of [`Action::Presence`], with the permit for a large reply.
    Presence(Result<(Vec<Arc<ClientInfo>>, Option<ReplyPermit>), ErrorCode>),
    /// Of [`Action::PresenceStats`]: clients and users.
    PresenceStats(Result<(u64, u64), ErrorCode>),
}

impl Outcome {
    /// True if its reply may have the full size of a reply, which also costs much to write.
    pub fn has_large_reply(&self) -> bool {
        matches!(self, Self::History(Ok(_)) | Self::Presence(Ok(_)))
    }

    /// True if writing its reply may take milliseconds.
    pub fn takes_long(&self) -> bool {
        match self {
            Self::History(Ok((_, permit))) => permit.is_some(),
            Self::Subscribed(Ok(subscribed)) => subscribed.permit.is_some(),
            Self::Presence(Ok(_)) => true,
            _ => false,
        }
    }
}

/// The output of a session in one turn: messages to send, in order, then actions, in order.
#[derive(Debug, Default)]
pub struct Actions {
    bytes: BytesMut,
    /// Kind and end of each message in `bytes`.
    messages: Vec<(MessageKind, usize)>,
    list: Vec<Action>,
    /// The permit for the messages, if they are large.
    permit: Option<ReplyPermit>,
}

/// Lines of one turn travel in one message until it has this size: fewer frames, yet the client can start early.
const JOINED_LINES_BYTES: usize = 16 * 1024;

/// Memory that is kept for the next turn; what a large message took is given back.
const KEPT_BYTES: usize = 64 * 1024;

impl Actions {
    /// Writes one message.
    pub fn message(&mut self, kind: MessageKind, write: impl FnOnce(&mut BytesMut)) {
        write(&mut self.bytes);
        self.messages.push((kind, self.bytes.len()));
    }

    /// Writes one line of a line-delimited protocol; lines of one turn share a message.
    pub fn line(&mut self, write: impl FnOnce(&mut BytesMut)) {
        self.reply(ClientForm::Json, write);
    }

    /// Writes one reply or push of the client protocol; those of one turn share a message.
    pub fn reply(&mut self, form: ClientForm, write: impl FnOnce(&mut BytesMut)) {
        let kind = form.into();
        let previous_start = self.messages.iter().rev().nth(1).map_or(0, |(_, end)| *end);
        match self.messages.last_mut() {
            Some((last, end)) if *last == kind && *end - previous_start < JOINED_LINES_BYTES => {
                self.bytes.extend_from_slice(form.separator());
                write(&mut self.bytes);
                *end = self.bytes.len();
            }
            _ => self.message(kind, write),
        }
    }

    /// Sends a message that is written already, with the permit for it.
    pub fn whole_message(&mut self, kind: MessageKind, bytes: BytesMut, permit: Option<ReplyPermit>) {
        let messages = vec![(kind, bytes.len())];
        self.append(Self { bytes, messages, list: Vec::new(), permit });
    }

    /// Sends messages that are written already, with the permit for them.
    pub fn append(&mut self, messages: Self) {
        let start = self.bytes.len();
        if start == 0 {
            self.bytes = messages.bytes;
        } else {
            self.bytes.extend_from_slice(&messages.bytes);
        }
        self.messages.extend(messages.messages.into_iter().map(|(kind, end)| (kind, start + end)));
        self.list.extend(messages.list);
        self.hold(messages.permit);
    }

    /// Makes room for messages of so many bytes.
    pub fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes);
    }

    /// Adds an action.
    pub fn push(&mut self, action: Action) {
        self.list.push(action);
    }

    /// The reply of a subscribe is written: held back events of the channel follow.
    pub fn release(&mut self, channel: &Arc<str>) {
        self.push(Action::Release(channel.clone()));
    }

    /// The session has left a channel in the same turn in which it joined: nothing of the channel follows what it wrote.
    pub fn forget_release(&mut self, channel: &str) {
        self.list.retain(|action| {
            !matches!(action, Action::Release(left) | Action::Replay(left, ..) if **left == *channel)
        });
    }

    /// Shows a channel from now on in this format, which is the newest of this turn. If the session joined in the same
    /// turn, also what was held back until then: it follows all that the session wrote.
    pub fn show(&mut self, channel: Arc<str>, format: SubscriptionFormat) {
        self.list.retain(|action| !matches!(action, Action::SetFormat(shown, _) if **shown == *channel));
        let is_release =
            |action: &Action| matches!(action, Action::Release(released) if **released == *channel);
        let index = self.list.iter().position(is_release).unwrap_or(self.list.len());
        self.list.insert(index, Action::SetFormat(channel, format));
    }

    /// Adds the end of the session.
    pub fn close(&mut self, disconnect: Disconnect) {
        self.list.push(Action::Close(disconnect));
    }

    /// True if the session ends in this turn: then nothing more is brought to it.
    pub fn is_closing(&self) -> bool {
        self.list.iter().any(|action| matches!(action, Action::Close(_) | Action::Refuse(_)))
    }

    /// Bytes of the messages.
    pub fn message_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// True if there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.list.is_empty() && self.permit.is_none()
    }

    /// Keeps the permit of a reply that was written in this turn. Of a reply that is not written it is dropped instead.
    pub fn hold(&mut self, permit: Option<ReplyPermit>) {
        ReplyPermit::join(&mut self.permit, permit);
    }

    /// Hands each message to `each`, forgets them, and returns the permit for them.
    pub fn drain_messages(&mut self, mut each: impl FnMut(MessageKind, &[u8])) -> Option<ReplyPermit> {
        let mut start = 0;
        for (kind, end) in self.messages.drain(..) {
            each(kind, self.bytes.get(start..end).unwrap_or_default());
            start = end;
        }
        if self.bytes.capacity() > KEPT_BYTES {
            self.bytes = BytesMut::new();
        } else {
            self.bytes.clear();
        }
        self.permit.take()
    }

    /// Kind and size of the message, where there is just one.
    pub fn only_message(&self) -> Option<(MessageKind, usize)> {
        if let [only] = *self.messages { Some(only) } else { None }
    }

    /// Takes the bytes of the messages as they are, with the permit for them.
    pub fn take_messages(&mut self) -> (BytesMut, Option<ReplyPermit>) {
        self.messages.clear();
        (std::mem::take(&mut self.bytes), self.permit.take())
    }

    /// Takes the actions.
    pub fn take_list(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.list)
    }
}
