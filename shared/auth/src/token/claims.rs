//! The claims of connection and subscription tokens: read from their signed JSON, and written into signed tokens for
//! `gorani token` on the command line and for tests (backends use any JWT library). `docs/protocols/client.md` §10.3 to
//! §10.5. Unknown claims are ignored, as JWT requires.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::{InvalidToken, SignError, TOKEN_MAX_BYTES, TokenError};

/// Claims of a connection token.
#[derive(Debug, Clone, Default)]
pub struct ConnectionClaims {
    /// `sub`: user id; empty for an anonymous user.
    pub user: String,
    /// End of the connection unless it is refreshed, in Unix seconds: `exp`, or `expire_at` where given.
    /// None for never.
    pub expires_at: Option<u64>,
    /// `iat`, in Unix seconds.
    pub issued_at: Option<u64>,
    /// `jti`: id of the token.
    pub id: Option<String>,
    /// JSON that others see of this connection (`conn_info`): `info` or `b64info`. Without raw newlines.
    pub info: Option<Box<RawValue>>,
    /// JSON for the node and its backend only, never sent to clients. Without raw newlines.
    pub meta: Option<Box<RawValue>>,
    /// Channels to subscribe at once, each once, in the token's order. Names are not checked yet.
    pub channels: Vec<String>,
    /// The same with options, by channel.
    pub subs: BTreeMap<String, SubscribeClaims>,
}

impl ConnectionClaims {
    /// All channels to subscribe at once: those of `subs`, then those of `channels` that are not in it.
    pub fn server_side(&self) -> impl Iterator<Item = (&str, Option<&SubscribeClaims>)> {
        let subs = self.subs.iter().map(|(channel, claims)| (channel.as_str(), Some(claims)));
        let plain = self.channels.iter().filter(|channel| !self.subs.contains_key(*channel));
        subs.chain(plain.map(|channel| (channel.as_str(), None)))
    }
}

/// The claims of a connection token about one channel of its `subs`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(from = "SubscribePayload")]
pub struct SubscribeClaims {
    /// JSON that others see of this subscription (`chan_info`): `info` or `b64info`. Without raw newlines.
    pub info: Option<Box<RawValue>>,
    /// JSON for the client, in the subscription's `data`: `data` or `b64data`. Without raw newlines.
    pub data: Option<Box<RawValue>>,
    /// Changed options of the channel.
    pub overrides: OptionOverrides,
}

impl From<SubscribePayload> for SubscribeClaims {
    fn from(payload: SubscribePayload) -> Self {
        Self {
            info: payload.b64info.or(payload.info),
            data: payload.b64data.or(payload.data),
            overrides: payload.overrides,
        }
    }
}

/// Claims of a subscription token.
#[derive(Debug, Clone, Default)]
pub struct SubscriptionClaims {
    /// `sub`: the user it is for; empty for an anonymous one.
    pub user: String,
    /// The channel it is for. Not empty, but not checked otherwise.
    pub channel: String,
    /// The only connection it is for, by client id.
    pub client: Option<String>,
    /// End of the subscription unless it is refreshed, in Unix seconds: `exp`, or `expire_at` where given
    /// (0 there: never). None for never.
    pub expires_at: Option<u64>,
    /// `iat`, in Unix seconds.
    pub issued_at: Option<u64>,
    /// `jti`: id of the token.
    pub id: Option<String>,
    /// JSON that others see of this subscription (`chan_info`): `info` or `b64info`. Without raw newlines.
    pub info: Option<Box<RawValue>>,
    /// JSON for the client, in the subscription's `data`: `data` or `b64data`. Without raw newlines.
    pub data: Option<Box<RawValue>>,
    /// Changed options of the channel.
    pub overrides: OptionOverrides,
}

/// Options of a channel that a token changes for one subscription; in JSON `{"presence":{"value":true}}`.
/// None: as in the settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OptionOverrides {
    /// See [`ChannelOptions::presence`](crate::ChannelOptions::presence).
    #[serde(with = "boxed_bool", skip_serializing_if = "Option::is_none")]
    pub presence: Option<bool>,
    /// See [`ChannelOptions::join_leave`](crate::ChannelOptions::join_leave).
    #[serde(with = "boxed_bool", skip_serializing_if = "Option::is_none")]
    pub join_leave: Option<bool>,
    /// See [`ChannelOptions::force_push_join_leave`](crate::ChannelOptions::force_push_join_leave).
    #[serde(with = "boxed_bool", skip_serializing_if = "Option::is_none")]
    pub force_push_join_leave: Option<bool>,
    /// See [`ChannelOptions::force_recovery`](crate::ChannelOptions::force_recovery).
    #[serde(with = "boxed_bool", skip_serializing_if = "Option::is_none")]
    pub force_recovery: Option<bool>,
    /// See [`ChannelOptions::force_positioning`](crate::ChannelOptions::force_positioning).
    #[serde(with = "boxed_bool", skip_serializing_if = "Option::is_none")]
    pub force_positioning: Option<bool>,
}

/// The JSON of one channel in `subs`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct SubscribePayload {
    #[serde(deserialize_with = "raw")]
    info: Option<Box<RawValue>>,
    #[serde(deserialize_with = "base64_raw")]
    b64info: Option<Box<RawValue>>,
    #[serde(deserialize_with = "raw")]
    data: Option<Box<RawValue>>,
    #[serde(deserialize_with = "base64_raw")]
    b64data: Option<Box<RawValue>>,
    #[serde(rename = "override")]
    overrides: OptionOverrides,
}

/// The JSON of both kinds of tokens.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct TokenPayload {
    sub: Option<String>,
    #[serde(deserialize_with = "seconds")]
    pub(super) exp: Option<u64>,
    #[serde(rename = "nbf", deserialize_with = "seconds")]
    pub(super) not_before: Option<u64>,
    #[serde(deserialize_with = "seconds")]
    iat: Option<u64>,
    #[serde(deserialize_with = "seconds")]
    expire_at: Option<u64>,
    jti: Option<String>,
    #[serde(rename = "iss")]
    pub(super) issuer: Option<String>,
    #[serde(rename = "aud")]
    audience: Option<AudienceClaim>,
    #[serde(deserialize_with = "raw")]
    info: Option<Box<RawValue>>,
    #[serde(deserialize_with = "base64_raw")]
    b64info: Option<Box<RawValue>>,
    #[serde(deserialize_with = "raw")]
    data: Option<Box<RawValue>>,
    #[serde(deserialize_with = "base64_raw")]
    b64data: Option<Box<RawValue>>,
    #[serde(deserialize_with = "raw")]
    meta: Option<Box<RawValue>>,
    channels: Option<Vec<String>>,
    subs: Option<BTreeMap<String, Option<SubscribeClaims>>>,
    channel: Option<String>,
    client: Option<String>,
    #[serde(rename = "override")]
    overrides: Option<OptionOverrides>,
}

impl TokenPayload {
    pub(super) fn parse(json: &str) -> Result<Self, TokenError> {
        serde_json::from_str(json).map_err(|_| TokenError::Invalid(InvalidToken::Claims))
    }

    /// True if the `aud` claim names this audience.
    pub(super) fn is_for(&self, audience: &str) -> bool {
        match &self.audience {
            None => false,
            Some(AudienceClaim::One(one)) => one == audience,
            Some(AudienceClaim::Several(several)) => several.iter().any(|one| one == audience),
        }
    }

    /// The end of what the token allows: `expire_at` takes precedence over `exp`, and 0 there means never.
    pub(super) fn ends_at(&self) -> Option<u64> {
        match self.expire_at {
            Some(0) => None,
            Some(at) => Some(at),
            None => self.exp,
        }
    }

    pub(super) fn into_connection(self) -> Result<ConnectionClaims, TokenError> {
        // A token for one channel must not open a connection in the name of its user.
        if self.channel.is_some() {
            return Err(TokenError::Invalid(InvalidToken::WrongKind));
        }
        let expires_at = self.ends_at();
        let mut seen = BTreeSet::new();
        let mut channels = self.channels.unwrap_or_default();
        channels.retain(|channel| seen.insert(channel.clone()));
        let subs = self.subs.unwrap_or_default();
        Ok(ConnectionClaims {
            user: self.sub.unwrap_or_default(),
            expires_at,
            issued_at: self.iat,
            id: self.jti,
            info: self.b64info.or(self.info),
            meta: self.meta,
            channels,
            subs: subs.into_iter().map(|(channel, claims)| (channel, claims.unwrap_or_default())).collect(),
        })
    }

    pub(super) fn into_subscription(self) -> Result<SubscriptionClaims, TokenError> {
        let expires_at = self.ends_at();
        let channel = self.channel.filter(|channel| !channel.is_empty());
        Ok(SubscriptionClaims {
            user: self.sub.unwrap_or_default(),
            channel: channel.ok_or(TokenError::Invalid(InvalidToken::Claims))?,
            client: self.client.filter(|client| !client.is_empty()),
            expires_at,
            issued_at: self.iat,
            id: self.jti,
            info: self.b64info.or(self.info),
            data: self.b64data.or(self.data),
            overrides: self.overrides.unwrap_or_default(),
        })
    }
}

/// `aud` is one text or a list (RFC 7519 §4.1.3).
#[derive(Deserialize)]
#[serde(untagged)]
enum AudienceClaim {
    One(String),
    Several(Vec<String>),
}

/// A time in seconds, whole or with a fraction (RFC 7519 "NumericDate"; Python and PHP send fractions).
/// Rounded down, so a token never lives longer than its issuer said. A time before 1970 counts as 0.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
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
mod boxed_bool {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct BoxedBool {
        value: bool,
    }

    pub(super) fn serialize<S: Serializer>(value: &Option<bool>, serializer: S) -> Result<S::Ok, S::Error> {
        value.map(|value| BoxedBool { value }).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
        Ok(Option::<BoxedBool>::deserialize(deserializer)?.map(|boxed| boxed.value))
    }
}

/// Raw JSON; `null` is none.
fn raw<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    let value = Option::<Box<RawValue>>::deserialize(deserializer)?;
    value.map(without_newlines).transpose().map_err(serde::de::Error::custom)
}

/// Bytes in base64, as issuers for binary clients write `info` and `data`. Bytes that are JSON are that JSON; others stay a
/// text in base64, as binary publications do. An empty text is none.
fn base64_raw<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
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

/// A connection token to be signed.
#[derive(Debug, Clone, Default)]
pub struct ConnectionTokenRequest {
    /// User id; empty for an anonymous user.
    pub user: String,
    /// Time for which it is valid; None for ever.
    pub ttl: Option<Duration>,
    /// Channels to subscribe at once.
    pub channels: Vec<String>,
    /// JSON that others see of the connection.
    pub info: Option<Box<RawValue>>,
    /// `token.audience` of the settings; empty for none.
    pub audience: String,
    /// `token.issuer` of the settings; empty for none.
    pub issuer: String,
}

/// A subscription token to be signed.
#[derive(Debug, Clone, Default)]
pub struct SubscriptionTokenRequest {
    /// User id; empty for an anonymous user.
    pub user: String,
    /// The channel.
    pub channel: String,
    /// Time for which it is valid; None for ever.
    pub ttl: Option<Duration>,
    /// JSON that others see of the subscription.
    pub info: Option<Box<RawValue>>,
    /// `token.audience` of the settings; empty for none.
    pub audience: String,
    /// `token.issuer` of the settings; empty for none.
    pub issuer: String,
}

/// The claims of both kinds, in the order they are written.
#[derive(Serialize)]
struct SignedClaims<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    sub: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    channel: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<u64>,
    iat: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    aud: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    iss: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    channels: &'a [String],
}

impl ConnectionTokenRequest {
    /// Signs it by HS256. `secret` is `token.hmac_secret`, `now` the time in Unix seconds.
    pub fn sign(&self, secret: &str, now: u64) -> Result<String, SignError> {
        let claims = SignedClaims {
            sub: &self.user,
            channel: "",
            exp: self.ttl.map(|ttl| now.saturating_add(ttl.as_secs())),
            iat: now,
            aud: &self.audience,
            iss: &self.issuer,
            info: self.info.as_deref(),
            channels: &self.channels,
        };
        sign_hs256(&claims, secret)
    }
}

impl SubscriptionTokenRequest {
    /// Signs it by HS256. `secret` is `token.hmac_secret`, `now` the time in Unix seconds.
    pub fn sign(&self, secret: &str, now: u64) -> Result<String, SignError> {
        if self.channel.is_empty() {
            return Err(SignError::NoChannel);
        }
        let claims = SignedClaims {
            sub: &self.user,
            channel: &self.channel,
            exp: self.ttl.map(|ttl| now.saturating_add(ttl.as_secs())),
            iat: now,
            aud: &self.audience,
            iss: &self.issuer,
            info: self.info.as_deref(),
            channels: &[],
        };
        sign_hs256(&claims, secret)
    }
}

fn sign_hs256(claims: &SignedClaims<'_>, secret: &str) -> Result<String, SignError> {
    if secret.is_empty() {
        return Err(SignError::NoSecret);
    }
    let key = EncodingKey::from_secret(secret.as_bytes());
    let token = encode(&Header::default(), claims, &key).map_err(|_| SignError::Signing)?;
    if token.len() > TOKEN_MAX_BYTES { Err(SignError::TooLong) } else { Ok(token) }
}
