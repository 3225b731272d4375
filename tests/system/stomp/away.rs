//! Work queues while Redis cannot be reached: what a consumer held comes again to another one, however it was left, and
//! nothing else does. `docs/protocols/stomp.md` §7.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use gorani_tests::{
    node::{Node, free_address},
    proxy::Proxy,
    redis::Redis,
    stomp::{Frame, Stomp},
};

use super::{BACKEND, settings};
use crate::eventually;

/// Long enough for a reconnect, and for the names of a worker to be settled, on a busy machine; less than a test may take if
/// messages came back only by the death of their node.
const SOON: Duration = Duration::from_secs(20);
const JOBS: &str = "/queue/jobs";

/// A node on a Redis that can be cut off.
struct Cut {
    node: Node,
    tcp: SocketAddr,
    proxy: Proxy,
    _redis: Redis,
}

impl Cut {
    fn start() -> Self {
        let redis = Redis::start();
        let proxy = Proxy::to(redis.address());
        let tcp = free_address();
        let node = Node::start(
            settings(tcp)
                .set("http.workers", "1")
                .set("broker.kind", "\"redis\"")
                .set("broker.redis.url", format!("\"redis://{}/0\"", proxy.address()))
                .set("broker.redis.request_timeout", "\"2s\""),
        );
        Self { node, tcp, proxy, _redis: redis }
    }

    fn until_ready(&self, is_ready: bool) {
        let status = if is_ready { 200 } else { 503 };
        eventually("readiness has changed", SOON, || self.node.api().get("/health/ready").0 == status);
    }

    fn consumer(&self, prefetch: usize) -> Stomp {
        let mut client = Stomp::connect(self.tcp, BACKEND);
        client.wait_at_most(SOON);
        client.subscribe("0", JOBS, &format!("ack:client-individual\nprefetch-count:{prefetch}\n"));
        client
    }

    fn send(&self, bodies: impl Iterator<Item = usize>) {
        let mut sender = Stomp::connect(self.tcp, BACKEND);
        for body in bodies {
            sender.send(JOBS, "receipt:r\n", body.to_string().as_bytes());
            sender.receipt("r");
        }
    }
}

fn say_of(client: &mut Stomp, command: &str, message: &Frame) -> String {
    let id = message.get("ack").expect("an ack header").replace('\\', "\\\\").replace(':', "\\c");
    let text = format!("{command}\nid:{id}\n\n\0");
    client.say(&text);
    text
}

/// Takes and acknowledges this many messages.
fn drain(client: &mut Stomp, count: usize) -> BTreeSet<String> {
    let taken = (0..count).map(|_| {
        let message = client.message();
        say_of(client, "ACK", &message);
        message.text().to_owned()
    });
    taken.collect()
}

/// How a consumer leaves what it holds.
#[derive(Debug, Clone, Copy)]
enum Leaving {
    Crash,
    Nack,
    FailedAck,
    Unsubscribe,
}

#[test]
fn what_a_consumer_held_when_it_left_while_redis_was_away_comes_to_another_one() {
    for leaving in [Leaving::Crash, Leaving::Nack, Leaving::FailedAck, Leaving::Unsubscribe] {
        let cut = Cut::start();
        cut.send(0..4);
        let mut stays = cut.consumer(1);
        let kept = stays.message();
        let mut leaves = cut.consumer(3);
        let held: Vec<Frame> = (0..3).map(|_| leaves.message()).collect();
        cut.proxy.black_hole();
        cut.until_ready(false);
        match leaving {
            Leaving::Crash => drop(leaves),
            Leaving::Nack => held.iter().for_each(|message| drop(say_of(&mut leaves, "NACK", message))),
            Leaving::FailedAck => drop(say_of(&mut leaves, "ACK", &held[0])),
            Leaving::Unsubscribe => leaves.say("UNSUBSCRIBE\nid:0\n\n\0"),
        }
        // Given back while nobody can be told.
        std::thread::sleep(Duration::from_secs(4));
        cut.proxy.lift();
        cut.until_ready(true);
        let mut other = cut.consumer(3);
        let expected: BTreeSet<String> = held.iter().map(|message| message.text().to_owned()).collect();
        assert_eq!(drain(&mut other, 3), expected, "{leaving:?}");
        // What somebody still holds does not come again, and can be acknowledged.
        other.wait_at_most(Duration::from_secs(4));
        assert!(other.frame_or_end().is_err(), "{leaving:?}: {:?} is held", kept.text());
        other.wait_at_most(SOON);
        other.say("UNSUBSCRIBE\nid:0\nreceipt:gone\n\n\0");
        other.receipt("gone");
        say_of(&mut stays, "ACK", &kept);
        cut.send(4..5);
        stays.wait_at_most(SOON);
        assert_eq!(stays.message().text(), "4", "{leaving:?}");
    }
}

#[test]
fn messages_that_a_lost_answer_gave_to_nobody_come_again() {
    let cut = Cut::start();
    let mut consumer = cut.consumer(3);
    // The next question is heard and its answer lost: the server gives messages to a worker that never learns of it.
    cut.proxy.swallow_answers();
    let direct = {
        // Past the node, which cannot publish now: another node on the same Redis, not cut off.
        let tcp = free_address();
        let node = Node::start(
            settings(tcp)
                .set("broker.kind", "\"redis\"")
                .set("broker.redis.url", format!("\"{}\"", cut._redis.url())),
        );
        (node, tcp)
    };
    let mut sender = Stomp::connect(direct.1, BACKEND);
    for body in 0..3 {
        sender.send(JOBS, "receipt:r\n", body.to_string().as_bytes());
        sender.receipt("r");
    }
    cut.until_ready(false);
    cut.proxy.lift();
    cut.until_ready(true);
    let all: BTreeSet<String> = (0..3).map(|body: usize| body.to_string()).collect();
    assert_eq!(drain(&mut consumer, 3), all);
}
