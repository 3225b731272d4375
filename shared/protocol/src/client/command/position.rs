//! Positions in the streams of channels, as commands have them. `docs/protocols/client.md` §6.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Deserializer};

use super::fields::{self, CommandObject, CommandText};

/// The position in one server-side subscription.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Recover<'a> {
    /// Whether to recover at all.
    #[serde(deserialize_with = "fields::nullable")]
    pub recover: bool,
    /// Last offset seen.
    #[serde(deserialize_with = "fields::nullable")]
    pub offset: u64,
    /// Life of the stream it was seen in; empty: any.
    #[serde(borrow, deserialize_with = "fields::text")]
    pub epoch: Cow<'a, str>,
}

/// A position in a stream.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Since<'a> {
    /// Offset.
    #[serde(deserialize_with = "fields::nullable")]
    pub offset: u64,
    /// Life of the stream; empty: any.
    #[serde(borrow, deserialize_with = "fields::text")]
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
