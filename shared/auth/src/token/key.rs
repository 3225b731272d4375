//! One key that can check signatures, with the algorithms it is good for. The algorithm must fit the key's
//! kind: else a token could be "signed" by HMAC with a public key as its secret. RFC 8725 §3.1;
//! `docs/protocols/client.md` §10.1.
//!
//! JWK sets: the public keys of an identity provider. RFC 7517; `docs/protocols/client.md` §10.2.
//!
//! A set from outside is read leniently by key and strictly by use: a key that cannot check our signatures
//! (for encryption, of an unknown kind, symmetric) is skipped, because providers publish such keys beside the
//! right ones. Symmetric keys are skipped in any case: a secret that can be downloaded is none.

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    error::{AuthSettingsError, JWKS_MAX_BYTES, JWKS_MAX_KEYS},
    settings::TokenSettings,
};

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
const RSA_ALGORITHMS: &[Algorithm] = &[Algorithm::RS256, Algorithm::RS384, Algorithm::RS512];

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

/// The algorithms that an RSA key of a JWK set can check: the one it names, or all of its kind. None for a short
/// modulus or an algorithm that is not supported.
pub(super) fn rsa_algorithms(modulus: &str, named: Option<Algorithm>) -> Option<&'static [Algorithm]> {
    if modulus.len() < RSA_MODULUS_MIN_CHARS {
        return None;
    }
    match named {
        None => Some(RSA_ALGORITHMS),
        Some(Algorithm::RS256) => Some(&[Algorithm::RS256]),
        Some(Algorithm::RS384) => Some(&[Algorithm::RS384]),
        Some(Algorithm::RS512) => Some(&[Algorithm::RS512]),
        Some(_) => None,
    }
}

#[derive(Deserialize)]
struct JwkSet<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

/// Reads a set and returns its usable keys, at least one.
pub(super) fn parse(json: &[u8]) -> Result<Vec<VerifyingKey>, AuthSettingsError> {
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
        .filter_map(|text| serde_json::from_str::<Jwk>(text.get()).ok().as_ref().and_then(usable))
        .collect();
    if keys.is_empty() { Err(AuthSettingsError::JwksWithoutKeys) } else { Ok(keys) }
}

fn usable(jwk: &Jwk) -> Option<VerifyingKey> {
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
        AlgorithmParameters::RSA(rsa) => rsa_algorithms(&rsa.n, named)?,
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
