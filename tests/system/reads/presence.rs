//! Presence of 100,000 clients of one channel: paged for backends, refused whole for clients, counted without reading it.

use std::{collections::HashSet, thread, time::Duration};

use gorani_tests::{client::Client, node::Node, redis::Redis};
use serde_json::{Value, json};

use super::{Beside, MIB, TIME_LIMIT, settings};
use crate::{connected, eventually};

const CROWD: usize = 100_000;
/// What counting them may bring out of Redis: ids of nodes. They themselves have more than 10 MB.
const COUNTED_BYTES: u64 = MIB;
/// What a node may grow by.
const GROWTH: u64 = 60 * MIB;
/// Clients of a page of a thousand at most: Redis gives about so many.
const PAGE: usize = 1300;

/// Multiplies the one client present in a channel: as many more, all of its node. In steps, since others ask Redis meanwhile.
fn multiply(redis: &Redis, channel: &str, client: &str) {
    const STEP: usize = 1000;
    let key = |kind: &str| format!("gorani:{kind}:{{{channel}}}");
    let script = "local entry = redis.call('HGET', KEYS[1], ARGV[1]) \
        local head, tail = string.match(entry, '^(.-)' .. string.gsub(ARGV[1], '%-', '%%-') .. '(.*)$') \
        local due = redis.call('TIME')[1] * 1000 + 600000 \
        for number = ARGV[2] + 1, ARGV[2] + ARGV[3] do \
          local id = string.sub(ARGV[1], 1, -7) .. string.format('%06d', number) \
          redis.call('HSET', KEYS[1], id, head .. id .. tail) \
          redis.call('ZADD', KEYS[2], due, id) \
        end \
        redis.call('HINCRBY', KEYS[3], '', ARGV[3]) \
        for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, 600000) end \
        return redis.call('HLEN', KEYS[1])";
    let keys = [key("clients"), key("deadlines"), key("users")].join(" ");
    for from in (0..CROWD).step_by(STEP) {
        // The client itself may have gone by then: on a busy machine a node loses its lease, or its channel's place.
        let like =
            if from == 0 { client.to_owned() } else { format!("{}000001", &client[..client.len() - 6]) };
        let answer = redis.ask(&format!("EVAL \"{script}\" 3 {keys} {like} {from} {STEP}"));
        let count: usize = answer.trim().trim_start_matches(':').parse().unwrap();
        assert!(count >= from + STEP, "{count}");
    }
}

/// A client that is present in `open:crowd` with many more of its node.
async fn crowd(redis: &Redis, node: &Node) -> Client {
    let mut client = Client::open(node.address()).await;
    let id = client.ok("connect", json!({})).await["client"].as_str().unwrap().to_owned();
    client.ok("subscribe", json!({"channel": "open:crowd"})).await;
    multiply(redis, "open:crowd", &id);
    client
}

/// Whether a count is that of the crowd, with the real clients or without.
fn is_crowd(count: &Value) -> bool {
    count.as_u64().is_some_and(|count| (CROWD..=CROWD + 2).contains(&(count as usize)))
}

fn sent_bytes(redis: &Redis) -> u64 {
    let stats = redis.info("stats");
    let sent = stats.lines().find_map(|line| line.strip_prefix("total_net_output_bytes:"));
    sent.unwrap().trim().parse().unwrap()
}

#[tokio::test]
async fn presence_of_a_hundred_thousand_is_paged_refused_whole_and_counted_without_reading_it() {
    let redis = Redis::start();
    // Reached after some pages: on a busy machine 8 MiB of clients take their time.
    let settings = settings(&redis)
        .set("client.reply_max_bytes", MIB.to_string())
        .set("api.reply_max_bytes", MIB.to_string());
    let (node, other) = (Node::start(settings.clone()), Node::start(settings));
    let client = crowd(&redis, &node).await;
    let mut asker = connected(&other);
    asker.stream().set_read_timeout(Some(TIME_LIMIT)).unwrap();
    let mut ask = |command: &str| {
        let command = json!({"id": 2, command: {"channel": "open:crowd"}});
        asker.text(&command.to_string()).unwrap();
        serde_json::from_slice::<Value>(&asker.read_frame().unwrap().payload).unwrap()
    };
    // Both nodes are so young that clients of a dead one may be among them.
    let before = sent_bytes(&redis);
    let stats = other.api().ok("presence_stats", &json!({"channel": "open:crowd"}));
    assert!(is_crowd(&stats["num_clients"]) && stats["num_users"] == 1, "{stats}");
    let counted = sent_bytes(&redis) - before;
    assert!(counted < COUNTED_BYTES, "{counted} bytes");

    let beside = Beside::start(&node, &[&other, &node]);
    let (status, answer) = other.api().call("presence", &json!({"channel": "open:crowd"}));
    assert_eq!((status, &answer["error"]["code"]), (413, &json!(106)), "{answer}");
    assert_eq!(ask("presence")["error"]["code"], 106);
    let reply = ask("presence_stats");
    assert!(is_crowd(&reply["presence_stats"]["num_clients"]), "{reply}");
    let (mut seen, mut request) = (HashSet::new(), json!({"channel": "open:crowd", "limit": 1000}));
    loop {
        let page = other.api().ok("presence", &request);
        let clients = page["presence"].as_object().unwrap();
        assert!(clients.len() < PAGE, "{}", clients.len());
        seen.extend(clients.keys().cloned());
        match &page["next_cursor"] {
            Value::Null => break,
            cursor => request["cursor"] = cursor.clone(),
        }
    }
    assert!(is_crowd(&seen.len().into()), "{}", seen.len());
    let (growth, _) = beside.finish();
    assert!(growth < GROWTH, "{} MiB", growth / MIB);
    drop(client);
}

#[tokio::test]
async fn a_crowd_whose_node_died_is_counted_out_while_everybody_asks() {
    const ASKERS: usize = 8;
    let redis = Redis::start();
    let settings = settings(&redis).set("cluster.heartbeat", "\"500ms\"").set("cluster.lease", "\"6s\"");
    let (mut dying, node) = (Node::start(settings.clone()), Node::start(settings));
    let _client = crowd(&redis, &dying).await;
    let _alive = Client::subscribed(node.address(), "open:crowd").await;
    let stats = |node: &Node| node.api().call("presence_stats", &json!({"channel": "open:crowd"}));
    let (_, before) = stats(&node);
    assert!(is_crowd(&before["result"]["num_clients"]), "{before}");
    dying.kill();
    let beside = Beside::start(&node, &[&node]);
    thread::scope(|scope| {
        for _ in 0..ASKERS {
            scope.spawn(|| {
                eventually("only the living are counted", TIME_LIMIT, || {
                    let (status, answer) = stats(&node);
                    // All of them, none of them, or a temporary error: nothing between.
                    let count = &answer["result"]["num_clients"];
                    let are_out = *count == 1 || *count == 0;
                    match status {
                        200 => assert!(is_crowd(count) || are_out, "{answer}"),
                        status => assert!(matches!(status, 429 | 503), "{answer}"),
                    }
                    thread::sleep(Duration::from_millis(100));
                    are_out
                });
            });
        }
    });
    let (growth, _) = beside.finish();
    assert!(growth < GROWTH, "{} MiB", growth / MIB);
}
