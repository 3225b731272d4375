//! The order of commands while the backend is asked, and the end of a session that has calls under way.

use std::num::NonZeroUsize;

use super::{asking::*, *};
use crate::proxy_call::{ProxyAnswer, ProxyCall, ProxyRequest, ProxyResult, ProxyRoutes, SubscribeGrant};

fn publish_granted() -> Outcome {
    let granted = ProxyResult::Publish(Box::default());
    Outcome::Proxied(Box::new(Ok(ProxyAnswer::Result(granted))))
}

fn ids(replies: &[Value]) -> Vec<u64> {
    replies.iter().map(|reply| reply["id"].as_u64().unwrap()).collect()
}

/// All that the session asks the backend now, and what it does besides.
fn calls(client: &mut TestClient) -> Vec<(Ticket, Box<ProxyCall>)> {
    let mut calls = Vec::new();
    while let Some(action) = client.next() {
        if let Action::Proxy(ticket, call) = action {
            calls.push((ticket, call));
        }
    }
    calls
}

fn frame(commands: &[Value]) -> String {
    commands.iter().map(Value::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn twenty_subscribes_in_a_frame_are_asked_side_by_side_and_an_rpc_does_not_wait_for_them() {
    let mut client = TestClient::let_in(routes());
    let mut commands: Vec<Value> =
        (2..22).map(|id| json!({"id": id, "subscribe": {"channel": format!("closed:{id}")}})).collect();
    commands.push(json!({"id": 99, "rpc": {}}));
    assert!(client.say_text(&frame(&commands)).is_empty());
    let calls = calls(&mut client);
    assert_eq!(calls.len(), 21);
    let (ticket, _) = calls.last().unwrap();
    assert_eq!(ids(&client.answer_to(*ticket, called(None))), [99]);
}

#[test]
fn they_are_asked_side_by_side_too_where_they_came_with_the_connect() {
    let mut client = TestClient::asking(settings(), routes());
    let commands = [
        json!({"id": 1, "connect": {}}),
        json!({"id": 2, "subscribe": {"channel": "closed:a"}}),
        json!({"id": 3, "unsubscribe": {"channel": "closed:a"}}),
        json!({"id": 4, "subscribe": {"channel": "closed:b"}}),
        json!({"id": 5, "rpc": {}}),
    ];
    client.say_text(&frame(&commands));
    client.answer(connected_as(grant("42")));
    let asked = calls(&mut client);
    assert_eq!(asked.len(), 3, "{asked:?}");
}

#[test]
fn commands_of_a_channel_wait_for_its_subscribe_in_their_order_and_others_do_not() {
    let mut client = TestClient::let_in(routes());
    client.say(json!({"id": 2, "subscribe": {"channel": "closed:a"}}));
    let (ticket, _) = client.next_call();
    client.say(json!({"id": 3, "unsubscribe": {"channel": "closed:a"}}));
    client.say(json!({"id": 4, "subscribe": {"channel": "closed:a"}}));
    assert_eq!(ids(&client.say(json!({"id": 5, "unsubscribe": {"channel": "closed:b"}}))), [5]);
    assert!(client.next().is_none());
    client.answer_to(ticket, subscribed_as(SubscribeGrant::default()));
    let (ticket, _) = client.next_subscribe();
    let replies = client.settle(ticket, Outcome::Subscribed(Ok(Subscribed::default())));
    assert_eq!(ids(&replies), [2, 3], "the unsubscribe runs once it is subscribed");
    let asked = calls(&mut client);
    assert_eq!(asked.len(), 1, "and then the next subscribe");
}

#[test]
fn publications_of_a_session_keep_their_order_across_channels() {
    let mut client = TestClient::let_in(routes());
    for (id, channel) in [(2, "closed:a"), (3, "history:b"), (4, "closed:a")] {
        client.say(json!({"id": id, "publish": {"channel": channel, "data": id}}));
    }
    // It is behind a publication of its channel, and of no other lane.
    assert!(client.say(json!({"id": 5, "unsubscribe": {"channel": "history:b"}})).is_empty());
    let mut published = Vec::new();
    while published.len() < 3 {
        let (ticket, _) = client.next_call();
        assert!(client.next().is_none(), "one at a time");
        client.settle(ticket, publish_granted());
        let Some(Action::Publish(_, channel, publication, _)) = client.next() else { panic!("no publish") };
        published.push((channel.to_string(), publication.data[0] - b'0'));
    }
    let expected = [("closed:a", 2), ("history:b", 3), ("closed:a", 4)];
    assert_eq!(published, expected.map(|(channel, id)| (channel.to_owned(), id)));
}

#[test]
fn a_command_that_may_not_pass_holds_back_the_later_ones_of_both_its_lanes() {
    let mut client = TestClient::let_in(routes());
    client.say(json!({"id": 2, "publish": {"channel": "closed:a", "data": 1}}));
    client.say(json!({"id": 3, "publish": {"channel": "closed:b", "data": 1}}));
    client.say(json!({"id": 4, "subscribe": {"channel": "closed:b"}}));
    let (ticket, call) = client.next_call();
    assert!(matches!(call.request, ProxyRequest::Publish { .. }));
    assert!(client.next().is_none(), "a subscribe overtakes no publication of its channel");
    client.settle(ticket, publish_granted());
    assert!(matches!(client.next(), Some(Action::Publish(..))));
    let (ticket, _) = client.next_call();
    assert!(client.next().is_none());
    client.settle(ticket, publish_granted());
    assert!(matches!(client.next(), Some(Action::Publish(..))));
    let (_, call) = client.next_call();
    assert!(matches!(call.request, ProxyRequest::Subscribe { .. }));
}

#[test]
fn calls_of_rpc_are_answered_in_their_order_unless_more_may_run_at_a_time() {
    for (concurrency, at_once) in [(1, 1), (3, 3)] {
        let mut routes = routes();
        routes.rpc.concurrency = NonZeroUsize::new(concurrency).unwrap();
        let mut client = TestClient::let_in(routes);
        for id in 2..7 {
            assert!(client.say(json!({"id": id, "rpc": {}})).is_empty());
        }
        let asked = calls(&mut client);
        assert_eq!(asked.len(), at_once);
        assert_eq!(ids(&client.answer_to(asked[0].0, called(None))), [2]);
        assert_eq!(calls(&mut client).len(), 1);
    }
}

#[test]
fn a_pong_overtakes_all_commands_that_wait_for_the_backend() {
    let mut client = TestClient::let_in(routes());
    for id in 2..9 {
        client.say(json!({"id": id, "rpc": {}}));
    }
    client.pass(30);
    client.say_text("{}");
    client.advance(Duration::from_secs(10));
    client.signal(Signal::Timer);
    assert_eq!(client.closed_with(), 0, "it answered its ping");
}

#[test]
fn at_most_64_calls_are_under_way_and_256_commands_wait_then_the_transport_stops_reading() {
    let mut routes = routes();
    routes.rpc.concurrency = NonZeroUsize::new(1000).unwrap();
    let mut client = TestClient::let_in(routes);
    for id in 2..2 + 64 + 255 {
        client.say(json!({"id": id, "rpc": {}}));
    }
    assert!(!client.session.is_blocked());
    client.say(json!({"id": 999, "rpc": {}}));
    assert!(client.session.is_blocked());
    let asked = calls(&mut client);
    assert_eq!(asked.len(), 64);
    let mut answered = ids(&client.answer_to(asked[0].0, called(None)));
    assert!(!client.session.is_blocked());
    // All of them are answered once, in the end.
    let mut open: VecDeque<Ticket> = asked.into_iter().skip(1).map(|(ticket, _)| ticket).collect();
    open.extend(calls(&mut client).into_iter().map(|(ticket, _)| ticket));
    while let Some(ticket) = open.pop_front() {
        answered.extend(ids(&client.answer_to(ticket, called(None))));
        open.extend(calls(&mut client).into_iter().map(|(ticket, _)| ticket));
    }
    let expected: Vec<u64> = (2..2 + 64 + 255).chain([999]).collect();
    assert_eq!(answered, expected);
    assert_eq!(client.session.input_bytes(), 0);
}

#[test]
fn a_malformed_command_ends_the_session_although_others_wait() {
    let mut client = TestClient::let_in(routes());
    client.say(json!({"id": 2, "rpc": {}}));
    client.say(json!({"id": 3, "rpc": {}}));
    client.say_text("{\"id\":");
    assert_eq!(client.closed_with(), 3501);
}

#[test]
fn the_api_disconnects_at_once_although_calls_are_under_way() {
    let mut client = TestClient::let_in(routes());
    client.say(json!({"id": 2, "rpc": {}}));
    client.signal(Signal::Disconnect(Disconnect::FORCE_DISCONNECT));
    assert_eq!(client.closed_with(), 3503);
}

#[test]
fn a_session_without_calls_ends_at_once_when_its_node_goes_down() {
    for proxies in [routes(), ProxyRoutes::default()] {
        let mut client = TestClient::asking(settings(), proxies);
        client.say(json!({"id": 1, "connect": {"token": token(3600, &[])}}));
        client.signal(Signal::Disconnect(Disconnect::SHUTDOWN));
        assert_eq!(client.closed_with(), 3001);
    }
}

#[test]
fn a_node_that_goes_down_waits_for_the_answers_of_calls_under_way_and_begins_no_more() {
    let mut client = TestClient::let_in(routes());
    client.say(json!({"id": 2, "rpc": {}}));
    client.say(json!({"id": 3, "rpc": {}}));
    client.say(json!({"id": 4, "publish": {"channel": "closed:a", "data": 1}}));
    let asked = calls(&mut client);
    client.signal(Signal::Disconnect(Disconnect::SHUTDOWN));
    client.signal(Signal::Disconnect(Disconnect::SHUTDOWN));
    assert!(client.say(json!({"id": 5, "unsubscribe": {"channel": "x"}})).is_empty());
    assert_eq!(client.closed_with(), 0);
    assert_eq!(ids(&client.answer_to(asked[0].0, called(None))), [2]);
    client.settle(asked[1].0, publish_granted());
    assert_eq!(client.closed_with(), 0, "what the backend allowed is published first");
    let Some(Action::Publish(ticket, ..)) = client.next() else { panic!("no publish") };
    let replies = client.settle(ticket, Outcome::Published(Ok(Default::default())));
    assert_eq!((ids(&replies), client.closed_with()), (vec![4], 3001));
    assert!(client.next().is_none());
}

#[test]
fn a_call_that_outlasts_the_grace_of_a_node_that_goes_down_is_answered_before_the_end() {
    let mut client = TestClient::let_in(routes());
    client.say(json!({"id": 2, "rpc": {}}));
    client.say(json!({"id": 3, "subscribe": {"channel": "closed:a"}}));
    client.signal(Signal::Disconnect(Disconnect::SHUTDOWN));
    let grace = client.session.policy.call_grace;
    let replies = client.pass(grace.as_secs());
    let told: Vec<_> =
        replies.iter().map(|reply| (reply["id"].as_u64().unwrap(), error_code(reply))).collect();
    assert_eq!((told, client.closed_with()), (vec![(2, 121), (3, 100)], 3001));
}
