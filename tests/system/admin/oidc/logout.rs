//! The logout of a session by a provider: the browser keeps the ID token for it, and for nothing else.

use gorani_tests::node::Node;
use serde_json::json;

use super::{
    log_in,
    provider::{CLIENT_SECRET, IdentityProvider},
    with_provider,
};
use crate::admin::{Answered, Asked, HASH, PASSWORD, login};

/// The line of an answer that sets this cookie.
fn line<'a>(answered: &'a Answered, name: &str) -> &'a str {
    let lines = answered.head.headers.iter().filter(|(header, _)| header == "set-cookie");
    let mut own = lines.filter_map(|(_, line)| line.strip_prefix(name)?.starts_with('=').then_some(line));
    own.next().map(String::as_str).unwrap_or_default()
}

fn pair(line: &str) -> &str {
    line.split(';').next().unwrap_or_default()
}

/// A logout with these cookies: the address to which the browser goes, and the answer.
fn log_out(node: &Node, cookies: &str) -> (String, Answered) {
    let answered = Asked::post("logout", &json!({})).with("cookie", cookies).send(node.address());
    assert_eq!(answered.head.status, 200, "{answered:?}");
    let address = answered.body["result"]["end_session"].as_str().unwrap_or_default().to_owned();
    (address, answered)
}

#[test]
fn a_logout_shows_the_provider_the_id_token_of_the_login() {
    let provider = IdentityProvider::start();
    let node = Node::start(with_provider(&provider.issuer()));
    let answered = log_in(node.address(), &provider, 80);
    let kept = line(&answered, "gorani_id_token");
    for part in ["HttpOnly", "SameSite=Strict", "Path=/admin/api/logout;", "Max-Age=28800"] {
        assert!(kept.contains(part), "{kept}");
    }
    let (_, token) = pair(kept).split_once('=').unwrap();
    assert_eq!(token.split('.').count(), 3, "{kept}");
    let (address, ended) = log_out(&node, &format!("{}; {}", answered.cookie(), pair(kept)));
    assert!(address.ends_with(&format!("&id_token_hint={token}")), "{address}");
    let removed = line(&ended, "gorani_id_token");
    assert!(removed.starts_with("gorani_id_token=; ") && removed.ends_with("Max-Age=0"), "{removed}");
    assert!(line(&ended, "gorani_admin").ends_with("Max-Age=0"), "{ended:?}");
    let output = node.output();
    assert!(!output.contains(token) && !output.contains(CLIENT_SECRET), "{output}");
}

#[test]
fn an_id_token_that_is_too_long_for_a_cookie_is_not_kept_and_one_that_is_none_is_not_passed_on() {
    let provider = IdentityProvider::start();
    let node = Node::start(with_provider(&provider.issuer()));
    provider.claim(json!({"picture": "x".repeat(2048)}));
    let answered = log_in(node.address(), &provider, 81);
    let removed = line(&answered, "gorani_id_token");
    assert!(removed.starts_with("gorani_id_token=; ") && removed.ends_with("Max-Age=0"), "{removed}");
    let no_token = "gorani_id_token=\"><script>; gorani_id_token=a b";
    let (address, _) = log_out(&node, &format!("{}; {no_token}", answered.cookie()));
    assert!(address.starts_with(&format!("{}/logout?client_id=", provider.issuer())), "{address}");
    assert!(!address.contains("id_token_hint"), "{address}");
}

#[test]
fn a_session_by_password_has_nothing_to_do_with_the_provider() {
    let provider = IdentityProvider::start();
    let settings = with_provider(&provider.issuer()).set("admin.password_hash", format!("{:?}", *HASH));
    let node = Node::start(settings);
    let by_password = login(PASSWORD).send(node.address());
    assert_eq!(line(&by_password, "gorani_id_token"), "");
    let (address, ended) = log_out(&node, &format!("{}; gorani_id_token=a.b.c", by_password.cookie()));
    assert_eq!((address.as_str(), line(&ended, "gorani_id_token")), ("", ""));
}

#[test]
fn behind_a_balancer_with_another_path_the_cookie_has_the_path_that_the_browser_sees() {
    let provider = IdentityProvider::start();
    let settings = with_provider(&provider.issuer())
        .set("http.trusted_proxies", "[\"127.0.0.9\"]")
        .set("admin.oidc.redirect_url", "\"https://ops.example/push/admin/oidc/callback\"");
    let node = Node::start(settings);
    let begun = Asked::post("oidc_login", &json!({}))
        .with("host", "ops.example")
        .with("x-forwarded-proto", "https")
        .from(9)
        .send(node.address());
    let location = begun.body["result"]["location"].as_str().unwrap();
    let path = provider.authorize(location);
    let answered = Asked { path: path.trim_start_matches("/push").to_owned(), ..Asked::get("") }
        .from(9)
        .with("host", "ops.example")
        .with("x-forwarded-proto", "https")
        .with("cookie", &begun.cookie())
        .send(node.address());
    assert_eq!(answered.head.status, 200, "{answered:?}");
    let kept = line(&answered, "__Secure-gorani_id_token");
    assert!(kept.contains(" Secure;") && kept.contains("Path=/push/admin/api/logout;"), "{kept}");
}
