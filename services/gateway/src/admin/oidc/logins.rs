//! The logins of a node by its provider: the provider, the limits, and what is remembered of logins that are over.

use gorani_auth::{ExpectedIdToken, IdTokenError};
use serde_json::{Map, Value};
use url::Url;

use super::{
    attempt::AttemptSecrets,
    error::OidcError,
    provider::{CodeExchange, Provider},
};
use crate::{
    admin::{error::AdminError, sessions::EndedLogins, throttle::LoginThrottle},
    clock::unix_ms,
    settings::{AdminSettings, OidcSettings, oidc::CALLBACK},
};

/// Logins that ask the provider at a time. A slow one holds no more requests than these and those that wait for them.
const LOGINS_AT_ONCE: usize = 16;

/// Logins of a node by its provider.
pub struct Oidc {
    pub(super) settings: OidcSettings,
    /// Path of the admin page.
    path: String,
    pub(super) provider: Provider,
    pub(super) throttle: LoginThrottle,
    /// Logins that the browser has come back from.
    pub(super) used: EndedLogins,
}

impl Oidc {
    /// The one of these settings. It asks nothing yet.
    pub fn new(settings: &AdminSettings) -> Self {
        Self {
            settings: settings.oidc.clone(),
            path: settings.path.clone(),
            provider: Provider::new(settings.oidc.clone()),
            throttle: LoginThrottle::new(LOGINS_AT_ONCE),
            used: EndedLogins::default(),
        }
    }

    /// The provider's name.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// The address to which the provider sends the browser back. `origin`: scheme and host that the browser asked.
    pub(super) fn redirect_url(&self, origin: &str) -> Result<Url, AdminError> {
        let text = match self.settings.redirect_url.as_str() {
            "" => format!("{origin}{}{CALLBACK}", self.path),
            text => text.to_owned(),
        };
        let url = Url::parse(&text).ok().filter(|url| url.path().ends_with(CALLBACK));
        url.ok_or_else(|| AdminError::BadRequest("the header Host is no host".to_owned()))
    }

    /// The address at the provider that ends the person's session there. `hint`: the ID token of their login.
    pub(super) async fn end_session(&self, origin: &str, hint: Option<&str>) -> Option<Url> {
        let mut url = self.provider.data().await.ok()?.end_session_endpoint.clone()?;
        let page = self.redirect_url(origin).ok()?.join("../").ok()?;
        url.query_pairs_mut()
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("post_logout_redirect_uri", page.as_str());
        if let Some(token) = hint {
            url.query_pairs_mut().append_pair("id_token_hint", token);
        }
        Some(url)
    }

    /// The claims of the person who came back with this code, and the ID token that holds them.
    pub(super) async fn claims(
        &self,
        code: &str,
        redirect_url: &Url,
        secrets: &AttemptSecrets,
    ) -> Result<(Map<String, Value>, String), OidcError> {
        let data = self.provider.data().await?;
        let exchange =
            CodeExchange { code, redirect_url: redirect_url.as_str(), verifier: &secrets.verifier };
        let token = self.provider.exchange(&data, &exchange).await?;
        let OidcSettings { issuer, client_id, .. } = &self.settings;
        let expected = ExpectedIdToken { issuer, client_id, nonce: &secrets.nonce };
        let mut claims = data.keys.verify(&token, expected, unix_ms() / 1000);
        if matches!(claims, Err(IdTokenError::UnknownKey)) {
            let newer = self.provider.data_after(&data).await?;
            claims = newer.keys.verify(&token, expected, unix_ms() / 1000);
        }
        let claims = claims.map_err(|error| {
            tracing::warn!(%error, "ID token of the identity provider refused");
            OidcError::Token
        })?;
        Ok((claims, token))
    }
}
