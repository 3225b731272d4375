//! The JSON shape of a command, and the way from it to [`ClientCommand`]. `docs/protocols/client.md` §2.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::{
    ClientCommand, ClientRequest, DecodeError, Invalid, Malformed, Publish,
    fields::{self, object},
};
use crate::client::json::{JsonError, checked_text};

/// Reads one command from one line.
///
/// Linear in the line's length; nothing recurses deeper than `max_depth` ([`crate::client::JSON_DEPTH`]; the command's own levels
/// count). Strings are copied only where they hold escapes.
///
/// # Errors
/// [`DecodeError::Malformed`] when the client does not speak the protocol, [`DecodeError::Invalid`] when it does and this
/// one command can be answered with an error.
pub fn decode(line: &[u8], max_depth: usize) -> Result<ClientCommand<'_>, DecodeError> {
    let text = checked_text(line, max_depth).map_err(Malformed::Json)?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let envelope = deserializer.deserialize_map(EnvelopeVisitor).map_err(|error| malformed(&error))?;
    deserializer.end().map_err(|error| malformed(&error))?;
    envelope.command()
}

fn malformed(error: &serde_json::Error) -> Malformed {
    match error.classify() {
        Category::Data => Malformed::Shape { column: error.column() },
        Category::Io | Category::Syntax | Category::Eof => {
            Malformed::Json(JsonError::Syntax { line: error.line(), column: error.column() })
        }
    }
}

/// The outermost object as it came.
#[derive(Default)]
struct CommandEnvelope<'a> {
    id: u32,
    request: Option<Wire<'a>>,
    two_requests: bool,
}

/// A request as it came: its faults can be reported only once its id is known, which may come after it.
enum Wire<'a> {
    Ready(ClientRequest<'a>),
    Publish(PublishFields<'a>),
    SubRefresh(SubRefreshFields<'a>),
}

impl<'a> CommandEnvelope<'a> {
    fn command(self) -> Result<ClientCommand<'a>, DecodeError> {
        let Self { id, request, two_requests } = self;
        if two_requests {
            return Err(Malformed::TwoRequests.into());
        }
        let Some(wire) = request else {
            return if id == 0 {
                Ok(ClientCommand { id, request: ClientRequest::Pong })
            } else {
                Err(Malformed::NoRequest.into())
            };
        };
        if id == 0 && !matches!(wire, Wire::Ready(ClientRequest::Send { .. })) {
            return Err(Malformed::NoId.into());
        }
        let request = match wire {
            Wire::Ready(request) => request,
            Wire::Publish(PublishFields { kind: 0, channel, data: Some(data) }) => {
                ClientRequest::Publish(Publish { channel, data })
            }
            Wire::Publish(PublishFields { kind: 0, .. }) => {
                return Err(DecodeError::Invalid { id, reason: Invalid::NoData });
            }
            Wire::SubRefresh(SubRefreshFields { kind: 0, channel, token }) => {
                ClientRequest::SubRefresh { channel, token }
            }
            Wire::Publish(_) | Wire::SubRefresh(_) => {
                return Err(DecodeError::Invalid { id, reason: Invalid::NotAvailable });
            }
        };
        Ok(ClientCommand { id, request })
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum CommandKey {
    Id,
    Connect,
    Subscribe,
    Unsubscribe,
    Publish,
    Presence,
    PresenceStats,
    History,
    Rpc,
    Send,
    Refresh,
    SubRefresh,
    #[serde(other)]
    Unknown,
}

struct EnvelopeVisitor;

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = CommandEnvelope<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a command object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut envelope = CommandEnvelope::default();
        let mut has_id = false;
        while let Some(key) = map.next_key::<CommandKey>()? {
            let request = match key {
                CommandKey::Id => {
                    if std::mem::replace(&mut has_id, true) {
                        return Err(A::Error::duplicate_field("id"));
                    }
                    envelope.id = map.next_value::<Option<u32>>()?.unwrap_or_default();
                    None
                }
                CommandKey::Connect => object(&mut map)?.map(ClientRequest::Connect).map(Wire::Ready),
                CommandKey::Subscribe => object(&mut map)?.map(ClientRequest::Subscribe).map(Wire::Ready),
                CommandKey::Unsubscribe => object(&mut map)?
                    .map(|ChannelField { channel }| Wire::Ready(ClientRequest::Unsubscribe { channel })),
                CommandKey::Publish => object(&mut map)?.map(Wire::Publish),
                CommandKey::Presence => object(&mut map)?
                    .map(|ChannelField { channel }| Wire::Ready(ClientRequest::Presence { channel })),
                CommandKey::PresenceStats => object(&mut map)?
                    .map(|ChannelField { channel }| Wire::Ready(ClientRequest::PresenceStats { channel })),
                CommandKey::History => object(&mut map)?.map(ClientRequest::History).map(Wire::Ready),
                CommandKey::Rpc => object(&mut map)?
                    .map(|RpcFields { method, data }| Wire::Ready(ClientRequest::Rpc { method, data })),
                CommandKey::Send => {
                    object(&mut map)?.map(|SendFields { data }| Wire::Ready(ClientRequest::Send { data }))
                }
                CommandKey::Refresh => object(&mut map)?
                    .map(|RefreshFields { token }| Wire::Ready(ClientRequest::Refresh { token })),
                CommandKey::SubRefresh => object(&mut map)?.map(Wire::SubRefresh),
                CommandKey::Unknown => {
                    map.next_value::<IgnoredAny>()?;
                    None
                }
            };
            if request.is_some() {
                envelope.two_requests |= envelope.request.is_some();
                envelope.request = request;
            }
        }
        Ok(envelope)
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ChannelField<'a> {
    #[serde(borrow, deserialize_with = "fields::text")]
    channel: Cow<'a, str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PublishFields<'a> {
    #[serde(borrow, deserialize_with = "fields::text")]
    channel: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "fields::given")]
    data: Option<&'a RawValue>,
    #[serde(rename = "type", deserialize_with = "fields::nullable")]
    kind: i32,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RpcFields<'a> {
    #[serde(borrow, deserialize_with = "fields::text")]
    method: Cow<'a, str>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SendFields<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RefreshFields<'a> {
    #[serde(borrow, deserialize_with = "fields::text")]
    token: Cow<'a, str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SubRefreshFields<'a> {
    #[serde(borrow, deserialize_with = "fields::text")]
    channel: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "fields::text")]
    token: Cow<'a, str>,
    #[serde(rename = "type", deserialize_with = "fields::nullable")]
    kind: i32,
}
