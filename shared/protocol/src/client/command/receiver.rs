//! The connect object of a receiver: what Centrifugo's unidirectional transports take as the body of a request, as the parameter
//! `cf_connect`, or as the first message, and the names of our own parameters beside it. `docs/protocols/http.md` §7.4.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{Deserialize, de::IgnoredAny};

use super::{
    Malformed,
    fields::{self, CommandObject, Payload, Recover},
};
use crate::client::json::{JsonError, checked_text};

/// The request of a receiver. Absent texts are empty.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct ReceiverConnect<'a> {
    /// Connection token; empty: none.
    #[serde(borrow, deserialize_with = "fields::text")]
    pub token: Cow<'a, str>,
    /// Channels besides those of the token.
    #[serde(deserialize_with = "fields::nullable")]
    pub channels: Vec<String>,
    /// Positions in all channels, as an answer or an event id said.
    #[serde(borrow, deserialize_with = "fields::text")]
    pub position: Cow<'a, str>,
    /// Channels with the positions to recover from.
    #[serde(borrow, deserialize_with = "fields::positions")]
    pub subs: BTreeMap<Cow<'a, str>, Recover<'a>>,
    /// Data for the connect proxy.
    #[serde(borrow)]
    pub data: Option<Payload<'a>>,
    /// Name of the client's kind.
    #[serde(borrow, deserialize_with = "fields::lossy_text")]
    pub name: Cow<'a, str>,
    /// The application's version.
    #[serde(borrow, deserialize_with = "fields::lossy_text")]
    pub version: Cow<'a, str>,
    /// Headers that a browser could not send over HTTP. Names as written by the client.
    #[serde(borrow, deserialize_with = "fields::headers")]
    pub headers: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
    /// The command of a session with commands, which holds such an object. Its token must not be passed over in silence.
    connect: Option<IgnoredAny>,
}

impl<'a> ReceiverConnect<'a> {
    /// Reads a connect object. Nothing but whitespace is none, in which nothing is asked for. `max_depth`:
    /// [`crate::client::JSON_DEPTH`].
    ///
    /// # Errors
    /// It is not one JSON object, a field has another type, or it is a command around such an object.
    pub fn decode(json: &'a [u8], max_depth: usize) -> Result<Self, Malformed> {
        let text = checked_text(json, max_depth)?;
        if text.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        let read: Result<CommandObject<Self>, _> = serde_json::from_str(text);
        let CommandObject(connect) = read.map_err(|error| {
            if error.is_data() {
                Malformed::Shape { column: error.column() }
            } else {
                Malformed::Json(JsonError::Syntax { line: error.line(), column: error.column() })
            }
        })?;
        if connect.connect.is_some() { Err(Malformed::Wrapped) } else { Ok(connect) }
    }
}

impl fmt::Debug for ReceiverConnect<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ReceiverConnect")
            .field("channels", &self.channels)
            .field("position", &self.position)
            .field("subs", &self.subs)
            .finish_non_exhaustive()
    }
}
