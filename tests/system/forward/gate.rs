//! Forged and replayed requests between nodes. What a node wrote is caught by a wire tap at its address for others.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use gorani_tests::{node::Node, raw::RawSocket, redis::Redis};
use serde_json::json;

use super::{Stream, answer, send, settings};

/// Passes bytes on to a node and keeps those that go to it.
pub(crate) struct Tap {
    pub(crate) address: SocketAddr,
    node: Arc<Mutex<Option<SocketAddr>>>,
    caught: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (node, caught) = (Arc::<Mutex<Option<SocketAddr>>>::default(), Arc::<Mutex<Vec<u8>>>::default());
        let (to, kept) = (node.clone(), caught.clone());
        thread::spawn(move || {
            for from in listener.incoming().map_while(Result::ok) {
                let node = TcpStream::connect(to.lock().unwrap().unwrap()).unwrap();
                let (mut back, mut client) = (node.try_clone().unwrap(), from.try_clone().unwrap());
                thread::spawn(move || std::io::copy(&mut back, &mut client));
                let kept = kept.clone();
                thread::spawn(move || pass(from, node, &kept));
            }
        });
        Self { address, node, caught }
    }

    /// The node behind it.
    pub(crate) fn lead_to(&self, node: SocketAddr) {
        *self.node.lock().unwrap() = Some(node);
    }

    /// The bytes that came so far.
    pub(crate) fn caught(&self) -> Vec<u8> {
        self.caught.lock().unwrap().clone()
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, kept: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        kept.lock().unwrap().extend_from_slice(&buffer[..read]);
        if to.write_all(&buffer[..read]).is_err() {
            return;
        }
    }
}

#[test]
fn what_was_sealed_is_taken_once_and_only_as_it_was() {
    let redis = Redis::start();
    let tap = Tap::start();
    let owner = Node::start(settings(&redis).set("cluster.advertise", format!("\"{}\"", tap.address)));
    tap.lead_to(owner.address());
    let edge = Node::start(settings(&redis));
    let third = Node::start(settings(&redis));
    let mut stream = Stream::open(owner.address());
    assert_eq!(stream.post(edge.address(), "subscribe", json!({"channel": "open:a"})), 204);
    assert!(stream.object()["subscribe"].is_object());
    assert_eq!(stream.post(edge.address(), "publish", json!({"channel": "open:a", "data": "once"})), 204);
    assert_eq!(stream.publication(), "once");

    let caught = String::from_utf8(tap.caught()).unwrap();
    let request = &caught[caught.rfind("POST ").unwrap()..];
    assert!(request.contains("once"), "{request}");
    let refused = |address: SocketAddr, request: &str| {
        let mut socket = RawSocket::connect(address);
        socket.write(request.as_bytes()).unwrap();
        let (head, _) = answer(socket);
        assert_eq!(head.status, 403, "{request}");
    };
    refused(owner.address(), request);
    refused(third.address(), request);
    refused(owner.address(), &request.replace("once", "more"));
    refused(owner.address(), &request.replace("POST /emulation", "POST /emulation?x"));
    let seal = request.lines().find(|line| line.starts_with("x-gorani-forward:")).unwrap();
    refused(owner.address(), &request.replace(seal, &format!("{seal}\r\n{seal}")));
    let words: Vec<&str> = seal.split(' ').collect();
    let next = words[4].parse::<u64>().unwrap() + 1;
    refused(
        owner.address(),
        &request.replace(seal, &seal.replacen(&format!(" {} ", words[4]), &format!(" {next} "), 1)),
    );

    // None of them was acted upon: the next that comes is this one.
    assert_eq!(stream.post(edge.address(), "publish", json!({"channel": "open:a", "data": "last"})), 204);
    assert_eq!(stream.publication(), "last");
}

#[test]
fn made_up_seals_are_refused_everywhere() {
    let alone = Node::start(gorani_tests::node::Settings::open());
    let stream = Stream::open(alone.address());
    let body = json!({"session": stream.session, "node": stream.node, "data": "{}"}).to_string();
    for seal in
        ["", "1", "1 a b 1 - AAAA", &format!("1 00000000 {} 1 127.0.0.1:1 {}", stream.node, "A".repeat(43))]
    {
        let headers = format!("x-gorani-forward: {seal}\r\n");
        assert_eq!(
            answer(send(alone.address(), "POST", "/emulation", &headers, &body)).0.status,
            403,
            "{seal}"
        );
    }
}
