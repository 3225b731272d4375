//! Values of claims as issuers write them: times, audiences, JSON that is passed on, user ids. Read by [`super::claims`] and
//! [`super::id_token`].
//! `docs/protocols/client.md` §10.3 to §10.5.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::{Deserialize, Deserializer};
use serde_json::value::{RawValue, to_raw_value};

/// A user id: a text, or a number as its digits stand in the token, since many backends number their users. `null` is none.
pub(super) fn subject<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let Some(value) = Option::<Box<RawValue>>::deserialize(deserializer)? else { return Ok(None) };
    let json = value.get();
    // The first byte tells: JSON numbers begin with a digit or a minus.
    if json.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return Ok(Some(json.to_owned()));
    }
    serde_json::from_str(json).map(Some).map_err(serde::de::Error::custom)
}

/// `aud` is one text or a list (RFC 7519 §4.1.3).
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum AudienceClaim {
    One(String),
    Several(Vec<String>),
}

impl AudienceClaim {
    /// True if it names this audience.
    pub(super) fn is_for(&self, audience: &str) -> bool {
        match self {
            Self::One(one) => one == audience,
            Self::Several(several) => several.iter().any(|one| one == audience),
        }
    }

    /// True if it names more than one.
    pub(super) fn is_for_several(&self) -> bool {
        matches!(self, Self::Several(several) if several.len() > 1)
    }
}

/// A time in seconds, whole or with a fraction (RFC 7519 "NumericDate"; Python and PHP send fractions).
/// Rounded down, so a token never lives longer than its issuer said. A time before 1970 counts as 0.
pub(super) fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Seconds {
        Whole(u64),
        Fraction(f64),
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, as the doc says")]
    let seconds = Option::<Seconds>::deserialize(deserializer)?.map(|seconds| match seconds {
        Seconds::Whole(seconds) => seconds,
        Seconds::Fraction(seconds) => seconds as u64,
    });
    Ok(seconds)
}

/// `{"value":true}`, as the tokens write a changed option.
pub(super) mod boxed_bool {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct BoxedBool {
        value: bool,
    }

    pub(in crate::token) fn serialize<S: Serializer>(
        value: &Option<bool>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(|value| BoxedBool { value }).serialize(serializer)
    }

    pub(in crate::token) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<bool>, D::Error> {
        Ok(Option::<BoxedBool>::deserialize(deserializer)?.map(|boxed| boxed.value))
    }
}

/// Raw JSON; `null` is none.
pub(super) fn raw<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    let value = Option::<Box<RawValue>>::deserialize(deserializer)?;
    value.map(without_newlines).transpose().map_err(serde::de::Error::custom)
}

/// Bytes in base64, as issuers for binary clients write `info` and `data`. Bytes that are JSON are that JSON; others stay a
/// text in base64, as binary publications do. An empty text is none.
pub(super) fn base64_raw<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Box<RawValue>>, D::Error> {
    let Some(text) = Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let bytes = BASE64.decode(&text).map_err(serde::de::Error::custom)?;
    let json = String::from_utf8(bytes).ok().and_then(|json| RawValue::from_string(json).ok());
    let value = match json {
        Some(json) => without_newlines(json),
        None => to_raw_value(&text),
    };
    value.map(Some).map_err(serde::de::Error::custom)
}

/// Newlines between the parts of JSON are taken out, since a frame separates messages by them.
fn without_newlines(value: Box<RawValue>) -> Result<Box<RawValue>, serde_json::Error> {
    if value.get().contains(['\n', '\r']) {
        return RawValue::from_string(value.get().replace(['\n', '\r'], ""));
    }
    Ok(value)
}
