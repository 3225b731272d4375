//! A listener of its own for the admin page, metrics and health: `admin.address`. Record 68.

use std::{
    io::{Read as _, Write as _},
    net::SocketAddr,
    process::{Command, Output},
    time::Duration,
};

use gorani_tests::{
    binary,
    http::Api,
    node::{API_KEY, Node, Settings, free_address},
    raw::{RawSocket, handshake},
};
use serde_json::json;

use super::{Asked, OPERATOR, settings};
use crate::{eventually, tls};

const SOON: Duration = Duration::from_secs(60);

/// The paths that move.
const OPERATORS_PATHS: [&str; 6] =
    ["/metrics", "/health", "/health/live", "/health/ready", "/admin/", "/admin/api/session"];

fn apart() -> (Settings, SocketAddr) {
    let operators = free_address();
    (settings(Settings::open()).set("admin.address", format!("\"{operators}\"")), operators)
}

fn at(node: &Node, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary::node());
    command.args(arguments).arg("--config").arg(node.settings_file());
    command.env_remove("GORANI_ADMIN_KEY").output().unwrap()
}

/// The status of a WebSocket handshake.
fn upgraded(address: SocketAddr) -> u16 {
    let mut socket = RawSocket::connect(address);
    socket.write(handshake(address, "/connection/websocket", "").as_bytes()).unwrap();
    socket.read_head().unwrap().status
}

#[test]
fn with_an_address_of_its_own_the_port_of_clients_knows_nothing_of_operators() {
    let (settings, operators) = apart();
    let node = Node::start(settings);
    let (clients, own) = (node.api(), Api::new(operators, API_KEY));
    for path in OPERATORS_PATHS {
        assert_eq!(clients.get(path).0, 404, "{path}");
        let expected = if path == "/admin/api/session" { 401 } else { 200 };
        assert_eq!(own.get(path).0, expected, "{path}");
    }
    let (_, directions) = clients.get("/nowhere");
    assert!(!directions.contains("/health"), "{directions}");
    assert_eq!(Asked::get("nodes").key(OPERATOR).send(node.address()).head.status, 404);
    let nodes = Asked::get("nodes").key(OPERATOR).result(operators);
    assert_eq!(nodes.as_array().map(Vec::len), Some(1), "{nodes}");
    // The numbers are those of the one node.
    clients.publish("open:a", &json!(1));
    let (_, shown) = own.get("/metrics");
    let published = "gorani_publications_total{source=\"api\",result=\"accepted\"} 1";
    assert!(shown.lines().any(|line| line == published), "{shown}");
}

#[test]
fn an_address_of_operators_knows_nothing_of_clients_and_backends() {
    let (settings, operators) = apart();
    let node = Node::start(settings);
    let own = Api::new(operators, API_KEY);
    assert_eq!(node.api().call("info", &json!({})).0, 200);
    assert_eq!(own.post("/api/info", b"{}").0, 404);
    assert_eq!((upgraded(node.address()), upgraded(operators)), (101, 404));
    for path in ["/connection/uni_sse", "/connection/sockjs/info", "/stomp"] {
        let (status, text) = own.get(path);
        assert!(status == 404 && text.contains("http.address"), "{path}: {status} {text}");
    }
}

#[test]
fn commands_on_the_machine_of_a_node_find_its_address_of_operators() {
    let (settings, _) = apart();
    let node = Node::start(settings);
    // 1 of the last two: there are none.
    let commands = [(&["health"][..], 0), (&["health", "live"], 0), (&["slow"], 1), (&["disconnects"], 1)];
    for (command, code) in commands {
        let output = at(&node, command);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn an_address_of_operators_speaks_tls_with_a_certificate_of_its_own() {
    let files = tempfile::TempDir::new().unwrap();
    let (settings, operators) = apart();
    let (settings, config) = tls::certified(settings, "admin.tls", files.path());
    let node = Node::spawn(settings);
    eventually("it is ready", SOON, || at(&node, &["health", "ready"]).status.success());
    let mut stream = tls::connect_to(operators, &config);
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    // The end of the connection may come without the end of TLS.
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    // Clients go on without TLS.
    assert_eq!(upgraded(node.address()), 101);
}

#[test]
fn a_node_whose_address_of_operators_cannot_be_served_does_not_start() {
    let ends_with = |settings: Settings, code: i32, why: &str| {
        let mut node = Node::spawn(settings);
        let status = node.wait_exit(SOON).and_then(|status| status.code());
        assert_eq!(status, Some(code), "{}", node.output());
        // Its output is read on a thread of its own.
        eventually("it says why", SOON, || node.output().contains(why));
    };
    let open = || Settings::open().set("development.admin", "true");
    // A short key is refused first, on any address beyond the loopback.
    let beyond = open().set("api.keys", "[\"a-key-of-more-than-16-characters\"]");
    ends_with(beyond.set("admin.address", "\"0.0.0.0:0\""), 78, "development.admin");
    ends_with(open().set("admin.address", "\"localhost:8001\""), 78, "admin.address");
    ends_with(open().set("admin.tls.certificate", "\"a.pem\""), 78, "admin.tls");
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().to_string();
    ends_with(open().set("admin.address", format!("\"{taken}\"")), 1, &taken);
}
