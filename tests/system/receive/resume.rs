//! Each way a client names its channels and says how far it has come, over each way to receive that takes it: honoured, or told
//! why not. `docs/protocols/http.md` §7.5 to §7.9.

use std::collections::BTreeMap;

use gorani_tests::{
    node::{Node, Settings},
    raw::{RawSocket, opcode},
    stream::Stream,
};
use serde_json::{Value, json};

use super::{SECRET, code_of, publish, settings, token, transport::percent};

/// A way to receive by GET.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Get {
    UniSse,
    UniHttpStream,
    UniWebSocket,
    Poll,
    WaitingPoll,
}

const GETS: [Get; 5] = [Get::UniSse, Get::UniHttpStream, Get::UniWebSocket, Get::Poll, Get::WaitingPoll];

/// What comes: a stream's first object or a poll's answer, and then publications.
struct Receiver {
    get: Get,
    first: Value,
    /// A stream's.
    source: Option<Source>,
}

enum Source {
    Http(Stream),
    WebSocket(RawSocket),
}

impl Source {
    fn object(&mut self, get: Get) -> Value {
        let text = match self {
            Self::Http(stream) if get == Get::UniSse => stream.event().unwrap().expect("an event").data,
            Self::Http(stream) => stream.line().unwrap().expect("a line"),
            Self::WebSocket(socket) => {
                let frame = socket.read_frame().unwrap();
                assert_eq!(frame.opcode, opcode::TEXT, "{frame:?}");
                String::from_utf8(frame.payload).unwrap()
            }
        };
        serde_json::from_str(&text).unwrap()
    }
}

impl Receiver {
    fn open(node: &Node, get: Get, query: &str, headers: &str) -> Self {
        let stream = |path: &str| {
            let target = format!("/connection/{path}?{query}");
            let mut stream = Stream::open(node.address(), "GET", &target, headers, "");
            let status = stream.head.status;
            if status != 200 {
                panic!("{get:?} {query} {headers}: {status} {}", stream.rest().unwrap());
            }
            stream
        };
        let mut source = match get {
            Get::UniSse => Source::Http(stream("uni_sse")),
            Get::UniHttpStream => Source::Http(stream("uni_http_stream")),
            Get::UniWebSocket => {
                let path = format!("/connection/uni_websocket?{query}");
                Source::WebSocket(RawSocket::websocket(node.address(), &path, headers))
            }
            Get::Poll | Get::WaitingPoll => {
                let wait = if get == Get::WaitingPoll { "poll?wait=60&" } else { "poll?" };
                let target = format!("/connection/{wait}{query}");
                let mut stream = Stream::open(node.address(), "GET", &target, headers, "");
                let body = stream.rest().unwrap();
                assert_eq!(stream.head.status, 200, "{query} {headers}: {body}");
                return Self { get, first: serde_json::from_str(&body).unwrap(), source: None };
            }
        };
        let first = source.object(get);
        Self { get, first, source: Some(source) }
    }

    /// So many publications: their data by channel.
    fn take(&mut self, count: usize) -> BTreeMap<String, Vec<Value>> {
        let mut taken = BTreeMap::<String, Vec<Value>>::new();
        let mut note = |object: &Value| {
            let channel = object["channel"].as_str().unwrap_or_else(|| panic!("{object}")).to_owned();
            taken.entry(channel).or_default().push(object["pub"]["data"].clone());
        };
        match &mut self.source {
            Some(source) => (0..count).for_each(|_| note(&source.object(self.get))),
            None => {
                let publications = self.first["publications"].as_array().unwrap();
                assert_eq!(publications.len(), count, "{}", self.first);
                publications.iter().for_each(note);
            }
        }
        taken
    }

    /// Why it does not go on from where it was in this channel; `None`: it does, or did not say where that was.
    fn unrecovered(&self, channel: &str) -> Option<String> {
        let told = if self.source.is_some() {
            let sub = &self.first["connect"]["subs"][channel];
            assert!(sub.is_object(), "{:?}: no {channel} in {}", self.get, self.first);
            let reason = &sub["unrecovered_reason"];
            assert_eq!(reason.is_string(), sub["recovered"] == false && sub["was_recovering"] == true);
            reason
        } else {
            let told = &self.first["unrecovered"];
            let is_told = told.as_array().is_some_and(|told| told.contains(&json!(channel)));
            let reason = &self.first["unrecovered_reasons"][channel];
            assert_eq!(reason.is_string(), is_told, "{}", self.first);
            reason
        };
        told.as_str().map(str::to_owned)
    }
}

/// From where to ask on in these channels.
fn position(node: &Node, query: &str) -> String {
    let receiver = Receiver::open(node, Get::Poll, query, "");
    receiver.first["position"].as_str().unwrap().to_owned()
}

/// A query that says this position, and headers that do.
fn saying(position: &str) -> Vec<(String, String)> {
    let percented = percent(position);
    let mut ways: Vec<_> = ["lastEventId", "lastEventID", "Last-Event-ID", "evs_last_event_id", "position"]
        .iter()
        .map(|name| (format!("&{name}={percented}"), String::new()))
        .collect();
    ways.push((String::new(), format!("Last-Event-ID: {position}\r\n")));
    // A reconnect repeats the address that the client began with.
    ways.push(("&position=".to_owned(), format!("Last-Event-ID: {position}\r\n")));
    ways.push((format!("&position=x.1.y&lastEventId={percented}"), String::new()));
    ways
}

#[test]
fn many_channels_are_named_and_resumed_in_every_way_by_every_get() {
    let node = Node::start(settings());
    let channels: Vec<String> = (0..40).map(|n| format!("news:many-{n}-of-them~and=odd&names")).collect();
    let listed: Vec<_> = channels.iter().map(|channel| percent(channel)).collect();
    let split = listed.split_at(20);
    let named = [
        format!("channels={}", listed.join(",")),
        format!("channels={}", listed.join("%2C")),
        format!("channels={}", listed.join("%2c")),
        listed.iter().map(|channel| format!("&channel={channel}")).collect(),
        listed.iter().map(|channel| format!("&channels={channel}")).collect(),
        format!("channels={}&channels={}", split.0.join(","), split.1.join("%2C")),
    ];
    let start = position(&node, &named[0]);
    for (number, channel) in channels.iter().enumerate() {
        publish(&node, channel, number as u64..number as u64 + 2);
    }
    let expected: BTreeMap<_, _> = channels
        .iter()
        .enumerate()
        .map(|(n, channel)| (channel.clone(), vec![json!(n), json!(n + 1)]))
        .collect();
    for get in GETS {
        for named in &named {
            let mut receiver = Receiver::open(&node, get, &format!("{named}&lastEventId={start}"), "");
            assert_eq!(receiver.take(80), expected, "{get:?} {named}");
            assert!(channels.iter().all(|channel| receiver.unrecovered(channel).is_none()));
        }
        for (query, headers) in saying(&start) {
            let mut receiver = Receiver::open(&node, get, &format!("{}{query}", named[0]), &headers);
            assert_eq!(receiver.take(80), expected, "{get:?} {query} {headers}");
        }
    }
    // A poll's validators, strong, weak, and among others.
    for get in [Get::Poll, Get::WaitingPoll] {
        for tag in ["\"#\"", "W/\"#\"", "\"other\", W/\"#\"", "#", "\"other\"\r\nIf-None-Match: \"#\""] {
            let header = format!("If-None-Match: {}\r\n", tag.replace('#', &start));
            let mut receiver = Receiver::open(&node, get, &named[1], &header);
            assert_eq!(receiver.take(80), expected, "{get:?} {tag}");
        }
    }
}

#[test]
fn an_id_that_is_no_position_begins_and_is_told_in_every_channel() {
    let node = Node::start(settings());
    publish(&node, "news:a", 0..3);
    publish(&node, "news:b", 3..4);
    let query = "channels=news:a,news:b";
    for get in GETS {
        for id in ["nonsense", "17", "고라니", "a.b.c", "news~3aa.1.x.", "\u{a0}", "{\"a\":1}", "a b"] {
            for (extra, headers) in [
                (String::new(), format!("Last-Event-ID: {id}\r\nAccept: text/event-stream\r\n")),
                (format!("&lastEventId={}", percent(id)), "Accept: text/event-stream\r\n".to_owned()),
            ] {
                let receiver = Receiver::open(&node, get, &format!("{query}{extra}"), &headers);
                for channel in ["news:a", "news:b"] {
                    assert_eq!(
                        receiver.unrecovered(channel).as_deref(),
                        Some("bad_position"),
                        "{get:?} {id}"
                    );
                }
            }
        }
        // Bytes that are no UTF-8 either.
        let mut receiver = Receiver::open(&node, get, &format!("{query}&lastEventId=%ff%fe"), "");
        assert_eq!(receiver.unrecovered("news:a").as_deref(), Some("bad_position"), "{get:?}");
        if receiver.source.is_some() {
            // And it is a stream like any other.
            node.api().publish("news:a", &json!("live"));
            assert_eq!(receiver.take(1)["news:a"], [json!("live")], "{get:?}");
        }
        // An empty id is none: nobody was anywhere.
        let receiver = Receiver::open(&node, get, &format!("{query}&lastEventId="), "Last-Event-ID: \r\n");
        assert_eq!(receiver.unrecovered("news:a"), None, "{get:?}");
    }
}

#[test]
fn a_poll_reads_if_none_match_as_http_has_it() {
    let node = Node::start(settings());
    publish(&node, "news:a", 0..3);
    let ask = |query: &str, header: &str| {
        let target = format!("/connection/poll?channels=news:a{query}");
        let headers = format!("If-None-Match: {header}\r\n");
        let mut response = Stream::open(node.address(), "GET", &target, &headers, "");
        let tag = response.head.header("etag").expect("a tag").to_owned();
        (response.head.status, tag, response.rest().unwrap())
    };
    let now = position(&node, "channels=news:a");
    let tag = format!("\"{now}\"");
    for header in [
        tag.clone(),
        format!("W/{tag}"),
        format!("\"other\", {tag}"),
        format!("W/\"other\" , W/{tag},"),
        format!("\"a,b\",{tag}"),
        format!("\"other\"\r\nIf-None-Match: {tag}"),
        "*".to_owned(),
    ] {
        assert_eq!(ask("", &header), (304, tag.clone(), String::new()), "{header}");
        // A client that has the very answer, whatever it would be made of.
        let since = format!("&position={}", now.replace(".3.", ".1."));
        assert_eq!(ask(&since, &header).0, 304, "{header}");
    }
    // `*` does not wait either: there always is an answer.
    assert_eq!(ask("&wait=60", "*").0, 304);
    for header in ["\"33a64df5\"", "W/\"고라니\"", "\"*\"", "\"a\", \"b\"", "\"unended"] {
        for wait in ["", "&wait=60"] {
            let (status, _, body) = ask(wait, header);
            let answer: Value = serde_json::from_str(&body).unwrap();
            assert_eq!((status, &answer["unrecovered"]), (200, &json!(["news:a"])), "{header}");
            assert_eq!(answer["unrecovered_reasons"], json!({"news:a": "bad_position"}), "{header}");
            assert_eq!(answer["publications"].as_array().unwrap().len(), 3, "{header}");
        }
    }
    // Somebody with a position of their own is not asked for that of an answer.
    let (status, _, body) = ask(&format!("&position={}", now.replace(".3.", ".2.")), "\"33a64df5\"");
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, answer["publications"].as_array().unwrap().len()), (200, 1));
    assert_eq!(answer.get("unrecovered"), None);
}

/// Namespaces that keep history and do not let everybody go on from a position in it.
fn kept_back() -> Settings {
    let open = "allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true";
    let kept = "history_size = 10, history_ttl = \"300s\"";
    let namespaces = format!(
        r#"[{{ name = "kept", {open}, {kept}, allow_recovery = false, allow_history_for_client = true }}, {{ name = "live", {open} }}, {{ name = "news", {open}, {kept} }},
            {{ name = "asked", {open}, {kept}, force_recovery = false }}]"#
    );
    settings().set("channel.namespaces", namespaces.replace('\n', " "))
}

#[test]
fn where_recovery_is_off_a_stream_says_so_and_a_poll_is_refused_with_the_reason() {
    let node = Node::start(kept_back());
    for channel in ["kept:a", "live:a", "news:a", "asked:a"] {
        publish(&node, channel, 0..3);
    }
    let start = "kept~3aa.1..live~3aa.1..news~3aa.1..asked~3aa.1.";
    for get in [Get::UniSse, Get::UniHttpStream, Get::UniWebSocket] {
        let query = format!("channels=kept:a,live:a,news:a,asked:a&position={start}");
        let mut receiver = Receiver::open(&node, get, &query, "");
        for channel in ["kept:a", "live:a"] {
            assert_eq!(receiver.unrecovered(channel).as_deref(), Some("recovery_not_allowed"), "{get:?}");
        }
        // Where recovery is on by default, and where it is for those who ask, which a receiver always does.
        let taken = receiver.take(4);
        for channel in ["news:a", "asked:a"] {
            assert_eq!(receiver.unrecovered(channel), None);
            assert_eq!(taken[channel], [json!(1), json!(2)], "{get:?}");
        }
        // Who asks for nothing is told nothing.
        let receiver = Receiver::open(&node, get, "channels=kept:a", "");
        assert_eq!(receiver.unrecovered("kept:a"), None);
    }
    for (channel, reason, setting) in
        [("kept:a", "recovery_not_allowed", "allow_recovery"), ("live:a", "no_history", "history")]
    {
        for query in ["", "&position=kept~3aa.1.", "&wait=60", "&lastEventId=nonsense"] {
            let target = format!("/connection/poll?channels=news:a,{channel}{query}");
            let mut response = Stream::open(node.address(), "GET", &target, "", "");
            let body = response.rest().unwrap();
            assert_eq!((response.head.status, code_of(&body)), (409, 108), "{body}");
            let error: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(error["error"]["reason"], reason);
            assert!(error["error"]["message"].as_str().unwrap().contains(setting), "{body}");
        }
    }
    for channel in ["news:a", "asked:a"] {
        let query = format!("channels={channel}&position={start}");
        assert_eq!(Receiver::open(&node, Get::Poll, &query, "").take(2)[channel], [json!(1), json!(2)]);
    }
}

#[test]
fn a_channel_with_a_comma_is_received_by_every_get() {
    let namespaces = r#"[{ name = "chat", history_size = 10, history_ttl = "300s", allow_recovery = true,
        allow_user_limited_channels = true, allow_subscribe_for_client = true }]"#
        .replace('\n', " ");
    let node = Node::start(
        settings().set("channel.namespaces", namespaces).set("token.hmac_secret", format!("{SECRET:?}")),
    );
    let token = token("42", 600);
    let (users, plain) = ("chat:x#41,42,43", "chat:a,b");
    for named in [
        format!("channel={}&channel={}", percent(users), percent(plain)),
        format!("channels={}&channel={}", percent(users), percent(plain)),
        format!("channel={}&channels={}", percent(plain), percent(users)),
    ] {
        let query = format!("{named}&token={token}");
        let start = position(&node, &query);
        node.api().publish(users, &json!("to three"));
        node.api().publish(plain, &json!("to all"));
        for get in GETS {
            let mut receiver = Receiver::open(&node, get, &format!("{query}&lastEventId={start}"), "");
            let taken = receiver.take(2);
            assert_eq!((&taken[users], &taken[plain]), (&vec![json!("to three")], &vec![json!("to all")]));
        }
    }
    // A user that is not in the list may not have it, and a list stays a list.
    let stranger = super::token("44", 600);
    let status = |query: String| {
        Stream::open(node.address(), "GET", &format!("/connection/poll?{query}"), "", "").head.status
    };
    assert_eq!(status(format!("channel={}&token={stranger}", percent(users))), 403);
    assert_eq!(status(format!("channels={}&token={token}", percent("chat:x#42,chat:y"))), 200);
    assert_eq!(status(format!("channels={}&token={token}", percent("chat:x#42,nowhere:y"))), 404);
    assert_eq!(status(format!("channels=chat:x%2342,43&token={token}")), 403);
}
