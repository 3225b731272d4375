//! Items 38 to 41 and 60, on work queues.

use gorani_broker::{
    Publication,
    queue::{DeliveryId, QueueDelivery},
};

use super::*;

/// A backend that consumes a queue, and the ticket of its first taking.
fn consuming(version: &str, headers: &str) -> (TestClient, Ticket) {
    let mut client = TestClient::new();
    client.say(&format!("CONNECT\naccept-version:{version}\nlogin:shop\npasscode:hush\n\n\0"));
    client.actions.clear();
    let sent = client.ask(&format!("SUBSCRIBE\nid:0\ndestination:/queue/jobs\nreceipt:r\n{headers}\n\0"));
    assert_eq!(sent.command, "RECEIPT");
    let (ticket, count) = next_take(&mut client);
    assert_eq!(count, 2);
    (client, ticket)
}

fn next_take(client: &mut TestClient) -> (Ticket, u32) {
    match client.actions.pop_front() {
        Some(Action::Fetch(ticket, queue, count)) if *queue == *"jobs" => (ticket, count),
        other => panic!("no taking: {other:?}"),
    }
}

fn next_settle(client: &mut TestClient) -> (Ticket, Vec<String>, bool) {
    match client.actions.pop_front() {
        Some(Action::Acknowledge(ticket, queue, ids, is_handled)) if *queue == *"jobs" => {
            (ticket, ids.iter().map(ToString::to_string).collect(), is_handled)
        }
        other => panic!("nothing settled: {other:?}"),
    }
}

fn delivery(id: &str, attempt: u32) -> QueueDelivery {
    let publication = Arc::new(Publication { data: id.to_owned().into(), ..Publication::default() });
    QueueDelivery { id: DeliveryId::from(id), attempt, publication }
}

fn bring(client: &mut TestClient, ticket: Ticket, deliveries: Vec<QueueDelivery>) -> Vec<ServerFrame> {
    client.settle(ticket, Outcome::Fetched(Ok(deliveries)))
}

#[test]
fn item_38_a_message_in_mode_auto_is_handled_when_it_is_shown() {
    let (mut client, ticket) = consuming("1.2", "prefetch-count:2\n");
    let sent = bring(&mut client, ticket, vec![delivery("1", 1), delivery("2", 3)]);
    assert_eq!(sent.len(), 2);
    assert_eq!((sent[0].get("ack"), sent[0].get("redelivered")), (None, None));
    assert_eq!(sent[1].get("redelivered"), Some("true"));
    assert_eq!(next_settle(&mut client).1, ["1", "2"]);
    assert_eq!(next_take(&mut client).1, 2);
}

#[test]
fn item_60_no_more_is_taken_than_may_be_unacknowledged() {
    let (mut client, ticket) = consuming("1.2", "ack:client-individual\nprefetch-count:2\n");
    let sent = bring(&mut client, ticket, vec![delivery("1", 1)]);
    assert_eq!(sent[0].get("destination"), Some("/queue/jobs"));
    let (ticket, count) = next_take(&mut client);
    assert_eq!(count, 1);
    let more = bring(&mut client, ticket, vec![delivery("2", 1)]);
    assert!(client.actions.is_empty());
    // An acknowledgement makes room, and its receipt waits for the broker.
    let ack = more[0].get("ack").unwrap();
    assert_eq!(client.say(&format!("ACK\nid:{ack}\nreceipt:r\n\n\0")), []);
    let (ticket, ids, is_handled) = next_settle(&mut client);
    assert_eq!((ids, is_handled), (vec!["2".to_owned()], true));
    assert_eq!(next_take(&mut client).1, 1);
    assert_eq!(client.settle(ticket, Outcome::Acknowledged(Ok(())))[0].get("receipt-id"), Some("r"));
}

#[test]
fn item_39_each_version_names_a_message_its_own_way() {
    for version in ["1.0", "1.1", "1.2"] {
        let (mut client, ticket) = consuming(version, "ack:client\nprefetch-count:2\n");
        let sent = bring(&mut client, ticket, vec![delivery("1", 1), delivery("2", 1)]);
        let message_id = sent[1].get("message-id").unwrap();
        let names = match version {
            "1.2" => format!("id:{}\n", sent[1].get("ack").unwrap()),
            "1.1" => format!("subscription:0\nmessage-id:{message_id}\n"),
            _ => format!("message-id:{message_id}\n"),
        };
        client.say(
            &format!("NACK\n{names}\n\0").replace("NACK", if version == "1.0" { "ACK" } else { "NACK" }),
        );
        let (_, ids, is_handled) = next_settle(&mut client);
        assert_eq!((ids, is_handled), (vec!["1".to_owned(), "2".to_owned()], version == "1.0"), "{version}");
    }
}

#[test]
fn item_34_an_unsubscribe_gives_back_what_is_here_and_what_is_on_its_way() {
    let (mut client, ticket) = consuming("1.2", "ack:client\nprefetch-count:2\n");
    bring(&mut client, ticket, vec![delivery("1", 1)]);
    let (ticket, _) = next_take(&mut client);
    assert_eq!(client.ask("UNSUBSCRIBE\nid:0\nreceipt:r\n\n\0").command, "RECEIPT");
    assert!(matches!(client.actions.pop_front(), Some(Action::StopFetching(stopped)) if stopped == ticket));
    let (_, ids, is_handled) = next_settle(&mut client);
    assert_eq!((ids, is_handled), (vec!["1".to_owned()], false));
    assert_eq!(bring(&mut client, ticket, vec![delivery("2", 1)]), []);
    let (_, ids, is_handled) = next_settle(&mut client);
    assert_eq!((ids, is_handled), (vec!["2".to_owned()], false));
}

#[test]
fn item_43_a_commit_whose_acknowledgement_is_void_sends_nothing() {
    let (mut client, ticket) = consuming("1.2", "ack:client-individual\nprefetch-count:2\n");
    let sent = bring(&mut client, ticket, vec![delivery("1", 1)]);
    let ack = sent[0].get("ack").unwrap();
    client.say(&format!(
        "BEGIN\ntransaction:t\n\n\0SEND\ndestination:/queue/jobs\ntransaction:t\n\n1\0\
         ACK\nid:{ack}\ntransaction:t\n\n\0ACK\nid:{ack}\n\n\0"
    ));
    client.actions.clear();
    assert_eq!(
        client.error("COMMIT\ntransaction:t\n\n\0"),
        "a message of this transaction is acknowledged already"
    );
    assert!(!client.actions.iter().any(|action| matches!(action, Action::PushToQueue(..))));
}

#[test]
fn what_a_queue_is_asked_for_must_make_sense() {
    for headers in ["offset:3\n", "prefetch-count:0\n", "prefetch-count:many\n"] {
        let mut client = TestClient::new();
        client.say("CONNECT\naccept-version:1.2\nlogin:shop\npasscode:hush\n\n\0");
        client.error(&format!("SUBSCRIBE\nid:0\ndestination:/queue/jobs\n{headers}\n\0"));
    }
}
