//! `/app`: what the backend is asked, and what its answers become.

use super::{proxied::*, *};
use crate::proxy_call::{ProxyAnswer, ProxyError, ProxyFailure, ProxyPayload, ProxyRequest, ProxyResult};

fn reply(data: &str) -> Outcome {
    let payload = ProxyPayload { data: data.as_bytes().to_vec().into(), kind: gorani_broker::DataKind::Json };
    answer(ProxyResult::Rpc(Some(payload)))
}

fn refused(code: u32) -> Outcome {
    let error = ProxyError { code, message: "no such order".to_owned(), temporary: false };
    Outcome::Proxied(Box::new(Ok(ProxyAnswer::Error(error))))
}

/// A session that gets replies of `orders` and errors.
fn with_queues() -> TestClient {
    let mut client = asking_client();
    for (id, queue) in [("r", "open:orders"), ("e", "errors")] {
        client.say(&format!("SUBSCRIBE\nid:{id}\ndestination:/user/queue/{queue}\n\n\0"));
    }
    // Without a user these are no channels.
    assert!(client.actions.is_empty());
    client
}

#[test]
fn a_send_to_app_is_a_call_with_its_body_and_the_listed_headers() {
    let mut client = asking_client();
    client.say(
        "SEND\ndestination:/app/orders/create\ncontent-type:application/json\nX-Trace:a\nother:b\n\n{\"a\": 1}\0",
    );
    let (_, call) = client.next_call();
    let ProxyRequest::Rpc { method, data, headers } = call.request else { panic!("{call:?}") };
    let data = data.unwrap();
    assert_eq!((call.proxy, method.as_str(), &data.data[..]), (RPC, "orders/create", &b"{\"a\": 1}"[..]));
    assert_eq!(data.kind, gorani_broker::DataKind::Json);
    let listed = |name: &str, value: &str| (Box::from(name), Box::from(value));
    assert_eq!(headers, [listed("stomp-content-type", "application/json"), listed("stomp-x-trace", "a")]);
    assert_eq!((call.number, call.caller.protocol, call.caller.transport), (1, "stomp", "stomp"));
}

#[test]
fn text_stays_text_and_an_empty_body_is_no_data() {
    let mut client = asking_client();
    client.say("SEND\ndestination:/app/a\n\nhello\0SEND\ndestination:/app/a\n\n\0");
    let (ticket, call) = client.next_call();
    let ProxyRequest::Rpc { data: Some(data), .. } = call.request else { panic!("{call:?}") };
    assert_eq!((&data.data[..], data.kind), (&b"hello"[..], gorani_broker::DataKind::Text));
    client.settle(ticket, answer(ProxyResult::Rpc(None)));
    let (_, call) = client.next_call();
    assert!(matches!(call.request, ProxyRequest::Rpc { data: None, .. }), "{call:?}");
}

#[test]
fn a_reply_comes_to_the_subscriptions_of_this_session_alone() {
    let mut client = with_queues();
    client.say(
        "SEND\ndestination:/app/open:orders\nreceipt:s\ncorrelation-id:c7\nother:b\n\n\0\
         SUBSCRIBE\nid:r2\ndestination:/user/queue/open:orders\n\n\0",
    );
    let (ticket, _) = client.next_call();
    let sent = client.settle(ticket, reply("{\"id\":7}"));
    let got: Vec<_> = sent.iter().map(|frame| (frame.command.as_str(), frame.get("subscription"))).collect();
    assert_eq!(got, [("MESSAGE", Some("r")), ("MESSAGE", Some("r2")), ("RECEIPT", None)]);
    let message = &sent[0];
    assert_eq!(message.body, "{\"id\":7}");
    for (name, value) in [
        ("destination", "/user/queue/open\\corders"),
        ("content-type", "application/json"),
        ("correlation-id", "c7"),
        ("receipt-id", "s"),
        ("content-length", "8"),
    ] {
        assert_eq!(message.get(name), Some(value), "{message:?}");
    }
    assert_eq!(message.get("other"), None);
    assert_ne!(message.get("message-id"), sent[1].get("message-id"));
    assert!(client.actions.is_empty(), "nothing is published: {:?}", client.actions);
}

#[test]
fn an_answer_without_data_is_the_receipt_alone() {
    let mut client = with_queues();
    client.say("SEND\ndestination:/app/open:orders\nreceipt:s\n\n\0SEND\ndestination:/app/open:orders\n\n\0");
    let (ticket, _) = client.next_call();
    let sent = client.settle(ticket, answer(ProxyResult::Rpc(None)));
    assert_eq!((sent.len(), sent[0].get("receipt-id")), (1, Some("s")));
    let (ticket, _) = client.next_call();
    assert_eq!(client.settle(ticket, answer(ProxyResult::Rpc(None))), []);
}

#[test]
fn a_reply_without_a_subscription_is_dropped_and_counted() {
    let mut client = asking_client();
    client.say("SEND\ndestination:/app/open:orders\nreceipt:s\n\n\0");
    let (ticket, _) = client.next_call();
    let sent = client.settle(ticket, reply("1"));
    assert_eq!((sent.len(), sent[0].command.as_str()), (1, "RECEIPT"));
    assert_eq!(client.undelivered(), 1);
    assert!(client.closed.is_none());
}

#[test]
fn an_error_of_the_application_comes_to_the_queue_of_errors_and_the_session_goes_on() {
    let mut client = with_queues();
    client.say("SEND\ndestination:/app/open:orders\nreceipt:s\ncorrelation-id:c\n\n\0SEND\ndestination:/topic/open:a\nreceipt:p\n\n\0");
    let (ticket, _) = client.next_call();
    let sent = client.settle(ticket, refused(404));
    assert_eq!(sent.len(), 1, "a failed frame has no receipt: {sent:?}");
    for (name, value) in [
        ("subscription", "e"),
        ("destination", "/user/queue/errors"),
        ("error-code", "404"),
        ("message", "no such order"),
        ("correlation-id", "c"),
        ("receipt-id", "s"),
        ("content-type", "application/json"),
    ] {
        assert_eq!(sent[0].get(name), Some(value), "{sent:?}");
    }
    assert_eq!(
        sent[0].body,
        "{\"code\":404,\"message\":\"no such order\",\"temporary\":false,\"destination\":\"/app/open:orders\"}"
    );
    // The receipts of others come in their order.
    let (ticket, ..) = client.next_publish();
    assert_eq!(client.published(ticket, None)[0].get("receipt-id"), Some("p"));
    assert!(client.closed.is_none());
}

#[test]
fn a_backend_that_fails_is_an_error_in_the_queue_of_errors_too() {
    for (failure, code) in [
        (ProxyFailure::Unknown, "121"),
        (ProxyFailure::BadAnswer, "121"),
        (ProxyFailure::NotProcessed(ErrorCode::TOO_MANY_REQUESTS), "111"),
        (ProxyFailure::NotProcessed(ErrorCode::INTERNAL), "100"),
    ] {
        let mut client = with_queues();
        client.say("SEND\ndestination:/app/open:orders\nreceipt:s\n\n\0");
        let (ticket, _) = client.next_call();
        let sent = client.settle(ticket, Outcome::Proxied(Box::new(Err(failure))));
        assert_eq!(sent[0].get("error-code"), Some(code), "{sent:?}");
        assert!(client.closed.is_none());
    }
}

#[test]
fn a_disconnect_of_the_backend_is_an_error_frame_and_the_end() {
    let mut client = with_queues();
    client.say("SEND\ndestination:/app/open:orders\nreceipt:s\n\n\0");
    let (ticket, _) = client.next_call();
    let disconnect = Disconnect::new(4501, "banned".to_owned());
    let sent = client.settle(ticket, Outcome::Proxied(Box::new(Ok(ProxyAnswer::Disconnect(disconnect)))));
    let error = sent.last().unwrap();
    assert_eq!((error.command.as_str(), error.get("message")), ("ERROR", Some("banned")));
    assert_eq!((error.get("receipt-id"), client.code()), (Some("s"), 4501));
}

#[test]
fn a_subscribe_to_app_is_one_call_and_one_message_with_its_id() {
    let mut client = asking_client();
    assert_eq!(client.say("SUBSCRIBE\nid:9\ndestination:/app/config\nreceipt:s\n\n\0"), []);
    let (ticket, call) = client.next_call();
    assert!(matches!(&call.request, ProxyRequest::Rpc { method, data: None, .. } if method == "config"));
    let sent = client.settle(ticket, reply("[]"));
    assert_eq!((sent[0].command.as_str(), sent[0].get("subscription")), ("MESSAGE", Some("9")));
    assert_eq!((sent[0].get("destination"), sent[0].body.as_str()), (Some("/app/config"), "[]"));
    assert_eq!(sent[1].get("receipt-id"), Some("s"));
    assert!(client.actions.is_empty(), "there is no channel: {:?}", client.actions);
    // Its id is taken until it is given back, which has no other effect.
    assert_eq!(client.ask("UNSUBSCRIBE\nid:9\nreceipt:u\n\n\0").get("receipt-id"), Some("u"));
    assert_eq!(client.say("SUBSCRIBE\nid:9\ndestination:/app/config\n\n\0"), []);
    let error = client.error("SUBSCRIBE\nid:9\ndestination:/app/config\n\n\0");
    assert_eq!(error, "a subscription with this id is open");
}

#[test]
fn an_answer_for_a_subscription_that_was_given_back_is_dropped() {
    let mut client = asking_client();
    client.say("SUBSCRIBE\nid:9\ndestination:/app/config\n\n\0UNSUBSCRIBE\nid:9\n\n\0");
    let (ticket, _) = client.next_call();
    assert_eq!(client.settle(ticket, reply("[]")), []);
    assert_eq!(client.undelivered(), 1);
}

#[test]
fn a_method_that_no_proxy_answers_is_an_error_that_names_the_setting() {
    let mut client = TestClient::connected("1.2");
    let error = client.ask("SEND\ndestination:/app/a\nreceipt:s\n\n\0");
    assert_eq!((error.get("code"), error.get("receipt-id")), (Some("108"), Some("s")));
    assert!(error.body.starts_with("SEND /app/a: not available: set rpc.without_namespace.proxy_enabled"));
    let error = asking_client().ask("SUBSCRIBE\nid:1\ndestination:/app/shop:a\n\n\0");
    assert_eq!(error.get("code"), Some("104"));
    assert!(error.body.contains("\"shop\" in rpc.namespaces"), "{error:?}");
}

#[test]
fn a_backend_that_names_a_method_that_is_not_served_stays() {
    let mut client = TestClient::new();
    client.say("CONNECT\naccept-version:1.2\nlogin:shop\npasscode:hush\n\n\0");
    assert_eq!(client.ask("SEND\ndestination:/app/a\n\n\0").command, "ERROR");
    assert!(client.closed.is_none());
}

#[test]
fn calls_of_app_keep_their_order_and_hold_back_nothing_else() {
    let mut client = asking_client();
    client.say(
        "SEND\ndestination:/app/a\nreceipt:1\n\n\0SEND\ndestination:/app/b\nreceipt:2\n\n\0\
         SEND\ndestination:/topic/open:a\nreceipt:3\n\n\0",
    );
    let (ticket, call) = client.next_call();
    assert!(matches!(&call.request, ProxyRequest::Rpc { method, .. } if method == "a"));
    // The publication is on its way; the second call is not.
    let (published, ..) = client.next_publish();
    assert!(client.actions.is_empty());
    assert_eq!(client.published(published, None), [], "receipts come in the order of their frames");
    assert_eq!(client.settle(ticket, reply("1"))[0].get("receipt-id"), Some("1"));
    let (ticket, call) = client.next_call();
    assert!(matches!(&call.request, ProxyRequest::Rpc { method, .. } if method == "b"));
    let sent = client.settle(ticket, reply("1"));
    let receipts: Vec<_> = sent.iter().map(|frame| frame.get("receipt-id").unwrap()).collect();
    assert_eq!(receipts, ["2", "3"]);
}

#[test]
fn heart_beats_go_on_while_a_call_is_pending() {
    let mut client = asking_client_with("heart-beat:1000,1000\n");
    client.say("SEND\ndestination:/app/a\n\n\0");
    for _ in 0..5 {
        client.say("\n");
        assert_eq!(client.until_deadline()[0].command, "beat");
    }
    assert!(client.closed.is_none());
}

#[test]
fn waiting_calls_are_bounded_and_then_the_node_stops_reading() {
    let mut client = asking_client();
    let send = "SEND\ndestination:/app/a\n\n\0";
    client.say(&send.repeat(64 + 256));
    assert!(client.session.is_blocked());
    let mut calls = 0;
    while let Some((ticket, _)) = client.try_next_call() {
        calls += 1;
        client.settle(ticket, answer(ProxyResult::Rpc(None)));
    }
    assert_eq!(calls, 64 + 256);
    assert!(!client.session.is_blocked());
    // Bodies count too.
    let large = format!("SEND\ndestination:/app/a\n\n{}\0", "x".repeat(60_000));
    client.say(&large.repeat(12));
    assert!(client.session.input_bytes() > 500_000 && client.session.is_blocked());
    let mut calls = 0;
    while let Some((ticket, _)) = client.try_next_call() {
        calls += 1;
        client.settle(ticket, answer(ProxyResult::Rpc(None)));
    }
    assert_eq!((calls, client.session.is_blocked()), (12, false));
}

#[test]
fn a_transaction_calls_app_at_its_commit_and_never_after_an_abort() {
    let mut client = asking_client();
    client.say(
        "BEGIN\ntransaction:t\n\n\0SEND\ntransaction:t\ndestination:/app/a\n\n\0ABORT\ntransaction:t\n\n\0",
    );
    assert!(client.actions.is_empty());
    client.say("BEGIN\ntransaction:t\n\n\0SEND\ntransaction:t\ndestination:/app/a\nreceipt:s\n\n1\0");
    client.say("SEND\ntransaction:t\ndestination:/topic/open:a\n\n2\0");
    assert!(client.actions.is_empty());
    client.say("COMMIT\ntransaction:t\nreceipt:c\n\n\0");
    let (ticket, _) = client.next_call();
    let (published, ..) = client.next_publish();
    assert_eq!(client.published(published, None), []);
    let sent = client.settle(ticket, reply("1"));
    assert_eq!(sent[0].get("receipt-id"), Some("c"));
    // A method that is not served fails as soon as it is named.
    client.say("BEGIN\ntransaction:t\n\n\0");
    let error = client.ask("SEND\ntransaction:t\ndestination:/app/shop:a\n\n\0");
    assert_eq!(error.get("code"), Some("104"));
}

#[test]
fn a_disconnect_waits_for_the_calls_before_it() {
    let mut client = with_queues();
    client.say("SEND\ndestination:/app/open:orders\nreceipt:s\n\n\0DISCONNECT\nreceipt:d\n\n\0");
    let (ticket, _) = client.next_call();
    let sent = client.settle(ticket, reply("1"));
    let got: Vec<_> = sent.iter().map(|frame| frame.get("receipt-id").unwrap()).collect();
    assert_eq!(got, ["s", "s", "d"]);
    assert_eq!(sent[0].command, "MESSAGE");
}

#[test]
fn a_disconnect_does_not_wait_longer_than_the_grace() {
    let mut client = with_queues();
    client.say("SEND\ndestination:/app/open:orders\nreceipt:s\n\n\0DISCONNECT\nreceipt:d\n\n\0");
    let (ticket, _) = client.next_call();
    let sent = client.until_deadline();
    let got: Vec<_> = sent.iter().map(|frame| frame.get("receipt-id").unwrap()).collect();
    assert_eq!(got, ["d"], "what was not done has no receipt");
    // The answer is late.
    assert_eq!(client.settle(ticket, reply("1")), []);
    client.until_deadline();
    assert_eq!(client.code(), 1000);
}

#[test]
fn a_node_that_goes_down_gives_the_calls_their_answers() {
    let mut client = with_queues();
    client.say("SEND\ndestination:/app/open:orders\nreceipt:s\n\n\0");
    assert_eq!(client.signal(Signal::Disconnect(Disconnect::SHUTDOWN)), []);
    // No further frame runs.
    assert_eq!(client.say("SEND\ndestination:/topic/open:a\n\n\0"), []);
    let (ticket, _) = client.next_call();
    let sent = client.settle(ticket, reply("1"));
    let got: Vec<_> = sent.iter().map(|frame| frame.command.as_str()).collect();
    assert_eq!(got, ["MESSAGE", "RECEIPT", "ERROR"]);
    assert_eq!((sent[2].get("reconnect"), client.code()), (Some("true"), 3001));
    assert!(client.actions.is_empty());
}

#[test]
fn a_node_that_goes_down_waits_for_a_call_no_longer_than_the_grace() {
    let mut client = with_queues();
    client.say("SEND\ndestination:/app/open:orders\n\n\0");
    client.signal(Signal::Disconnect(Disconnect::SHUTDOWN));
    assert_eq!(client.until_deadline()[0].command, "ERROR");
    assert_eq!(client.code(), 3001);
}
