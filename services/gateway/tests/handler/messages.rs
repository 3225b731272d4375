//! Messages: the order and the thread of callbacks, the order of what is sent, parts.

use std::{collections::HashMap, sync::mpsc::SyncSender, sync::mpsc::sync_channel, thread};

use gorani::{Gorani, HandlerResult, MessageKind, Part, SessionHandle, WebSocketHandler};
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};

use crate::{
    node::{Node, TIME_LIMIT, settings},
    probe::Bench,
};

fn fragment(kind: Data, data: &[u8], last: bool) -> Message {
    Message::Frame(Frame::message(data.to_vec(), OpCode::Data(kind), last))
}

#[test]
fn callbacks_of_a_session_come_in_order_and_on_one_thread() {
    const MESSAGES: usize = 300;
    let mut settings = settings();
    settings.http.workers = 2;
    let bench = Bench::start_with(settings, "");
    let mut clients: Vec<_> = (0..4).map(|_| bench.node.open("/probe")).collect();
    thread::scope(|scope| {
        for client in &mut clients {
            scope.spawn(move || {
                for number in 0..MESSAGES {
                    client.send(&number.to_string());
                }
                for number in 0..MESSAGES {
                    assert_eq!(client.text(), number.to_string());
                }
            });
        }
    });
    let mut sessions: HashMap<String, Vec<_>> = HashMap::new();
    for call in bench.calls.try_iter() {
        sessions.entry(call.session).or_default().push((call.what, call.thread));
    }
    assert_eq!(sessions.len(), 4);
    let expected: Vec<_> = std::iter::once("opened".to_owned())
        .chain((0..MESSAGES).map(|number| format!("text {number}")))
        .collect();
    for calls in sessions.values() {
        let (what, threads): (Vec<_>, Vec<_>) = calls.iter().cloned().unzip();
        assert_eq!(what, expected);
        assert!(threads.iter().all(|thread| *thread == threads[0]));
    }
}

#[test]
fn what_several_threads_send_arrives_in_the_order_of_each() {
    const THREADS: usize = 4;
    const MESSAGES: usize = 500;
    let bench = Bench::start();
    let mut client = bench.node.open("/probe");
    let session = bench.handles.recv_timeout(TIME_LIMIT).unwrap();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let session = session.clone();
            scope.spawn(move || {
                for number in 0..MESSAGES {
                    session.send_text(format!("{thread} {number}")).unwrap();
                }
            });
        }
        let mut next = [0; THREADS];
        for _ in 0..THREADS * MESSAGES {
            let text = client.text();
            let (thread, number) = text.split_once(' ').unwrap();
            let thread: usize = thread.parse().unwrap();
            assert_eq!(number.parse::<usize>().unwrap(), next[thread]);
            next[thread] += 1;
        }
    });
}

#[test]
fn text_and_binary_arrive_as_what_they_were_sent() {
    let bench = Bench::start();
    let mut client = bench.node.open("/probe");
    let session = bench.handles.recv_timeout(TIME_LIMIT).unwrap();
    session.send_text("고라니").unwrap();
    session.send_binary(vec![0, 159, 146, 150]).unwrap();
    session.send_text("").unwrap();
    assert_eq!(client.0.read().unwrap(), Message::text("고라니"));
    assert_eq!(client.0.read().unwrap(), Message::binary(vec![0, 159, 146, 150]));
    assert_eq!(client.0.read().unwrap(), Message::text(""));
}

#[test]
fn a_binary_message_that_the_handler_does_not_take_ends_it_with_1003() {
    let bench = Bench::start();
    let mut client = bench.node.open("/probe");
    client.0.send(Message::binary(vec![1])).unwrap();
    assert_eq!(client.closed().0, 1003);
}

#[test]
fn a_pong_keeps_its_place_between_the_messages() {
    let bench = Bench::start();
    let mut client = bench.node.open("/probe");
    client.0.write(fragment(Data::Text, b"two ", false)).unwrap();
    client.0.write(Message::Ping(vec![7].into())).unwrap();
    client.0.write(fragment(Data::Continue, b"parts", true)).unwrap();
    client.0.write(Message::Ping(vec![8].into())).unwrap();
    client.0.flush().unwrap();
    assert_eq!(client.0.read().unwrap(), Message::Pong(vec![7].into()));
    assert_eq!(client.0.read().unwrap(), Message::text("two parts"));
    assert_eq!(client.0.read().unwrap(), Message::Pong(vec![8].into()));
}

/// Hands on the parts that it gets.
struct Parts(SyncSender<(MessageKind, Vec<u8>, bool)>);

impl WebSocketHandler for Parts {
    fn wants_partial_messages() -> bool {
        true
    }

    fn text(&mut self, _session: &SessionHandle, text: &str) -> HandlerResult {
        self.0.send((MessageKind::Text, text.as_bytes().to_vec(), true))?;
        Ok(())
    }

    fn partial(&mut self, _session: &SessionHandle, part: Part<'_>) -> HandlerResult {
        self.0.send((part.kind, part.data.to_vec(), part.last))?;
        Ok(())
    }
}

#[test]
fn parts_are_handed_on_as_they_arrive_and_text_is_cut_between_characters() {
    let (parts, seen) = sync_channel(1000);
    let node = Node::start(settings(), |node: Gorani| node.handler("/parts", move || Parts(parts.clone())));
    let mut client = node.open("/parts");
    let text = "고라니";
    let (head, tail) = text.as_bytes().split_at(4);
    client.0.send(fragment(Data::Text, head, false)).unwrap();
    // The first part is here before the second is sent.
    let first = seen.recv_timeout(TIME_LIMIT).unwrap();
    assert_eq!(first, (MessageKind::Text, "고".as_bytes().to_vec(), false));
    client.0.send(fragment(Data::Continue, tail, true)).unwrap();
    let mut got = first.1;
    loop {
        let (kind, data, last) = seen.recv_timeout(TIME_LIMIT).unwrap();
        assert_eq!(kind, MessageKind::Text);
        got.extend(data);
        if last {
            break;
        }
    }
    assert_eq!(got, text.as_bytes());
    client.send("whole");
    assert_eq!(seen.recv_timeout(TIME_LIMIT).unwrap(), (MessageKind::Text, b"whole".to_vec(), true));
}
