//! ID tokens of OpenID Connect: who an identity provider says has logged in. Checked when an operator comes back from the provider.
//! OpenID Connect Core §3.1.3.7; `services/gateway/docs/admin.md`.
//!
//! Only the public keys of the provider's JWK set check them: a token that is "signed" by the client secret, or by nobody, is refused.

use jsonwebtoken::{Header, decode, decode_header, errors::ErrorKind};
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};
use subtle::ConstantTimeEq;

use super::{
    AuthSettingsError, TOKEN_MAX_JSON_DEPTH,
    key::{RSA_ALGORITHMS_OF_ID_TOKENS, VerifyingKey, parse},
    values::{AudienceClaim, seconds},
    verifier::{depth, is_hmac, signature_only},
};

/// Longest ID token, in bytes. Providers put the groups of a user into it: 200 of them with ids take 8 KiB.
pub const ID_TOKEN_MAX_BYTES: usize = 32 * 1024;

/// Seconds by which the clocks of the provider and of this node may differ.
const LEEWAY_S: u64 = 30;

/// The claims that an ID token must have.
#[derive(Debug, Clone, Copy)]
pub struct ExpectedIdToken<'a> {
    /// The provider, as its discovery document names it.
    pub issuer: &'a str,
    /// The client whom it is for.
    pub client_id: &'a str,
    /// The nonce of the login that it answers.
    pub nonce: &'a str,
}

/// Why an ID token proves nothing. None of them holds a part of the token: they may be logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdTokenError {
    /// It names a key that is not in the set: a newer set may have it.
    #[error("its key is not in the provider's JWK set")]
    UnknownKey,
    /// Longer than [`ID_TOKEN_MAX_BYTES`].
    #[error("longer than {ID_TOKEN_MAX_BYTES} bytes")]
    TooLong,
    /// Not three parts of base64url with a JSON header.
    #[error("it is no JWT")]
    Malformed,
    /// `alg` is none, symmetric, unknown, or not one of its key.
    #[error(
        "its algorithm is not one of the provider's keys (RS256 to RS512, PS256 to PS512, ES256, ES384, EdDSA)"
    )]
    Algorithm,
    /// The header asks for an extension (`crit`) that must be understood, and is not.
    #[error("critical header extension")]
    CriticalHeader,
    /// Not signed by the key.
    #[error("bad signature")]
    Signature,
    /// The claims are nested too deep.
    #[error("claims nested deeper than {TOKEN_MAX_JSON_DEPTH}")]
    TooDeep,
    /// The claims are no JSON object, or one that each ID token has is missing or of the wrong type.
    #[error("bad claims")]
    Claims,
    /// `iss` is another one.
    #[error("wrong issuer")]
    Issuer,
    /// `aud` does not name the client, or `azp` names another one.
    #[error("wrong audience")]
    Audience,
    /// `nonce` is missing, or that of another login.
    #[error("wrong nonce")]
    Nonce,
    /// Its time is over.
    #[error("expired")]
    Expired,
    /// Its time is still to come: the clocks differ.
    #[error("not valid yet: the clocks of the provider and of this node differ")]
    NotYetValid,
}

/// The claims of an ID token that are checked here.
#[derive(Deserialize)]
struct CheckedClaims {
    iss: String,
    sub: String,
    aud: AudienceClaim,
    azp: Option<String>,
    nonce: Option<String>,
    #[serde(default, deserialize_with = "seconds")]
    exp: Option<u64>,
    #[serde(default, deserialize_with = "seconds")]
    iat: Option<u64>,
    #[serde(default, deserialize_with = "seconds")]
    nbf: Option<u64>,
}

/// The keys of an identity provider.
pub struct IdTokenKeys(Vec<VerifyingKey>);

impl IdTokenKeys {
    /// Reads a JWK set (RFC 7517 JSON, at most [`JWKS_MAX_BYTES`](super::JWKS_MAX_BYTES)).
    ///
    /// # Errors
    /// It is none, or has no usable key.
    pub fn parse(json: &[u8]) -> Result<Self, AuthSettingsError> {
        parse(json, RSA_ALGORITHMS_OF_ID_TOKENS).map(Self)
    }

    /// The claims of an ID token that this provider gave to this client for this login. `now` is the time in Unix seconds.
    ///
    /// # Errors
    /// It proves nothing.
    pub fn verify(
        &self,
        token: &str,
        expected: ExpectedIdToken<'_>,
        now: u64,
    ) -> Result<Map<String, Value>, IdTokenError> {
        if token.len() > ID_TOKEN_MAX_BYTES {
            return Err(IdTokenError::TooLong);
        }
        let json = self.signed_json(token)?;
        if depth(json.get()) > TOKEN_MAX_JSON_DEPTH {
            return Err(IdTokenError::TooDeep);
        }
        let checked: CheckedClaims = serde_json::from_str(json.get()).map_err(|_| IdTokenError::Claims)?;
        checked.check(expected, now)?;
        serde_json::from_str(json.get()).map_err(|_| IdTokenError::Claims)
    }

    fn signed_json(&self, token: &str) -> Result<Box<RawValue>, IdTokenError> {
        let header = decode_header(token).map_err(|error| match error.kind() {
            // As with other tokens: only the algorithm of the header must be known.
            ErrorKind::Json(json) if json.is_data() => IdTokenError::Algorithm,
            _ => IdTokenError::Malformed,
        })?;
        if header.crit.is_some() {
            return Err(IdTokenError::CriticalHeader);
        }
        let key = self.pick_key(&header)?;
        let decoded = decode::<Box<RawValue>>(token, &key.decoding, &signature_only(header.alg));
        decoded.map(|token| token.claims).map_err(|error| match error.kind() {
            ErrorKind::InvalidSignature => IdTokenError::Signature,
            ErrorKind::Json(_) | ErrorKind::Utf8(_) => IdTokenError::Claims,
            ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => IdTokenError::Algorithm,
            _ => IdTokenError::Malformed,
        })
    }

    /// By `kid`; a token without one may come from a provider with one key of its kind.
    fn pick_key(&self, header: &Header) -> Result<&VerifyingKey, IdTokenError> {
        if is_hmac(header.alg) {
            return Err(IdTokenError::Algorithm);
        }
        let named = |key: &&VerifyingKey| header.kid.is_none() || key.id == header.kid;
        let mut named = self.0.iter().filter(named).peekable();
        if named.peek().is_none() {
            return Err(IdTokenError::UnknownKey);
        }
        let mut fitting = named.filter(|key| key.algorithms.contains(&header.alg));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(key),
            (Some(key), Some(_)) if header.kid.is_some() => Ok(key),
            _ => Err(IdTokenError::Algorithm),
        }
    }
}

impl CheckedClaims {
    fn check(&self, expected: ExpectedIdToken<'_>, now: u64) -> Result<(), IdTokenError> {
        if self.iss != expected.issuer {
            return Err(IdTokenError::Issuer);
        }
        let is_its_party = self.azp.as_deref().is_none_or(|party| party == expected.client_id);
        // One that is for others too must say who asked for it.
        let is_clear = !self.aud.is_for_several() || self.azp.is_some();
        if !self.aud.is_for(expected.client_id) || !is_its_party || !is_clear {
            return Err(IdTokenError::Audience);
        }
        let nonce = self.nonce.as_deref().unwrap_or_default();
        if expected.nonce.is_empty() || !bool::from(nonce.as_bytes().ct_eq(expected.nonce.as_bytes())) {
            return Err(IdTokenError::Nonce);
        }
        let (Some(end), Some(issued_at)) = (self.exp, self.iat) else { return Err(IdTokenError::Claims) };
        if self.sub.is_empty() {
            return Err(IdTokenError::Claims);
        }
        if now >= end.saturating_add(LEEWAY_S) {
            return Err(IdTokenError::Expired);
        }
        if issued_at.max(self.nbf.unwrap_or_default()) > now.saturating_add(LEEWAY_S) {
            return Err(IdTokenError::NotYetValid);
        }
        Ok(())
    }
}
