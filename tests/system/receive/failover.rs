//! A failover of Redis: who had publications that it forgot is told so when it comes back, over whatever it comes; who had none of
//! them misses nothing. Record 34.

use std::time::Duration;

use gorani_tests::{
    client::Client,
    node::{Node, Settings, free_address},
    proxy::Proxy,
    redis::Redis,
    stomp::Stomp,
    stream::Stream,
};
use serde_json::{Value, json};

use super::{
    settings,
    transport::{ReceiveTransport, Receiver, ReceiverOptions, WAYS},
};
use crate::eventually;

/// Long enough for a failover on a busy machine.
const SOON: Duration = Duration::from_secs(30);
const CHANNEL: &str = "news:a";

/// A primary, its replica, and a node that reaches one of them over a road of its own.
struct Pair {
    primary: Redis,
    replica: Redis,
    road: Proxy,
    node: Node,
}

impl Pair {
    fn start(more: impl FnOnce(Settings) -> Settings) -> Self {
        let primary = Redis::start();
        let replica = Redis::replica_of(primary.address());
        eventually("the replica follows", SOON, || {
            replica.info("replication").contains("master_link_status:up")
        });
        let road = Proxy::to(primary.address());
        let settings = settings()
            .set("broker.kind", "\"redis\"")
            .set("broker.redis.url", format!("\"redis://{}\"", road.address()))
            .set("broker.redis.reconnect_max", "\"200ms\"");
        let node = Node::start(more(settings));
        Self { primary, replica, road, node }
    }

    /// The replica has all that the primary has.
    fn copy(&self) {
        let field = |info: String, name: &str| -> Option<u64> {
            info.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
        };
        // The primary counts on while nothing is published: what it had at the beginning is enough.
        let had = field(self.primary.info("replication"), "master_repl_offset:").unwrap();
        eventually("the replica has it all", SOON, || {
            field(self.replica.info("replication"), "slave_repl_offset:").is_some_and(|has| has >= had)
        });
    }

    /// The primary dies, and the replica takes its place with what it has.
    fn fail_over(&mut self) {
        self.primary.kill();
        let answer = self.replica.ask("REPLICAOF NO ONE");
        assert!(answer.starts_with("+OK"), "{answer}");
        self.road.lead_to(self.replica.address());
        // Readiness may not have noticed that Redis was away: only a request tells that it is back.
        let probe = json!({"channel": "news:probe", "data": 0});
        eventually("publications work again", SOON, || self.node.api().call("publish", &probe).0 == 200);
        // Subscriptions go over a connection of their own.
        let receive = "/connection/uni_sse?channels=news:probe";
        let status = || Stream::open(self.node.address(), "GET", receive, "", "").head.status;
        eventually("subscriptions work again", SOON, || status() == 200);
    }

    fn publish(&self, numbers: std::ops::RangeInclusive<u64>) -> Position {
        let mut last = Position { offset: 0, epoch: String::new() };
        for number in numbers {
            let answer = self.node.api().publish(CHANNEL, &json!(number));
            let epoch = answer["epoch"].as_str().unwrap().to_owned();
            last = Position { offset: answer["offset"].as_u64().unwrap(), epoch };
        }
        last
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Position {
    offset: u64,
    epoch: String,
}

impl Position {
    fn text(&self) -> String {
        format!("news~3aa.{}.{}", self.offset, self.epoch)
    }
}

fn numbers(publications: &Value) -> Vec<u64> {
    publications.as_array().into_iter().flatten().map(|read| read["data"].as_u64().unwrap()).collect()
}

/// What somebody gets who comes back to a position: `None` if it is told that something is missing.
type Back = Option<Vec<u64>>;

async fn over_the_client_protocol(node: &Node, from: &Position) -> Back {
    let mut client = Client::connect(node.address()).await;
    let subscribe = json!({"channel": CHANNEL, "recover": true, "recoverable": true, "positioned": true,
        "offset": from.offset, "epoch": from.epoch});
    let reply = client.ok("subscribe", subscribe).await;
    (reply["recovered"] == json!(true)).then(|| numbers(&reply["publications"]))
}

/// `count`: publications that are awaited, each in an event of its own.
fn over_events(node: &Node, from: &Position, count: usize) -> Back {
    let target = format!("/connection/uni_sse?channels={CHANNEL}");
    let id = format!("Last-Event-ID: {}\r\n", from.text());
    let mut stream = Stream::open(node.address(), "GET", &target, &id, "");
    let first: Value = serde_json::from_str(&stream.event().unwrap().unwrap().data).unwrap();
    let told = &first["connect"]["subs"][CHANNEL];
    if told["recovered"] != json!(true) {
        return None;
    }
    let mut next = || -> Value { serde_json::from_str(&stream.event().unwrap().unwrap().data).unwrap() };
    Some((0..count).map(|_| next()["pub"]["data"].as_u64().unwrap()).collect())
}

fn over_polls(node: &Node, from: &Position) -> Back {
    let target = format!("/connection/poll?channels={CHANNEL}&position={}", from.text());
    let (status, body) = node.api().get(&target);
    assert_eq!(status, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    let data = |read: &Value| read["pub"]["data"].as_u64().unwrap();
    let is_told = answer.get("unrecovered").is_some();
    (!is_told).then(|| answer["publications"].as_array().unwrap().iter().map(data).collect())
}

fn over_stomp(address: std::net::SocketAddr, from: &Position) -> Back {
    let mut stomp = Stomp::connect(address, "");
    let headers = format!("offset:{}\nepoch:{}\n", from.offset, from.epoch);
    let destination = "/topic/news:a";
    stomp.say(&format!("SUBSCRIBE\nid:1\ndestination:{destination}\nreceipt:r\n{headers}\n\0"));
    let mut publications = Vec::new();
    loop {
        let frame = stomp.frame();
        match frame.command.as_str() {
            "MESSAGE" => publications.push(frame.text().parse().unwrap()),
            "RECEIPT" if frame.get("recovered") == Some("true") => return Some(publications),
            "RECEIPT" => return None,
            _ => panic!("{frame:?}"),
        }
    }
}

fn over_the_api(node: &Node, from: &Position) -> Back {
    let since = json!({"offset": from.offset, "epoch": from.epoch});
    match node.api().call("history", &json!({"channel": CHANNEL, "limit": 100, "since": since})) {
        (200, answer) => Some(numbers(&answer["result"]["publications"])),
        (_, answer) => {
            assert_eq!(answer["error"]["code"], 112, "{answer}");
            None
        }
    }
}

#[tokio::test]
async fn who_had_what_a_failover_forgot_is_told_so_over_whatever_it_comes_back() {
    let stomp = free_address();
    let mut pair = Pair::start(|settings| settings.set("stomp.tcp.address", format!("\"{stomp}\"")));
    let kept = pair.publish(1..=3);
    pair.copy();
    // From here on the replica falls behind. No node has a subscriber.
    pair.replica.follow(free_address());
    let forgotten = pair.publish(4..=6);
    pair.fail_over();
    let top = pair.publish(7..=10);
    assert_eq!(top.offset, 7, "the offsets of what was forgotten are given again");
    for (position, expected) in [
        (&forgotten, None),
        (&Position { offset: 7, epoch: kept.epoch.clone() }, None),
        (&kept, Some(vec![7, 8, 9, 10])),
        (&top, Some(vec![])),
    ] {
        let node = &pair.node;
        assert_eq!(over_the_client_protocol(node, position).await, expected, "{position:?}");
        let count = expected.as_ref().map_or(0, Vec::len);
        assert_eq!(over_events(node, position, count), expected, "events, {position:?}");
        assert_eq!(over_polls(node, position), expected, "polls, {position:?}");
        assert_eq!(over_stomp(stomp, position), expected, "STOMP, {position:?}");
        assert_eq!(over_the_api(node, position), expected, "history, {position:?}");
    }
}

#[test]
fn a_failover_that_forgot_nothing_is_seen_by_no_receiver_over_any_way() {
    let mut pair = Pair::start(|settings| settings);
    // A poll that comes while Redis is away is answered with 503: it has no connection that could wait.
    let ways = WAYS.iter().filter(|transport| **transport != ReceiveTransport::Poll);
    let mut receivers: Vec<Receiver> = ways
        .map(|transport| Receiver::open(&pair.node, *transport, &ReceiverOptions::channel(CHANNEL)))
        .collect();
    pair.publish(1..=3);
    let expect = |receivers: &mut Vec<Receiver>, numbers: std::ops::RangeInclusive<u64>| {
        for receiver in receivers {
            for number in numbers.clone() {
                assert_eq!(receiver.publication().1, json!(number), "over {:?}", receiver.transport());
            }
        }
    };
    expect(&mut receivers, 1..=3);
    pair.copy();
    pair.fail_over();
    pair.publish(4..=6);
    expect(&mut receivers, 4..=6);
    // Whose position has the epoch of each publication comes back to it.
    let events = receivers
        .into_iter()
        .find(|receiver| receiver.transport() == ReceiveTransport::UniSse)
        .unwrap()
        .leave();
    pair.publish(7..=9);
    let mut back = vec![Receiver::open(&pair.node, ReceiveTransport::UniSse, &events)];
    expect(&mut back, 7..=9);
}
