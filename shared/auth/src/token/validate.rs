//! Checks the settings of tokens. `docs/protocols/client.md` §10.1 and §10.2.

use std::time::Duration;

use super::{error::AuthSettingsError, jwks, key, limits::LEEWAY_MAX, settings::TokenSettings};

/// Most often that a JWK set may be fetched: key servers limit their visitors.
const JWKS_REFRESH_MIN: Duration = Duration::from_secs(10);

impl TokenSettings {
    /// Finds the first thing that is wrong; what [`TokenVerifier::new`](super::TokenVerifier::new) would
    /// refuse.
    pub fn validate(&self) -> Result<(), AuthSettingsError> {
        key::from_settings(self)?;
        if !self.jwks.is_empty() {
            jwks::parse(self.jwks.as_bytes())?;
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
