//! What a client sends: a frame is cut into [`lines`], and [`decode`] reads one command from each, borrowing from it.
//! Between a transport and its session; `docs/protocols/client.md` §1 and §2.
//!
//! Leniency is that of the Centrifuge servers: unknown fields are ignored at every level (a newer SDK sends more than we
//! know) and `null` counts as absent everywhere (so `"data":null` is no data). Strict is what could be read in two ways:
//! two requests in one command, a field twice, a request or field of another type, a missing id, anything after the
//! object.

mod debug;
mod encode;
mod error;
mod fields;
mod position;
mod wire;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

pub use self::{
    error::{DecodeError, Invalid, Malformed},
    position::{Recover, Since},
    wire::decode,
};

/// One command.
#[derive(Debug, Clone)]
pub struct ClientCommand<'a> {
    /// The client's number for the command, repeated in the reply. 0 only for `send` and pong.
    pub id: u32,
    /// What it asks for.
    pub request: ClientRequest<'a>,
}

/// What a command asks for. Strings are as sent: absent is empty, and a channel's name is for the session to judge.
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
    /// Who is in a channel.
    Presence {
        /// Which.
        channel: Cow<'a, str>,
    },
    /// How many are in a channel.
    PresenceStats {
        /// Which.
        channel: Cow<'a, str>,
    },
    /// Read a channel's past.
    History(History<'a>),
    /// Call a method of the backend.
    Rpc {
        /// Its name.
        method: Cow<'a, str>,
        /// Its argument.
        data: Option<&'a RawValue>,
    },
    /// A message to the backend without an answer.
    Send {
        /// The message.
        data: Option<&'a RawValue>,
    },
    /// A new connection token.
    Refresh {
        /// The token.
        token: Cow<'a, str>,
    },
    /// A new subscription token.
    SubRefresh {
        /// Of which channel.
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
    /// For the connect webhook.
    #[serde(borrow)]
    pub data: Option<&'a RawValue>,
    /// Name of the client's kind, such as `js`; not unique.
    #[serde(borrow, deserialize_with = "fields::text")]
    pub name: Cow<'a, str>,
    /// The application's version.
    #[serde(borrow, deserialize_with = "fields::text")]
    pub version: Cow<'a, str>,
    /// What a browser could not send as HTTP headers. Names as written by the client.
    #[serde(borrow, deserialize_with = "fields::headers")]
    pub headers: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    /// Positions to recover server-side subscriptions from, by channel.
    #[serde(borrow, deserialize_with = "position::positions")]
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
    /// For the subscribe webhook.
    #[serde(borrow)]
    pub data: Option<&'a RawValue>,
    /// Whether to recover from `offset` and `epoch`.
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
    pub filter: Option<&'a RawValue>,
    /// Kind of subscription (`type`); 0: a stream, the only kind we have.
    #[serde(rename = "type", deserialize_with = "fields::nullable")]
    pub kind: i32,
}

impl Subscribe<'_> {
    /// Offers that pushes may name the channel by a number. The SDK sets it always; a reply without `id` declines.
    pub const FLAG_COMPACTION: i64 = 1;
    /// Asks for error 112 instead of an incomplete recovery.
    pub const FLAG_REJECT_UNRECOVERED: i64 = 2;

    /// Whether an incomplete recovery is to be an error.
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
    pub data: &'a RawValue,
}

/// Read a channel's past.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct History<'a> {
    /// The channel.
    #[serde(borrow, deserialize_with = "fields::text")]
    pub channel: Cow<'a, str>,
    /// At most so many publications; 0: the position only; negative: as many as allowed.
    #[serde(deserialize_with = "fields::nullable")]
    pub limit: i32,
    /// Read what comes after (in reverse: before) this position; `None`: from the end that the direction starts at.
    #[serde(borrow, deserialize_with = "position::position")]
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

#[cfg(test)]
mod tests;
