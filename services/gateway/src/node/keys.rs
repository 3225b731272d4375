//! Keys of tokens from a JWK set's address: fetched at the start, on an interval, and when a token names a key that is
//! not known, at most once in a while. `specs/client-protocol.md`, "Tokens".

use std::{sync::Arc, time::Duration};

use gorani_auth::AuthSettingsError;

use crate::node::Node;

/// The least time between two fetches, whatever made-up tokens ask for.
const FETCH_AT_MOST_EVERY: Duration = Duration::from_secs(10);
/// Time for one fetch.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a key set at most.
const KEY_SET_BYTES: usize = gorani_auth::token::JWKS_MAX_BYTES;

/// Why the key set could not be brought up to date.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("{0}")]
    Request(#[from] awc::error::SendRequestError),
    #[error("{0}")]
    Body(#[from] awc::error::PayloadError),
    #[error("answer {0}")]
    Status(awc::http::StatusCode),
    #[error(transparent)]
    Keys(#[from] AuthSettingsError),
}

impl Node {
    /// Keeps the key set up to date, for ever; returns at once without an address.
    pub(super) async fn keep_keys(self: Arc<Self>) {
        let Some(url) = self.policy.tokens.jwks_url().map(str::to_owned) else { return };
        loop {
            match self.fetch_keys(&url).await {
                Ok(count) => tracing::info!(count, "token keys fetched"),
                Err(error) => tracing::warn!(%error, "token keys could not be fetched"),
            }
            tokio::time::sleep(FETCH_AT_MOST_EVERY).await;
            let refresh = self.settings.token.jwks_refresh.saturating_sub(FETCH_AT_MOST_EVERY);
            tokio::select! {
                () = self.policy.key_wanted.notified() => {}
                () = tokio::time::sleep(refresh) => {}
            }
        }
    }

    async fn fetch_keys(&self, url: &str) -> Result<usize, FetchError> {
        let client = awc::Client::builder().timeout(FETCH_TIMEOUT).finish();
        let mut response = client.get(url).send().await?;
        if !response.status().is_success() {
            return Err(FetchError::Status(response.status()));
        }
        let body = response.body().limit(KEY_SET_BYTES).await?;
        Ok(self.policy.tokens.install_jwks(&body)?)
    }
}
