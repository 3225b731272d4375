//! Receivers, polls and clients of the protobuf form about whom the backend is asked.

use bytes::{Bytes, BytesMut};
use gorani_broker::DataKind;
use gorani_protocol::client::ClientForm;

use super::{asking::*, *};
use crate::{
    disconnect::{ErrorCode, ProxyError, Refused},
    proxy_call::{
        ConnectGrant, ProxyAnswer, ProxyFailure, ProxyOutcome, ProxyPayload, ProxyRequest, ProxyResult,
        SubscribeGrant,
    },
    session::{
        client::{
            OutputFormat,
            asked_poll::{AskedPoll, PollableChannel},
            receiver::{ReceiveQuery, ReceiverDetails, UniSession, check},
        },
        shared::proxied::SessionCalls,
        tests::Failures,
    },
    session_command::{SessionCommand, SessionTarget},
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

/// The next call, which is about a channel.
fn next_channel(receiver: &mut TestReceiver) -> (Ticket, String) {
    let Some(Action::Proxy(ticket, call)) = receiver.actions.pop_front() else { panic!("no call") };
    let ProxyRequest::Subscribe { channel, token, data } = call.request else { panic!("no subscribe") };
    assert_eq!((&*call.caller.user, token.as_str(), data), ("42", "", None));
    (ticket, channel.to_string())
}

/// A receiver whom the backend let in, and is asked about its channels.
fn let_in(channels: &[&str]) -> TestReceiver {
    let mut receiver = open(channels);
    answer(&mut receiver, connected_as(grant("42")));
    assert!(matches!(receiver.actions.pop_front(), Some(Action::Identify { user, .. }) if &*user == "42"));
    receiver
}

fn answered(receiver: &mut TestReceiver, ticket: Ticket, outcome: ProxyOutcome) {
    assert!(receiver.settle(ticket, Outcome::Proxied(Box::new(outcome))).is_empty());
}

#[test]
fn a_receiver_begins_once_the_backend_has_granted_the_channels_that_it_names() {
    let mut receiver = let_in(&["closed:a", "open:b", "closed:c", "closed:a"]);
    let (first, channel) = next_channel(&mut receiver);
    assert_eq!(channel, "closed:a");
    let (second, channel) = next_channel(&mut receiver);
    assert_eq!(channel, "closed:c");
    assert!(receiver.actions.is_empty(), "the rules decide on the other one");
    answered(&mut receiver, second, subscribed_as(SubscribeGrant::default()));
    assert!(receiver.actions.is_empty());
    let granted = SubscribeGrant { info: Bytes::from_static(b"{\"c\":1}"), ..SubscribeGrant::default() };
    answered(&mut receiver, first, subscribed_as(granted));
    let mut sent = Vec::new();
    for (expected, info) in [("closed:a", "{\"c\":1}"), ("open:b", ""), ("closed:c", "")] {
        let Some(Action::Subscribe(ticket, params)) = receiver.actions.pop_front() else { panic!("none") };
        assert_eq!((&*params.channel, &*params.info.channel_info), (expected, info.as_bytes()));
        sent = receiver.settle(ticket, Outcome::Subscribed(Ok(Subscribed::default())));
    }
    assert_eq!(sent[0]["connect"]["subs"].as_object().unwrap().len(), 3);
}

#[test]
fn a_channel_that_the_backend_refuses_or_cannot_be_asked_about_refuses_the_receiver() {
    for (outcome, code, is_end) in refusals(100) {
        let mut receiver = let_in(&["closed:a", "closed:b"]);
        let (ticket, _) = next_channel(&mut receiver);
        let (other, _) = next_channel(&mut receiver);
        answered(&mut receiver, ticket, outcome);
        match receiver.actions.pop_front() {
            Some(Action::Refuse(Refused::Backend(error))) => {
                assert_eq!((u64::from(error.code), is_end), (code, false))
            }
            Some(Action::Refuse(Refused::Disconnect(end))) => {
                assert_eq!((u64::from(end.code), is_end), (code, true))
            }
            action => panic!("{action:?}"),
        }
        answered(&mut receiver, other, subscribed_as(SubscribeGrant::default()));
        assert!(receiver.actions.is_empty(), "it is over");
    }
}

#[test]
fn a_receiver_asks_about_few_channels_at_a_time_and_never_about_more_than_it_may_have() {
    let names: Vec<String> = (0..20).map(|number| format!("closed:{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut receiver = let_in(&names);
    let mut asked = Vec::new();
    while !receiver.actions.is_empty() {
        asked.push(next_channel(&mut receiver).0);
    }
    assert_eq!(asked.len(), 8);
    answered(&mut receiver, asked[3], subscribed_as(SubscribeGrant::default()));
    assert_eq!(next_channel(&mut receiver).1, "closed:8");
    assert!(receiver.actions.is_empty());

    for (channels, code) in [(vec!["closed:a\n"], 107), (vec!["closed:a"; 1], 106)] {
        let settings = ClientSettings { max_subscriptions: if code == 106 { 0 } else { 5 }, ..settings() };
        let mut receiver = TestReceiver::start(|now| {
            let policy = asking_policy(settings, routes());
            UniSession::new(policy, plain(), receive_query(&channels), now)
        });
        receiver.run(|session, now, actions| session.opened(now, actions));
        answer(&mut receiver, connected_as(grant("42")));
        let refused = receiver.actions.pop_back();
        assert!(
            matches!(refused, Some(Action::Refuse(Refused::Error(error))) if error.code == code),
            "{refused:?}"
        );
    }
}

#[test]
fn what_a_backend_does_to_a_receiver_meanwhile_counts() {
    let target = || SessionTarget { user: "42".to_owned(), client: None, session: None };
    let command = |command: SessionCommand| Signal::Command(Arc::new(command));
    let mut receiver = let_in(&["closed:a", "closed:b"]);
    let (first, _) = next_channel(&mut receiver);
    let (second, _) = next_channel(&mut receiver);
    let unsubscribe = SessionCommand::Unsubscribe { target: target(), channel: "closed:b".to_owned() };
    receiver.signal(command(unsubscribe));
    answered(&mut receiver, second, subscribed_as(SubscribeGrant::default()));
    answered(&mut receiver, first, subscribed_as(SubscribeGrant::default()));
    assert!(
        matches!(receiver.actions.pop_front(), Some(Action::Subscribe(_, params)) if &*params.channel == "closed:a")
    );
    assert!(receiver.actions.is_empty());

    let mut receiver = let_in(&["closed:a"]);
    let disconnect = Disconnect::FORCE_DISCONNECT;
    receiver.signal(command(SessionCommand::Disconnect { target: target(), disconnect, spared: Vec::new() }));
    let (ticket, _) = next_channel(&mut receiver);
    assert!(
        matches!(receiver.actions.pop_front(), Some(Action::Refuse(Refused::Disconnect(end))) if end == Disconnect::FORCE_DISCONNECT)
    );
    answered(&mut receiver, ticket, subscribed_as(SubscribeGrant::default()));
    assert!(receiver.actions.is_empty());
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

/// The channels of a poll that the backend let in, with its answers about those that it decides on.
fn polled(channels: &[&str], answers: &[(&str, ProxyOutcome)]) -> Result<Vec<PollableChannel>, Refused> {
    let policy = asking_policy(ClientSettings::default(), routes());
    let query = receive_query(channels);
    let mut asked = AskedPoll::new(Some(Box::default()));
    let call = asked.ask(&policy, &query)?.unwrap();
    assert!(!call.caller.client.is_empty());
    asked.answer = Some(connected_as(ConnectGrant { channels: vec!["kept:own".to_owned()], ..grant("42") }));
    let mut admitted = asked.admit(policy, plain(), query, Failures::at_most(1), now())?;
    assert_eq!(admitted.identity(), ("42", &call.caller.client));
    let calls = admitted.ask_about_channels()?;
    let asked = calls.iter().map(|(channel, call)| {
        assert_eq!((call.number > 1, &*call.caller.user), (true, "42"));
        &**channel
    });
    assert!(asked.eq(answers.iter().map(|(channel, _)| *channel)));
    for (channel, outcome) in answers {
        admitted.answered((*channel).into(), outcome.clone(), now())?;
    }
    admitted.begin(Duration::from_secs(1), now()).map(|(_, channels)| channels)
}

#[test]
fn the_backend_is_asked_about_a_poll_and_its_channels_before_there_is_a_session() {
    let granted = || subscribed_as(SubscribeGrant::default());
    let names = |channels: Vec<PollableChannel>| {
        channels.iter().map(|readable| readable.channel.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(polled(&["kept:own"], &[]).map(names), Ok(vec!["kept:own".to_owned()]));
    let both = polled(&["kept:own", "kept:a"], &[("kept:a", granted())]);
    assert_eq!(both.map(names), Ok(vec!["kept:own".to_owned(), "kept:a".to_owned()]));
    let refused = polled(&["kept:a"], &[("kept:a", Err(ProxyFailure::Unknown))]);
    assert!(matches!(refused, Err(Refused::Backend(error)) if error.code == 100));
}

#[test]
fn a_poll_with_a_token_is_asked_about_for_its_channels_alone() {
    let policy = asking_policy(ClientSettings::default(), routes());
    let query = receive_query(&["kept:a"]);
    let with_token = ReceiveQuery { token: token(60, &[]), ..query.clone() };
    let mut asked = AskedPoll::new(Some(Box::default()));
    assert!(asked.ask(&policy, &with_token).unwrap().is_none());
    let admitted = asked.admit(policy.clone(), plain(), with_token.clone(), Failures::at_most(1), now());
    let calls = admitted.unwrap().ask_about_channels().unwrap();
    assert_eq!(calls.iter().map(|(channel, _)| &**channel).collect::<Vec<_>>(), ["kept:a"]);
    assert_eq!(
        calls[0].1.caller.headers.emulated,
        [("authorization".into(), "Bearer y".into())],
        "of its connect object"
    );
    assert!(AskedPoll::new(None).ask(&policy, &query).unwrap().is_none());

    let mut refused = AskedPoll::new(Some(Box::default()));
    refused.answer = Some(Err(ProxyFailure::Unknown));
    let refused = refused.admit(policy.clone(), plain(), query.clone(), Failures::at_most(1), now());
    assert!(matches!(refused.map(|_| ()), Err(Refused::Backend(error)) if error.code == 100));
    // A request for the head alone passes.
    assert_eq!(check(policy.clone(), &query, Failures::at_most(1), now()), Ok(()));
    assert_eq!(check(policy, &with_token, Failures::at_most(1), now()), Ok(()));
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
