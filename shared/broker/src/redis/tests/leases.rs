//! Contents of an announcement: all members where something changed, a word where nothing did.

use std::{sync::Arc, time::Duration};

use super::{
    fixture::{RedisFixture, quick},
    server::Server,
};
use crate::{Announced, Cluster as _, FULL_EVERY, Member, redis::replies::Leases};

const LEASE: Duration = Duration::from_secs(60);
/// Nodes of a large cluster.
const NODES: usize = 500;

async fn announce(fixture: &RedisFixture, node: &str) -> Announced {
    fixture.broker.announce(node, "x".repeat(150).into(), LEASE).await.unwrap()
}

/// Bytes that the server has sent so far.
async fn sent_bytes(server: &Server) -> u64 {
    let redis::Value::BulkString(info) = server.command(&["INFO", "stats"]).await else { panic!("no text") };
    let info = String::from_utf8(info).unwrap();
    let value = info.lines().find_map(|line| line.strip_prefix("total_net_output_bytes:")).unwrap();
    value.trim().parse().unwrap()
}

#[tokio::test]
async fn while_nobody_comes_and_goes_the_members_are_carried_seldom() {
    let server = Server::start();
    let fixture = RedisFixture::start(quick(server.url())).await;
    for node in 0..NODES {
        announce(&fixture, &format!("{node:08x}")).await;
    }
    let first = announce(&fixture, "00000000").await;
    assert_eq!(first.members.len(), NODES);
    let all_bytes: usize =
        first.members.iter().map(|member| member.node.len() + member.description.len()).sum();
    let before = sent_bytes(&server).await;
    let mut whole = 0;
    let mut last = first.members;
    for _ in 0..2 * FULL_EVERY {
        let announced = announce(&fixture, "00000000").await;
        assert_eq!(announced.members, last);
        whole += usize::from(!Arc::ptr_eq(&announced.members, &last));
        last = announced.members;
    }
    assert_eq!(whole, 2, "descriptions are read again after {FULL_EVERY}");
    let carried = usize::try_from(sent_bytes(&server).await - before).unwrap();
    assert!(carried < 4 * all_bytes, "{carried} bytes for {whole} lists of {all_bytes}");
}

#[tokio::test]
async fn a_node_of_an_older_version_is_noticed_though_it_leaves_no_note() {
    let server = Server::start();
    let fixture = RedisFixture::start(quick(server.url())).await;
    announce(&fixture, "00000001").await;
    let mut keys = Vec::new();
    for kind in ["members", "leases"] {
        let found = server.command(&["KEYS", &format!("*{kind}*")]).await;
        let redis::Value::Array(found) = found else { panic!("no keys") };
        let [redis::Value::BulkString(key)] = found.as_slice() else { panic!("one key: {found:?}") };
        keys.push(String::from_utf8(key.clone()).unwrap());
    }
    server.command(&["HSET", &keys[0], "0000000f", "old"]).await;
    server.command(&["ZADD", &keys[1], "99999999999999", "0000000f"]).await;
    let names = |announced: &Announced| announced.members.iter().map(|member| member.node.clone()).collect();
    let told: Vec<String> = names(&announce(&fixture, "00000001").await);
    assert_eq!(told, ["00000001", "0000000f"]);
    server.command(&["HDEL", &keys[0], "0000000f"]).await;
    server.command(&["ZREM", &keys[1], "0000000f"]).await;
    let told: Vec<String> = names(&announce(&fixture, "00000001").await);
    assert_eq!(told, ["00000001"]);
}

#[test]
fn members_are_asked_for_again_after_some_announcements() {
    let leases = Leases::default();
    let first = leases.known();
    assert_eq!(first.revision, "");
    let member = Member { node: "a".to_owned(), description: "".into() };
    let read = leases.learn(first, "1".to_owned(), Some(vec![member]));
    for _ in 1..FULL_EVERY {
        let known = leases.known();
        assert_eq!(known.revision, "1");
        assert!(Arc::ptr_eq(&read, &leases.learn(known, "1".to_owned(), None)));
    }
    assert_eq!(leases.known().revision, "");
}
