//! The admin API: one JSON API with three faces, the page, the commands of `gorani`, and curl. Off by default, and then nothing is
//! routed. `docs/admin.md`; decision records 57, 58.
//!
//! The journey of a request: [`access`] (another site's page is refused; who asks, and with which right) → [`views`] for a read or
//! [`actions`] for a change → [`inspector`] on each node of the cluster → [`answer`]. The page pulls; a node keeps nothing for it but
//! the numbers of the last 15 minutes ([`series`]) and its last lines ([`audit`]).

pub mod access;
pub mod actions;
pub mod answer;
pub mod audit;
mod by_node;
pub mod counters;
pub mod error;
mod explanation;
pub mod files;
pub mod inspector;
pub mod login;
pub mod oidc;
mod reload;
pub mod report;
pub mod series;
pub mod sessions;
pub mod state;
pub mod tail;
pub mod throttle;
pub mod token;
mod traces;
pub mod user_token;
pub mod views;

use std::sync::{Arc, Weak};

use actix_web::{
    HttpRequest, HttpResponse,
    web::{self, Data, Payload, ServiceConfig},
};

use self::{
    access::AdminCaller,
    answer::Parameters,
    error::AdminError,
    state::{Admin, AdminScope},
};
use crate::{
    http::body,
    node::{Node, cluster::inspector::Inspector},
    settings::oidc::CALLBACK,
};

/// Bytes of the body of a change at most.
const BODY_MAX_BYTES: usize = 1024 * 1024;

/// The routes of the admin API.
#[derive(Clone)]
pub struct AdminRoutes(Arc<Admin>);

impl AdminRoutes {
    /// Starts the admin API of a node, where the settings ask for it.
    pub fn start(node: &Arc<Node>) -> Option<Self> {
        if !node.settings.serves_admin() {
            return None;
        }
        let admin = Arc::new(Admin::new(node));
        let inspector = Arc::downgrade(&admin);
        node.cluster.set_inspector(inspector as Weak<dyn Inspector>);
        node.tasks.spawn(sample(Arc::downgrade(&admin)));
        Some(Self(admin))
    }

    /// Adds the routes. `is_tls`: the listener speaks TLS.
    pub fn configure(&self, config: &mut ServiceConfig, is_tls: bool) {
        let scope = Data::new(AdminScope { admin: self.0.clone(), is_tls });
        let callback = web::resource(CALLBACK).app_data(scope.clone()).route(web::get().to(oidc::callback));
        let api = web::resource("/api/{call:.*}")
            .app_data(scope)
            .route(web::get().to(read))
            .route(web::post().to(change))
            .default_service(web::to(|| async { AdminError::WrongVerb("GET, HEAD, POST").answer() }));
        config.service(
            web::scope(&self.0.settings.path).service(api).service(callback).configure(files::routes),
        );
    }
}

/// Samples once a second for as long as the node lives.
async fn sample(admin: Weak<Admin>) {
    let mut ticks = series::ticks();
    loop {
        ticks.tick().await;
        let Some(admin) = admin.upgrade() else { return };
        admin.sampler.sample(&admin.node).await;
    }
}

async fn read(
    scope: Data<AdminScope>,
    request: HttpRequest,
    call: web::Path<String>,
) -> Result<HttpResponse, AdminError> {
    if actions::is_change(&call) {
        return Err(AdminError::WrongVerb("POST"));
    }
    scope.check_site(&request, false)?;
    if *call == "login_methods" {
        return Ok(login::methods(&scope.admin).response());
    }
    let caller = scope.caller(&request).await?;
    let parameters = Parameters::parse(request.query_string())?;
    let mut response = match call.as_str() {
        "tail" => tail::open(&scope.admin, &caller, &request, &parameters).await?,
        call => views::read(&scope.admin, &caller, call, &parameters).await?.response(),
    };
    renew(&scope, &request, &caller, &mut response).await?;
    Ok(response)
}

async fn change(
    scope: Data<AdminScope>,
    request: HttpRequest,
    call: web::Path<String>,
    payload: Payload,
) -> Result<HttpResponse, AdminError> {
    if !actions::is_change(&call) {
        return Err(if views::is_read(&call) {
            AdminError::WrongVerb("GET, HEAD")
        } else {
            AdminError::UnknownCall
        });
    }
    scope.check_site(&request, true)?;
    let is_login = matches!(call.as_str(), "login" | "oidc_login");
    let caller = if is_login { None } else { Some(scope.caller(&request).await?) };
    let body = body::read(request.headers(), payload.into_inner(), BODY_MAX_BYTES).await?;
    let Some(caller) = caller else {
        return match call.as_str() {
            "login" => login::login(&scope, &request, &body).await,
            _ => oidc::begin(&scope, &request).await,
        };
    };
    if *call == "logout" {
        return login::logout(&scope, &request, &caller).await;
    }
    let mut response = actions::change(&scope.admin, &caller, &call, &body).await?.response();
    renew(&scope, &request, &caller, &mut response).await?;
    Ok(response)
}

/// Writes the cookie again, so that a session that is used does not end as an idle one.
async fn renew(
    scope: &AdminScope,
    request: &HttpRequest,
    caller: &AdminCaller,
    response: &mut HttpResponse,
) -> Result<(), AdminError> {
    match caller.to_renew() {
        Some(session) => scope.set_cookie(request, &session, response).await,
        None => Ok(()),
    }
}
