//! Settings that every request to the user's backend has in common: TLS, and the secrets that sign it.
//! `docs/protocols/proxy.md`.

use std::{fmt, path::PathBuf};

use base64::{
    Engine,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::{Deserialize, Serialize};

use super::SettingsError;

/// TLS of requests to a backend. The names are Centrifugo's.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackendTlsSettings {
    /// Certificates in PEM that sign the backend's; empty: those of the system.
    pub ca_pem: String,
    /// A file of them.
    pub ca_pem_file: PathBuf,
    /// The node's own certificate in PEM, for backends that ask for one.
    pub cert_pem: String,
    /// A file of it.
    pub cert_pem_file: PathBuf,
    /// The key of this certificate in PEM.
    #[serde(skip_serializing)]
    pub key_pem: String,
    /// A file of it.
    pub key_pem_file: PathBuf,
    /// The name in the backend's certificate, if it is another one than the endpoint's host.
    pub server_name: String,
    /// If true, any certificate is accepted. Whoever is on the way can answer in the backend's place.
    pub insecure_skip_verify: bool,
}

/// Shows no key.
impl fmt::Debug for BackendTlsSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("BackendTlsSettings")
            .field("ca_pem_file", &self.ca_pem_file)
            .field("cert_pem_file", &self.cert_pem_file)
            .field("key_pem_file", &self.key_pem_file)
            .field("server_name", &self.server_name)
            .field("insecure_skip_verify", &self.insecure_skip_verify)
            .finish_non_exhaustive()
    }
}

impl BackendTlsSettings {
    /// Errors name the setting; `key` is that of the table.
    pub fn validate(&self, key: &'static str) -> Result<(), SettingsError> {
        let refuse = |problem: &str| Err(SettingsError::Value { key, problem: problem.to_owned() });
        for (name, text, file) in [
            ("ca_pem", &self.ca_pem, &self.ca_pem_file),
            ("cert_pem", &self.cert_pem, &self.cert_pem_file),
            ("key_pem", &self.key_pem, &self.key_pem_file),
        ] {
            if !text.is_empty() && !file.as_os_str().is_empty() {
                return refuse(&format!("{name} and {name}_file are both set"));
            }
        }
        let has_certificate = !self.cert_pem.is_empty() || !self.cert_pem_file.as_os_str().is_empty();
        let has_key = !self.key_pem.is_empty() || !self.key_pem_file.as_os_str().is_empty();
        if has_certificate != has_key {
            return refuse("a certificate needs its key, and a key its certificate");
        }
        Ok(())
    }
}

/// Secrets that sign requests to a backend, as Standard Webhooks write them: `whsec_` and base64 of 24 to 64 bytes. The first
/// one is today's; all of them sign, so that a backend can change over.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct SigningSecretSettings(pub Vec<String>);

/// Tells how many there are, and none of them.
impl fmt::Debug for SigningSecretSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} set", self.0.len())
    }
}

/// Written as the number of secrets: a comparison of two sets of settings needs to see no more.
impl Serialize for SigningSecretSettings {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|_| "redacted"))
    }
}

/// The prefix of a secret.
const PREFIX: &str = "whsec_";
/// Bytes of a secret.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;
/// Secrets are also found without padding.
const SECRET_BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a text is no secret. It never shows the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SigningSecretError {
    /// Something else is in its place.
    #[error("must begin with {PREFIX}")]
    Prefix,
    /// The rest is no base64.
    #[error("is not base64 after {PREFIX}")]
    Base64,
    /// It is too easily guessed, or longer than other libraries take.
    #[error("holds {0} bytes, and must hold {min} to {max}", min = LENGTHS.start(), max = LENGTHS.end())]
    Length(usize),
}

/// The bytes of a secret.
pub fn decode_secret(text: &str) -> Result<Vec<u8>, SigningSecretError> {
    let encoded = text.strip_prefix(PREFIX).ok_or(SigningSecretError::Prefix)?;
    let bytes = SECRET_BASE64.decode(encoded).map_err(|_| SigningSecretError::Base64)?;
    if LENGTHS.contains(&bytes.len()) { Ok(bytes) } else { Err(SigningSecretError::Length(bytes.len())) }
}
