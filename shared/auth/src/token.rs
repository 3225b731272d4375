//! Tokens: who a client is, and what a backend allows it, signed by the backend (JWT, RFC 7519). Checked in
//! the connect, refresh, subscribe and sub_refresh commands. `docs/protocols/client.md` §10; `docs/architecture.md` §8.3.
//!
//! A check runs in this order, cheapest first, and nothing of a token is believed before its signature is
//! good: length → shape and header → key (by `kid` and algorithm) → signature → depth and claims → issuer,
//! audience → times.

mod claims;
mod error;
mod key;
mod settings;
mod sign;
mod verifier;

pub use self::claims::{ConnectionClaims, OptionOverrides, SubscribeClaims, SubscriptionClaims};
pub use self::error::{AuthSettingsError, InvalidToken, SignError, TokenError};
pub use self::error::{JWKS_MAX_BYTES, JWKS_MAX_KEYS, LEEWAY_MAX, TOKEN_MAX_BYTES, TOKEN_MAX_JSON_DEPTH};
pub use self::settings::TokenSettings;
pub use self::sign::{ConnectionTokenRequest, SubscriptionTokenRequest};
pub use self::verifier::TokenVerifier;

#[cfg(test)]
mod tests;
