//! One list of scenarios over every way to receive: connect, order, recovery after a break, refusal, expiry, a reader that
//! stalls, a node that goes down. `docs/protocols/http.md` §7 to §13.
//!
//! - [`way`]: the ways.
//! - [`nodes`]: the same over several nodes.
//! - [`failover`]: when Redis forgets.
//! - [`poll`], [`http`]: what only some of them have.
//! - [`names`]: channel names in any script.
//! - [`resume`]: each way to name channels and positions.
//! - [`connect_object`]: the connect object of Centrifugo's unidirectional clients.

mod connect_object;
mod failover;
mod http;
mod names;
mod nodes;
mod poll;
mod resume;
mod transport;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gorani_tests::node::{Node, Settings};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use self::transport::{ReceiveTransport, Receiver, ReceiverOptions, WAYS};
use crate::eventually;

const SECRET: &str = "secret-of-the-tests-long-enough-for-hs256";
/// Long enough for anything that happens at once, on a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// Anybody may receive `news:…`, which can be recovered; users may receive `open:…`; nobody may receive `closed:…`. Two
/// workers, so that requests land on another one than their session's.
fn settings() -> Settings {
    let namespaces = r#"[
        { name = "news", allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true,
          history_size = 1000, history_ttl = "300s", allow_recovery = true, allow_positioning = true },
        { name = "open", allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true },
        { name = "closed", history_size = 10, history_ttl = "300s", allow_recovery = true },
    ]"#
    .replace('\n', " ");
    Settings::open()
        .set("http.workers", "2")
        .set("channel.namespaces", namespaces)
        .set("token.hmac_secret", format!("{SECRET:?}"))
        .set("client.expiry_grace", "\"0s\"")
}

fn token(user: &str, ttl_seconds: u64) -> String {
    let expires = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + ttl_seconds;
    sign(&json!({"sub": user, "exp": expires}))
}

fn sign(claims: &Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&Header::default(), claims, &key).unwrap()
}

fn publish(node: &Node, channel: &str, numbers: std::ops::Range<u64>) {
    let api = node.api();
    for number in numbers {
        api.publish(channel, &json!(number));
    }
}

fn expect(receiver: &mut Receiver, numbers: std::ops::Range<u64>) {
    for number in numbers {
        assert_eq!(receiver.publication().1, json!(number), "over {:?}", receiver.transport());
    }
}

#[test]
fn publications_arrive_in_their_order_over_every_way() {
    let node = Node::start(settings());
    for transport in WAYS {
        let channel = format!("news:order-{transport:?}");
        let mut receiver = Receiver::open(&node, transport, &ReceiverOptions::channel(&channel));
        publish(&node, &channel, 0..60);
        expect(&mut receiver, 0..60);
    }
}

#[test]
fn several_channels_come_over_one_response() {
    let node = Node::start(settings());
    for transport in WAYS {
        let channels = ["one", "two", "three"].map(|name| format!("news:{name}-{transport:?}"));
        let mut receiver = Receiver::open(&node, transport, &ReceiverOptions::channels(&channels));
        for channel in &channels {
            node.api().publish(channel, &json!(channel));
        }
        let mut received: Vec<_> = channels.iter().map(|_| receiver.publication()).collect();
        received.sort_by_key(|(channel, _)| channels.iter().position(|known| known == channel));
        let expected: Vec<_> = channels.iter().map(|channel| (channel.clone(), json!(channel))).collect();
        assert_eq!(received, expected, "over {transport:?}");
    }
}

#[test]
fn who_comes_back_after_a_break_misses_and_repeats_nothing_over_every_way() {
    let node = Node::start(settings());
    for transport in WAYS {
        let channels = ["a", "b"].map(|name| format!("news:{name}-{transport:?}"));
        let mut receiver = Receiver::open(&node, transport, &ReceiverOptions::channels(&channels));
        publish(&node, &channels[0], 0..5);
        expect(&mut receiver, 0..5);
        let options = receiver.leave();
        publish(&node, &channels[0], 5..10);
        publish(&node, &channels[1], 10..15);
        let mut receiver = Receiver::open(&node, transport, &options);
        expect(&mut receiver, 5..15);
        publish(&node, &channels[1], 15..18);
        expect(&mut receiver, 15..18);
    }
}

#[test]
fn a_closed_channel_is_refused_over_every_way() {
    let node = Node::start(settings());
    for transport in WAYS {
        let refused = Receiver::try_open(&node, transport, &ReceiverOptions::channel("closed:a"))
            .expect_err("it is closed");
        assert_eq!(refused.code, 103, "over {transport:?}");
        assert_eq!(refused.status, transport.has_statuses().then_some(403), "over {transport:?}");
    }
}

#[test]
fn a_bad_token_is_refused_over_every_way() {
    let node = Node::start(settings());
    for transport in WAYS {
        let options = ReceiverOptions { token: "nonsense".to_owned(), ..ReceiverOptions::channel("news:a") };
        let refused = Receiver::try_open(&node, transport, &options).expect_err("the token is nonsense");
        assert_eq!(refused.code, 3500, "over {transport:?}");
        assert_eq!(refused.status, transport.has_statuses().then_some(401), "over {transport:?}");
    }
}

#[test]
fn a_session_ends_with_its_token_over_every_way() {
    let node = Node::start(settings().set("token.leeway", "\"0s\""));
    // All at once, each with a token that is still valid when a busy machine comes to its connect.
    let mut receivers = WAYS.map(|transport| {
        let options = ReceiverOptions { token: token("42", 6), ..ReceiverOptions::channel("news:expiry") };
        Receiver::open(&node, transport, &options)
    });
    for receiver in &mut receivers {
        assert_eq!(receiver.disconnect_code(), 3005, "over {:?}", receiver.transport());
    }
    let expired = ReceiverOptions { token: token("42", 0), ..ReceiverOptions::channel("news:expiry") };
    for transport in WAYS {
        assert_eq!(
            Receiver::try_open(&node, transport, &expired).expect_err("expired").code,
            109,
            "over {transport:?}"
        );
    }
}

#[test]
fn a_stalled_reader_gets_what_was_on_its_way_without_a_gap_and_is_told_that_it_is_slow() {
    /// So many are more than an outbox of 1 MiB and everything that the kernel's socket buffers take.
    const MESSAGES: u64 = 400;
    // It begins to read when all are published, which a busy machine takes longer for than 5 seconds.
    let node = Node::start(settings().set("websocket.close_timeout", "\"60s\""));
    let filling = "x".repeat(40_000);
    for transport in WAYS.into_iter().filter(|transport| !matches!(transport, ReceiveTransport::Poll)) {
        let channel = format!("open:flood-{transport:?}");
        let mut receiver = Receiver::open(&node, transport, &ReceiverOptions::channel(&channel));
        let api = node.api();
        for number in 0..MESSAGES {
            api.publish(&channel, &json!([number, filling]));
        }
        let mut expected = 0;
        let code = loop {
            match receiver.next() {
                Ok((_, data)) => assert_eq!(data[0], expected, "a publication is missing over {transport:?}"),
                Err(code) => break code,
            }
            expected += 1;
        };
        assert_eq!(code, 3008, "over {transport:?}");
        assert!(expected < MESSAGES, "{transport:?} took everything");
    }
}

#[test]
fn a_node_that_stops_tells_every_way_to_come_back_elsewhere() {
    let mut node = Node::start(settings());
    let options = ReceiverOptions::channel("news:drain");
    let mut receivers = WAYS.map(|transport| Receiver::open(&node, transport, &options));
    // The poll's question is on its way still.
    eventually("all sessions are there", SOON, || connections(&node, "") == WAYS.len());
    node.terminate();
    for receiver in &mut receivers {
        assert_eq!(receiver.disconnect_code(), 3001, "over {:?}", receiver.transport());
    }
    assert!(node.wait_exit(SOON).expect("it ends").success());
}

#[test]
fn a_backend_ends_a_session_over_every_way() {
    let node = Node::start(settings());
    for transport in WAYS {
        let user = format!("user-{transport:?}");
        let options =
            ReceiverOptions { token: token(&user, 600), ..ReceiverOptions::channel("news:backend") };
        let mut receiver = Receiver::open(&node, transport, &options);
        eventually("the session is there", SOON, || connections(&node, &user) == 1);
        node.api().ok("disconnect", &json!({"user": user, "code": 4242, "reason": "enough"}));
        assert_eq!(receiver.disconnect_code(), 4242, "over {transport:?}");
    }
}

#[test]
fn a_request_that_is_given_up_is_noticed_at_once() {
    /// Far below the heartbeat of 25 seconds, which notices it in any case.
    const NOTICED_WITHIN: Duration = Duration::from_secs(10);
    let node = Node::start(settings());
    for transport in WAYS {
        let gauge = format!("gorani_connections{{transport=\"{}\"}} ", transport.label());
        let count = || -> u64 {
            let text = node.api().get("/metrics").1;
            let line = text.lines().find_map(|line| line.strip_prefix(&gauge));
            line.map_or(0, |count| count.parse().unwrap())
        };
        let receiver = Receiver::open(&node, transport, &ReceiverOptions::channel("news:gone"));
        eventually("the session is there", SOON, || count() == 1);
        drop(receiver);
        eventually("the session is gone", NOTICED_WITHIN, || count() == 0);
    }
}

/// How many sessions there are, of one user if named.
fn connections(node: &Node, user: &str) -> usize {
    let asked = if user.is_empty() { json!({}) } else { json!({"user": user}) };
    node.api().ok("connections", &asked)["connections"].as_object().expect("an object").len()
}

/// An error's code in a JSON body.
fn code_of(body: &str) -> u64 {
    let body: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body:?}"));
    body["error"]["code"].as_u64().unwrap_or_else(|| panic!("no error: {body}"))
}
