//! The claims of connection and subscription tokens: read from their signed JSON, and written into signed tokens for
//! `gorani token` on the command line and for tests (backends use any JWT library). `docs/protocols/client.md` §10.3 to
//! §10.5. Unknown claims are ignored, as JWT requires.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    InvalidToken, SignError, TOKEN_MAX_BYTES, TokenError,
    values::{AudienceClaim, base64_raw, boxed_bool, raw, seconds, subject},
};

/// Claims of a connection token.
#[derive(Debug, Clone, Default)]
pub struct ConnectionClaims {
    /// `sub`: user id, a number as its text; empty for an anonymous user.
    pub user: String,
    /// True if the token has a `sub`, if only an empty one: then its issuer means the user to be anonymous.
    pub has_subject: bool,
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
    #[serde(deserialize_with = "subject")]
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

/// The claims that are read.
const CLAIMS: [&str; 18] = [
    "sub",
    "exp",
    "nbf",
    "iat",
    "expire_at",
    "jti",
    "iss",
    "aud",
    "info",
    "b64info",
    "data",
    "b64data",
    "meta",
    "channels",
    "subs",
    "channel",
    "client",
    "override",
];

impl TokenPayload {
    pub(super) fn parse(json: &str) -> Result<Self, TokenError> {
        serde_json::from_str(json).map_err(|_| TokenError::Invalid(Self::blame(json)))
    }

    /// The first known claim that cannot be read. The parser's own words would repeat the claim's value.
    fn blame(json: &str) -> InvalidToken {
        let claims: BTreeMap<String, &RawValue> = serde_json::from_str(json).unwrap_or_default();
        let is_bad = |name: &&str| {
            let alone = claims.get(*name).map(|value| format!("{{\"{name}\":{value}}}"));
            alone.is_some_and(|alone| serde_json::from_str::<Self>(&alone).is_err())
        };
        CLAIMS.into_iter().find(is_bad).map_or(InvalidToken::Claims, InvalidToken::Claim)
    }

    /// True if the `aud` claim names this audience.
    pub(super) fn is_for(&self, audience: &str) -> bool {
        self.audience.as_ref().is_some_and(|claim| claim.is_for(audience))
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
            has_subject: self.sub.is_some(),
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
