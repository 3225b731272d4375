//! An embedder's handler over SockJS: the same code as on a WebSocket, and a session that is of nobody but its principal.
//! `docs/protocols/sockjs.md` §4.4 and §7.3.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
};

use gorani::{Disconnect, HandlerResult, Refusal, Registration, SessionHandle, SockJs, WebSocketHandler};

use crate::node::{Node, TIME_LIMIT, settings};

/// Says who sent what, on which path; tells the test of its end.
struct Herald {
    ended: SyncSender<String>,
}

impl WebSocketHandler for Herald {
    fn text(&mut self, session: &SessionHandle, text: &str) -> HandlerResult {
        let who = session.principal().unwrap_or("nobody");
        Ok(session.send_text(format!("{who} {} {text}", session.path()))?)
    }

    fn binary(&mut self, session: &SessionHandle, data: &[u8]) -> HandlerResult {
        Ok(session.send_binary(data.to_vec())?)
    }

    fn closed(&mut self, _session: &SessionHandle, status: &Disconnect) {
        self.ended.send(format!("{} {}", status.code, status.reason)).unwrap();
    }
}

/// A node with the handler, where the header `user` names the principal and is required, and the ends of its sessions.
fn node() -> (Node, Receiver<String>) {
    let (ended, ends) = sync_channel(16);
    let registration = Registration::guarded(move |request, admission| {
        let user = request.header("user").ok_or_else(|| Refusal::new(401, "who are you?"))?;
        admission.set_principal(user);
        Ok(Herald { ended: ended.clone() })
    });
    let node = Node::start(settings(), |node| node.handler("/herald", registration.sockjs(SockJs::new())));
    (node, ends)
}

fn begin(node: &Node, path: &str, user: &str, body: &str) -> TcpStream {
    let mut stream = node.tcp();
    let length = body.len();
    let user = if user.is_empty() { String::new() } else { format!("user: {user}\r\n") };
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{user}Content-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    stream
}

/// Status and body.
fn post(node: &Node, path: &str, user: &str, body: &str) -> (u16, String) {
    let mut answer = String::new();
    begin(node, path, user, body).read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[test]
fn the_same_handler_answers_on_a_websocket_and_on_a_fallback() {
    let (node, _ends) = node();
    let request = node.request("/herald").with_header("user", "ann");
    let mut client = node.open_with(request).unwrap().0;
    client.send("hello");
    assert_eq!(client.text(), "ann /herald hello");

    assert_eq!(post(&node, "/herald/0/a/xhr", "ann", ""), (200, "o\n".to_owned()));
    assert_eq!(post(&node, "/herald/0/a/xhr_send", "ann", "[\"hello\"]").0, 204);
    assert_eq!(post(&node, "/herald/0/a/xhr", "ann", "").1, "a[\"ann /herald hello\"]\n");
}

#[test]
fn what_the_guard_refuses_opens_no_session() {
    let (node, _ends) = node();
    assert_eq!(post(&node, "/herald/0/a/xhr", "", ""), (401, "who are you?".to_owned()));
    assert_eq!(post(&node, "/herald/0/a/xhr_send", "ann", "[\"x\"]").0, 404);
}

#[test]
fn item_42_a_session_takes_requests_of_its_principal_only() {
    let (node, _ends) = node();
    assert_eq!(post(&node, "/herald/0/a/xhr", "ann", "").1, "o\n");
    for other in ["bob", ""] {
        for path in ["/herald/0/a/xhr", "/herald/0/a/xhr_streaming", "/herald/0/a/xhr_send"] {
            let (status, body) = post(&node, path, other, "[\"x\"]");
            assert!(matches!(status, 401 | 403), "{path} as {other:?}: {status} {body}");
        }
    }
    assert_eq!(post(&node, "/herald/0/a/xhr_send", "ann", "[\"mine\"]").0, 204);
    assert_eq!(post(&node, "/herald/0/a/xhr", "ann", "").1, "a[\"ann /herald mine\"]\n");
}

#[test]
fn item_16_the_handler_hears_at_once_and_only_once_that_its_client_was_lost() {
    let (mut node, ends) = node();
    let mut stream = begin(&node, "/herald/0/a/xhr_streaming", "ann", "");
    // The head, the prelude, and the frame that opens.
    let mut seen = Vec::new();
    while !seen.ends_with(b"o\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        seen.push(byte[0]);
    }
    stream.shutdown(Shutdown::Both).unwrap();
    assert_eq!(ends.recv_timeout(TIME_LIMIT).unwrap(), "1006 connection lost");
    assert_eq!(post(&node, "/herald/0/a/xhr", "ann", "").1, "c[1002,\"Connection interrupted\"]\n");
    node.stop();
    assert!(ends.try_recv().is_err());
}
