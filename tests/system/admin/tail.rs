//! Tails on real nodes and a Redis: an operator's listener is no subscriber, has everything or is told what it lacks, and is bounded.
//! `docs/admin.md`; record 63.

mod command;
mod user;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use gorani_tests::{
    client::Client,
    http::Api,
    node::{API_KEY, Node, Settings},
    process::Signal,
    raw::RawSocket,
    redis::Redis,
};
use serde_json::{Value, json};

use super::{Asked, OPERATOR, VIEWER, read, settings};
use crate::eventually;

const SOON: Duration = Duration::from_secs(40);
const SECRET: &str = "a secret of at least thirty-two bytes";

fn tailed_settings() -> Settings {
    let namespaces = r#"[
        { name = "open", allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true, presence = true, join_leave = true, force_push_join_leave = true },
        { name = "kept", allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true, history_size = 20000, history_ttl = "300s" },
        { name = "said", allow_publish_for_client = true, presence = true, allow_presence_for_client = true },
        { name = "closed" },
    ]"#;
    settings(Settings::open())
        .set("channel.namespaces", namespaces.replace('\n', " "))
        .set("token.hmac_secret", format!("{SECRET:?}"))
}

fn start(redis: &Redis) -> Vec<Node> {
    let one = |number: usize| {
        let settings = tailed_settings()
            .set("node.name", format!("\"n{number}\""))
            .set("broker.kind", "\"redis\"")
            .set("broker.redis.url", format!("\"{}\"", redis.url()))
            // A node that only waits for a core answers within that.
            .set("cluster.answer_timeout", "\"5s\"")
            .set("cluster.lease", "\"60s\"");
        Node::start(settings)
    };
    (1..=3).map(one).collect()
}

/// A tail that is read line by line.
struct Tail {
    socket: RawSocket,
    text: Vec<u8>,
}

impl Tail {
    fn open(node: SocketAddr, query: &str, key: &str) -> Self {
        let mut tail = Self::unread(node, query, key);
        let head = tail.socket.read_head().unwrap();
        assert_eq!(head.status, 200, "{head:?}");
        assert_eq!(head.header("content-type"), Some("application/x-ndjson"));
        assert_eq!(tail.next()["kind"], "began");
        tail
    }

    fn unread(node: SocketAddr, query: &str, key: &str) -> Self {
        let mut socket = RawSocket::connect(node);
        socket.stream().set_read_timeout(Some(super::ANSWER_TIME)).unwrap();
        let request = format!(
            "GET /admin/api/tail?{query} HTTP/1.1\r\nHost: {node}\r\nAuthorization: Bearer {key}\r\nAccept: application/x-ndjson\r\n\r\n"
        );
        socket.write(request.as_bytes()).unwrap();
        Self { socket, text: Vec::new() }
    }

    fn next_or_end(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.text.drain(..=end).collect();
                if line.len() > 1 {
                    return Some(serde_json::from_slice(&line).unwrap());
                }
                continue;
            }
            self.text.extend(self.socket.read_chunk().unwrap()?);
        }
    }

    fn next(&mut self) -> Value {
        self.next_or_end().expect("a line before the end")
    }

    /// The next line that is no command.
    fn next_change(&mut self) -> Value {
        loop {
            let line = self.next();
            if line["kind"] != "command" {
                return line;
            }
        }
    }

    /// Offsets of publications up to this one, in the order in which they came; and skipped ones.
    fn offsets_up_to(&mut self, last: u64) -> (Vec<u64>, u64) {
        self.offsets_until(|offsets, _| offsets.last() == Some(&last))
    }

    /// The same until it is enough, by what came and how many were skipped.
    fn offsets_until(&mut self, is_enough: impl Fn(&[u64], u64) -> bool) -> (Vec<u64>, u64) {
        let (mut offsets, mut skipped) = (Vec::<u64>::new(), 0);
        while !is_enough(&offsets, skipped) {
            let line = self.next();
            match line["kind"].as_str().unwrap() {
                "publication" => offsets.push(line["offset"].as_u64().unwrap()),
                "skipped" => skipped += line["skipped"].as_u64().unwrap(),
                other => panic!("{other}: {line}"),
            }
        }
        (offsets, skipped)
    }
}

/// Publishes the numbers, a thousand at once.
fn publish(api: &Api, channel: &str, numbers: std::ops::Range<u64>) {
    let numbers: Vec<u64> = numbers.collect();
    for part in numbers.chunks(1000) {
        let one = |number: &u64| json!({"publish": {"channel": channel, "data": number}});
        let commands: Vec<Value> = part.iter().map(one).collect();
        assert_eq!(api.call("batch", &json!({"commands": commands})).0, 200);
    }
}

fn metric(node: &Node, name: &str) -> String {
    let (_, text) = node.api().get("/metrics");
    text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_tail_sees_what_any_node_publishes_and_is_no_subscriber() {
    let redis = Redis::start();
    let nodes = start(&redis);
    let mut tail = Tail::open(nodes[0].address(), "channel=open:a&joins=1&contents=1", OPERATOR);
    let mut client = Client::subscribed(nodes[1].address(), "open:a").await;
    let join = tail.next();
    assert_eq!(join["kind"], "join");
    nodes[2]
        .api()
        .ok("publish", &json!({"channel": "open:a", "data": {"x": 1}, "tags": {"kind": "greeting"}}));
    let line = tail.next();
    assert_eq!(
        (&line["kind"], &line["data"], &line["data_kind"]),
        (&json!("publication"), &json!({"x": 1}), &json!("json"))
    );
    assert_eq!(line["offset"], Value::Null);
    assert_eq!(
        (&line["tags"], &line["by"], &line["bytes"]),
        (&json!([["kind", "greeting"]]), &Value::Null, &json!(7))
    );
    assert!(line["age_ms"].as_u64().is_some() && line["at"].as_u64().is_some());
    // A line waits for a moment for the counts of the nodes; what comes later is in one that follows.
    let (mut counted, began) = (line["matched"].clone(), Instant::now());
    while counted != json!({"n1": 0, "n2": 1, "n3": 0}) {
        assert!(began.elapsed() < SOON, "{counted}");
        std::thread::sleep(Duration::from_millis(300));
        nodes[2].api().publish("open:a", &json!("again"));
        counted = tail.next()["matched"].take();
    }
    assert_eq!(client.push().await["join"]["info"]["client"], join["by"]["client"], "its own join");
    for node in &nodes {
        let stats = node.api().ok("presence_stats", &json!({"channel": "open:a"}));
        assert_eq!(stats["num_clients"], 1);
        let row = &read(node.address(), "channels?channel=open:a")[0];
        assert_eq!((&row["subscribers"], &row["nodes"]), (&json!(1), &json!(["n2"])));
    }
    // The numbers of the overview are those of the last second.
    eventually("the tail is no client", SOON, || {
        let overview = read(nodes[0].address(), "overview");
        (&overview["connections"], &overview["subscriptions"]) == (&json!(1), &json!(1))
    });
    client.ok("unsubscribe", json!({"channel": "open:a"})).await;
    assert_eq!(tail.next()["kind"], "leave");
    // The interest of the node goes with the tail.
    eventually("the node listens", SOON, || metric(&nodes[0], "gorani_channels ").ends_with(" 1"));
    drop(tail);
    eventually("the node leaves the channel", SOON, || metric(&nodes[0], "gorani_channels ").ends_with(" 0"));
}

#[tokio::test]
async fn history_comes_first_and_no_publication_is_missing_or_double_where_the_rest_follows() {
    let redis = Redis::start();
    let nodes = start(&redis);
    let api = nodes[1].api();
    publish(&api, "kept:a", 1..3001);
    let publisher = {
        let address = nodes[1].address();
        std::thread::spawn(move || publish(&Api::new(address, API_KEY), "kept:a", 3001..6001))
    };
    // More comes while it reads than may wait for it.
    let mut tail = Tail::open(nodes[0].address(), "channel=kept:a&since=0&rate=1000", VIEWER);
    publisher.join().unwrap();
    // Where the publisher is the slower one, those that are skipped may be the last ones.
    let (offsets, skipped) = tail.offsets_until(|offsets, skipped| offsets.len() as u64 + skipped >= 6000);
    assert!(offsets.is_sorted_by(|one, other| one < other));
    assert_eq!(offsets.len() as u64 + skipped, 6000);
    assert_eq!(offsets[..3000], (1..=3000).collect::<Vec<u64>>());
    drop(tail);
    for (since, first) in [("5990", 5991), ("-10m", 1), ("5999", 6000)] {
        let mut tail = Tail::open(nodes[2].address(), &format!("channel=kept:a&since={since}"), VIEWER);
        let (offsets, skipped) = tail.offsets_up_to(6000);
        assert_eq!((offsets, skipped), ((first..=6000).collect(), 0), "{since}");
        publish(&api, "kept:b", 0..1);
    }
    let mut tail = Tail::open(nodes[2].address(), "channel=kept:a", VIEWER);
    publish(&api, "kept:a", 6001..6002);
    assert_eq!(tail.offsets_up_to(6001), (vec![6001], 0));
}

#[tokio::test]
async fn contents_need_their_right_and_are_cut() {
    let node = Node::start(tailed_settings());
    let refused = Asked::get("tail?channel=open:a&contents=1").key(VIEWER).send(node.address());
    assert_eq!(refused.error(), (403, "forbidden"));
    let mut with = Tail::open(node.address(), "channel=open:a&contents=1", OPERATOR);
    let mut without = Tail::open(node.address(), "channel=open:a", OPERATOR);
    let api = node.api();
    let long = "x".repeat(10_000);
    api.publish("open:a", &json!(long));
    api.ok("publish", &json!({"channel": "open:a", "b64data": "AAECAw=="}));
    let (line, bare) = (with.next(), without.next());
    assert_eq!((&line["bytes"], &line["data_cut"]), (&json!(10_002), &json!(true)));
    assert_eq!(line["data"].as_str().unwrap().len(), 4096);
    assert_eq!((bare.get("data"), &bare["bytes"]), (None, &json!(10_002)));
    assert_eq!(with.next()["data"], json!({"bytes": 4, "first": "AAECAw=="}));
    let audited = Asked::get("audit").key(OPERATOR).result(node.address());
    let tails = audited.as_array().unwrap().iter().filter(|line| line["action"] == "tail");
    assert_eq!(tails.map(|line| &line["target"]).collect::<Vec<_>>(), ["open:a"]);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_a_code() {
    let node = Node::start(tailed_settings());
    for (query, expected) in [
        ("", (400, "bad_request")),
        ("channel=", (400, "bad_request")),
        ("channel=none:a", (404, "not_found")),
        ("channel=open:a&rate=0", (400, "bad_request")),
        ("channel=open:a&for=2h", (400, "bad_request")),
        ("channel=open:a&since=5", (400, "bad_request")),
        ("channel=kept:a&since=5", (400, "bad_request")),
        ("user=u&since=5", (400, "bad_request")),
    ] {
        let answered = Asked::get(&format!("tail?{query}")).key(VIEWER).send(node.address());
        assert_eq!(answered.error(), expected, "{query}");
    }
    assert_eq!(Asked::get("tail?channel=open:a").send(node.address()).error(), (401, "login_required"));
    assert_eq!(
        Asked::post("tail", &json!({})).key(OPERATOR).send(node.address()).error(),
        (405, "wrong_verb")
    );
}

#[tokio::test]
async fn a_node_has_twenty_tails_and_each_ends_after_its_time() {
    let node = Node::start(tailed_settings());
    let mut tails: Vec<Tail> =
        (0..19).map(|_| Tail::open(node.address(), "channel=open:a", VIEWER)).collect();
    let mut short = Tail::open(node.address(), "channel=open:a&for=5s", VIEWER);
    let refused = Asked::get("tail?user=u").key(VIEWER).send(node.address());
    assert_eq!(refused.error(), (429, "too_many_tails"));
    assert!(refused.head.header("retry-after").is_some());
    let ended = short.next();
    assert_eq!((&ended["kind"], &ended["cause"]), (&json!("ended"), &json!("time")));
    assert_eq!(short.next_or_end(), None);
    // Its slot is free a moment after its reader is told.
    eventually("there is room for another one", SOON, || {
        let mut tail = Tail::unread(node.address(), "channel=open:a", VIEWER);
        let has_room = tail.socket.read_head().unwrap().status == 200;
        if has_room {
            assert_eq!(tail.next()["kind"], "began");
            tails.push(tail);
        }
        has_room
    });
    // One that goes away makes room as well.
    tails.pop();
    eventually("its slot is free", SOON, || {
        let mut tail = Tail::unread(node.address(), "channel=open:b", VIEWER);
        tail.socket.read_head().unwrap().status == 200
    });
    node.process().signal(Signal::SIGTERM);
    for tail in &mut tails {
        assert_eq!(tail.next()["cause"], "draining");
        assert_eq!(tail.next_or_end(), None);
    }
}

#[tokio::test]
async fn above_the_rate_events_are_skipped_and_every_one_is_counted() {
    let redis = Redis::start();
    let nodes = start(&redis);
    let mut tail = Tail::open(nodes[0].address(), "channel=kept:a&rate=10", VIEWER);
    publish(&nodes[1].api(), "kept:a", 1..5001);
    let (mut told, mut skipped) = (Vec::new(), 0);
    while (told.len() as u64 + skipped) < 5000 {
        let line = tail.next();
        match line["kind"].as_str().unwrap() {
            "publication" => told.push(line["offset"].as_u64().unwrap()),
            "skipped" => skipped += line["skipped"].as_u64().unwrap(),
            other => panic!("{other}"),
        }
    }
    assert_eq!(told[..10], (1..=10).collect::<Vec<u64>>());
    assert_eq!(told.len() as u64 + skipped, 5000);
    assert!(told.len() <= 10 * 20, "{}", told.len());
    // What comes later is told again, and nothing is counted twice.
    eventually("a window without events", SOON, || {
        publish(&nodes[1].api(), "kept:a", 0..1);
        tail.next()["kind"] == "publication"
    });
}

#[tokio::test]
async fn a_reader_that_does_not_read_loses_events_and_slows_nobody() {
    let node = Node::start(tailed_settings().set("http.tcp_user_timeout", "\"600s\""));
    let mut stuck = Tail::unread(node.address(), "channel=open:a&rate=1000&contents=1", OPERATOR);
    // It listens, or nothing would be lost for it.
    assert_eq!(stuck.socket.read_head().unwrap().status, 200);
    let mut client = Client::subscribed(node.address(), "open:a").await;
    let long = "x".repeat(4000);
    let api = node.api();
    let mut count = 0;
    for _ in 0..40 {
        let one = json!({"publish": {"channel": "open:a", "data": long}});
        assert_eq!(api.call("batch", &json!({"commands": vec![one; 250]})).0, 200);
        count += 250;
        let mut received = 0;
        while received < 250 {
            if client.push().await.get("pub").is_some() {
                received += 1;
            }
        }
    }
    let (mut told, mut skipped) = (0, 0);
    while told + skipped < count {
        let line = stuck.next();
        match line["kind"].as_str().unwrap() {
            "publication" => told += 1,
            "skipped" => skipped += line["skipped"].as_u64().unwrap(),
            _ => {}
        }
    }
    assert_eq!(told + skipped, count);
    assert!(skipped > 0);
}

#[tokio::test]
async fn events_come_as_server_sent_events_where_they_are_asked_for() {
    let node = Node::start(tailed_settings());
    let mut socket = RawSocket::connect(node.address());
    let request = format!(
        "GET /admin/api/tail?channel=open:a HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {VIEWER}\r\nAccept: text/event-stream\r\n\r\n",
        node.address()
    );
    socket.write(request.as_bytes()).unwrap();
    let head = socket.read_head().unwrap();
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    assert!(socket.read_chunk().unwrap().unwrap().starts_with(b"data: {"));
    node.api().publish("open:a", &json!(1));
    let event = socket.read_chunk().unwrap().unwrap();
    let json = event.strip_prefix(b"data: ").and_then(|event| event.strip_suffix(b"\n\n")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(json).unwrap()["kind"], "publication");
}

#[tokio::test]
async fn a_logout_ends_the_tail_of_its_session() {
    let node = Node::start(tailed_settings());
    let cookie = super::login(super::PASSWORD).send(node.address()).cookie();
    let mut socket = RawSocket::connect(node.address());
    let request = format!(
        "GET /admin/api/tail?channel=open:a HTTP/1.1\r\nHost: {}\r\nCookie: {cookie}\r\n\r\n",
        node.address()
    );
    socket.write(request.as_bytes()).unwrap();
    assert_eq!(socket.read_head().unwrap().status, 200);
    let mut tail = Tail { socket, text: Vec::new() };
    assert_eq!(tail.next()["kind"], "began");
    let logout = Asked::post("logout", &json!({})).with("cookie", &cookie);
    assert_eq!(logout.send(node.address()).head.status, 200);
    assert_eq!(tail.next()["cause"], "logged_out");
}
