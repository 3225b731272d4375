//! The ways into the admin API, and the rights of each.

use std::time::{Duration, Instant};

use gorani_tests::{
    client::Client,
    node::{Node, Settings, free_address},
    process::Signal,
    raw::RawSocket,
};
use serde_json::json;

use super::{Answered, Asked, HASH, OPERATOR, PASSWORD, VIEWER, login, read, settings};
use crate::eventually;

const SOON: Duration = Duration::from_secs(40);

fn start() -> Node {
    Node::start(settings(Settings::open()))
}

#[test]
fn without_the_setting_there_is_no_admin_api_and_without_a_way_in_no_node() {
    let node = Node::start(Settings::open());
    assert_eq!(Asked::get("session").send(node.address()).head.status, 404);
    assert_eq!(login(PASSWORD).send(node.address()).head.status, 404);
    let mut refused = Node::spawn(Settings::open().set("admin.enabled", "true"));
    assert_eq!(refused.wait_exit(SOON).and_then(|status| status.code()), Some(78));
    let plain = Settings::open().set("admin.enabled", "true").set("admin.password_hash", "\"plain text\"");
    assert_eq!(Node::spawn(plain).wait_exit(SOON).and_then(|status| status.code()), Some(78));
}

#[test]
fn with_development_admin_the_machine_itself_gets_in_and_a_page_with_another_host_does_not() {
    let node = Node::start(Settings::open().set("development.admin", "true"));
    let session = Asked::get("session").result(node.address());
    assert_eq!((&session["role"], &session["contents"]), (&json!("operator"), &json!(true)));
    let rebound = Asked::get("session").with("host", "evil.example:8000").send(node.address());
    assert_eq!(rebound.error(), (401, "login_required"));
    let mut open = Node::spawn(
        Settings::open().set("development.admin", "true").set("stomp.tcp.address", "\"0.0.0.0:0\""),
    );
    assert_eq!(open.wait_exit(SOON).and_then(|status| status.code()), Some(78));
}

#[test]
fn a_login_gives_a_cookie_that_no_script_reads_and_a_logout_ends_it() {
    let node = start();
    let address = node.address();
    assert_eq!(Asked::get("session").send(address).error(), (401, "login_required"));
    assert_eq!(login("wrong").send(address).error(), (401, "login_failed"));
    let answered = login(PASSWORD).send(address);
    assert_eq!(answered.head.status, 200, "{answered:?}");
    let line = answered.cookie_line();
    assert!(line.starts_with("gorani_admin=") && !line.contains("Domain"), "{line}");
    for flag in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(line.contains(flag), "{line}");
    }
    assert_eq!(answered.body["result"]["role"], "operator");
    assert_eq!(answered.body["result"]["contents"], false);
    assert_eq!(answered.head.header("cache-control"), Some("no-store"));
    let cookie = answered.cookie();
    let session = Asked::get("session").with("cookie", &cookie);
    assert_eq!(session.result(address)["name"], "password");
    assert_eq!(Asked::post("logout", &json!({})).with("cookie", &cookie).send(address).head.status, 200);
    assert_eq!(session.send(address).error(), (401, "login_required"));
    for line in ["login_failed", "\"login\"", "\"logout\"", "gorani::audit"] {
        eventually(line, SOON, || node.output().contains(line));
    }
    assert!(!node.output().contains(PASSWORD));
}

#[test]
fn over_plain_http_a_login_is_refused_unless_a_trusted_proxy_says_https() {
    let node = Node::start(
        settings(Settings::open())
            .set("http.trusted_proxies", "[\"127.0.0.9\"]")
            .set("log.level", "\"error\""),
    );
    let address = node.address();
    let outside = login(PASSWORD).with("host", "gorani.example");
    assert_eq!(outside.send(address).error(), (403, "insecure"));
    let forged = outside.clone().with("x-forwarded-proto", "https");
    assert_eq!(forged.send(address).error(), (403, "insecure"));
    let answered = forged.from(9).send(address);
    assert_eq!(answered.head.status, 200, "{answered:?}");
    let line = answered.cookie_line();
    assert!(line.starts_with("__Host-gorani_admin=") && line.contains(" Secure;"), "{line}");
    // The audit log is not silenced by the level.
    eventually("it is told", SOON, || node.output().contains("insecure"));
}

#[test]
fn a_reload_by_a_signal_is_in_the_audit_log() {
    let node = start();
    node.process().signal(Signal::SIGHUP);
    let mut line = json!(null);
    eventually("the reload is told", SOON, || {
        line = Asked::get("audit").key(OPERATOR).result(node.address())[0].clone();
        line["action"] == "reload"
    });
    assert_eq!(
        (&line["source"], &line["who"], &line["result"]),
        (&json!("signal"), &json!(""), &json!("ok"))
    );
    eventually("it is logged", SOON, || node.output().contains("gorani::audit"));
}

#[test]
fn no_page_of_another_site_can_have_a_browser_act() {
    let node = start();
    let address = node.address();
    let cookie = login(PASSWORD).send(address).cookie();
    let body = json!({"channel": "open:a", "data": 1, "dry_run": true});
    let good = Asked::post("actions/publish", &body).with("cookie", &cookie);
    assert_eq!(good.send(address).head.status, 200);
    for refused in [
        good.clone().without("x-gorani-admin"),
        good.clone().with("content-type", "text/plain"),
        good.clone().with("content-type", "application/x-www-form-urlencoded"),
        good.clone().with("sec-fetch-site", "cross-site"),
        good.clone().with("sec-fetch-site", "same-site"),
        good.clone().with("sec-fetch-site", "none"),
        good.clone().without("sec-fetch-site"),
        good.clone().without("sec-fetch-site").with("origin", "https://evil.example"),
        good.clone().without("sec-fetch-site").with("origin", "null"),
        login(PASSWORD).with("sec-fetch-site", "cross-site"),
    ] {
        assert_eq!(refused.send(address).error(), (403, "cross_site"), "{refused:?}");
    }
    let own = good.clone().without("sec-fetch-site").with("origin", &format!("http://{address}"));
    assert_eq!(own.send(address).head.status, 200);
    let get = Asked { method: "GET", ..good };
    assert_eq!(get.send(address).error(), (405, "wrong_verb"));
    let reading = Asked::get("overview").with("cookie", &cookie).with("sec-fetch-site", "cross-site");
    assert_eq!(reading.send(address).error(), (403, "cross_site"));
}

#[test]
fn a_connection_is_shown_with_the_proxy_through_which_it_came_and_what_its_client_sent() {
    let node = Node::start(settings(Settings::open()).set("http.trusted_proxies", "[\"127.0.0.1\"]"));
    let forwarded = "X-Forwarded-For: 203.0.113.7\r\n";
    let mut client = RawSocket::websocket(node.address(), "/connection/websocket", forwarded);
    let connect = r#"{"id":1,"connect":{}}"#;
    client.text(connect).unwrap();
    client.read_frame().unwrap();
    let found = read(node.address(), "connections?address=203.0.113.7");
    let id = found[0]["client"].as_str().unwrap();
    let shown = read(node.address(), &format!("connection?client={id}"));
    assert_eq!((&shown["address"], &shown["forwarded_by"]), (&json!("203.0.113.7"), &json!("127.0.0.1")));
    assert_eq!((&shown["bytes_in"], &shown["last_command"]), (&json!(connect.len()), &json!("connect")));
    assert!(shown["last_command_at"].as_u64() >= shown["connected_at"].as_u64(), "{shown}");
    assert_eq!((&shown["token_id"], &shown["last_pong_at"]), (&json!(null), &json!(null)));
    assert_eq!((&shown["encoding"], &shown["rtt_ms"]), (&json!("identity"), &json!(null)));
}

#[tokio::test]
async fn a_viewer_sees_and_an_operator_acts() {
    let node = start();
    let address = node.address();
    let mut client = Client::subscribed(address, "open:a").await;
    let act = |key: &str, call: &str, body| Asked::post(call, &body).key(key).without("sec-fetch-site");
    let publish = json!({"channel": "open:a", "data": {"n": 1}});
    assert_eq!(act(VIEWER, "actions/publish", publish.clone()).send(address).error(), (403, "forbidden"));
    assert_eq!(Asked::get("audit").key(VIEWER).send(address).error(), (403, "forbidden"));
    assert_eq!(read(address, "session")["role"], "viewer");
    assert_eq!(Asked::get("session").key("no key of this node").send(address).error(), (401, "wrong_key"));
    // The keys of backends open nothing here.
    let backend = Asked::get("session").key(gorani_tests::node::API_KEY).send(address);
    assert_eq!(backend.error(), (401, "wrong_key"));
    let done = act(OPERATOR, "actions/publish", publish).result(address);
    assert_eq!(done["total"], 1);
    assert_eq!(client.publication().await, json!({"n": 1}));
    let found = Asked::get("connections?transport=websocket").key(VIEWER).result(address);
    let id = found[0]["client"].as_str().unwrap().to_owned();
    let dry = act(OPERATOR, "actions/disconnect", json!({"client": id, "dry_run": true})).result(address);
    assert_eq!((&dry["total"], &dry["by_node"][0]["count"]), (&json!(1), &json!(1)));
    assert_eq!(act(OPERATOR, "actions/disconnect", json!({"client": id})).result(address)["total"], 1);
    assert_eq!(client.closed().await.0, 3503);
    let records = Asked::get("audit").key(OPERATOR).result(address);
    let actions: Vec<_> = records.as_array().unwrap().iter().map(|record| &record["action"]).collect();
    assert_eq!(actions, ["disconnect", "publish", "publish"], "{records}");
    assert_eq!(records[0]["target"], format!("client {id}"));
    assert_eq!((&records[2]["who"], &records[2]["result"]), (&json!("reader"), &json!("forbidden")));
}

#[tokio::test]
async fn a_long_list_of_channels_has_what_nodes_know() {
    let node = start();
    let mut client = Client::subscribed(node.address(), "open:0").await;
    let list = || read(node.address(), "channels?prefix=open:&limit=1000");
    for number in 1..100 {
        client.ok("subscribe", json!({"channel": format!("open:{number}")})).await;
    }
    let asked = list();
    assert_eq!(asked.as_array().unwrap().len(), 100);
    assert!(asked[0].as_object().unwrap().contains_key("offset"), "{}", asked[0]);
    client.ok("subscribe", json!({"channel": "open:100"})).await;
    let long = list();
    assert_eq!(long.as_array().unwrap().len(), 101);
    assert!(!long[0].as_object().unwrap().contains_key("offset"), "{}", long[0]);
}

#[test]
fn contents_need_a_right_of_their_own() {
    let namespace = r#"[{ name = "kept", history_size = 10, history_ttl = "60s" }]"#;
    let node = Node::start(settings(Settings::open().set("channel.namespaces", namespace)));
    node.api().publish("kept:a", &json!({"secret": "of a user"}));
    let channel = |key| Asked::get("channel?channel=kept:a").key(key).result(node.address());
    let (without, with) = (channel(VIEWER), channel(OPERATOR));
    assert_eq!(without["publications"][0]["offset"], 1);
    assert!(without["publications"][0].get("data").is_none(), "{without}");
    assert_eq!(with["publications"][0]["data"], json!({"secret": "of a user"}));
    assert_eq!(with["position"]["offset"], 1);
    assert!(with["options"].as_array().unwrap().iter().any(|option| option["name"] == "history_size"));
}

#[test]
fn wrong_passwords_from_one_address_wait_and_a_right_one_from_elsewhere_gets_in() {
    let node = start();
    let address = node.address();
    for _ in 0..5 {
        assert_eq!(login("wrong").from(7).send(address).error(), (401, "login_failed"));
    }
    let refused = login(PASSWORD).from(7).send(address);
    assert_eq!(refused.error(), (429, "too_many_attempts"));
    let wait: u64 = refused.head.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    assert_eq!(login(PASSWORD).from(8).send(address).head.status, 200);
    let metrics = node.api().get("/metrics").1;
    assert!(metrics.contains("cause=\"admin_login\"") && metrics.contains("cause=\"admin_login_throttled\""));
}

#[tokio::test]
async fn a_flood_of_logins_does_not_hold_up_clients() {
    let node = start();
    let address = node.address();
    let mut client = Client::subscribed(address, "open:a").await;
    let flood: Vec<_> = (10..60)
        .map(|last| std::thread::spawn(move || login("wrong").from(last).send(address).head.status))
        .collect();
    let began = Instant::now();
    let mut worst = Duration::ZERO;
    for number in 0..50 {
        let sent = Instant::now();
        node.api().publish("open:a", &json!(number));
        assert_eq!(client.publication().await, number);
        worst = worst.max(sent.elapsed());
    }
    let statuses: Vec<u16> = flood.into_iter().map(|thread| thread.join().unwrap()).collect();
    // Fifty passwords take many seconds one after another; no client waits for them. One that did would wait for nearly all: on a
    // machine on which everything is slow, that is what tells.
    let most = Duration::from_secs(2).max(began.elapsed() / 3);
    assert!(worst < most, "{worst:?} of {:?}", began.elapsed());
    assert!(statuses.iter().all(|status| *status == 401 || *status == 429), "{statuses:?}");
    assert!(statuses.contains(&429), "{statuses:?}");
}

#[test]
fn another_password_ends_the_sessions_of_the_one_before() {
    let mut node =
        Node::start(settings(Settings::open()).set("cluster.secret", "\"secret-of-the-cluster-0123\""));
    let cookie = login(PASSWORD).send(node.address()).cookie();
    let address = format!("\"{}\"", node.address());
    let session =
        |node: &Node| -> Answered { Asked::get("session").with("cookie", &cookie).send(node.address()) };
    node.kill();
    node.restart();
    node.wait_ready();
    assert_eq!(session(&node).head.status, 200, "a restart ends no session where the secret is set");
    node.kill();
    // The hash of the same password with another salt.
    let again = settings(Settings::open())
        .set("cluster.secret", "\"secret-of-the-cluster-0123\"")
        .set("http.address", address)
        .set("admin.password_hash", format!("{:?}", other_hash()));
    node.write_settings(&again);
    node.restart();
    node.wait_ready();
    assert_eq!(session(&node).error(), (401, "login_required"));
}

/// Another hash: it need not be of any password.
fn other_hash() -> String {
    let (start, _) = HASH.rsplit_once(':').unwrap();
    format!("{start}:{}", "A".repeat(43))
}

#[test]
fn a_session_that_is_not_used_ends() {
    let node = Node::start(
        settings(Settings::open()).set("admin.session_idle", "\"10s\"").set("admin.session_max", "\"10s\""),
    );
    let cookie = login(PASSWORD).send(node.address()).cookie();
    let session = Asked::get("session").with("cookie", &cookie);
    assert_eq!(session.send(node.address()).head.status, 200);
    eventually("the session is over", SOON, || session.send(node.address()).head.status == 401);
}

#[tokio::test]
async fn hostile_names_come_back_as_data() {
    let node = start();
    let address = node.address();
    let names = ["open:<script>alert(1)</script>", "open:\u{202e}oiro", "open:%2e%2e/\"';--", "open:고라니"];
    let mut clients = Vec::new();
    for name in names {
        clients.push(Client::subscribed(address, name).await);
    }
    let listed = read(address, "channels?prefix=open:");
    let mut expected = names.to_vec();
    expected.sort_unstable();
    let found: Vec<_> =
        listed.as_array().unwrap().iter().map(|row| row["channel"].as_str().unwrap()).collect();
    assert_eq!(found, expected);
    let answered = Asked::get("channels?prefix=open:").key(VIEWER).send(address);
    assert_eq!(answered.head.header("content-type"), Some("application/json"));
    assert_eq!(answered.head.header("x-content-type-options"), Some("nosniff"));
    for query in
        ["channel=%00", "channel=", "prefix=%ff", "cursor=%3C%3E&prefix=a", "limit=9999999999", "top=x"]
    {
        let status = Asked::get(&format!("channels?{query}")).key(VIEWER).send(address).head.status;
        assert!([200, 400].contains(&status), "{query}: {status}");
    }
    assert_eq!(Asked::get("connections").key(VIEWER).send(address).error(), (400, "filter_required"));
    assert_eq!(Asked::get("nothing").key(VIEWER).send(address).error(), (404, "unknown_call"));
    let large = Asked { body: "x".repeat(2 << 20), ..Asked::post("actions/publish", &json!({})) };
    assert_eq!(large.key(OPERATOR).send(address).head.status, 413);
}

#[tokio::test]
async fn an_operator_who_sees_contents_connects_as_a_user_for_five_minutes() {
    let secret = "a-secret-of-the-backend-0123456789";
    let keys = format!(
        r#"[{{ name = "on-call", key = "{OPERATOR}", role = "operator", contents = true }}, {{ name = "reader", key = "{VIEWER}" }},
           {{ name = "acts", key = "acts-key-0123456789", role = "operator" }}]"#
    )
    .replace('\n', " ");
    let node = Node::start(
        settings(Settings::open())
            .set("client.allow_anonymous", "false")
            .set("token.hmac_secret", format!("{secret:?}"))
            .set("token.audience", "\"clients\"")
            .set("admin.keys", keys),
    );
    let act = |key: &str, body| {
        Asked::post("actions/try", &body).key(key).without("sec-fetch-site").send(node.address())
    };
    for key in [VIEWER, "acts-key-0123456789"] {
        assert_eq!(act(key, json!({"user": "42"})).error(), (403, "forbidden"));
    }
    assert_eq!(act(OPERATOR, json!({})).error(), (400, "bad_request"));
    assert_eq!(act(OPERATOR, json!({"user": "x".repeat(20_000)})).error(), (400, "bad_request"));
    let looked = act(OPERATOR, json!({"user": "42", "dry_run": true}));
    assert!(looked.body["result"]["token"].is_null(), "{looked:?}");
    let made = act(OPERATOR, json!({"user": "42"}));
    let token = made.body["result"]["token"].as_str().unwrap();
    assert_eq!(made.body["result"]["endpoint"], "../connection/websocket");
    let mut client = Client::open(node.address()).await;
    let connected = client.command("connect", json!({"token": token})).await;
    let left = connected["connect"]["ttl"].as_u64().unwrap();
    assert!((200..=300).contains(&left), "{connected}");
    let found = Asked::get("connections?user=42").key(VIEWER).result(node.address());
    assert_eq!(found[0]["user"], "42");
    let audit = Asked::get("audit").key(OPERATOR).result(node.address());
    let lines = audit.as_array().unwrap().iter().filter(|line| line["action"] == "try");
    let lines: Vec<_> = lines.map(|line| (line["who"].clone(), line["result"].clone())).collect();
    assert!(lines.contains(&(json!("on-call"), json!("ok"))), "{audit}");
    assert!(lines.contains(&(json!("acts"), json!("forbidden"))), "{audit}");
    assert!(!node.output().contains(token) && !audit.to_string().contains(token));
}

#[test]
fn a_node_that_cannot_sign_or_serves_clients_elsewhere_says_why_nobody_connects_as_a_user() {
    let node = start();
    let asked = Asked::post("actions/try", &json!({"user": "42"})).key(OPERATOR).without("sec-fetch-site");
    assert_eq!(asked.send(node.operators()).error(), (409, "no_token_secret"));
    let elsewhere = Node::start(
        settings(Settings::open())
            .set("admin.address", format!("\"{}\"", free_address()))
            .set("token.hmac_secret", "\"a-secret-of-the-backend-0123456789\""),
    );
    assert_eq!(asked.send(elsewhere.operators()).error(), (409, "clients_elsewhere"));
}
