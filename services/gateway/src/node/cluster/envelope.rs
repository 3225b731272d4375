//! What nodes write to one another: orders, questions and answers, in an envelope with a version. Design §5, "Membership".
//!
//! JSON. A new kind or field needs no new version: a node that does not know a kind answers [`Answer::Unsupported`] at once, and
//! its lease tells which it knows ([`kinds`]), so that others need not ask; unknown fields are skipped. A new version is for
//! envelopes that older nodes could not open. Record 35.
//!
//! [`kinds`]: super::kinds

use std::collections::BTreeMap;

use bytes::Bytes;
use gorani_broker::Position;
use serde::{Deserialize, Serialize};

use crate::{
    disconnect::Disconnect,
    hub::control::{ConnectionView, Control, Target},
    node::query::Counts,
    session::ServerSubscribe,
};

/// The version of the envelope.
const VERSION: u8 = 1;

/// A message from one node to others.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::node) struct Envelope {
    #[serde(rename = "v")]
    version: u8,
    /// Id of the node that wrote it.
    pub(super) from: String,
    /// The sender's number for the question; an answer has the number of its question.
    pub(super) id: u64,
    pub(super) body: Body,
}

/// What an envelope holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::node) enum Body {
    /// To be carried out and acknowledged.
    Order(Order),
    /// To be answered.
    Ask(Ask),
    /// The answer to either.
    Answer(Answer),
}

/// An order for the sessions of a user: the part of [`Control`] that concerns other nodes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::node) enum Order {
    Disconnect {
        target: Target,
        code: u16,
        reason: String,
        spared: Vec<String>,
    },
    Unsubscribe {
        target: Target,
        channel: String,
    },
    Subscribe {
        target: Target,
        channel: String,
        /// JSON text; empty for none.
        info: String,
        /// JSON text; empty for none.
        data: String,
        /// Offset and epoch.
        recover: Option<(u64, String)>,
    },
    Refresh {
        target: Target,
        expired: bool,
        expire_at: Option<u64>,
    },
}

/// A question about the sessions of a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::node) enum Ask {
    /// Connections by client id, after a cursor.
    Connections { user: Option<String>, after: String, limit: usize },
    /// Channels by name, after a cursor.
    Channels { pattern: Option<String>, after: String, limit: usize },
    /// The node's numbers.
    Counts,
}

/// An answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::node) enum Answer {
    /// The order is with the sessions.
    Done,
    Connections(BTreeMap<String, ConnectionView>),
    /// The same, cut short by the bytes of an answer: there may be more after the last one.
    ConnectionsCut(BTreeMap<String, ConnectionView>),
    /// Too many questions of this kind are under way; nothing was done.
    Busy,
    /// The node does not know this kind of order or question; nothing was done.
    Unsupported,
    /// Subscribers by channel.
    Channels(BTreeMap<String, usize>),
    /// The same, cut short: names after `until` were not looked at.
    ChannelsCut {
        channels: BTreeMap<String, usize>,
        until: String,
    },
    Counts(Counts),
}

/// Why a message cannot be understood.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("envelope of version {0}")]
    Version(u8),
    #[error("{0}")]
    Content(#[from] serde_json::Error),
    /// The envelope can be read, and not what it holds: a newer node wrote it.
    #[error("from node {from}: {error}")]
    Body {
        from: String,
        id: u64,
        /// Else it is an order or a question, and somebody waits for an answer.
        is_answer: bool,
        error: serde_json::Error,
    },
}

impl Envelope {
    pub(super) fn new(from: &str, id: u64, body: Body) -> Self {
        Self { version: VERSION, from: from.to_owned(), id, body }
    }

    pub(super) fn encode(&self) -> Result<Bytes, Unreadable> {
        Ok(serde_json::to_vec(self)?.into())
    }

    pub(super) fn decode(message: &[u8]) -> Result<Self, Unreadable> {
        #[derive(Deserialize)]
        struct Head {
            v: u8,
        }
        match serde_json::from_slice::<Head>(message)?.v {
            VERSION => serde_json::from_slice(message).map_err(|error| Self::without_body(message, error)),
            other => Err(Unreadable::Version(other)),
        }
    }

    /// Why a message is not understood of which the head is.
    fn without_body(message: &[u8], error: serde_json::Error) -> Unreadable {
        #[derive(Deserialize)]
        struct Sealed {
            from: String,
            id: u64,
            body: serde_json::Map<String, serde_json::Value>,
        }
        match serde_json::from_slice::<Sealed>(message) {
            Ok(Sealed { from, id, body }) => {
                Unreadable::Body { from, id, is_answer: body.contains_key("answer"), error }
            }
            Err(error) => error.into(),
        }
    }
}

impl Order {
    /// `None` for what concerns only the node itself.
    pub(in crate::node) fn of(control: &Control) -> Option<Self> {
        let text = |json: &Bytes| String::from_utf8_lossy(json).into_owned();
        Some(match control.clone() {
            Control::Disconnect(target, disconnect, spared) => Self::Disconnect {
                target,
                code: disconnect.code,
                reason: disconnect.reason.into_owned(),
                spared,
            },
            Control::Unsubscribe(target, channel) => Self::Unsubscribe { target, channel },
            Control::Subscribe(target, subscribe) => Self::Subscribe {
                target,
                channel: subscribe.channel,
                info: text(&subscribe.info),
                data: text(&subscribe.data),
                recover: subscribe
                    .recover
                    .map(|position| (position.offset, position.epoch.as_ref().to_owned())),
            },
            Control::Refresh { target, expired, expire_at } => Self::Refresh { target, expired, expire_at },
            Control::Drain { .. } => return None,
        })
    }
}

impl From<Order> for Control {
    fn from(order: Order) -> Self {
        match order {
            Order::Disconnect { target, code, reason, spared } => {
                Self::Disconnect(target, Disconnect::new(code, reason), spared)
            }
            Order::Unsubscribe { target, channel } => Self::Unsubscribe(target, channel),
            Order::Subscribe { target, channel, info, data, recover } => {
                let recover = recover.map(|(offset, epoch)| Position { offset, epoch: epoch.into() });
                Self::Subscribe(
                    target,
                    ServerSubscribe { channel, info: info.into(), data: data.into(), recover },
                )
            }
            Order::Refresh { target, expired, expire_at } => Self::Refresh { target, expired, expire_at },
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use super::*;

    fn target() -> Target {
        Target { user: "42".to_owned(), client: Some("0123".to_owned()) }
    }

    #[test]
    fn every_order_survives_the_trip() {
        let subscribe = ServerSubscribe {
            channel: "a".to_owned(),
            info: r#"{"name":"고라니"}"#.into(),
            data: Bytes::new(),
            recover: Some(Position { offset: u64::MAX, epoch: "e".into() }),
        };
        for control in [
            Control::Disconnect(target(), Disconnect::new(4100, "\"bye\""), vec!["spared".to_owned()]),
            Control::Unsubscribe(target(), "a".to_owned()),
            Control::Subscribe(target(), subscribe),
            Control::Refresh { target: Target::default(), expired: true, expire_at: Some(7) },
        ] {
            let order = Order::of(&control).unwrap();
            let message = Envelope::new("0123abcd", 7, Body::Order(order)).encode().unwrap();
            let read = Envelope::decode(&message).unwrap();
            assert_eq!((read.from.as_str(), read.id), ("0123abcd", 7));
            let Body::Order(order) = read.body else { panic!("{:?}", read.body) };
            assert_eq!(format!("{:?}", Control::from(order)), format!("{control:?}"));
        }
        assert!(Order::of(&Control::Drain { over: std::time::Duration::ZERO }).is_none());
    }

    #[test]
    fn unknown_versions_and_kinds_are_refused_and_unknown_fields_are_skipped() {
        let read = |text: &str| Envelope::decode(text.as_bytes());
        let newer = read(r#"{"v":2,"letter":[]}"#);
        assert!(matches!(newer, Err(Unreadable::Version(2))), "{newer:?}");
        for (kind, is_of_answer) in [("dance", false), ("answer", true)] {
            let unknown = read(&format!(r#"{{"v":1,"from":"a","id":7,"body":{{"{kind}":{{"song":1}}}}}}"#));
            let Err(Unreadable::Body { from, id, is_answer, .. }) = unknown else { panic!("{unknown:?}") };
            assert_eq!((from.as_str(), id, is_answer), ("a", 7, is_of_answer));
        }
        assert!(matches!(read(r#"{"v":1,"body":{"ask":{"song":1}}}"#), Err(Unreadable::Content(_))));
        assert!(matches!(read(""), Err(Unreadable::Content(_))));
        let known = read(
            r#"{"v":1,"from":"a","id":1,"mood":1,"body":{"ask":{"channels":{"after":"","limit":1,"x":0}}}}"#,
        );
        assert!(matches!(known.unwrap().body, Body::Ask(Ask::Channels { pattern: None, .. })));
    }
}
