//! Channel names in any script: what a backend publishes to a name arrives under that name, byte for byte, over every way to
//! receive and in every protocol. `docs/protocols/client.md` §9.1; record 44.

use std::net::SocketAddr;

use gorani_tests::{
    node::{Node, Settings, free_address},
    sockjs::{Request, session},
    stomp::Stomp,
    stream::Stream,
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

use super::{
    expect, publish,
    transport::{ReceiveTransport, Receiver, ReceiverOptions, WAYS, percent},
};
use crate::{json as read_json, protobuf};

/// Anybody may receive and publish in `채팅:…`, which can be recovered.
fn settings(stomp: SocketAddr) -> Settings {
    let namespaces = r#"[{ name = "채팅", allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true,
        allow_publish_for_client = true, allow_publish_for_anonymous = true,
        history_size = 1000, history_ttl = "300s", allow_recovery = true, allow_positioning = true }]"#;
    Settings::open()
        .set("channel.namespaces", namespaces.replace('\n', " "))
        .set("stomp.tcp.address", format!("\"{stomp}\""))
}

/// A name of many scripts and of signs that some format gives a meaning to, within the limit.
fn random_name(rng: &mut StdRng) -> String {
    const SIGNS: [&str; 28] = [
        " ",
        "%",
        "&",
        "+",
        ",",
        "=",
        ":",
        ";",
        "?",
        "/",
        "\\",
        "\"",
        "'",
        "<",
        "{",
        "}",
        "~",
        ".",
        "*",
        "$",
        "방",
        "é",
        "e\u{301}",
        "\u{200d}",
        "\u{202e}",
        "\u{3000}",
        "👩‍👧",
        "%EC",
    ];
    // A `#` begins a list of users, who alone may subscribe.
    let refused = |sign: char| {
        sign.is_control() || matches!(sign, '#' | '\u{2028}' | '\u{2029}' | char::REPLACEMENT_CHARACTER)
    };
    let mut name = "채팅:".to_owned();
    for _ in 0..rng.random_range(1..24) {
        match char::from_u32(rng.random_range(0..0x11_0000)).filter(|sign| !refused(*sign)) {
            Some(sign) if rng.random() => name.push(sign),
            _ => name.push_str(SIGNS[rng.random_range(0..SIGNS.len())]),
        }
    }
    name
}

/// A subscription by STOMP, from its version and the escapes that it has.
struct StompSubscriber {
    version: &'static str,
    client: Stomp,
}

impl StompSubscriber {
    /// `None` where the tests' own reader of frames cannot read the name: it knows the escapes of later versions alone.
    fn open(address: SocketAddr, version: &'static str, name: &str) -> Option<Self> {
        let destination = match version {
            "1.0" if name.contains('\\') => return None,
            "1.0" => name.to_owned(),
            _ => name.replace('\\', "\\\\").replace(':', "\\c"),
        };
        let mut client = Stomp::open(address);
        client.say(&format!("CONNECT\naccept-version:{version}\n\n\0"));
        assert_eq!(client.frame().command, "CONNECTED", "{version}");
        client.subscribe("0", &format!("/topic/{destination}"), "");
        Some(Self { version, client })
    }

    fn expect(mut self, name: &str, body: &str) {
        let message = self.client.message();
        assert_eq!(message.get("destination"), Some(&*format!("/topic/{name}")), "STOMP {}", self.version);
        assert_eq!(message.text(), body, "STOMP {}", self.version);
    }
}

/// Polls a session of SockJS until messages come: theirs, taken apart.
fn sockjs_messages(node: &Node, session: &str) -> Vec<Value> {
    let answer = Request::post(format!("{session}/xhr")).ask(node.address());
    match answer.body.trim_end().strip_prefix('a') {
        Some(messages) => {
            let messages: Vec<String> = serde_json::from_str(messages).unwrap();
            messages
                .iter()
                .flat_map(|message| message.lines())
                .map(|line| serde_json::from_str(line).unwrap())
                .collect()
        }
        None => sockjs_messages(node, session),
    }
}

/// A session over SockJS that has subscribed to the channel.
fn sockjs_subscriber(node: &Node, name: &str) -> String {
    let session = session("connection/sockjs");
    assert_eq!(Request::post(format!("{session}/xhr")).ask(node.address()).body, "o\n");
    for command in [json!({"id": 1, "connect": {}}), json!({"id": 2, "subscribe": {"channel": name}})] {
        let batch = json!([command.to_string()]).to_string();
        let answer = Request::post(format!("{session}/xhr_send")).body(batch).ask(node.address());
        assert_eq!(answer.status(), 204);
        let replies = sockjs_messages(node, &session);
        assert!(replies.iter().all(|reply| reply.get("error").is_none()), "{replies:?}");
    }
    session
}

#[test]
fn a_name_in_any_script_arrives_as_it_was_written_over_every_way_and_protocol() {
    let tcp = free_address();
    let node = Node::start(settings(tcp));
    let longest = format!("채팅:{}", "가".repeat(82)) + "ab";
    assert_eq!(longest.len(), 255);
    let check = |name: &str| {
        let options = ReceiverOptions::channel(name);
        let receivers = WAYS.map(|transport| Receiver::open(&node, transport, &options));
        let stomp = ["1.0", "1.1", "1.2"].map(|version| StompSubscriber::open(tcp, version, name));
        let sockjs = sockjs_subscriber(&node, name);
        let mut binary = protobuf::Subscriber::open(&node, name);
        let number = json!(name.len());
        node.api().publish(name, &number);
        for mut receiver in receivers {
            let transport = receiver.transport();
            assert_eq!(receiver.publication(), (name.to_owned(), number.clone()), "over {transport:?}");
        }
        stomp.into_iter().flatten().for_each(|subscriber| subscriber.expect(name, &number.to_string()));
        assert_eq!(sockjs_messages(&node, &sockjs)[0]["push"]["channel"], name);
        assert_eq!(binary.publication(), (name.to_owned(), number.to_string()));
        let history = node.api().ok("history", &json!({"channel": name, "limit": 1}));
        assert_eq!(history["publications"][0]["data"], number, "{name:?}");
    };
    ["채팅:방", "채팅:고라니 방,1", &longest].into_iter().for_each(check);
    // Other names each time: what fails shows its name.
    let mut rng = StdRng::from_rng(&mut rand::rng());
    (0..24).map(|_| random_name(&mut rng)).filter(|name| name.len() <= 255).for_each(|name| check(&name));
}

#[test]
fn who_comes_back_to_a_channel_of_another_script_misses_and_repeats_nothing() {
    let node = Node::start(settings(free_address()));
    for transport in WAYS {
        let channels = ["둘, 방", "е\u{301}=~"].map(|name| format!("채팅:{name} {transport:?}"));
        let mut receiver = Receiver::open(&node, transport, &ReceiverOptions::channels(&channels));
        publish(&node, &channels[0], 0..5);
        expect(&mut receiver, 0..5);
        let options = receiver.leave();
        publish(&node, &channels[0], 5..10);
        publish(&node, &channels[1], 10..15);
        let mut receiver = Receiver::open(&node, transport, &options);
        // Nothing says which channel recovers first.
        let mut received: Vec<_> = (0..10).map(|_| receiver.publication()).collect();
        received.sort_by_key(|(channel, _)| channels.iter().position(|known| known == channel));
        let expected = (5..15u64).map(|number| (channels[usize::from(number >= 10)].clone(), json!(number)));
        assert_eq!(received, expected.collect::<Vec<_>>(), "over {transport:?}");
    }
}

#[test]
fn a_client_publishes_to_a_name_of_another_script_by_each_protocol() {
    let tcp = free_address();
    let node = Node::start(settings(tcp));
    let name = "채팅:고라니 방";
    let mut receiver = Receiver::open(&node, ReceiveTransport::UniSse, &ReceiverOptions::channel(name));
    let mut socket = crate::connected(&node);
    socket.text(&json!({"id": 2, "publish": {"channel": name, "data": 1}}).to_string()).unwrap();
    assert!(read_json(&mut socket).get("error").is_none());
    protobuf::Subscriber::open(&node, name).publish(name, b"2");
    let mut stomp = Stomp::connect(tcp, "");
    stomp.send("/topic/채팅\\c고라니 방", "content-type:application/json\n", b"3");
    let mut received: Vec<_> = (0..3).map(|_| receiver.publication().1).collect();
    received.sort_by_key(Value::to_string);
    assert_eq!(received, [json!(1), json!(2), json!(3)]);
}

#[test]
fn a_name_in_another_unicode_form_is_another_channel() {
    let node = Node::start(settings(free_address()));
    let (composed, decomposed) = ("채팅:\u{e9}", "채팅:e\u{301}");
    for transport in WAYS {
        let mut receiver = Receiver::open(&node, transport, &ReceiverOptions::channel(composed));
        node.api().publish(decomposed, &json!("another"));
        node.api().publish(composed, &json!("this"));
        assert_eq!(receiver.publication(), (composed.to_owned(), json!("this")), "over {transport:?}");
    }
}

#[test]
fn a_list_of_names_is_understood_however_its_characters_are_encoded() {
    let node = Node::start(settings(free_address()));
    publish(&node, "채팅:방", 0..1);
    let [whole, lower] = [percent("채팅:방,채팅:홀"), percent("채팅:방,채팅:홀").to_lowercase()];
    for list in [
        format!("channels={whole}"),
        format!("channels={lower}"),
        format!("channels={},{}", percent("채팅:방"), percent("채팅:홀")),
    ] {
        let target = format!("/connection/poll?{list}&wait=0");
        let mut response = Stream::open(node.address(), "GET", &target, "", "");
        let body: Value = serde_json::from_str(&response.rest().unwrap()).unwrap();
        assert_eq!(response.head.status, 200, "{body}");
        assert_eq!(body["publications"][0]["channel"], "채팅:방", "{list}: {body}");
        // Two positions: of offset 1 and of offset 0.
        assert_eq!(body["position"].as_str().unwrap().split('.').count(), 6, "{list}: {body}");
    }
}

#[test]
fn what_is_no_name_is_refused_by_every_way_and_nobody_else_is_harmed() {
    let tcp = free_address();
    let node = Node::start(settings(tcp));
    let too_long = format!("채팅:{}", "가".repeat(83));
    assert_eq!(too_long.len(), 256);
    for name in [
        "채팅:a\u{1}",
        "채팅:\u{7f}",
        "채팅:\u{85}",
        "채팅:\u{2028}",
        "채팅:\u{fffd}",
        "queue wake a",
        &too_long,
    ] {
        for transport in WAYS {
            match Receiver::try_open(&node, transport, &ReceiverOptions::channel(name)) {
                Err(refused) => assert_eq!(refused.code, 107, "{name:?} over {transport:?}"),
                Ok(_) => panic!("{name:?} is a channel over {transport:?}"),
            }
        }
        let (status, answer) = node.api().call("publish", &json!({"channel": name, "data": 1}));
        assert_eq!((status, &answer["error"]["code"]), (400, &json!(107)), "{name:?}: {answer}");
    }
    let (_, answer) = node.api().call("publish", &json!({"channel": too_long, "data": 1}));
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("256 bytes in UTF-8") && message.contains("255"), "{message}");
    // A lone surrogate is no text: in JSON, and in bytes that are no UTF-8.
    let (_, answer) = node.api().post("/api/publish", br#"{"channel":"\ud800","data":1}"#);
    assert!(answer.contains("107"), "{answer}");
    let mut response =
        Stream::open(node.address(), "GET", "/connection/poll?channels=%ed%a0%80&wait=0", "", "");
    assert_eq!(super::code_of(&response.rest().unwrap()), 107);
    let mut receiver =
        Receiver::open(&node, ReceiveTransport::WebSocket, &ReceiverOptions::channel("채팅:방"));
    publish(&node, "채팅:방", 0..1);
    expect(&mut receiver, 0..1);
}
