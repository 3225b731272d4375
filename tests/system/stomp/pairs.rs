//! One channel, every protocol: what one publishes reaches the subscribers of all, on every node. `docs/protocols/stomp.md` §4.6.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
};

use gorani_tests::{
    client::Client,
    node::{Node, free_address},
    redis::Redis,
    stomp::Stomp,
};
use serde_json::{Value, json};

use super::settings;

/// What is published, and how each protocol shows it.
struct Case {
    name: &'static str,
    publish: fn(&Publishers<'_>, &mut Stomp),
    /// Of the client protocol and of SSE.
    data: Value,
    content_type: &'static str,
    body: &'static [u8],
}

struct Publishers<'a> {
    node: &'a Node,
}

const CHANNEL: &str = "open:a";
const TOPIC: &str = "/topic/open:a";

fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "JSON by HTTP",
            publish: |publishers, _| drop(publishers.node.api().publish(CHANNEL, &json!({"a": 1}))),
            data: json!({"a": 1}),
            content_type: "application/json",
            body: b"{\"a\":1}",
        },
        Case {
            name: "bytes by HTTP",
            publish: |publishers, _| {
                publishers.node.api().ok("publish", &json!({"channel": CHANNEL, "b64data": "AP8="}));
            },
            data: json!("AP8="),
            content_type: "application/octet-stream",
            body: b"\0\xff",
        },
        Case {
            name: "text by STOMP",
            publish: |_, stomp| stomp.send(TOPIC, "", "고라니".as_bytes()),
            data: json!("고라니"),
            content_type: "text/plain;charset=utf-8",
            body: "고라니".as_bytes(),
        },
        Case {
            name: "JSON by STOMP",
            publish: |_, stomp| stomp.send(TOPIC, "content-type:application/json\n", b"[1,\"b\"]"),
            data: json!([1, "b"]),
            content_type: "application/json",
            body: b"[1,\"b\"]",
        },
        Case {
            name: "bytes by STOMP",
            publish: |_, stomp| stomp.send(TOPIC, "content-type:image/png\n", b"\0\xff"),
            data: json!("AP8="),
            content_type: "image/png",
            body: b"\0\xff",
        },
    ]
}

/// A reader of server-sent events of one channel.
struct Events(BufReader<TcpStream>);

impl Events {
    fn open(address: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(gorani_tests::stomp::TIME_LIMIT)).unwrap();
        let connect = json!({"id": 1, "connect": {}}).to_string();
        let query: String = connect.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let request = format!("GET /connection/sse?cf_connect={query} HTTP/1.1\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        Self(BufReader::new(stream))
    }

    /// The session, so that a command can be sent to it.
    fn connected(&mut self) -> (String, String) {
        let reply = self.object(|object| object.get("connect").is_some());
        let text = |name: &str| reply["connect"][name].as_str().unwrap().to_owned();
        (text("session"), text("node"))
    }

    fn object(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream ended");
            if let Some(data) =
                line.trim_end().strip_prefix("data: ").or(line.trim_end().strip_prefix("data:"))
                && let Ok(object) = serde_json::from_str::<Value>(data)
                && is_it(&object)
            {
                return object;
            }
        }
    }
}

async fn every_pair(
    publisher: &Node,
    publisher_tcp: SocketAddr,
    subscriber: &Node,
    subscriber_tcp: SocketAddr,
) {
    let mut stomp = Stomp::connect(subscriber_tcp, "");
    stomp.subscribe("0", TOPIC, "");
    let mut client = Client::subscribed(subscriber.address(), CHANNEL).await;
    let mut events = Events::open(subscriber.address());
    let (session, node) = events.connected();
    let subscribe = json!({"id": 2, "subscribe": {"channel": CHANNEL}}).to_string();
    let (status, answer) = subscriber.api().post(
        "/emulation",
        json!({"session": session, "node": node, "data": subscribe}).to_string().as_bytes(),
    );
    assert_eq!(status, 204, "{answer}");
    events.object(|object| object.get("subscribe").is_some());

    let mut sender = Stomp::connect(publisher_tcp, "");
    for case in cases() {
        (case.publish)(&Publishers { node: publisher }, &mut sender);
        let message = stomp.message();
        assert_eq!(message.body, case.body, "{}", case.name);
        assert_eq!(message.get("content-type"), Some(case.content_type), "{}", case.name);
        assert_eq!(client.publication().await, case.data, "{}", case.name);
        let event = events.object(|object| object["push"]["pub"].is_object());
        assert_eq!(event["push"]["pub"]["data"], case.data, "{}", case.name);
    }
    let mut other = Client::connect(publisher.address()).await;
    other.ok("publish", json!({"channel": CHANNEL, "data": {"by": "client"}})).await;
    assert_eq!(stomp.message().text(), r#"{"by":"client"}"#);
    assert_eq!(client.publication().await, json!({"by": "client"}));
    let event = events.object(|object| object["push"]["pub"].is_object());
    assert_eq!(event["push"]["pub"]["data"], json!({"by": "client"}));
}

#[tokio::test]
async fn item_57_what_one_protocol_publishes_reaches_all_on_one_node() {
    let tcp = free_address();
    let node = Node::start(settings(tcp));
    every_pair(&node, tcp, &node, tcp).await;
}

#[tokio::test]
async fn item_57_what_one_protocol_publishes_reaches_all_on_another_node() {
    let redis = Redis::start();
    let tcp = [free_address(), free_address()];
    let nodes = tcp.map(|tcp| {
        let settings = settings(tcp).set("broker.kind", "\"redis\"");
        Node::start(settings.set("broker.redis.url", format!("\"{}\"", redis.url())))
    });
    every_pair(&nodes[0], tcp[0], &nodes[1], tcp[1]).await;
}
