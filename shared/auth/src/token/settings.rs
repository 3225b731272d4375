//! `token.*` of the settings: the keys that tokens are checked with. `docs/protocols/client.md`
//! §10.1 and §10.2.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The default leeway: clocks that are kept by NTP differ by less, and many libraries write `nbf` = now.
const LEEWAY_DEFAULT: Duration = Duration::from_secs(5);

/// The default interval of fetching a JWK set. An unknown `kid` makes the node fetch new keys at once;
/// the interval is for keys that were withdrawn.
const JWKS_REFRESH_DEFAULT: Duration = Duration::from_hours(1);

/// The keys and the conditions of tokens. An empty text means: not used. Without any key no token is valid.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenSettings {
    /// Secret of HS256, HS384 and HS512, its bytes as they stand. At least 32 random bytes are advised.
    pub hmac_secret: String,
    /// PEM of the public key of RS256, RS384 and RS512; at least 2048 bits.
    pub rsa_public_key: String,
    /// PEM of the public key of ES256 (P-256) or ES384 (P-384).
    pub ecdsa_public_key: String,
    /// PEM of the public key of EdDSA (Ed25519).
    pub ed25519_public_key: String,
    /// JWK set (RFC 7517) as JSON text. Only public keys are taken from it.
    pub jwks: String,
    /// The URL of a JWK set, `https://` (or `http://` inside a trusted network: anyone who can change
    /// the answer can sign tokens). The fetched keys replace `jwks`.
    pub jwks_url: String,
    /// The interval at which `jwks_url` is fetched.
    #[serde(with = "crate::duration")]
    pub jwks_refresh: Duration,
    /// A token's `aud` must hold this.
    pub audience: String,
    /// A token's `iss` must be this.
    pub issuer: String,
    /// The tolerated difference between the clocks of the token's issuer and of this node, for `exp` and `nbf`;
    /// whole seconds.
    #[serde(with = "crate::duration")]
    pub leeway: Duration,
}

impl Default for TokenSettings {
    fn default() -> Self {
        Self {
            hmac_secret: String::new(),
            rsa_public_key: String::new(),
            ecdsa_public_key: String::new(),
            ed25519_public_key: String::new(),
            jwks: String::new(),
            jwks_url: String::new(),
            jwks_refresh: JWKS_REFRESH_DEFAULT,
            audience: String::new(),
            issuer: String::new(),
            leeway: LEEWAY_DEFAULT,
        }
    }
}

impl TokenSettings {
    /// True if there is any key, or a URL to fetch keys from.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        let sources = [
            &self.hmac_secret,
            &self.rsa_public_key,
            &self.ecdsa_public_key,
            &self.ed25519_public_key,
            &self.jwks,
            &self.jwks_url,
        ];
        sources.iter().any(|source| !source.is_empty())
    }
}

impl fmt::Debug for TokenSettings {
    /// Tells which keys are set, and none of them. The URL may hold credentials, and is not shown either.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |text: &str| if text.is_empty() { "not set" } else { "set" };
        f.debug_struct("TokenSettings")
            .field("hmac_secret", &shown(&self.hmac_secret))
            .field("rsa_public_key", &shown(&self.rsa_public_key))
            .field("ecdsa_public_key", &shown(&self.ecdsa_public_key))
            .field("ed25519_public_key", &shown(&self.ed25519_public_key))
            .field("jwks", &shown(&self.jwks))
            .field("jwks_url", &shown(&self.jwks_url))
            .field("jwks_refresh", &self.jwks_refresh)
            .field("audience", &self.audience)
            .field("issuer", &self.issuer)
            .field("leeway", &self.leeway)
            .finish()
    }
}
