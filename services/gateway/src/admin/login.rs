//! Login, logout, and who is logged in.
//!
//! A password is verified on a thread of its own, one at a time: a flood of logins costs the workers nothing. A login goes on to its
//! end where nobody waits for it, so that going away does not spare a failure.

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{HeaderValue, SET_COOKIE},
};
use gorani_auth::PasswordHash;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    access::{AdminCaller, RequestRoute},
    answer::{AdminAnswer, decode},
    audit::{AuditRecord, AuditSource},
    error::AdminError,
    inspector::InspectQuery,
    oidc,
    state::{Admin, AdminScope},
    token::{Grant, TokenBody},
};
use crate::{clock::unix_ms, node::client_network::ClientNetwork};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LoginRequest {
    password: String,
}

/// Opens a session.
pub async fn login(
    scope: &AdminScope,
    request: &HttpRequest,
    body: &[u8],
) -> Result<HttpResponse, AdminError> {
    let started = Instant::now();
    let (admin, network) = (scope.admin.clone(), scope.network(request));
    let result = if scope.route(request) == RequestRoute::Plain {
        Err(AdminError::Insecure)
    } else {
        let LoginRequest { password } = decode(body)?;
        let login = verify(admin.clone(), network, password);
        actix_web::rt::spawn(login).await.map_err(|_| AdminError::Internal)?
    };
    let session = match &result {
        Ok(()) => {
            let settings = &admin.settings;
            let grant = Grant {
                name: "password".to_owned(),
                role: settings.password_role,
                contents: settings.password_contents,
            };
            Some(TokenBody::new(grant, unix_ms() / 1000))
        }
        Err(_) => None,
    };
    let code = result.as_ref().err().map_or("ok", AdminError::code);
    let grant = session.as_ref().map(|session| &session.grant);
    admin.node.metrics.admin.count_login(code);
    if !matches!(result, Err(AdminError::Throttled(_))) || admin.throttled_lines.is_due() {
        admin.audit.write(AuditRecord {
            at: unix_ms(),
            node: admin.node.policy.node_name.to_string(),
            who: grant.map(|grant| grant.name.clone()).unwrap_or_default(),
            role: grant.map(|grant| grant.role.name().to_owned()).unwrap_or_default(),
            source: AuditSource::Page,
            address: scope.address(request).map(|address| address.ip()),
            action: "login".to_owned(),
            target: String::new(),
            result: code.to_owned(),
            ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
    }
    result?;
    let session = session.ok_or(AdminError::Internal)?;
    let mut response = AdminAnswer::of(described(&session.grant, Some(&session), &admin)).response();
    scope.set_cookie(request, &session, &mut response).await?;
    Ok(response)
}

/// The ways to log in, for the page before a login.
pub fn methods(admin: &Admin) -> AdminAnswer {
    let oidc = admin.oidc.as_ref().map(|oidc| json!({"name": oidc.name()}));
    AdminAnswer::of(json!({"password": admin.password.is_some(), "oidc": oidc}))
}

/// Verifies a password when its turn has come.
async fn verify(
    admin: Arc<Admin>,
    network: Option<ClientNetwork>,
    password: String,
) -> Result<(), AdminError> {
    let throttled = |error| {
        admin.node.metrics.count_refused("admin_login_throttled");
        error
    };
    let turn = admin.throttle.turn(network).await.map_err(throttled)?;
    let hash = admin.password.clone();
    let is_right = actix_web::web::block(move || match hash {
        Some(hash) => hash.verify(&password),
        // As long as a wrong password.
        None => PasswordHash::of_nothing().verify(&password),
    });
    let is_right = is_right.await.map_err(|_| AdminError::Internal)?;
    if is_right {
        admin.throttle.succeeded(network);
    } else {
        admin.throttle.failed(network);
        admin.node.metrics.count_refused("admin_login");
    }
    drop(turn);
    if is_right { Ok(()) } else { Err(AdminError::LoginFailed) }
}

/// Ends a session on all nodes.
pub async fn logout(
    scope: &AdminScope,
    request: &HttpRequest,
    caller: &AdminCaller,
) -> Result<HttpResponse, AdminError> {
    let admin = &scope.admin;
    let mut answer = AdminAnswer::of(json!({}));
    if let Some(session) = &caller.session {
        let until = session.issued_at.saturating_add(admin.settings.session_max.as_secs());
        admin.ended.end(&session.id, until);
        let query = InspectQuery::EndSession { id: session.id.clone(), until };
        // Here it has ended in any case.
        if let Ok(nodes) = admin.ask(None, &query).await {
            answer = answer.with_nodes(nodes);
        }
    }
    let is_by_provider = caller.session.as_ref().is_some_and(|session| session.by_provider);
    if is_by_provider {
        let end = oidc::end_session(scope, request).await;
        answer = answer.with_result("end_session", end.map(|url| Value::from(url.as_str())));
    }
    admin.audit_action(caller, "logout", "", Ok(()), std::time::Duration::ZERO);
    let mut response = answer.response();
    let cookie = HeaderValue::from_str(&scope.cookie(request, None));
    response.headers_mut().insert(SET_COOKIE, cookie.map_err(|_| AdminError::Internal)?);
    if is_by_provider {
        oidc::forget_id_token(scope, request, &mut response)?;
    }
    Ok(response)
}

/// The caller, for the page.
pub fn described(grant: &Grant, session: Option<&TokenBody>, admin: &Admin) -> Value {
    json!({
        "name": grant.name,
        "role": grant.role,
        "contents": grant.contents,
        "expires_at": session.map(|session| 1000 * session.ends_at(&admin.settings)),
        "node": &*admin.node.policy.node_name,
    })
}
