//! Items 31 to 36, 45, 55 and 56.

use bytes::BytesMut;
use gorani_broker::{Position, Publication};

use super::*;
use crate::{
    format::{encoding::SubscriptionFormat, message_headers::MessageHeaders},
    memory::MemoryBudget,
};

fn publication(data: &str, offset: u64) -> Arc<Publication> {
    let epoch = if offset > 0 { "life" } else { "" };
    Arc::new(Publication {
        data: data.to_owned().into(),
        offset,
        epoch: epoch.into(),
        ..Publication::default()
    })
}

fn headers_of(format: SubscriptionFormat) -> Arc<MessageHeaders> {
    let SubscriptionFormat::Stomp(headers) = format else { panic!("no headers of STOMP") };
    headers
}

/// The frames that these headers make of a publication.
fn shown(headers: &MessageHeaders, publication: &Publication) -> Vec<ServerFrame> {
    let frames = headers.subscriptions.iter().map(|shown| {
        let mut out = BytesMut::new();
        shown.write(headers.style, publication, "m-1", &mut out);
        ServerFrame::parse(&out)
    });
    frames.collect()
}

#[test]
fn item_31_a_subscription_needs_an_id_and_a_destination() {
    for version in ["1.1", "1.2"] {
        assert_eq!(
            TestClient::connected(version).error("SUBSCRIBE\ndestination:/topic/open:a\n\n\0"),
            "no id"
        );
    }
    assert_eq!(TestClient::connected("1.2").error("SUBSCRIBE\nid:0\n\n\0"), "no destination");
}

#[test]
fn item_31_in_1_0_the_destination_may_identify_it_and_messages_name_no_subscription() {
    let mut client = TestClient::connected("1.0");
    client.say("SUBSCRIBE\ndestination:/topic/open:a\n\n\0");
    let (_, request) = client.next_subscribe();
    let sent = shown(&headers_of(request.format), &publication("1", 0));
    assert_eq!((sent[0].get("subscription"), sent[0].get("destination")), (None, Some("/topic/open:a")));
}

#[test]
fn item_32_ids_are_unique_within_a_connection() {
    let mut client = TestClient::subscribed("1.2", "/topic/open:a", "");
    let text = client.error("SUBSCRIBE\nid:0\ndestination:/topic/open:b\n\n\0");
    assert_eq!(text, "a subscription with this id is open");
}

#[test]
fn item_32_two_ids_on_one_destination_get_two_messages() {
    let mut client = TestClient::subscribed("1.2", "/topic/open:a", "");
    let sent = client.ask("SUBSCRIBE\nid:1\ndestination:/topic/open:a\nreceipt:r\n\n\0");
    assert_eq!(sent.get("receipt-id"), Some("r"));
    let Some(Action::SetFormat(channel, format)) = client.actions.pop_back() else { panic!("no headers") };
    assert_eq!(&*channel, "open:a");
    let ids: Vec<String> = shown(&headers_of(format), &publication("1", 0))
        .iter()
        .map(|sent| sent.get("subscription").unwrap().to_owned())
        .collect();
    assert_eq!(ids, ["0", "1"]);
    client.say("UNSUBSCRIBE\nid:0\n\n\0");
    let Some(Action::SetFormat(_, format)) = client.actions.pop_back() else { panic!("no headers") };
    assert_eq!(headers_of(format).subscriptions.len(), 1);
    client.say("UNSUBSCRIBE\nid:1\n\n\0");
    assert!(matches!(client.actions.pop_back(), Some(Action::Unsubscribe(_))));
}

#[test]
fn item_34_what_was_held_back_does_not_follow_the_receipt_of_an_unsubscribe_in_the_same_turn() {
    let mut client = TestClient::connected("1.2");
    let frames = "SUBSCRIBE\nid:0\ndestination:/topic/open:a\n\n\0UNSUBSCRIBE\nid:0\nreceipt:r\n\n\0";
    assert_eq!(client.say(frames), []);
    assert_eq!(client.grant(Subscribed::default())[0].get("receipt-id"), Some("r"));
    assert!(matches!(client.actions.pop_front(), Some(Action::Unsubscribe(_))));
    assert!(client.actions.is_empty(), "{:?}", client.actions);
}

#[test]
fn item_34_what_was_held_back_is_shown_to_the_subscriptions_that_are_left() {
    let mut client = TestClient::connected("1.2");
    let subscribe = |id: u32| format!("SUBSCRIBE\nid:{id}\ndestination:/topic/open:a\n\n\0");
    let frames = format!("{}{}UNSUBSCRIBE\nid:0\nreceipt:r\n\n\0", subscribe(0), subscribe(1));
    assert_eq!(client.say(&frames), []);
    assert_eq!(client.grant(Subscribed::default())[0].get("receipt-id"), Some("r"));
    let actions: Vec<Action> = client.actions.drain(..).collect();
    // The headers that is in effect when what was held back is released.
    let [Action::SetFormat(_, format), Action::Release(_)] = &actions[..] else { panic!("{actions:?}") };
    let headers = headers_of(format.clone());
    assert_eq!(headers.subscriptions.len(), 1);
    assert_eq!(headers.subscriptions[0].id.as_deref(), Some("1"));
}

#[test]
fn item_33_a_denied_subscription_is_told_and_ends_the_session() {
    let mut client = TestClient::connected("1.2");
    let sent = client.ask("SUBSCRIBE\nid:0\nreceipt:r\ndestination:/topic/closed:a\n\n\0");
    assert_eq!(sent.get("message"), Some("permission denied"));
    assert_eq!(
        sent.body,
        "SUBSCRIBE /topic/closed:a: permission denied: set allow_subscribe_for_client of the namespace \"closed\", or \
         give the client a subscription token"
    );
    assert_eq!((sent.get("receipt-id"), sent.get("code")), (Some("r"), Some("103")));
    assert_eq!(client.code(), 3507);
}

#[test]
fn item_33_a_subscription_that_the_node_refuses_is_told() {
    let mut client = TestClient::connected("1.2");
    client.say("SUBSCRIBE\nid:0\nreceipt:r\ndestination:/topic/open:a\n\n\0");
    let (ticket, _) = client.next_subscribe();
    let sent = client.settle(ticket, Outcome::Subscribed(Err(ErrorCode::UNAVAILABLE)));
    assert_eq!((sent[0].command.as_str(), sent[0].get("receipt-id")), ("ERROR", Some("r")));
    assert_eq!(sent[0].get("reconnect"), Some("true"));
}

#[test]
fn item_34_an_unsubscribe_names_an_open_subscription() {
    let mut client = TestClient::subscribed("1.2", "/topic/open:a", "");
    assert_eq!(client.ask("UNSUBSCRIBE\nid:0\nreceipt:r\n\n\0").command, "RECEIPT");
    assert_eq!(client.error("UNSUBSCRIBE\nid:0\n\n\0"), "no subscription with this id");
}

#[test]
fn item_34_in_1_0_an_unsubscribe_may_name_the_destination() {
    let mut client = TestClient::connected("1.0");
    client.say("SUBSCRIBE\ndestination:/topic/open:a\n\n\0");
    client.grant(Subscribed::default());
    assert_eq!(client.say("UNSUBSCRIBE\ndestination:/topic/open:a\n\n\0"), []);
    assert_eq!(client.closed, None);
}

#[test]
fn items_35_and_36_a_message_says_where_it_belongs_and_keeps_the_publishers_headers() {
    let mut client = TestClient::connected("1.2");
    client.say("SUBSCRIBE\nid:0\nack:client\ndestination:/topic/open:a\n\n\0");
    let (_, request) = client.next_subscribe();
    let tags = [("priority", "9"), ("message-id", "forged"), ("content-type", "text/html"), ("a:b", "c\nd")];
    let tags = tags.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let publication = Publication { data: "고".into(), tags, ..Publication::default() };
    let sent = &shown(&headers_of(request.format), &publication)[0];
    assert_eq!(sent.get("subscription"), Some("0"));
    assert_eq!(sent.get("destination"), Some("/topic/open\\ca"));
    assert_eq!(sent.get("message-id"), Some("m-1"));
    assert_eq!(sent.get("ack"), Some("c-m-1"));
    assert_eq!(sent.get("content-type"), Some("text/html"));
    assert_eq!(sent.get("priority"), Some("9"));
    assert_eq!(sent.get("a\\cb"), Some("c\\nd"));
    assert_eq!(sent.get("content-length"), Some("3"));
    assert_eq!(sent.headers.iter().filter(|(name, _)| name == "message-id").count(), 1);
}

#[test]
fn over_a_transport_of_text_alone_bytes_are_shown_as_base64() {
    use crate::format::message_headers::{FrameStyle, SubscriptionHeaders};
    let style =
        FrameStyle { version: gorani_protocol::stomp::Version::V1_2, text_only: true, trailing_eol: false };
    let shown_as = SubscriptionHeaders { id: None, destination: "/topic/open:a".into(), acks: false };
    let headers = MessageHeaders { style, subscriptions: vec![shown_as] };
    let of = |data: &'static [u8]| {
        let kind = gorani_broker::DataKind::Binary;
        shown(&headers, &Publication { data: data.into(), kind, ..Publication::default() }).remove(0)
    };
    let sent = of(b"\0\xff");
    assert_eq!((sent.get("encoding"), &*sent.body), (Some("base64"), "AP8="));
    assert_eq!(sent.get("content-length"), Some("4"));
    let sent = of(b"text");
    assert_eq!((sent.get("encoding"), &*sent.body), (None, "text"));
}

#[test]
fn item_55_a_user_queue_is_the_channel_of_the_user_and_is_shown_as_subscribed() {
    let mut client = TestClient::connected("1.2");
    client.say("SUBSCRIBE\nid:0\ndestination:/user/queue/open:orders\n\n\0");
    let (_, request) = client.next_subscribe();
    assert_eq!(&*request.channel, "open:orders#42");
    let sent = shown(&headers_of(request.format), &publication("1", 0));
    assert_eq!(sent[0].get("destination"), Some("/user/queue/open\\corders"));
}

#[test]
fn item_55_unknown_prefixes_are_errors() {
    let text = TestClient::connected("1.2").error("SUBSCRIBE\nid:0\ndestination:/exchange/a\n\n\0");
    assert!(text.starts_with("unknown destination"), "{text}");
}

#[test]
fn what_the_client_protocol_subscribes_by_itself_a_stomp_client_may_ask_for() {
    let mut client = TestClient::new();
    client.say(&format!("CONNECT\naccept-version:1.2\npasscode:{}\n\n\0", token(60, &["closed:news"])));
    client.say("SUBSCRIBE\nid:0\ndestination:/topic/closed:news\n\n\0");
    client.grant(Subscribed::default());
    client.say("SUBSCRIBE\nid:1\ndestination:/user/queue/closed:inbox\n\n\0");
    client.grant(Subscribed::default());
    assert_eq!(client.closed, None);
    assert_eq!(client.error("SUBSCRIBE\nid:2\ndestination:/topic/closed:other\n\n\0"), "permission denied");
}

#[test]
fn a_subscription_token_opens_a_channel_until_it_expires() {
    let mut client = TestClient::connected("1.2");
    let token = subscription_token("$closed:a", 20);
    client.say(&format!("SUBSCRIBE\nid:0\ndestination:/topic/$closed:a\ntoken:{token}\n\n\0"));
    client.grant(Subscribed::default());
    client.advance(Duration::from_secs(21));
    assert_eq!(client.signal(Signal::Timer)[0].get("message"), Some("subscription expired"));
}

#[test]
fn item_56_a_client_recovers_what_it_missed_before_anything_newer() {
    let mut client = TestClient::connected("1.2");
    client.say("SUBSCRIBE\nid:0\ndestination:/topic/history:a\noffset:3\nepoch:life\nreceipt:r\n\n\0");
    let (ticket, request) = client.next_subscribe();
    assert!(request.positioned);
    assert_eq!(request.recover, Some(Position { offset: 3, epoch: "life".into() }));
    let subscribed = Subscribed {
        top: Some(Position { offset: 5, epoch: "life".into() }),
        was_recovering: true,
        recovered: true,
        publications: vec![publication("four", 4), publication("five", 5)],
        permit: None,
    };
    let sent = client.settle(ticket, Outcome::Subscribed(Ok(subscribed)));
    let seen: Vec<_> =
        sent.iter().map(|sent| (sent.command.as_str(), sent.get("offset"), sent.get("epoch"))).collect();
    let life = Some("life");
    assert_eq!(
        seen,
        [("MESSAGE", Some("4"), life), ("MESSAGE", Some("5"), life), ("RECEIPT", Some("5"), life)]
    );
    assert_eq!(sent[2].get("recovered"), Some("true"));
    assert!(matches!(client.actions.pop_front(), Some(Action::Release(_))));
}

#[test]
fn a_large_recovery_is_written_in_pieces_and_sent_at_once_before_its_receipt() {
    let budget = Arc::new(MemoryBudget::default());
    let mut client = TestClient::connected("1.2");
    client.say("SUBSCRIBE\nid:0\ndestination:/topic/history:a\noffset:0\nepoch:life\nreceipt:r\n\n\0");
    let (ticket, _) = client.next_subscribe();
    let data = "x".repeat(1000);
    let subscribed = Subscribed {
        top: Some(Position { offset: 300, epoch: "life".into() }),
        was_recovering: true,
        recovered: true,
        publications: (1..=300).map(|offset| publication(&data, offset)).collect(),
        permit: budget.try_reply(100),
    };
    let mut actions = Actions::default();
    client.session.outcome(ticket, Outcome::Subscribed(Ok(subscribed)), client.now, &mut actions);
    let mut pieces = 0;
    while client.session.has_more() {
        assert!(actions.is_empty());
        // What follows waits until the subscription has begun.
        if pieces == 1 {
            let next = "UNSUBSCRIBE\nid:0\nreceipt:u\n\n\0";
            client.session.message(Incoming::Text(next), client.now, &mut actions);
        }
        client.session.resume(client.now, &mut actions);
        pieces += 1;
    }
    assert!((4..10).contains(&pieces), "{pieces}");
    let sent = client.run(|_, _, given| std::mem::swap(given, &mut actions));
    let (messages, receipts) = sent.split_at(sent.len() - 2);
    let offsets: Vec<_> =
        messages.iter().map(|sent| sent.get("offset").unwrap().parse::<u64>().unwrap()).collect();
    assert_eq!(offsets, (1..=300).collect::<Vec<u64>>());
    let receipts: Vec<_> = receipts.iter().map(|sent| sent.get("receipt-id").unwrap()).collect();
    assert_eq!(receipts, ["r", "u"]);
    assert_eq!(budget.reply_bytes(), 0);
}

#[test]
fn item_56_a_gap_is_told_with_the_receipt_or_as_an_error() {
    let lost = || Subscribed {
        top: Some(Position { offset: 50, epoch: "life".into() }),
        was_recovering: true,
        ..Subscribed::default()
    };
    let mut client = TestClient::connected("1.2");
    client.say("SUBSCRIBE\nid:0\ndestination:/topic/history:a\noffset:3\nreceipt:r\n\n\0");
    assert_eq!(client.grant(lost())[0].get("recovered"), Some("false"));
    let mut client = TestClient::connected("1.2");
    client.say("SUBSCRIBE\nid:0\ndestination:/topic/history:a\noffset:3\n\n\0");
    assert_eq!(client.grant(lost())[0].get("message"), Some("unrecoverable position"));
}

#[test]
fn item_56_a_channel_without_history_cannot_be_recovered() {
    let mut client = TestClient::connected("1.2");
    assert_eq!(client.error("SUBSCRIBE\nid:0\ndestination:/topic/open:a\noffset:3\n\n\0"), "not available");
    let mut client = TestClient::connected("1.2");
    assert_eq!(
        client.error("SUBSCRIBE\nid:0\ndestination:/topic/history:a\noffset:x\n\n\0"),
        "the offset is not a number"
    );
}

#[test]
fn item_60_subscriptions_are_bounded() {
    let mut client = TestClient::connected("1.2");
    for id in 0..3 {
        client.say(&format!("SUBSCRIBE\nid:{id}\ndestination:/topic/open:{id}\n\n\0"));
        client.grant(Subscribed::default());
    }
    assert_eq!(client.error("SUBSCRIBE\nid:3\ndestination:/topic/open:3\n\n\0"), "too many subscriptions");
    let long = "x".repeat(256);
    let text =
        TestClient::connected("1.2").error(&format!("SUBSCRIBE\nid:{long}\ndestination:/topic/open:a\n\n\0"));
    assert_eq!(text, "an id longer than 255 bytes");
}

#[test]
fn a_selector_is_refused_on_channels_and_queues_and_an_empty_one_is_none() {
    for destination in ["/topic/open:a", "/queue/jobs"] {
        let subscribe = format!("SUBSCRIBE\nid:1\ndestination:{destination}\nselector:kind = 'a'\n\n\0");
        let text = TestClient::connected("1.2").error(&subscribe);
        assert!(text.starts_with("selectors are not supported"), "{text}");
    }
    let mut client = TestClient::connected("1.2");
    client.say("SUBSCRIBE\nid:1\ndestination:/topic/open:a\nselector: \n\n\0");
    assert!(client.closed.is_none());
}
