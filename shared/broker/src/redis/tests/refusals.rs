//! A server that can be reached and refuses to write: not ready for as long as it does, whatever its reason, and logged once.

use std::time::Duration;

use super::{
    fixture::{RedisFixture, quick},
    server::Server,
};
use crate::{Broker as _, Health};

/// Many canaries: readiness that flapped would show.
const LOOKS: u32 = 60;
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The commands that make a server refuse, its answer then, and the commands that end it.
struct Refusal {
    begin: &'static [&'static [&'static str]],
    says: &'static str,
    end: &'static [&'static [&'static str]],
}

const REFUSALS: [Refusal; 5] = [
    Refusal {
        begin: &[&["CONFIG", "SET", "min-replicas-to-write", "1"]],
        says: "NOREPLICAS",
        end: &[&["CONFIG", "SET", "min-replicas-to-write", "0"]],
    },
    Refusal {
        begin: &[&["CONFIG", "SET", "maxmemory", "1"]],
        says: "OOM",
        end: &[&["CONFIG", "SET", "maxmemory", "0"]],
    },
    Refusal {
        begin: &[&["ACL", "SETUSER", "default", "-evalsha"]],
        says: "NOPERM",
        end: &[&["ACL", "SETUSER", "default", "+@all"]],
    },
    Refusal {
        begin: &[&["ACL", "SETUSER", "default", "resetkeys", "~elsewhere:*"]],
        says: "NOPERM",
        end: &[&["ACL", "SETUSER", "default", "~*"]],
    },
    // Demoted in place, behind a name that stays.
    Refusal {
        begin: &[&["REPLICAOF", "127.0.0.1", "1"]],
        says: "replica",
        end: &[&["REPLICAOF", "NO", "ONE"]],
    },
];

async fn run(server: &Server, commands: &[&[&str]]) {
    for command in commands {
        server.command(command).await;
    }
}

/// Why it is not ready; empty if it is.
fn reason(node: &RedisFixture) -> String {
    match node.broker.health() {
        Health::NotReady(reason) => reason,
        Health::Ready => String::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_refuses_to_write_makes_the_node_not_ready_for_as_long_as_it_does() {
    for Refusal { begin, says, end } in &REFUSALS {
        let server = Server::start();
        let node = RedisFixture::start(quick(server.url())).await;
        node.until_ready().await;
        node.publish("news", "accepted").await.unwrap();
        run(&server, begin).await;
        node.until_not_ready().await;
        // In a stream that lives and in one that would begin.
        for channel in ["news", "new"] {
            assert!(node.publish(channel, "refused").await.is_err(), "{says} {channel}");
        }
        for _ in 0..LOOKS {
            assert!(reason(&node).contains(says), "{says}: {:?}", reason(&node));
            tokio::time::sleep(LOOK_EVERY).await;
        }
        assert!(node.broker.stats().canaries_refused > 0, "{says}");
        run(&server, end).await;
        node.until_ready().await;
        node.publish("news", "accepted").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_breaks_no_connection_and_tells_no_gap() {
    let server = Server::start();
    let mut node = RedisFixture::start(quick(server.url())).await;
    node.subscribe(&["news"]).await;
    run(&server, REFUSALS[0].begin).await;
    node.until_not_ready().await;
    // Longer than the silence after which a deaf node connects again.
    assert!(node.next_within(3 * quick(server.url()).canary_timeout).await.is_none());
    assert_eq!(node.broker.stats().listening_connections_lost, 0);
    run(&server, REFUSALS[0].end).await;
    node.until_ready().await;
}
