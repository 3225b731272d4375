//! Callers of the admin API and their rights: the cookie of a session, a key, or the token of a command; and the rules by which no other site can
//! have a browser ask. `docs/admin.md`; decision record 57.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST, HeaderName, HeaderValue, ORIGIN, SET_COOKIE},
};
use aws_lc_rs::digest::{SHA256, digest};
use subtle::ConstantTimeEq;

use super::{
    audit::{AuditRecord, AuditSource},
    error::AdminError,
    state::{Admin, AdminScope},
    throttle::Throttled,
    token::{Grant, TokenBody},
};
use crate::{
    clock::unix_ms,
    node::{admission::attempts::AttemptKind, client_network::ClientNetwork},
    settings::AdminRole,
};

/// Every change has it: no form and no plain link of another site can send it.
const MARK: HeaderName = HeaderName::from_static("x-gorani-admin");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// The cookie of a session over TLS. By this beginning of its name browsers make sure that only this host has set it.
const COOKIE_OVER_TLS: &str = "__Host-gorani_admin";
/// The cookie on the machine itself, where there is no TLS: not every browser takes a secure one there.
const COOKIE_ON_LOOPBACK: &str = "gorani_admin";
/// Seconds after which a session that is used gets a new cookie.
const RENEW_AFTER_SECONDS: u64 = 60;

/// The way by which a browser's request reaches the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestRoute {
    /// Nobody on the way can read it.
    Secure,
    /// The browser asks its own machine.
    Loopback,
    /// Over plain HTTP.
    Plain,
}

/// The caller of a request.
#[derive(Debug, Clone)]
pub struct AdminCaller {
    /// Their right.
    pub grant: Grant,
    /// The way by which they ask.
    pub source: AuditSource,
    /// Their address.
    pub address: Option<IpAddr>,
    /// Their session, if they have one.
    pub session: Option<TokenBody>,
}

impl AdminCaller {
    /// # Errors
    /// They only see.
    pub fn check_operator(&self) -> Result<(), AdminError> {
        match self.grant.role {
            AdminRole::Operator => Ok(()),
            AdminRole::Viewer => Err(AdminError::Forbidden("this needs the role operator")),
        }
    }

    /// The session with the time of this request, where the cookie is to be written again.
    pub fn to_renew(&self) -> Option<TokenBody> {
        let session = self.session.as_ref()?;
        let now = unix_ms() / 1000;
        (now >= session.seen_at + RENEW_AFTER_SECONDS).then(|| TokenBody { seen_at: now, ..session.clone() })
    }
}

fn header<'r>(request: &'r HttpRequest, name: &HeaderName) -> Option<&'r str> {
    request.headers().get(name).map(|value| value.to_str().unwrap_or_default())
}

/// The host that the browser asked for.
pub(super) fn host(request: &HttpRequest) -> &str {
    header(request, &HOST).unwrap_or_default()
}

/// True for a name of the machine itself, as browsers know it.
fn is_loopback_host(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, _)) => name,
        None => host.split(':').next().unwrap_or_default(),
    };
    let name = name.to_ascii_lowercase();
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

impl AdminScope {
    /// The way by which a request came.
    pub fn route(&self, request: &HttpRequest) -> RequestRoute {
        let peer = request.peer_addr().map(|peer| peer.ip());
        let trusts = |peer: IpAddr| self.admin.node.live.running().http.trusted_proxies.trusts(peer);
        let is_forwarded = header(request, &X_FORWARDED_PROTO).is_some_and(|proto| proto == "https");
        if self.is_tls || is_forwarded && peer.is_some_and(trusts) {
            RequestRoute::Secure
        } else if is_loopback_host(host(request)) {
            RequestRoute::Loopback
        } else {
            RequestRoute::Plain
        }
    }

    /// The address of the client, as far as it can be believed.
    pub fn address(&self, request: &HttpRequest) -> Option<SocketAddr> {
        self.admin.node.admission.client_address(request.peer_addr(), request.headers())
    }

    /// The network of the client, for limits.
    pub fn network(&self, request: &HttpRequest) -> Option<ClientNetwork> {
        self.address(request).map(|address| address.ip().into())
    }

    /// Refuses what a page of another site has a browser ask.
    ///
    /// # Errors
    /// [`AdminError::CrossSite`].
    pub fn check_site(&self, request: &HttpRequest, is_change: bool) -> Result<(), AdminError> {
        if is_change {
            let is_json = header(request, &CONTENT_TYPE)
                .and_then(|text| text.split(';').next())
                .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
            if !is_json {
                return Err(AdminError::CrossSite("a change is JSON: Content-Type: application/json"));
            }
            if header(request, &MARK) != Some("1") {
                return Err(AdminError::CrossSite("a change has the header X-Gorani-Admin: 1"));
            }
        }
        match header(request, &SEC_FETCH_SITE) {
            Some("same-origin") => return Ok(()),
            // Typed into the address bar.
            Some("none") if !is_change => return Ok(()),
            Some(_) => return Err(AdminError::CrossSite("a page of another site may not ask")),
            None => {}
        }
        let scheme = if self.route(request) == RequestRoute::Secure { "https" } else { "http" };
        match header(request, &ORIGIN) {
            Some(origin) if origin.eq_ignore_ascii_case(&format!("{scheme}://{}", host(request))) => Ok(()),
            Some(_) => Err(AdminError::CrossSite("a page of another origin may not ask")),
            // A browser says either with every change. Where no cookie counts, it may be another program.
            None if is_change && !has_authorization(request) && !self.admin.is_open => {
                Err(AdminError::CrossSite("a change by cookie has the header Sec-Fetch-Site or Origin"))
            }
            None => Ok(()),
        }
    }

    /// Finds out who asks.
    ///
    /// # Errors
    /// Nobody that is known.
    pub async fn caller(&self, request: &HttpRequest) -> Result<AdminCaller, AdminError> {
        let address = self.address(request).map(|address| address.ip());
        if let Some(credentials) = header(request, &AUTHORIZATION) {
            return self.by_authorization(request, credentials, address);
        }
        let name = match self.route(request) {
            RequestRoute::Secure => COOKIE_OVER_TLS,
            RequestRoute::Loopback => COOKIE_ON_LOOPBACK,
            RequestRoute::Plain => return Err(AdminError::LoginRequired),
        };
        if let Some(session) = self.admin.session(cookies(request, name)).await {
            let grant = session.grant.clone();
            return Ok(AdminCaller { grant, source: AuditSource::Page, address, session: Some(session) });
        }
        // A page whose name was made to lead here has another host.
        let is_here = address.is_some_and(|address| address.is_loopback()) && is_loopback_host(host(request));
        if self.admin.is_open && is_here {
            let grant = Grant { name: "development".to_owned(), role: AdminRole::Operator, contents: true };
            return Ok(AdminCaller { grant, source: AuditSource::Page, address, session: None });
        }
        Err(AdminError::LoginRequired)
    }

    fn by_authorization(
        &self,
        request: &HttpRequest,
        credentials: &str,
        address: Option<IpAddr>,
    ) -> Result<AdminCaller, AdminError> {
        let (scheme, text) = credentials.split_once(' ').unwrap_or_default();
        let text = if scheme.eq_ignore_ascii_case("bearer") { text.trim() } else { "" };
        if let Some(token) = self.admin.command_key.verify(text)
            && token.is_fresh(unix_ms() / 1000)
        {
            return Ok(AdminCaller { grant: token.grant, source: AuditSource::Cli, address, session: None });
        }
        if let Some(grant) = self.admin.key(text) {
            return Ok(AdminCaller { grant, source: AuditSource::Key, address, session: None });
        }
        let admission = &self.admin.node.admission;
        if admission.failed_attempt(AttemptKind::ApiKey, self.network(request)) {
            return Err(AdminError::WrongKey);
        }
        Err(Throttled(Duration::from_secs(1)).into())
    }

    /// Writes the cookie of a session into a response.
    pub async fn set_cookie(
        &self,
        request: &HttpRequest,
        session: &TokenBody,
        response: &mut HttpResponse,
    ) -> Result<(), AdminError> {
        let keys = self.admin.session_keys().await;
        let Some(key) = keys.first() else { return Err(AdminError::no_cluster_secret()) };
        let token = key.sign(session).map_err(|_| AdminError::Internal)?;
        let cookie = HeaderValue::from_str(&self.cookie(request, Some(&token)));
        response.headers_mut().insert(SET_COOKIE, cookie.map_err(|_| AdminError::Internal)?);
        Ok(())
    }

    /// The line that sets the cookie of a session; without a token the one that removes it.
    pub fn cookie(&self, request: &HttpRequest, token: Option<&str>) -> String {
        let (name, secure) = match self.route(request) {
            RequestRoute::Secure => (COOKIE_OVER_TLS, " Secure;"),
            RequestRoute::Loopback | RequestRoute::Plain => (COOKIE_ON_LOOPBACK, ""),
        };
        match token {
            Some(token) => format!("{name}={token}; HttpOnly;{secure} SameSite=Strict; Path=/"),
            None => format!("{name}=; HttpOnly;{secure} SameSite=Strict; Path=/; Max-Age=0"),
        }
    }
}

fn has_authorization(request: &HttpRequest) -> bool {
    request.headers().contains_key(AUTHORIZATION)
}

/// The values of all cookies of this name.
pub(super) fn cookies<'r>(request: &'r HttpRequest, name: &'static str) -> impl Iterator<Item = &'r str> {
    let lines = request.headers().get_all(COOKIE).filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(move |(own, _)| *own == name).map(|(_, value)| value)
}

impl Admin {
    /// Writes the line of an action.
    pub(super) fn audit_action(
        &self,
        caller: &AdminCaller,
        action: &str,
        target: &str,
        result: Result<(), &AdminError>,
        took: Duration,
    ) {
        self.audit.write(AuditRecord {
            at: unix_ms(),
            node: self.node.policy.node_name.to_string(),
            who: caller.grant.name.clone(),
            role: caller.grant.role.name().to_owned(),
            source: caller.source,
            address: caller.address,
            action: action.to_owned(),
            target: target.to_owned(),
            result: result.err().map_or("ok", AdminError::code).to_owned(),
            ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        });
    }

    /// The right of a key. All are compared, each in constant time.
    fn key(&self, text: &str) -> Option<Grant> {
        let asked = digest(&SHA256, text.as_bytes());
        let mut found = None;
        for key in &self.settings.keys {
            let own = digest(&SHA256, key.key.as_bytes());
            if bool::from(own.as_ref().ct_eq(asked.as_ref())) {
                found = Some(Grant { name: key.name.clone(), role: key.role, contents: key.contents });
            }
        }
        found
    }

    /// The session of a cookie that is good.
    async fn session(&self, cookies: impl Iterator<Item = &str>) -> Option<TokenBody> {
        let mut cookies = cookies.take(4).peekable();
        cookies.peek()?;
        let (keys, now) = (self.session_keys().await, unix_ms() / 1000);
        let sessions = cookies.filter_map(|text| keys.iter().find_map(|key| key.verify(text)));
        let mut good = sessions.filter(|session| session.is_current(now, &self.settings));
        good.find(|session| !self.ended.is_ended(&session.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_machine_itself_are_taken_for_it() {
        for host in ["localhost", "LocalHost:8000", "127.0.0.1:8000", "[::1]:8000", "127.8.9.1"] {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in ["", "localhost.example.com", "127.0.0.1.example.com", "10.0.0.1:80", "[::2]", "[::1"] {
            assert!(!is_loopback_host(host), "{host}");
        }
    }
}
