//! Keys for the tests, one of each kind, made once in a run (RSA takes a moment).

use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair, KeyPair, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::Value;

/// "Now" of all tests, in Unix seconds.
pub(super) const NOW: u64 = 1_800_000_000;

/// A secret that is none.
pub(super) const SECRET: &str = "test-only-secret-test-only-secret";

/// A private key with its public half in both forms.
pub(super) struct Pair {
    pub(super) private: EncodingKey,
    pub(super) private_pem: String,
    pub(super) public_pem: String,
    jwk: Value,
}

impl Pair {
    fn new(
        read: fn(&[u8]) -> EncodingKey,
        private_der: &[u8],
        public_der: &[u8],
        algorithm: Algorithm,
    ) -> Self {
        let private_pem = pem("PRIVATE KEY", private_der);
        let private = read(private_pem.as_bytes());
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&private, algorithm).unwrap()).unwrap();
        jwk.as_object_mut().unwrap().remove("alg");
        Self { private, private_pem, public_pem: pem("PUBLIC KEY", public_der), jwk }
    }

    /// The public key as JWK, with these members added.
    pub(super) fn jwk(&self, members: &Value) -> Value {
        let mut jwk = self.jwk.clone();
        jwk.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        jwk
    }

    pub(super) fn sign(&self, algorithm: Algorithm, kid: Option<&str>, claims: &Value) -> String {
        sign(algorithm, kid, claims, &self.private)
    }
}

pub(super) static RSA: LazyLock<Pair> = LazyLock::new(|| rsa(KeySize::Rsa2048));
pub(super) static OTHER_RSA: LazyLock<Pair> = LazyLock::new(|| rsa(KeySize::Rsa2048));
pub(super) static P256: LazyLock<Pair> =
    LazyLock::new(|| ec(&ECDSA_P256_SHA256_FIXED_SIGNING, Algorithm::ES256));
pub(super) static P384: LazyLock<Pair> =
    LazyLock::new(|| ec(&ECDSA_P384_SHA384_FIXED_SIGNING, Algorithm::ES384));
pub(super) static ED25519: LazyLock<Pair> = LazyLock::new(|| {
    let der = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.as_ref()).unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    Pair::new(|pem| EncodingKey::from_ed_pem(pem).unwrap(), der.as_ref(), public.as_ref(), Algorithm::EdDSA)
});

fn rsa(size: KeySize) -> Pair {
    let pair = RsaKeyPair::generate(size).unwrap();
    let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    let read = |pem: &[u8]| EncodingKey::from_rsa_pem(pem).unwrap();
    Pair::new(read, private.as_ref(), public.as_ref(), Algorithm::RS256)
}

fn ec(curve: &'static EcdsaSigningAlgorithm, algorithm: Algorithm) -> Pair {
    let private = EcdsaKeyPair::generate_pkcs8(curve, &SystemRandom::new()).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(curve, private.as_ref()).unwrap();
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
    Pair::new(|pem| EncodingKey::from_ec_pem(pem).unwrap(), private.as_ref(), public.as_ref(), algorithm)
}

pub(super) fn hmac(algorithm: Algorithm, secret: &str, kid: Option<&str>, claims: &Value) -> String {
    sign(algorithm, kid, claims, &EncodingKey::from_secret(secret.as_bytes()))
}

fn sign(algorithm: Algorithm, kid: Option<&str>, claims: &Value, key: &EncodingKey) -> String {
    let mut header = Header::new(algorithm);
    header.kid = kid.map(str::to_owned);
    encode(&header, claims, key).unwrap()
}

/// A token of any header and payload text, signed with HS256 whatever its header says.
pub(super) fn signed_text(header: &str, payload: &str, secret: &[u8]) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let key = EncodingKey::from_secret(secret);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
