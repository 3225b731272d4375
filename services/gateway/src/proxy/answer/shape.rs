//! The JSON of answers. `null` is absent everywhere, and `[]` an empty object.

use std::{collections::BTreeMap, marker::PhantomData};

use base64::{
    Engine,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use gorani_auth::OptionOverrides;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error, IgnoredAny},
};
use serde_json::value::RawValue;

use super::error::{AnswerError, described};

/// Standard base64, with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

/// An object, or what stands for an empty one.
pub(super) fn object<'a, T>(name: &'static str, raw: &'a RawValue) -> Result<T, AnswerError>
where
    T: Deserialize<'a> + Default,
{
    if is_empty_list(raw.get().as_bytes()) {
        return Ok(T::default());
    }
    serde_json::from_str(raw.get()).map_err(|error| AnswerError::Shape(name, described(&error)))
}

/// `[]`.
pub(super) fn is_empty_list(json: &[u8]) -> bool {
    let inner = json.trim_ascii().strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
    inner.is_some_and(|inner| inner.trim_ascii().is_empty())
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct EndShape {
    #[serde(deserialize_with = "or_default")]
    pub(super) code: u32,
    #[serde(deserialize_with = "or_default")]
    pub(super) reason: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ErrorShape {
    #[serde(deserialize_with = "or_default")]
    pub(super) code: u32,
    #[serde(deserialize_with = "or_default")]
    pub(super) message: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) temporary: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ConnectShape<'a> {
    #[serde(deserialize_with = "or_default")]
    pub(super) user: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) expire_at: u64,
    #[serde(borrow)]
    pub(super) info: Option<&'a RawValue>,
    #[serde(deserialize_with = "or_default")]
    pub(super) b64info: String,
    #[serde(borrow)]
    pub(super) data: Option<&'a RawValue>,
    #[serde(deserialize_with = "or_default")]
    pub(super) b64data: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) channels: Vec<String>,
    #[serde(borrow)]
    pub(super) subs: MapShape<'a, SubscribeShape<'a>>,
    #[serde(borrow)]
    pub(super) meta: Option<&'a RawValue>,
    pub(super) caps: Option<IgnoredAny>,
    pub(super) labels: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RefreshShape<'a> {
    #[serde(deserialize_with = "or_default")]
    pub(super) expired: bool,
    #[serde(deserialize_with = "or_default")]
    pub(super) expire_at: u64,
    #[serde(borrow)]
    pub(super) info: Option<&'a RawValue>,
    #[serde(deserialize_with = "or_default")]
    pub(super) b64info: String,
    #[serde(borrow)]
    pub(super) meta: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct SubscribeShape<'a> {
    #[serde(deserialize_with = "or_default")]
    pub(super) expire_at: u64,
    #[serde(borrow)]
    pub(super) info: Option<&'a RawValue>,
    #[serde(deserialize_with = "or_default")]
    pub(super) b64info: String,
    #[serde(borrow)]
    pub(super) data: Option<&'a RawValue>,
    #[serde(deserialize_with = "or_default")]
    pub(super) b64data: String,
    #[serde(rename = "override")]
    pub(super) overrides: LenientObject<OverridesShape>,
}

/// Changed options: each is `{"value":true}`, or `true` alone, as packages of frameworks write it.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct OverridesShape {
    presence: Option<OverrideShape>,
    join_leave: Option<OverrideShape>,
    force_push_join_leave: Option<OverrideShape>,
    force_recovery: Option<OverrideShape>,
    force_positioning: Option<OverrideShape>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OverrideShape {
    Plain(bool),
    Boxed { value: bool },
}

impl From<OverridesShape> for OptionOverrides {
    fn from(shape: OverridesShape) -> Self {
        let value = |option: Option<OverrideShape>| {
            option.map(|option| match option {
                OverrideShape::Plain(value) | OverrideShape::Boxed { value } => value,
            })
        };
        Self {
            presence: value(shape.presence),
            join_leave: value(shape.join_leave),
            force_push_join_leave: value(shape.force_push_join_leave),
            force_recovery: value(shape.force_recovery),
            force_positioning: value(shape.force_positioning),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct PublishShape<'a> {
    #[serde(borrow)]
    pub(super) data: Option<&'a RawValue>,
    #[serde(deserialize_with = "or_default")]
    pub(super) b64data: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) skip_history: bool,
    pub(super) tags: LenientObject<BTreeMap<String, String>>,
    #[serde(deserialize_with = "or_default")]
    pub(super) idempotency_key: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) drop: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct RpcShape<'a> {
    #[serde(borrow)]
    pub(super) data: Option<&'a RawValue>,
    #[serde(deserialize_with = "or_default")]
    pub(super) b64data: String,
}

/// `null` is the default.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// An object that may also be `null` or `[]`.
#[derive(Default)]
pub(super) struct LenientObject<T>(pub(super) T);

impl<'de, T: DeserializeOwned + Default> Deserialize<'de> for LenientObject<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Option::<&RawValue>::deserialize(deserializer)?;
        match raw.map(RawValue::get) {
            Some(json) if !is_empty_list(json.as_bytes()) => {
                serde_json::from_str(json).map(Self).map_err(Error::custom)
            }
            _ => Ok(Self::default()),
        }
    }
}

/// Objects by name, each of which may also be `null` or `[]`.
pub(super) struct MapShape<'a, T>(pub(super) BTreeMap<String, T>, PhantomData<&'a ()>);

impl<T> Default for MapShape<'_, T> {
    fn default() -> Self {
        Self(BTreeMap::new(), PhantomData)
    }
}

impl<'de: 'a, 'a, T: Deserialize<'a> + Default> Deserialize<'de> for MapShape<'a, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Option::<&'a RawValue>::deserialize(deserializer)?;
        let Some(json) = raw.map(RawValue::get).filter(|json| !is_empty_list(json.as_bytes())) else {
            return Ok(Self::default());
        };
        let entries: BTreeMap<String, Option<&'a RawValue>> =
            serde_json::from_str(json).map_err(Error::custom)?;
        let entries = entries.into_iter().map(|(name, raw)| {
            let value = raw.map_or_else(|| Ok(T::default()), |raw| object("subs", raw));
            value.map(|value| (name, value)).map_err(Error::custom)
        });
        Ok(Self(entries.collect::<Result<_, _>>()?, PhantomData))
    }
}
