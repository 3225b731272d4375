//! Keys of tokens from a JWK set's address: fetched at the start, on an interval, and when a token names a key that is
//! not known, at most once in a while. `docs/protocols/client.md` §10.11.

use std::{sync::Arc, time::Duration};

use awc::http::header::LOCATION;
use gorani_auth::{AuthSettingsError, JwksSource};
use url::Url;

use crate::{
    backend::{BackendTls, BackendTlsError},
    session::shared::current_policy::CurrentPolicy,
    settings::BackendTlsSettings,
};

/// The least time between two fetches, whatever made-up tokens ask for.
const FETCH_AT_MOST_EVERY: Duration = Duration::from_secs(10);
/// Time for one fetch.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a key set at most.
const KEY_SET_BYTES: usize = gorani_auth::token::JWKS_MAX_BYTES;

/// Redirects that one fetch follows at most.
const REDIRECTS: usize = 3;

/// Why the key set could not be brought up to date.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("{0}")]
    Request(#[from] awc::error::SendRequestError),
    #[error("{0}")]
    Body(#[from] awc::error::PayloadError),
    #[error("tls: {0}")]
    Tls(#[from] BackendTlsError),
    #[error("answer {0}")]
    Status(awc::http::StatusCode),
    #[error("token.jwks_url is no URL: {0}")]
    Url(#[from] url::ParseError),
    #[error("a redirect to {0} is not followed: keys come from the host of token.jwks_url alone")]
    Elsewhere(String),
    #[error("more than {REDIRECTS} redirects")]
    Redirects,
    #[error("token.jwks_url has changed meanwhile")]
    Changed,
    #[error(transparent)]
    Keys(#[from] AuthSettingsError),
}

/// Fetches the key set for the verifier of tokens.
pub(super) struct KeyFetcher {
    policy: Arc<CurrentPolicy>,
}

impl KeyFetcher {
    pub(super) fn new(policy: Arc<CurrentPolicy>) -> Self {
        Self { policy }
    }

    /// Keeps the key set up to date, for ever. Without an address it waits: a reload may bring one, another one, or none.
    pub(super) async fn keep(self) {
        let mut failure = String::new();
        loop {
            let Some(source) = self.policy.get().tokens.jwks_source() else {
                self.policy.key_wanted.notified().await;
                continue;
            };
            match self.fetch(&source).await {
                Ok(count) => {
                    failure.clear();
                    tracing::info!(count, "token keys fetched");
                }
                Err(error) => {
                    let error = error.to_string();
                    // The same cause is logged once, however often it is retried.
                    if error != failure {
                        tracing::warn!(%error, "fetching token keys failed");
                    }
                    failure = error;
                }
            }
            tokio::time::sleep(FETCH_AT_MOST_EVERY).await;
            // Without keys the node is not ready, so no client comes whose token would ask for them.
            if self.policy.get().tokens.awaits_keys() {
                continue;
            }
            let refresh = source.refresh.saturating_sub(FETCH_AT_MOST_EVERY);
            tokio::select! {
                biased;
                () = self.policy.key_wanted.notified() => {}
                () = tokio::time::sleep(refresh) => {}
            }
        }
    }

    async fn fetch(&self, source: &JwksSource) -> Result<usize, FetchError> {
        let mut connector = awc::Connector::new();
        if source.url.starts_with("https:") {
            connector =
                connector.rustls_0_23(BackendTls::open(&BackendTlsSettings::default(), true)?.config());
        }
        let client =
            awc::Client::builder().connector(connector).timeout(FETCH_TIMEOUT).disable_redirects().finish();
        let mut url = Url::parse(&source.url)?;
        for _ in 0..=REDIRECTS {
            let mut response = client.get(url.as_str()).send().await?;
            let status = response.status();
            if status.is_redirection()
                && let Some(location) = response.headers().get(LOCATION).and_then(|value| value.to_str().ok())
            {
                url = redirected(&url, location)?;
                continue;
            }
            if !status.is_success() {
                return Err(FetchError::Status(status));
            }
            let body = response.body().limit(KEY_SET_BYTES).await?;
            if self.policy.get().tokens.jwks_source().is_none_or(|now| now.url != source.url) {
                return Err(FetchError::Changed);
            }
            return Ok(self.policy.get().tokens.install_jwks(&body)?);
        }
        Err(FetchError::Redirects)
    }
}

/// The target of a redirect. The server at the address of the keys can sign tokens, so it stays on the same scheme, host
/// and port: a redirect that an open redirector or an attacker on the way makes is not followed.
fn redirected(from: &Url, location: &str) -> Result<Url, FetchError> {
    let to = from.join(location)?;
    if to.origin() == from.origin() {
        return Ok(to);
    }
    let (scheme, host) = (to.scheme(), to.host_str().unwrap_or_default());
    Err(FetchError::Elsewhere(match to.port() {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_redirect_stays_on_its_scheme_host_and_port() {
        let from = Url::parse("https://user:hidden@keys.test/v1/jwks").unwrap();
        for (location, leads_to) in [
            ("/v2/jwks", Some("https://user:hidden@keys.test/v2/jwks")),
            ("next", Some("https://user:hidden@keys.test/v1/next")),
            ("https://keys.test:443/x", Some("https://keys.test/x")),
            ("//keys.test/x", Some("https://keys.test/x")),
            ("http://keys.test/v1/jwks", None),
            ("https://keys.test:8443/x", None),
            ("https://keys.test.evil.test/x", None),
            ("https://keys.test@evil.test/x", None),
            ("//evil.test/x", None),
            ("\\\\evil.test/x", None),
            ("file:///etc/passwd", None),
        ] {
            let to = redirected(&from, location);
            match leads_to {
                Some(url) => assert_eq!(to.unwrap().as_str(), url, "{location}"),
                None => {
                    let error = to.unwrap_err().to_string();
                    assert!(
                        error.contains("not followed") && !error.contains("hidden"),
                        "{location}: {error}"
                    );
                }
            }
        }
    }
}
