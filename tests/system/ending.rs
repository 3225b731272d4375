//! The end of a node: told to stop, it is not ready, takes nobody new, sends its clients elsewhere and ends.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use gorani_tests::{
    node::{API_KEY, Node, Settings},
    raw::RawSocket,
};

use crate::{connected, eventually, json, subscribed};

/// Long enough for the end of a node on a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// Long enough for the start of a node on a busy machine.
const STARTED_WITHIN: Duration = Duration::from_secs(60);

/// A node that waits long for clients that do not say goodbye.
fn patient() -> Settings {
    Settings::open().set("websocket.close_timeout", "\"20s\"").set("http.shutdown_timeout", "\"20s\"")
}

pub(crate) fn is_refused(address: SocketAddr) -> bool {
    matches!(TcpStream::connect(address), Err(error) if error.kind() == ErrorKind::ConnectionRefused)
}

#[test]
fn a_node_that_is_told_to_stop_ends_with_success() {
    let mut node = Node::start(Settings::open());
    node.terminate();
    let status = node.wait_exit(SOON).expect("it ends");
    assert!(status.success(), "{status}");
}

#[test]
fn a_node_that_waits_for_its_broker_ends_with_success_when_it_is_told_to_stop() {
    // Takes connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("\"redis://{}/0\"", silent.local_addr().unwrap());
    let mut node = Node::spawn(
        Settings::open()
            .set("broker.kind", "\"redis\"")
            .set("broker.redis.url", url)
            .set("broker.redis.connect_timeout", "\"60s\""),
    );
    eventually("it has read its settings", STARTED_WITHIN, || node.output().contains("allow_anonymous"));
    node.terminate();
    let status = node.wait_exit(SOON).expect("it ends");
    assert!(status.success(), "{status}");
}

#[test]
fn clients_are_sent_elsewhere_when_the_node_stops_and_few_do_not_wait_for_the_drains_whole_time() {
    let mut node = Node::start(Settings::open().set("drain.seconds", "600"));
    let mut clients = [subscribed(&node, "open:a"), connected(&node)];
    node.terminate();
    for client in &mut clients {
        assert_eq!(client.read_close().unwrap(), (3001, "shutdown".to_owned()));
    }
    drop(clients);
    assert!(node.wait_exit(SOON).expect("it ends").success());
}

#[test]
fn many_clients_are_not_sent_elsewhere_all_at_once_unless_the_settings_say_so() {
    for (seconds, at_least) in [("2", Duration::from_secs(1)), ("0", Duration::ZERO)] {
        let mut node = Node::start(Settings::open().set("drain.seconds", seconds));
        let mut clients: Vec<RawSocket> = (0..300).map(|_| connected(&node)).collect();
        let told = Instant::now();
        node.terminate();
        // They are read in the order of connecting; the last one read was told last or before.
        clients.iter_mut().for_each(|client| assert_eq!(client.read_close().unwrap().0, 3001));
        assert!(told.elapsed() >= at_least, "{seconds}: {:?}", told.elapsed());
        drop(clients);
        assert!(node.wait_exit(SOON).expect("it ends").success());
    }
}

#[test]
fn during_the_grace_a_node_is_not_ready_and_serves_on() {
    let mut node = Node::start(Settings::open().set("drain.grace", "\"20s\""));
    let mut early = subscribed(&node, "open:a");
    node.terminate();
    eventually("it is not ready", SOON, || node.api().get("/health/ready").0 == 503);
    let (_, reason) = node.api().get("/health/ready");
    assert!(reason.contains("draining"), "{reason}");
    assert_eq!(node.api().get("/health/live").0, 200);
    let mut late = subscribed(&node, "open:a");
    node.api().publish("open:a", &7.into());
    for client in [&mut early, &mut late] {
        assert_eq!(json(client)["push"]["pub"]["data"], 7);
    }
    node.terminate();
    assert!(!node.wait_exit(SOON).expect("a second signal ends it at once").success());
}

#[test]
fn a_draining_node_refuses_connections_while_it_waits_for_those_that_it_has() {
    let mut node = Node::start(patient());
    // It does not answer the close frame, so the node waits for it.
    let mut lingering = connected(&node);
    node.terminate();
    assert_eq!(lingering.read_close().unwrap().0, 3001);
    assert!(is_refused(node.address()));
    drop(lingering);
    assert!(node.wait_exit(SOON).expect("it ends").success());
}

#[test]
fn a_request_that_is_under_way_when_the_node_drains_is_answered_and_its_connection_ends() {
    let mut node = Node::start(patient());
    let body = r#"{"channel":"open:a","data":1}"#;
    let head = format!(
        "POST /api/publish HTTP/1.1\r\nHost: a\r\nX-API-Key: {API_KEY}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    let (begun, rest) = body.split_at(10);
    let mut backend = TcpStream::connect(node.address()).unwrap();
    backend.set_read_timeout(Some(SOON)).unwrap();
    backend.write_all(format!("{head}{begun}").as_bytes()).unwrap();
    let mut idle = TcpStream::connect(node.address()).unwrap();
    idle.set_read_timeout(Some(SOON)).unwrap();
    idle.write_all(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut first = [0; 15];
    idle.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");

    node.terminate();
    let mut remainder = Vec::new();
    idle.read_to_end(&mut remainder).expect("an idle connection is ended");
    backend.write_all(rest.as_bytes()).unwrap();
    let mut answer = String::new();
    backend.read_to_string(&mut answer).expect("the connection ends after the answer");
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(node.wait_exit(SOON).expect("it ends").success());
}
