//! Who a client is, for a node behind a balancer: limits by address hold for clients, not for the balancer, and nobody can claim to be another.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use gorani_tests::{
    balancer::{Balancer, Kind},
    client::PATH,
    node::{Node, Settings},
    raw::handshake,
};
use socket2::{Domain, Socket, Type};

/// Handshakes of one address in a row; more than it may make in the time that they take.
const HANDSHAKES: usize = 12;

/// The status that a handshake gets that comes from this address of the loopback.
fn status_from(source: Ipv4Addr, to: SocketAddr, extra: &str) -> u16 {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    stream.write_all(handshake(to, PATH, extra).as_bytes()).unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).unwrap();
    std::str::from_utf8(&start[9..]).unwrap().parse().unwrap()
}

/// A balancer on 127.0.0.1 in front of a node that lets an address shake hands once a second.
fn start(kind: Kind, trusted: &str) -> (Balancer, Node) {
    let settings = Settings::open()
        .set("http.handshakes_per_second", "1")
        .set("http.trusted_proxies", format!("[{trusted}]"));
    let node = Node::start(settings);
    (Balancer::start(kind, [node.address(); 3]), node)
}

#[test]
fn behind_a_trusted_balancer_each_client_has_its_own_handshakes_whatever_it_claims() {
    for kind in [Kind::Nginx, Kind::Haproxy] {
        let (balancer, _node) = start(kind, "\"127.0.0.1\"");
        for last in 10..10 + HANDSHAKES {
            let source = Ipv4Addr::new(127, 0, 0, u8::try_from(last).unwrap());
            assert_eq!(status_from(source, balancer.address(), ""), 101, "{kind:?}: {source}");
        }
        let claim = |number: usize| format!("X-Forwarded-For: 198.51.100.{number}\r\n");
        let one = Ipv4Addr::new(127, 0, 0, 9);
        let statuses: Vec<_> =
            (0..HANDSHAKES).map(|number| status_from(one, balancer.address(), &claim(number))).collect();
        assert!(statuses[0] == 101 && statuses.contains(&429), "{kind:?}: {statuses:?}");
    }
}

#[test]
fn a_balancer_that_is_not_trusted_is_one_client() {
    let (balancer, _node) = start(Kind::Nginx, "");
    let sources = (10..10 + HANDSHAKES).map(|last| Ipv4Addr::new(127, 0, 0, u8::try_from(last).unwrap()));
    let statuses: Vec<_> = sources.map(|source| status_from(source, balancer.address(), "")).collect();
    assert!(statuses.contains(&429), "{statuses:?}");
}
