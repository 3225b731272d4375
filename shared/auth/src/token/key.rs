//! The keys that tokens are checked with: `token.*` of the settings, and each key with the algorithms it is good for.
//! The algorithm must fit the key's kind: else a token could be "signed" by HMAC with a public key as its secret.
//! RFC 8725 §3.1; `docs/protocols/client.md` §10.1 and §10.2.
//!
//! JWK sets (RFC 7517) are the public keys of an identity provider. A set from outside is read leniently by key and
//! strictly by use: a key that cannot check our signatures (for encryption, of an unknown kind, symmetric) is
//! skipped, because providers publish such keys beside the right ones. Symmetric keys are skipped in any case: a
//! secret that can be downloaded is none.

use std::{fmt, time::Duration};

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{AuthSettingsError, JWKS_MAX_BYTES, JWKS_MAX_KEYS, LEEWAY_MAX};

/// The default leeway: clocks that are kept by NTP differ by less, and many libraries write `nbf` = now.
const LEEWAY_DEFAULT: Duration = Duration::from_secs(5);

/// The default interval of fetching a JWK set. An unknown `kid` makes the node fetch new keys at once;
/// the interval is for keys that were withdrawn.
const JWKS_REFRESH_DEFAULT: Duration = Duration::from_hours(1);

/// Most often that a JWK set may be fetched: key servers limit their visitors.
const JWKS_REFRESH_MIN: Duration = Duration::from_secs(10);

/// The keys and the conditions of tokens. An empty text means: not used. Without any key no token is valid.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenSettings {
    /// Secret of HS256, HS384 and HS512, its bytes as they stand. At least 32 random bytes are advised.
    pub hmac_secret: String,
    /// The secret before it, while tokens signed by it are still about: they are good too, and none is signed by it here.
    pub hmac_secret_previous: String,
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
            hmac_secret_previous: String::new(),
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

    /// Finds the first thing that is wrong; what [`TokenVerifier::new`](super::TokenVerifier::new) would
    /// refuse.
    pub fn validate(&self) -> Result<(), AuthSettingsError> {
        from_settings(self)?;
        if self.hmac_secret.is_empty() && !self.hmac_secret_previous.is_empty() {
            return Err(AuthSettingsError::PreviousSecretAlone);
        }
        if !self.jwks.is_empty() {
            parse(self.jwks.as_bytes(), RSA_ALGORITHMS)?;
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

impl fmt::Debug for TokenSettings {
    /// Tells which keys are set, and none of them. The URL may hold credentials, and is not shown either.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |text: &str| if text.is_empty() { "not set" } else { "set" };
        f.debug_struct("TokenSettings")
            .field("hmac_secret", &shown(&self.hmac_secret))
            .field("hmac_secret_previous", &shown(&self.hmac_secret_previous))
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

/// Length of the modulus of a 2048-bit RSA key in base64url: 256 bytes, without padding.
const RSA_MODULUS_MIN_CHARS: usize = 342;
/// Length of an uncompressed point of P-256: a mark and two numbers of 32 bytes.
const P256_POINT_BYTES: usize = 65;
/// Length of an uncompressed point of P-384: a mark and two numbers of 48 bytes.
const P384_POINT_BYTES: usize = 97;
/// Mark of an uncompressed point.
const UNCOMPRESSED_POINT: u8 = 4;
/// Length of an Ed25519 public key.
const ED25519_KEY_BYTES: usize = 32;

const HMAC_ALGORITHMS: &[Algorithm] = &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
/// The algorithms of RSA keys for tokens of clients.
pub(super) const RSA_ALGORITHMS: &[Algorithm] = &[Algorithm::RS256, Algorithm::RS384, Algorithm::RS512];
/// The algorithms of RSA keys for ID tokens: providers that follow FAPI sign by PS256.
pub(super) const RSA_ALGORITHMS_OF_ID_TOKENS: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// A key, its id, and what it may check.
pub(super) struct VerifyingKey {
    /// `kid` of a JWK.
    pub(super) id: Option<String>,
    /// Never of two kinds.
    pub(super) algorithms: &'static [Algorithm],
    /// The key itself.
    pub(super) decoding: DecodingKey,
}

/// The keys that stand in the settings themselves, none of which has an id.
pub(super) fn from_settings(settings: &TokenSettings) -> Result<Vec<VerifyingKey>, AuthSettingsError> {
    type Read = fn(&[u8]) -> Result<DecodingKey, jsonwebtoken::errors::Error>;
    type Algorithms = fn(&DecodingKey) -> Option<&'static [Algorithm]>;
    let pems: [(&'static str, &str, Read, Algorithms); 3] = [
        ("rsa_public_key", &settings.rsa_public_key, DecodingKey::from_rsa_pem, |_| Some(RSA_ALGORITHMS)),
        ("ecdsa_public_key", &settings.ecdsa_public_key, DecodingKey::from_ec_pem, ec_algorithms),
        ("ed25519_public_key", &settings.ed25519_public_key, DecodingKey::from_ed_pem, ed_algorithms),
    ];
    let mut keys = Vec::new();
    if !settings.hmac_secret.is_empty() {
        let decoding = DecodingKey::from_secret(settings.hmac_secret.as_bytes());
        keys.push(VerifyingKey { id: None, algorithms: HMAC_ALGORITHMS, decoding });
    }
    for (setting, pem, read, algorithms_of) in pems {
        if pem.is_empty() {
            continue;
        }
        if pem.contains("PRIVATE KEY-----") {
            return Err(AuthSettingsError::PrivateKey { setting });
        }
        let not_this_kind = || AuthSettingsError::PublicKey { setting };
        // Certificates also hold a public key, but the PEM reader cannot be trusted to find it in there.
        if !pem.contains("PUBLIC KEY-----") {
            return Err(not_this_kind());
        }
        let decoding = read(pem.trim().as_bytes()).map_err(|_| not_this_kind())?;
        let algorithms = algorithms_of(&decoding).ok_or_else(not_this_kind)?;
        if algorithms == RSA_ALGORITHMS {
            match Jwk::from_decoding_key(&decoding, None).map_err(|_| not_this_kind())?.algorithm {
                AlgorithmParameters::RSA(rsa) if rsa.n.len() >= RSA_MODULUS_MIN_CHARS => {}
                _ => return Err(AuthSettingsError::WeakKey { setting }),
            }
        }
        keys.push(VerifyingKey { id: None, algorithms, decoding });
    }
    Ok(keys)
}

/// The algorithms that an EC key can check, by the size of its point.
pub(super) fn ec_algorithms(key: &DecodingKey) -> Option<&'static [Algorithm]> {
    let point = key.try_get_as_bytes().ok()?;
    match (point.first(), point.len()) {
        (Some(&UNCOMPRESSED_POINT), P256_POINT_BYTES) => Some(&[Algorithm::ES256]),
        (Some(&UNCOMPRESSED_POINT), P384_POINT_BYTES) => Some(&[Algorithm::ES384]),
        _ => None,
    }
}

/// The algorithms that an Edwards key can check.
pub(super) fn ed_algorithms(key: &DecodingKey) -> Option<&'static [Algorithm]> {
    let is_ed25519 = key.try_get_as_bytes().is_ok_and(|bytes| bytes.len() == ED25519_KEY_BYTES);
    is_ed25519.then_some(&[Algorithm::EdDSA])
}

/// The algorithms that an RSA key of a JWK set can check: the one it names, or all of these. None for a short
/// modulus or an algorithm that is not one of these.
fn rsa_algorithms(
    modulus: &str,
    named: Option<Algorithm>,
    all: &'static [Algorithm],
) -> Option<&'static [Algorithm]> {
    if modulus.len() < RSA_MODULUS_MIN_CHARS {
        return None;
    }
    let Some(named) = named else { return Some(all) };
    let index = all.iter().position(|algorithm| *algorithm == named)?;
    all.get(index..=index)
}

#[derive(Deserialize)]
struct JwkSet<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

/// Reads a set and returns its usable keys, at least one. `rsa_all`: what its RSA keys may check.
pub(super) fn parse(
    json: &[u8],
    rsa_all: &'static [Algorithm],
) -> Result<Vec<VerifyingKey>, AuthSettingsError> {
    if json.len() > JWKS_MAX_BYTES {
        return Err(AuthSettingsError::JwksTooLarge);
    }
    let set: JwkSet<'_> = serde_json::from_slice(json)
        .map_err(|error| AuthSettingsError::JwksSyntax { line: error.line(), column: error.column() })?;
    if set.keys.len() > JWKS_MAX_KEYS {
        return Err(AuthSettingsError::JwksTooManyKeys);
    }
    let keys: Vec<_> = set
        .keys
        .into_iter()
        .filter_map(|text| usable(&serde_json::from_str::<Jwk>(text.get()).ok()?, rsa_all))
        .collect();
    if keys.is_empty() { Err(AuthSettingsError::JwksWithoutKeys) } else { Ok(keys) }
}

fn usable(jwk: &Jwk, rsa_all: &'static [Algorithm]) -> Option<VerifyingKey> {
    let is_for_signatures =
        jwk.common.public_key_use.as_ref().is_none_or(|use_| *use_ == PublicKeyUse::Signature);
    let may_verify =
        jwk.common.key_operations.as_ref().is_none_or(|ops| ops.contains(&KeyOperations::Verify));
    if !is_for_signatures || !may_verify {
        return None;
    }
    let named = match jwk.common.key_algorithm {
        None => None,
        Some(algorithm) => Some(Algorithm::try_from(algorithm).ok()?),
    };
    let decoding = DecodingKey::from_jwk(jwk).ok()?;
    let algorithms = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) => rsa_algorithms(&rsa.n, named, rsa_all)?,
        AlgorithmParameters::EllipticCurve(ec) => {
            let algorithms = ec_algorithms(&decoding)?;
            let is_of_curve = match ec.curve {
                EllipticCurve::P256 => algorithms == [Algorithm::ES256],
                EllipticCurve::P384 => algorithms == [Algorithm::ES384],
                _ => false,
            };
            is_of_curve.then_some(algorithms)?
        }
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            ed_algorithms(&decoding)?
        }
        _ => return None,
    };
    let fits_its_name = named.is_none_or(|named| algorithms.contains(&named));
    fits_its_name.then(|| VerifyingKey { id: jwk.common.key_id.clone(), algorithms, decoding })
}
