//! JWK sets: the public keys of an identity provider. RFC 7517; `docs/protocols/client.md` §10.2.
//!
//! A set from outside is read leniently by key and strictly by use: a key that cannot check our signatures
//! (for encryption, of an unknown kind, symmetric) is skipped, because providers publish such keys beside the
//! right ones. Symmetric keys are skipped in any case: a secret that can be downloaded is none.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::error::AuthSettingsError;
use super::key::{VerifyingKey, ec_algorithms, ed_algorithms, rsa_algorithms};
use super::limits::{JWKS_MAX_BYTES, JWKS_MAX_KEYS};

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
