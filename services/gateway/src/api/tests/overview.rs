//! `channels`, `connections` and `info`.

use super::{sessions::Connection, *};

#[actix_web::test]
async fn channels_are_listed_by_name_in_pages() {
    let api = Api::start().await;
    let _open: Vec<Connection> = (0..5)
        .map(|n| Connection::open(&api, "42", &format!("c{n}"), &["chat:all", &format!("chat:{n}"), "news"]))
        .collect();
    let all = api.ok("channels", json!({})).await;
    assert_eq!(all["channels"].as_object().unwrap().len(), 7);
    assert_eq!(all["channels"]["chat:all"], json!({"num_clients": 5}));
    assert!(all.get("next_cursor").is_none());
    let mut names = Vec::new();
    let mut cursor = json!(null);
    loop {
        let page = api.ok("channels", json!({"pattern": "chat:*", "limit": 4, "cursor": cursor})).await;
        names.extend(page["channels"].as_object().unwrap().keys().cloned());
        match page.get("next_cursor") {
            Some(next) => cursor = next.clone(),
            None => break,
        }
    }
    assert_eq!(names, ["chat:0", "chat:1", "chat:2", "chat:3", "chat:4", "chat:all"]);
    let one = api.ok("channels", json!({"pattern": "chat:?"})).await;
    assert_eq!(one["channels"].as_object().unwrap().len(), 5);
    assert_eq!(api.ok("channels", json!({"pattern": ""})).await, all);
}

#[actix_web::test]
async fn connections_are_listed_by_client_in_pages() {
    let api = Api::start().await;
    let _open: Vec<Connection> = (0..5)
        .map(|n| Connection::open(&api, if n < 3 { "42" } else { "" }, &format!("c{n}"), &["news"]))
        .collect();
    let all = api.ok("connections", json!({"user": "", "expression": ""})).await;
    assert_eq!(all["connections"].as_object().unwrap().len(), 5);
    assert_eq!(
        all["connections"]["c0"],
        json!({
            "user": "42", "transport": "websocket", "protocol": "json", "node": *api.node.id,
            "connected_at": 1_700_000_000_000_u64, "channels": ["news"],
        })
    );
    let page = api.ok("connections", json!({"user": "42", "limit": 2})).await;
    assert_eq!(page["connections"].as_object().unwrap().keys().collect::<Vec<_>>(), ["c0", "c1"]);
    let next = json!({"user": "42", "limit": 2, "cursor": page["next_cursor"]});
    let next = api.ok("connections", next).await;
    assert_eq!(next["connections"].as_object().unwrap().keys().collect::<Vec<_>>(), ["c2"]);
    assert!(next.get("next_cursor").is_none());
}

#[actix_web::test]
async fn pages_are_bounded_and_cursors_are_ours() {
    let api = Api::start().await;
    for method in ["channels", "connections"] {
        for (wrong, says) in [
            (json!({"limit": 1001}), "limit: at most 1000"),
            (json!({"limit": -1}), "limit: invalid value"),
            (json!({"cursor": "?"}), "cursor: not one"),
            (json!({"cursor": "gA"}), "cursor: not one"),
        ] {
            let (status, _, sentence) = api.refused(method, &wrong).await;
            assert_eq!(status, 400);
            assert!(sentence.contains(says), "{wrong}: {sentence}");
        }
    }
    assert!(api.refused("connections", json!({"expression": "x"})).await.2.starts_with("expression: "));
    assert!(api.refused("channels", json!({"pattern": "*".repeat(256)})).await.2.starts_with("pattern: "));
}

#[actix_web::test]
async fn info_tells_the_numbers_of_the_node() {
    let api = Api::start().await;
    let _open: Vec<Connection> = (0..4)
        .map(|n| Connection::open(&api, if n < 3 { "42" } else { "" }, &format!("c{n}"), &["a", "b"]))
        .collect();
    for body in ["", "{}", " \n"] {
        let (status, answer) = api.raw("info", body).await;
        assert_eq!(status, 200);
        let [node] = &answer["result"]["nodes"].as_array().unwrap()[..] else { panic!("{answer}") };
        assert_eq!(
            (&node["id"], &node["version"]),
            (&json!(*api.node.id), &json!(env!("CARGO_PKG_VERSION")))
        );
        assert_eq!((&node["num_clients"], &node["num_users"]), (&json!(4), &json!(1)));
        assert_eq!((&node["num_channels"], &node["num_subs"]), (&json!(2), &json!(8)));
    }
    assert!(api.refused("info", r#"{"a":1}"#).await.2.contains("unknown field `a`"));
}
