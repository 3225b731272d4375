//! Items 46 to 49, and what the node ends.

use super::*;

#[test]
fn item_47_the_receipt_of_a_disconnect_is_the_last_frame_and_the_client_may_close() {
    let mut client = TestClient::subscribed("1.2", "/topic/open:a", "");
    assert_eq!(client.ask("DISCONNECT\nreceipt:bye\n\n\0").get("receipt-id"), Some("bye"));
    assert_eq!(client.closed, None);
    assert_eq!(client.until_deadline(), []);
    assert_eq!(client.closed, Some(Disconnect::NORMAL));
}

#[test]
fn item_47_without_a_receipt_the_session_ends_at_once_and_without_an_error() {
    let mut client = TestClient::connected("1.2");
    assert_eq!(client.say("DISCONNECT\n\n\0"), []);
    assert_eq!(client.closed, Some(Disconnect::NORMAL));
}

#[test]
fn items_46_and_48_what_came_before_a_disconnect_is_done_and_what_follows_is_ignored() {
    let mut client = TestClient::connected("1.2");
    client.say("SEND\ndestination:/topic/open:a\nreceipt:1\n\n1\0DISCONNECT\nreceipt:2\n\n\0FOO\n\n\0");
    let (ticket, ..) = client.next_publish();
    assert_eq!(client.closed, None);
    let sent: Vec<_> = client
        .published(ticket, None)
        .iter()
        .map(|sent| sent.get("receipt-id").unwrap().to_owned())
        .collect();
    assert_eq!(sent, ["1", "2"]);
    assert_eq!(client.say("SEND\n\n\0\0\0"), []);
    assert_eq!(client.closed, None);
}

#[test]
fn item_49_nothing_follows_an_error() {
    let mut client = TestClient::connected("1.2");
    assert_eq!(client.say("FOO\n\n\0").len(), 1);
    assert_eq!(client.say("SEND\ndestination:/topic/open:a\nreceipt:1\n\n1\0"), []);
    assert_eq!(client.signal(Signal::Disconnect(Disconnect::SHUTDOWN)), []);
    assert_eq!(client.session.deadline(), None);
}

#[test]
fn item_47_no_message_follows_the_receipt_of_a_disconnect() {
    let mut client = TestClient::connected("1.2");
    let subscribe = |id: u32| format!("SUBSCRIBE\nid:{id}\ndestination:/topic/open:a\n\n\0");
    let frames = format!("{}{}DISCONNECT\nreceipt:bye\n\n\0", subscribe(0), subscribe(1));
    assert_eq!(client.say(&frames), []);
    // What was held back for it would be released behind the receipt.
    assert_eq!(client.grant(Subscribed::default())[0].get("receipt-id"), Some("bye"));
    let last = client
        .actions
        .drain(..)
        .filter(|action| !matches!(action, Action::SetFormat(..)))
        .collect::<Vec<_>>();
    assert!(matches!(&last[..], [Action::Unsubscribe(channel)] if &**channel == "open:a"), "{last:?}");
}

#[test]
fn item_49_an_error_names_the_frame() {
    let mut client = TestClient::connected("1.2");
    let sent = client.ask("SUBSCRIBE\nid:0\ndestination:/topic/closed:a\n\n\0");
    assert!(sent.body.starts_with("SUBSCRIBE /topic/closed:a: permission denied: "), "{sent:?}");
    assert_eq!(sent.get("content-type"), Some("text/plain"));
}

#[test]
fn item_46_an_error_of_the_codec_carries_the_receipt_of_its_frame() {
    let mut client = TestClient::connected("1.2");
    let sent = client.ask("SEND\nreceipt:r\ndestination:/topic/open:a\ncontent-length:x\n\n\0");
    assert_eq!(
        (sent.get("receipt-id"), sent.get("message")),
        (Some("r"), Some("content-length is not a number"))
    );
}

#[test]
fn a_node_that_goes_down_tells_its_clients_to_come_back() {
    let mut client = TestClient::connected("1.2");
    let sent = client.signal(Signal::Disconnect(Disconnect::SHUTDOWN));
    assert_eq!((sent[0].command.as_str(), sent[0].get("reconnect")), ("ERROR", Some("true")));
    assert!(sent[0].get("reconnect-after").unwrap().parse::<u64>().unwrap() < 5000);
    assert_eq!(client.closed, Some(Disconnect::SHUTDOWN));
    let mut client = TestClient::connected("1.2");
    let sent = client.signal(Signal::Disconnect(Disconnect::FORCE_DISCONNECT));
    assert_eq!(sent[0].get("reconnect"), None);
}

#[test]
fn a_subscription_that_cannot_go_on_ends_the_session() {
    for signal in [Signal::Insufficient("open:a".into()), Signal::unsubscribe("open:a")] {
        let mut client = TestClient::subscribed("1.2", "/topic/open:a", "");
        assert_eq!(client.signal(signal.clone())[0].command, "ERROR");
        let mut client = TestClient::connected("1.2");
        assert_eq!(client.signal(signal), []);
    }
}

#[test]
fn a_backend_prolongs_or_ends_a_session() {
    let mut client = TestClient::connected("1.2");
    client.signal(Signal::refresh(false, Some(START_S + 10)));
    client.advance(Duration::from_secs(11));
    assert_eq!(client.signal(Signal::Timer)[0].get("message"), Some("connection expired"));
    let mut client = TestClient::connected("1.2");
    client.signal(Signal::refresh(true, None));
    assert_eq!(client.closed, Some(Disconnect::EXPIRED));
}
