//! Signs tokens, for `gorani token` on the command line and for tests. Backends use any JWT library.
//! `docs/protocols/client.md` §10.3 and §10.4.
//!
//! Checks the settings of tokens. `docs/protocols/client.md` §10.1 and §10.2.

use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header, encode};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    error::{AuthSettingsError, LEEWAY_MAX, SignError, TOKEN_MAX_BYTES},
    key::{self, parse},
    settings::TokenSettings,
};

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

/// Most often that a JWK set may be fetched: key servers limit their visitors.
const JWKS_REFRESH_MIN: Duration = Duration::from_secs(10);

impl TokenSettings {
    /// Finds the first thing that is wrong; what [`TokenVerifier::new`](super::TokenVerifier::new) would
    /// refuse.
    pub fn validate(&self) -> Result<(), AuthSettingsError> {
        key::from_settings(self)?;
        if !self.jwks.is_empty() {
            parse(self.jwks.as_bytes())?;
        }
        let has_scheme = ["https://", "http://"].iter().any(|scheme| {
            self.jwks_url.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
        });
        if !self.jwks_url.is_empty() && !has_scheme {
            return Err(AuthSettingsError::JwksUrl);
        }
        if !self.jwks_url.is_empty() && self.jwks_refresh < JWKS_REFRESH_MIN {
            return Err(AuthSettingsError::JwksRefresh(JWKS_REFRESH_MIN));
        }
        if self.leeway > LEEWAY_MAX {
            return Err(AuthSettingsError::Leeway);
        }
        Ok(())
    }
}
