//! A receiver's session: its subscriptions come with its request, and it gets objects without envelopes.
//! `docs/protocols/http.md` §7.

use serde_json::{Value, json};

use super::*;
use crate::{
    disconnect::{ErrorCode, Refused},
    format::position::Positions,
    session::{
        client::{
            OutputFormat,
            asked_poll::{AskedPoll, NotPollable},
            receiver::{ReceiveQuery, UniSession},
        },
        tests::Failures,
    },
};

/// A receiver with its surroundings.
struct Receiver {
    session: UniSession,
    now: Now,
    objects: Vec<Value>,
    /// The position that stands before each object.
    positions: Vec<String>,
    actions: VecDeque<Action>,
}

fn receive_query(token: &str, channels: &[&str], position: &str) -> ReceiveQuery {
    ReceiveQuery {
        token: token.to_owned(),
        channels: channels.iter().map(ToString::to_string).collect(),
        positions: Positions::parse(position).unwrap(),
        ..ReceiveQuery::default()
    }
}

impl Receiver {
    fn open(receive_query: ReceiveQuery, wait: Option<Duration>) -> Self {
        let now = Now { unix_ms: START_S * 1000, ..Now::read() };
        let traits = TransportTraits { format: OutputFormat::WithPositions, ..TransportTraits::default() };
        let policy = policy(settings());
        let session = match wait {
            None => UniSession::new(policy, traits, receive_query, now),
            Some(wait) => {
                let admitted =
                    AskedPoll::default().admit(policy, traits, receive_query, Failures::at_most(1), now);
                admitted.unwrap().begin(wait, now).unwrap().0
            }
        };
        let (objects, positions, actions) = Default::default();
        let mut me = Self { session, now, objects, positions, actions };
        me.run(|session, now, actions| session.opened(now, actions));
        me
    }

    fn run(&mut self, call: impl FnOnce(&mut UniSession, Now, &mut Actions)) {
        let mut actions = Actions::default();
        call(&mut self.session, self.now, &mut actions);
        actions.drain_messages(|_, message| {
            let lines: Vec<_> = message.split(|byte| *byte == b'\n').collect();
            for pair in lines.chunks(2) {
                self.positions.push(String::from_utf8(pair[0].to_vec()).unwrap());
                self.objects.push(serde_json::from_slice(pair[1]).unwrap());
            }
        });
        self.actions.extend(actions.take_list());
    }

    /// The next action that is not an identification.
    fn next(&mut self) -> Action {
        loop {
            match self.actions.pop_front().unwrap() {
                Action::Identify { .. } => {}
                action => return action,
            }
        }
    }

    /// Answers the next subscribe; the position that it asked to recover from.
    fn subscribed(&mut self, subscribed: Subscribed) -> Option<Position> {
        let Action::Subscribe(ticket, request) = self.next() else { panic!("no subscribe") };
        self.run(|session, now, actions| {
            session.outcome(ticket, Outcome::Subscribed(Ok(subscribed)), now, actions);
        });
        request.recover
    }
}

fn missed(offset: u64) -> Arc<Publication> {
    Arc::new(Publication { offset, epoch: "e".into(), ..Publication::default() })
}

#[test]
fn a_receiver_is_connected_then_brought_what_it_missed_then_what_comes() {
    let mut receiver =
        Receiver::open(receive_query(&token(60, &[]), &["history:a"], "history~3aa.5.e"), None);
    let recovered = Subscribed {
        was_recovering: true,
        recovered: true,
        publications: vec![missed(6), missed(7)],
        ..top(7)
    };
    assert_eq!(receiver.subscribed(recovered), Some(Position { offset: 5, epoch: "e".into() }));
    let sub = &receiver.objects[0]["connect"]["subs"]["history:a"];
    assert_eq!((&sub["recovered"], &sub["publications"]), (&json!(true), &Value::Null));
    // It begins where it was: the publications themselves bring it further.
    assert_eq!(receiver.positions, ["history~3aa.5.e"]);
    assert!(
        matches!(receiver.next(), Action::Replay(channel, missed, _) if &*channel == "history:a" && missed.len() == 2)
    );
}

#[test]
fn a_receiver_has_the_permissions_of_the_client_protocol() {
    let refused = |receive_query: ReceiveQuery| match Receiver::open(receive_query, None).next() {
        Action::Refuse(refused) => refused,
        other => panic!("{other:?}"),
    };
    let valid = token(60, &[]);
    assert_eq!(
        refused(receive_query(&valid, &["closed:a"], "")),
        Refused::Error(ErrorCode::PERMISSION_DENIED)
    );
    assert_eq!(
        refused(receive_query(&valid, &["$private"], "")),
        Refused::Error(ErrorCode::PERMISSION_DENIED)
    );
    assert_eq!(
        refused(receive_query(&valid, &["unknown:a"], "")),
        Refused::Error(ErrorCode::UNKNOWN_CHANNEL)
    );
    assert_eq!(refused(receive_query("", &["history:a"], "")), Refused::Error(ErrorCode::PERMISSION_DENIED));
    assert_eq!(
        refused(receive_query("nonsense", &["open:a"], "")),
        Refused::Disconnect(Disconnect::INVALID_TOKEN)
    );
    let many: Vec<String> = (0..129).map(|number| format!("open:{number}")).collect();
    let many = ReceiveQuery { channels: many, ..ReceiveQuery::default() };
    assert_eq!(refused(many), Refused::Error(ErrorCode::LIMIT_EXCEEDED));
}

#[test]
fn channels_of_the_token_come_without_being_named() {
    let mut receiver =
        Receiver::open(receive_query(&token(60, &["closed:mine"]), &["open:a", "closed:mine"], ""), None);
    receiver.subscribed(Subscribed::default());
    assert!(receiver.objects.is_empty(), "not all of them are subscribed");
    receiver.subscribed(Subscribed::default());
    let subs = receiver.objects[0]["connect"]["subs"].as_object().unwrap();
    assert_eq!(subs.keys().collect::<Vec<_>>(), ["closed:mine", "open:a"]);
}

#[test]
fn a_stream_is_present_and_announced_and_a_poll_that_comes_and_goes_is_not() {
    for (wait, is_seen) in [(None, true), (Some(Duration::from_secs(5)), false)] {
        let mut receiver = Receiver::open(receive_query(&token(60, &[]), &["history:a"], ""), wait);
        let Action::Subscribe(_, request) = receiver.next() else { panic!("no subscribe") };
        assert_eq!([request.presence, request.announce, request.join_leave], [is_seen; 3]);
    }
}

#[test]
fn a_poll_begins_with_all_that_it_missed_or_not_at_all() {
    let unrecovered = || Subscribed { was_recovering: true, ..top(9) };
    let asked = || receive_query(&token(60, &[]), &["history:a"], "history~3aa.5.e");
    let mut poll = Receiver::open(asked(), Some(Duration::from_secs(5)));
    poll.subscribed(unrecovered());
    assert!(matches!(poll.next(), Action::Unsubscribe(_)));
    let refused = Refused::Error(ErrorCode::UNRECOVERABLE_POSITION);
    assert!(matches!(poll.next(), Action::Refuse(why) if why == refused));
    // A stream begins, and says what it could not do.
    let mut stream = Receiver::open(asked(), None);
    stream.subscribed(unrecovered());
    assert_eq!(stream.objects[0]["connect"]["subs"]["history:a"]["was_recovering"], true);
    assert_eq!(stream.objects[0]["connect"]["subs"]["history:a"]["recovered"], false);
    assert_eq!(stream.objects[0]["connect"]["subs"]["history:a"]["unrecovered_reason"], "position_lost");
    assert_eq!(stream.positions, ["history~3aa.9.e"]);
}

#[test]
fn a_receiver_that_waits_too_long_for_the_broker_is_to_come_again() {
    for wait in [None, Some(Duration::from_secs(60))] {
        let mut receiver =
            Receiver::open(receive_query(&token(60, &[]), &["history:a"], "history~3aa.5.e"), wait);
        assert!(matches!(receiver.next(), Action::Subscribe(..)));
        receiver.now.instant += Duration::from_secs(10);
        assert!(receiver.session.deadline().unwrap() <= receiver.now.instant);
        receiver.run(|session, now, actions| session.signal(Signal::Timer, now, actions));
        let Action::Refuse(refused) = receiver.next() else { panic!("it goes on waiting") };
        assert_eq!(refused, Refused::Disconnect(Disconnect::INTERNAL));
        assert!(refused.disconnect().reconnects());
    }
}

#[test]
fn a_receiver_that_names_a_position_of_no_use_is_told_why_it_begins_anew() {
    // `open:a` keeps nothing, and no Last-Event-ID is a position in `history:a`.
    let not_allowed = receive_query(&token(60, &[]), &["open:a"], "open~3aa.5.e");
    let bad = ReceiveQuery { is_unreadable: true, ..receive_query(&token(60, &[]), &["history:a"], "") };
    for (receive_query, reason) in [(not_allowed, "recovery_not_allowed"), (bad, "bad_position")] {
        let channel = receive_query.channels[0].clone();
        let mut stream = Receiver::open(receive_query, None);
        assert_eq!(stream.subscribed(top(9)), None, "nothing is tried");
        let sub = &stream.objects[0]["connect"]["subs"][&channel];
        assert_eq!((&sub["was_recovering"], &sub["recovered"]), (&json!(true), &json!(false)), "{reason}");
        assert_eq!(sub["unrecovered_reason"], reason);
    }
    // A receiver that names none gets no such notice.
    let mut stream = Receiver::open(receive_query(&token(60, &[]), &["history:a"], ""), None);
    stream.subscribed(top(9));
    let sub = &stream.objects[0]["connect"]["subs"]["history:a"];
    for field in ["was_recovering", "recovered", "unrecovered_reason"] {
        assert_eq!(sub.get(field), None);
    }
}

#[test]
fn the_token_of_a_poll_is_looked_at_once_whether_it_waits_or_not() {
    let now = Now { unix_ms: START_S * 1000, ..Now::read() };
    let traits = TransportTraits { format: OutputFormat::WithPositions, ..TransportTraits::default() };
    let limit = Failures::at_most(1);
    let receive_query = receive_query(&token(60, &["closed:mine"]), &["history:a"], "history~3aa.5.e");
    let wait = Duration::from_secs(5);
    let admitted =
        AskedPoll::default().admit(policy(settings()), traits, receive_query, limit.clone(), now).unwrap();
    let (mut session, channels) = admitted.begin(wait, now).unwrap();
    assert_eq!(channels.len(), 2);
    let mut actions = Actions::default();
    session.opened(now, &mut actions);
    let subscribes = actions.take_list().into_iter().filter(|action| matches!(action, Action::Subscribe(..)));
    assert_eq!(subscribes.count(), 2);
    assert_eq!(limit.asked.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[test]
fn a_poll_ends_when_its_time_is_over() {
    let mut poll =
        Receiver::open(receive_query(&token(60, &[]), &["history:a"], ""), Some(Duration::from_secs(5)));
    poll.subscribed(top(1));
    assert!(matches!(poll.next(), Action::Release(_)));
    let until = poll.session.deadline().unwrap();
    assert_eq!(until, poll.now.instant + Duration::from_secs(5));
    poll.now.instant = until;
    poll.run(|session, now, actions| session.signal(Signal::Timer, now, actions));
    assert!(matches!(poll.next(), Action::Close(why) if why == Disconnect::NORMAL));
}

#[test]
fn a_receiver_is_pinged_without_having_to_answer_and_may_say_nothing() {
    let mut receiver = Receiver::open(receive_query(&token(3600, &[]), &["open:a"], ""), None);
    receiver.subscribed(Subscribed::default());
    receiver.actions.clear();
    for _ in 0..3 {
        receiver.now.instant = receiver.session.deadline().unwrap();
        receiver.run(|session, now, actions| session.signal(Signal::Timer, now, actions));
        assert!(matches!(receiver.next(), Action::Ping));
    }
    receiver.run(|session, now, actions| session.message(Incoming::Text("{}"), now, actions));
    assert!(matches!(receiver.next(), Action::Close(why) if why == Disconnect::BAD_REQUEST));
}

/// A receiver whose handshake asked for nothing.
fn awaiting() -> Receiver {
    let now = Now { unix_ms: START_S * 1000, ..Now::read() };
    let traits = TransportTraits { format: OutputFormat::WithPositions, ..TransportTraits::default() };
    let session = UniSession::awaiting_connect(policy(settings()), traits, now);
    let (objects, positions, actions) = Default::default();
    let mut me = Receiver { session, now, objects, positions, actions };
    me.run(|session, now, actions| session.opened(now, actions));
    me
}

#[test]
fn the_first_message_of_a_receiver_that_asked_for_nothing_is_its_connect() {
    let mut receiver = awaiting();
    assert!(receiver.actions.is_empty() && !receiver.session.has_connected(), "it waits");
    let token = token(3600, &["closed:mine"]);
    let connect =
        json!({"token": token, "subs": {"history:a": {"recover": true, "offset": 5, "epoch": "e"}}});
    receiver.run(|session, now, actions| {
        session.message(Incoming::Text(&connect.to_string()), now, actions);
    });
    assert_eq!(receiver.subscribed(Subscribed::default()), None, "the token's channel");
    let from = receiver.subscribed(Subscribed { was_recovering: true, recovered: true, ..top(5) });
    assert_eq!(from, Some(Position { offset: 5, epoch: "e".into() }));
    let subs = receiver.objects[0]["connect"]["subs"].as_object().unwrap();
    assert_eq!(subs.keys().collect::<Vec<_>>(), ["closed:mine", "history:a"]);
    assert!(receiver.session.has_connected());
}

#[test]
fn a_first_message_that_is_no_connect_object_and_none_at_all_end_the_receiver() {
    let refused = |receiver: &mut Receiver| match receiver.next() {
        Action::Refuse(refused) => refused,
        other => panic!("{other:?}"),
    };
    for message in ["", "[]", "x", r#"{"id":1,"connect":{}}"#, r#"{"position":"x"}"#] {
        let mut receiver = awaiting();
        receiver.run(|session, now, actions| session.message(Incoming::Text(message), now, actions));
        let expected =
            if message.is_empty() { None } else { Some(Refused::Disconnect(Disconnect::BAD_REQUEST)) };
        // An empty one asks for nothing, as an empty body does.
        assert_eq!(expected.is_none(), receiver.session.has_connected(), "{message:?}");
        if let Some(expected) = expected {
            assert_eq!(refused(&mut receiver), expected, "{message:?}");
        }
    }
    let mut silent = awaiting();
    silent.now.instant = silent.session.deadline().unwrap();
    silent.run(|session, now, actions| session.signal(Signal::Timer, now, actions));
    assert_eq!(refused(&mut silent), Refused::Disconnect(Disconnect::STALE));
}

#[test]
fn only_what_keeps_history_can_be_read_by_polls() {
    let policy = policy(settings());
    let now = Now { unix_ms: START_S * 1000, ..Now::read() };
    let limit = Failures::at_most(1);
    let asked = |token: &str| receive_query(token, &["history:a", "open:a"], "");
    let read = |token: &str| {
        let traits = TransportTraits { format: OutputFormat::WithPositions, ..TransportTraits::default() };
        let admitted =
            AskedPoll::default().admit(policy.clone(), traits, asked(token), limit.clone(), now)?;
        admitted.begin(Duration::ZERO, now).map(|(_, channels)| channels)
    };
    let channels = read(&token(60, &[])).unwrap();
    let kept: Vec<_> = channels.iter().map(|channel| channel.retention.err()).collect();
    assert_eq!(kept, [None, Some(NotPollable::NoHistory)]);
    // A wrong token counts, and after too many none is looked at.
    let refused = |token: &str| read(token).unwrap_err();
    assert_eq!(refused("a.b.c"), Refused::Disconnect(Disconnect::INVALID_TOKEN));
    assert_eq!(refused(&token(60, &[])), Refused::Error(ErrorCode::TOO_MANY_REQUESTS));
}
