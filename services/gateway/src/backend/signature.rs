//! The signature of a request to the backend, the way of Standard Webhooks: HMAC-SHA256 over id, time and the bytes of the body.
//! <https://www.standardwebhooks.com>

use std::fmt;

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose};

pub use crate::settings::backend::SigningSecretError;
use crate::settings::backend::decode_secret;

/// A secret that the node and the backend share.
#[derive(Clone)]
pub struct SigningSecret(hmac::Key);

impl std::str::FromStr for SigningSecret {
    type Err = SigningSecretError;

    fn from_str(text: &str) -> Result<Self, SigningSecretError> {
        let bytes = decode_secret(text)?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SigningSecret(redacted)")
    }
}

/// Signs requests with every secret that it has, so that a backend can change from one to the next.
#[derive(Debug, Clone, Default)]
pub struct Signer(Vec<SigningSecret>);

impl Signer {
    /// Without a secret nothing is signed.
    pub fn new(secrets: Vec<SigningSecret>) -> Self {
        Self(secrets)
    }

    /// False: requests go out unsigned.
    pub fn is_on(&self) -> bool {
        !self.0.is_empty()
    }

    /// The headers of a request. The body is signed as it is sent, byte for byte.
    pub fn headers(&self, id: &str, timestamp_s: u64, body: &[u8]) -> [(&'static str, String); 3] {
        let timestamp = timestamp_s.to_string();
        let mut signatures = String::new();
        for SigningSecret(key) in &self.0 {
            let mut context = hmac::Context::with_key(key);
            context.update(id.as_bytes());
            context.update(b".");
            context.update(timestamp.as_bytes());
            context.update(b".");
            context.update(body);
            if !signatures.is_empty() {
                signatures.push(' ');
            }
            signatures.push_str("v1,");
            general_purpose::STANDARD.encode_string(context.sign(), &mut signatures);
        }
        [("webhook-id", id.to_owned()), ("webhook-timestamp", timestamp), ("webhook-signature", signatures)]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use standardwebhooks::Webhook;
    use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};

    use super::*;

    /// Of the test vectors of the specification's libraries.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn the_signature_is_that_of_the_specifications_test_vector() {
        let signer = Signer::new(vec![SECRET.parse().unwrap()]);
        let headers = signer.headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, br#"{"test": 2432232314}"#);
        assert_eq!(headers[0], ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek".to_owned()));
        assert_eq!(headers[1], ("webhook-timestamp", "1614265330".to_owned()));
        assert_eq!(
            headers[2],
            ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=".to_owned())
        );
    }

    #[test]
    fn the_published_library_verifies_what_is_signed_now_and_nothing_else() {
        let other = format!("whsec_{}", general_purpose::STANDARD.encode([7; 32]));
        let signer = Signer::new(vec![SECRET.parse().unwrap(), other.parse().unwrap()]);
        let now = crate::clock::unix_ms() / 1000;
        let body = br#"{"client":"c-1"}"#;
        let verified = |secret: &str, unix_s: u64, body: &[u8]| {
            let headers = signer.headers("c-1:7", unix_s, br#"{"client":"c-1"}"#);
            let headers = headers
                .into_iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(&value).unwrap()));
            Webhook::new(secret).unwrap().verify(body, &headers.collect()).is_ok()
        };
        assert!(verified(SECRET, now, body));
        assert!(verified(&other, now, body), "either secret verifies");
        assert!(!verified(SECRET, now, b"{}"));
        assert!(!verified(SECRET, now - 600, body));
        assert!(!verified(&format!("whsec_{}", general_purpose::STANDARD.encode([8; 32])), now, body));
    }

    #[test]
    fn every_secret_signs_while_they_change() {
        let other = format!("whsec_{}", general_purpose::STANDARD.encode([7; 32]));
        let both = Signer::new(vec![SECRET.parse().unwrap(), other.parse().unwrap()]);
        let [.., (_, signatures)] = both.headers("a", 1, b"x");
        let alone =
            |secret: &str| Signer::new(vec![secret.parse().unwrap()]).headers("a", 1, b"x")[2].1.clone();
        assert_eq!(signatures, format!("{} {}", alone(SECRET), alone(&other)));
    }

    #[test]
    fn a_secret_has_its_prefix_and_24_to_64_bytes() {
        let of = |length: usize| format!("whsec_{}", general_purpose::STANDARD.encode(vec![1; length]));
        for length in [24, 25, 64] {
            assert!(of(length).parse::<SigningSecret>().is_ok(), "{length}");
            assert!(of(length).trim_end_matches('=').parse::<SigningSecret>().is_ok(), "{length}");
        }
        for length in [0, 23, 65] {
            assert_eq!(of(length).parse::<SigningSecret>().unwrap_err(), SigningSecretError::Length(length));
        }
        assert_eq!("secret".parse::<SigningSecret>().unwrap_err(), SigningSecretError::Prefix);
        assert_eq!("whsec_§§".parse::<SigningSecret>().unwrap_err(), SigningSecretError::Base64);
    }

    #[test]
    fn debug_shows_no_secret() {
        let signer = Signer::new(vec![SECRET.parse().unwrap()]);
        assert_eq!(format!("{signer:?}"), "Signer([SigningSecret(redacted)])");
    }
}
