//! Logins to the admin page by an identity provider: the whole way over real HTTP, and each way in which it fails.
//! `docs/admin.md`; record 69.

mod keys;
mod logout;
mod provider;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use gorani_tests::{
    backend::{Answer, Backend},
    node::{Node, Settings},
};
use serde_json::{Value, json};

use self::provider::{CLIENT_SECRET, IdentityProvider, Signing};
use super::{Answered, Asked, HASH, PASSWORD, login};
use crate::eventually;

const SOON: Duration = Duration::from_secs(40);

/// Settings with a provider at this address.
fn with_provider(issuer: &str) -> Settings {
    let roles = r#"[{ value = "gorani-operators", role = "operator" }, { value = "gorani-staff" }, { value = "gorani-support", contents = true }]"#;
    Settings::open()
        .set("admin.enabled", "true")
        .set("admin.oidc.issuer", format!("{issuer:?}"))
        .set("admin.oidc.client_id", "\"gorani & co\"")
        .set("admin.oidc.client_secret", format!("{CLIENT_SECRET:?}"))
        .set("admin.oidc.name", "\"Company\"")
        .set("admin.oidc.roles", roles)
}

/// A browser that logs in, at an address of its own: failures of others do not count for it.
struct Browser {
    node: SocketAddr,
    from: u8,
    /// Its cookie of the login that is under way.
    cookie: String,
}

impl Browser {
    /// Asks for a login and gets the address of the provider.
    fn begin(node: SocketAddr, from: u8) -> (Self, String) {
        let begun = Asked::post("oidc_login", &json!({})).from(from).send(node);
        assert_eq!(begun.head.status, 200, "{begun:?}");
        let line = begun.cookie_line();
        assert!(line.starts_with("gorani_oidc="), "{line}");
        for flag in ["HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=600"] {
            assert!(line.contains(flag), "{line}");
        }
        let location = begun.body["result"]["location"].as_str().unwrap().to_owned();
        (Self { node, from, cookie: begun.cookie() }, location)
    }

    /// Comes back at this path, with its cookie.
    fn come_back(&self, path: &str) -> Answered {
        self.without_cookie(path, Some(&self.cookie))
    }

    fn without_cookie(&self, path: &str, cookie: Option<&str>) -> Answered {
        let mut asked = Asked { path: path.to_owned(), ..Asked::get("") }
            .from(self.from)
            .with("host", &self.node.to_string())
            .with("sec-fetch-site", "cross-site");
        if let Some(cookie) = cookie {
            asked = asked.with("cookie", cookie);
        }
        asked.send(self.node)
    }
}

/// A login from begin to end.
fn log_in(node: SocketAddr, provider: &IdentityProvider, from: u8) -> Answered {
    let (browser, location) = Browser::begin(node, from);
    browser.come_back(&provider.authorize(&location))
}

/// The code with which the browser is sent to the admin page.
fn failed(answered: &Answered) -> (u16, String) {
    let code = answered.text.split_once("?failed=").and_then(|(_, rest)| rest.split_once(['"', '&']));
    (answered.head.status, code.map(|(code, _)| code.to_owned()).unwrap_or_default())
}

/// The node's log has this text, or soon will.
fn writes(node: &Node, text: &str) {
    eventually(text, SOON, || node.output().contains(text));
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[test]
fn a_person_whom_the_provider_knows_gets_the_role_of_their_claim_and_is_logged_out_there_too() {
    let provider = IdentityProvider::start();
    let node = Node::start(with_provider(&provider.issuer()));
    let address = node.address();
    let methods = Asked::get("login_methods").result(address);
    assert_eq!(methods, json!({"password": false, "oidc": {"name": "Company"}}));
    for (signing, groups, role, contents) in [
        (Signing::Es256, json!(["other", "gorani-operators"]), "operator", false),
        (Signing::Rs256, json!(["gorani-staff"]), "viewer", false),
        (Signing::Rs256, json!("gorani-support"), "viewer", true),
    ] {
        provider.sign_by(signing);
        provider.claim(json!({ "groups": groups }));
        let answered = log_in(address, &provider, 1);
        assert_eq!(answered.head.status, 200, "{answered:?}");
        // A page that goes on, and no redirect: a strict cookie would not be sent after one.
        assert!(answered.text.contains("http-equiv=\"refresh\" content=\"0; url=../\""), "{answered:?}");
        assert!(!answered.text.contains("script"), "{answered:?}");
        assert_eq!(answered.head.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(answered.head.header("cache-control"), Some("no-store"));
        let line = answered.cookie_line();
        assert!(line.starts_with("gorani_admin=") && line.contains("SameSite=Strict"), "{line}");
        let session = Asked::get("session").with("cookie", &answered.cookie());
        let result = session.result(address);
        assert_eq!((&result["name"], &result["role"]), (&json!("minji"), &json!(role)));
        assert_eq!(result["contents"], contents);
        let ended = Asked::post("logout", &json!({})).with("cookie", &answered.cookie()).result(address);
        let end_session = ended["end_session"].as_str().unwrap();
        assert!(end_session.starts_with(&format!("{}/logout?", provider.issuer())), "{end_session}");
        assert!(end_session.contains("client_id=gorani+%26+co"), "{end_session}");
        let back = format!("post_logout_redirect_uri=http%3A%2F%2F127.0.0.1%3A{}%2Fadmin%2F", address.port());
        assert!(end_session.contains(&back), "{end_session}");
        assert_eq!(session.send(address).error(), (401, "login_required"));
    }
    // The document and the keys were asked for once.
    assert_eq!((provider.asked("/.well-known/openid-configuration"), provider.asked("/keys")), (1, 1));
    for text in ["\"who\":\"minji\"", "sub=u-1", "\"login\"", "\"logout\""] {
        writes(&node, text);
    }
    let output = node.output();
    assert!(!output.contains(CLIENT_SECRET) && !output.contains("eyJ"), "{output}");
}

#[test]
fn any_node_of_a_cluster_takes_the_browser_back() {
    let provider = IdentityProvider::start();
    let settings =
        || with_provider(&provider.issuer()).set("cluster.secret", "\"secret-of-the-cluster-0123\"");
    let nodes = [Node::start(settings()), Node::start(settings())];
    let (browser, location) = Browser::begin(nodes[0].address(), 1);
    let path = provider.authorize(&location);
    let other = Browser { node: nodes[1].address(), ..browser };
    // The browser knows both by one name.
    let answered = Asked { path, ..Asked::get("") }
        .with("host", &nodes[0].address().to_string())
        .with("cookie", &other.cookie)
        .send(other.node);
    assert_eq!(answered.head.status, 200, "{answered:?}");
    let session = Asked::get("session").with("cookie", &answered.cookie());
    assert_eq!(session.result(nodes[0].address())["name"], "minji");
}

#[test]
fn only_the_browser_that_began_a_login_ends_it_and_only_once() {
    let provider = IdentityProvider::start();
    let node = Node::start(with_provider(&provider.issuer()));
    let address = node.address();
    let state = refused(400, "oidc_state");
    let (browser, location) = Browser::begin(address, 2);
    let path = provider.authorize(&location);
    assert_eq!(failed(&browser.without_cookie(&path, None)), state);
    assert_eq!(failed(&browser.without_cookie(&path, Some("gorani_oidc=a.1.b"))), state);
    let (other, _) = Browser::begin(address, 2);
    assert_eq!(failed(&browser.without_cookie(&path, Some(&other.cookie))), state);
    let (_, wrong_state) = path.split_once("state=").unwrap();
    let wrong_state = path.replace(wrong_state, "of-somebody-else");
    assert_eq!(failed(&browser.come_back(&wrong_state)), state);
    assert_eq!(browser.come_back(&path).head.status, 200);
    assert_eq!(failed(&browser.come_back(&path)), state);
    // The provider was asked for the one that was good.
    assert_eq!(provider.asked("/token"), 1);

    // A code that was used already, with a login of one's own.
    let (browser, location) = Browser::begin(address, 3);
    let again = provider.authorize(&location);
    let (code, again_code) = (code_of(&path), code_of(&again));
    let replayed = again.replace(&again_code, &code);
    assert_eq!(failed(&browser.come_back(&replayed)), refused(401, "oidc_code"));
    // Nor a code that another browser was given: its verifier is another one.
    let (_, location) = Browser::begin(address, 3);
    let stolen = code_of(&provider.authorize(&location));
    let (browser, location) = Browser::begin(address, 3);
    let own = provider.authorize(&location);
    let own = own.replace(&code_of(&own), &stolen);
    assert_eq!(failed(&browser.come_back(&own)), refused(401, "oidc_code"));
    let (browser, location) = Browser::begin(address, 3);
    let denied = provider.authorize(&location);
    let denied = denied.replace(&format!("code={}", code_of(&denied)), "error=access_denied");
    assert_eq!(failed(&browser.come_back(&denied)), refused(403, "oidc_denied"));
    let (browser, location) = Browser::begin(address, 4);
    let mixed_up = format!("{}&iss=https%3A%2F%2Fother.test", provider.authorize(&location));
    assert_eq!(failed(&browser.come_back(&mixed_up)), state);
}

fn code_of(path: &str) -> String {
    let (_, rest) = path.split_once("code=").unwrap();
    rest.split('&').next().unwrap().to_owned()
}

#[test]
fn an_id_token_that_proves_nothing_or_gives_no_role_lets_nobody_in() {
    let provider = IdentityProvider::start();
    let node = Node::start(with_provider(&provider.issuer()));
    let token = || refused(401, "oidc_token");
    let cases: [(Signing, Value, _, &str); 11] = [
        (Signing::Es256, json!({"nonce": "of another login"}), token(), "wrong nonce"),
        (Signing::Es256, json!({"nonce": null}), token(), "wrong nonce"),
        (Signing::Es256, json!({"aud": "another client"}), token(), "wrong audience"),
        (Signing::Es256, json!({"iss": "https://other.test"}), token(), "wrong issuer"),
        (Signing::Es256, json!({"exp": 1_000_000_000}), token(), "expired"),
        (Signing::Nobody, json!({}), token(), "algorithm"),
        (Signing::ClientSecret, json!({}), token(), "algorithm"),
        (Signing::OtherKey, json!({}), token(), "bad signature"),
        (Signing::UnknownKey, json!({}), token(), "not in the provider's JWK set"),
        (Signing::Es256, json!({"groups": ["strangers"]}), refused(403, "oidc_no_role"), "oidc_no_role"),
        (Signing::Es256, json!({"groups": null}), refused(403, "oidc_no_role"), "oidc_no_role"),
    ];
    for (from, (signing, changed, expected, reason)) in (10..).zip(cases) {
        provider.sign_by(signing);
        provider.claim(changed.clone());
        let answered = log_in(node.address(), &provider, from);
        assert_eq!(failed(&answered), expected, "{signing:?} {changed}");
        assert!(!answered.cookie_line().contains("gorani_admin"), "{answered:?}");
        writes(&node, reason);
    }
    // It asked for keys at the first login, and for the token with an unknown one.
    assert_eq!(provider.asked("/keys"), 2);
}

#[test]
fn failed_logins_of_an_address_wait_and_a_password_is_not_concerned() {
    let provider = IdentityProvider::start();
    let node =
        Node::start(with_provider(&provider.issuer()).set("admin.password_hash", format!("{:?}", *HASH)));
    provider.claim(json!({"groups": []}));
    for _ in 0..5 {
        assert_eq!(failed(&log_in(node.address(), &provider, 30)), refused(403, "oidc_no_role"));
    }
    let (status, code) = {
        let begun = Asked::post("oidc_login", &json!({})).from(30).send(node.address());
        (begun.head.status, begun.body["error"]["code"].clone())
    };
    assert_eq!((status, code), (429, json!("too_many_attempts")));
    let browser = Browser { node: node.address(), from: 30, cookie: String::new() };
    let answered = browser.come_back("/admin/oidc/callback?state=a&code=b");
    assert_eq!(failed(&answered), refused(429, "too_many_attempts"));
    assert!(answered.head.header("retry-after").is_some(), "{answered:?}");
    assert_eq!(login(PASSWORD).from(30).send(node.address()).head.status, 200);
}

#[test]
fn a_provider_that_is_away_or_slow_or_talks_nonsense_harms_nobody() {
    let provider = IdentityProvider::start();
    let issuer = provider.issuer();
    let backend = provider.into_backend();
    let node = Node::start(
        with_provider(&issuer)
            .set("admin.password_hash", format!("{:?}", *HASH))
            .set("admin.oidc.timeout", "\"1s\""),
    );
    let begin = || {
        let begun = Asked::post("oidc_login", &json!({})).from(40).send(node.address());
        (begun.head.status, begun.body["error"]["code"].as_str().unwrap_or_default().to_owned())
    };
    let unavailable = refused(503, "oidc_unavailable");
    // It hangs: everyone hears so after a second, and a password gets in meanwhile.
    backend.answer_by(|_| Answer::Hang);
    let began = Instant::now();
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..10).map(|_| scope.spawn(begin)).collect();
        assert_eq!(login(PASSWORD).from(41).send(node.address()).head.status, 200);
        asking.into_iter().for_each(|one| assert_eq!(one.join().unwrap(), unavailable));
    });
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    // One asks for all, and nobody within the pause after it.
    let most = 1 + began.elapsed().as_secs() / 2;
    assert!(backend.requests().len() as u64 <= most, "{} of {most}", backend.requests().len());
    let nonsense = || {
        vec![
            Answer::status(500),
            Answer::redirect(302, "http://127.0.0.1:1/"),
            Answer::Json(json!({"issuer": "https://somebody.else"})),
            Answer::Huge(1024 * 1024),
            Answer::Reset,
        ]
    };
    for answer in nonsense() {
        let (before, copy) = (backend.requests().len(), answer.clone());
        backend.answer_by(move |_| copy.clone());
        // It is not asked again within two seconds of a failure.
        eventually("the provider is asked again", SOON, || {
            assert_eq!(begin(), unavailable, "{answer:?}");
            backend.requests().len() > before
        });
    }
    drop(backend);
    assert_eq!(begin(), unavailable);
    assert_eq!(login(PASSWORD).from(41).send(node.address()).head.status, 200);
    writes(&node, "asking the identity provider failed");
}

#[test]
fn a_provider_that_goes_away_within_a_login_is_told_from_one_that_refuses_the_node() {
    let provider = IdentityProvider::start();
    let node = Node::start(with_provider(&provider.issuer()).set("admin.oidc.timeout", "\"6s\""));
    let (browser, location) = Browser::begin(node.address(), 50);
    let path = provider.authorize(&location);
    provider.answer_tokens_by(Some(Answer::Hang));
    assert_eq!(failed(&browser.come_back(&path)), refused(503, "oidc_unavailable"));
    provider.answer_tokens_by(Some(Answer::Json(json!({"access_token": "no id token"}))));
    assert_eq!(failed(&log_in(node.address(), &provider, 50)), refused(503, "oidc_unavailable"));
    provider.answer_tokens_by(None);
    provider.change_secret();
    assert_eq!(failed(&log_in(node.address(), &provider, 50)), refused(503, "oidc_client"));
    writes(&node, "invalid_client");
}

#[test]
fn over_plain_http_there_is_no_login_by_a_provider_and_behind_a_proxy_its_cookies_are_secure() {
    let provider = IdentityProvider::start();
    let node = Node::start(with_provider(&provider.issuer()).set("http.trusted_proxies", "[\"127.0.0.9\"]"));
    let outside = Asked::post("oidc_login", &json!({})).with("host", "gorani.example");
    assert_eq!(outside.send(node.address()).error(), (403, "insecure"));
    let begun = outside.with("x-forwarded-proto", "https").from(9).send(node.address());
    let line = begun.cookie_line();
    assert!(line.starts_with("__Host-gorani_oidc=") && line.contains(" Secure;"), "{line}");
    let location = begun.body["result"]["location"].as_str().unwrap();
    let redirect = "redirect_uri=https%3A%2F%2Fgorani.example%2Fadmin%2Foidc%2Fcallback";
    assert!(location.contains(redirect), "{location}");
    // Another site cannot begin a login.
    let cross = Asked::post("oidc_login", &json!({})).with("sec-fetch-site", "cross-site");
    assert_eq!(cross.send(node.address()).error(), (403, "cross_site"));
}

#[test]
fn without_a_provider_there_is_no_login_by_one_and_settings_without_a_role_start_no_node() {
    let node = Node::start(super::settings(Settings::open()));
    let methods = Asked::get("login_methods").result(node.address());
    assert_eq!(methods, json!({"password": true, "oidc": null}));
    let begun = Asked::post("oidc_login", &json!({})).send(node.address());
    assert_eq!(begun.error(), (404, "not_found"));
    let browser = Browser { node: node.address(), from: 1, cookie: String::new() };
    assert_eq!(failed(&browser.come_back("/admin/oidc/callback?state=a&code=b")), refused(404, "not_found"));
    for (key, value) in [("admin.oidc.roles", "[]"), ("admin.oidc.issuer", "\"http://id.example\"")] {
        let mut started = Node::spawn(with_provider("https://id.example").set(key, value));
        assert_eq!(started.wait_exit(SOON).and_then(|status| status.code()), Some(78), "{key}");
    }
    // Nobody needs to have a provider at hand for a node to start.
    let nobody = Backend::start(|_| Answer::Close).url("");
    writes(&Node::start(with_provider(&nobody)), "listening");
}
