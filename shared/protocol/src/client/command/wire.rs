//! The JSON shape of a command, and the way from it to [`Command`]. `docs/protocols/client.md` §2.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::{ClientCommand, ClientRequest, DecodeError, Invalid, Malformed, Publish, Recover, Since};
use crate::client::json::{JsonError, checked_text};

/// See [`super::decode`].
pub(super) fn decode(line: &[u8], max_depth: usize) -> Result<ClientCommand<'_>, DecodeError> {
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

/// A request as it came: what is wrong with it alone can be told only once its id is known, which may come after it.
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
    #[serde(borrow, deserialize_with = "text")]
    channel: Cow<'a, str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PublishFields<'a> {
    #[serde(borrow, deserialize_with = "text")]
    channel: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "given")]
    data: Option<&'a RawValue>,
    #[serde(rename = "type", deserialize_with = "nullable")]
    kind: i32,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RpcFields<'a> {
    #[serde(borrow, deserialize_with = "text")]
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
    #[serde(borrow, deserialize_with = "text")]
    token: Cow<'a, str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SubRefreshFields<'a> {
    #[serde(borrow, deserialize_with = "text")]
    channel: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "text")]
    token: Cow<'a, str>,
    #[serde(rename = "type", deserialize_with = "nullable")]
    kind: i32,
}

/// The next value of a map: an object of fields, or `null`.
fn object<'de, A: MapAccess<'de>, T: Deserialize<'de>>(map: &mut A) -> Result<Option<T>, A::Error> {
    Ok(map.next_value::<Option<CommandObject<T>>>()?.map(|CommandObject(fields)| fields))
}

/// A struct that is an object on the wire. Derived structs alone would take an array of their fields' values too.
struct CommandObject<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for CommandObject<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = CommandObject<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(CommandObject)
    }
}

/// Any JSON value, `null` too: only a field that is not there is absent.
fn given<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// A field whose `null` is its default.
pub(super) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A string field; `null` is empty.
pub(super) fn text<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Cow<'a, str>, D::Error> {
    Ok(Option::<CommandText<'a>>::deserialize(deserializer)?.unwrap_or_default().0)
}

/// A map of strings; `null` is empty, as map and as value.
pub(super) fn headers<'de: 'a, 'a, D>(
    deserializer: D,
) -> Result<BTreeMap<Cow<'a, str>, Cow<'a, str>>, D::Error>
where
    D: Deserializer<'de>,
{
    let entries = Option::<BTreeMap<CommandText<'a>, Option<CommandText<'a>>>>::deserialize(deserializer)?
        .unwrap_or_default();
    Ok(entries.into_iter().map(|(name, value)| (name.0, value.unwrap_or_default().0)).collect())
}

/// A map of positions; `null` is empty, as map and as value.
pub(super) fn positions<'de: 'a, 'a, D>(
    deserializer: D,
) -> Result<BTreeMap<Cow<'a, str>, Recover<'a>>, D::Error>
where
    D: Deserializer<'de>,
{
    let entries =
        Option::<BTreeMap<CommandText<'a>, Option<CommandObject<Recover<'a>>>>>::deserialize(deserializer)?
            .unwrap_or_default();
    Ok(entries
        .into_iter()
        .map(|(channel, value)| (channel.0, value.map(|object| object.0).unwrap_or_default()))
        .collect())
}

/// One position, or `null`.
pub(super) fn position<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Since<'a>>, D::Error> {
    Ok(Option::<CommandObject<Since<'a>>>::deserialize(deserializer)?.map(|object| object.0))
}

/// A string that stays in the line unless it holds escapes. `Cow` alone is always copied where it is not a plain field.
#[derive(Default, PartialEq, Eq, PartialOrd, Ord)]
struct CommandText<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for CommandText<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor(PhantomData))
    }
}

struct TextVisitor<'a>(PhantomData<&'a str>);

impl<'de: 'a, 'a> Visitor<'de> for TextVisitor<'a> {
    type Value = CommandText<'a>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(CommandText(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(CommandText(Cow::Owned(text.to_owned())))
    }
}
