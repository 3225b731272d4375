//! Bounds of a subscription's id, and which channels recover.

use super::*;

#[test]
fn an_id_of_a_subscription_has_255_bytes_at_most() {
    let frame = |bytes| format!("SUBSCRIBE\nid:{}\ndestination:/topic/open:a\n\n\0", "x".repeat(bytes));
    let mut client = TestClient::connected("1.2");
    assert_eq!(client.say(&frame(255)), []);
    assert_eq!(&*client.next_subscribe().1.channel, "open:a");
    assert_eq!(TestClient::connected("1.2").error(&frame(256)), "an id longer than 255 bytes");
}

#[test]
fn a_channel_whose_history_is_not_for_recovery_refuses_an_offset() {
    let subscribe = |destination: &str| {
        format!("SUBSCRIBE\nid:0\ndestination:/topic/{destination}\noffset:3\nepoch:life\n\n\0")
    };
    for destination in ["kept:a", "open:a"] {
        let mut client = TestClient::connected("1.2");
        client.error(&subscribe(destination));
        assert!(
            !client.actions.iter().any(|action| matches!(action, Action::Subscribe(..))),
            "{destination}"
        );
    }
    let mut client = TestClient::connected("1.2");
    assert_eq!(client.say(&subscribe("history:a")), []);
    assert!(client.next_subscribe().1.recover.is_some());
}
