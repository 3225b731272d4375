//! SockJS sessions whose requests land on any node. `docs/protocols/sockjs.md` §8.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use gorani_tests::{
    balancer::{Balancer, Kind},
    node::{Node, Settings},
    raw::{Head, RawSocket},
    redis::Redis,
};

use super::{Cluster, NODES, answer, send, settings};
use crate::eventually;

/// Long enough for anything on a busy machine.
const SOON: Duration = Duration::from_secs(30);
/// A client that is gone is known to be gone within this on a busy machine; a heartbeat would find out after 25 s.
const GONE_WITHIN: Duration = Duration::from_secs(10);
/// What an xhr stream begins with.
const PRELUDE: usize = 2049;

fn cluster() -> Cluster {
    cluster_with(|settings| settings)
}

fn cluster_with(change: impl Fn(Settings) -> Settings) -> Cluster {
    let redis = Redis::start();
    let settings = settings(&redis)
        .set("development.echo", "true")
        .set("development.sockjs_conformance", "true")
        // A session outlives the time that a busy machine takes between two polls.
        .set("sockjs.disconnect_delay", "\"12s\"");
    let nodes = (0..NODES).map(|_| Node::start(change(settings.clone()))).collect();
    Cluster { nodes, redis }
}

fn ask(address: SocketAddr, target: &str) -> RawSocket {
    send(address, "POST", target, "", "")
}

fn poll(address: SocketAddr, target: &str) -> String {
    let (head, body) = answer(ask(address, target));
    assert_eq!(head.status, 200, "{body}");
    body
}

fn post(address: SocketAddr, target: &str, body: &str) -> (Head, String) {
    answer(send(address, "POST", target, "", body))
}

/// A stream whose head and first chunk are read.
fn stream(address: SocketAddr, target: &str) -> RawSocket {
    let mut socket = ask(address, target);
    let head = socket.read_head().unwrap();
    assert_eq!((head.status, head.header("transfer-encoding")), (200, Some("chunked")));
    assert_eq!(socket.read_chunk().unwrap().unwrap().len(), PRELUDE);
    socket
}

fn frame(socket: &mut RawSocket) -> String {
    String::from_utf8(socket.read_chunk().unwrap().expect("the stream goes on")).unwrap()
}

#[test]
fn a_session_lives_on_one_node_whichever_its_requests_land_on() {
    let cluster = cluster();
    for session in 0..NODES {
        let url = |server: usize, what: &str| format!("/echo/00{server}/s{session}/{what}");
        assert_eq!(poll(cluster.address(session), &url(0, "xhr")), "o\n");
        for number in 0..12 {
            let (head, body) = post(
                cluster.address(session + number),
                &url(number % 4, "xhr_send"),
                &format!("[\"{number}\"]"),
            );
            assert_eq!((head.status, body.as_str()), (204, ""), "message {number}");
            let through = cluster.address(session + number / 3);
            assert_eq!(poll(through, &url(0, "xhr")), format!("a[\"{number}\"]\n"));
        }
        for number in 0..12 {
            let (head, _) =
                post(cluster.address(number), &url(0, "xhr_send"), &format!("[\"{number}\",\"x\"]"));
            assert_eq!(head.status, 204);
        }
        let expected: Vec<String> = (0..12).map(|number| format!("\"{number}\",\"x\"")).collect();
        assert_eq!(
            poll(cluster.address(session + 1), &url(0, "xhr")),
            format!("a[{}]\n", expected.join(","))
        );
    }
}

/// Every request on a connection of its own, through a balancer that gives each to the next node.
fn a_session_lives_behind(kind: Kind) {
    let cluster = cluster();
    let balancer = Balancer::start(kind, [cluster.address(0), cluster.address(1), cluster.address(2)]);
    for session in 0..4 {
        let url = |what: &str| format!("/echo/000/s{session}/{what}");
        assert_eq!(poll(balancer.address(), &url("xhr")), "o\n");
        for number in 0..6 {
            let sent = post(balancer.address(), &url("xhr_send"), &format!("[\"{number}\"]"));
            assert_eq!((sent.0.status, sent.1.as_str()), (204, ""));
            assert_eq!(poll(balancer.address(), &url("xhr")), format!("a[\"{number}\"]\n"));
        }
        let mut streaming = stream(balancer.address(), &url("xhr_streaming"));
        post(balancer.address(), &url("xhr_send"), "[\"streamed\"]");
        assert_eq!(frame(&mut streaming), "a[\"streamed\"]\n");
    }
    let forwarded = |node| cluster.count(node, "gorani_forwards_total{outcome=\"answered\"}");
    // Two of three requests land on another node than the session's.
    assert!((0..NODES).map(forwarded).sum::<u64>() > 4 * 8, "requests landed on other nodes");
}

#[test]
fn behind_nginx_a_session_needs_no_stickiness() {
    a_session_lives_behind(Kind::Nginx);
}

#[test]
fn behind_haproxy_a_session_needs_no_stickiness() {
    a_session_lives_behind(Kind::Haproxy);
}

#[test]
fn what_the_owner_denies_is_unknown_and_its_other_answers_are_passed_on() {
    let cluster = cluster();
    for node in 0..NODES {
        assert_eq!(post(cluster.address(node), "/echo/000/none/xhr_send", "[\"x\"]").0.status, 404);
    }
    poll(cluster.address(0), "/echo/000/s/xhr");
    let (head, body) = post(cluster.address(1), "/echo/000/s/xhr_send", "[\"x");
    assert_eq!((head.status, body.as_str()), (500, "Broken JSON encoding."));
    let (head, body) = post(cluster.address(2), "/echo/000/s/xhr_send", "[\"x\"]");
    assert_eq!((head.status, body.as_str()), (204, ""));
    assert_eq!(head.header("content-type"), Some("text/plain; charset=UTF-8"));
    assert_eq!(head.header("access-control-allow-origin"), Some("*"));
    let (head, body) = answer(send(cluster.address(1), "GET", "/echo/000/s/jsonp?c=cb", "", ""));
    assert_eq!((head.status, body.as_str()), (200, "/**/cb(\"a[\\\"x\\\"]\");\r\n"));
}

#[test]
fn a_stream_comes_through_another_node_frame_by_frame() {
    let cluster = cluster();
    poll(cluster.address(0), "/echo/000/s/xhr");
    let mut through = stream(cluster.address(1), "/echo/000/s/xhr_streaming");
    let large = "x".repeat(3000);
    for message in ["a", "b", &large, "c"] {
        let sent = Instant::now();
        assert_eq!(
            post(cluster.address(2), "/echo/000/s/xhr_send", &format!("[\"{message}\"]")).0.status,
            204
        );
        assert_eq!(frame(&mut through), format!("a[\"{message}\"]\n"));
        assert!(sent.elapsed() < SOON);
    }
    // The answer is full after 4096 bytes, and the session goes on.
    post(cluster.address(2), "/echo/000/s/xhr_send", &format!("[\"{large}\"]"));
    frame(&mut through);
    assert_eq!(through.read_chunk().unwrap(), None);
    assert_eq!(post(cluster.address(1), "/echo/000/s/xhr_send", "[\"d\"]").0.status, 204);
    assert_eq!(poll(cluster.address(2), "/echo/000/s/xhr"), "a[\"d\"]\n");
}

#[test]
fn clients_of_http_1_0_are_served_through_other_nodes_too() {
    let cluster = cluster();
    poll(cluster.address(0), "/echo/000/s/xhr");
    let mut socket = RawSocket::connect(cluster.address(1));
    socket
        .write(
            b"POST /echo/000/s/xhr_streaming HTTP/1.0\r\nHost: push.example.com\r\nContent-Length: 0\r\n\r\n",
        )
        .unwrap();
    let head = socket.read_head().unwrap();
    assert_eq!((head.status, head.header("transfer-encoding")), (200, None));
    assert_eq!(socket.read_bytes(PRELUDE).unwrap().last(), Some(&b'\n'));
    post(cluster.address(2), "/echo/000/s/xhr_send", &format!("[\"{}\"]", "x".repeat(4090)));
    let body = String::from_utf8(socket.read_to_end().unwrap()).unwrap();
    assert_eq!(body, format!("a[\"{}\"]\n", "x".repeat(4090)));
}

#[test]
fn a_second_receiver_is_turned_away_by_the_owner_and_the_first_goes_on() {
    let cluster = cluster();
    poll(cluster.address(0), "/echo/000/s/xhr");
    let mut first = stream(cluster.address(1), "/echo/000/s/xhr_streaming");
    for node in 0..NODES {
        assert_eq!(
            poll(cluster.address(node), "/echo/000/s/xhr"),
            "c[2010,\"Another connection still open\"]\n"
        );
    }
    post(cluster.address(2), "/echo/000/s/xhr_send", "[\"x\"]");
    assert_eq!(frame(&mut first), "a[\"x\"]\n");
}

#[test]
fn a_client_that_breaks_off_at_one_node_is_gone_at_the_owner_at_once() {
    let cluster = cluster();
    for (number, transport) in ["xhr_streaming", "xhr", "xhr_streaming", "xhr"].into_iter().enumerate() {
        let url = |what: &str| format!("/echo/000/s{number}/{what}");
        poll(cluster.address(0), &url("xhr"));
        let accepted = || cluster.count(0, "gorani_forwards_received_total{outcome=\"accepted\"}");
        let before = accepted();
        let receiver = ask(cluster.address(1), &url(transport));
        eventually("it waits at the owner", SOON, || cluster.count(1, "gorani_forwards_open") == 1);
        // A poll at the owner that comes before it would be the session's receiver itself, and wait.
        eventually("the owner has it", SOON, || accepted() > before);
        eventually("it is the receiver there", SOON, || {
            poll_now(cluster.address(0), &url("xhr")).starts_with("c[2010")
        });
        drop(receiver);
        // A second receiver waits a tenth of a second for the end of the first. Where that is too short for the machine it comes again.
        let mut told = String::new();
        eventually("the first is gone at the owner", GONE_WITHIN, || {
            told = poll(cluster.address(2), &url("xhr"));
            !told.starts_with("c[2010")
        });
        assert_eq!(told, "c[1002,\"Connection interrupted\"]\n", "{transport}");
        eventually("nothing is left", SOON, || cluster.count(1, "gorani_forwards_open") == 0);
    }
}

/// A poll that is answered at once, whatever with.
fn poll_now(address: SocketAddr, target: &str) -> String {
    answer(ask(address, target)).1
}

#[test]
fn an_end_is_told_by_the_owner_through_every_node_until_its_time_is_over() {
    let cluster = cluster();
    let end = "c[3000,\"Go away!\"]\n";
    assert_eq!(poll(cluster.address(0), "/close/000/s/xhr"), "o\n");
    for node in [1, 2, 0, 1] {
        assert_eq!(poll(cluster.address(node), "/close/000/s/xhr"), end);
    }
    assert_eq!(post(cluster.address(2), "/close/000/s/xhr_send", "[\"x\"]").0.status, 404);
    eventually("the session is forgotten", SOON, || {
        thread::sleep(Duration::from_millis(200));
        poll(cluster.address(1), "/close/000/s/xhr") == "o\n"
    });
}

#[test]
fn of_first_requests_at_several_nodes_one_opens_the_session() {
    // So that every receiver is answered soon, whether or not there is something for it.
    let cluster = cluster_with(|settings| settings.set("sockjs.heartbeat", "\"1s\""));
    for number in 0..10 {
        let target = format!("/echo/000/s{number}/xhr");
        let sockets: Vec<RawSocket> = (0..NODES).map(|node| ask(cluster.address(node), &target)).collect();
        let told: Vec<String> = sockets.into_iter().map(|socket| answer(socket).1).collect();
        assert_eq!(told.iter().filter(|told| *told == "o\n").count(), 1, "{told:?}");
    }
}

#[test]
fn when_the_owner_is_killed_its_streams_break_off_and_its_sessions_begin_anew_elsewhere() {
    let mut cluster = cluster();
    poll(cluster.address(0), "/echo/000/s/xhr");
    poll(cluster.address(0), "/echo/000/t/xhr");
    let mut through = stream(cluster.address(1), "/echo/000/s/xhr_streaming");
    let waiting = ask(cluster.address(2), "/echo/000/t/xhr");
    eventually("it waits", SOON, || cluster.count(2, "gorani_forwards_open") == 1);
    cluster.nodes[0].kill();
    let killed = Instant::now();
    assert!(through.read_chunk().is_err(), "it broke off, and did not end");
    // Its lease runs for six seconds more at least.
    assert!(killed.elapsed() < Duration::from_secs(5), "{:?}", killed.elapsed());
    assert_eq!(answer(waiting).1, "o\n", "a poll that waited gets a new session");
    assert_eq!(post(cluster.address(1), "/echo/000/s/xhr_send", "[\"x\"]").0.status, 404);
    assert_eq!(poll(cluster.address(2), "/echo/000/s/xhr"), "o\n");
    assert_eq!(post(cluster.address(1), "/echo/000/s/xhr_send", "[\"x\"]").0.status, 204);
    assert_eq!(poll(cluster.address(1), "/echo/000/s/xhr"), "a[\"x\"]\n");
}

#[test]
fn sessions_go_on_while_redis_is_away_and_their_owners_are_told_to_it_again() {
    let mut cluster = cluster();
    poll(cluster.address(0), "/echo/000/s/xhr");
    post(cluster.address(1), "/echo/000/s/xhr_send", "[\"a\"]");
    assert_eq!(poll(cluster.address(1), "/echo/000/s/xhr"), "a[\"a\"]\n");
    cluster.redis.kill();
    assert_eq!(
        post(cluster.address(1), "/echo/000/s/xhr_send", "[\"b\"]").0.status,
        204,
        "its owner is remembered"
    );
    assert_eq!(poll(cluster.address(1), "/echo/000/s/xhr"), "a[\"b\"]\n");
    assert_eq!(answer(ask(cluster.address(1), "/echo/000/new/xhr")).0.status, 503);
    cluster.redis.restart();
    eventually("new sessions can be opened", SOON, || {
        answer(ask(cluster.address(1), "/echo/000/new/xhr")).0.status == 200
    });
}
