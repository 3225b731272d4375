//! Items 38 to 41, on channels.

use super::*;

#[test]
fn item_38_the_ack_modes_are_those_of_the_version() {
    for (version, mode, is_known) in [
        ("1.2", "auto", true),
        ("1.2", "client", true),
        ("1.2", "client-individual", true),
        ("1.0", "client", true),
        ("1.0", "client-individual", false),
        ("1.2", "AUTO", false),
        ("1.2", "", false),
    ] {
        let mut client = TestClient::connected(version);
        client.say(&format!("SUBSCRIBE\nid:0\nack:{mode}\ndestination:/topic/open:a\n\n\0"));
        assert_eq!(client.closed.is_none(), is_known, "{version} {mode}");
    }
}

#[test]
fn item_39_a_message_of_a_channel_can_be_acknowledged_as_its_version_has_it() {
    for (version, headers) in [
        ("1.2", "id:c-m-1\nsubscription:0\n"),
        ("1.1", "message-id:m-1\nsubscription:0\n"),
        ("1.0", "message-id:m-1\n"),
    ] {
        let mut client = TestClient::subscribed(version, "/topic/open:a", "ack:client\n");
        assert_eq!(client.ask(&format!("ACK\n{headers}receipt:r\n\n\0")).command, "RECEIPT", "{version}");
    }
}

#[test]
fn item_41_an_acknowledgement_of_nothing_is_an_error() {
    for (version, frame) in [
        ("1.2", "ACK\nid:unknown\n\n\0"),
        ("1.2", "NACK\nid:unknown\n\n\0"),
        ("1.2", "ACK\n\n\0"),
        ("1.1", "ACK\nmessage-id:1\nsubscription:other\n\n\0"),
        ("1.1", "ACK\nmessage-id:1\n\n\0"),
    ] {
        let mut client = TestClient::subscribed(version, "/topic/open:a", "ack:client\n");
        client.error(frame);
    }
    let mut client = TestClient::subscribed("1.2", "/topic/open:a", "");
    assert_eq!(client.error("ACK\nid:c-m-1\n\n\0"), "ACK of an unknown message");
}

#[test]
fn item_43_an_acknowledgement_of_an_unknown_transaction_is_an_error() {
    let mut client = TestClient::subscribed("1.2", "/topic/open:a", "ack:client\n");
    assert_eq!(client.error("ACK\nid:c-m-1\ntransaction:t\n\n\0"), "no such transaction");
}
