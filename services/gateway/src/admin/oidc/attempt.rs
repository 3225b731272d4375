//! A login by a provider that is under way: a short cookie of the browser that began it. Nothing is stored, so the browser may come back
//! to any node. State, nonce and PKCE verifier follow from the cookie's id and a key of the cluster, and are not in it.

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{SHA256, digest},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use rand::Rng as _;

use crate::admin::token::TokenKey;

/// Seconds within which the browser must come back.
pub const ATTEMPT_SECONDS: u64 = 600;
/// Seconds by which clocks of two nodes may differ.
const SKEW_SECONDS: u64 = 30;
/// Bytes of a cookie's value at most.
const TEXT_MAX_BYTES: usize = 128;

/// A login that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginAttempt {
    /// Random id.
    pub id: String,
    /// Unix seconds of its begin.
    begun_at: u64,
}

/// The secrets that only the browser that began a login and the cluster know together.
pub struct AttemptSecrets {
    /// Comes back with the browser.
    pub state: String,
    /// Comes back in the ID token.
    pub nonce: String,
    /// Goes to the provider together with the code (RFC 7636).
    pub verifier: String,
}

impl LoginAttempt {
    /// One that begins now.
    pub fn new(now: u64) -> Self {
        let mut id = [0; 16];
        rand::rng().fill_bytes(&mut id);
        Self { id: BASE64.encode(id), begun_at: now }
    }

    /// The value of the cookie.
    pub fn text(&self, key: &TokenKey) -> String {
        let signed = format!("{}.{}", self.id, self.begun_at);
        let signature = key.text_for("cookie", &signed);
        format!("{signed}.{signature}")
    }

    /// The login of a cookie, and the key that has signed it.
    pub fn read<'k>(text: &str, keys: &'k [TokenKey], now: u64) -> Option<(Self, &'k TokenKey)> {
        if text.len() > TEXT_MAX_BYTES {
            return None;
        }
        let (signed, signature) = text.rsplit_once('.')?;
        let key = keys.iter().find(|key| {
            let own = key.text_for("cookie", signed);
            verify_slices_are_equal(own.as_bytes(), signature.as_bytes()).is_ok()
        })?;
        let (id, begun_at) = signed.split_once('.')?;
        let attempt = Self { id: id.to_owned(), begun_at: begun_at.parse().ok()? };
        let is_current = attempt.begun_at <= now.saturating_add(SKEW_SECONDS) && now < attempt.ends_at();
        is_current.then_some((attempt, key))
    }

    /// Unix seconds at which it is too old.
    pub fn ends_at(&self) -> u64 {
        self.begun_at.saturating_add(ATTEMPT_SECONDS)
    }

    /// Its secrets.
    pub fn secrets(&self, key: &TokenKey) -> AttemptSecrets {
        let secret = |name| key.text_for(name, &self.id);
        AttemptSecrets { state: secret("state"), nonce: secret("nonce"), verifier: secret("verifier") }
    }
}

impl AttemptSecrets {
    /// `code_challenge` of the method S256.
    pub fn challenge(&self) -> String {
        BASE64.encode(digest(&SHA256, self.verifier.as_bytes()))
    }

    /// True for the state that came back.
    pub fn is_state(&self, state: &str) -> bool {
        verify_slices_are_equal(self.state.as_bytes(), state.as_bytes()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use aws_lc_rs::hmac::{HMAC_SHA256, Key};

    use super::*;
    use crate::settings::AdminSettings;

    fn key(secret: &str) -> TokenKey {
        TokenKey::of_attempts(&Key::new(HMAC_SHA256, secret.as_bytes()), &AdminSettings::default())
    }

    #[test]
    fn a_cookie_is_good_on_every_node_for_ten_minutes_and_no_part_of_it_can_be_changed() {
        let keys = [key("new"), key("old")];
        let attempt = LoginAttempt::new(1000);
        let text = attempt.text(&keys[1]);
        let (read, by) = LoginAttempt::read(&text, &keys, 1000).unwrap();
        assert_eq!(read, attempt);
        assert_eq!(by.text_for("a", "b"), keys[1].text_for("a", "b"));
        assert!(LoginAttempt::read(&text, &keys, 1599).is_some());
        assert!(LoginAttempt::read(&text, &keys, 1600).is_none());
        assert!(LoginAttempt::read(&text, &keys, 900).is_none());
        assert!(LoginAttempt::read(&text, &[key("another")], 1000).is_none());
        let (_, signature) = text.rsplit_once('.').unwrap();
        let later = format!("{}.9000.{signature}", attempt.id);
        for text in [String::new(), "..".to_owned(), later, format!("{text}A"), "x".repeat(5000)] {
            assert!(LoginAttempt::read(&text, &keys, 1000).is_none(), "{text}");
        }
    }

    #[test]
    fn secrets_differ_by_login_and_by_use_and_none_is_in_the_cookie() {
        let key = key("one");
        let [one, other] = [LoginAttempt::new(1000), LoginAttempt::new(1000)];
        let (secrets, others) = (one.secrets(&key), other.secrets(&key));
        let all = [secrets.state.as_str(), &secrets.nonce, &secrets.verifier, &others.state, &others.nonce];
        for (index, text) in all.iter().enumerate() {
            // RFC 7636 asks for a verifier of 43 characters or more.
            assert_eq!(text.len(), 43);
            assert!(!one.text(&key).contains(text) && !all[..index].contains(text));
        }
        assert!(
            secrets.is_state(&secrets.state) && !secrets.is_state(&others.state) && !secrets.is_state("")
        );
        assert_ne!(secrets.challenge(), secrets.verifier);
    }
}
