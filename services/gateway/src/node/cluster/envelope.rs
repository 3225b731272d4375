//! The messages between nodes: commands, queries and answers, in an envelope with a version. `docs/architecture.md` §5.7.
//!
//! JSON. A new kind or field needs no new version: a node that does not know a kind answers [`ClusterAnswer::Unsupported`] at
//! once, and its lease lists the kinds that it knows ([`KINDS`]), so that others need not ask; unknown fields are skipped. A new
//! version is for envelopes that older nodes could not open. Record 35.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::membership::NodeCounts;
use crate::{
    event_log::query::{EventAnswer, EventQuery},
    hub::scan::ConnectionInfo,
    session_command::SessionCommand,
};

/// The version of the envelope.
const VERSION: u8 = 1;
/// The kinds of commands and queries that the first version understands. Its lease does not list them.
const FIRST_KINDS: u64 = 0b111_1111;
/// The kinds that this version understands, for its lease: a number with one bit for each, since every node reads the leases
/// of all every few seconds. A bit that has been given is never given to another kind.
pub(super) const KINDS: u64 = FIRST_KINDS | LATER_FIELDS | SUBSCRIBERS | INSPECT | EVENTS;
/// Commands with fields that the first version would pass over: it would act on more connections than it should, or do less.
const LATER_FIELDS: u64 = 1 << 7;
/// [`ClusterQuery::Subscribers`].
const SUBSCRIBERS: u64 = 1 << 8;
/// [`ClusterQuery::Inspect`].
const INSPECT: u64 = 1 << 9;
/// [`ClusterQuery::Events`].
const EVENTS: u64 = 1 << 10;

/// A message from one node to others.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Envelope {
    #[serde(rename = "v")]
    version: u8,
    /// Id of the node that wrote it.
    pub(super) from: String,
    /// The sender's number for the query; an answer has the number of its query.
    pub(super) id: u64,
    pub(super) body: EnvelopeBody,
}

/// The content of an envelope.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum EnvelopeBody {
    /// To be carried out and acknowledged.
    Order(SessionCommand),
    /// To be answered.
    Ask(ClusterQuery),
    /// The answer to either.
    Answer(ClusterAnswer),
}

impl EnvelopeBody {
    /// True if a node understands it. `kinds`: those in the node's lease; 0 where it lists none.
    pub(super) fn is_understood_by(&self, kinds: u64) -> bool {
        let known = if kinds == 0 { FIRST_KINDS } else { kinds };
        known & self.kind() == self.kind()
    }

    /// The bit of its kind; none for an answer, which goes only to a node that has asked.
    fn kind(&self) -> u64 {
        let later = match self {
            Self::Order(command) if command.has_later_fields() => LATER_FIELDS,
            _ => 0,
        };
        later
            | match self {
                Self::Order(SessionCommand::Disconnect { .. }) => 1,
                Self::Order(SessionCommand::Unsubscribe { .. }) => 1 << 1,
                Self::Order(SessionCommand::Subscribe { .. }) => 1 << 2,
                Self::Order(SessionCommand::Refresh { .. }) => 1 << 3,
                Self::Ask(ClusterQuery::Connections { .. }) => 1 << 4,
                Self::Ask(ClusterQuery::Channels { .. }) => 1 << 5,
                Self::Ask(ClusterQuery::Counts) => 1 << 6,
                Self::Ask(ClusterQuery::Subscribers { .. }) => SUBSCRIBERS,
                Self::Ask(ClusterQuery::Inspect(_)) => INSPECT,
                Self::Ask(ClusterQuery::Events(_)) => EVENTS,
                Self::Answer(_) => 0,
            }
    }
}

/// A query about the sessions of a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ClusterQuery {
    /// Connections by client id, after a cursor.
    Connections { user: Option<String>, after: String, limit: usize },
    /// Channels by name, after a cursor.
    Channels { pattern: Option<String>, after: String, limit: usize },
    /// The node's numbers.
    Counts,
    /// The subscribers of one channel.
    Subscribers { channel: String },
    /// A question of an operator, of which this part knows nothing ([`super::inspect`]).
    Inspect(serde_json::Value),
    /// The events of the node.
    Events(EventQuery),
}

/// An answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ClusterAnswer {
    /// The command is with the sessions.
    Done,
    Connections(BTreeMap<String, ConnectionInfo>),
    /// The same, cut short by the bytes of an answer: there may be more after the last one.
    ConnectionsCut(BTreeMap<String, ConnectionInfo>),
    /// Too many queries of this kind are under way; nothing was done.
    Busy,
    /// The node does not know this kind of command or query; nothing was done.
    Unsupported,
    /// Subscribers by channel.
    Channels(BTreeMap<String, usize>),
    /// The same, cut short: names after `until` were not looked at.
    ChannelsCut {
        channels: BTreeMap<String, usize>,
        until: String,
    },
    Counts(NodeCounts),
    /// Subscribers of the channel that was asked for.
    Subscribers(usize),
    /// The answer to a question of an operator.
    Inspected(serde_json::Value),
    /// The events of the node.
    Events(EventAnswer),
}

/// Why a message cannot be understood.
#[derive(Debug, thiserror::Error)]
pub(super) enum EnvelopeError {
    #[error("envelope of version {0}")]
    Version(u8),
    #[error("{0}")]
    Content(#[from] serde_json::Error),
    /// The envelope can be read, and not what it holds: a newer node wrote it.
    #[error("from node {from}: {error}")]
    Body {
        from: String,
        id: u64,
        /// Else it is a command or a query, and its sender waits for an answer.
        is_answer: bool,
        error: serde_json::Error,
    },
}

impl Envelope {
    pub(super) fn new(from: &str, id: u64, body: EnvelopeBody) -> Self {
        Self { version: VERSION, from: from.to_owned(), id, body }
    }

    pub(super) fn encode(&self) -> Result<Bytes, EnvelopeError> {
        Ok(serde_json::to_vec(self)?.into())
    }

    pub(super) fn decode(message: &[u8]) -> Result<Self, EnvelopeError> {
        #[derive(Deserialize)]
        struct EnvelopeHead {
            v: u8,
        }
        match serde_json::from_slice::<EnvelopeHead>(message)?.v {
            VERSION => serde_json::from_slice(message).map_err(|error| Self::without_body(message, error)),
            other => Err(EnvelopeError::Version(other)),
        }
    }

    /// The reason why a message cannot be read although its head can.
    fn without_body(message: &[u8], error: serde_json::Error) -> EnvelopeError {
        #[derive(Deserialize)]
        struct SignedEnvelope {
            from: String,
            id: u64,
            body: serde_json::Map<String, serde_json::Value>,
        }
        match serde_json::from_slice::<SignedEnvelope>(message) {
            Ok(SignedEnvelope { from, id, body }) => {
                EnvelopeError::Body { from, id, is_answer: body.contains_key("answer"), error }
            }
            Err(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use gorani_auth::OptionOverrides;
    use gorani_broker::Position;

    use super::*;
    use crate::{
        disconnect::Disconnect,
        session_command::{ServerSubscribe, SessionTarget},
    };

    fn target() -> SessionTarget {
        SessionTarget { user: "42".to_owned(), client: Some("0123".to_owned()), session: None }
    }

    /// The text is what nodes of every version write and read.
    #[test]
    fn every_golden_order_is_written_as_other_versions_write_it_and_read_as_it_was() {
        let subscribe = ServerSubscribe {
            channel: "a".to_owned(),
            info: r#"{"name":"고라니"}"#.into(),
            data: Bytes::new(),
            recover: Some(Position { offset: u64::MAX, epoch: "e".into() }),
            ..ServerSubscribe::default()
        };
        let disconnect = Disconnect::new(4100, "\"bye\"");
        let one = r#"{"user":"42","client":"0123"}"#;
        for (expected, text) in [
            (
                SessionCommand::Disconnect {
                    target: target(),
                    disconnect,
                    spared: vec!["spared".to_owned()],
                },
                format!(
                    r#"{{"disconnect":{{"target":{one},"code":4100,"reason":"\"bye\"","spared":["spared"]}}}}"#
                ),
            ),
            (
                SessionCommand::Unsubscribe { target: target(), channel: "a".to_owned() },
                format!(r#"{{"unsubscribe":{{"target":{one},"channel":"a"}}}}"#),
            ),
            (
                SessionCommand::Subscribe { target: target(), subscribe },
                format!(
                    r#"{{"subscribe":{{"target":{one},"channel":"a","info":"{{\"name\":\"고라니\"}}","data":"","recover":[18446744073709551615,"e"]}}}}"#
                ),
            ),
            (
                SessionCommand::Subscribe { target: target(), subscribe: ServerSubscribe::default() },
                format!(
                    r#"{{"subscribe":{{"target":{one},"channel":"","info":"","data":"","recover":null}}}}"#
                ),
            ),
            (
                SessionCommand::Refresh {
                    target: SessionTarget::default(),
                    expired: true,
                    expire_at: Some(7),
                    info: Bytes::new(),
                },
                r#"{"refresh":{"target":{"user":"","client":null},"expired":true,"expire_at":7}}"#.to_owned(),
            ),
            (
                SessionCommand::Refresh {
                    target: SessionTarget { session: Some("s".to_owned()), ..SessionTarget::default() },
                    expired: false,
                    expire_at: None,
                    info: "1".into(),
                },
                r#"{"refresh":{"target":{"user":"","client":null,"session":"s"},"expired":false,"expire_at":null,"info":"1"}}"#.to_owned(),
            ),
            (
                SessionCommand::Subscribe {
                    target: SessionTarget::default(),
                    subscribe: ServerSubscribe {
                        expire_at: Some(9),
                        overrides: OptionOverrides { presence: Some(false), ..OptionOverrides::default() },
                        ..ServerSubscribe::default()
                    },
                },
                r#"{"subscribe":{"target":{"user":"","client":null},"channel":"","info":"","data":"","recover":null,"expire_at":9,"overrides":{"presence":{"value":false}}}}"#.to_owned(),
            ),
        ] {
            let text = format!(r#"{{"v":1,"from":"0123abcd","id":7,"body":{{"order":{text}}}}}"#);
            let message = Envelope::new("0123abcd", 7, EnvelopeBody::Order(expected.clone())).encode();
            assert_eq!(str::from_utf8(&message.unwrap()).unwrap(), text);
            let read = Envelope::decode(text.as_bytes()).unwrap();
            assert_eq!((read.from.as_str(), read.id), ("0123abcd", 7));
            let EnvelopeBody::Order(command) = read.body else { panic!("{:?}", read.body) };
            assert_eq!(command, expected);
        }
    }

    #[test]
    fn an_order_is_read_with_fields_of_newer_versions_and_without_those_that_may_be_absent() {
        let orders = [
            r#"{"disconnect":{"target":{"user":"42","mood":1},"code":3000,"reason":"","spared":[],"mood":{}}}"#,
            r#"{"subscribe":{"mood":[1],"target":{"user":"42"},"channel":"a","info":"","data":""}}"#,
            r#"{"refresh":{"target":{"user":"42"},"expired":false,"mood":null}}"#,
        ];
        for order in orders {
            let text = format!(r#"{{"v":1,"from":"a","id":1,"body":{{"order":{order}}}}}"#);
            let EnvelopeBody::Order(command) = Envelope::decode(text.as_bytes()).unwrap().body else {
                panic!("{order}")
            };
            assert_eq!((command.subject(), command.client()), ("42", None));
        }
    }

    #[test]
    fn unknown_versions_and_kinds_are_refused_and_unknown_fields_are_skipped() {
        let read = |text: &str| Envelope::decode(text.as_bytes());
        let newer = read(r#"{"v":2,"letter":[]}"#);
        assert!(matches!(newer, Err(EnvelopeError::Version(2))), "{newer:?}");
        for (kind, is_of_answer) in [("dance", false), ("answer", true)] {
            let unknown = read(&format!(r#"{{"v":1,"from":"a","id":7,"body":{{"{kind}":{{"song":1}}}}}}"#));
            let Err(EnvelopeError::Body { from, id, is_answer, .. }) = unknown else { panic!("{unknown:?}") };
            assert_eq!((from.as_str(), id, is_answer), ("a", 7, is_of_answer));
        }
        assert!(matches!(read(r#"{"v":1,"body":{"ask":{"song":1}}}"#), Err(EnvelopeError::Content(_))));
        assert!(matches!(read(""), Err(EnvelopeError::Content(_))));
        let known = read(
            r#"{"v":1,"from":"a","id":1,"mood":1,"body":{"ask":{"channels":{"after":"","limit":1,"x":0}}}}"#,
        );
        assert!(matches!(
            known.unwrap().body,
            EnvelopeBody::Ask(ClusterQuery::Channels { pattern: None, .. })
        ));
    }

    #[test]
    fn a_command_with_later_fields_is_for_nodes_that_know_them() {
        let named = SessionTarget { session: Some("s".to_owned()), ..target() };
        let plain =
            |target| EnvelopeBody::Order(SessionCommand::Unsubscribe { target, channel: "a".to_owned() });
        assert!(plain(target()).is_understood_by(0) && plain(named.clone()).is_understood_by(KINDS));
        let subscribe =
            |subscribe| EnvelopeBody::Order(SessionCommand::Subscribe { target: target(), subscribe });
        let overrides = OptionOverrides { presence: Some(true), ..OptionOverrides::default() };
        let refresh =
            SessionCommand::Refresh { target: target(), expired: false, expire_at: None, info: "1".into() };
        for later in [
            plain(named),
            subscribe(ServerSubscribe { expire_at: Some(1), ..ServerSubscribe::default() }),
            subscribe(ServerSubscribe { overrides, ..ServerSubscribe::default() }),
            EnvelopeBody::Order(refresh),
            EnvelopeBody::Ask(ClusterQuery::Subscribers { channel: "a".to_owned() }),
        ] {
            assert!(!later.is_understood_by(0) && !later.is_understood_by(FIRST_KINDS), "{later:?}");
            assert!(later.is_understood_by(KINDS), "{later:?}");
        }
    }

    #[test]
    fn a_lease_that_tells_nothing_is_of_a_node_that_knows_the_first_kinds() {
        let counts = EnvelopeBody::Ask(ClusterQuery::Counts);
        assert!(counts.is_understood_by(0) && counts.is_understood_by(KINDS));
        assert!(!counts.is_understood_by(KINDS & !(1 << 6)));
        // Bits of a newer version are no harm.
        assert!(counts.is_understood_by(u64::MAX));
        assert!(EnvelopeBody::Answer(ClusterAnswer::Done).is_understood_by(1));
    }
}
