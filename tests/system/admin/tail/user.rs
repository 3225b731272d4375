//! A user is followed on all nodes, and a node that does not answer is named.

use std::time::Instant;

use gorani_tests::{client::Client, node::Node, process::Signal, redis::Redis};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use super::{SECRET, SOON, Tail, start, tailed_settings};
use crate::{
    admin::{VIEWER, read},
    eventually, websocket,
};

fn token_of(user: &str) -> String {
    let claims = json!({"sub": user, "exp": 4_000_000_000_u64});
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap()
}

async fn connect_as(user: &str, node: &Node) -> Client {
    let mut client = Client::open(node.address()).await;
    client.ok("connect", json!({"token": token_of(user)})).await;
    client
}

#[tokio::test]
async fn a_user_is_followed_on_all_nodes() {
    let redis = Redis::start();
    let nodes = start(&redis);
    let mut before = connect_as("u42", &nodes[1]).await;
    let mut tail = Tail::open(nodes[0].address(), "user=u42", VIEWER);
    before.ok("subscribe", json!({"channel": "open:a"})).await;
    let line = tail.next_change();
    assert_eq!(
        (&line["kind"], &line["channel"], &line["node"]),
        (&json!("subscribe"), &json!("open:a"), &json!("n2"))
    );
    let mut other = connect_as("u43", &nodes[2]).await;
    other.ok("subscribe", json!({"channel": "open:a"})).await;
    let mut client = connect_as("u42", &nodes[2]).await;
    let line = tail.next_change();
    assert_eq!(
        (&line["kind"], &line["node"], &line["user"]),
        (&json!("connect"), &json!("n3"), &json!("u42"))
    );
    let code = client.error("subscribe", json!({"channel": "closed:a"})).await;
    let line = tail.next_change();
    assert_eq!(
        (&line["kind"], &line["code"], &line["channel"]),
        (&json!("subscribe_refused"), &json!(code), &json!("closed:a"))
    );
    before.ok("unsubscribe", json!({"channel": "open:a"})).await;
    assert_eq!(tail.next_change()["kind"], "unsubscribe");
    nodes[0].api().ok("disconnect", &json!({"user": "u42"}));
    for _ in 0..2 {
        let line = tail.next_change();
        assert_eq!((&line["kind"], &line["transport"]), (&json!("disconnect"), &json!("websocket")));
    }
    // All of it again from the rings, in order.
    let mut again = Tail::open(nodes[2].address(), "user=u42&since=-10m", VIEWER);
    let kinds: Vec<Value> = (0..7).map(|_| again.next_change()["kind"].clone()).collect();
    assert_eq!(
        kinds,
        ["connect", "subscribe", "connect", "subscribe_refused", "unsubscribe", "disconnect", "disconnect"]
    );
    // The channel and the user in one.
    let mut both = Tail::open(nodes[0].address(), "channel=open:a&user=u42", VIEWER);
    let mut client = connect_as("u42", &nodes[1]).await;
    assert_eq!(both.next_change()["kind"], "connect");
    client.ok("subscribe", json!({"channel": "kept:a"})).await;
    client.ok("subscribe", json!({"channel": "open:a"})).await;
    let line = both.next_change();
    assert_eq!(
        (&line["kind"], &line["channel"]),
        (&json!("subscribe"), &json!("open:a")),
        "of this channel only"
    );
    nodes[2].api().publish("open:a", &json!(1));
    assert_eq!(both.next_change()["kind"], "publication");
}

#[tokio::test]
async fn commands_of_a_user_are_told_by_name_with_the_code_of_their_refusal() {
    let redis = Redis::start();
    let nodes = start(&redis);
    let mut client = connect_as("u42", &nodes[1]).await;
    let mut other = connect_as("u43", &nodes[1]).await;
    client.ok("subscribe", json!({"channel": "open:a"})).await;
    let mut tail = Tail::open(nodes[0].address(), "user=u42", VIEWER);
    client.ok("publish", json!({"channel": "said:a", "data": {"secret": 1}})).await;
    other.ok("publish", json!({"channel": "said:a", "data": 2})).await;
    client.ok("presence", json!({"channel": "said:a"})).await;
    let code = client.error("history", json!({"channel": "closed:a"})).await;
    let unknown = client.error("rpc", json!({"method": "buy", "data": {}})).await;
    let mut told = Vec::new();
    for expected in [
        ("publish", json!("said:a"), Value::Null, Value::Null),
        ("presence", json!("said:a"), Value::Null, Value::Null),
        ("history", json!("closed:a"), Value::Null, json!(code)),
        ("rpc", Value::Null, json!("buy"), json!(unknown)),
    ] {
        let line = tail.next();
        assert_eq!(
            (&line["kind"], &line["user"], &line["node"]),
            (&json!("command"), &json!("u42"), &json!("n2"))
        );
        let [command, channel, method, code] =
            ["command", "channel", "method", "code"].map(|name| &line[name]);
        assert_eq!(
            (command, channel, method, code),
            (&json!(expected.0), &expected.1, &expected.2, &expected.3)
        );
        told.push(line);
    }
    assert!(!Value::from(told).to_string().contains("secret"));
    // A second tail of the user and one channel.
    let mut of_channel = Tail::open(nodes[2].address(), "channel=open:b&user=u42", VIEWER);
    client.ok("presence_stats", json!({"channel": "said:a"})).await;
    client.ok("subscribe", json!({"channel": "open:b"})).await;
    let mut kinds = [of_channel.next(), of_channel.next()].map(|line| line["kind"].to_string());
    kinds.sort_unstable();
    assert_eq!(kinds, ["\"command\"", "\"subscribe\""]);
}

#[test]
fn the_disconnect_of_a_client_that_answers_no_ping_says_so() {
    let settings =
        tailed_settings().set("client.ping_interval", "\"1s\"").set("client.pong_timeout", "\"500ms\"");
    let node = Node::start(settings);
    let mut tail = Tail::open(node.address(), "user=u42", VIEWER);
    let mut socket = websocket(&node);
    socket.text(&json!({"id": 1, "connect": {"token": token_of("u42")}}).to_string()).unwrap();
    assert_eq!(tail.next()["kind"], "connect");
    let line = tail.next();
    assert_eq!(
        (&line["kind"], &line["code"], &line["reason"]),
        (&json!("disconnect"), &json!(3012), &json!("no pong"))
    );
}

#[tokio::test]
async fn a_node_that_does_not_answer_is_named() {
    let redis = Redis::start();
    let nodes = start(&redis);
    let mut tail = Tail::open(nodes[0].address(), "user=u42", VIEWER);
    let mut of_channel = Tail::open(nodes[0].address(), "channel=open:a", VIEWER);
    nodes[2].process().signal(Signal::SIGSTOP);
    assert_eq!(tail.next(), json!({"kind": "nodes", "silent": ["n3"]}));
    nodes[1].api().publish("open:a", &json!(1));
    let line = of_channel.next();
    nodes[2].process().signal(Signal::SIGCONT);
    assert!(line["matched"]["n3"].is_null(), "never 0: {line}");
    assert_eq!(tail.next(), json!({"kind": "nodes", "silent": []}));
}

#[tokio::test]
async fn the_last_disconnects_of_a_user_are_told_however_many_others_left_since() {
    let redis = Redis::start();
    let nodes = start(&redis);
    let of_user = |user: &str| read(nodes[0].address(), &format!("user?user={user}"))["disconnects"].clone();
    let leaves = async |user: &str, node: &Node| {
        drop(connect_as(user, node).await);
        eventually("its end is told", SOON, || of_user(user).as_array().is_some_and(|all| !all.is_empty()));
    };
    leaves("u42", &nodes[1]).await;
    for number in 0..15 {
        leaves(&format!("other{number}"), &nodes[number % 3]).await;
    }
    let mut again = connect_as("u42", &nodes[2]).await;
    again.ok("subscribe", json!({"channel": "open:a"})).await;
    eventually("its return is told", SOON, || !of_user("u42")[0]["returned"].is_null());
    let told = of_user("u42");
    assert_eq!(told.as_array().map(Vec::len), Some(1), "{told}");
    let (end, returned) = (&told[0], &told[0]["returned"]);
    assert_eq!((&end["user"], &end["node"], &returned["node"]), (&json!("u42"), &json!("n2"), &json!("n3")));
}

#[tokio::test]
async fn events_that_a_node_forgot_between_two_questions_are_said_to_be_missing() {
    let node = Node::start(tailed_settings().set("event_log.sessions", "4").set("http.workers", "1"));
    let mut tail = Tail::open(node.address(), "user=u42", VIEWER);
    let mut lines = Vec::new();
    // More than the log holds in one second, now and then between two questions.
    let began = Instant::now();
    while !lines.iter().any(|line: &Value| line["kind"] == "forgotten") {
        assert!(began.elapsed() < SOON, "{lines:?}");
        for _ in 0..4 {
            drop(connect_as("other", &node).await);
        }
        connect_as("u42", &node).await;
        lines.push(tail.next());
    }
    let line = lines.last().unwrap();
    assert_eq!(line["node"], read(node.address(), "nodes")[0]["name"]);
    assert!(line["known_since"].as_u64() > line["since"].as_u64(), "{line}");
}
