//! The identity provider: its discovery document and its keys, kept for an hour, and its token endpoint. Every request ends in time, an
//! answer has its bound, and a provider that does not answer is asked again after a pause only.

use std::{fmt::Display, sync::Arc, time::Duration};

use actix_http::{
    StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use gorani_auth::{AuthSettingsError, ID_TOKEN_MAX_BYTES, IdTokenKeys};
use serde::Deserialize;
use tokio::{sync::Mutex, time::Instant};
use url::Url;

use super::error::OidcError;
use crate::{
    backend::{BackendAnswer, BackendClient, BackendTarget, BackendTls, BackendTlsError, PostError},
    settings::{BackendTlsSettings, OidcSettings, oidc::is_secure},
};

/// Time after which document and keys are fetched again.
const KEPT_FOR: Duration = Duration::from_secs(3600);
/// The least time between two fetches for tokens with an unknown key, and between a fetch that failed and the next one while document
/// and keys are there.
const FETCH_AT_MOST_EVERY: Duration = Duration::from_secs(10);
/// Time for which a provider that did not answer is not asked again.
const PAUSE: Duration = Duration::from_secs(2);
/// Bytes of an answer at most: of a key set, and of an answer with three tokens.
const ANSWER_MAX_BYTES: usize = 256 * 1024;
/// Bytes of a text of the provider in a log line.
const SHOWN_BYTES: usize = 200;

/// Why an answer of the provider is of no use. For the log of the node.
#[derive(Debug, thiserror::Error)]
enum ProviderError {
    #[error(transparent)]
    Request(#[from] PostError),
    #[error("tls: {0}")]
    Tls(#[from] BackendTlsError),
    #[error("the node could not read its certificates")]
    Blocking,
    #[error("answer {0}")]
    Status(StatusCode),
    #[error("the answer is no JSON as OpenID Connect has it: {0}")]
    Json(serde_json::Error),
    #[error("the provider calls itself {0:?}: admin.oidc.issuer must be the same text")]
    Issuer(String),
    #[error("{0} of the discovery document is no https:// address")]
    Endpoint(&'static str),
    #[error(transparent)]
    Keys(#[from] AuthSettingsError),
}

/// The part of the discovery document that is used. OpenID Connect Discovery §3.
#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    end_session_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

/// A provider as it is known now.
pub(super) struct ProviderData {
    /// The address to which browsers are sent for a login.
    pub(super) authorization_endpoint: Url,
    /// The address to which they are sent after a logout.
    pub(super) end_session_endpoint: Option<Url>,
    /// Its keys.
    pub(super) keys: IdTokenKeys,
    token_endpoint: Url,
    /// The secret goes into the body, and not into the header `Authorization`.
    is_secret_in_body: bool,
    tls: Arc<BackendTls>,
    fetched_at: Instant,
}

#[derive(Default)]
struct Fetched {
    data: Option<Arc<ProviderData>>,
    failed_at: Option<Instant>,
    /// The last fetch for a token with an unknown key. Others do not count: keys that change just after one of those are found at once.
    asked_for_keys_at: Option<Instant>,
}

/// The provider of a node.
pub(super) struct Provider {
    settings: OidcSettings,
    /// Held while the provider is asked: who comes meanwhile waits for that answer.
    fetched: Mutex<Fetched>,
}

/// A code to be exchanged for an ID token.
pub(super) struct CodeExchange<'a> {
    /// As the provider gave it to the browser.
    pub(super) code: &'a str,
    /// The address to which it sent the browser with it.
    pub(super) redirect_url: &'a str,
    /// The PKCE verifier.
    pub(super) verifier: &'a str,
}

#[derive(Deserialize)]
struct TokenAnswer {
    id_token: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CodeRefusal {
    error: String,
    error_description: String,
}

impl Provider {
    /// Asks nothing yet.
    pub(super) fn new(settings: OidcSettings) -> Self {
        Self { settings, fetched: Mutex::default() }
    }

    /// The provider as it is known, fetched where that is too long ago.
    ///
    /// # Errors
    /// It has never been known, and does not answer.
    pub(super) async fn data(&self) -> Result<Arc<ProviderData>, OidcError> {
        let mut fetched = self.fetched.lock().await;
        match &fetched.data {
            Some(data) if data.fetched_at.elapsed() < KEPT_FOR => Ok(data.clone()),
            _ => self.renew(&mut fetched).await,
        }
    }

    /// The provider with newer keys than these, unless it was asked for some just now.
    ///
    /// # Errors
    /// As [`Self::data`].
    pub(super) async fn data_after(&self, known: &ProviderData) -> Result<Arc<ProviderData>, OidcError> {
        let mut fetched = self.fetched.lock().await;
        let is_recent = fetched.asked_for_keys_at.is_some_and(|at| at.elapsed() < FETCH_AT_MOST_EVERY);
        match &fetched.data {
            Some(data) if is_recent || data.fetched_at != known.fetched_at => return Ok(data.clone()),
            _ => {}
        }
        fetched.asked_for_keys_at = Some(Instant::now());
        self.renew(&mut fetched).await
    }

    /// Fetches document and keys, unless that failed just now. The old ones stay where there are no new ones.
    async fn renew(&self, fetched: &mut Fetched) -> Result<Arc<ProviderData>, OidcError> {
        let pause = if fetched.data.is_some() { FETCH_AT_MOST_EVERY } else { PAUSE };
        if fetched.failed_at.is_some_and(|at| at.elapsed() < pause) {
            return fetched.data.clone().ok_or(OidcError::Unavailable);
        }
        match self.fetch().await {
            Ok(data) => {
                let data = Arc::new(data);
                fetched.data = Some(data.clone());
                fetched.failed_at = None;
                Ok(data)
            }
            Err(error) => {
                tracing::warn!(%error, issuer = self.settings.issuer, "asking the identity provider failed");
                fetched.failed_at = Some(Instant::now());
                fetched.data.clone().ok_or(OidcError::Unavailable)
            }
        }
    }

    /// Document and keys, asked for one after the other.
    async fn fetch(&self) -> Result<ProviderData, ProviderError> {
        let settings = &self.settings;
        let file = settings.ca_pem_file.clone();
        // Reads files.
        let tls = actix_web::web::block(move || {
            BackendTls::open(&BackendTlsSettings { ca_pem_file: file, ..BackendTlsSettings::default() }, true)
        });
        let tls = match settings.issuer.starts_with("https:") {
            true => Arc::new(tls.await.map_err(|_| ProviderError::Blocking)??),
            false => Arc::new(BackendTls::unused()?),
        };
        let address = format!("{}/.well-known/openid-configuration", settings.issuer.trim_end_matches('/'));
        let address = Url::parse(&address).map_err(|_| ProviderError::Endpoint("issuer"))?;
        let document: Document =
            serde_json::from_slice(&self.get(&tls, &address).await?).map_err(ProviderError::Json)?;
        if document.issuer != settings.issuer {
            return Err(ProviderError::Issuer(for_log(&document.issuer)));
        }
        let end_session = document.end_session_endpoint.as_deref();
        let end_session = end_session.map(|text| endpoint("end_session_endpoint", text)).transpose()?;
        let jwks = endpoint("jwks_uri", &document.jwks_uri)?;
        let authorization = endpoint("authorization_endpoint", &document.authorization_endpoint)?;
        let token = endpoint("token_endpoint", &document.token_endpoint)?;
        let keys = IdTokenKeys::parse(&self.get(&tls, &jwks).await?)?;
        // Where the document says nothing, it is the header.
        let methods = document.token_endpoint_auth_methods_supported.unwrap_or_default();
        let has = |name: &str| methods.iter().any(|method| method == name);
        Ok(ProviderData {
            authorization_endpoint: authorization,
            end_session_endpoint: end_session,
            keys,
            token_endpoint: token,
            is_secret_in_body: has("client_secret_post") && !has("client_secret_basic"),
            tls,
            fetched_at: Instant::now(),
        })
    }

    /// A client of this thread for one request.
    fn client(&self, tls: &Arc<BackendTls>, endpoint: &Url) -> Result<BackendClient, PostError> {
        BackendClient::new(Arc::new(BackendTarget {
            endpoint: endpoint.clone(),
            tls: tls.clone(),
            timeout: self.settings.timeout,
            pool_limit: 1,
            max_response_bytes: ANSWER_MAX_BYTES,
        }))
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.settings.timeout
    }

    async fn get(&self, tls: &Arc<BackendTls>, url: &Url) -> Result<Bytes, ProviderError> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let answer = self.client(tls, url)?.get(headers, self.deadline()).await?;
        if answer.status == StatusCode::OK {
            Ok(answer.body)
        } else {
            Err(ProviderError::Status(answer.status))
        }
    }

    /// Exchanges a code for an ID token. Nothing is sent again: a code is good for one time.
    ///
    /// # Errors
    /// The provider does not answer, or refuses the code or this node.
    pub(super) async fn exchange(
        &self,
        data: &ProviderData,
        exchange: &CodeExchange<'_>,
    ) -> Result<String, OidcError> {
        let answer = match self.post_code(data, exchange).await {
            Ok(answer) => answer,
            Err(error) => {
                warn_of_exchange(&error);
                return Err(OidcError::Unavailable);
            }
        };
        if answer.status == StatusCode::OK {
            return match serde_json::from_slice::<TokenAnswer>(&answer.body) {
                Ok(TokenAnswer { id_token }) if id_token.len() <= ID_TOKEN_MAX_BYTES => Ok(id_token),
                Ok(_) => {
                    warn_of_exchange(&format!("the ID token is longer than {ID_TOKEN_MAX_BYTES} bytes"));
                    Err(OidcError::Token)
                }
                Err(_) => {
                    // Its error would show a part of a token.
                    warn_of_exchange(&"the answer is no JSON with an id_token");
                    Err(OidcError::Unavailable)
                }
            };
        }
        let refusal: CodeRefusal = serde_json::from_slice(&answer.body).unwrap_or_default();
        let (error, description) = (for_log(&refusal.error), for_log(&refusal.error_description));
        warn_of_exchange(&format!("answer {}: {error:?} {description:?}", answer.status));
        match (answer.status, refusal.error.as_str()) {
            (_, "invalid_grant") => Err(OidcError::Code),
            (StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => {
                Err(OidcError::Client)
            }
            _ => Err(OidcError::Unavailable),
        }
    }

    async fn post_code(
        &self,
        data: &ProviderData,
        exchange: &CodeExchange<'_>,
    ) -> Result<BackendAnswer, ProviderError> {
        let OidcSettings { client_id, client_secret, .. } = &self.settings;
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", exchange.code)
            .append_pair("redirect_uri", exchange.redirect_url)
            .append_pair("code_verifier", exchange.verifier);
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        if data.is_secret_in_body {
            form.append_pair("client_id", client_id).append_pair("client_secret", client_secret);
        } else {
            // RFC 6749 §2.3.1: both are encoded as in a form before they are joined.
            let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let pair = format!("{}:{}", encoded(client_id), encoded(client_secret));
            let credentials = HeaderValue::from_str(&format!("Basic {}", BASE64.encode(pair)));
            let credentials = credentials.map_err(|error| PostError::Request(error.to_string()))?;
            headers.insert(AUTHORIZATION, credentials);
        }
        let client = self.client(&data.tls, &data.token_endpoint)?;
        Ok(client.post(headers, Bytes::from(form.finish()), self.deadline()).await?)
    }
}

/// An address of the discovery document.
fn endpoint(name: &'static str, text: &str) -> Result<Url, ProviderError> {
    Url::parse(text).ok().filter(is_secure).ok_or(ProviderError::Endpoint(name))
}

fn warn_of_exchange(error: &dyn Display) {
    tracing::warn!(%error, "exchanging the code of a login with the identity provider failed");
}

/// A text of the provider, short enough for a log line.
pub(super) fn for_log(text: &str) -> String {
    text[..text.floor_char_boundary(SHOWN_BYTES)].to_owned()
}
