//! Replies of megabytes, which are written a piece at a time.

use bytes::Bytes;
use gorani_broker::{ClientInfo, DataKind, HistoryPage};

use super::*;
use crate::memory::MemoryBudget;

/// So many publications of 1,000 bytes, of every kind, some with tags and a sender.
fn publications(count: u64) -> Vec<Arc<Publication>> {
    let publication = |offset: u64| {
        let (kind, data) = match offset % 3 {
            0 => (DataKind::Json, format!(r#"{{"n":{offset},"pad":"{}"}}"#, "x".repeat(1000))),
            1 => (DataKind::Text, format!("{offset}{}", "\"\n".repeat(500))),
            _ => (DataKind::Binary, "\0".repeat(1000)),
        };
        let tags = offset.is_multiple_of(5).then(|| ("k]".to_owned(), "[{".to_owned()));
        let info = offset
            .is_multiple_of(7)
            .then(|| Arc::new(ClientInfo { user: "u".to_owned(), ..ClientInfo::default() }));
        Arc::new(Publication {
            offset,
            kind,
            data: Bytes::from(data),
            tags: tags.into_iter().collect(),
            info,
            ..Publication::default()
        })
    };
    (1..=count).map(publication).collect()
}

fn recovered(count: u64, budget: Option<&Arc<MemoryBudget>>) -> Subscribed {
    Subscribed {
        was_recovering: true,
        recovered: true,
        publications: publications(count),
        permit: budget.and_then(|budget| budget.try_reply(100)),
        ..top(count)
    }
}

/// Steps until there is nothing more, and what is sent by then.
fn steps(client: &mut TestClient, outcome: (Ticket, Outcome)) -> (usize, Vec<Value>) {
    let mut actions = Actions::default();
    client.session.outcome(outcome.0, outcome.1, client.now, &mut actions);
    let mut count = 0;
    while client.session.has_more() {
        assert_eq!(actions.message_bytes(), 0, "a reply is sent when it is whole");
        client.session.resume(client.now, &mut actions);
        count += 1;
    }
    (count, client.run(|_, _, given| std::mem::swap(given, &mut actions)))
}

#[test]
fn a_history_in_pieces_is_the_history_at_once() {
    let budget = Arc::new(MemoryBudget::default());
    for count in [0, 1, 2, 700] {
        let mut replies = Vec::new();
        for permit in [None, budget.try_reply(100)] {
            let is_large = permit.is_some();
            let mut client = TestClient::subscribed("history:a", top(5));
            client.next();
            client.say(json!({"id": 3, "history": {"channel": "history:a", "limit": -1}}));
            let Some(Action::History(ticket, ..)) = client.next() else { panic!("no history") };
            let page = HistoryPage {
                publications: publications(count),
                top: top(count).top.unwrap(),
                ..HistoryPage::default()
            };
            let (steps, reply) = steps(&mut client, (ticket, Outcome::History(Ok((page, permit)))));
            assert_eq!(steps > 5, is_large && count == 700, "{steps} steps");
            assert_eq!(reply.len(), 1);
            replies.push(reply);
        }
        assert_eq!(replies[0][0]["history"]["publications"].as_array().unwrap().len() as u64, count);
        assert!(replies[0] == replies[1], "{count}");
    }
    assert_eq!(budget.reply_bytes(), 0);
}

#[test]
fn presence_in_pieces_is_presence_at_once() {
    let budget = Arc::new(MemoryBudget::default());
    let client_info = |number: usize| {
        Arc::new(ClientInfo {
            user: format!("u\"{number}"),
            client: format!("c{number}"),
            connection_info: Bytes::from(format!(r#"{{"pad":"{}"}}"#, "x".repeat(1000))),
            ..ClientInfo::default()
        })
    };
    let mut replies = Vec::new();
    for permit in [None, budget.try_reply(100)] {
        let mut client = TestClient::subscribed("history:a", top(5));
        client.next();
        client.say(json!({"id": 3, "presence": {"channel": "history:a"}}));
        let Some(Action::Presence(ticket, _)) = client.next() else { panic!("no presence") };
        let clients = (0..300).map(client_info).collect();
        replies.push(steps(&mut client, (ticket, Outcome::Presence(Ok((clients, permit))))).1);
    }
    assert_eq!(replies[0][0]["presence"]["presence"].as_object().unwrap().len(), 300);
    assert!(replies[0] == replies[1]);
}

#[test]
fn a_subscription_begins_when_its_large_reply_is_written() {
    let budget = Arc::new(MemoryBudget::default());
    let mut replies = Vec::new();
    for budget in [None, Some(&budget)] {
        let mut client = TestClient::connected();
        client.say(
            json!({"id": 2, "subscribe": {"channel": "history:a", "recover": true, "recoverable": true}}),
        );
        let (ticket, _) = client.next_subscribe();
        replies.push(steps(&mut client, (ticket, Outcome::Subscribed(Ok(recovered(500, budget))))).1);
        assert!(matches!(client.next(), Some(Action::Release(channel)) if &*channel == "history:a"));
        assert!(client.next().is_none());
    }
    assert_eq!(replies[0][0]["subscribe"]["publications"].as_array().unwrap().len(), 500);
    assert!(replies[0] == replies[1]);
    assert_eq!(budget.reply_bytes(), 0);
}

#[test]
fn a_subscription_that_the_server_ends_while_its_reply_is_written_does_not_begin() {
    let budget = Arc::new(MemoryBudget::default());
    let mut client = TestClient::connected();
    client.say(json!({"id": 2, "subscribe": {"channel": "history:a", "recover": true, "recoverable": true}}));
    let (ticket, _) = client.next_subscribe();
    let mut actions = Actions::default();
    let outcome = Outcome::Subscribed(Ok(recovered(500, Some(&budget))));
    client.session.outcome(ticket, outcome, client.now, &mut actions);
    client.session.resume(client.now, &mut actions);
    assert!(actions.is_empty() && client.session.has_more());
    let lines = client.signal(Signal::unsubscribe("history:a"));
    assert_eq!(lines[0]["push"]["unsubscribe"]["code"], 2000);
    assert_eq!(error_code(&lines[1]), 100);
    assert_eq!(lines[1]["id"], 2);
    assert!(matches!(client.next(), Some(Action::EndSubscription(..))));
    assert!(client.next().is_none());
    assert_eq!(budget.reply_bytes(), 0);
}

#[test]
fn a_connection_begins_when_its_large_reply_is_written() {
    let budget = Arc::new(MemoryBudget::default());
    let channels = ["history:a", "history:b", "open:a"];
    let mut replies = Vec::new();
    for budget in [None, Some(&budget)] {
        let mut client = TestClient::new(settings());
        let subs = json!({"history:a": {"recover": true, "epoch": "e"}});
        assert!(
            client
                .say(json!({"id": 1, "connect": {"token": token(3600, &channels), "subs": subs}}))
                .is_empty()
        );
        let (first, _) = client.next_subscribe();
        let (second, _) = client.next_subscribe();
        let (third, _) = client.next_subscribe();
        client.settle(second, Outcome::Subscribed(Ok(recovered(3, None))));
        client.settle(third, Outcome::Subscribed(Ok(Subscribed::default())));
        replies.push(steps(&mut client, (first, Outcome::Subscribed(Ok(recovered(500, budget))))).1);
        assert!(client.session.has_connected());
        for channel in channels {
            assert!(matches!(client.next(), Some(Action::Release(released)) if *released == *channel));
        }
        assert!(
            client.say(json!({"id": 2, "unsubscribe": {"channel": "x"}}))[0].get("unsubscribe").is_some()
        );
    }
    for replies in &mut replies {
        assert!(replies[0]["connect"].as_object_mut().unwrap().remove("client").is_some());
    }
    // A list that is empty is written too where lists come later.
    let subs = &mut replies[1][0]["connect"]["subs"];
    assert_eq!(subs["open:a"].as_object_mut().unwrap().remove("publications"), Some(json!([])));
    assert_eq!(subs["history:a"]["publications"].as_array().unwrap().len(), 500);
    assert!(replies[0] == replies[1]);
    assert_eq!(budget.reply_bytes(), 0);
}

#[test]
fn nothing_is_said_to_a_client_before_the_reply_to_its_connect() {
    let budget = Arc::new(MemoryBudget::default());
    let mut client = TestClient::new(settings());
    client.say(json!({"id": 1, "connect": {"token": token(3600, &["history:a"])}}));
    let (ticket, _) = client.next_subscribe();
    let mut actions = Actions::default();
    let outcome = Outcome::Subscribed(Ok(recovered(500, Some(&budget))));
    client.session.outcome(ticket, outcome, client.now, &mut actions);
    client.session.resume(client.now, &mut actions);
    // A command waits, and the server ends a subscription that the reply mentions.
    client.session.message(
        Incoming::Text(r#"{"id":2,"unsubscribe":{"channel":"x"}}"#),
        client.now,
        &mut actions,
    );
    assert_eq!(actions.message_bytes(), 0);
    let lines = client.signal(Signal::unsubscribe("history:a"));
    let ids: Vec<u64> = lines.iter().map(|line| line["id"].as_u64().unwrap_or(0)).collect();
    assert_eq!(ids, [0, 1, 0, 2], "an unsubscribe is told when it happens, and again after the reply");
    assert_eq!(lines[2]["push"]["unsubscribe"]["code"], 2000);
}

#[test]
fn heavy_reads_wait_while_large_replies_are_written() {
    let budget = Arc::new(MemoryBudget::default());
    let mut client = TestClient::new(ClientSettings { max_reads: 1, ..settings() });
    client.say(json!({"id": 1, "connect": {"token": token(3600, &[])}}));
    client.say(json!({"id": 2, "subscribe": {"channel": "history:a"}}));
    let (ticket, _) = client.next_subscribe();
    client.settle(ticket, Outcome::Subscribed(Ok(top(500))));
    client.next();
    let history = |id: u32| json!({"id": id, "history": {"channel": "history:a", "limit": -1}}).to_string();
    client.say_text(&history(3));
    let Some(Action::History(ticket, ..)) = client.next() else { panic!("no history") };
    let page =
        HistoryPage { publications: publications(500), top: top(500).top.unwrap(), ..HistoryPage::default() };
    let mut actions = Actions::default();
    let outcome = Outcome::History(Ok((page, budget.try_reply(100))));
    client.session.outcome(ticket, outcome, client.now, &mut actions);
    client.session.message(Incoming::Text(&history(4)), client.now, &mut actions);
    assert!(actions.is_empty());
    let lines = client.run(|_, _, _| {});
    assert_eq!(lines[0]["id"], 3);
    assert!(matches!(client.next(), Some(Action::History(..))), "the next read begins after the reply");
}
