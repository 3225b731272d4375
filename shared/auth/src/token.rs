//! Tokens: who a client is, and what a backend allows it, signed by the backend (JWT, RFC 7519). Checked in
//! the connect, refresh, subscribe and sub_refresh commands. `docs/protocols/client.md` §10; `docs/architecture.md` §8.3.
//!
//! A check runs in this order, cheapest first, and nothing of a token is believed before its signature is
//! good: length → shape and header → key (by `kid` and algorithm) → signature → depth and claims → issuer,
//! audience → times. No error of it holds a token, a secret or a key: errors may be logged.

mod claims;
mod id_token;
mod key;
mod values;
mod verifier;

use std::time::Duration;

pub use self::{
    claims::{
        ConnectionClaims, ConnectionTokenRequest, OptionOverrides, SubscribeClaims, SubscriptionClaims,
        SubscriptionTokenRequest,
    },
    id_token::{ExpectedIdToken, ID_TOKEN_MAX_BYTES, IdTokenError, IdTokenKeys},
    key::TokenSettings,
    verifier::{JwksSource, TokenVerifier},
};

/// Longest token, in bytes; longer ones are refused before anything is decoded. Fits the header block (16
/// KiB) that tokens travel in elsewhere; usual ones have 200 to 2,000 bytes.
pub const TOKEN_MAX_BYTES: usize = 16 * 1024;

/// Deepest nesting of the claims, less deep than messages: parts of them go to other clients.
pub const TOKEN_MAX_JSON_DEPTH: usize = 32;

/// Largest JWK set, in bytes. A key takes 0.5 to 4 KiB (with a certificate chain).
pub const JWKS_MAX_BYTES: usize = 256 * 1024;

/// Most keys in a set; providers have two to ten.
pub const JWKS_MAX_KEYS: usize = 64;

/// Longest leeway. More would keep clients for minutes after the backend wanted them gone; clocks of servers
/// differ by seconds.
pub const LEEWAY_MAX: Duration = Duration::from_mins(5);

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The signature is good, its time is over: error 109, the client fetches a new one.
    #[error("token expired")]
    Expired,
    /// The signature is good, its time is still to come (`nbf`): the issuer's clock is ahead of the node's. Error 109 too, after
    /// which a client tries again with another token.
    #[error("token not valid yet: the clock of its issuer is ahead (`nbf`)")]
    NotYetValid,
    /// It names a key that is not in the installed JWK set, and there is a URL to fetch a newer set from.
    /// Anybody can cause this with a made-up token, so fetches must be rate limited; after a fetch that does
    /// not help it is as good as invalid.
    #[error("the token's key is unknown")]
    UnknownKey,
    /// It proves nothing: disconnect 3500.
    #[error("invalid token: {0}")]
    Invalid(InvalidToken),
}

/// The reason why a token is invalid. It is for the node's log; clients get only the code 3500.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// No key is configured at all, so no token can be good.
    #[error(
        "no token keys are configured: set token.hmac_secret, token.rsa_public_key, token.ecdsa_public_key, \
         token.ed25519_public_key, token.jwks or token.jwks_url"
    )]
    NotConfigured,
    /// Longer than [`TOKEN_MAX_BYTES`]; refused before anything is decoded.
    #[error("longer than {TOKEN_MAX_BYTES} bytes")]
    TooLong,
    /// Not three parts of base64url with a JSON header.
    #[error("it is no JWT")]
    Malformed,
    /// `alg` is not supported (`none` never is), or no configured key is of its kind.
    #[error(
        "no key is configured for its algorithm: HS256 needs token.hmac_secret, RS256 token.rsa_public_key, \
         ES256 token.ecdsa_public_key, EdDSA token.ed25519_public_key"
    )]
    Algorithm,
    /// The header asks for an extension (`crit`) that must be understood, and is not.
    #[error("critical header extension")]
    CriticalHeader,
    /// No key of this `kid`, and no URL to look for it.
    #[error("no key of this id")]
    NoSuchKey,
    /// No `kid`, and several keys of the JWK set could be meant.
    #[error("several keys fit and the token names none")]
    AmbiguousKey,
    /// Not signed by the key.
    #[error("bad signature: its issuer signs with another key than the node's settings name")]
    Signature,
    /// The claims are nested deeper than [`TOKEN_MAX_JSON_DEPTH`].
    #[error("claims nested deeper than {TOKEN_MAX_JSON_DEPTH}")]
    TooDeep,
    /// The claims are no JSON object, or one that is needed is absent.
    #[error("bad claims")]
    Claims,
    /// This claim has the wrong type, as a `sub` that is neither a text nor a number.
    #[error("the claim `{0}` has the wrong type")]
    Claim(&'static str),
    /// A subscription token where a connection token belongs.
    #[error("a subscription token where a connection token belongs")]
    WrongKind,
    /// `iss` is not the one of the settings.
    #[error("its `iss` is not token.issuer")]
    Issuer,
    /// `aud` does not hold the one of the settings.
    #[error("its `aud` is not token.audience")]
    Audience,
}

/// Why the token settings, or a JWK set, cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthSettingsError {
    /// A PEM text that holds no public key of the setting's kind.
    #[error("token.{setting} is not a PEM public key of that kind")]
    PublicKey {
        /// Name of the setting.
        setting: &'static str,
    },
    /// A private key, which has no business on this server.
    #[error("token.{setting} holds a private key: give the public one")]
    PrivateKey {
        /// Name of the setting.
        setting: &'static str,
    },
    /// An RSA key below 2048 bits can be broken.
    #[error("token.{setting} has less than 2048 bits")]
    WeakKey {
        /// Name of the setting.
        setting: &'static str,
    },
    /// A secret of the past without one of today: whoever removed the wrong one would lock the backend out.
    #[error("token.hmac_secret_previous is set, and token.hmac_secret is not")]
    PreviousSecretAlone,
    /// The JWK set is larger than [`JWKS_MAX_BYTES`].
    #[error("the JWK set is larger than {JWKS_MAX_BYTES} bytes")]
    JwksTooLarge,
    /// The JWK set has more keys than [`JWKS_MAX_KEYS`].
    #[error("the JWK set has more than {JWKS_MAX_KEYS} keys")]
    JwksTooManyKeys,
    /// Not `{"keys":[{…}]}`.
    #[error("the JWK set is not JSON of the form {{\"keys\":[{{…}}]}} (line {line}, column {column})")]
    JwksSyntax {
        /// The line where the syntax error is, from 1.
        line: usize,
        /// The column there, from 1.
        column: usize,
    },
    /// None of the set's keys can check a signature: they are for encryption, symmetric, or of unsupported
    /// kinds.
    #[error("the JWK set has no usable key")]
    JwksWithoutKeys,
    /// The URL is of another scheme.
    #[error("token.jwks_url does not begin with https:// or http://: write it as https://host/path")]
    JwksUrl,
    /// The set would be fetched without a pause.
    #[error("token.jwks_refresh is less than {}", humantime::format_duration(*.0))]
    JwksRefresh(Duration),
    /// A leeway that makes expiry meaningless.
    #[error("token.leeway is more than {}", humantime::format_duration(LEEWAY_MAX))]
    Leeway,
}

/// Why a token cannot be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// `token.hmac_secret` is empty.
    #[error("token.hmac_secret is not set, and tokens are signed with it")]
    NoSecret,
    /// A subscription token without a channel.
    #[error("a subscription token needs a channel")]
    NoChannel,
    /// The signed token would be refused for its length.
    #[error("the token would be longer than {TOKEN_MAX_BYTES} bytes")]
    TooLong,
    /// The cryptography refused.
    #[error("signing failed")]
    Signing,
}

#[cfg(test)]
mod tests;
