//! What a balancer may send twice: a GET, never a POST. A publication that a node accepted before it broke off would be there twice.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use gorani_tests::{
    balancer::{Balancer, Kind},
    node::free_address,
    raw::RawSocket,
};

/// What a false node does with a request that is not about its health.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// Reads it and closes.
    BreaksOff,
    /// Answers that it is draining.
    Refuses,
}

/// Stands in for a node: it is healthy, counts requests, and has a fault.
fn false_node(fault: Fault, requests: &Arc<AtomicUsize>) -> SocketAddr {
    let address = free_address();
    let (listener, requests) = (TcpListener::bind(address).unwrap(), requests.clone());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let requests = requests.clone();
            thread::spawn(move || serve(stream.unwrap(), fault, &requests));
        }
    });
    address
}

fn serve(mut stream: TcpStream, fault: Fault, requests: &AtomicUsize) {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        request.push(byte[0]);
    }
    if !request.ends_with(b"\r\n\r\n") {
        // A check that was given up before it said anything.
        return;
    }
    let answer = if request.starts_with(b"GET /health/") {
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    } else {
        requests.fetch_add(1, Ordering::SeqCst);
        match fault {
            Fault::BreaksOff => return,
            Fault::Refuses => {
                if request.starts_with(b"POST ") {
                    // The end of a socket with unread bytes is a reset, which may take the answer along.
                    let _ = stream.read_exact(&mut [0; 2]);
                }
                "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            }
        }
    };
    // A check that goes away early is no news.
    let _ = stream.write_all(answer.as_bytes());
}

/// Sends one request through a balancer in front of three nodes with this fault: the status, and how many of them got it.
fn sent(kind: Kind, fault: Fault, request: &str) -> (u16, usize) {
    let requests = Arc::default();
    let nodes = [(); 3].map(|()| false_node(fault, &requests));
    let balancer = Balancer::start(kind, nodes);
    let mut client = RawSocket::connect(balancer.address());
    client.write(request.as_bytes()).unwrap();
    (client.read_head().unwrap().status, requests.load(Ordering::SeqCst))
}

const PUBLISH: &str = "POST /api/publish HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}";
const STREAM: &str = "GET /connection/sse HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn a_publish_whose_node_breaks_off_is_sent_to_no_other() {
    for kind in [Kind::Nginx, Kind::Haproxy] {
        assert_eq!(sent(kind, Fault::BreaksOff, PUBLISH), (502, 1), "{kind:?}");
    }
}

#[test]
fn a_publish_that_a_node_refuses_is_sent_to_no_other_and_its_answer_is_passed_on() {
    for kind in [Kind::Nginx, Kind::Haproxy] {
        assert_eq!(sent(kind, Fault::Refuses, PUBLISH), (503, 1), "{kind:?}");
    }
}

#[test]
fn a_stream_that_a_draining_node_refuses_is_tried_on_others() {
    for kind in [Kind::Nginx, Kind::Haproxy] {
        let (status, requests) = sent(kind, Fault::Refuses, STREAM);
        assert!(matches!(status, 502 | 503), "{kind:?}: {status}");
        assert!(requests > 1, "{kind:?}: {requests}");
    }
}
