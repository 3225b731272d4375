//! Bounds of names and of one step, and channels that a receiver begins in.

use serde_json::json;

use super::*;
use crate::{
    disconnect::{ErrorCode, Refused},
    format::position::Positions,
    session::{
        client::{
            OutputFormat,
            asked_poll::AskedPoll,
            receiver::{ReceiveQuery, UniSession},
        },
        tests::Failures,
    },
    session_command::ServerSubscribe,
};

const MAX_BYTES: usize = 10;

fn short_names() -> ClientSettings {
    ClientSettings { channel_max_bytes: MAX_BYTES, ..settings() }
}

/// Names at the bound, over it and empty, and whether they are accepted.
const NAMES: [(&str, bool); 4] =
    [("open:a", true), ("open:12345", true), ("open:123456", false), ("", false)];

fn receiver(settings: ClientSettings, channels: &[&str], positions: &str) -> Result<UniSession, Refused> {
    let receive_query = ReceiveQuery {
        token: token(60, &[]),
        channels: channels.iter().map(ToString::to_string).collect(),
        positions: Positions::parse(positions).unwrap(),
        ..ReceiveQuery::default()
    };
    let now = Now { unix_ms: START_S * 1000, ..Now::read() };
    let traits = TransportTraits { format: OutputFormat::WithPositions, ..TransportTraits::default() };
    let wait = Duration::from_secs(5);
    let admitted =
        AskedPoll::default().admit(policy(settings), traits, receive_query, Failures::at_most(1), now)?;
    admitted.begin(wait, now).map(|(session, _)| session)
}

#[test]
fn a_channel_name_has_the_configured_length_at_most_for_clients_and_receivers() {
    for (name, is_accepted) in NAMES {
        let mut client = TestClient::new(short_names());
        client.say(json!({"id": 1, "connect": {"token": token(3600, &[])}}));
        let replies = client.say(json!({"id": 2, "subscribe": {"channel": name}}));
        let codes: Vec<u64> = replies.iter().map(error_code).collect();
        assert_eq!(codes, if is_accepted { vec![] } else { vec![107] }, "{name:?}");
        let refused = receiver(short_names(), &[name], "").err();
        assert_eq!(refused, (!is_accepted).then_some(Refused::Error(ErrorCode::BAD_REQUEST)), "{name:?}");
    }
}

#[test]
fn a_receiver_is_messages_the_positions_of_all_its_channels_as_it_gives_them_back() {
    let position = "history~3aa.5.e.history~3ab.9.e";
    let mut session = receiver(settings(), &["history:a", "history:b"], position).unwrap();
    let (now, mut actions) = (Now { unix_ms: START_S * 1000, ..Now::read() }, Actions::default());
    session.opened(now, &mut actions);
    for action in actions.take_list() {
        let Action::Subscribe(ticket, request) = action else { continue };
        let recovered = Subscribed { was_recovering: true, recovered: true, ..top(0) };
        let subscribed = Subscribed { top: request.recover, ..recovered };
        session.outcome(ticket, Outcome::Subscribed(Ok(subscribed)), now, &mut actions);
    }
    let mut messages = Vec::new();
    actions.drain_messages(|_, message| messages.push(String::from_utf8(message.to_vec()).unwrap()));
    assert_eq!(messages[0].lines().next(), Some(position));
}

#[test]
fn subscribes_with_tokens_take_more_steps_than_those_without() {
    let has_more = |token: &dyn Fn(&str) -> String| {
        let mut client = TestClient::connected();
        let commands = (2..7).map(|id| {
            let channel = format!("open:{id}");
            json!({"id": id, "subscribe": {"channel": channel, "token": token(&channel)}}).to_string()
        });
        let text = commands.collect::<Vec<_>>().join("\n");
        let mut actions = Actions::default();
        client.session.message(Incoming::Text(&text), client.now, &mut actions);
        client.session.has_more()
    };
    assert!(has_more(&|channel| subscription_token(channel, 60)), "many tokens in one step");
    assert!(!has_more(&|_| String::new()), "nothing was verified");
}

#[test]
fn a_backend_changes_nothing_for_who_is_subscribed_already_or_not_connected_yet() {
    let subscribe = || {
        let channel = "open:a".to_owned();
        Signal::subscribe(ServerSubscribe { channel, ..ServerSubscribe::default() })
    };
    for mut client in [TestClient::subscribed("open:a", Subscribed::default()), TestClient::new(settings())] {
        client.actions.clear();
        assert!(client.signal(subscribe()).is_empty());
        assert!(client.next().is_none() && client.closed.is_none());
    }
    let mut client = TestClient::connected();
    client.signal(subscribe());
    assert_eq!(&*client.next_subscribe().1.channel, "open:a");
}
