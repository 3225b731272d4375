//! Work queues: each message to one consumer, again until it is acknowledged, on one node and across a cluster whose nodes
//! die. `docs/protocols/stomp.md` §7 and §8.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use gorani_tests::{
    node::{Node, free_address},
    redis::Redis,
    stomp::{Frame, Stomp},
};

use super::{BACKEND, node, settings};

const JOBS: &str = "/queue/jobs";

fn consumer(tcp: SocketAddr, mode: &str, prefetch: usize) -> Stomp {
    let mut client = Stomp::connect(tcp, BACKEND);
    client.subscribe("0", JOBS, &format!("ack:{mode}\nprefetch-count:{prefetch}\n"));
    client
}

fn say_of(client: &mut Stomp, command: &str, message: &Frame) {
    let id = message.get("ack").expect("an ack header").replace('\\', "\\\\").replace(':', "\\c");
    client.say(&format!("{command}\nid:{id}\n\n\0"));
}

fn is_redelivered(message: &Frame) -> bool {
    message.get("redelivered") == Some("true")
}

#[test]
fn item_55_messages_wait_and_each_goes_to_one_of_those_who_listen() {
    let (_node, tcp) = node();
    let mut sender = Stomp::connect(tcp, BACKEND);
    for number in 0..6 {
        sender.send(JOBS, "kind:a\nreceipt:r\n", number.to_string().as_bytes());
        sender.receipt("r");
    }
    let mut one = consumer(tcp, "client-individual", 3);
    let first: Vec<Frame> = (0..3).map(|_| one.message()).collect();
    assert_eq!(first.iter().map(|message| message.text()).collect::<Vec<_>>(), ["0", "1", "2"]);
    assert_eq!((first[0].get("destination"), first[0].get("kind")), (Some(JOBS), Some("a")));
    let mut other = consumer(tcp, "auto", 3);
    assert_eq!((0..3).map(|_| other.message().text().to_owned()).collect::<Vec<_>>(), ["3", "4", "5"]);
    // What is sent now wakes whoever has room: the first holds as many as it may.
    sender.send(JOBS, "", b"6");
    assert_eq!(other.message().text(), "6");
    say_of(&mut one, "ACK", &first[1]);
    sender.send(JOBS, "", b"7");
    let mut got = vec![];
    let give_up = Instant::now() + ALL_WITHIN;
    while got.is_empty() {
        assert!(Instant::now() < give_up, "it goes to nobody");
        for client in [&mut one, &mut other] {
            client.wait_at_most(Duration::from_millis(200));
            got.extend(client.frame_or_end().ok().flatten());
        }
    }
    for client in [&mut one, &mut other] {
        client.wait_at_most(Duration::from_secs(1));
        got.extend(client.frame_or_end().ok().flatten());
    }
    assert_eq!(got.iter().map(|message| message.text()).collect::<Vec<_>>(), ["7"]);
}

#[test]
fn item_41_what_is_not_acknowledged_comes_again_and_says_so() {
    let (_node, tcp) = node();
    let mut sender = Stomp::connect(tcp, BACKEND);
    sender.send(JOBS, "receipt:r\n", b"job");
    sender.receipt("r");
    let mut one = consumer(tcp, "client-individual", 1);
    let message = one.message();
    assert!(!is_redelivered(&message));
    let mut other = consumer(tcp, "client", 1);
    say_of(&mut one, "NACK", &message);
    // Whoever gets it is told; then a connection that ends, and an UNSUBSCRIBE, give it back.
    drop(one);
    let message = other.message();
    assert!(is_redelivered(&message));
    other.say("UNSUBSCRIBE\nid:0\nreceipt:gone\n\n\0");
    other.receipt("gone");
    let mut last = consumer(tcp, "client", 1);
    let message = last.message();
    assert!(is_redelivered(&message));
    say_of(&mut last, "ACK", &message);
    say_of(&mut last, "ACK", &message);
    assert_eq!(last.frame().get("message"), Some("ACK of an unknown message"));
}

#[test]
fn item_40_client_acknowledges_all_before_and_client_individual_one() {
    let (_node, tcp) = node();
    let mut sender = Stomp::connect(tcp, BACKEND);
    for (mode, left) in [("client", vec!["2"]), ("client-individual", vec!["0", "2"])] {
        for number in 0..3 {
            sender.send(JOBS, "receipt:r\n", number.to_string().as_bytes());
            sender.receipt("r");
        }
        let mut client = consumer(tcp, mode, 3);
        let messages: Vec<Frame> = (0..3).map(|_| client.message()).collect();
        say_of(&mut client, "ACK", &messages[1]);
        client.say("DISCONNECT\nreceipt:bye\n\n\0");
        client.receipt("bye");
        drop(client);
        let mut next = consumer(tcp, "auto", 3);
        let again: Vec<String> = left.iter().map(|_| next.message().text().to_owned()).collect();
        assert_eq!(again, left, "{mode}");
        next.say("DISCONNECT\nreceipt:bye\n\n\0");
        next.receipt("bye");
    }
}

#[test]
fn item_43_acknowledgements_take_effect_at_commit_and_not_after_abort() {
    let (_node, tcp) = node();
    let mut sender = Stomp::connect(tcp, BACKEND);
    sender.send(JOBS, "receipt:r\n", b"job");
    sender.receipt("r");
    let mut client = consumer(tcp, "client-individual", 2);
    let message = client.message();
    let id = message.get("ack").unwrap().to_owned();
    client.say(&format!(
        "BEGIN\ntransaction:t\n\n\0ACK\nid:{id}\ntransaction:t\n\n\0ABORT\ntransaction:t\n\n\0"
    ));
    client.say("BEGIN\ntransaction:u\n\n\0");
    client.send(JOBS, "transaction:u\n", b"next");
    client.say(&format!("ACK\nid:{id}\ntransaction:u\n\n\0COMMIT\ntransaction:u\nreceipt:done\n\n\0"));
    let frames = [client.frame(), client.frame()];
    assert!(frames.iter().any(|frame| frame.get("receipt-id") == Some("done")), "{frames:?}");
    assert!(frames.iter().any(|frame| frame.text() == "next"), "{frames:?}");
    client.say(&format!("ACK\nid:{id}\n\n\0"));
    assert_eq!(client.frame().get("message"), Some("ACK of an unknown message"));
}

#[test]
fn a_message_that_nobody_handles_is_a_dead_letter() {
    let tcp = free_address();
    let _node = Node::start(settings(tcp).set("stomp.queue.max_attempts", "3"));
    let mut client = consumer(tcp, "client-individual", 1);
    client.send(JOBS, "priority:9\n", b"poison");
    for attempt in 1..=3 {
        let message = client.message();
        assert_eq!(is_redelivered(&message), attempt > 1);
        say_of(&mut client, "NACK", &message);
    }
    let mut undertaker = Stomp::connect(tcp, BACKEND);
    undertaker.subscribe("0", "/queue/jobs.dead", "");
    let letter = undertaker.message();
    assert_eq!((letter.text(), letter.get("priority")), ("poison", Some("9")));
    assert_eq!(
        (letter.get("dead-letter-from"), letter.get("dead-letter-attempts")),
        (Some("jobs"), Some("3"))
    );
}

#[test]
fn item_60_a_queue_that_is_full_refuses_and_says_so() {
    let tcp = free_address();
    let _node = Node::start(settings(tcp).set("stomp.queue.max_messages", "2"));
    let mut sender = Stomp::connect(tcp, BACKEND);
    for _ in 0..2 {
        sender.send(JOBS, "receipt:r\n", b"job");
        sender.receipt("r");
    }
    sender.send(JOBS, "receipt:r\n", b"job");
    let frame = sender.frame();
    assert_eq!((frame.command.as_str(), frame.get("message")), ("ERROR", Some("limit exceeded")));
    assert_eq!(frame.get("receipt-id"), Some("r"));
}

#[test]
fn queues_are_for_backends_unless_the_settings_say_more() {
    let (_node, tcp) = node();
    for frame in ["SEND\ndestination:/queue/open:a\n\n\0", "SUBSCRIBE\nid:0\ndestination:/queue/open:a\n\n\0"]
    {
        let mut client = Stomp::connect(tcp, "");
        client.say(frame);
        assert_eq!(client.frame().get("message"), Some("permission denied"));
    }
    let tcp = free_address();
    let _node = Node::start(settings(tcp).set("stomp.queue.allow_clients", "true"));
    let mut client = Stomp::connect(tcp, "");
    client.subscribe("0", "/queue/open:a", "");
    client.send("/queue/open:a", "", b"1");
    assert_eq!(client.message().text(), "1");
    client.say("SEND\ndestination:/queue/closed:a\n\n\0");
    assert_eq!(client.frame().get("message"), Some("permission denied"));
}

#[test]
fn a_backlog_larger_than_an_outbox_reaches_a_consumer_that_acknowledges_nothing() {
    let tcp = free_address();
    let _node = Node::start(settings(tcp).set("client.outbox_max_bytes", "65536"));
    let mut sender = Stomp::connect(tcp, BACKEND);
    let body = vec![b'x'; 20_000];
    for _ in 0..200 {
        sender.send(JOBS, "", &body);
    }
    sender.send(JOBS, "receipt:all\n", b"last");
    sender.receipt("all");
    let mut client = consumer(tcp, "auto", 32);
    for _ in 0..200 {
        assert_eq!(client.message().body.len(), 20_000);
    }
    assert_eq!(client.message().text(), "last");
}

/// Messages of the large test.
const MESSAGES: usize = 10_000;
/// Messages that each consumer works on at a time.
const UNDER_WAY: usize = 16;
/// Until all of them must be handled: a node that dies is noticed after its lease.
const ALL_WITHIN: Duration = Duration::from_secs(120);

#[test]
fn every_message_of_a_queue_is_handled_although_a_node_is_killed() {
    let redis = Redis::start();
    let tcp = [free_address(), free_address(), free_address()];
    let mut nodes = tcp.map(|tcp| {
        let settings = settings(tcp).set("broker.kind", "\"redis\"");
        Node::start(settings.set("broker.redis.url", format!("\"{}\"", redis.url())))
    });
    let handled: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    // What was shown and, as far as the client knows, not acknowledged when its node died.
    let shown: Arc<Mutex<Vec<String>>> = Arc::default();
    let redelivered = Arc::new(AtomicUsize::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let consumers = tcp.map(|tcp| {
        let (handled, shown) = (handled.clone(), shown.clone());
        let (redelivered, over) = (redelivered.clone(), over.clone());
        thread::spawn(move || {
            let mut client = consumer(tcp, "client-individual", 32);
            client.wait_at_most(Duration::from_millis(500));
            // A consumer that works on several at a time: its node never dies with nothing under way.
            let mut under_way = VecDeque::new();
            while !over.load(Ordering::Relaxed) {
                match client.frame_or_end() {
                    Ok(Some(message)) => {
                        assert_eq!(message.command, "MESSAGE", "{message:?}");
                        let id = message.get("message-id").unwrap().to_owned();
                        let was_shown = {
                            let mut shown = shown.lock().unwrap();
                            let was_shown = shown.contains(&id);
                            shown.push(id);
                            if shown.len() > 1000 {
                                shown.drain(..500);
                            }
                            was_shown
                        };
                        assert!(!was_shown || is_redelivered(&message), "shown again without a word");
                        redelivered.fetch_add(usize::from(is_redelivered(&message)), Ordering::Relaxed);
                        under_way.push_back(message);
                    }
                    Ok(None) => return,
                    Err(error)
                        if matches!(
                            error.kind(),
                            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                        ) => {}
                    Err(_) => return,
                }
                // The last ones too, once nothing more comes.
                let most = if handled.lock().unwrap().len() + 100 < MESSAGES { UNDER_WAY } else { 0 };
                while under_way.len() > most
                    && let Some(message) = under_way.pop_front()
                {
                    let ack = format!("ACK\nid:{}\n\n\0", message.get("ack").unwrap());
                    if client.try_say(&ack).is_err() {
                        return;
                    }
                    *handled.lock().unwrap().entry(message.text().to_owned()).or_default() += 1;
                }
            }
        })
    });
    let mut sender = Stomp::connect(tcp[0], BACKEND);
    for number in 0..MESSAGES {
        let receipt = if number % 100 == 99 { "receipt:r\n" } else { "" };
        sender.send(JOBS, receipt, number.to_string().as_bytes());
        if !receipt.is_empty() {
            sender.receipt("r");
        }
        if number == MESSAGES / 2 {
            nodes[2].kill();
        }
    }
    let give_up = Instant::now() + ALL_WITHIN;
    while handled.lock().unwrap().len() < MESSAGES {
        assert!(Instant::now() < give_up, "only {} of {MESSAGES} handled", handled.lock().unwrap().len());
        thread::sleep(Duration::from_millis(50));
    }
    over.store(true, Ordering::Relaxed);
    consumers.into_iter().for_each(|consumer| consumer.join().unwrap());
    let twice = handled.lock().unwrap().values().filter(|count| **count > 1).count();
    // No more than the dead node's consumer held.
    assert!(twice <= 32, "{twice} messages came twice");
    assert!(
        redelivered.load(Ordering::Relaxed) >= UNDER_WAY,
        "what the dead node's consumer held came again"
    );
}

#[test]
fn a_channel_with_the_name_of_a_queues_wake_is_refused_to_backends_and_clients() {
    const WAKE: &str = "queue wake jobs";
    let (node, tcp) = node();
    for (method, body) in [
        ("publish", format!(r#"{{"channel":"{WAKE}","data":1}}"#)),
        ("history", format!(r#"{{"channel":"{WAKE}"}}"#)),
        ("presence", format!(r#"{{"channel":"{WAKE}"}}"#)),
        ("subscribe", format!(r#"{{"channel":"{WAKE}","user":"42"}}"#)),
    ] {
        let (status, answer) = node.api().post(&format!("/api/{method}"), body.as_bytes());
        assert!(status == 400 && answer.contains(r#""code":107"#), "{method}: {status} {answer}");
    }
    for frame in [
        format!("SUBSCRIBE\nid:0\ndestination:/topic/{WAKE}\nreceipt:r\n\n\0"),
        format!("SEND\ndestination:/topic/{WAKE}\nreceipt:r\n\n1\0"),
    ] {
        let mut client = Stomp::connect(tcp, BACKEND);
        client.say(&frame);
        let answer = client.frame();
        assert_eq!((answer.command.as_str(), answer.get("code")), ("ERROR", Some("107")), "{frame}");
    }
}
