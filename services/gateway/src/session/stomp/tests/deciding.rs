//! SUBSCRIBE and SEND of channels that the backend decides on, and expiries of subscriptions.

use gorani_broker::DataKind;

use super::{proxied::*, *};
use crate::proxy_call::{
    ProxyFailure, ProxyPayload, ProxyRequest, ProxyResult, PublishGrant, RefreshGrant, SubscribeGrant,
};

#[test]
fn a_subscribe_is_the_backends_decision_and_its_receipt_comes_after_it_is_live() {
    let mut client = asking_client();
    let frame = "SUBSCRIBE\nid:1\ndestination:/topic/history:a\noffset:3\nepoch:e\nreceipt:s\n\n\0";
    assert_eq!(client.say(frame), []);
    let (ticket, call) = client.next_call();
    let ProxyRequest::Subscribe { channel, token, data: None } = &call.request else { panic!("{call:?}") };
    assert_eq!((call.proxy, &**channel, token.as_str()), (SUBSCRIBE, "history:a", ""));
    let grant = SubscribeGrant { info: "{\"i\":1}".into(), ..SubscribeGrant::default() };
    assert_eq!(client.settle(ticket, answer(ProxyResult::Subscribe(Box::new(grant)))), []);
    let (ticket, params) = client.next_subscribe();
    assert_eq!((&*params.channel, &params.info.channel_info[..]), ("history:a", &b"{\"i\":1}"[..]));
    assert_eq!(params.recover.unwrap().offset, 3);
    assert!(params.positioned);
    let sent = client
        .settle(ticket, Outcome::Subscribed(Ok(Subscribed { recovered: true, ..Subscribed::default() })));
    assert_eq!(sent[0].get("receipt-id"), Some("s"));
}

#[test]
fn a_subscribe_that_the_backend_refuses_is_an_error_frame_and_the_end() {
    for (outcome, code, closed) in [
        (error(403, false), "403", 3507),
        (failed(), "100", 3000),
        (
            Outcome::Proxied(Box::new(Err(ProxyFailure::NotProcessed(ErrorCode::TOO_MANY_REQUESTS)))),
            "111",
            3000,
        ),
    ] {
        let mut client = asking_client();
        client.say("SUBSCRIBE\nid:1\ndestination:/topic/closed:a\nreceipt:s\n\n\0");
        let (ticket, _) = client.next_call();
        let sent = client.settle(ticket, outcome);
        assert_eq!((sent.len(), sent[0].command.as_str()), (1, "ERROR"));
        assert_eq!((sent[0].get("code"), sent[0].get("receipt-id")), (Some(code), Some("s")));
        assert!(sent[0].body.starts_with("SUBSCRIBE /topic/closed:a"), "{:?}", sent[0]);
        assert_eq!(client.code(), closed);
    }
}

#[test]
fn subscribes_that_are_asked_about_run_side_by_side_and_hold_back_only_their_channel() {
    let mut client = asking_client();
    client.say(
        "SUBSCRIBE\nid:1\ndestination:/topic/closed:a\n\n\0SUBSCRIBE\nid:2\ndestination:/topic/closed:b\n\n\0\
         SEND\ndestination:/app/x\n\n\0SEND\ndestination:/topic/open:a\n\n\0SUBSCRIBE\nid:3\ndestination:/topic/closed:a\n\n\0",
    );
    let calls: Vec<_> = std::iter::from_fn(|| client.try_next_call()).collect();
    assert_eq!(calls.len(), 3, "{calls:?}");
    client.next_publish();
    let granted = || answer(ProxyResult::Subscribe(Box::default()));
    client.settle(calls[1].0, granted());
    assert_eq!(&*client.next_subscribe().1.channel, "closed:b");
    client.settle(calls[0].0, granted());
    client.grant(Subscribed::default());
    // The third is of a channel that the backend has decided on.
    assert!(client.try_next_call().is_none());
    assert!(client.session.subscriptions.iter().any(|known| known.name() == "3"));
}

#[test]
fn an_unsubscribe_waits_for_the_answer_to_its_subscribe() {
    let mut client = asking_client();
    client.say(
        "SUBSCRIBE\nid:1\ndestination:/topic/closed:a\nreceipt:s\n\n\0UNSUBSCRIBE\nid:1\nreceipt:u\n\n\0",
    );
    let (ticket, _) = client.next_call();
    client.settle(ticket, answer(ProxyResult::Subscribe(Box::default())));
    let sent = client.grant(Subscribed::default());
    let got: Vec<_> = sent.iter().map(|frame| frame.get("receipt-id").unwrap()).collect();
    assert_eq!(got, ["s", "u"]);
    assert!(client.session.subscriptions.is_empty());
}

#[test]
fn an_unsubscribe_by_the_api_acts_at_once_and_the_answer_is_dropped() {
    let mut client = asking_client();
    client.say("SUBSCRIBE\nid:1\ndestination:/topic/closed:a\n\n\0");
    let (ticket, _) = client.next_call();
    assert_eq!(client.signal(Signal::unsubscribe("closed:a"))[0].command, "ERROR");
    assert_eq!(client.settle(ticket, answer(ProxyResult::Subscribe(Box::default()))), []);
    assert!(client.actions.is_empty());
}

#[test]
fn a_subscription_token_and_a_personal_channel_are_not_asked_about() {
    let mut client = unconnected(|_, settings| settings.personal_channels = vec!["closed:inbox".to_owned()]);
    client.say(&format!("CONNECT\naccept-version:1.2\npasscode:{}\n\n\0", token(60, &[])));
    let with_token = subscription_token("closed:a", 60);
    client.say(&format!("SUBSCRIBE\nid:1\ndestination:/topic/closed:a\ntoken:{with_token}\n\n\0"));
    client.grant(Subscribed::default());
    client.say("SUBSCRIBE\nid:2\ndestination:/user/queue/closed:inbox\n\n\0");
    client.grant(Subscribed::default());
    assert!(client.try_next_call().is_none());
}

#[test]
fn the_expiry_of_a_subscription_is_asked_about() {
    let mut client = asking_client();
    client.say("SUBSCRIBE\nid:1\ndestination:/topic/closed:a\n\n\0");
    let (ticket, _) = client.next_call();
    let grant = SubscribeGrant { expire_at: START_S + 60, ..SubscribeGrant::default() };
    client.settle(ticket, answer(ProxyResult::Subscribe(Box::new(grant))));
    client.grant(Subscribed::default());
    client.say("SUBSCRIBE\nid:2\ndestination:/topic/closed:a\n\n\0");
    client.until_deadline();
    let (ticket, call) = client.next_call();
    assert!(matches!(&call.request, ProxyRequest::SubRefresh { channel } if **channel == *"closed:a"));
    assert!(call.proxy == SUB_REFRESH && client.try_next_call().is_none(), "a channel is asked about once");
    client.settle(ticket, failed());
    client.until_deadline();
    let (ticket, _) = client.next_call();
    let expired = RefreshGrant { expired: true, ..RefreshGrant::default() };
    let sent = client.settle(ticket, answer(ProxyResult::Refresh(Some(expired))));
    assert_eq!((sent[0].command.as_str(), client.code()), ("ERROR", 3006));
}

#[test]
fn a_send_is_the_backends_decision_and_its_receipt_comes_after_it_is_published() {
    let mut client = asking_client();
    client.say("SEND\ndestination:/topic/closed:a\nreceipt:s\npriority:9\ncontent-type:text/html\n\n<b>\0");
    let (ticket, call) = client.next_call();
    let ProxyRequest::Publish { channel, data } = &call.request else { panic!("{call:?}") };
    assert_eq!((call.proxy, &**channel, &data.data[..]), (PUBLISH, "closed:a", &b"<b>"[..]));
    let data = ProxyPayload { data: "{}".into(), kind: DataKind::Json };
    let grant = PublishGrant {
        data: Some(data),
        tags: vec![("by".to_owned(), "backend".to_owned())],
        ..PublishGrant::default()
    };
    assert_eq!(client.settle(ticket, answer(ProxyResult::Publish(Box::new(grant)))), []);
    let (ticket, channel, publication) = client.next_publish();
    assert_eq!(
        (channel.as_str(), &publication.data[..], publication.kind),
        ("closed:a", &b"{}"[..], DataKind::Json)
    );
    let tag = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(publication.tags, [tag("priority", "9"), tag("by", "backend")]);
    assert!(publication.info.is_some() && publication.time_ms > 0);
    assert_eq!(client.published(ticket, None)[0].get("receipt-id"), Some("s"));
}

#[test]
fn a_send_that_the_backend_drops_has_its_receipt_and_is_not_published() {
    let mut client = asking_client();
    client.say("SEND\ndestination:/topic/closed:a\nreceipt:s\n\n1\0");
    let (ticket, _) = client.next_call();
    let drop = PublishGrant { drop: true, ..PublishGrant::default() };
    let sent = client.settle(ticket, answer(ProxyResult::Publish(Box::new(drop))));
    assert_eq!(sent[0].get("receipt-id"), Some("s"));
    assert!(client.actions.is_empty());
}

#[test]
fn a_send_that_the_backend_refuses_is_an_error_frame_and_the_end() {
    for (outcome, code) in [(error(403, false), "403"), (failed(), "121")] {
        let mut client = asking_client();
        client.say("SEND\ndestination:/topic/closed:a\nreceipt:s\n\n1\0");
        let (ticket, _) = client.next_call();
        let sent = client.settle(ticket, outcome);
        assert_eq!((sent[0].command.as_str(), sent[0].get("code")), ("ERROR", Some(code)));
        assert_eq!(sent[0].get("receipt-id"), Some("s"));
        assert!(client.closed.is_some());
    }
}

#[test]
fn sends_keep_their_order_across_channels() {
    let mut client = asking_client();
    client.say(
        "SEND\ndestination:/topic/closed:a\n\n1\0SEND\ndestination:/topic/open:a\n\n2\0\
         SEND\ndestination:/topic/closed:b\n\n3\0SEND\ndestination:/topic/open:b\n\n4\0",
    );
    let mut published = Vec::new();
    for _ in 0..2 {
        let (ticket, _) = client.next_call();
        assert!(client.actions.is_empty(), "{:?}", client.actions);
        client.settle(ticket, answer(ProxyResult::Publish(Box::default())));
        while let Some(Action::Publish(_, channel, ..)) =
            client.actions.pop_front_if(|action| matches!(action, Action::Publish(..)))
        {
            published.push(channel.to_string());
        }
    }
    assert_eq!(published, ["closed:a", "open:a", "closed:b", "open:b"]);
}

#[test]
fn a_transaction_takes_effect_in_its_order_also_where_the_backend_decides() {
    let mut client = asking_client();
    client.say("BEGIN\ntransaction:t\n\n\0");
    for (channel, body) in [("closed:a", 1), ("open:a", 2)] {
        client.say(&format!("SEND\ntransaction:t\ndestination:/topic/{channel}\n\n{body}\0"));
    }
    assert!(client.actions.is_empty());
    client.say("COMMIT\ntransaction:t\nreceipt:c\n\n\0");
    let (ticket, _) = client.next_call();
    assert!(client.actions.is_empty());
    client.settle(ticket, answer(ProxyResult::Publish(Box::default())));
    let (first, channel, _) = client.next_publish();
    assert_eq!(channel, "closed:a");
    let (second, ..) = client.next_publish();
    client.published(first, None);
    assert_eq!(client.published(second, None)[0].get("receipt-id"), Some("c"));
}

#[test]
fn a_backend_is_not_asked_about() {
    let mut client = unconnected(|_, _| {});
    client.say("CONNECT\naccept-version:1.2\nlogin:shop\npasscode:hush\n\n\0");
    client.say("SUBSCRIBE\nid:1\ndestination:/topic/closed:a\n\n\0");
    client.grant(Subscribed::default());
    client.say("SEND\ndestination:/topic/closed:a\n\n1\0");
    client.next_publish();
    assert!(client.try_next_call().is_none());
}

#[test]
fn an_answer_that_nobody_waits_for_is_counted() {
    let mut client = asking_client();
    assert_eq!(client.settle(Ticket(99), failed()), []);
    assert_eq!(client.stale(), 1);
    assert!(client.closed.is_none());
}
