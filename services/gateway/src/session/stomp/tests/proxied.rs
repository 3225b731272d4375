//! CONNECT and expiries of connections that the backend decides on. Beside that, what the tests of calls share.

use gorani_auth::OptionOverrides;

use super::*;
use crate::proxy_call::{
    ChannelProxies, ConnectGrant, ProxyAnswer, ProxyCall, ProxyError, ProxyFailure, ProxyId, ProxyRequest,
    ProxyResult, ProxyRoutes, RefreshGrant, SubscribeGrant,
};
use crate::session::shared::proxied::SessionCalls;

pub(super) const CONNECT: ProxyId = ProxyId(0);
pub(super) const REFRESH: ProxyId = ProxyId(1);
pub(super) const SUBSCRIBE: ProxyId = ProxyId(2);
pub(super) const PUBLISH: ProxyId = ProxyId(3);
pub(super) const SUB_REFRESH: ProxyId = ProxyId(4);
pub(super) const RPC: ProxyId = ProxyId(5);

/// All proxies: channels of the namespaces `closed` and `history`, methods without a namespace and of `open`.
fn routes() -> ProxyRoutes {
    let channels =
        ChannelProxies { subscribe: Some(SUBSCRIBE), publish: Some(PUBLISH), sub_refresh: Some(SUB_REFRESH) };
    let mut routes = ProxyRoutes {
        connect: Some(CONNECT),
        refresh: Some(REFRESH),
        emulated_headers: ["stomp-content-type", "stomp-x-trace", "x-tenant"].map(Into::into).into(),
        ..ProxyRoutes::default()
    };
    routes.namespaces.extend(["closed", "history"].map(|name| (name.into(), channels)));
    routes.rpc.without_namespace = Some(RPC);
    routes.rpc.namespaces.insert("open".into(), Some(RPC));
    routes
}

/// A session with these proxies; nothing is sent yet.
pub(super) fn unconnected(change: impl FnOnce(&mut ProxyRoutes, &mut ClientSettings)) -> TestClient {
    let mut settings = ClientSettings { allow_anonymous: true, ..ClientSettings::default() };
    let mut routes = routes();
    change(&mut routes, &mut settings);
    let mut policy = policy(settings);
    Arc::get_mut(&mut policy).unwrap().proxies = routes;
    let headers = actix_http::header::HeaderMap::new();
    TestClient::start(|now| {
        StompSession::new(policy.clone(), Arc::new(stomp_settings()), StompTraits::default(), now)
            .with_calls(SessionCalls::of_request(&policy, "stomp", "stomp", &headers, None))
    })
}

/// An anonymous session that asks.
pub(super) fn asking_client() -> TestClient {
    asking_client_with("")
}

/// The same with these headers in its CONNECT.
pub(super) fn asking_client_with(headers: &str) -> TestClient {
    let mut client = unconnected(|routes, _| routes.connect = None);
    let sent = client.say(&format!("CONNECT\naccept-version:1.2\n{headers}\n\0"));
    assert_eq!(sent[0].command, "CONNECTED");
    client.actions.clear();
    client
}

pub(super) fn answer(result: ProxyResult) -> Outcome {
    Outcome::Proxied(Box::new(Ok(ProxyAnswer::Result(result))))
}

pub(super) fn error(code: u32, temporary: bool) -> Outcome {
    let error = ProxyError { code, message: "the backend says no".to_owned(), temporary };
    Outcome::Proxied(Box::new(Ok(ProxyAnswer::Error(error))))
}

pub(super) fn failed() -> Outcome {
    Outcome::Proxied(Box::new(Err(ProxyFailure::Unknown)))
}

impl TestClient {
    pub(super) fn try_next_call(&mut self) -> Option<(Ticket, ProxyCall)> {
        let index = self.actions.iter().position(|action| matches!(action, Action::Proxy(..)))?;
        match self.actions.remove(index) {
            Some(Action::Proxy(ticket, call)) => Some((ticket, *call)),
            _ => None,
        }
    }

    pub(super) fn next_call(&mut self) -> (Ticket, ProxyCall) {
        self.try_next_call().unwrap_or_else(|| panic!("no call among {:?}", self.actions))
    }

    pub(super) fn undelivered(&self) -> u64 {
        self.session.policy.proxy_counts.undelivered.load(std::sync::atomic::Ordering::Relaxed)
    }

    pub(super) fn stale(&self) -> u64 {
        self.session.policy.proxy_counts.stale.load(std::sync::atomic::Ordering::Relaxed)
    }
}

fn connect_grant() -> ConnectGrant {
    ConnectGrant { user: "7".to_owned(), meta: "{\"m\":1}".into(), ..ConnectGrant::default() }
}

/// A session whose CONNECT got this answer, and what it was sent.
fn connected_by(grant: ConnectGrant) -> (TestClient, Vec<ServerFrame>) {
    let mut client = unconnected(|_, _| {});
    assert_eq!(client.say("CONNECT\naccept-version:1.2\n\n\0"), []);
    let (ticket, _) = client.next_call();
    let sent = client.settle(ticket, answer(ProxyResult::Connect(Some(Box::new(grant)))));
    (client, sent)
}

#[test]
fn a_connect_without_a_token_is_the_backends_decision() {
    let mut client = unconnected(|_, _| {});
    let connect =
        "CONNECT\naccept-version:1.2\nclient-name:shop\nclient-version:2\nX-Tenant:acme\nother:1\n\n\0";
    let send = "SEND\ndestination:/topic/open:a\nreceipt:s\n\n\0";
    assert_eq!(client.say(&format!("{connect}{send}")), [], "what follows waits");
    let (ticket, call) = client.next_call();
    let ProxyRequest::Connect { data: None, name, version, channels } = &call.request else {
        panic!("{call:?}")
    };
    assert_eq!((call.proxy, name.as_str(), version.as_str(), channels.len()), (CONNECT, "shop", "2", 0));
    assert_eq!(call.caller.headers.emulated, [("x-tenant".into(), "acme".into())]);
    assert!(!call.caller.client.is_empty() && call.caller.user.is_empty());
    let sent = client.settle(ticket, answer(ProxyResult::Connect(Some(Box::new(connect_grant())))));
    assert_eq!((sent[0].command.as_str(), sent[0].get("user-name")), ("CONNECTED", Some("7")));
    assert_eq!(sent[0].get("session"), Some(&*call.caller.client));
    assert_eq!(client.next_publish().2.info.unwrap().user, "7");
    // Later calls are of this user, with what the backend keeps.
    client.say("SEND\ndestination:/app/a\n\n\0");
    let caller = client.next_call().1.caller;
    assert_eq!((&*caller.user, &caller.meta[..]), ("7", &b"{\"m\":1}"[..]));
}

#[test]
fn a_token_or_the_login_of_a_backend_alone_decides() {
    for headers in [
        format!("passcode:{}", token(60, &[])),
        format!("Authorization:Bearer {}", token(60, &[])),
        "login:shop\npasscode:hush".to_owned(),
    ] {
        let mut client = unconnected(|_, _| {});
        let frame = client.ask(&format!("CONNECT\naccept-version:1.2\n{headers}\n\n\0"));
        assert_eq!(frame.command, "CONNECTED");
        assert!(client.try_next_call().is_none());
    }
    // A passcode that is neither is a wrong one.
    let mut client = unconnected(|_, _| {});
    assert_eq!(client.ask("CONNECT\naccept-version:1.2\nlogin:a\npasscode:b\n\n\0").command, "ERROR");
}

#[test]
fn a_passcode_goes_to_the_backend_where_it_is_listed() {
    let listed = |routes: &mut ProxyRoutes, _: &mut ClientSettings| {
        routes.emulated_headers.extend(["login", "passcode"].map(Into::into));
    };
    let mut client = unconnected(listed);
    assert_eq!(client.say("CONNECT\naccept-version:1.2\nlogin:ann\npasscode:secret\n\n\0"), []);
    let (_, call) = client.next_call();
    let header = |name: &str, value: &str| (Box::from(name), Box::from(value));
    assert_eq!(call.caller.headers.emulated, [header("login", "ann"), header("passcode", "secret")]);
    for headers in [format!("passcode:{}", token(60, &[])), "login:shop\npasscode:hush".to_owned()] {
        let mut client = unconnected(listed);
        let frame = client.ask(&format!("CONNECT\naccept-version:1.2\n{headers}\n\n\0"));
        assert_eq!(frame.command, "CONNECTED");
    }
}

#[test]
fn a_passcode_that_the_backend_refuses_is_a_wrong_login() {
    let listed = |routes: &mut ProxyRoutes, _: &mut ClientSettings| {
        routes.emulated_headers.push("passcode".into());
    };
    let limit = tests::Failures::at_most(1);
    let mut client = unconnected(listed);
    client.session = client.session.with_login_limit(limit.clone());
    client.say("CONNECT\naccept-version:1.2\npasscode:b\n\n\0");
    let (ticket, _) = client.next_call();
    client.settle(ticket, error(401, false));
    assert_eq!(limit.counted.lock().len(), 1);
    // The next one is not even asked about.
    let mut client = unconnected(listed);
    client.session = client.session.with_login_limit(limit);
    let refused = client.ask("CONNECT\naccept-version:1.2\npasscode:b\n\n\0");
    assert!(refused.get("message").unwrap().starts_with("too many wrong logins"));
    assert!(client.try_next_call().is_none());
}

#[test]
fn a_connect_that_the_backend_refuses_is_an_error_frame_and_the_end() {
    let cases = [
        (error(4001, false), "4001", None),
        (error(503, true), "503", Some("true")),
        (failed(), "100", Some("true")),
    ];
    for (outcome, code, reconnect) in cases {
        let mut client = unconnected(|_, _| {});
        client.say("CONNECT\naccept-version:1.2\n\n\0");
        let (ticket, _) = client.next_call();
        let sent = client.settle(ticket, outcome);
        assert_eq!((sent.len(), sent[0].command.as_str()), (1, "ERROR"));
        assert_eq!((sent[0].get("code"), sent[0].get("reconnect")), (Some(code), reconnect));
        assert!(client.closed.is_some());
    }
}

#[test]
fn a_connect_without_a_result_is_anonymous_where_that_is_allowed() {
    for (allow_anonymous, command) in [(true, "CONNECTED"), (false, "ERROR")] {
        let mut client = unconnected(|_, settings| settings.allow_anonymous = allow_anonymous);
        client.say("CONNECT\naccept-version:1.2\n\n\0");
        let (ticket, _) = client.next_call();
        let sent = client.settle(ticket, answer(ProxyResult::Connect(None)));
        assert_eq!(sent[0].command, command);
    }
    // A result with an empty user is one in any case.
    let mut client = unconnected(|_, settings| settings.allow_anonymous = false);
    client.say("CONNECT\naccept-version:1.2\n\n\0");
    let (ticket, _) = client.next_call();
    let sent = client.settle(ticket, answer(ProxyResult::Connect(Some(Box::default()))));
    assert_eq!((sent[0].command.as_str(), sent[0].get("user-name")), ("CONNECTED", None));
}

#[test]
fn channels_of_the_connect_answer_may_be_subscribed_to() {
    let overrides = OptionOverrides { presence: Some(true), ..OptionOverrides::default() };
    let with_info = SubscribeGrant { info: "{\"i\":1}".into(), overrides, ..SubscribeGrant::default() };
    let grant = ConnectGrant {
        channels: vec!["closed:a".to_owned()],
        subs: vec![("closed:b".to_owned(), with_info)],
        ..connect_grant()
    };
    let (mut client, _) = connected_by(grant);
    client.say("SUBSCRIBE\nid:1\ndestination:/topic/closed:a\n\n\0");
    client.grant(Subscribed::default());
    client.say("SUBSCRIBE\nid:2\ndestination:/topic/closed:b\n\n\0");
    let (_, params) = client.next_subscribe();
    assert_eq!((&params.info.channel_info[..], params.presence), (&b"{\"i\":1}"[..], true));
    assert!(client.try_next_call().is_none(), "the backend has decided already");
}

#[test]
fn a_connect_answer_with_bad_channels_or_an_old_expiry_is_refused() {
    let many = (0..200).map(|number| format!("open:{number}")).collect();
    for (grant, code) in [
        (ConnectGrant { channels: vec!["nowhere:a".to_owned()], ..connect_grant() }, Some("102")),
        (ConnectGrant { expire_at: START_S - 1, ..connect_grant() }, Some("110")),
        (ConnectGrant { channels: many, ..connect_grant() }, None),
    ] {
        let (client, sent) = connected_by(grant);
        assert_eq!((sent[0].command.as_str(), sent[0].get("code")), ("ERROR", code), "{sent:?}");
        assert!(client.closed.is_some());
    }
}

#[test]
fn an_expiry_is_asked_about_and_a_backend_that_fails_ends_nobody() {
    let (mut client, _) = connected_by(ConnectGrant { expire_at: START_S + 60, ..connect_grant() });
    client.until_deadline();
    let (ticket, call) = client.next_call();
    assert!(call.proxy == REFRESH && matches!(call.request, ProxyRequest::Refresh));
    assert_eq!(client.settle(ticket, failed()), []);
    let before = client.now.instant;
    client.until_deadline();
    let waited = client.now.instant - before;
    assert!((48..=73).contains(&waited.as_secs()), "{waited:?}");
    let (ticket, _) = client.next_call();
    let grant = RefreshGrant { expire_at: client.now.unix_s() + 100, ..RefreshGrant::default() };
    assert_eq!(client.settle(ticket, answer(ProxyResult::Refresh(Some(grant)))), []);
    client.until_deadline();
    let (ticket, _) = client.next_call();
    let sent = client.settle(ticket, answer(ProxyResult::Refresh(None)));
    assert_eq!((sent[0].command.as_str(), client.code()), ("ERROR", 3005));
}
