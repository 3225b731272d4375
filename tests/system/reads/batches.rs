//! Many heavy reads in one request: of a client over SockJS, of a backend, of a poll over many channels.

use std::collections::BTreeMap;

use gorani_tests::{
    node::Node,
    redis::Redis,
    sockjs::{Request, session},
    stream::Stream,
};
use serde_json::{Value, json};

use super::{Beside, MIB, TIME_LIMIT, fill, metric, settings};
use crate::eventually;

/// `open:big` has more than 9 MiB, of which one reply holds 8.
const PUBLICATIONS: usize = 150;
const PUBLICATION_BYTES: usize = 65_000;
/// What answers are bounded by, `client.reply_max_bytes` and `api.reply_max_bytes`.
const REPLY_MAX_BYTES: usize = 8 * MIB as usize;
/// Beside publications: their fields, and the answers that say that nothing more is read.
const OVERHEAD_BYTES: usize = 256 * 1024;
/// What a node may grow by for one client or backend: a reply or two, their copies, what the allocator keeps.
const GROWTH: u64 = 100 * MIB;

#[test]
fn a_batch_of_history_commands_over_sockjs_has_two_reads_under_way_and_stops_with_its_outbox() {
    let redis = Redis::start();
    let (node, other) = (Node::start(settings(&redis)), Node::start(settings(&redis)));
    fill(&other.api(), "open:big", PUBLICATIONS, PUBLICATION_BYTES);
    let session = session("connection/sockjs");
    let poll = || Request::post(format!("{session}/xhr")).ask(node.address());
    let send = |lines: &[String]| {
        let batch = serde_json::to_string(lines).unwrap();
        Request::post(format!("{session}/xhr_send")).body(batch).ask(node.address()).status()
    };
    assert_eq!(poll().body, "o\n");
    assert_eq!(send(&[json!({"id": 1, "connect": {}}).to_string()]), 204);
    assert!(poll().body.starts_with("a["));
    let beside = Beside::start(&other, &[&node, &other]);
    let history = |id: usize| json!({"id": id, "history": {"channel": "open:big", "limit": -1}}).to_string();
    // Nobody takes the answers.
    let taken = send(&(2..1000).map(history).collect::<Vec<_>>());
    assert!(matches!(taken, 204 | 404), "{taken}: it may have ended before all were taken");
    eventually("the session has ended as too slow", TIME_LIMIT, || {
        let answer = poll();
        assert!(answer.body.len() < 3 * REPLY_MAX_BYTES, "{}", answer.body.len());
        answer.body.starts_with("c[3008,") || answer.status() == 404
    });
    let (growth, reads) = beside.finish();
    assert!(reads <= 2, "{reads} reads of one client under way");
    assert!(growth < GROWTH, "{} MiB", growth / MIB);
    eventually("nothing is held for it", TIME_LIMIT, || {
        metric(&node.api(), r#"gorani_memory_bytes{kind="reply"}"#) == 0
            && metric(&node.api(), r#"gorani_heavy_reads{source="client",state="under_way"}"#) == 0
    });
}

#[test]
fn a_batch_of_a_thousand_histories_has_a_bounded_answer_that_says_where_it_was_cut() {
    let redis = Redis::start();
    let (node, other) = (Node::start(settings(&redis)), Node::start(settings(&redis)));
    fill(&other.api(), "open:big", PUBLICATIONS, PUBLICATION_BYTES);
    let history = json!({"history": {"channel": "open:big", "limit": 60}});
    for parallel in [false, true] {
        let beside = Beside::start(&other, &[&node, &other]);
        let batch = json!({"commands": vec![&history; 1000], "parallel": parallel});
        let (status, body) = node.api().post("/api/batch", batch.to_string().as_bytes());
        let (growth, _) = beside.finish();
        assert_eq!(status, 200, "{body}");
        assert!(body.len() < REPLY_MAX_BYTES + OVERHEAD_BYTES, "{} bytes", body.len());
        let answer: Value = serde_json::from_str(&body).unwrap();
        let replies = answer["replies"].as_array().or(answer["result"]["replies"].as_array()).unwrap();
        assert_eq!(replies.len(), 1000);
        let whole =
            |reply: &Value| reply["history"]["publications"].as_array().is_some_and(|all| all.len() == 60);
        let cut = replies.iter().position(|reply| !whole(reply)).unwrap();
        let refused = replies.iter().position(|reply| reply["error"].is_object()).unwrap();
        assert!(cut > 0 && refused > cut, "{cut} whole, from {refused} on refused");
        assert!(replies[cut..refused].iter().all(|reply| reply["history"]["truncated"] == true));
        assert!(replies[refused..].iter().all(|reply| reply["error"]["code"] == 106));
        assert!(growth < GROWTH, "{} MiB", growth / MIB);
    }
}

#[test]
fn a_poll_over_as_many_channels_as_there_may_be_brings_everything_once_in_bounded_answers() {
    const CHANNELS: usize = 128;
    /// Of each channel; of all together 15 MiB.
    const OF_A_CHANNEL: u64 = 4;
    let redis = Redis::start();
    let (node, other) = (Node::start(settings(&redis)), Node::start(settings(&redis)));
    let names: Vec<String> = (0..CHANNELS).map(|number| format!("open:{number}")).collect();
    let channels = names.join(",");
    let poll = |position: &str, wait: &str| {
        let target = format!("/connection/poll?limit=300&channels={channels}{position}{wait}");
        let mut stream = Stream::open(node.address(), "GET", &target, "", "");
        let body = stream.rest().unwrap();
        assert_eq!(stream.head.status, 200, "{body}");
        assert!(body.len() < REPLY_MAX_BYTES + OVERHEAD_BYTES, "{} bytes", body.len());
        serde_json::from_str::<Value>(&body).unwrap()
    };
    let mut at = poll("", "")["position"].as_str().unwrap().to_owned();
    for name in &names {
        fill(&other.api(), name, OF_A_CHANNEL as usize, 30_000);
    }
    let beside = Beside::start(&other, &[&node, &other]);
    let mut seen: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut polls = 0;
    while seen.values().map(Vec::len).sum::<usize>() < CHANNELS * OF_A_CHANNEL as usize {
        // In turns one that reads, and one that would wait.
        let wait = if polls % 2 == 0 { "" } else { "&wait=30" };
        let answer = poll(&format!("&position={at}"), wait);
        assert!(answer["unrecovered"].is_null() && answer["disconnect"].is_null(), "{answer}");
        at = answer["position"].as_str().unwrap().to_owned();
        for publication in answer["publications"].as_array().unwrap() {
            let channel = publication["channel"].as_str().unwrap().to_owned();
            seen.entry(channel).or_default().push(publication["pub"]["offset"].as_u64().unwrap());
        }
        polls += 1;
        assert!(polls < 1000, "polls bring nothing");
    }
    let (growth, _) = beside.finish();
    assert!(seen.values().all(|offsets| offsets.iter().copied().eq(1..=OF_A_CHANNEL)), "{seen:?}");
    assert!(growth < GROWTH, "{} MiB", growth / MIB);
}

#[test]
fn a_stream_of_as_many_channels_as_there_may_be_resumes_with_more_than_its_outbox_holds() {
    const CHANNELS: usize = 128;
    const OF_A_CHANNEL: u64 = 2;
    let redis = Redis::start();
    let (node, other) = (Node::start(settings(&redis)), Node::start(settings(&redis)));
    let names: Vec<String> = (0..CHANNELS).map(|number| format!("open:{number}")).collect();
    let channels = names.join(",");
    let mut first =
        Stream::open(node.address(), "GET", &format!("/connection/poll?channels={channels}"), "", "");
    let first: Value = serde_json::from_str(&first.rest().unwrap()).unwrap();
    for name in &names {
        fill(&other.api(), name, OF_A_CHANNEL as usize, 30_000);
    }
    let position = first["position"].as_str().unwrap();
    for target in ["uni_sse", "uni_http_stream"] {
        let target = format!("/connection/{target}?channels={channels}&position={position}");
        let mut stream = Stream::open(node.address(), "GET", &target, "", "");
        let mut seen: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        while seen.values().map(Vec::len).sum::<usize>() < CHANNELS * OF_A_CHANNEL as usize {
            let line = stream.line().unwrap().expect("the stream goes on");
            let object = line.strip_prefix("data: ").unwrap_or(&line);
            let Ok(object) = serde_json::from_str::<Value>(object) else { continue };
            assert!(object["disconnect"].is_null(), "{object}");
            if let Some(offset) = object["pub"]["offset"].as_u64() {
                seen.entry(object["channel"].as_str().unwrap().to_owned()).or_default().push(offset);
            }
        }
        assert!(
            seen.values().all(|offsets| offsets.iter().copied().eq(1..=OF_A_CHANNEL)),
            "{target}: {seen:?}"
        );
    }
}
