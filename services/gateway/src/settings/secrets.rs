//! Secrets that can be guessed: they stop the start of a node that listens beyond the loopback, and are a warning elsewhere.
//! `docs/architecture.md` §8.2.

use super::{Settings, cluster::SECRET_MIN_BYTES, error::SettingsError};

impl Settings {
    /// The settings whose secret is shorter than 16 bytes, each once.
    pub fn weak_secrets(&self) -> Vec<&'static str> {
        let is_weak = |secret: &str| !secret.is_empty() && secret.len() < SECRET_MIN_BYTES;
        let found = [
            ("api.keys", self.api.keys.iter().any(|key| is_weak(key))),
            ("token.hmac_secret", is_weak(&self.token.hmac_secret)),
            ("stomp.users", self.stomp.users.iter().any(|user| user.password.len() < SECRET_MIN_BYTES)),
        ];
        found.into_iter().filter_map(|(key, is_weak)| is_weak.then_some(key)).collect()
    }

    /// Whether others than this machine can reach the node.
    pub fn listens_beyond_loopback(&self) -> bool {
        let stomp = self.stomp.tcp.address().ok().flatten();
        [Some(self.http.address), stomp]
            .into_iter()
            .flatten()
            .any(|address| !address.ip().to_canonical().is_loopback())
    }

    pub(super) fn validate_secrets(&self) -> Result<(), SettingsError> {
        match self.weak_secrets().first() {
            Some(key) if self.listens_beyond_loopback() => Err(SettingsError::value(
                key,
                "a secret of fewer than 16 characters can be guessed, and the node listens beyond the loopback; \
                 make one with: openssl rand -hex 32",
            )),
            _ => Ok(()),
        }
    }
}
