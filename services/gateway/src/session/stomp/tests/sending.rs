//! Items 12, 36, 37, 42 to 44, 57 and 60.

use gorani_broker::DataKind;

use super::*;

#[test]
fn item_36_own_headers_are_passed_on_and_the_servers_are_not() {
    let mut client = TestClient::connected("1.2");
    client.say(
        "SEND\ndestination:/topic/open:a\npriority:9\nmessage-id:1\nsubscription:2\nack:3\nreceipt:4\nuser-name:5\n\
         content-type:application/json\n\n{\"a\":1}\0",
    );
    let (_, channel, publication) = client.next_publish();
    assert_eq!(channel, "open:a");
    assert_eq!(publication.tags, [("priority".to_owned(), "9".to_owned())]);
    assert_eq!((publication.kind, &publication.data[..]), (DataKind::Json, &b"{\"a\":1}"[..]));
    let info = publication.info.unwrap();
    assert_eq!(info.user, "42");
}

#[test]
fn item_37_a_send_needs_a_destination_and_a_permission() {
    assert_eq!(TestClient::connected("1.2").error("SEND\n\nhello\0"), "no destination");
    assert_eq!(
        TestClient::connected("1.2").error("SEND\ndestination:/topic/closed:a\n\n\0"),
        "permission denied"
    );
    assert_eq!(
        TestClient::connected("1.2").error("SEND\ndestination:/topic/nowhere:a\n\n\0"),
        "unknown channel"
    );
}

#[test]
fn item_37_a_send_that_the_node_refuses_is_told() {
    let mut client = TestClient::connected("1.2");
    client.say("SEND\ndestination:/topic/open:a\nreceipt:r\n\n1\0");
    let (ticket, ..) = client.next_publish();
    let sent = client.published(ticket, Some(ErrorCode::UNAVAILABLE));
    assert_eq!((sent[0].command.as_str(), sent[0].get("receipt-id")), ("ERROR", Some("r")));
    assert!(client.closed.is_some());
}

#[test]
fn item_55_a_send_to_a_user_reaches_the_channel_of_that_user() {
    let mut client = TestClient::new();
    client.say("CONNECT\naccept-version:1.2\nlogin:shop\npasscode:hush\n\n\0");
    client.say("SEND\ndestination:/user/4%2F2/queue/open:orders\n\n1\0");
    assert_eq!(client.next_publish().1, "open:orders#4/2");
}

#[test]
fn item_42_transactions_have_a_name_and_are_opened_once() {
    assert_eq!(TestClient::connected("1.2").error("BEGIN\n\n\0"), "no transaction");
    let text = TestClient::connected("1.2").error("BEGIN\ntransaction:t\n\n\0BEGIN\ntransaction:t\n\n\0");
    assert_eq!(text, "this transaction is open already");
    for frame in ["COMMIT", "ABORT"] {
        let text = TestClient::connected("1.2").error(&format!("{frame}\ntransaction:t\n\n\0"));
        assert_eq!(text, "no such transaction");
    }
}

#[test]
fn item_43_what_belongs_to_a_transaction_is_sent_at_commit_in_order() {
    let mut client = TestClient::connected("1.2");
    client.actions.clear();
    client.say("BEGIN\ntransaction:t\n\n\0");
    for number in 1..=3 {
        client.say(&format!("SEND\ndestination:/topic/open:a\ntransaction:t\n\n{number}\0"));
    }
    assert!(client.actions.is_empty());
    client.say("SEND\ndestination:/topic/open:a\n\nimmediate\0");
    assert_eq!(client.next_publish().2.data, "immediate");
    assert_eq!(client.say("COMMIT\ntransaction:t\nreceipt:r\n\n\0"), []);
    let tickets: Vec<Ticket> = (1..=3)
        .map(|number| {
            let (ticket, _, publication) = client.next_publish();
            assert_eq!(publication.data, number.to_string());
            ticket
        })
        .collect();
    // The receipt of the immediate one comes first, and that of the commit when all of it is done.
    let first = Ticket(tickets[0].0 - 1);
    assert_eq!(client.published(first, None), []);
    assert_eq!(client.published(tickets[2], None), []);
    assert_eq!(client.published(tickets[0], None), []);
    assert_eq!(client.published(tickets[1], None)[0].get("receipt-id"), Some("r"));
}

#[test]
fn item_43_nothing_is_sent_after_abort_and_the_transaction_is_gone() {
    let mut client = TestClient::connected("1.2");
    client.actions.clear();
    client.say("BEGIN\ntransaction:t\n\n\0SEND\ndestination:/topic/open:a\ntransaction:t\n\n1\0");
    assert_eq!(client.ask("ABORT\ntransaction:t\nreceipt:r\n\n\0").command, "RECEIPT");
    assert!(client.actions.is_empty());
    let text = client.error("SEND\ndestination:/topic/open:a\ntransaction:t\n\n1\0");
    assert_eq!(text, "no such transaction");
}

#[test]
fn item_44_the_end_of_the_session_aborts() {
    let mut client = TestClient::connected("1.2");
    client.actions.clear();
    client.say("BEGIN\ntransaction:t\n\n\0SEND\ndestination:/topic/open:a\ntransaction:t\n\n1\0");
    client.say("DISCONNECT\nreceipt:r\n\n\0COMMIT\ntransaction:t\n\n\0");
    assert!(client.actions.is_empty());
}

#[test]
fn items_44_and_60_transactions_are_bounded_in_number_messages_and_bytes() {
    let mut client = TestClient::connected("1.2");
    client.say("BEGIN\ntransaction:1\n\n\0BEGIN\ntransaction:2\n\n\0");
    assert_eq!(client.error("BEGIN\ntransaction:3\n\n\0"), "too many transactions, or too long a name");
    for (messages, bytes) in [(2, 1024 * 1024), (1000, 1000)] {
        let settings = StompSettings {
            transaction_max_messages: messages,
            transaction_max_bytes: bytes,
            ..stomp_settings()
        };
        let client = ClientSettings { allow_anonymous: true, ..ClientSettings::default() };
        let mut client = TestClient::with(client, settings);
        client.say("CONNECT\naccept-version:1.2\n\n\0BEGIN\ntransaction:t\n\n\0");
        let send = format!("SEND\ndestination:/topic/open:a\ntransaction:t\n\n{}\0", "x".repeat(200));
        let sent: Vec<ServerFrame> = (0..4).flat_map(|_| client.say(&send)).collect();
        assert_eq!(sent.last().unwrap().get("message"), Some("the open transactions hold too much"));
    }
}

#[test]
fn item_60_headers_that_are_passed_on_are_bounded() {
    let headers: String = (0..33).map(|number| format!("h{number}:\n")).collect();
    let text = TestClient::connected("1.2").error(&format!("SEND\ndestination:/topic/open:a\n{headers}\n\0"));
    assert_eq!(text, "too many headers of your own, or too long ones");
}

/// The session of a backend, of which many threads share one.
fn backend(settings: ClientSettings) -> TestClient {
    let mut client = TestClient::with(settings, stomp_settings());
    client.say("CONNECT\naccept-version:1.2\nlogin:shop\npasscode:hush\n\n\0");
    client.actions.clear();
    client
}

#[test]
fn item_55_a_destination_that_is_not_served_does_not_end_the_session_of_a_backend() {
    let mut client = backend(ClientSettings::default());
    for (destination, reason) in [
        (
            "/exchange/a",
            "SEND /exchange/a: unknown destination: /topic/…, /queue/…, /user/queue/… and /app/… are served",
        ),
        (
            "/app/chat",
            "SEND /app/chat: not available: set rpc.without_namespace.proxy_enabled, and rpc.proxy.endpoint",
        ),
        ("/topic/shop:a", "SEND /topic/shop:a: unknown channel: no namespace \"shop\" in channel.namespaces"),
        ("/queue/shop:a", "SEND /queue/shop:a: unknown channel: no namespace \"shop\" in channel.namespaces"),
    ] {
        let sent = client.ask(&format!("SEND\ndestination:{destination}\nreceipt:r\n\n\0"));
        assert_eq!((&*sent.command, sent.get("receipt-id")), ("ERROR", Some("r")));
        assert_eq!(sent.body, reason);
        assert_eq!(client.closed, None, "{destination}");
    }
    let sent = client.ask("SUBSCRIBE\nid:0\ndestination:/exchange/a\n\n\0");
    assert!(sent.body.starts_with("SUBSCRIBE /exchange/a: unknown destination"), "{sent:?}");
    assert_eq!(client.say("SEND\ndestination:/topic/open:a\n\nx\0"), []);
    assert!(matches!(client.actions.pop_front(), Some(Action::Publish(..))), "what follows is published");
    assert_eq!(client.closed, None);
}

#[test]
fn item_55_a_destination_that_is_not_served_ends_a_client_and_whoever_goes_on_asking() {
    let mut client = TestClient::connected("1.2");
    let sent = client.ask("SEND\ndestination:/app/chat\n\n\0");
    assert!(sent.body.starts_with("SEND /app/chat: "), "{sent:?}");
    assert_eq!(client.closed, Some(Disconnect::BAD_REQUEST));

    let mut client = backend(ClientSettings { max_errors: 2, ..ClientSettings::default() });
    for _ in 0..5 {
        client.ask("SEND\ndestination:/app/chat\n\n\0");
        assert_eq!(client.closed, None);
        // What succeeds takes one back.
        client.say("SEND\ndestination:/topic/open:a\n\nx\0");
    }
    (0..3).for_each(|_| drop(client.say("SEND\ndestination:/app/chat\n\n\0")));
    assert_eq!(client.closed, Some(Disconnect::TOO_MANY_ERRORS));
}

#[test]
fn item_55_a_transaction_with_a_destination_that_is_not_served_is_not_committed_in_part() {
    let mut client = backend(ClientSettings::default());
    client.say("BEGIN\ntransaction:t\n\n\0SEND\ntransaction:t\ndestination:/topic/open:a\n\nx\0");
    client.say("SEND\ntransaction:t\ndestination:/app/chat\n\nx\0");
    assert_eq!(client.closed, Some(Disconnect::BAD_REQUEST));
    assert!(!client.actions.iter().any(|action| matches!(action, Action::Publish(..))));
}
