//! A node whose machine or container is gone: nobody answers at its address, not even with a refusal. A request that was about to go there goes to
//! another node, soon enough for a name that is asked again every second.

use std::{
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use gorani_tests::{
    balancer::{Balancer, Kind},
    http::Api,
    node::{API_KEY, Node, Settings},
};
use serde_json::json;
use socket2::{Domain, Socket, Type};

use super::files::{duration_of, read};

/// Requests, each by a connection of its own and all at once: most of them meet the node before anybody knows that it is gone.
const REQUESTS: usize = 18;
/// Times that a busy machine may try.
const ATTEMPTS: usize = 5;
/// An address at which connections are neither accepted nor refused: its queue of connections is full.
struct Vanished {
    address: SocketAddr,
    _listener: Socket,
    _queued: Vec<Socket>,
}

impl Vanished {
    fn new() -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(1).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let mut queued = Vec::new();
        while TcpStream::connect_timeout(&address, Duration::from_millis(200))
            .map(|stream| queued.push(Socket::from(stream)))
            .is_ok()
        {}
        Self { address, _listener: listener, _queued: queued }
    }
}

/// The statuses of requests that are made all at once, and the time until the last answer.
fn all_at_once(to: SocketAddr) -> (Vec<u16>, Duration) {
    let begun = Instant::now();
    let requests: Vec<_> = (0..REQUESTS)
        .map(|number| {
            std::thread::spawn(move || {
                let api = Api::new(to, API_KEY);
                if number % 2 == 0 {
                    return api.get("/health/live").0;
                }
                api.post("/api/publish", json!({"channel": "open:a", "data": number}).to_string().as_bytes())
                    .0
            })
        })
        .collect();
    (requests.into_iter().map(|request| request.join().unwrap()).collect(), begun.elapsed())
}

#[test]
fn behind_nginx_no_request_fails_because_a_node_vanished_and_none_waits_until_its_name_is_asked_again() {
    let nodes = [Node::start(Settings::open()), Node::start(Settings::open())];
    let mut slowest = Duration::MAX;
    // Half a second at most for the connection that never comes, the rest for answers. A busy machine may need more than that
    // once, and a balancer that waits for longer does so each time.
    for _ in 0..ATTEMPTS {
        let vanished = Vanished::new();
        let balancer =
            Balancer::start(Kind::Nginx, [vanished.address, nodes[0].address(), nodes[1].address()]);
        let (statuses, took) = all_at_once(balancer.address());
        assert_eq!(statuses, [200; REQUESTS], "{}", balancer.output());
        slowest = slowest.min(took);
        if slowest < asked_again_after() * 2 {
            return;
        }
    }
    panic!("{slowest:?}");
}

/// `valid` of `upstream.dns.conf`.
fn asked_again_after() -> Duration {
    let upstream = read("nginx/upstream.dns.conf");
    let valid = upstream.split_once(" valid=").unwrap().1.split_whitespace().next().unwrap();
    humantime::parse_duration(valid).unwrap()
}

#[test]
fn nginx_gives_up_a_node_that_vanished_before_its_name_is_asked_again() {
    assert!(duration_of("nginx/gorani.conf", "proxy_connect_timeout") * 2 < asked_again_after());
}
