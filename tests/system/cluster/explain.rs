//! `explain` on three nodes with a real Redis, compared with what the test itself did: hundreds of scenarios with random nodes,
//! numbers and order. `services/gateway/docs/explain.md`.

mod faults;
mod gaps;

use std::time::{SystemTime, UNIX_EPOCH};

use gorani_tests::{
    client::Client,
    node::{Node, Settings},
    process::Signal,
    redis::Redis,
    sockjs::Request,
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

use super::{NODES, SOON, users};
use crate::eventually;

/// Scenarios of one run.
const SCENARIOS: usize = 210;
/// Bytes of the messages with which an outbox is filled.
const LARGE: usize = 256 * 1024;

const NAMESPACES: &str = r#"[{ name = "kept", history_size = 1000, history_ttl = "600s", force_recovery = true, allow_subscribe_for_client = true },
 { name = "short", history_size = 3, history_ttl = "600s", force_recovery = true, allow_subscribe_for_client = true },
 { name = "open", allow_subscribe_for_client = true }, { name = "closed", history_size = 10, history_ttl = "600s" }]"#;

fn settings(redis: &Redis, number: usize) -> Settings {
    users::settings(redis)
        .set("channel.namespaces", NAMESPACES.replace('\n', ""))
        // The lease of a node that is silent still runs when its answer is missed.
        .set("cluster.lease", "\"12s\"")
        // A server-side subscription that lost its position would end the whole connection.
        .set("client.personal_channels", "[]")
        .set("node.name", format!("\"n{}\"", number + 1))
}

/// Makes the list of scenarios.
macro_rules! kinds {
    ($($kind:ident)+) => {
        /// The kinds of scenarios.
        #[derive(Debug, Clone, Copy)]
        enum Kind { $($kind),+ }

        const KINDS: &[Kind] = &[$(Kind::$kind),+];
    };
}

kinds! {
    Delivered Late Away Gone Idle Stranger Excluded Refused Expired Beyond NoChannel OtherEpoch Untracked Unsubscribed RefusedAway Empty Quiet
}

/// A cluster, and the numbers of a run.
struct World {
    nodes: Vec<Node>,
    random: StdRng,
    seed: u64,
    number: usize,
}

impl World {
    /// Starts the nodes, each with its settings by its number.
    fn start(settings: impl Fn(usize) -> Settings) -> Self {
        let seed = unix_ms();
        let nodes = (0..NODES).map(|number| Node::start(settings(number))).collect();
        Self { nodes, random: StdRng::seed_from_u64(seed), seed, number: 0 }
    }

    fn upto(&mut self, most: u64) -> u64 {
        self.random.random_range(1..=most)
    }

    fn node(&mut self) -> &Node {
        let index = self.random.random_range(0..self.nodes.len());
        &self.nodes[index]
    }

    /// A user and a channel that nobody has used.
    fn fresh(&mut self, namespace: &str) -> (String, String) {
        self.number += 1;
        (format!("u{}", self.number), format!("{namespace}:{}", self.number))
    }

    async fn subscribed(&mut self, user: &str, channel: &str) -> (Client, String, Value) {
        let (mut client, id) = users::connect(self.node(), user).await;
        let reply = client.ok("subscribe", json!({"channel": channel})).await;
        (client, id, reply)
    }

    fn publish(&mut self, channel: &str, count: u64) {
        for number in 0..count {
            self.node().api().ok("publish", &json!({"channel": channel, "data": number}));
        }
    }

    async fn returns(&mut self, user: &str, channel: &str, offset: u64, epoch: &Value) -> (Client, Value) {
        let (mut client, _) = users::connect(self.node(), user).await;
        let subscribe = json!({"channel": channel, "recover": true, "offset": offset, "epoch": epoch});
        let reply = client.ok("subscribe", subscribe).await;
        (client, reply)
    }

    /// Waits until the node of a user's last connection has seen its end.
    fn wait_gone(&mut self, user: &str) {
        let api = self.node().api();
        eventually("the user has gone", SOON, || {
            api.ok("connections", &json!({"user": user}))["connections"] == json!({})
        });
    }

    fn explained(&mut self, question: &Value) -> Value {
        self.node().api().ok("explain", question)
    }

    /// Asks any node, and compares the code and whether the user had it.
    fn check(&mut self, question: &Value, expected: &str, exit: u64) {
        let answer = self.explained(question);
        let found = (answer["verdict"]["code"].as_str(), answer["exit"].as_u64());
        assert_eq!(found, (Some(expected), Some(exit)), "seed {}: {question}: {answer:#}", self.seed);
    }

    async fn run(&mut self, kind: Kind) {
        let (user, channel) = self.fresh("kept");
        let about = |offset: u64| json!({"channel": channel, "user": user, "offset": offset});
        match kind {
            Kind::Delivered => {
                let (mut client, ..) = self.subscribed(&user, &channel).await;
                let count = self.upto(5);
                self.publish(&channel, count);
                for offset in 1..=count {
                    assert_eq!(client.push().await["pub"]["offset"], offset);
                }
                let offset = self.upto(count);
                self.check(&about(offset), "written", 0);
                self.check(&json!({"channel": channel, "user": user, "last": 3}), "written", 0);
            }
            Kind::Late => {
                let count = self.upto(5);
                self.publish(&channel, count);
                let (_client, ..) = self.subscribed(&user, &channel).await;
                let offset = self.upto(count);
                self.check(&about(offset), "subscribed_later", 1);
            }
            Kind::Away => {
                let (mut client, _, begun) = self.subscribed(&user, &channel).await;
                let (had, missed) = (self.upto(3), self.upto(4));
                self.publish(&channel, had);
                for offset in 1..=had {
                    assert_eq!(client.push().await["pub"]["offset"], offset);
                }
                if self.random.random_bool(0.5) {
                    client.close().await;
                } else {
                    drop(client);
                }
                self.wait_gone(&user);
                self.publish(&channel, missed);
                let (_client, reply) = self.returns(&user, &channel, had, &begun["epoch"]).await;
                assert_eq!(
                    reply["publications"].as_array().map(Vec::len),
                    Some(usize::try_from(missed).unwrap())
                );
                let (old, new) = (self.upto(had), had + self.upto(missed));
                self.check(&about(old), "had_it", 0);
                self.check(&about(new), "recovered", 0);
            }
            Kind::Gone => {
                let (client, ..) = self.subscribed(&user, &channel).await;
                drop(client);
                self.wait_gone(&user);
                self.publish(&channel, 2);
                let offset = self.upto(2);
                self.check(&about(offset), "not_connected", 1);
            }
            Kind::Idle => {
                let (_client, _) = users::connect(self.node(), &user).await;
                self.publish(&channel, 1);
                self.check(&about(1), "not_subscribed", 1);
            }
            Kind::Stranger => {
                self.publish(&channel, 1);
                self.check(&about(1), "not_connected", 1);
            }
            Kind::Excluded => {
                let (mut client, id, _) = self.subscribed(&user, &channel).await;
                let hidden = json!({"channel": channel, "data": 1, "exclude_client": id});
                self.node().api().ok("publish", &hidden);
                self.publish(&channel, 1);
                assert_eq!(client.push().await["pub"]["offset"], 2, "the first one is not for it");
                self.check(&about(1), "excluded", 1);
                self.check(&about(2), "written", 0);
            }
            Kind::Refused => {
                let channel = channel.replace("kept", "closed");
                let (mut client, _) = users::connect(self.node(), &user).await;
                assert_eq!(client.error("subscribe", json!({"channel": channel})).await, 103);
                self.publish(&channel, 1);
                let question = json!({"channel": channel, "user": user, "offset": 1});
                self.check(&question, "subscribe_refused", 1);
            }
            Kind::RefusedAway => {
                let channel = channel.replace("kept", "closed");
                let (mut client, _) = users::connect(self.node(), &user).await;
                assert_eq!(client.error("subscribe", json!({"channel": channel})).await, 103);
                client.close().await;
                self.wait_gone(&user);
                self.publish(&channel, 1);
                let question = json!({"channel": channel, "user": user, "offset": 1});
                self.check(&question, "not_connected", 1);
            }
            Kind::Empty => {
                let (_client, ..) = self.subscribed(&user, &channel).await;
                self.check(&json!({"channel": channel, "user": user, "last": 3}), "not_accepted", 1);
            }
            Kind::Quiet => {
                let (mut client, ..) = self.subscribed(&user, &channel).await;
                self.publish(&channel, 1);
                client.push().await;
                let question = json!({"channel": channel, "user": user, "since": unix_ms() + 1});
                self.check(&question, "not_accepted", 1);
            }
            Kind::Expired => {
                let channel = channel.replace("kept", "short");
                let (mut client, _, begun) = self.subscribed(&user, &channel).await;
                self.publish(&channel, 1);
                assert_eq!(client.push().await["pub"]["offset"], 1);
                client.close().await;
                self.wait_gone(&user);
                self.publish(&channel, 6);
                let (_client, reply) = self.returns(&user, &channel, 1, &begun["epoch"]).await;
                assert_ne!(reply["recovered"], true);
                let offset = 1 + self.upto(6);
                let about = |user: &str, offset| json!({"channel": channel, "user": user, "offset": offset});
                self.check(&about(&user, offset), "not_recovered", 1);
                self.check(&about("nobody", 2), "too_old", 5);
            }
            Kind::Beyond => {
                let count = self.upto(3);
                self.publish(&channel, count);
                self.check(&about(count + 1), "not_accepted", 1);
            }
            Kind::NoChannel => {
                let question = json!({"channel": format!("nowhere:{user}"), "user": user, "last": 1});
                self.check(&question, "no_such_channel", 1);
            }
            Kind::OtherEpoch => {
                self.publish(&channel, 1);
                let question = json!({"channel": channel, "user": user, "offset": 1, "epoch": "other"});
                self.check(&question, "wrong_epoch", 5);
            }
            Kind::Untracked => {
                let channel = channel.replace("kept", "open");
                let (mut client, ..) = self.subscribed(&user, &channel).await;
                self.publish(&channel, 1);
                client.push().await;
                let question = json!({"channel": channel, "user": user, "since": unix_ms() + 1});
                self.check(&question, "matched", 5);
            }
            Kind::Unsubscribed => {
                let (mut client, ..) = self.subscribed(&user, &channel).await;
                client.ok("unsubscribe", json!({"channel": channel})).await;
                self.publish(&channel, 1);
                self.check(&about(1), "not_subscribed", 1);
            }
        }
    }

    /// A client that does not read: what waits is said to wait, then to have been lost with the connection.
    async fn does_not_read(&mut self, is_slow: bool) {
        let (user, channel) = self.fresh("kept");
        let (mut client, ..) = self.subscribed(&user, &channel).await;
        let mut offset = 0;
        let question = |offset: u64| json!({"channel": channel, "user": user, "offset": offset});
        loop {
            offset += 1;
            let request = json!({"channel": channel, "data": "x".repeat(LARGE)});
            self.node().api().ok("publish", &request);
            let mut code = Value::Null;
            eventually("it has come to the subscription", SOON, || {
                code = self.explained(&question(offset))["verdict"]["code"].clone();
                code != "gap"
            });
            // A message that has just come to the outbox waits for a moment too.
            if code == "queued" && self.explained(&question(offset))["verdict"]["code"] == "queued" {
                break;
            }
            assert!(offset < 200, "the kernel takes all");
        }
        if is_slow {
            for _ in 0..8 {
                self.node().api().ok("publish", &json!({"channel": channel, "data": "x".repeat(LARGE)}));
            }
            eventually("the client was ended", SOON, || {
                self.explained(&question(offset))["verdict"]["code"] == "overflow"
            });
            // What the client reads now is what the kernel had; the rest is gone.
            let mut last = 0;
            while let Some(read) = client.push_or_end().await {
                last = read["pub"]["offset"].as_u64().unwrap();
            }
            assert!(last <= offset, "{last} came, and {offset} was said to be lost");
        } else {
            drop(client);
            self.wait_gone(&user);
            self.check(&question(offset), "unwritten_at_end", 1);
        }
    }

    /// A session that polls, and then does not.
    fn does_not_poll(&mut self) {
        let (user, channel) = self.fresh("kept");
        let node = self.nodes[0].address();
        let session = format!("/connection/sockjs/000/{user}");
        let poll = || Request::post(format!("{session}/xhr")).ask(node).body;
        assert_eq!(poll(), "o\n");
        let connect = json!({"id": 1, "connect": {"token": users::token(&user)}}).to_string();
        let subscribe = json!({"id": 2, "subscribe": {"channel": channel}}).to_string();
        for command in [connect, subscribe] {
            let batch = json!([command]).to_string();
            assert_eq!(Request::post(format!("{session}/xhr_send")).body(batch).ask(node).status(), 204);
            assert!(poll().starts_with('a'));
        }
        self.publish(&channel, 1);
        let question = json!({"channel": channel, "user": user, "offset": 1});
        eventually("it waits for a poll", SOON, || {
            self.explained(&question)["verdict"]["code"] == "waits_for_poll"
        });
        assert!(poll().contains(r#"\"offset\":1"#));
        eventually("it was polled", SOON, || self.explained(&question)["verdict"]["code"] == "written");
    }
}

fn unix_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

#[tokio::test]
async fn explain_says_what_the_test_did_in_hundreds_of_scenarios_on_three_nodes() {
    let redis = Redis::start();
    let mut world = World::start(|number| settings(&redis, number));
    for number in 0..SCENARIOS {
        world.run(KINDS[number % KINDS.len()]).await;
    }
    world.does_not_read(true).await;
    world.does_not_read(false).await;
    world.does_not_poll();

    let (user, channel) = world.fresh("kept");
    let (mut client, _) = users::connect(&world.nodes[0], &user).await;
    client.ok("subscribe", json!({"channel": channel})).await;
    world.publish(&channel, 1);
    client.push().await;
    let about = |user: &str| json!({"channel": channel, "user": user, "offset": 1});
    let answer = world.explained(&about(&user));
    let lines = answer["evidence"].as_array().unwrap();
    assert!(lines.iter().any(|line| line["node"] == "n2" && line["code"] == "no_interest"), "{answer:#}");
    assert!(lines.is_sorted_by_key(|line| line["at"].as_u64()), "{answer:#}");

    let silent = world.nodes.pop().unwrap();
    silent.process().signal(Signal::SIGSTOP);
    let answer = world.explained(&about("nobody"));
    assert_eq!(
        (&answer["verdict"]["code"], &answer["complete"]),
        (&json!("unknown"), &json!(false)),
        "{answer:#}"
    );
    assert!(answer["verdict"]["sentence"].as_str().unwrap().contains("unknown on n3"), "{answer:#}");
    world.check(&about(&user), "written", 0);
    silent.process().signal(Signal::SIGCONT);
    drop(silent);
    eventually("its lease has ended", SOON, || {
        world.explained(&about("nobody"))["verdict"]["code"] == "node_lost"
    });
    world.check(&about(&user), "written", 0);
}
