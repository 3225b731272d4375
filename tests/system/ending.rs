//! The end of a node: told to stop, it is not ready, takes nobody new, sends its clients elsewhere and ends.

use std::time::Duration;

use gorani_tests::{
    client::PATH,
    node::{Node, Settings},
    raw::{RawSocket, handshake},
};

use crate::{connected, eventually, subscribed};

/// Long enough for the end of a node on a busy machine.
const SOON: Duration = Duration::from_secs(10);

#[test]
fn a_node_that_is_told_to_stop_ends_with_success() {
    let mut node = Node::start(Settings::open());
    node.terminate();
    let status = node.wait_exit(SOON).expect("it ends");
    assert!(status.success(), "{status}");
}

#[test]
fn clients_are_sent_elsewhere_when_the_node_stops() {
    let mut node = Node::start(Settings::open());
    let mut clients = [subscribed(&node, "open:a"), connected(&node)];
    node.terminate();
    for client in &mut clients {
        assert_eq!(client.read_close().unwrap(), (3001, "shutdown".to_owned()));
    }
    drop(clients);
    assert!(node.wait_exit(SOON).expect("it ends").success());
}

#[test]
fn a_draining_node_is_not_ready_and_takes_nobody_new() {
    let settings =
        Settings::open().set("websocket.close_timeout", "\"20s\"").set("http.shutdown_timeout", "\"20s\"");
    let mut node = Node::start(settings);
    // It does not answer the close frame, so the node waits for it.
    let mut lingering = connected(&node);
    node.terminate();
    assert_eq!(lingering.read_close().unwrap().0, 3001);
    eventually("it is not ready", SOON, || node.api().get("/health/ready").0 == 503);
    let (_, reason) = node.api().get("/health/ready");
    assert!(reason.contains("draining"), "{reason}");
    let mut late = RawSocket::connect(node.address());
    late.write(handshake(node.address(), PATH, "").as_bytes()).unwrap();
    assert_eq!(late.read_head().unwrap().status, 503);
    assert_eq!(node.api().get("/health/live").0, 200);

    node.terminate();
    assert!(!node.wait_exit(SOON).expect("a second signal ends it at once").success());
}
