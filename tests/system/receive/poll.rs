//! Polls: limits, validators, what is missing, and what a waiting one costs. `docs/protocols/http.md` §8.

use std::{thread, time::Duration};

use gorani_tests::{
    node::Node,
    stream::{Stream, send},
};
use serde_json::{Value, json};

use super::{SOON, code_of, publish, settings};
use crate::eventually;

/// Asks, and reads status, `ETag` and body.
fn ask(node: &Node, query: &str, extra: &str) -> (u16, String, String) {
    let mut response = Stream::open(node.address(), "GET", &format!("/connection/poll?{query}"), extra, "");
    let tag = response.head.header("etag").unwrap_or_default().to_owned();
    (response.head.status, tag, response.rest().unwrap())
}

fn answer(node: &Node, query: &str) -> Value {
    let (status, _, body) = ask(node, query, "");
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

fn numbers(answer: &Value) -> Vec<u64> {
    let publications = answer["publications"].as_array().unwrap();
    publications.iter().map(|publication| publication["pub"]["data"].as_u64().unwrap()).collect()
}

fn position(answer: &Value) -> &str {
    answer["position"].as_str().unwrap()
}

#[test]
fn the_first_poll_brings_the_latest_and_the_next_ones_what_follows_within_the_limit() {
    let node = Node::start(settings());
    publish(&node, "news:a", 0..10);
    let first = answer(&node, "channels=news:a&limit=3");
    assert_eq!(numbers(&first), [7, 8, 9]);
    publish(&node, "news:a", 10..15);
    let second = answer(&node, &format!("channels=news:a&limit=3&position={}", position(&first)));
    assert_eq!(numbers(&second), [10, 11, 12]);
    let third = answer(&node, &format!("channels=news:a&limit=3&wait=30&position={}", position(&second)));
    assert_eq!(numbers(&third), [13, 14]);
    let last = answer(&node, &format!("channels=news:a&position={}", position(&third)));
    assert!(numbers(&last).is_empty());
    assert_eq!(position(&last), position(&third));
}

#[test]
fn a_client_that_has_the_answer_is_told_so_without_a_body() {
    let node = Node::start(settings());
    publish(&node, "news:a", 0..2);
    let (_, tag, _) = ask(&node, "channels=news:a", "");
    let known = format!("If-None-Match: {tag}\r\n");
    for query in ["channels=news:a", "channels=news:a&wait=1"] {
        assert_eq!(ask(&node, query, &known), (304, tag.clone(), String::new()));
    }
    publish(&node, "news:a", 2..3);
    let (status, newer, body) = ask(&node, "channels=news:a", &known);
    assert_eq!(status, 200);
    assert_ne!(newer, tag);
    assert_eq!(numbers(&serde_json::from_str(&body).unwrap()), [2]);
}

#[test]
fn a_channel_without_history_cannot_be_polled() {
    let node = Node::start(settings());
    let (status, _, body) = ask(&node, "channels=open:a", "");
    assert_eq!((status, code_of(&body)), (409, 108));
    assert!(body.contains("history"), "{body}");
    assert_eq!(ask(&node, "", "").0, 400);
    assert_eq!(ask(&node, "channels=news:a&position=nonsense", "").0, 400);
    assert_eq!(ask(&node, "channels=news:a&wait=soon", "").0, 400);
}

#[test]
fn what_cannot_be_recovered_is_told_whether_the_poll_waits_or_not() {
    let node = Node::start(settings());
    publish(&node, "news:a", 0..3);
    for query in ["", "&wait=30"] {
        let answer = answer(&node, &format!("channels=news:a&position=news~3aa.1.another{query}"));
        assert_eq!(answer["unrecovered"], json!(["news:a"]));
        assert_eq!(numbers(&answer), [0, 1, 2]);
    }
}

#[test]
fn a_poll_that_waits_in_vain_has_an_empty_answer_when_its_time_is_over() {
    let node = Node::start(settings());
    publish(&node, "news:a", 0..1);
    let first = answer(&node, "channels=news:a");
    let again = answer(&node, &format!("channels=news:a&wait=1&position={}", position(&first)));
    assert_eq!(again, json!({"publications": [], "position": position(&first)}));
}

#[test]
fn long_polls_one_after_the_other_miss_and_repeat_nothing() {
    /// 50 publications a second, for a while.
    const PUBLICATIONS: u64 = 150;
    let node = Node::start(settings());
    let mut at = position(&answer(&node, "channels=news:loop")).to_owned();
    let api = node.api();
    let publisher = thread::spawn(move || {
        for number in 0..PUBLICATIONS {
            api.publish("news:loop", &json!(number));
            thread::sleep(Duration::from_millis(20));
        }
    });
    let mut seen = Vec::new();
    while seen.len() < PUBLICATIONS as usize {
        let news = answer(&node, &format!("channels=news:loop&wait=30&position={at}"));
        at = position(&news).to_owned();
        seen.extend(numbers(&news));
    }
    publisher.join().unwrap();
    assert_eq!(seen, (0..PUBLICATIONS).collect::<Vec<_>>());
}

#[test]
fn many_waiting_polls_cost_no_thread_and_are_all_answered_by_one_publication() {
    const POLLS: usize = 300;
    let node = Node::start(settings());
    publish(&node, "news:many", 0..1);
    let first = answer(&node, "channels=news:many");
    let threads = node.process().threads();
    let target = format!("/connection/poll?channels=news:many&wait=60&position={}", position(&first));
    let waiting: Vec<_> = (0..POLLS).map(|_| send(node.address(), "GET", &target, "", "")).collect();
    let gauge = format!("gorani_connections{{transport=\"poll\"}} {POLLS}\n");
    eventually("all of them wait", SOON, || node.api().get("/metrics").1.contains(&gauge));
    // There may be fewer: a thread that the start needed ends when it has been idle for a while.
    assert!(node.process().threads() <= threads);
    publish(&node, "news:many", 1..2);
    for socket in waiting {
        let body = Stream::read(socket).unwrap().rest().unwrap();
        assert_eq!(numbers(&serde_json::from_str(&body).unwrap()), [1]);
    }
}

#[test]
fn more_waiting_polls_than_allowed_are_told_to_come_back_later() {
    let node = Node::start(settings().set("poll.max_waiting", "1"));
    let first = answer(&node, "channels=news:a");
    let query = format!("channels=news:a&wait=60&position={}", position(&first));
    let waiting = send(node.address(), "GET", &format!("/connection/poll?{query}"), "", "");
    let gauge = "gorani_connections{transport=\"poll\"} 1\n";
    eventually("one waits", SOON, || node.api().get("/metrics").1.contains(gauge));
    let (status, _, body) = ask(&node, &query, "");
    assert_eq!((status, code_of(&body)), (429, 111));
    drop(waiting);
    eventually("its place is free again", SOON, || {
        ask(&node, &query.replace("wait=60", "wait=1"), "").0 == 200
    });
}

#[test]
fn polls_of_one_address_do_not_take_every_place_among_those_that_wait() {
    const MOST: usize = 100;
    let node = Node::start(
        settings().set("poll.max_waiting", MOST.to_string()).set("http.trusted_proxies", r#"["127.0.0.1"]"#),
    );
    publish(&node, "news:a", 0..1);
    let first = answer(&node, "channels=news:a");
    let query = format!("channels=news:a&wait=60&position={}", position(&first));
    let target = format!("/connection/poll?{query}");
    let from = |address: &str| format!("X-Forwarded-For: {address}\r\n");
    let gauge = |count: usize| format!("gorani_connections{{transport=\"poll\"}} {count}\n");
    // A quarter of those that are free: with 20 of 100, the next one is the 21st of 20.
    let stranger: Vec<_> =
        (0..20).map(|_| send(node.address(), "GET", &target, &from("2001:db8::1"), "")).collect();
    eventually("those wait", SOON, || node.api().get("/metrics").1.contains(&gauge(20)));
    let mut refused = Stream::open(node.address(), "GET", &target, &from("2001:db8::ffff:1"), "");
    let body = refused.rest().unwrap();
    assert_eq!((refused.head.status, refused.head.header("retry-after")), (429, Some("1")));
    assert_eq!(code_of(&body), 111);
    assert!(body.contains("from this address"), "{body}");
    let told = "gorani_refused_total{cause=\"polls_of_address\"} 1\n";
    assert!(node.api().get("/metrics").1.contains(told));
    let other = send(node.address(), "GET", &target, &from("192.0.2.1"), "");
    eventually("another address waits", SOON, || node.api().get("/metrics").1.contains(&gauge(21)));
    drop(stranger);
    eventually("the places are free again", SOON, || {
        ask(&node, &query.replace("wait=60", "wait=1"), &from("2001:db8::1")).0 == 200
    });
    publish(&node, "news:a", 1..2);
    let body = Stream::read(other).unwrap().rest().unwrap();
    assert_eq!(numbers(&serde_json::from_str(&body).unwrap()), [1]);
}
