//! Fields of commands on the wire: `null` counts as absent, strings stay in the line. `docs/protocols/client.md` §2 and §6.

use std::{borrow::Cow, collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::value::RawValue;

use crate::client::push::PayloadKind;

/// A payload in a command: one JSON value in the JSON form, any bytes in the protobuf form.
#[derive(Clone)]
pub struct Payload<'a> {
    /// Its bytes.
    pub data: Cow<'a, [u8]>,
    /// The kind of `data`.
    pub kind: PayloadKind,
}

impl<'de: 'a, 'a> Deserialize<'de> for Payload<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = <&RawValue>::deserialize(deserializer)?;
        Ok(Self { data: Cow::Borrowed(value.get().as_bytes()), kind: PayloadKind::Json })
    }
}

/// The next value of a map: an object of fields, or `null`.
pub(super) fn object<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
    map: &mut A,
) -> Result<Option<T>, A::Error> {
    Ok(map.next_value::<Option<CommandObject<T>>>()?.map(|CommandObject(fields)| fields))
}

/// A struct that is an object on the wire. Derived structs alone would take an array of their fields' values too.
pub(super) struct CommandObject<T>(pub(super) T);

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
pub(super) fn given<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Payload<'a>>, D::Error> {
    Payload::deserialize(deserializer).map(Some)
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

/// A string field that nothing depends on; `null` is empty. Half a surrogate pair, as scripts leave it that cut a text, becomes
/// U+FFFD.
pub(super) fn lossy_text<'de: 'a, 'a, D>(deserializer: D) -> Result<Cow<'a, str>, D::Error>
where
    D: Deserializer<'de>,
{
    Ok(Option::<LossyText<'a>>::deserialize(deserializer)?.unwrap_or_default().0)
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

/// A string that stays in the line unless it holds escapes. `Cow` alone is always copied where it is not a plain field.
#[derive(Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CommandText<'a>(pub(super) Cow<'a, str>);

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

/// The same with U+FFFD in the place of what is no text.
#[derive(Default)]
struct LossyText<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for LossyText<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // As bytes, for which the parser does not ask that pairs are whole.
        deserializer.deserialize_bytes(LossyTextVisitor(PhantomData))
    }
}

struct LossyTextVisitor<'a>(PhantomData<&'a str>);

impl<'de: 'a, 'a> Visitor<'de> for LossyTextVisitor<'a> {
    type Value = LossyText<'a>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a string")
    }

    fn visit_borrowed_bytes<E>(self, text: &'de [u8]) -> Result<Self::Value, E> {
        Ok(LossyText(String::from_utf8_lossy(text)))
    }

    fn visit_bytes<E>(self, text: &[u8]) -> Result<Self::Value, E> {
        Ok(LossyText(Cow::Owned(String::from_utf8_lossy(text).into_owned())))
    }
}

/// The position in one server-side subscription.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Recover<'a> {
    /// True to recover at all.
    #[serde(deserialize_with = "nullable")]
    pub recover: bool,
    /// Last offset seen.
    #[serde(deserialize_with = "nullable")]
    pub offset: u64,
    /// Life of the stream it was seen in; empty: any.
    #[serde(borrow, deserialize_with = "text")]
    pub epoch: Cow<'a, str>,
}

/// A position in a stream.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Since<'a> {
    /// Offset.
    #[serde(deserialize_with = "nullable")]
    pub offset: u64,
    /// Life of the stream; empty: any.
    #[serde(borrow, deserialize_with = "text")]
    pub epoch: Cow<'a, str>,
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
