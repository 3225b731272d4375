//! Items 45 and 46: receipts, and frames that wait.

use super::*;
use crate::session::tests::followed;

fn send(body: usize) -> String {
    format!("SEND\ndestination:/topic/open:a\nreceipt:{body}\n\n{body}\0")
}

#[test]
fn item_45_every_frame_but_connect_can_have_a_receipt() {
    let mut client = TestClient::subscribed("1.2", "/topic/open:a", "ack:client\n");
    for (number, frame) in [
        "BEGIN\ntransaction:t\n",
        "SEND\ndestination:/topic/open:a\ntransaction:t\n",
        "ABORT\ntransaction:t\n",
        "ACK\nid:c-1\n",
        "NACK\nid:c-1\n",
        "UNSUBSCRIBE\nid:0\n",
        "DISCONNECT\n",
    ]
    .iter()
    .enumerate()
    {
        let sent = client.ask(&format!("{frame}receipt:{number}\n\n\0"));
        assert_eq!(
            (sent.command.as_str(), sent.get("receipt-id")),
            ("RECEIPT", Some(&*number.to_string())),
            "{frame}"
        );
    }
    let mut client = TestClient::new();
    assert_eq!(client.ask("CONNECT\naccept-version:1.2\nreceipt:r\n\n\0").command, "CONNECTED");
}

#[test]
fn item_45_a_receipt_of_a_subscribe_comes_when_it_is_live() {
    let mut client = TestClient::connected("1.2");
    assert_eq!(client.say("SUBSCRIBE\nid:0\ndestination:/topic/open:a\nreceipt:r\n\n\0"), []);
    assert_eq!(client.grant(Subscribed::default())[0].get("receipt-id"), Some("r"));
}

#[test]
fn item_46_receipts_come_in_the_order_of_the_frames() {
    let mut client = TestClient::connected("1.2");
    client.say(&(send(1) + &send(2) + &send(3)));
    let tickets: Vec<Ticket> = (0..3).map(|_| client.next_publish().0).collect();
    assert_eq!(client.published(tickets[2], None), []);
    assert_eq!(client.published(tickets[1], None), []);
    let sent: Vec<_> = client
        .published(tickets[0], None)
        .iter()
        .map(|sent| sent.get("receipt-id").unwrap().to_owned())
        .collect();
    assert_eq!(sent, ["1", "2", "3"]);
}

#[test]
fn what_follows_a_subscribe_waits_until_it_is_live() {
    let mut client = TestClient::connected("1.2");
    client.say(&("SUBSCRIBE\nid:0\ndestination:/topic/open:a\n\n\0".to_owned() + &send(1)));
    let (ticket, _) = client.next_subscribe();
    assert!(client.actions.is_empty());
    client.settle(ticket, Outcome::Subscribed(Ok(Subscribed::default())));
    assert!(matches!(client.actions.pop_front(), Some(Action::Release(_))));
    assert_eq!(client.next_publish().2.data, "1");
}

#[test]
fn what_cannot_be_read_is_told_after_what_came_before_it() {
    let mut client = TestClient::connected("1.2");
    client.say(
        &("SUBSCRIBE\nid:0\ndestination:/topic/open:a\nreceipt:r\n\n\0".to_owned() + &send(1) + "FOO\n\n\0"),
    );
    assert_eq!(client.closed, None);
    let sent = client.grant(Subscribed::default());
    let commands: Vec<_> = sent.iter().map(|sent| sent.command.as_str()).collect();
    assert_eq!(commands, ["RECEIPT", "ERROR"]);
    assert_eq!(client.next_publish().2.data, "1");
}

#[test]
fn item_60_a_client_that_is_faster_than_the_broker_is_held_back() {
    let mut client = TestClient::connected("1.2");
    let all: String = (0..400).map(send).collect();
    client.say(&all);
    assert!(client.session.is_blocked());
    let mut done = 0;
    while let Some(action) = client.actions.pop_front() {
        if let Action::Publish(ticket, ..) = action {
            let sent = client.published(ticket, None);
            assert_eq!(sent[0].get("receipt-id"), Some(&*done.to_string()));
            done += 1;
            assert!(client.actions.len() <= 64);
        }
    }
    assert_eq!((done, client.session.is_blocked()), (400, false));
}

#[test]
fn a_message_of_thousands_of_frames_is_run_in_short_steps_and_in_order() {
    let mut client = TestClient::subscribed("1.2", "/topic/open:a", "ack:client\n");
    let all: String = (0..5000).map(|number| format!("ACK\nid:c-1\nreceipt:{number}\n\n\0")).collect();
    let mut actions = Actions::default();
    client.session.message(Incoming::Text(&all), client.now, &mut actions);
    let (mut seen, mut steps) = (0, 0);
    loop {
        let before = seen;
        actions.drain_messages(|_, message| {
            assert_eq!(ServerFrame::parse(message).get("receipt-id"), Some(&*seen.to_string()));
            seen += 1;
        });
        assert!(seen - before <= 64, "{} frames in one step", seen - before);
        steps += 1;
        if !client.session.has_more() {
            break;
        }
        client.session.resume(client.now, &mut actions);
    }
    assert_eq!((seen, client.session.is_blocked()), (5000, false));
    assert!(steps >= 5000 / 64, "{steps} steps");
}

#[test]
fn what_cannot_be_read_ends_the_session_after_the_frames_before_it() {
    let mut client = TestClient::subscribed("1.2", "/topic/open:a", "ack:client\n");
    let frames: String = (0..500).map(|number| format!("ACK\nid:c-1\nreceipt:{number}\n\n\0")).collect();
    let sent = client.say(&format!("{frames}NONSENSE\n\n\0"));
    assert_eq!((sent.len(), sent[500].command.as_str()), (501, "ERROR"));
    assert!(client.closed.is_some());
}

#[test]
fn frames_of_a_followed_user_are_noted_with_their_destinations() {
    let mut client = TestClient::connected("1.2");
    let log = client.session.policy.command_log.clone();
    assert_eq!(client.say(&send(1)), []);
    assert!(log.watch("42"));
    client.say("SEND\ndestination:/topic/open:a\n\nsecret\0\n\n");
    client.say("SUBSCRIBE\nid:0\ndestination:/topic/closed:a\n\n\0");
    let code = crate::disconnect::ErrorCode::PERMISSION_DENIED.code;
    let refused = format!("SUBSCRIBE /topic/closed:a {code}");
    assert_eq!(followed(&log, "42"), ["SEND /topic/open:a 0".to_owned(), refused]);
}
