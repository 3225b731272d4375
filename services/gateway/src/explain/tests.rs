//! The decision on a publication, from evidence made by hand.

#![allow(clippy::indexing_slicing, reason = "tests")]

use std::sync::Arc;

use super::{
    answer::{Explanation, Verdict},
    decide::{AskedPublication, Facts},
    decide_all,
    history::EvidenceOfNode,
    never_accepted, nothing_published,
    query::{ExplainQuery, Selection},
    reason::Reason,
};
use crate::event_log::{
    event::{
        EndedSession, FailedPublish, GapChange, GapEvent, RecoveryResult, SessionChange, SessionEvent,
        SubscriptionChange, SubscriptionEvent,
    },
    query::{KnownSince, LiveSession, LiveSubscription, NodeEvidence},
    trace::{TraceOutcome, TracedDelivery},
};
use gorani_broker::{HistoryPage, Position, Publication};

/// The time of the publication of offset 10.
const AT: u64 = 100_000;

fn position(offset: u64) -> Position {
    Position { offset, epoch: "e".into() }
}

fn node(name: &str) -> EvidenceOfNode {
    let all = Some(0);
    let known_since = KnownSince { sessions: all, subscriptions: all, gaps: all, failures: all };
    let known = NodeEvidence { now: 2 * AT, known_since, ..NodeEvidence::default() };
    EvidenceOfNode { node: name.to_owned(), known }
}

fn subscription(at: u64, client: &str, change: SubscriptionChange) -> SubscriptionEvent {
    SubscriptionEvent { at, client: client.into(), user: "42".into(), channel: "a".into(), change }
}

fn began(at: u64, client: &str, asked: Option<u64>, top: u64, recovery: RecoveryResult) -> SubscriptionEvent {
    let change = SubscriptionChange::Began { asked: asked.map(position), top: Some(position(top)), recovery };
    subscription(at, client, change)
}

fn ended(at: u64, client: &str, code: Option<u32>, seen: u64) -> SubscriptionEvent {
    subscription(
        at,
        client,
        SubscriptionChange::Ended { code, seen: Some(position(seen)), not_permitted: false },
    )
}

fn session_end(at: u64, client: &str, code: u16, waiting_bytes: u64, waiting_ms: u64) -> SessionEvent {
    let end = EndedSession {
        code,
        reason: "".into(),
        connected_ms: 50_000,
        waiting_bytes,
        waiting_ms,
        channels: Vec::new(),
    };
    SessionEvent {
        at,
        client: client.into(),
        user: "42".into(),
        transport: "websocket".into(),
        address: None,
        change: SessionChange::Ended(Box::new(end)),
    }
}

fn live(client: &str, seen: Option<u64>, waiting_bytes: u64, transport: &str) -> LiveSession {
    LiveSession {
        client: client.to_owned(),
        user: "42".to_owned(),
        transport: transport.to_owned(),
        connected_at: 1,
        waiting_bytes,
        waiting_ms: if waiting_bytes > 0 { AT + 500 } else { 0 },
        subscription: seen.map(|seen| LiveSubscription { seen: Some(position(seen)), is_broken: false }),
    }
}

/// The decision on offset 10 of the user whom these events, oldest first, and sessions are of.
fn decided(
    subscriptions: Vec<SubscriptionEvent>,
    sessions: Vec<SessionEvent>,
    live: Vec<LiveSession>,
) -> Reason {
    let mut node = node("n1");
    node.known.subscriptions = subscriptions.into_iter().rev().collect();
    node.known.sessions = sessions.into_iter().rev().collect();
    node.known.live = live;
    reason(&Facts { nodes: vec![node], ..Facts::default() })
}

fn publication() -> AskedPublication {
    AskedPublication { offset: 10, epoch: "e".to_owned(), at: Some(AT), excluded: "x".to_owned() }
}

fn reason(facts: &Facts) -> Reason {
    facts.decide(&publication()).reason
}

#[test]
fn a_subscription_that_lives_has_what_it_has_seen_as_far_as_its_outbox_is_empty() {
    let begun = || vec![began(1, "c", None, 5, RecoveryResult::NotAsked)];
    for (seen, waiting, transport, expected) in [
        (12, 0, "websocket", Reason::Written),
        (12, 9, "websocket", Reason::Queued),
        (12, 9, "poll", Reason::WaitsForPoll),
        (9, 0, "websocket", Reason::Gap),
    ] {
        let decision = decided(begun(), Vec::new(), vec![live("c", Some(seen), waiting, transport)]);
        assert_eq!(decision, expected, "{seen} {waiting} {transport}");
    }
    let excluded = vec![began(1, "x", None, 5, RecoveryResult::NotAsked)];
    assert_eq!(decided(excluded, Vec::new(), vec![live("x", Some(12), 0, "websocket")]), Reason::Excluded);
    let later = vec![began(AT + 9, "c", None, 11, RecoveryResult::NotAsked)];
    assert_eq!(
        decided(later, Vec::new(), vec![live("c", Some(12), 0, "websocket")]),
        Reason::SubscribedLater
    );
}

#[test]
fn what_waited_when_a_session_ended_is_not_said_to_have_been_written() {
    for (code, waiting_bytes, waiting_ms, expected) in [
        (1000, 0, 0, Reason::Written),
        (3008, 100, 6_000, Reason::Overflow),
        (1006, 100, 6_000, Reason::UnwrittenAtEnd),
        (3008, 100, 2_000, Reason::Written),
    ] {
        let end = AT + 5_000;
        let events = vec![began(1, "c", None, 5, RecoveryResult::NotAsked), ended(end, "c", None, 12)];
        let sessions = vec![session_end(end, "c", code, waiting_bytes, waiting_ms)];
        assert_eq!(decided(events, sessions, Vec::new()), expected, "{code} {waiting_ms}");
    }
}

#[test]
fn a_client_that_returns_tells_what_it_had_and_gets_what_it_missed() {
    let away = |asked, recovery| {
        let events = vec![
            began(1, "c", None, 5, RecoveryResult::NotAsked),
            ended(AT - 9, "c", None, 8),
            began(AT + 9, "d", Some(asked), 12, recovery),
        ];
        decided(events, vec![session_end(AT - 9, "c", 1006, 0, 0)], vec![live("d", Some(12), 0, "websocket")])
    };
    assert_eq!(away(8, RecoveryResult::Recovered), Reason::Recovered);
    for why in [RecoveryResult::TooOld, RecoveryResult::TooMuch, RecoveryResult::WrongEpoch] {
        assert_eq!(away(8, why), Reason::NotRecovered);
    }
    assert_eq!(away(8, RecoveryResult::NotAsked), Reason::SubscribedLater);
    let had = vec![
        began(1, "c", None, 5, RecoveryResult::NotAsked),
        ended(AT + 9, "c", None, 11),
        began(AT + 19, "d", Some(11), 12, RecoveryResult::Recovered),
    ];
    assert_eq!(decided(had, vec![session_end(AT + 9, "c", 3008, 100, 10_000)], Vec::new()), Reason::HadIt);
    let began_after = vec![
        began(AT + 1, "c", None, 10, RecoveryResult::NotAsked),
        ended(AT + 9, "c", None, 11),
        began(AT + 19, "d", Some(11), 12, RecoveryResult::Recovered),
    ];
    let decision = decided(began_after, Vec::new(), vec![live("d", Some(12), 0, "websocket")]);
    assert_eq!(
        decision,
        Reason::SubscribedLater,
        "its position says nothing of what was before its beginning"
    );
}

#[test]
fn a_subscriber_that_was_told_of_a_gap_did_not_get_what_was_in_it_and_one_that_caught_up_did() {
    let events = vec![began(1, "c", None, 5, RecoveryResult::NotAsked), ended(AT + 9, "c", Some(2500), 9)];
    assert_eq!(decided(events, Vec::new(), vec![live("c", None, 0, "websocket")]), Reason::Told);
    let mut node = node("n1");
    node.known.subscriptions = vec![began(1, "c", None, 5, RecoveryResult::NotAsked)];
    node.known.live = vec![live("c", Some(12), 0, "websocket")];
    let change = GapChange::CaughtUp { after: position(8), to: 11 };
    node.known.gaps = vec![GapEvent { at: AT, channel: "a".into(), change }];
    assert_eq!(reason(&Facts { nodes: vec![node], ..Facts::default() }), Reason::CaughtUp);
}

#[test]
fn without_a_subscription_the_time_tells_whether_there_was_a_connection_or_a_refusal() {
    let connected = || vec![session_end(AT + 10, "c", 1000, 0, 0)];
    assert_eq!(decided(Vec::new(), connected(), Vec::new()), Reason::NotSubscribed);
    assert_eq!(decided(Vec::new(), Vec::new(), Vec::new()), Reason::NotConnected);
    let refused = |at| vec![subscription(at, "c", SubscriptionChange::Refused(103))];
    assert_eq!(decided(refused(AT - 1), connected(), Vec::new()), Reason::SubscribeRefused);
    assert_eq!(decided(refused(AT + 1), connected(), Vec::new()), Reason::NotSubscribed);
    let before = vec![session_end(AT - 1, "c", 1000, 0, 0)];
    assert_eq!(decided(refused(AT - 2), before, Vec::new()), Reason::NotConnected, "its client had gone");
    let other = vec![session_end(AT - 1, "c", 1000, 0, 0), session_end(AT + 10, "d", 1000, 0, 0)];
    assert_eq!(
        decided(refused(AT - 2), other, Vec::new()),
        Reason::NotSubscribed,
        "another client was there"
    );
    let again = [refused(AT - 9), vec![began(AT - 8, "c", None, 5, RecoveryResult::NotAsked)]].concat();
    let again = [again, vec![ended(AT - 7, "c", Some(0), 5)]].concat();
    assert_eq!(decided(again, connected(), Vec::new()), Reason::NotSubscribed, "it was let in, and left");
    let untracked = SubscriptionChange::Began { asked: None, top: None, recovery: RecoveryResult::NotAsked };
    let mut session = live("c", Some(1), 0, "websocket");
    session.subscription = Some(LiveSubscription { seen: None, is_broken: false });
    assert_eq!(decided(vec![subscription(1, "c", untracked)], Vec::new(), vec![session]), Reason::Matched);
}

#[test]
fn a_history_knows_that_nothing_was_published_since_a_time_where_its_newest_entry_is_kept_and_older() {
    let page = |offset: u64, kept: &[(u64, u64)]| HistoryPage {
        publications: kept
            .iter()
            .map(|(offset, time_ms)| {
                Arc::new(Publication { offset: *offset, time_ms: *time_ms, ..Publication::default() })
            })
            .collect(),
        top: position(offset),
        ..HistoryPage::default()
    };
    let is_known = |page: &HistoryPage, since| never_accepted(page, since).is_some();
    assert!(is_known(&page(0, &[]), 0), "nothing was ever published");
    assert!(is_known(&page(7, &[(7, AT), (6, AT - 1)]), AT + 1));
    assert!(!is_known(&page(7, &[(7, AT), (6, AT - 1)]), AT));
    assert!(!is_known(&page(7, &[]), AT), "what it kept has left");
    assert!(!is_known(&page(7, &[(6, AT - 1)]), AT), "the newest one has left");
    assert!(!is_known(&HistoryPage::default(), AT), "the channel keeps none");
}

#[test]
fn a_publish_whose_outcome_is_not_known_is_not_called_refused() {
    let query = ExplainQuery {
        channel: "a".to_owned(),
        user: Some("42".to_owned()),
        client: None,
        publications: Selection::Since(AT),
    };
    let of = |codes: &[u32], page: &HistoryPage| {
        let mut node = node("n1");
        node.known.failures = codes
            .iter()
            .map(|code| FailedPublish { at: AT, channel: "a".into(), by_client: false, code: *code })
            .collect();
        let facts = Facts { nodes: vec![node], ..Facts::default() };
        nothing_published(&query, page, &facts).reason
    };
    let kept = HistoryPage { top: position(7), ..HistoryPage::default() };
    assert_eq!(of(&[121], &kept), Reason::Unknown);
    assert_eq!(of(&[121, 120], &kept), Reason::NotAccepted);
    let empty = HistoryPage { top: position(0), ..HistoryPage::default() };
    assert_eq!(of(&[121], &empty), Reason::NotAccepted, "the history knows it");
}

#[test]
fn a_silent_a_lost_and_a_forgetful_node_make_unknown_of_all_but_what_is_certain() {
    let silent = |facts: Facts| Facts { silent: vec!["n3".to_owned()], ..facts };
    let decision = silent(Facts { nodes: vec![node("n1")], ..Facts::default() }).decide(&publication());
    assert_eq!((decision.reason, &*decision.detail), (Reason::Unknown, "unknown on n3"));
    let mut has = node("n1");
    has.known.subscriptions = vec![began(1, "c", None, 5, RecoveryResult::NotAsked)];
    has.known.live = vec![live("c", Some(12), 0, "websocket")];
    assert_eq!(reason(&silent(Facts { nodes: vec![has], ..Facts::default() })), Reason::Written);
    let mut watcher = node("n1");
    let change = GapChange::NodeLost { id: "n2".to_owned(), name: String::new() };
    watcher.known.gaps = vec![GapEvent { at: AT + 1, channel: "".into(), change }];
    assert_eq!(reason(&Facts { nodes: vec![watcher], ..Facts::default() }), Reason::NodeLost);
    let mut forgetful = node("n1");
    forgetful.known.known_since.subscriptions = Some(AT + 1);
    assert_eq!(reason(&Facts { nodes: vec![forgetful], ..Facts::default() }), Reason::Unknown);
    let mut off = node("n1");
    off.known.known_since.sessions = None;
    assert_eq!(reason(&Facts { nodes: vec![off], ..Facts::default() }), Reason::Unknown);
}

#[test]
fn a_subscription_whose_beginning_is_forgotten_has_what_came_after_that() {
    let of = |since| {
        let mut node = node("n1");
        node.known.known_since.subscriptions = Some(since);
        node.known.live = vec![live("c", Some(12), 0, "websocket")];
        reason(&Facts { nodes: vec![node], ..Facts::default() })
    };
    assert_eq!((of(AT - 1), of(AT + 1)), (Reason::Written, Reason::Unknown));
}

#[test]
fn of_a_channel_in_which_nothing_was_published_it_says_so_for_this_epoch_only() {
    let facts = Facts { nodes: vec![node("n1")], ..Facts::default() };
    let told = |publications, top| {
        let user = Some("42".to_owned());
        let query = ExplainQuery { channel: "a".to_owned(), user, client: None, publications };
        let page = HistoryPage { top, ..HistoryPage::default() };
        let (decision, _) = decide_all(&query, &page, &facts);
        (decision.reason, decision.detail)
    };
    let (reason, detail) = told(Selection::Last(3), position(0));
    assert_eq!(reason, Reason::NotAccepted);
    assert_eq!(detail, "nothing was published in epoch e, the channel's life until now");
    let (reason, detail) = told(Selection::Last(3), position(7));
    assert_eq!((reason, &*detail), (Reason::TooOld, "the history keeps nothing of it"));
    let (reason, detail) = told(Selection::Offset(8, None), position(7));
    assert_eq!((reason, &*detail), (Reason::NotAccepted, "the newest offset of epoch e is 7"));
}

#[test]
fn times_of_a_clock_that_is_ahead_are_moved_back() {
    let mut ahead = node("n2");
    ahead.known.subscriptions = vec![began(AT + 3_000, "c", None, 5, RecoveryResult::NotAsked)];
    ahead.shift(3_000);
    assert_eq!(ahead.known.subscriptions[0].at, AT);
    assert_eq!(ahead.known.known_since.sessions, Some(0));
}

fn traced(at: u64, client: &str, offset: u64, outcome: TraceOutcome) -> TracedDelivery {
    TracedDelivery {
        at,
        channel: "a".to_owned(),
        offset,
        client: client.to_owned(),
        user: "42".to_owned(),
        outcome,
        detail: 0,
    }
}

#[test]
fn a_trace_tells_that_it_is_held_back_and_that_it_came_twice() {
    let of = |seen: u64, traced: Vec<TracedDelivery>| {
        let mut node = node("n1");
        node.known.subscriptions = vec![began(1, "c", None, 5, RecoveryResult::NotAsked)];
        node.known.live = vec![live("c", Some(seen), 0, "websocket")];
        node.known.traced = traced.into_iter().rev().collect();
        reason(&Facts { nodes: vec![node], ..Facts::default() })
    };
    let held_back = |client: &str, offset: u64| traced(AT, client, offset, TraceOutcome::HeldBack);
    let released = traced(AT, "c", 9, TraceOutcome::Released);
    assert_eq!(of(9, vec![held_back("c", 10)]), Reason::HeldBack);
    assert_eq!(of(9, vec![held_back("c", 8)]), Reason::HeldBack, "what follows waits too");
    assert_eq!(of(9, vec![held_back("c", 8), released]), Reason::Gap, "of the same millisecond");
    assert_eq!(of(9, vec![held_back("other", 8)]), Reason::Gap);
    assert_eq!(of(9, vec![held_back("c", 11)]), Reason::Gap, "an earlier one does not wait for that");
    assert_eq!(of(12, vec![held_back("c", 8)]), Reason::Written, "its position says that it is over");
    let duplicate = |offset: u64| traced(AT, "c", offset, TraceOutcome::Duplicate);
    assert_eq!(of(12, vec![duplicate(10)]), Reason::Duplicate);
    assert_eq!(of(12, vec![duplicate(11)]), Reason::Written);
    assert_eq!(
        of(12, vec![traced(AT, "", 10, TraceOutcome::Duplicate)]),
        Reason::Duplicate,
        "for all subscribers"
    );
}

#[test]
fn a_pong_confirms_only_bytes_that_were_in_the_outbox_of_its_client() {
    for (reason, client, expected) in [
        (Reason::Written, "c", true),
        (Reason::Queued, "c", true),
        (Reason::Written, "", false),
        (Reason::Gap, "c", false),
        (Reason::HadIt, "c", false),
    ] {
        let text = format!("a offset 10 → client c: {} (late)", reason.meaning());
        let mut explained = Explanation {
            verdict: Verdict { code: reason.code(), text },
            reason,
            client: client.to_owned(),
            evidence: Vec::new(),
            advice: Vec::new(),
            exit: reason.exit(),
            nodes: Vec::new(),
            complete: true,
        };
        assert_eq!(explained.can_be_confirmed(), expected, "{reason:?} {client}");
        if expected {
            explained.confirm("n1", 1.5);
            let verdict = &explained.verdict;
            assert!(verdict.text.contains(Reason::Confirmed.meaning()), "{verdict:?}");
            assert_eq!((verdict.code, explained.exit), ("confirmed", 0));
            assert_eq!(explained.evidence[0].rank, Some("confirmed"));
        }
    }
}
