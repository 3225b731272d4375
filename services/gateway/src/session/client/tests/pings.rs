//! Pings that an operator asks for.

use serde_json::json;
use tokio::sync::oneshot;

use super::*;
use crate::session::SessionAnswer;

fn asked() -> (Signal, oneshot::Receiver<Duration>) {
    let (sender, pong) = oneshot::channel();
    (Signal::Ping(SessionAnswer::new(sender)), pong)
}

#[test]
fn an_operator_learns_how_long_the_pong_took() {
    let mut client = TestClient::connected();
    let (signal, mut pong) = asked();
    assert_eq!(client.signal(signal), [json!({})], "the ping");
    assert!(pong.try_recv().is_err());
    client.advance(Duration::from_millis(42));
    assert!(client.say_text("{}").is_empty());
    assert_eq!(pong.try_recv(), Ok(Duration::from_millis(42)));
    assert_eq!(client.closed_with(), 0);
}

#[test]
fn a_second_question_while_a_pong_is_awaited_sends_no_second_ping() {
    let mut client = TestClient::connected();
    let ((first, mut lost), (second, mut pong)) = (asked(), asked());
    assert_eq!(client.signal(first).len(), 1);
    client.advance(Duration::from_millis(10));
    // Each ping has a pong, and a pong that nobody awaits ends the connection.
    assert!(client.signal(second).is_empty());
    client.advance(Duration::from_millis(10));
    client.say_text("{}");
    assert!(lost.try_recv().is_err());
    assert_eq!(pong.try_recv(), Ok(Duration::from_millis(10)));
    assert_eq!(client.closed_with(), 0);
    client.say_text("{}");
    assert_eq!(client.closed_with(), Disconnect::BAD_REQUEST.code, "the node sent one ping");
}

#[test]
fn a_client_that_has_not_connected_is_not_pinged_and_whoever_asks_learns_it() {
    let mut client = TestClient::new(settings());
    let (signal, mut pong) = asked();
    assert!(client.signal(signal).is_empty());
    assert_eq!(pong.try_recv(), Err(oneshot::error::TryRecvError::Closed));
}

#[test]
fn a_client_is_described_where_operators_may_look_and_not_elsewhere() {
    for describes_clients in [true, false] {
        let policy = tests::policy(json!([]), settings());
        let policy = Arc::try_unwrap(policy).unwrap_or_else(|_| panic!("shared"));
        let policy = Arc::new(Policy { describes_clients, ..policy });
        let mut client = TestClient::start(|now| ClientSession::new(policy, TransportTraits::default(), now));
        let (name, version) = ("고".repeat(100), "1.0");
        client.say(json!({"id": 1, "connect": {"token": token(60, &[]), "name": name, "version": version}}));
        let described = client.actions.iter().find_map(|action| match action {
            Action::Describe(description) => Some(description),
            _ => None,
        });
        assert_eq!(described.is_some(), describes_clients);
        if let Some(description) = described {
            assert_eq!((&*description.sdk, &*description.sdk_version), (&*"고".repeat(21), version));
        }
    }
}

#[test]
fn an_operator_sees_the_token_the_input_and_the_signs_of_life_of_a_client() {
    let policy = tests::policy(json!([{"name": "open", "allow_subscribe_for_client": true}]), settings());
    let policy = Arc::try_unwrap(policy).unwrap_or_else(|_| panic!("shared"));
    let policy = Arc::new(Policy { describes_clients: true, ..policy });
    let mut client = TestClient::start(|now| ClientSession::new(policy, TransportTraits::default(), now));
    let described = |client: &mut TestClient| {
        let (sender, mut detail) = oneshot::channel();
        client.signal(Signal::Describe(SessionAnswer::new(sender)));
        detail.try_recv().unwrap()
    };
    let long = "고".repeat(100);
    let connect = json!({"id": 1, "connect": {"token": sign_claims(&json!({"sub": "42", "jti": long}))}});
    client.say(connect.clone());
    let first = described(&mut client);
    assert_eq!(first.token_id.as_deref(), Some(&*"고".repeat(21)), "64 bytes at most");
    assert_eq!(first.bytes_in, Some(connect.to_string().len() as u64));
    assert_eq!((first.last_command.as_str(), first.last_pong_at, first.rtt_ms), ("connect", None, None));
    let refresh = json!({"id": 2, "refresh": {"token": sign_claims(&json!({"sub": "42", "jti": "t-2"}))}});
    client.advance(Duration::from_secs(1));
    client.say(refresh.clone());
    let (signal, _pong) = asked();
    client.signal(signal);
    client.advance(Duration::from_secs(1));
    client.say_text("{}");
    let last = described(&mut client);
    let later = |time: Option<u64>| time.zip(first.last_command_at).map(|(time, before)| time - before);
    assert_eq!(last.token_id.as_deref(), Some("t-2"));
    assert_eq!(last.last_command, "refresh", "a pong is no command");
    assert_eq!((later(last.last_command_at), later(last.last_pong_at)), (Some(1000), Some(2000)));
    assert_eq!(last.rtt_ms, Some(1000.0));
    let bytes = connect.to_string().len() + refresh.to_string().len() + "{}".len();
    assert_eq!(last.bytes_in, Some(bytes as u64));
}

#[test]
fn a_session_keeps_one_pointer_for_operators_and_nothing_where_they_do_not_look() {
    let client = TestClient::connected();
    assert!(client.session.activity.is_none());
    assert_eq!(size_of_val(&client.session.activity), size_of::<usize>());
}

#[test]
fn an_operator_sees_the_last_command_of_a_session_and_the_end_of_its_token() {
    let mut client = TestClient::connected();
    client.say(json!({"id": 2, "subscribe": {"channel": "open:a"}}));
    let (sender, mut detail) = oneshot::channel();
    assert!(client.signal(Signal::Describe(SessionAnswer::new(sender))).is_empty());
    let detail = detail.try_recv().unwrap();
    assert_eq!(detail.last_command, "subscribe");
    assert_eq!(detail.expires_at.map(|at| at / 1000), Some(START_S + 3600));
}
