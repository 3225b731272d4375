//! Receivers, polls and clients of the protobuf form about whom the backend is asked.

use bytes::{Bytes, BytesMut};
use gorani_broker::DataKind;
use gorani_protocol::client::ClientForm;

use super::{asking::*, *};
use crate::{
    disconnect::{ErrorCode, ProxyError, Refused},
    proxy_call::{
        ConnectGrant, ProxyAnswer, ProxyFailure, ProxyOutcome, ProxyPayload, ProxyRequest, ProxyResult,
    },
    session::{
        client::{
            OutputFormat,
            receiver::{AskedPoll, ReceiveQuery, ReceiverDetails, UniSession, check},
        },
        shared::proxied::SessionCalls,
        tests::Failures,
    },
};

impl TestProtocol for UniSession {
    type Sent = Value;

    fn read(message: &[u8]) -> Vec<Value> {
        message.split(|byte| *byte == b'\n').map(|line| serde_json::from_slice(line).unwrap()).collect()
    }
}

type TestReceiver = TestSession<UniSession>;

fn now() -> Now {
    Now { unix_ms: START_S * 1000, ..Now::read() }
}

fn plain() -> TransportTraits {
    TransportTraits { format: OutputFormat::Plain, native_ping: true, ..TransportTraits::default() }
}

fn details() -> ReceiverDetails {
    ReceiverDetails {
        data: Some(json_payload("{\"d\":1}")),
        name: "page".to_owned(),
        version: "2".to_owned(),
        headers: vec![("AUTHORIZATION".to_owned(), "Bearer y".to_owned())],
    }
}

fn receive_query(channels: &[&str]) -> ReceiveQuery {
    ReceiveQuery {
        channels: channels.iter().map(ToString::to_string).collect(),
        details: details(),
        ..ReceiveQuery::default()
    }
}

fn open(channels: &[&str]) -> TestReceiver {
    let mut receiver = TestReceiver::start(|now| {
        let policy = asking_policy(ClientSettings::default(), routes());
        UniSession::new(policy, plain(), receive_query(channels), now).with_calls(Some(Box::default()))
    });
    assert!(receiver.run(|session, now, actions| session.opened(now, actions)).is_empty());
    receiver
}

/// Answers the call about its connect.
fn answer(receiver: &mut TestReceiver, outcome: ProxyOutcome) -> Vec<Value> {
    let Some(Action::Proxy(ticket, call)) = receiver.actions.pop_front() else { panic!("no call") };
    let ProxyRequest::Connect { data, name, version, channels } = call.request else { panic!("no connect") };
    assert_eq!((data, name.as_str(), version.as_str()), (details().data, "page", "2"));
    assert_eq!(channels, [""; 0]);
    assert_eq!(call.caller.headers.emulated, [("authorization".into(), "Bearer y".into())]);
    receiver.settle(ticket, Outcome::Proxied(Box::new(outcome)))
}

#[test]
fn a_receiver_without_a_token_is_whom_the_backend_says_and_gets_its_channels_and_its_own() {
    let mut receiver = open(&["open:b"]);
    let granted =
        ConnectGrant { channels: vec!["closed:a".to_owned()], data: Some(json_payload("1")), ..grant("42") };
    answer(&mut receiver, connected_as(granted));
    assert!(matches!(receiver.actions.pop_front(), Some(Action::Identify { user, .. }) if &*user == "42"));
    let mut sent = Vec::new();
    for expected in ["closed:a", "open:b"] {
        let Some(Action::Subscribe(ticket, params)) = receiver.actions.pop_front() else { panic!("none") };
        assert_eq!(&*params.channel, expected);
        sent = receiver.settle(ticket, Outcome::Subscribed(Ok(Subscribed::default())));
    }
    assert_eq!(sent[0]["connect"]["data"], json!(1));
}

#[test]
fn a_receiver_may_not_name_channels_that_a_proxy_decides_on() {
    let mut receiver = open(&["closed:a"]);
    answer(&mut receiver, connected_as(grant("42")));
    let refused = receiver.actions.pop_front();
    assert!(
        matches!(refused, Some(Action::Refuse(Refused::Error(ErrorCode::PERMISSION_DENIED)))),
        "{refused:?}"
    );
}

#[test]
fn what_the_backend_refuses_is_the_refusal_of_the_receiver() {
    let own = ProxyError { code: 1000, message: "no".to_owned(), temporary: false };
    let lost = ProxyError::from(ErrorCode::INTERNAL);
    for (outcome, expected) in [
        (Ok(ProxyAnswer::Error(own.clone())), Refused::Backend(own)),
        (Err(ProxyFailure::BadAnswer), Refused::Backend(lost)),
        (
            Ok(ProxyAnswer::Disconnect(Disconnect::new(4500, "go"))),
            Refused::Disconnect(Disconnect::new(4500, "go")),
        ),
        (Ok(ProxyAnswer::Result(ProxyResult::Connect(None))), Refused::Disconnect(Disconnect::BAD_REQUEST)),
    ] {
        let mut receiver = open(&[]);
        assert!(answer(&mut receiver, outcome).is_empty());
        let Some(Action::Refuse(refused)) = receiver.actions.pop_front() else { panic!("not refused") };
        assert_eq!(refused, expected);
    }
}

#[test]
fn a_refusal_that_may_pass_closes_so_that_the_client_comes_again() {
    let code = |error: ProxyError| Refused::Backend(error).disconnect().code;
    assert_eq!(code(ErrorCode::INTERNAL.into()), 3004);
    assert_eq!(code(ProxyError { code: 1000, message: String::new(), temporary: false }), 3507);
}

#[test]
fn the_backend_is_asked_about_a_poll_before_there_is_a_session() {
    let policy = asking_policy(ClientSettings::default(), routes());
    let query = receive_query(&["kept:a"]);
    let mut asked = AskedPoll::new(Some(Box::default()));
    let call = asked.ask(&policy, &query).unwrap().unwrap();
    assert!(!call.caller.client.is_empty());
    asked.answer = Some(connected_as(ConnectGrant { channels: vec!["kept:a".to_owned()], ..grant("42") }));
    let wait = Duration::from_secs(1);
    let polled = UniSession::poll(policy.clone(), plain(), &query, Failures::at_most(1), asked, wait, now());
    let (_, channels) = polled.unwrap();
    assert_eq!(channels.iter().map(|readable| &*readable.channel).collect::<Vec<_>>(), ["kept:a"]);

    // One with a token asks nobody, and so does one where nothing is configured.
    let with_token = ReceiveQuery { token: token(60, &[]), ..receive_query(&[]) };
    assert!(AskedPoll::new(Some(Box::default())).ask(&policy, &with_token).unwrap().is_none());
    assert!(AskedPoll::new(None).ask(&policy, &query).unwrap().is_none());

    let mut refused = AskedPoll::new(Some(Box::default()));
    refused.answer = Some(Err(ProxyFailure::Unknown));
    let polled =
        UniSession::poll(policy.clone(), plain(), &query, Failures::at_most(1), refused, wait, now());
    assert!(matches!(polled.map(|_| ()), Err(Refused::Backend(error)) if error.code == 100));
    // A request for the head alone passes.
    assert_eq!(check(policy, &query, Failures::at_most(1), now()), Ok(()));
}

/// One message of the protobuf form with its length.
fn delimited(message: &[u8]) -> Vec<u8> {
    [&[u8::try_from(message.len()).unwrap()], message].concat()
}

#[test]
fn a_client_of_the_protobuf_form_is_asked_about_and_answered_with_bytes() {
    let policy = asking_policy(settings(), routes());
    let traits = TransportTraits { form: ClientForm::Protobuf, ..TransportTraits::default() };
    let headers = actix_http::header::HeaderMap::new();
    let calls = SessionCalls::of_request(&policy, "websocket", "protobuf", &headers, None);
    let mut session = ClientSession::new(policy, traits, now()).with_calls(calls);
    let mut actions = Actions::default();
    // Command 1: connect with the data ff; command 2: rpc of method m with the data fe.
    let connect = delimited(&[0x08, 1, 0x22, 3, 0x12, 1, 0xff]);
    let rpc = delimited(&[0x08, 2, 0x6a, 6, 0x0a, 1, 0xfe, 0x12, 1, b'm']);
    session.message(Incoming::Binary(&[connect, rpc].concat()), now(), &mut actions);
    let sent = |session: &mut ClientSession, actions: &mut Actions, outcome: ProxyOutcome| {
        let mut list = actions.take_list();
        let Some(Action::Proxy(ticket, call)) = list.pop() else { panic!("no call") };
        session.outcome(ticket, Outcome::Proxied(Box::new(outcome)), now(), actions);
        (call, actions.take_messages().0)
    };
    let bytes = |byte: &'static [u8]| ProxyPayload { data: Bytes::from_static(byte), kind: DataKind::Binary };
    let granted = ConnectGrant { data: Some(bytes(b"\xfd")), ..grant("42") };
    let (call, reply) = sent(&mut session, &mut actions, connected_as(granted));
    assert_eq!(call.caller.protocol, "protobuf");
    assert!(matches!(call.request, ProxyRequest::Connect { data: Some(data), .. } if data == bytes(b"\xff")));
    assert!(reply.windows(3).any(|window| window == [0x2a, 1, 0xfd]), "{reply:?}");
    let answer = Ok(ProxyAnswer::Result(ProxyResult::Rpc(Some(bytes(b"\xfc")))));
    let (call, reply) = sent(&mut session, &mut actions, answer);
    assert!(matches!(&call.request, ProxyRequest::Rpc { method, data: Some(data), .. }
        if method == "m" && *data == bytes(b"\xfe")));
    let mut expected = BytesMut::new();
    ClientForm::Protobuf.reply_rpc(2, b"\xfc", &mut expected);
    assert_eq!(reply, expected);
    assert_eq!(&expected[..], [7, 0x08, 2, 0x6a, 3, 0x0a, 1, 0xfc]);
}
