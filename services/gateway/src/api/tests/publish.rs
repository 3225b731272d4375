//! `publish` and `broadcast`.

use std::collections::HashSet;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use super::*;

#[actix_web::test]
async fn a_publication_has_its_place_in_the_stream() {
    let api = Api::start().await;
    let first = api.ok("publish", json!({"channel": "kept:a", "data": {"n": 1}})).await;
    let second = api.ok("publish", json!({"channel": "kept:a", "data": {"n": 2}})).await;
    assert_eq!((&first["offset"], &second["offset"]), (&json!(1), &json!(2)));
    assert_eq!(first["epoch"], second["epoch"]);
    assert!(!first["epoch"].as_str().unwrap().is_empty());
    assert_eq!(
        api.ok("publish", json!({"channel": "a", "data": 1})).await,
        json!({"offset": 0, "epoch": ""})
    );
}

#[actix_web::test]
async fn data_is_kept_byte_for_byte() {
    let api = Api::start().await;
    let odd = r#"{ "big":123456789012345678901234567890.10,"a":1 ,"a":2,"u":"\u00e9\ud800", "e":1E400 }"#;
    let body = format!(r#"{{"channel":"kept:a","data":{odd}}}"#);
    assert_eq!(api.raw("publish", body).await.0, 200);
    let retention = api.node.policy.get().channel_retention("kept:a").unwrap();
    let query = gorani_broker::HistoryQuery { limit: 1, ..Default::default() };
    let page = api.node.broker().history("kept:a", query, retention).await.unwrap();
    assert_eq!(page.publications[0].data, odd.as_bytes());
    for value in ["null", "0", "\"\"", "[]", "false"] {
        let body = format!(r#"{{"channel":"kept:b","data":{value}}}"#);
        assert_eq!(api.raw("publish", body).await.0, 200, "{value}");
    }
    let kept: Vec<Value> = api.kept("kept:b").await.iter().map(|kept| kept["data"].clone()).collect();
    assert_eq!(kept, [json!(null), json!(0), json!(""), json!([]), json!(false)]);
}

#[actix_web::test]
async fn all_fields_reach_the_publication() {
    let api = Api::start().await;
    let body = json!({
        "channel": "kept:a", "b64data": "AAEC/w==", "tags": {"b": "1", "a": "2"}, "exclude_client": "c1",
        "idempotency_key": "k", "skip_history": false,
    });
    api.ok("publish", body).await;
    let retention = api.node.policy.get().channel_retention("kept:a").unwrap();
    let query = gorani_broker::HistoryQuery { limit: 1, ..Default::default() };
    let page = api.node.broker().history("kept:a", query, retention).await.unwrap();
    let publication = &page.publications[0];
    assert_eq!(publication.kind, gorani_broker::DataKind::Binary);
    assert_eq!(&publication.data[..], [0, 1, 2, 255]);
    assert_eq!(publication.tags.len(), 2);
    assert_eq!(publication.exclude_client, "c1");
    assert!(publication.time_ms > 1_600_000_000_000);
}

#[actix_web::test]
async fn bytes_that_are_json_are_published_as_json() {
    let api = Api::start().await;
    let too_deep = BASE64.encode("[".repeat(200) + &"]".repeat(200));
    for (base64, kind) in [
        ("eyJhIjogMX0=", gorani_broker::DataKind::Json),
        ("MTI=", gorani_broker::DataKind::Json),
        ("eyJhIjogMX0K", gorani_broker::DataKind::Json),
        ("aGVsbG8=", gorani_broker::DataKind::Binary),
        ("eyJhIjo=", gorani_broker::DataKind::Binary),
        (&*too_deep, gorani_broker::DataKind::Binary),
    ] {
        api.ok("broadcast", json!({"channels": ["kept:a"], "b64data": base64})).await;
        let retention = api.node.policy.get().channel_retention("kept:a").unwrap();
        let query = gorani_broker::HistoryQuery { limit: 1, reverse: true, ..Default::default() };
        let page = api.node.broker().history("kept:a", query, retention).await.unwrap();
        assert_eq!(page.publications[0].kind, kind, "{base64}");
        assert_eq!(page.publications[0].data[..], BASE64.decode(base64).unwrap()[..]);
    }
}

#[actix_web::test]
async fn delta_is_a_hint_and_a_version_that_says_nothing_is_taken_while_another_is_refused() {
    let api = Api::start().await;
    for neutral in [
        json!({"delta": false, "version": 0, "version_epoch": ""}),
        json!({"delta": true}),
        json!({"delta": null, "version": null, "version_epoch": null}),
        json!({"version_epoch": "e"}),
    ] {
        for (method, channel) in
            [("publish", json!({"channel": "a"})), ("broadcast", json!({"channels": ["a"]}))]
        {
            let mut body = json!({"data": 1});
            let fields =
                [&neutral, &channel].into_iter().flat_map(|fields| fields.as_object().unwrap().clone());
            body.as_object_mut().unwrap().extend(fields);
            api.ok(method, body).await;
        }
    }
    let versioned = json!({"channel": "kept:a", "data": 1, "version": 1});
    let (status, code, sentence) = api.refused("publish", versioned).await;
    assert_eq!((status, code), (400, 107));
    assert!(sentence.starts_with("version: publications have no versions here"), "{sentence}");
    let versioned = json!({"channels": ["kept:a"], "data": 1, "version": 7});
    assert_eq!(api.refused("broadcast", versioned).await.1, 107);
    assert!(api.kept("kept:a").await.is_empty());
}

#[actix_web::test]
async fn a_publisher_learns_how_many_subscribers_the_channel_has_if_it_asks() {
    let api = Api::start().await;
    let _subscribers =
        ["c1", "c2"].map(|client| super::sessions::Connection::open(&api, "42", client, &["a*"]));
    let counted = |channel: &str| json!({"channel": channel, "data": 1, "num_subscribers": true});
    assert_eq!(api.ok("publish", counted("a*")).await["num_subscribers"], 2);
    assert_eq!(api.ok("publish", counted("ab")).await["num_subscribers"], 0);
    let silent = json!({"channel": "a*", "data": 1, "num_subscribers": false});
    assert_eq!(api.ok("publish", silent).await, json!({"offset": 0, "epoch": ""}));
    let commands: Vec<Value> = (0..200).map(|_| json!({"publish": counted("a*")})).collect();
    let replies = api.ok("batch", json!({"commands": commands})).await;
    assert!(
        replies.as_array().unwrap().iter().all(|reply| reply["publish"]["num_subscribers"] == 2),
        "{replies}"
    );
}

#[actix_web::test]
async fn a_publication_that_skips_history_has_no_place() {
    let api = Api::start().await;
    let skipped = api.ok("publish", json!({"channel": "kept:a", "data": 1, "skip_history": true})).await;
    assert_eq!(skipped["offset"], 0);
    assert!(api.kept("kept:a").await.is_empty());
}

#[actix_web::test]
async fn a_user_has_a_personal_channel() {
    let api = Api::start().await;
    api.ok("publish", json!({"user": "42", "channel": "kept:orders", "data": 1})).await;
    assert_eq!(api.kept("kept:orders#42").await.len(), 1);
    let (status, code, sentence) =
        api.refused("publish", json!({"user": "4,2", "channel": "kept:orders", "data": 1})).await;
    assert_eq!((status, code), (400, 107));
    assert!(sentence.starts_with("user: "), "{sentence}");
}

#[actix_web::test]
async fn an_idempotency_key_makes_a_retry_safe() {
    let api = Api::start().await;
    let body = json!({"channel": "kept:a", "data": 1, "idempotency_key": "once"});
    let first = api.ok("publish", body.clone()).await;
    assert_eq!(api.ok("publish", body).await, first);
    api.ok("publish", json!({"channel": "kept:a", "data": 2, "idempotency_key": "other"})).await;
    assert_eq!(api.kept("kept:a").await.len(), 2);
    let broadcast = json!({"channels": ["kept:a", "kept:b"], "data": 3, "idempotency_key": "once"});
    let responses = api.ok("broadcast", broadcast).await;
    assert_eq!(responses["responses"][0]["result"], first);
    assert_eq!((api.kept("kept:a").await.len(), api.kept("kept:b").await.len()), (2, 1));
    let long = json!({"channel": "kept:a", "data": 1, "idempotency_key": "k".repeat(256)});
    assert_eq!(api.refused("publish", long).await.0, 400);
    let longest = json!({"channel": "kept:a", "data": 1, "idempotency_key": "k".repeat(255)});
    api.ok("publish", longest).await;
}

#[actix_web::test]
async fn what_is_wrong_with_a_publish_is_said() {
    let api = Api::start().await;
    let long = "c".repeat(256);
    for (body, status, code, says) in [
        (json!({"data": 1}), 400, 107, "missing field `channel`"),
        (json!({"channel": "", "data": 1}), 400, 107, "channel: the channel name is empty"),
        (json!({"channel": "a\tb", "data": 1}), 400, 107, "channel: the channel name has a control"),
        (json!({"channel": long, "data": 1}), 400, 107, "channel: the channel name has 256 bytes"),
        (json!({"channel": "nowhere:a", "data": 1}), 404, 102, "unknown channel"),
        (json!({"channel": "a"}), 400, 107, "data or b64data is missing"),
        (json!({"channel": "a", "data": 1, "b64data": "AA=="}), 400, 107, "not both"),
        (json!({"channel": "a", "b64data": "A"}), 400, 107, "b64data: not base64"),
        (json!({"chanel": "a", "data": 1}), 400, 107, "unknown field `chanel`"),
        (json!({"channel": 5, "data": 1}), 400, 107, "channel: invalid type: integer `5`, expected a string"),
        (json!({"channel": "a", "data": 1, "tags": {"x": 1}}), 400, 107, "tags.x: invalid type"),
        (json!({"channel": "a", "data": 1, "tags": ["x"]}), 400, 107, "tags: invalid type"),
        (json!({"channel": "a", "data": 1, "skip_history": "yes"}), 400, 107, "skip_history: invalid type"),
        (json!(["a", null, 1]), 400, 107, "the body must be a JSON object"),
        (json!("a"), 400, 107, "the body must be a JSON object"),
    ] {
        let (got_status, got_code, sentence) = api.refused("publish", &body).await;
        assert_eq!((got_status, got_code), (status, code), "{body}");
        assert!(sentence.contains(says), "{body}: {sentence}");
    }
}

#[actix_web::test]
async fn null_and_empty_mean_absent() {
    let api = Api::start().await;
    let body = json!({
        "channel": "kept:a", "user": null, "data": {"a": 1}, "b64data": null, "tags": null,
        "idempotency_key": "", "skip_history": null, "exclude_client": "",
    });
    api.ok("publish", body).await;
    api.ok("publish", json!({"channel": "kept:a", "data": null, "b64data": "AA=="})).await;
    assert_eq!(api.kept("kept:a").await.len(), 2);
}

#[actix_web::test]
async fn tags_are_bounded_in_number_and_bytes() {
    let api = Api::start().await;
    let tags = |count: usize, bytes: usize| -> Value {
        (0..count)
            .map(|index| (format!("{index:04}"), json!("v".repeat(bytes))))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    api.ok("publish", json!({"channel": "a", "data": 1, "tags": tags(32, 124)})).await;
    for over in [tags(33, 1), tags(32, 125), tags(1, 5000)] {
        let (status, _, sentence) =
            api.refused("publish", json!({"channel": "a", "data": 1, "tags": over})).await;
        assert_eq!(status, 400);
        assert!(sentence.contains("tags: at most 32 tags of 4096 bytes"), "{sentence}");
    }
}

#[actix_web::test]
async fn a_broadcast_answers_for_each_channel_in_order() {
    let api = Api::start().await;
    let body = json!({"channels": ["kept:a", "nowhere:b", "plain", "", "kept:a"], "data": 7});
    let responses = api.ok("broadcast", body).await["responses"].take();
    assert_eq!(responses[0]["result"]["offset"], 1);
    assert_eq!(responses[1]["error"]["code"], 102);
    assert_eq!(responses[2], json!({"result": {"offset": 0, "epoch": ""}}));
    assert_eq!(responses[3]["error"]["message"], "channel: the channel name is empty");
    assert_eq!(responses[4]["result"]["offset"], 2);
}

#[actix_web::test]
async fn a_broadcast_to_users_goes_to_their_personal_channels() {
    let api = Api::start().await;
    let body = json!({"users": ["1", "2", "3,4"], "channel": "kept:orders", "data": 7});
    let responses = api.ok("broadcast", body).await["responses"].take();
    assert_eq!(api.kept("kept:orders#1").await.len() + api.kept("kept:orders#2").await.len(), 2);
    assert_eq!(responses[2]["error"]["code"], 107);
    for wrong in [
        json!({"channels": [], "data": 1}),
        json!({"users": ["1"], "data": 1}),
        json!({"channel": "kept:a", "data": 1}),
        json!({"channels": ["kept:a"], "users": ["1"], "channel": "b", "data": 1}),
        json!({"channels": ["kept:a"]}),
        json!({"channels": vec!["a"; 10_001], "data": 1}),
    ] {
        assert_eq!(api.refused("broadcast", &wrong).await.0, 400, "{wrong}");
    }
}

#[actix_web::test]
async fn each_stream_has_an_epoch_of_its_own() {
    let api = Api::start().await;
    let bodies = (0..3).map(|n| json!({"channel": format!("kept:{n}"), "data": n}));
    let mut epochs = HashSet::new();
    for body in bodies {
        epochs.insert(api.ok("publish", body).await["epoch"].as_str().unwrap().to_owned());
    }
    assert_eq!(epochs.len(), 3);
}
