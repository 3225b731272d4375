//! The commands of a client: a frame is cut into [`lines`], and [`decode`] reads one command from each, borrowing from it.
//! Between a transport and its session; `docs/protocols/client.md` §1 and §2.
//!
//! Leniency is that of the Centrifuge servers: unknown fields are ignored at every level (a newer SDK sends more than we
//! know) and `null` counts as absent everywhere (so `"data":null` is no data). Strict is what could be read in two ways:
//! two requests in one command, a field twice, a request or field of another type, a missing id, anything after the
//! object.
//!
//! The logged form of a command never has a token, a header or a payload (`docs/architecture.md` §8.3). Errors are of two
//! classes, because the session answers them differently: a disconnect for a client that does not speak the protocol, an
//! error reply for one command (`docs/protocols/client.md` §1.8).

mod fields;
mod outline;
mod receiver;
mod wire;

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::Deserialize;
use thiserror::Error;

use self::fields::{position, positions};
use super::json::JsonError;

pub use self::{
    fields::{Payload, Recover, Since},
    receiver::ReceiverConnect,
    wire::decode,
};

/// One command.
#[derive(Debug, Clone)]
pub struct ClientCommand<'a> {
    /// The client's number for the command, repeated in the reply. 0 only for `send` and pong.
    pub id: u32,
    /// The request of the command.
    pub request: ClientRequest<'a>,
}

/// The request of a command. Strings are as sent: absent is empty, and a channel's name is for the session to judge.
#[derive(Clone)]
pub enum ClientRequest<'a> {
    /// `{}`: the answer to a ping.
    Pong,
    /// The first command of every connection.
    Connect(Connect<'a>),
    /// Subscribe to a channel.
    Subscribe(Subscribe<'a>),
    /// Leave a channel.
    Unsubscribe {
        /// Which.
        channel: Cow<'a, str>,
    },
    /// Publish into a channel.
    Publish(Publish<'a>),
    /// Asks for the clients in a channel.
    Presence {
        /// The channel.
        channel: Cow<'a, str>,
    },
    /// Asks for the number of clients in a channel.
    PresenceStats {
        /// The channel.
        channel: Cow<'a, str>,
    },
    /// Read a channel's past.
    History(History<'a>),
    /// Call a method of the backend.
    Rpc {
        /// Its name.
        method: Cow<'a, str>,
        /// Its argument.
        data: Option<Payload<'a>>,
    },
    /// A message to the backend without an answer.
    Send {
        /// The message.
        data: Option<Payload<'a>>,
    },
    /// A new connection token.
    Refresh {
        /// The token.
        token: Cow<'a, str>,
    },
    /// A new subscription token.
    SubRefresh {
        /// The channel.
        channel: Cow<'a, str>,
        /// The token.
        token: Cow<'a, str>,
    },
}

/// The first command.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct Connect<'a> {
    /// Connection token; empty: none.
    #[serde(borrow, deserialize_with = "fields::text")]
    pub token: Cow<'a, str>,
    /// Data for the connect webhook.
    #[serde(borrow)]
    pub data: Option<Payload<'a>>,
    /// Name of the client's kind, such as `js`; not unique.
    #[serde(borrow, deserialize_with = "fields::lossy_text")]
    pub name: Cow<'a, str>,
    /// The application's version.
    #[serde(borrow, deserialize_with = "fields::lossy_text")]
    pub version: Cow<'a, str>,
    /// Headers that a browser could not send over HTTP. Names as written by the client.
    #[serde(borrow, deserialize_with = "fields::headers")]
    pub headers: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    /// Positions to recover server-side subscriptions from, by channel.
    #[serde(borrow, deserialize_with = "positions")]
    pub subs: BTreeMap<Cow<'a, str>, Recover<'a>>,
    /// Bits that ask for features of the connection; none is known to us.
    #[serde(deserialize_with = "fields::nullable")]
    pub flag: i64,
}

impl ClientRequest<'_> {
    /// The request's key on the wire, for metrics and logs; `pong` for the empty command.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Pong => "pong",
            Self::Connect(_) => "connect",
            Self::Subscribe(_) => "subscribe",
            Self::Unsubscribe { .. } => "unsubscribe",
            Self::Publish(_) => "publish",
            Self::Presence { .. } => "presence",
            Self::PresenceStats { .. } => "presence_stats",
            Self::History(_) => "history",
            Self::Rpc { .. } => "rpc",
            Self::Send { .. } => "send",
            Self::Refresh { .. } => "refresh",
            Self::SubRefresh { .. } => "sub_refresh",
        }
    }
}

/// Subscribe to a channel.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct Subscribe<'a> {
    /// The channel.
    #[serde(borrow, deserialize_with = "fields::text")]
    pub channel: Cow<'a, str>,
    /// Subscription token; empty: none.
    #[serde(borrow, deserialize_with = "fields::text")]
    pub token: Cow<'a, str>,
    /// Data for the subscribe webhook.
    #[serde(borrow)]
    pub data: Option<Payload<'a>>,
    /// True to recover from `offset` and `epoch`.
    #[serde(deserialize_with = "fields::nullable")]
    pub recover: bool,
    /// Last offset seen.
    #[serde(deserialize_with = "fields::nullable")]
    pub offset: u64,
    /// Life of the stream it was seen in; empty: any.
    #[serde(borrow, deserialize_with = "fields::text")]
    pub epoch: Cow<'a, str>,
    /// Asks that the position be watched.
    #[serde(deserialize_with = "fields::nullable")]
    pub positioned: bool,
    /// Asks for recovery.
    #[serde(deserialize_with = "fields::nullable")]
    pub recoverable: bool,
    /// Asks for joins and leaves.
    #[serde(deserialize_with = "fields::nullable")]
    pub join_leave: bool,
    /// Bits: [`Subscribe::FLAG_COMPACTION`], [`Subscribe::FLAG_REJECT_UNRECOVERED`].
    #[serde(deserialize_with = "fields::nullable")]
    pub flag: i64,
    /// Delta compression asked for, such as `fossil`; empty: none. A reply that does not grant it declines it.
    #[serde(borrow, deserialize_with = "fields::text")]
    pub delta: Cow<'a, str>,
    /// Filter by tags (`tf`), in a language of its own.
    #[serde(rename = "tf", borrow)]
    pub filter: Option<Payload<'a>>,
    /// Kind of subscription (`type`); 0: a stream, the only kind we have.
    #[serde(rename = "type", deserialize_with = "fields::nullable")]
    pub kind: i32,
}

impl Subscribe<'_> {
    /// Offers that pushes may name the channel by a number. The SDK sets it always; a reply without `id` declines.
    pub const FLAG_COMPACTION: i64 = 1;
    /// Asks for error 112 instead of an incomplete recovery.
    pub const FLAG_REJECT_UNRECOVERED: i64 = 2;

    /// True if an incomplete recovery is to be an error.
    #[must_use]
    pub const fn rejects_unrecovered(&self) -> bool {
        self.flag & Self::FLAG_REJECT_UNRECOVERED != 0
    }
}

/// Publish into a channel.
#[derive(Clone)]
pub struct Publish<'a> {
    /// The channel.
    pub channel: Cow<'a, str>,
    /// The payload, never `null`.
    pub data: Payload<'a>,
}

/// Read a channel's past.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct History<'a> {
    /// The channel.
    #[serde(borrow, deserialize_with = "fields::text")]
    pub channel: Cow<'a, str>,
    /// Most publications to read; 0: the position only; negative: as many as allowed.
    #[serde(deserialize_with = "fields::nullable")]
    pub limit: i32,
    /// Read what comes after (in reverse: before) this position; `None`: from the end that the direction starts at.
    #[serde(borrow, deserialize_with = "position")]
    pub since: Option<Since<'a>>,
    /// Newest first.
    #[serde(deserialize_with = "fields::nullable")]
    pub reverse: bool,
}

/// Cuts a frame into its objects: the lines that hold more than whitespace. A frame without any is for the caller to
/// treat as malformed.
pub fn lines(frame: &[u8]) -> impl Iterator<Item = &[u8]> {
    frame.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty())
}

impl fmt::Debug for ClientRequest<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(connect) => connect.fmt(formatter),
            Self::Subscribe(subscribe) => subscribe.fmt(formatter),
            Self::Publish(publish) => publish.fmt(formatter),
            Self::History(history) => history.fmt(formatter),
            Self::Unsubscribe { channel }
            | Self::Presence { channel }
            | Self::PresenceStats { channel }
            | Self::SubRefresh { channel, .. } => {
                formatter.debug_struct(self.kind()).field("channel", channel).finish_non_exhaustive()
            }
            Self::Rpc { method, .. } => {
                formatter.debug_struct(self.kind()).field("method", method).finish_non_exhaustive()
            }
            Self::Pong | Self::Send { .. } | Self::Refresh { .. } => formatter.write_str(self.kind()),
        }
    }
}

impl fmt::Debug for Connect<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Connect")
            .field("name", &self.name)
            .field("version", &self.version)
            .field("subs", &self.subs)
            .field("flag", &self.flag)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Subscribe<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Subscribe")
            .field("channel", &self.channel)
            .field("recover", &self.recover)
            .field("offset", &self.offset)
            .field("epoch", &self.epoch)
            .field("flag", &self.flag)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Publish<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Publish").field("channel", &self.channel).finish_non_exhaustive()
    }
}

/// Why a line is no command. Never holds an excerpt of it: tokens do not belong into logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Not the protocol: the connection is to be closed (3501).
    #[error("malformed command: {0}")]
    Malformed(#[from] Malformed),
    /// A well-formed command that cannot be carried out: the reply is an error, the connection lives on.
    #[error("command {id} is invalid: {reason}")]
    Invalid {
        /// Id for the reply, never 0.
        id: u32,
        /// The fault of the command.
        reason: Invalid,
    },
}

/// The fault of bytes that are not the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Malformed {
    /// Not UTF-8, nested too deep, or not exactly one JSON value.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// Not a message of the protobuf form, or its length is none.
    #[error("not a protobuf message")]
    Protobuf,
    /// JSON, but not an object, or a field of another type or outside its range.
    #[error("unexpected type or range at column {column}")]
    Shape {
        /// Byte column in the line, from 1, at or shortly after the fault.
        column: usize,
    },
    /// More than one request in one command.
    #[error("more than one request in one command")]
    TwoRequests,
    /// An id, but no request that we know.
    #[error("no known request")]
    NoRequest,
    /// No id, or id 0, on a request that has a reply.
    #[error("no id on a request that needs one")]
    NoId,
    /// A command where the object in it is wanted alone.
    #[error("a command in the place of a connect object")]
    Wrapped,
}

/// The fault of one command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Invalid {
    /// Publish without data (107).
    #[error("publish without data")]
    NoData,
    /// JSON that nests too deep, or with a text or number that cannot be read (107).
    #[error("request cannot be read")]
    Unreadable,
    /// A kind of publish or sub_refresh that we do not have: map channels, tracking (108).
    #[error("kind of request not available")]
    NotAvailable,
}

#[cfg(test)]
mod tests;
