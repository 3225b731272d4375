//! Publish, history, presence, rpc, and clients that only make errors.

use bytes::Bytes;
use gorani_broker::{HistoryPage, Publication, Published};

use super::*;
use crate::{disconnect::ErrorCode, session::tests::followed};

#[test]
fn a_subscriber_publishes_as_itself_and_is_answered_when_the_broker_accepted() {
    let mut client = TestClient::subscribed("open:a", Subscribed::default());
    assert!(matches!(client.next(), Some(Action::Release(_))));
    assert!(client.say_text(r#"{"id":3,"publish":{"channel":"open:a","data":{"b": 1.50}}}"#).is_empty());
    let Some(Action::Publish(ticket, channel, publication, _)) = client.next() else { panic!("no publish") };
    assert_eq!((&*channel, &publication.data[..]), ("open:a", &br#"{"b": 1.50}"#[..]));
    assert_eq!(publication.info.unwrap().user, "42");
    assert_eq!(
        client.settle(ticket, Outcome::Published(Ok(Published::default()))),
        [json!({"id": 3, "publish": {}})]
    );
}

#[test]
fn publishes_go_out_one_after_the_other_without_waiting_up_to_a_bound() {
    let mut client = TestClient::subscribed("open:a", Subscribed::default());
    for id in 3..103 {
        client.say(json!({"id": id, "publish": {"channel": "open:a", "data": id}}));
    }
    let published =
        std::iter::from_fn(|| client.next()).filter(|action| matches!(action, Action::Publish(..))).count();
    assert_eq!(published, 64);
}

#[test]
fn a_failed_publish_is_told() {
    let mut client = TestClient::subscribed("open:a", Subscribed::default());
    client.next();
    client.say(json!({"id": 3, "publish": {"channel": "open:a", "data": 1}}));
    let Some(Action::Publish(ticket, ..)) = client.next() else { panic!("no publish") };
    let replies = client.settle(ticket, Outcome::Published(Err(ErrorCode::UNAVAILABLE)));
    assert_eq!(error_code(&replies[0]), 120);
}

#[test]
fn what_a_client_may_not_do_is_refused_with_its_code() {
    let mut client = TestClient::subscribed("open:a", Subscribed::default());
    for (command, code) in [
        (json!({"publish": {"channel": "open:b", "data": 1}}), 103),
        (json!({"publish": {"channel": "nowhere:b", "data": 1}}), 102),
        (json!({"publish": {"channel": "open:a"}}), 107),
        (json!({"history": {"channel": "open:a"}}), 108),
        (json!({"history": {"channel": "history:a"}}), 103),
        (json!({"presence": {"channel": "open:a"}}), 108),
        (json!({"presence_stats": {"channel": "history:a"}}), 103),
        (json!({"rpc": {"method": "x", "data": {}}}), 108),
        (json!({"sub_refresh": {"channel": "open:b", "token": "x"}}), 103),
    ] {
        let mut command = command;
        command["id"] = json!(9);
        let replies = client.say(command.clone());
        assert_eq!(error_code(&replies[0]), code, "{command}");
    }
    assert!(client.closed.is_none());
}

#[test]
fn a_send_which_nobody_would_take_ends_the_connection_instead_of_being_lost_in_silence() {
    for command in [json!({"send": {"data": {}}}), json!({"send": {}}), json!({"id": 3, "send": {"data": 1}})]
    {
        let mut client = TestClient::connected();
        assert!(client.say(command).is_empty());
        assert_eq!(client.closed_with(), 3508);
    }
}

#[test]
fn a_request_that_cannot_be_read_is_answered_and_the_connection_goes_on() {
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let publish = format!(r#"{{"id":3,"publish":{{"channel":"open:a","data":{deep}}}}}"#);
    let mut client = TestClient::subscribed("open:a", Subscribed::default());
    for line in [&publish, r#"{"id":3,"subscribe":{"channel":"open:\ud83d"}}"#] {
        let replies = client.say_text(line);
        assert_eq!((replies[0]["id"].as_u64(), error_code(&replies[0])), (Some(3), 107), "{replies:?}");
    }
    assert_eq!(client.closed_with(), 0);
    // Without its id nobody can be answered.
    client.say_text(&publish.replace(r#""id":3,"#, ""));
    assert_eq!(client.closed_with(), 3501);
}

#[test]
fn a_connect_that_cannot_be_read_is_answered_too_and_only_a_connect_opens_the_session() {
    let mut client = TestClient::new(settings());
    let replies = client.say_text(r#"{"id":1,"connect":{"token":"\ud83d"}}"#);
    assert_eq!((error_code(&replies[0]), client.closed_with()), (107, 0));
    let replies = client.say_text(r#"{"id":2,"connect":{"name":"cut \ud83d"}}"#);
    assert!(replies[0]["connect"]["client"].is_string(), "{replies:?}");
    let mut client = TestClient::new(settings());
    client.say(json!({"id": 1, "publish": {"channel": "open:a"}}));
    assert_eq!(client.closed_with(), 3501);
}

#[test]
fn history_is_read_within_its_bound_and_its_epoch() {
    let mut client = TestClient::subscribed("history:a", top(5));
    client.next();
    let page = || {
        let publication = Publication { data: Bytes::from_static(b"5"), offset: 5, ..Publication::default() };
        HistoryPage {
            publications: vec![Arc::new(publication)],
            top: top(5).top.unwrap(),
            ..HistoryPage::default()
        }
    };
    for (limit, expected) in [(10, 10), (-1, 300), (1000, 300), (0, 0)] {
        client.say(json!({"id": 3, "history": {"channel": "history:a", "limit": limit, "since": {"offset": 4, "epoch": "e"}}}));
        let Some(Action::History(ticket, _, query, _)) = client.next() else { panic!("no history") };
        assert_eq!((query.limit, query.since), (expected, Some(4)));
        let replies = client.settle(ticket, Outcome::History(Ok((page(), None))));
        let expected = json!({"publications": [{"data": 5, "offset": 5}], "offset": 5, "epoch": "e"});
        assert_eq!(replies[0]["history"], expected);
    }
    client
        .say(json!({"id": 4, "history": {"channel": "history:a", "since": {"offset": 4, "epoch": "other"}}}));
    let Some(Action::History(ticket, ..)) = client.next() else { panic!("no history") };
    assert_eq!(error_code(&client.settle(ticket, Outcome::History(Ok((page(), None))))[0]), 112);
}

#[test]
fn a_page_of_another_epoch_gives_its_permit_back_with_the_error() {
    let budget = Arc::new(crate::memory::MemoryBudget::default());
    let mut client = TestClient::subscribed("history:a", top(5));
    client.next();
    for (epoch, held) in [("other", 0), ("e", 100)] {
        client.say(
            json!({"id": 3, "history": {"channel": "history:a", "since": {"offset": 4, "epoch": epoch}}}),
        );
        let Some(Action::History(ticket, ..)) = client.next() else { panic!("no history") };
        let page =
            HistoryPage { publications: Vec::new(), top: top(5).top.unwrap(), ..HistoryPage::default() };
        let mut actions = Actions::default();
        let outcome = Outcome::History(Ok((page, budget.try_reply(100))));
        client.session.outcome(ticket, outcome, client.now, &mut actions);
        assert_eq!(budget.reply_bytes(), held, "{epoch}");
        while client.session.has_more() {
            client.session.resume(client.now, &mut actions);
        }
        assert_eq!(budget.reply_bytes(), held, "{epoch}");
        drop(actions.drain_messages(|_, _| {}));
        assert_eq!(budget.reply_bytes(), 0);
    }
}

#[test]
fn presence_and_its_numbers_are_read() {
    let mut client = TestClient::subscribed("history:a", top(0));
    client.next();
    client.say(json!({"id": 3, "presence": {"channel": "history:a"}}));
    let Some(Action::Presence(ticket, _)) = client.next() else { panic!("no presence") };
    let info = client.session.identity.info_for(Bytes::new());
    let replies = client.settle(ticket, Outcome::Presence(Ok((vec![info.clone()], None))));
    assert_eq!(replies[0]["presence"]["presence"][&info.client]["user"], "42");
    client.say(json!({"id": 4, "presence_stats": {"channel": "history:a"}}));
    let Some(Action::PresenceStats(ticket, _)) = client.next() else { panic!("no stats") };
    let replies = client.settle(ticket, Outcome::PresenceStats(Ok((2, 1))));
    assert_eq!(replies[0]["presence_stats"], json!({"num_clients": 2, "num_users": 1}));
}

#[test]
fn a_client_that_only_makes_errors_is_ended() {
    let mut client = TestClient::new(ClientSettings { max_errors: 50, ..settings() });
    client.say(json!({"id": 1, "connect": {}}));
    for id in 2..60 {
        client.say(json!({"id": id, "subscribe": {"channel": "closed:a"}}));
    }
    assert_eq!(client.closed_with(), 3509);
}

#[test]
fn a_session_that_has_ended_does_nothing_more() {
    let mut client = TestClient::connected();
    client.signal(Signal::Disconnect(Disconnect::SHUTDOWN));
    assert_eq!(client.closed_with(), 3001);
    assert!(client.say(json!({"id": 2, "rpc": {"method": "x"}})).is_empty());
    assert_eq!(client.session.deadline(), None);
}

#[test]
fn a_message_of_thousands_of_commands_is_run_in_short_steps_and_in_order() {
    let mut client = TestClient::subscribed("open:a", Subscribed::default());
    let line = |id: u32| json!({"id": id, "unsubscribe": {"channel": "x"}}).to_string();
    let lines: Vec<String> = (3..5003).map(line).collect();
    let mut actions = Actions::default();
    let mut seen = 0_u64;
    let mut steps = 0;
    client.session.message(Incoming::Text(&lines.join("\n")), client.now, &mut actions);
    loop {
        let before = seen;
        actions.drain_messages(|_, message| {
            for line in message.split(|byte| *byte == b'\n') {
                let reply: Value = serde_json::from_slice(line).unwrap();
                assert_eq!(reply["id"], seen + 3);
                seen += 1;
            }
        });
        assert!(seen - before <= 64, "{} commands in one step", seen - before);
        steps += 1;
        if !client.session.has_more() {
            break;
        }
        assert!(client.session.is_blocked() || seen > 4700, "the transport reads on behind what waits");
        client.session.resume(client.now, &mut actions);
    }
    assert_eq!(seen, 5000);
    assert!(steps >= 5000 / 64, "{steps} steps");
}

#[test]
fn tokens_are_few_in_a_step_since_each_is_a_signature_to_verify() {
    let mut client = TestClient::subscribed("open:a", Subscribed::default());
    let line = |id: u32| json!({"id": id, "refresh": {"token": token(3600, &[])}}).to_string();
    let lines: Vec<String> = (3..53).map(line).collect();
    let mut actions = Actions::default();
    client.session.message(Incoming::Text(&lines.join("\n")), client.now, &mut actions);
    let mut replies = 0;
    actions.drain_messages(|_, message| replies += message.split(|byte| *byte == b'\n').count());
    assert!(replies <= 3, "{replies} tokens in one step");
}

#[test]
fn outcomes_that_come_at_once_do_not_make_a_step_longer() {
    // As with the embedded broker: each publish has its outcome before the next action.
    let mut client = TestClient::subscribed("open:a", Subscribed::default());
    let line = |id: u32| json!({"id": id, "publish": {"channel": "open:a", "data": id}}).to_string();
    let lines: Vec<String> = (3..1003).map(line).collect();
    let mut actions = Actions::default();
    client.session.message(Incoming::Text(&lines.join("\n")), client.now, &mut actions);
    let mut published = 0;
    loop {
        let mut in_step = 0;
        let mut list: VecDeque<Action> = actions.take_list().into();
        while let Some(action) = list.pop_front() {
            let Action::Publish(ticket, ..) = action else { continue };
            in_step += 1;
            let outcome = Outcome::Published(Ok(Published::default()));
            client.session.outcome(ticket, outcome, client.now, &mut actions);
            list.extend(actions.take_list());
        }
        assert!(in_step <= 64, "{in_step} publishes in one step");
        published += in_step;
        if !client.session.has_more() {
            break;
        }
        client.session.resume(client.now, &mut actions);
    }
    assert_eq!(published, 1000);
}

#[test]
fn a_history_command_reads_as_many_publications_and_bytes_as_one_read_may_bring() {
    let settings = settings();
    let mut client = TestClient::subscribed("history:a", top(1000));
    client.next();
    for (limit, read) in [(-1, settings.history_max), (100_000, settings.history_max), (7, 7), (0, 0)] {
        client.say(json!({"id": 3, "history": {"channel": "history:a", "limit": limit}}));
        let Some(Action::History(ticket, _, query, _)) = client.next() else { panic!("no history") };
        assert_eq!((query.limit, query.max_bytes), (read, Some(settings.reply_max_bytes as u64)), "{limit}");
        client.settle(ticket, Outcome::History(Err(ErrorCode::UNAVAILABLE)));
    }
}

#[test]
fn commands_of_a_followed_user_are_noted_with_the_code_of_a_refusal_whenever_it_comes() {
    let mut client = TestClient::subscribed("open:a", Subscribed::default());
    client.next();
    let log = client.session.policy.command_log.clone();
    client.say(json!({"id": 3, "publish": {"channel": "open:a", "data": 0}}));
    assert!(followed(&log, "42").is_empty(), "nobody follows the user");
    assert!(log.watch("42"));
    while client.next().is_some() {}
    client.say(json!({"id": 4, "publish": {"channel": "open:a", "data": 1}}));
    let Some(Action::Publish(ticket, ..)) = client.next() else { panic!("no publish") };
    client.say(json!({"id": 5, "publish": {"channel": "open:a", "data": 1}}));
    client.say(json!({"id": 6, "history": {"channel": "open:a"}}));
    client.say(json!({"id": 7, "rpc": {"method": "buy", "data": {}}}));
    client.settle(ticket, Outcome::Published(Err(ErrorCode::UNAVAILABLE)));
    let unavailable = ErrorCode::UNAVAILABLE.code;
    let expected = [
        format!("history open:a {}", ErrorCode::NOT_AVAILABLE.code),
        "publish open:a 0".to_owned(),
        format!("publish open:a {unavailable}"),
        format!("rpc buy {}", ErrorCode::NOT_AVAILABLE.code),
    ];
    assert_eq!(followed(&log, "42"), expected);
}
