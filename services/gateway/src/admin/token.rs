//! Signed tokens of the admin API: the session of a person in a cookie, and the short token of a command that runs beside the node.
//!
//! Nothing is stored: name, right and times stand in the token, so any node behind any balancer accepts it. The key of a session
//! comes from the secret of the cluster and the hash of the password, so a changed password ends all sessions. That of a command
//! comes from the settings alone, which the command reads as the node does. Decision record 57.

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    hmac::{HMAC_SHA256, Key, sign},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use rand::Rng as _;
use serde::{Deserialize, Serialize};

use crate::settings::{AdminRole, AdminSettings};

/// Seconds for which the token of a command is good.
pub const COMMAND_TOKEN_SECONDS: u64 = 60;
/// Seconds by which clocks of two nodes may differ.
const SKEW_SECONDS: u64 = 30;
/// Bytes of a token at most.
const TOKEN_MAX_BYTES: usize = 1024;
/// Before the payload; a later form has another one.
const VERSION: &str = "g1";

/// The right of who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Name for the audit log.
    pub name: String,
    /// To see, or to act too.
    pub role: AdminRole,
    /// To see payloads, connection info and claims of tokens.
    pub contents: bool,
}

/// The content of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenBody {
    /// Random id, by which a session is ended.
    pub id: String,
    /// The right that it carries.
    #[serde(flatten)]
    pub grant: Grant,
    /// Unix seconds of the login.
    pub issued_at: u64,
    /// Unix seconds of the last request, to the minute.
    pub seen_at: u64,
    /// An identity provider has let the person in, and is told of the logout.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_provider: bool,
}

/// The key of tokens of one kind.
#[derive(Clone)]
pub struct TokenKey(Key);

impl TokenKey {
    /// The key of sessions, under one secret of the cluster.
    /// Settings of logins by a provider are in it too where there are any: who is not let in by new ones has no session either.
    pub fn of_sessions(secret: &Key, settings: &AdminSettings) -> Self {
        let oidc = &settings.oidc;
        if !oidc.is_on() {
            return Self::derive(secret, &[b"session", settings.password_hash.as_bytes()]);
        }
        let mut parts: Vec<&[u8]> = vec![b"session of either", settings.password_hash.as_bytes()];
        let texts = [&oidc.issuer, &oidc.client_id, &oidc.client_secret, &oidc.roles_claim];
        parts.extend(texts.map(|text| text.as_bytes()));
        for role in &oidc.roles {
            let right: &[u8] = if role.contents { b"contents" } else { b"" };
            parts.extend([role.value.as_bytes(), role.role.name().as_bytes(), right]);
        }
        Self::derive(secret, &parts)
    }

    /// The key of logins by a provider that are under way, under one secret of the cluster.
    pub fn of_attempts(secret: &Key, settings: &AdminSettings) -> Self {
        let oidc = &settings.oidc;
        Self::derive(secret, &[b"oidc attempt", oidc.issuer.as_bytes(), oidc.client_id.as_bytes()])
    }

    /// A text that only this key makes of another text, for one use.
    pub fn text_for(&self, use_name: &str, text: &str) -> String {
        let mut signed = Vec::from(use_name);
        signed.push(0);
        signed.extend_from_slice(text.as_bytes());
        BASE64.encode(sign(&self.0, &signed))
    }

    /// The key of commands. The settings that it comes from are never empty together: `admin.enabled` asks for one of them.
    pub fn of_commands(settings: &AdminSettings, cluster_secret: &str) -> Self {
        let keys = settings.keys.iter().map(|key| key.key.as_bytes());
        let secrets = [settings.password_hash.as_bytes(), cluster_secret.as_bytes()].into_iter().chain(keys);
        let parts: Vec<&[u8]> = std::iter::once(&b"command"[..]).chain(secrets).collect();
        Self::derive(&Key::new(HMAC_SHA256, b"gorani admin"), &parts)
    }

    fn derive(secret: &Key, parts: &[&[u8]]) -> Self {
        let mut text = Vec::new();
        for part in parts {
            // With their lengths, so that no two lists of parts are one text.
            text.extend_from_slice(&(part.len() as u64).to_be_bytes());
            text.extend_from_slice(part);
        }
        Self(Key::new(HMAC_SHA256, sign(secret, &text).as_ref()))
    }

    /// The text of a token.
    ///
    /// # Errors
    /// JSON cannot be written.
    pub fn sign(&self, body: &TokenBody) -> Result<String, serde_json::Error> {
        let payload = BASE64.encode(serde_json::to_vec(body)?);
        let signature = BASE64.encode(sign(&self.0, payload.as_bytes()));
        Ok(format!("{VERSION}.{payload}.{signature}"))
    }

    /// The content of a token that this key has signed. Its times are not looked at.
    pub fn verify(&self, token: &str) -> Option<TokenBody> {
        if token.len() > TOKEN_MAX_BYTES {
            return None;
        }
        let (payload, signature) = token.strip_prefix(VERSION)?.strip_prefix('.')?.split_once('.')?;
        let signature = BASE64.decode(signature).ok()?;
        verify_slices_are_equal(sign(&self.0, payload.as_bytes()).as_ref(), &signature).ok()?;
        serde_json::from_slice(&BASE64.decode(payload).ok()?).ok()
    }
}

impl TokenBody {
    /// A token that begins now.
    pub fn new(grant: Grant, now: u64) -> Self {
        let mut id = [0; 16];
        rand::rng().fill_bytes(&mut id);
        Self { id: BASE64.encode(id), grant, issued_at: now, seen_at: now, by_provider: false }
    }

    /// The token of a command: it may do all.
    pub fn of_command(now: u64) -> Self {
        let grant = Grant { name: "command".to_owned(), role: AdminRole::Operator, contents: true };
        Self::new(grant, now)
    }

    /// Unix seconds at which the session ends without another request.
    pub fn ends_at(&self, settings: &AdminSettings) -> u64 {
        let idle = self.seen_at.saturating_add(settings.session_idle.as_secs());
        idle.min(self.issued_at.saturating_add(settings.session_max.as_secs()))
    }

    /// True if a session is good at this time.
    pub fn is_current(&self, now: u64, settings: &AdminSettings) -> bool {
        let latest = now.saturating_add(SKEW_SECONDS);
        self.issued_at <= latest && self.seen_at <= latest && now < self.ends_at(settings)
    }

    /// True if the token of a command is good at this time.
    pub fn is_fresh(&self, now: u64) -> bool {
        self.issued_at <= now.saturating_add(SKEW_SECONDS)
            && now <= self.issued_at.saturating_add(COMMAND_TOKEN_SECONDS)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn settings(hash: &str) -> AdminSettings {
        AdminSettings { password_hash: hash.to_owned(), ..AdminSettings::default() }
    }

    fn secret(text: &str) -> Key {
        Key::new(HMAC_SHA256, text.as_bytes())
    }

    fn body() -> TokenBody {
        let grant = Grant { name: "password".to_owned(), role: AdminRole::Viewer, contents: false };
        TokenBody::new(grant, 1_000_000)
    }

    #[test]
    fn a_session_is_good_on_every_node_of_the_cluster_and_ends_with_the_password() {
        let own = secret("secret of the cluster");
        let token = TokenKey::of_sessions(&own, &settings("one")).sign(&body()).unwrap();
        let read = |secret: &Key, hash| TokenKey::of_sessions(secret, &settings(hash)).verify(&token);
        assert!(read(&own, "one").is_some());
        assert_eq!(read(&own, "other"), None);
        assert_eq!(read(&secret("secret of another one"), "one"), None);
        // The key of commands is another one, though all that it comes from is the same.
        assert_eq!(TokenKey::of_commands(&settings("one"), "secret of the cluster").verify(&token), None);
    }

    #[test]
    fn of_a_token_no_part_can_be_changed() {
        let key = TokenKey::of_sessions(&secret("secret"), &settings("one"));
        let body = body();
        let token = key.sign(&body).unwrap();
        assert_eq!(key.verify(&token), Some(body.clone()));
        let operator = TokenBody { grant: Grant { role: AdminRole::Operator, ..body.grant.clone() }, ..body };
        let forged = BASE64.encode(serde_json::to_vec(&operator).unwrap());
        let signature = token.rsplit_once('.').unwrap().1;
        for text in [
            String::new(),
            "g1".to_owned(),
            "g1..".to_owned(),
            format!("g1.{forged}.{signature}"),
            format!("g1.{forged}."),
            format!("g2.{}", &token[3..]),
            format!("{token}A"),
            "x".repeat(5000),
        ] {
            assert_eq!(key.verify(&text), None, "{text}");
        }
    }

    #[test]
    fn a_session_ends_when_nobody_uses_it_and_after_its_longest_time() {
        let settings = settings("one");
        let (idle, longest) = (settings.session_idle.as_secs(), settings.session_max.as_secs());
        let session = body();
        let begin = session.issued_at;
        assert!(session.is_current(begin, &settings) && session.is_current(begin + idle - 1, &settings));
        assert!(!session.is_current(begin + idle, &settings));
        let used = TokenBody { seen_at: begin + longest - 1, ..session.clone() };
        assert!(used.is_current(begin + longest - 1, &settings));
        assert!(!used.is_current(begin + longest, &settings));
        // Of a clock that is far ahead.
        let early = TokenBody { issued_at: begin + 3600, seen_at: begin + 3600, ..session };
        assert!(!early.is_current(begin, &settings));
    }

    #[test]
    fn the_token_of_a_command_is_good_for_a_minute() {
        let token = TokenBody::of_command(1_000);
        assert!(token.is_fresh(1_000) && token.is_fresh(1_060));
        assert!(!token.is_fresh(1_061) && !token.is_fresh(900));
    }
}
