//! The bytes that the Dart and the Swift SDK send, and what they need of the answers. Neither runs where these tests do;
//! `recorded/*.txt` says how the bytes were made.
//!
//! Of an answer these SDKs want: the id of the command; a result's presence even where it is empty (Dart throws at a reply without
//! one); a push without an id; and a ping as a message without any field, which they answer with another one.

use std::collections::BTreeMap;

use gorani_tests::node::{Node, Settings};
use serde_json::json;

use super::{ProtobufSocket, fields, get};

const SECRET: &str = "the secret of the recorded bytes, 32 or more";
const EPOCH_BYTES: usize = 8;

/// The frames of an SDK by their names.
struct Recording(BTreeMap<&'static str, String>);

impl Recording {
    fn of(text: &'static str) -> Self {
        let mut frames = BTreeMap::new();
        let mut name = "";
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if line.starts_with(' ') {
                frames.entry(name).or_insert_with(String::new).push_str(line);
            } else {
                name = line;
            }
        }
        Self(frames)
    }

    fn frame(&self, name: &str, epoch: &[u8]) -> Vec<u8> {
        let text = self.0.get(name).unwrap_or_else(|| panic!("no frame {name}"));
        let piece = |word| match word {
            "{epoch}" => epoch.to_vec(),
            byte => vec![u8::from_str_radix(byte, 16).unwrap()],
        };
        text.split_whitespace().flat_map(piece).collect()
    }
}

/// A client of an SDK: one command is one frame.
struct Sdk<'a> {
    recording: &'a Recording,
    socket: ProtobufSocket,
    epoch: Vec<u8>,
    pushes: Vec<Vec<u8>>,
    pings: usize,
}

impl<'a> Sdk<'a> {
    fn open(node: &Node, recording: &'a Recording, epoch: Vec<u8>) -> Self {
        Self { recording, socket: ProtobufSocket::open(node), epoch, pushes: Vec::new(), pings: 0 }
    }

    fn send(&mut self, name: &str) {
        self.socket.send(&self.recording.frame(name, &self.epoch));
    }

    /// Takes a frame as the SDKs do: replies are returned, pings answered, pushes kept.
    fn take(&mut self) -> Vec<Vec<u8>> {
        let mut replies = Vec::new();
        for message in self.socket.read() {
            let known = fields(&message);
            match known.first().map(|(number, _)| *number) {
                None => {
                    self.pings += 1;
                    self.send("pong");
                }
                Some(1) => replies.push(message),
                Some(4) => self.pushes.push(get(&message, &[4])),
                other => panic!("field {other:?} first in {message:?}"),
            }
        }
        replies
    }

    /// Sends a command and returns the reply, which must have this id and one field beside it: the result `field`.
    fn call(&mut self, name: &str, id: u64, field: u8) -> Vec<u8> {
        self.send(name);
        let reply = self.reply();
        let all = fields(&reply);
        assert!(all.len() == 2 && all[0] == (1, id.to_be_bytes().to_vec()), "{name}: {reply:?}");
        assert_eq!(all[1].0, field, "{name}: {reply:?}");
        all[1].1.clone()
    }

    fn reply(&mut self) -> Vec<u8> {
        loop {
            if let Some(reply) = self.take().pop() {
                return reply;
            }
        }
    }

    fn push(&mut self) -> Vec<u8> {
        while self.pushes.is_empty() {
            assert!(self.take().is_empty(), "a reply to nothing");
        }
        self.pushes.remove(0)
    }
}

fn number(message: &[u8], path: &[u8]) -> u64 {
    u64::from_be_bytes(get(message, path).try_into().expect("a number"))
}

fn play(text: &'static str) {
    let namespace = r#"{ name = "open", history_size = 100, history_ttl = "300s", force_recovery = true, presence = true,
        allow_subscribe_for_client = true, allow_publish_for_subscriber = true, allow_presence_for_subscriber = true,
        allow_history_for_subscriber = true }"#;
    let settings = Settings::open()
        .set("channel.namespaces", format!("[{}]", namespace.replace('\n', " ")))
        .set("token.hmac_secret", format!("\"{SECRET}\""))
        .set("client.ping_interval", "\"5s\"")
        .set("client.pong_timeout", "\"4s\"");
    let node = Node::start(settings);
    let recording = Recording::of(text);
    let mut sdk = Sdk::open(&node, &recording, Vec::new());

    let connected = sdk.call("connect", 1, 5);
    assert!(!get(&connected, &[1]).is_empty());
    // Seconds between pings, and that they are to be answered.
    assert_eq!((number(&connected, &[7]), number(&connected, &[8])), (5, 1));
    // A server-side subscription: its name, and a result that says where it is.
    let chosen = get(&connected, &[6]);
    assert_eq!(get(&chosen, &[1]), b"open:chosen");
    assert_eq!(number(&chosen, &[2, 3]), 1);

    let subscribed = sdk.call("subscribe", 2, 6);
    assert_eq!((number(&subscribed, &[3]), number(&subscribed, &[10])), (1, 1));
    sdk.epoch = get(&subscribed, &[6]);
    assert_eq!(sdk.epoch.len(), EPOCH_BYTES);

    assert_eq!(sdk.call("publish", 3, 8), b"");
    let push = sdk.push();
    assert_eq!(get(&push, &[2]), b"open:sdk");
    assert_eq!(get(&push, &[4, 4]), br#"{"n":1}"#);
    assert_eq!((get(&push, &[4, 5, 1]), number(&push, &[4, 6])), (b"phone".to_vec(), 1));

    for (name, id) in [("history", 4), ("history_since", 5)] {
        let page = sdk.call(name, id, 11);
        assert_eq!(get(&page, &[1, 4]), br#"{"n":1}"#, "{name}");
        assert_eq!((get(&page, &[2]), number(&page, &[3])), (sdk.epoch.clone(), 1), "{name}");
    }
    let present = sdk.call("presence", 6, 9);
    assert_eq!(get(&present, &[1, 2, 1]), b"phone");
    let stats = sdk.call("presence_stats", 7, 10);
    assert_eq!((number(&stats, &[1]), number(&stats, &[2])), (1, 1));
    let refused = sdk.call("rpc", 8, 2);
    assert_eq!(number(&refused, &[1]), 108);
    sdk.call("subscribe_private", 9, 6);
    // Tokens without an end: nothing is said of an end.
    assert_eq!(sdk.call("sub_refresh", 10, 15), b"");
    let refreshed = sdk.call("refresh", 11, 14);
    assert!(fields(&refreshed).iter().all(|(field, _)| matches!(field, 1 | 2)), "{refreshed:?}");
    assert_eq!(sdk.call("unsubscribe", 12, 7), b"");

    // The second ping comes only if the pong to the first one was understood.
    while sdk.pings < 2 {
        assert!(sdk.take().is_empty(), "a reply to nothing");
    }
    let epochs = (get(&chosen, &[2, 6]), sdk.epoch.clone());
    drop(sdk);

    // It comes back with what it knows. Of the channel that the server chose it knows the first publication.
    for number in 1..=3 {
        node.api().publish("open:chosen", &json!(number));
        node.api().publish("open:sdk", &json!(number));
    }
    let mut again = Sdk::open(&node, &recording, epochs.0);
    let connected = again.call("connect_again", 1, 5);
    let recovered: Vec<Vec<u8>> = of(&get(&connected, &[6, 2]), 7).iter().map(|one| get(one, &[4])).collect();
    assert_eq!(recovered, [b"2", b"3"]);
    assert_eq!((number(&connected, &[6, 2, 8]), number(&connected, &[6, 2, 12])), (1, 1));
    again.epoch = epochs.1;
    let subscribed = again.call("subscribe_again", 2, 6);
    let recovered: Vec<Vec<u8>> = of(&subscribed, 7).iter().map(|one| get(one, &[4])).collect();
    assert_eq!(recovered, [b"1", b"2", b"3"]);
    assert_eq!((number(&subscribed, &[8]), number(&subscribed, &[12])), (1, 1));

    // A `send` has no id, so that there is no other way to say that nobody takes it.
    again.send("send");
    assert_eq!(again.socket.closed_with(), 3508);
}

/// All values of a field.
fn of(message: &[u8], number: u8) -> Vec<Vec<u8>> {
    fields(message).into_iter().filter(|(known, _)| *known == number).map(|(_, value)| value).collect()
}

#[test]
fn dart_is_understood_and_answered_with_what_it_expects() {
    play(include_str!("recorded/dart.txt"));
}

#[test]
fn swift_is_understood_and_answered_with_what_it_expects() {
    play(include_str!("recorded/swift.txt"));
}
