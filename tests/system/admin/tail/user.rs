//! A user is followed on all nodes, and a node that does not answer is named.

use gorani_tests::{client::Client, node::Node, process::Signal, redis::Redis};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use super::{SECRET, Tail, start};
use crate::admin::VIEWER;

async fn connect_as(user: &str, node: &Node) -> Client {
    let claims = json!({"sub": user, "exp": 4_000_000_000_u64});
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let token = jsonwebtoken::encode(&Header::default(), &claims, &key).unwrap();
    let mut client = Client::open(node.address()).await;
    client.ok("connect", json!({"token": token})).await;
    client
}

#[tokio::test]
async fn a_user_is_followed_on_all_nodes() {
    let redis = Redis::start();
    let nodes = start(&redis);
    let mut before = connect_as("u42", &nodes[1]).await;
    let mut tail = Tail::open(nodes[0].address(), "user=u42", VIEWER);
    before.ok("subscribe", json!({"channel": "open:a"})).await;
    let line = tail.next();
    assert_eq!(
        (&line["kind"], &line["channel"], &line["node"]),
        (&json!("subscribe"), &json!("open:a"), &json!("n2"))
    );
    let mut other = connect_as("u43", &nodes[2]).await;
    other.ok("subscribe", json!({"channel": "open:a"})).await;
    let mut client = connect_as("u42", &nodes[2]).await;
    let line = tail.next();
    assert_eq!(
        (&line["kind"], &line["node"], &line["user"]),
        (&json!("connect"), &json!("n3"), &json!("u42"))
    );
    let code = client.error("subscribe", json!({"channel": "closed:a"})).await;
    let line = tail.next();
    assert_eq!(
        (&line["kind"], &line["code"], &line["channel"]),
        (&json!("subscribe_refused"), &json!(code), &json!("closed:a"))
    );
    before.ok("unsubscribe", json!({"channel": "open:a"})).await;
    assert_eq!(tail.next()["kind"], "unsubscribe");
    nodes[0].api().ok("disconnect", &json!({"user": "u42"}));
    for _ in 0..2 {
        let line = tail.next();
        assert_eq!((&line["kind"], &line["transport"]), (&json!("disconnect"), &json!("websocket")));
    }
    // All of it again from the rings, in order.
    let mut again = Tail::open(nodes[2].address(), "user=u42&since=-10m", VIEWER);
    let kinds: Vec<Value> = (0..7).map(|_| again.next()["kind"].clone()).collect();
    assert_eq!(
        kinds,
        ["connect", "subscribe", "connect", "subscribe_refused", "unsubscribe", "disconnect", "disconnect"]
    );
    // The channel and the user in one.
    let mut both = Tail::open(nodes[0].address(), "channel=open:a&user=u42", VIEWER);
    let mut client = connect_as("u42", &nodes[1]).await;
    assert_eq!(both.next()["kind"], "connect");
    client.ok("subscribe", json!({"channel": "kept:a"})).await;
    client.ok("subscribe", json!({"channel": "open:a"})).await;
    let line = both.next();
    assert_eq!(
        (&line["kind"], &line["channel"]),
        (&json!("subscribe"), &json!("open:a")),
        "of this channel only"
    );
    nodes[2].api().publish("open:a", &json!(1));
    assert_eq!(both.next()["kind"], "publication");
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
