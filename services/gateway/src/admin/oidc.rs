//! Logins with an identity provider: OpenID Connect, the code flow with PKCE, on the server. The page only sends the browser to the
//! provider and gets it back; codes and the client's secret are never in it. `docs/admin.md`; decision record 69.
//!
//! [`begin`] makes an [`attempt`] and the address of the [`provider`]; [`mod@callback`] takes the browser back, exchanges the code, checks
//! the ID token, and gives the [`rights`] of its claims a session as a password does. The logout shows the provider that token ([`hint`]).

pub mod attempt;
mod callback;
pub mod error;
mod hint;
pub mod logins;
mod provider;
pub mod rights;

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{HeaderValue, SET_COOKIE},
    web::Data,
};
use serde_json::json;
use tokio::time::Instant;
use url::Url;

use self::{
    attempt::{ATTEMPT_SECONDS, LoginAttempt},
    callback::CallbackQuery,
    error::OidcError,
    logins::Oidc,
};
use super::{
    access::{RequestRoute, cookies, host},
    answer::AdminAnswer,
    audit::{AuditRecord, AuditSource},
    error::AdminError,
    state::AdminScope,
    token::{Grant, TokenBody},
};
use crate::clock::unix_ms;

/// The cookie of a login that is under way, over TLS and on the machine itself.
const COOKIE_OVER_TLS: &str = "__Host-gorani_oidc";
const COOKIE_ON_LOOPBACK: &str = "gorani_oidc";

/// The person of a login, for the audit log, as far as they are known.
#[derive(Default)]
struct LoginName {
    who: String,
    /// `sub` of the provider.
    subject: String,
}

/// Scheme and host that the browser asked.
fn origin(scope: &AdminScope, request: &HttpRequest) -> String {
    let scheme = if scope.route(request) == RequestRoute::Secure { "https" } else { "http" };
    format!("{scheme}://{}", host(request))
}

/// The address at the provider that ends the person's session there too; none where the provider has none or does not answer.
pub async fn end_session(scope: &AdminScope, request: &HttpRequest) -> Option<Url> {
    let oidc = scope.admin.oidc.as_ref()?;
    oidc.end_session(&origin(scope, request), hint::of_request(scope, request)).await
}

/// Has the browser forget the ID token of a session that has ended.
///
/// # Errors
/// The header `Host` is no host.
pub fn forget_id_token(
    scope: &AdminScope,
    request: &HttpRequest,
    response: &mut HttpResponse,
) -> Result<(), AdminError> {
    let redirect_url = configured(scope)?.redirect_url(&origin(scope, request))?;
    hint::forget(scope, request, &redirect_url, response)
}

fn configured(scope: &AdminScope) -> Result<&Oidc, AdminError> {
    let oidc = scope.admin.oidc.as_ref();
    oidc.ok_or_else(|| AdminError::NotFound("no identity provider is set: admin.oidc.issuer".to_owned()))
}

/// Begins a login: the answer has the address of the provider, and a cookie by which the browser is known when it comes back.
///
/// # Errors
/// There is no provider, or it does not answer.
pub async fn begin(scope: &AdminScope, request: &HttpRequest) -> Result<HttpResponse, AdminError> {
    let oidc = configured(scope)?;
    if scope.route(request) == RequestRoute::Plain {
        return Err(AdminError::Insecure);
    }
    let redirect_url = oidc.redirect_url(&origin(scope, request))?;
    let _turn = oidc.throttle.turn(scope.network(request)).await?;
    let data = oidc.provider.data().await?;
    let keys = scope.admin.attempt_keys().await;
    let Some(key) = keys.first() else {
        return Err(AdminError::no_cluster_secret());
    };
    let attempt = LoginAttempt::new(unix_ms() / 1000);
    let secrets = attempt.secrets(key);
    let mut url = data.authorization_endpoint.clone();
    url.query_pairs_mut()
        .append_pair("response_type", "code")
        .append_pair("client_id", &oidc.settings.client_id)
        .append_pair("redirect_uri", redirect_url.as_str())
        .append_pair("scope", &oidc.settings.scopes.join(" "))
        .append_pair("state", &secrets.state)
        .append_pair("nonce", &secrets.nonce)
        .append_pair("code_challenge", &secrets.challenge())
        .append_pair("code_challenge_method", "S256");
    let mut response = AdminAnswer::of(json!({"location": url.as_str()})).response();
    append_cookie(scope, request, Some(&attempt.text(key)), &mut response)?;
    Ok(response)
}

/// Takes the browser back from the provider.
pub async fn callback(scope: Data<AdminScope>, request: HttpRequest) -> HttpResponse {
    let started = Instant::now();
    let mut person = LoginName::default();
    let result = finish(&scope, &request, &mut person).await;
    let grant = result.as_ref().ok().map(|(grant, _)| grant.clone());
    let result = result.map(|(_, response)| response);
    let code = result.as_ref().err().map_or("ok", AdminError::code);
    write_audit(&scope, &request, grant.as_ref(), person, code, started.elapsed());
    let mut response = result.unwrap_or_else(|error| callback::failure(&error));
    if append_cookie(&scope, &request, None, &mut response).is_err() {
        return AdminError::Internal.answer();
    }
    response
}

/// Writes the line of a login. Refusals that nobody has looked at, or that the provider is to blame for, are written once in a while.
fn write_audit(
    scope: &AdminScope,
    request: &HttpRequest,
    grant: Option<&Grant>,
    person: LoginName,
    code: &'static str,
    took: Duration,
) {
    let admin = &scope.admin;
    admin.node.metrics.admin.count_login(code);
    let is_cheap = matches!(code, "too_many_attempts" | "not_found" | "insecure" | "unavailable")
        || code == OidcError::Unavailable.code();
    if is_cheap && !admin.throttled_lines.is_due() {
        return;
    }
    let target = if person.subject.is_empty() { String::new() } else { format!("sub={}", person.subject) };
    admin.audit.write(AuditRecord {
        at: unix_ms(),
        node: admin.node.policy.node_name.to_string(),
        who: person.who,
        role: grant.map(|grant| grant.role.name().to_owned()).unwrap_or_default(),
        source: AuditSource::Page,
        address: scope.address(request).map(|address| address.ip()),
        action: "login".to_owned(),
        target,
        result: code.to_owned(),
        ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    });
}

async fn finish(
    scope: &AdminScope,
    request: &HttpRequest,
    person: &mut LoginName,
) -> Result<(Grant, HttpResponse), AdminError> {
    let oidc = configured(scope)?;
    if scope.route(request) == RequestRoute::Plain {
        return Err(AdminError::Insecure);
    }
    let network = scope.network(request);
    let turn = oidc.throttle.turn(network).await.inspect_err(|_| {
        scope.admin.node.metrics.count_refused("admin_login_throttled");
    })?;
    let redirect_url = oidc.redirect_url(&origin(scope, request))?;
    let verified = verified(scope, oidc, request, &redirect_url, person).await;
    match &verified {
        Ok(_) => oidc.throttle.succeeded(network),
        Err(AdminError::Oidc(error)) if error.is_failed_login() => {
            oidc.throttle.failed(network);
            scope.admin.node.metrics.count_refused("admin_login");
        }
        Err(_) => {}
    }
    drop(turn);
    let (grant, id_token) = verified?;
    let session = TokenBody { by_provider: true, ..TokenBody::new(grant.clone(), unix_ms() / 1000) };
    let mut response = callback::success();
    scope.set_cookie(request, &session, &mut response).await?;
    hint::keep(scope, request, &redirect_url, &id_token, &mut response)?;
    Ok((grant, response))
}

/// The right of the person who came back, and their ID token.
async fn verified(
    scope: &AdminScope,
    oidc: &Oidc,
    request: &HttpRequest,
    redirect_url: &Url,
    person: &mut LoginName,
) -> Result<(Grant, String), AdminError> {
    let query = CallbackQuery::parse(request.query_string()).ok_or(OidcError::State)?;
    let keys = scope.admin.attempt_keys().await;
    let (name, _) = cookie_name(scope, request);
    let now = unix_ms() / 1000;
    let mut attempts = cookies(request, name).take(4).filter_map(|text| LoginAttempt::read(text, &keys, now));
    let own = attempts.find_map(|(attempt, key)| {
        let secrets = attempt.secrets(key);
        secrets.is_state(&query.state).then_some((attempt, secrets))
    });
    let (attempt, secrets) = own.ok_or(OidcError::State)?;
    if oidc.used.is_ended(&attempt.id) {
        return Err(OidcError::State.into());
    }
    oidc.used.end(&attempt.id, attempt.ends_at());
    if query.issuer.as_ref().is_some_and(|issuer| *issuer != oidc.settings.issuer) {
        return Err(OidcError::State.into());
    }
    if query.code.is_empty() || !query.error.is_empty() {
        tracing::warn!(error = provider::for_log(&query.error), "the identity provider has let nobody in");
        return Err(OidcError::Denied.into());
    }
    let (claims, id_token) = oidc.claims(&query.code, redirect_url, &secrets).await?;
    person.who = rights::name(&oidc.settings, &claims);
    rights::subject(&claims).clone_into(&mut person.subject);
    let grant = rights::grant(&oidc.settings, &claims).ok_or(OidcError::NoRole)?;
    Ok((grant, id_token))
}

/// Name of the cookie of a login that is under way, and its flag.
fn cookie_name(scope: &AdminScope, request: &HttpRequest) -> (&'static str, &'static str) {
    match scope.route(request) {
        RequestRoute::Secure => (COOKIE_OVER_TLS, " Secure;"),
        RequestRoute::Loopback | RequestRoute::Plain => (COOKIE_ON_LOOPBACK, ""),
    }
}

/// Sets the cookie of a login that is under way, or removes it. `Lax`: the browser sends it when it comes from the provider.
fn append_cookie(
    scope: &AdminScope,
    request: &HttpRequest,
    text: Option<&str>,
    response: &mut HttpResponse,
) -> Result<(), AdminError> {
    let (name, secure) = cookie_name(scope, request);
    let (text, seconds) = text.map_or(("", 0), |text| (text, ATTEMPT_SECONDS));
    let line = format!("{name}={text}; HttpOnly;{secure} SameSite=Lax; Path=/; Max-Age={seconds}");
    let line = HeaderValue::from_str(&line).map_err(|_| AdminError::Internal)?;
    response.headers_mut().append(SET_COOKIE, line);
    Ok(())
}
