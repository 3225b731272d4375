//! `gorani reload --enforce` on real nodes: subscriptions that the settings no longer permit end over 20 s, and no other ends.
//! Decision record 71.

use std::{
    net::SocketAddr,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use gorani_tests::{
    backend::{recorder::Recorder, signature::SECRET as HOOK_SECRET},
    client::Client,
    node::{Node, Settings, free_address},
    redis::Redis,
    stomp::Stomp,
    stream::Stream,
};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use super::{at, objects, operated, text};
use crate::eventually;

/// The keys and the algorithm of tokens.
const SECRET: &str = "the-secret-of-tokens-of-the-tests-0123456789";
const SOON: Duration = Duration::from_secs(60);
/// The 20 s of an enforcement, and as much as a busy machine may add.
const ENFORCED: Duration = Duration::from_secs(60);
/// Clients of each node by the rules.
const OF_RULES: usize = 10;

fn sign(claims: &Value) -> String {
    let mut claims = claims.clone();
    claims["exp"] = json!(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 600);
    jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

/// `chat` is open to every user, or only to those who stand in the name of its channel.
fn settings(chat_is_open: bool) -> Settings {
    let open = if chat_is_open { "allow_subscribe_for_client = true, " } else { "" };
    let namespaces = format!(
        r#"[{{ name = "chat", {open}allow_user_limited_channels = true, presence = true }}, {{ name = "news", allow_subscribe_for_client = true }}]"#
    );
    operated(Settings::open())
        .set("http.workers", "2")
        .set("channel.namespaces", namespaces)
        .set("token.hmac_secret", format!("{SECRET:?}"))
        .set("client.personal_channels", "[\"chat:inbox\"]")
        // Clients of the test read late.
        .set("client.ping_interval", "\"300s\"")
}

fn of_cluster(redis: &Redis, (number, stomp): (usize, SocketAddr), chat_is_open: bool) -> Settings {
    settings(chat_is_open)
        .set("node.name", format!("\"n{number}\""))
        .set("stomp.tcp.address", format!("\"{stomp}\""))
        .set("broker.kind", "\"redis\"")
        .set("broker.redis.url", format!("\"{}\"", redis.url()))
}

async fn connected(node: &Node, claims: &Value) -> (Client, String) {
    let mut client = Client::open(node.address()).await;
    let reply = client.ok("connect", json!({"token": sign(claims)})).await;
    (client, reply["client"].as_str().unwrap().to_owned())
}

/// A client that subscribes without a token of its own.
async fn by_rules(node: &Node, user: &str, channel: &str) -> (Client, String) {
    let (mut client, id) = connected(node, &json!({"sub": user})).await;
    client.ok("subscribe", json!({"channel": channel})).await;
    (client, id)
}

/// Subscriptions that reloads have ended on these nodes.
fn ended(nodes: &[Node]) -> u64 {
    let of_node = |node: &Node| {
        let metrics = node.api().get("/metrics").1;
        let line = "gorani_unsubscribes_total{code=\"not_permitted\"} ";
        metrics.lines().find_map(|shown| shown.strip_prefix(line)?.parse::<u64>().ok()).unwrap_or_default()
    };
    nodes.iter().map(of_node).sum()
}

/// The numbers of the reports of all nodes.
fn not_permitted(lines: &[Value]) -> u64 {
    lines.iter().map(|line| line["report"]["not_permitted"].as_u64().unwrap()).sum()
}

fn reload(node: &Node, arguments: &[&str]) -> Vec<Value> {
    let output = at(node, &[&["reload", "--json"], arguments].concat());
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    objects(&output)
}

/// A client whose subscription some rule of now permits, with the way in which it got in.
struct Stays {
    client: Client,
    channel: String,
    by: &'static str,
}

async fn those_who_stay(node: &Node, number: usize) -> Vec<Stays> {
    let user = |name: &str| format!("{name}{number}");
    let mut all = Vec::new();
    let (mut client, _) = connected(node, &json!({"sub": user("token")})).await;
    let token = sign(&json!({"sub": user("token"), "channel": "chat:a"}));
    client.ok("subscribe", json!({"channel": "chat:a", "token": token})).await;
    all.push(Stays { client, channel: "chat:a".to_owned(), by: "its subscription token" });
    let (client, _) = connected(node, &json!({"sub": user("listed"), "channels": ["chat:a"]})).await;
    all.push(Stays { client, channel: "chat:a".to_owned(), by: "its connection token" });
    let (mut client, id) = connected(node, &json!({"sub": user("server")})).await;
    node.api().ok("subscribe", &json!({"user": user("server"), "client": id, "channel": "chat:a"}));
    assert!(client.push().await["subscribe"].is_object());
    all.push(Stays { client, channel: "chat:a".to_owned(), by: "the backend" });
    let channel = format!("chat:room#{}", user("limited"));
    let (client, _) = by_rules(node, &user("limited"), &channel).await;
    all.push(Stays { client, channel, by: "allow_user_limited_channels" });
    let (client, _) = connected(node, &json!({"sub": user("personal")})).await;
    let channel = format!("chat:inbox#{}", user("personal"));
    all.push(Stays { client, channel, by: "its personal channel" });
    let (client, _) = by_rules(node, &user("reader"), "news:a").await;
    all.push(Stays { client, channel: "news:a".to_owned(), by: "another namespace" });
    all
}

#[tokio::test]
async fn the_count_told_is_the_count_ended_over_twenty_seconds_and_what_a_rule_permits_stays() {
    let redis = Redis::start();
    let named = [1, 2, 3].map(|number| (number, free_address()));
    let nodes = named.map(|named| Node::start(of_cluster(&redis, named, true)));
    eventually("they know one another", SOON, || {
        objects(&at(&nodes[0], &["admin", "nodes", "--json"])).len() == 3
    });
    let (mut ending, mut staying, mut receivers, mut stomp) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (number, node) in nodes.iter().enumerate() {
        for client in 0..OF_RULES {
            ending.push(by_rules(node, &format!("rules{number}-{client}"), "chat:a").await);
        }
        staying.extend(those_who_stay(node, number).await);
        let token = sign(&json!({"sub": "receives"}));
        let target = format!("/connection/uni_sse?channels=chat:a&token={token}");
        let mut receiver = Stream::open(node.address(), "GET", &target, "", "");
        assert!(receiver.event().unwrap().is_some());
        receivers.push(receiver);
        let mut session =
            Stomp::connect(named[number].1, &format!("passcode:{}\n", sign(&json!({"sub": "stomp"}))));
        session.subscribe("0", "/topic/chat:a", "");
        stomp.push(session);
    }
    let expected = (nodes.len() * (OF_RULES + 2)) as u64;

    // A reload that does not enforce ends nothing, and neither does a look ahead.
    for (number, node) in nodes.iter().enumerate() {
        node.write_settings(&of_cluster(&redis, named[number], false));
    }
    let before = reload(&nodes[0], &["--all", "--enforce", "--dry-run"]);
    assert_eq!(not_permitted(&before), expected, "{before:?}");
    let plain = reload(&nodes[1], &["--all"]);
    assert_eq!(not_permitted(&plain), expected, "{plain:?}");
    let told = plain[0]["report"]["effects"][0].as_str().unwrap();
    assert!(
        told.contains("12 subscriptions of this node stay") && told.contains("--enforce ends them"),
        "{told}"
    );
    assert_eq!(ended(&nodes), 0);

    let began = Instant::now();
    let done = reload(&nodes[2], &["--all", "--enforce"]);
    assert_eq!(not_permitted(&done), expected);
    assert!(done.iter().all(|line| line["report"]["enforced"] == true), "{done:?}");
    let (mut seen, mut largest_step) = (0, 0);
    eventually("all of them are ended", ENFORCED, || {
        let now = ended(&nodes);
        largest_step = largest_step.max(now - seen);
        seen = now;
        now >= expected
    });
    assert!(began.elapsed() >= Duration::from_secs(15), "they ended within {:?}", began.elapsed());
    assert!(largest_step <= expected / 3, "{largest_step} of {expected} at once");

    for (client, _) in &mut ending {
        let push = client.push().await;
        assert_eq!(push["unsubscribe"], json!({"code": 2500, "reason": "no longer permitted"}), "{push}");
        assert_eq!(client.error("subscribe", json!({"channel": "chat:a"})).await, 103);
    }
    for receiver in &mut receivers {
        let told: Value = serde_json::from_str(&receiver.event().unwrap().unwrap().data).unwrap();
        assert_eq!((&told["channel"], &told["unsubscribe"]["code"]), (&json!("chat:a"), &json!(2500)));
    }
    for session in &mut stomp {
        let frame = session.frame();
        assert_eq!((frame.command.as_str(), frame.get("message")), ("ERROR", Some("no longer permitted")));
    }
    for Stays { client, channel, by } in &mut staying {
        nodes[0].api().publish(channel, &json!(*by));
        while client.publication().await != *by {}
    }
    let present = nodes[0].api().ok("presence_stats", &json!({"channel": "chat:a"}));
    assert_eq!(present["num_clients"], 9, "three ways in on three nodes: {present}");
    assert_eq!(ended(&nodes), expected, "no other has ended");

    let left = reload(&nodes[0], &["--all", "--enforce"]);
    assert_eq!(not_permitted(&left), 0, "{left:?}");
    let audit = text(&at(&nodes[2], &["admin", "audit", "--json"]).stdout);
    assert!(audit.contains(&format!("enforce: {expected} subscriptions end")), "{audit}");
    let explained =
        at(&nodes[0], &["explain", "--channel", "chat:a", "--client", &ending[0].1, "--last", "1"]);
    let explained = text(&explained.stdout);
    assert!(explained.contains("with 2500: the settings no longer permit it"), "{explained}");
}

#[tokio::test]
async fn a_reload_that_permits_them_again_holds_for_those_that_have_not_ended_yet() {
    let nodes = [Node::start(settings(true))];
    let [node] = &nodes;
    let mut clients = Vec::new();
    for number in 0..40 {
        clients.push(by_rules(node, &format!("u{number}"), "chat:a").await.0);
    }
    node.write_settings(&settings(false));
    assert_eq!(not_permitted(&reload(node, &["--enforce"])), 40);
    eventually("the first have ended", ENFORCED, || ended(&nodes) >= 2);
    node.write_settings(&settings(true));
    assert_eq!(not_permitted(&reload(node, &[])), 0);
    let line = "subscriptions ended that the settings no longer permit";
    eventually("it is over", ENFORCED, || node.output().contains(line));
    let ended = ended(&nodes);
    assert!((2..40).contains(&ended), "{ended} of 40");
    let told = node.output().lines().find(|told| told.contains(line)).unwrap().to_owned();
    assert!(told.contains("40") && told.contains(&ended.to_string()), "{told}");
    node.api().publish("chat:a", &json!("still here"));
    let mut left = 0;
    for client in &mut clients {
        let push = client.push().await;
        match push["unsubscribe"]["code"].as_u64() {
            Some(code) => {
                assert_eq!(code, 2500);
                left += 1;
                client.ok("subscribe", json!({"channel": "chat:a"})).await;
            }
            None => assert_eq!(push["pub"]["data"], "still here"),
        }
    }
    assert_eq!(left, ended);
}

#[tokio::test]
async fn the_backend_is_told_of_each_end_and_a_signal_enforces_nothing() {
    let recorder = Recorder::start();
    let endpoint = format!(
        r#"[{{ name = "app", url = "{}", secrets = ["{HOOK_SECRET}"], events = ["connected", "disconnected", "subscribed", "unsubscribed"] }}]"#,
        recorder.url()
    );
    let hooked =
        |open: bool| settings(open).set("hooks.grace", "\"0s\"").set("hooks.endpoints", endpoint.clone());
    let nodes = [Node::start(hooked(true))];
    let [node] = &nodes;
    let (mut client, id) = by_rules(node, "42", "chat:a").await;
    recorder.wait_for("subscribed");
    node.write_settings(&hooked(false));
    node.process().signal(gorani_tests::process::Signal::SIGHUP);
    eventually("the signal is followed", SOON, || {
        node.output().contains("1 subscription of this node stays")
    });
    assert_eq!(not_permitted(&reload(node, &["--enforce", "--dry-run"])), 1);
    assert_eq!(not_permitted(&reload(node, &["--enforce"])), 1);
    eventually("it has ended", ENFORCED, || ended(&nodes) == 1);
    assert_eq!(client.push().await["unsubscribe"]["code"], 2500);
    let event = recorder.wait_for("unsubscribed");
    assert!(event.to_string().contains(&id), "{event}");
    let told = event.to_string();
    assert!(told.contains("2500") && told.contains("no longer permitted"), "{told}");
}
