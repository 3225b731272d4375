//! `presence`, `presence_stats`, `history` and `history_remove`.

use std::time::Duration;

use bytes::Bytes;
use gorani_broker::ClientInfo;

use super::*;
use crate::{disconnect::ErrorCode, hub::history_reads::ReadSource, settings::ProxySettings};

#[actix_web::test]
async fn presence_shows_who_is_there_and_stats_how_many() {
    let api = Api::start().await;
    for (client, user) in [("c1", "42"), ("c2", "42"), ("c3", "")] {
        let info = ClientInfo {
            user: user.to_owned(),
            client: client.to_owned(),
            connection_info: Bytes::from_static(br#"{"name":"A"}"#),
            channel_info: if client == "c3" { Bytes::new() } else { Bytes::from_static(b"[1,\n2]") },
        };
        api.node
            .broker()
            .presence_add("seen:a", Arc::new(info), Duration::from_secs(60), false)
            .await
            .unwrap();
    }
    let presence = api.ok("presence", json!({"channel": "seen:a"})).await;
    assert_eq!(
        presence["presence"]["c1"],
        json!({"user": "42", "client": "c1", "conn_info": {"name": "A"}, "chan_info": [1, 2]})
    );
    assert_eq!(presence["presence"]["c3"], json!({"user": "", "client": "c3", "conn_info": {"name": "A"}}));
    let stats = api.ok("presence_stats", json!({"channel": "seen:a"})).await;
    assert_eq!(stats["num_clients"], 3);
    assert_eq!(api.ok("presence", json!({"channel": "seen:b"})).await, json!({"presence": {}}));
}

#[actix_web::test]
async fn presence_that_answers_of_a_backend_may_open_is_read_although_its_namespace_has_none() {
    let mut settings = settings();
    settings.client.proxy.connect = Some(Box::new(ProxySettings {
        enabled: Some(true),
        endpoint: "http://127.0.0.1:9".to_owned(),
        ..ProxySettings::default()
    }));
    let api = Api::of(Node::start(settings).await.unwrap());
    assert_eq!(api.ok("presence", json!({"channel": "kept:a"})).await, json!({"presence": {}}));
    let stats = api.ok("presence_stats", json!({"channel": "kept:a"})).await;
    assert_eq!(stats, json!({"num_clients": 0, "num_users": 0}));
}

#[actix_web::test]
async fn what_a_channel_does_not_keep_is_409_with_108() {
    let api = Api::start().await;
    for method in ["presence", "presence_stats"] {
        let (status, code, sentence) = api.refused(method, json!({"channel": "kept:a"})).await;
        assert_eq!((status, code), (409, 108));
        assert!(sentence.contains("no presence"), "{sentence}");
    }
    for method in ["history", "history_remove"] {
        let (status, code, sentence) = api.refused(method, json!({"channel": "seen:a"})).await;
        assert_eq!((status, code), (409, 108));
        assert!(sentence.contains("no history"), "{sentence}");
    }
}

#[actix_web::test]
async fn every_question_about_a_channel_checks_its_name() {
    let api = Api::start().await;
    for method in ["presence", "presence_stats", "history", "history_remove"] {
        assert_eq!(api.refused(method, json!({"channel": "nowhere:a"})).await.1, 102);
        let (status, code, sentence) = api.refused(method, json!({"channel": ""})).await;
        assert_eq!((status, code, sentence.as_str()), (400, 107, "channel: the channel name is empty"));
        assert_eq!(
            api.refused(method, json!({})).await.2.split(" at").next(),
            Some("missing field `channel`")
        );
        assert!(api.refused(method, json!({"channel": "a", "chanel": 1})).await.2.contains("`chanel`"));
    }
}

#[actix_web::test]
async fn history_is_read_in_pages_in_both_directions() {
    let api = Api::start().await;
    for n in 1..=10 {
        api.ok("publish", json!({"channel": "kept:a", "data": n, "tags": {"n": "x"}})).await;
    }
    let offsets = |page: &Value| -> Vec<u64> {
        let publications = page["publications"].as_array().unwrap();
        publications.iter().map(|publication| publication["offset"].as_u64().unwrap()).collect()
    };
    let position = api.ok("history", json!({"channel": "kept:a"})).await;
    assert_eq!((position["offset"].as_u64(), offsets(&position).len()), (Some(10), 0));
    let epoch = position["epoch"].as_str().unwrap();
    let page = api.ok("history", json!({"channel": "kept:a", "limit": 3})).await;
    assert_eq!(offsets(&page), [1, 2, 3]);
    assert_eq!(page["publications"][0]["data"], 1);
    assert_eq!(page["publications"][0]["tags"], json!({"n": "x"}));
    let since = json!({"offset": 3, "epoch": epoch});
    let next = api.ok("history", json!({"channel": "kept:a", "limit": 3, "since": since})).await;
    assert_eq!(offsets(&next), [4, 5, 6]);
    let back = api.ok("history", json!({"channel": "kept:a", "limit": 2, "reverse": true})).await;
    assert_eq!(offsets(&back), [10, 9]);
    let since = json!({"offset": 9, "epoch": ""});
    let back = json!({"channel": "kept:a", "limit": 2, "reverse": true, "since": since});
    assert_eq!(offsets(&api.ok("history", back).await), [8, 7]);
    assert_eq!(api.kept("kept:a").await.len(), 10);
}

#[actix_web::test]
async fn a_position_of_another_epoch_is_409_with_112() {
    let api = Api::start().await;
    api.ok("publish", json!({"channel": "kept:a", "data": 1})).await;
    let body = json!({"channel": "kept:a", "limit": 1, "since": {"offset": 1, "epoch": "gone"}});
    assert_eq!(api.refused("history", body).await, (409, 112, "unrecoverable position".to_owned()));
}

#[actix_web::test]
async fn a_page_of_history_is_bounded() {
    let api = Api::start().await;
    for wrong in [json!({"offset": -1}), json!({"offset": "1"}), json!({"ofset": 1}), json!(5)] {
        let (status, _, sentence) =
            api.refused("history", json!({"channel": "kept:a", "limit": 1, "since": wrong})).await;
        assert_eq!(status, 400);
        assert!(sentence.contains("since"), "{sentence}");
    }
    let commands: Vec<Value> =
        (0..1100).map(|n| json!({"publish": {"channel": "kept:a", "data": n}})).collect();
    api.ok("batch", json!({"commands": commands})).await;
    assert_eq!(api.kept("kept:a").await.len(), 1000);
    for (limit, truncated) in
        [(1001, true), (i64::MAX, true), (1000, false), (-1, false), (-2, false), (i64::MIN, false)]
    {
        let page = api.ok("history", json!({"channel": "kept:a", "limit": limit})).await;
        assert_eq!(page["publications"].as_array().unwrap().len(), 1000, "{limit}");
        assert_eq!(page["truncated"] == true, truncated, "{limit}");
    }
    let last = json!({"channel": "kept:a", "limit": 5000, "since": {"offset": 100, "epoch": ""}});
    assert_eq!(api.ok("history", last).await.get("truncated"), None, "a full page that reaches the top");
    let back = json!({"channel": "kept:a", "limit": 5000, "reverse": true});
    assert_eq!(api.ok("history", back).await["truncated"], true);
}

#[actix_web::test]
async fn text_and_bytes_are_told_from_json() {
    let api = Api::start().await;
    api.ok("publish", json!({"channel": "kept:a", "b64data": "AAEC"})).await;
    let text = gorani_broker::Publication {
        data: Bytes::from_static("a\"\u{e9}".as_bytes()),
        kind: gorani_broker::DataKind::Text,
        info: Some(Arc::new(ClientInfo {
            user: "7".to_owned(),
            client: "c".to_owned(),
            ..ClientInfo::default()
        })),
        ..Default::default()
    };
    api.node.publisher.publish("kept:a", text, false, None).await.unwrap();
    let kept = api.kept("kept:a").await;
    assert_eq!((&kept[0]["data"], &kept[0]["kind"]), (&json!("AAEC"), &json!("binary")));
    assert_eq!((&kept[1]["data"], &kept[1]["kind"]), (&json!("a\"\u{e9}"), &json!("text")));
    assert_eq!(kept[1]["info"], json!({"user": "7", "client": "c"}));
}

#[actix_web::test]
async fn removed_history_is_gone_and_its_position_stays() {
    let api = Api::start().await;
    let first = api.ok("publish", json!({"channel": "kept:a", "data": 1})).await;
    assert_eq!(api.ok("history_remove", json!({"channel": "kept:a"})).await, json!({}));
    assert!(api.kept("kept:a").await.is_empty());
    let second = api.ok("publish", json!({"channel": "kept:a", "data": 1})).await;
    assert_eq!((&second["offset"], &second["epoch"]), (&json!(2), &first["epoch"]));
}

#[actix_web::test]
async fn one_answer_holds_so_many_bytes_and_says_how_to_read_on() {
    let mut settings = settings();
    settings.api.reply_max_bytes = 4096;
    let api = Api::of(Node::start(settings).await.unwrap());
    for _ in 0..10 {
        api.ok("publish", json!({"channel": "kept:a", "data": "x".repeat(1000)})).await;
    }
    let page = api.ok("history", json!({"channel": "kept:a", "limit": 100})).await;
    let shown = page["publications"].as_array().unwrap().len() as u64;
    assert!((1..=4).contains(&shown), "{shown}");
    assert_eq!(page["truncated"], true, "{page}");
    let since = json!({"offset": shown, "epoch": page["epoch"]});
    let next = api.ok("history", json!({"channel": "kept:a", "limit": 100, "since": since})).await;
    assert_eq!(next["publications"][0]["offset"], shown + 1);

    for number in 0..100 {
        let client = format!("client-{number:03}");
        let info = Bytes::from(format!("\"{}\"", "y".repeat(200)));
        let info = ClientInfo { client, connection_info: info, ..ClientInfo::default() };
        api.node
            .broker()
            .presence_add("seen:a", Arc::new(info), Duration::from_secs(60), false)
            .await
            .unwrap();
    }
    let (status, code, sentence) = api.refused("presence", json!({"channel": "seen:a"})).await;
    assert_eq!((status, code), (413, 106), "{sentence}");
    assert!(sentence.contains("cursor"), "{sentence}");
    let (mut seen, mut cursor) = (std::collections::BTreeSet::new(), Value::Null);
    loop {
        let mut request = json!({"channel": "seen:a", "limit": 7});
        if cursor != Value::Null {
            request["cursor"] = cursor;
        }
        let mut page = api.ok("presence", request).await;
        seen.extend(page["presence"].as_object().unwrap().keys().cloned());
        cursor = page["next_cursor"].take();
        if cursor == Value::Null {
            break;
        }
    }
    assert_eq!(seen.len(), 100);
}

#[actix_web::test]
async fn presence_of_a_hundred_thousand_is_read_in_pages_and_counted_without_reading_it() {
    const CLIENTS: usize = 100_000;
    let api = Api::start().await;
    let broker = api.node.broker();
    for number in 0..CLIENTS {
        let info = ClientInfo {
            user: (number % 5000).to_string(),
            client: format!("client-{number:06}"),
            connection_info: Bytes::from_static(b"{\"name\":\"somebody in the crowd\"}"),
            ..ClientInfo::default()
        };
        broker.presence_add("seen:crowd", Arc::new(info), Duration::from_secs(600), false).await.unwrap();
    }
    let (status, code, sentence) = api.refused("presence", json!({"channel": "seen:crowd"})).await;
    assert_eq!((status, code), (413, 106), "{sentence}");
    // As the client protocol asks, which has no pages.
    let most_bytes = api.node.policy.get().settings.reply_max_bytes as u64;
    let whole = api.node.presence.clients(ReadSource::Client, "seen:crowd", most_bytes).await;
    assert_eq!(whole, Err(ErrorCode::PRESENCE_TOO_LARGE));
    let (mut seen, mut request) =
        (std::collections::HashSet::new(), json!({"channel": "seen:crowd", "limit": 1000}));
    loop {
        let page = api.ok("presence", request.clone()).await;
        let clients = page["presence"].as_object().unwrap();
        assert!(clients.len() <= 1000);
        seen.extend(clients.keys().cloned());
        match &page["next_cursor"] {
            Value::Null => break,
            cursor => request["cursor"] = cursor.clone(),
        }
    }
    assert_eq!(seen.len(), CLIENTS);
    let stats = api.ok("presence_stats", json!({"channel": "seen:crowd"})).await;
    assert_eq!(stats, json!({"num_clients": CLIENTS, "num_users": 5000}));
}
