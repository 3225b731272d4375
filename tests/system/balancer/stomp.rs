//! STOMP over TCP behind HAProxy: `deploy/haproxy/stomp.cfg`.

use std::{
    net::{SocketAddr, TcpStream},
    process::{Child, Command},
};

use gorani_tests::{
    balancer::{NODES, program},
    binary::workspace,
    node::{Node, Settings, free_address},
    process::{Process, Signal},
    stomp::Stomp,
};
use serde_json::json;

use super::SOON;
use crate::eventually;

/// HAProxy with the three files, in front of three nodes.
struct Haproxy {
    child: Child,
    address: SocketAddr,
}

impl Haproxy {
    fn start(nodes: &[Node], stomp: [SocketAddr; NODES]) -> Self {
        let (address, http) = (free_address(), free_address());
        let directory = workspace().join("deploy/haproxy");
        let mut haproxy = Command::new(program("haproxy"));
        haproxy.arg("-db").env("GORANI_LISTEN", http.to_string());
        haproxy.env("GORANI_STOMP_LISTEN", address.to_string());
        for file in ["haproxy.cfg", "nodes.static.cfg", "stomp.cfg"] {
            haproxy.arg("-f").arg(directory.join(file));
        }
        for (number, (node, stomp)) in nodes.iter().zip(stomp).enumerate() {
            haproxy.env(format!("GORANI_NODE_{}", number + 1), node.address().to_string());
            haproxy.env(format!("GORANI_STOMP_NODE_{}", number + 1), stomp.to_string());
        }
        let child = haproxy.spawn().expect("haproxy is installed; `make test` sees to it");
        let haproxy = Self { child, address };
        // Its other listener: a connection to that of STOMP goes on to a node, which then has a client more for a while.
        eventually("HAProxy accepts", SOON, || TcpStream::connect(http).is_ok());
        haproxy
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        Process::new(self.child.id()).signal(Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// Sessions of STOMP over TCP that a node has.
fn sessions(node: &Node) -> usize {
    let (_, metrics) = node.api().get("/metrics");
    let line = metrics.lines().find_map(|line| line.strip_prefix("gorani_connections{transport=\"tcp\"} "));
    line.map_or(0, |count| count.parse().unwrap())
}

#[test]
fn stomp_over_tcp_goes_to_all_nodes_and_to_those_that_are_left() {
    let stomp = [(); NODES].map(|()| free_address());
    let mut nodes: Vec<Node> = stomp
        .iter()
        .map(|stomp| Node::start(Settings::open().set("stomp.tcp.address", format!("\"{stomp}\""))))
        .collect();
    let haproxy = Haproxy::start(&nodes, stomp);
    eventually("nobody but the test is left", SOON, || nodes.iter().all(|node| sessions(node) == 0));
    let mut clients: Vec<_> = (0..2 * NODES).map(|_| Stomp::connect(haproxy.address, "")).collect();
    eventually("each node has as many of them", SOON, || {
        nodes.iter().map(sessions).collect::<Vec<_>>() == [2; NODES]
    });
    for client in &mut clients {
        client.subscribe("a", "/topic/open:a", "");
    }
    for node in &nodes {
        node.api().publish("open:a", &json!(1));
    }
    for client in &mut clients {
        assert_eq!(client.message().text(), "1");
    }
    nodes[0].kill();
    drop(clients);
    let clients: Vec<_> = (0..2 * NODES).map(|_| Stomp::connect(haproxy.address, "")).collect();
    assert!(sessions(&nodes[1]) > 0 && sessions(&nodes[2]) > 0);
    drop(clients);
}
