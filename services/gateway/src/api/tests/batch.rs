//! `batch`: order, errors in place, bounds.

use super::*;

#[actix_web::test]
async fn replies_stand_in_the_order_of_the_commands_under_their_methods() {
    let api = Api::start().await;
    let commands = json!([
        {"publish": {"channel": "kept:a", "data": 1}},
        {"history": {"channel": "kept:a", "limit": 10}},
        {"publish": {"channel": "kept:a", "data": 2}},
        {"history": {"channel": "kept:a", "limit": 10}},
        {"history_remove": {"channel": "kept:a"}},
        {"broadcast": {"channels": ["kept:a", "nowhere:a"], "data": 3}},
        {"history": {"channel": "kept:a", "limit": 10}},
        {"subscribe": {"user": "1", "channel": "a"}},
        {"unsubscribe": {"user": "1", "channel": "a"}},
        {"disconnect": {"user": "1"}},
        {"refresh": {"user": "1"}},
        {"presence": {"channel": "seen:a"}},
        {"presence_stats": {"channel": "seen:a"}},
        {"channels": {}},
        {"connections": {}},
        {"info": {}},
    ]);
    let replies = api.ok("batch", json!({"commands": commands})).await;
    let offsets = |reply: &Value| -> Vec<u64> {
        let publications = reply["history"]["publications"].as_array().unwrap();
        publications.iter().map(|publication| publication["offset"].as_u64().unwrap()).collect()
    };
    // Each command sees what those before it did, and nothing of those after it.
    assert_eq!(offsets(&replies[1]), [1]);
    assert_eq!(offsets(&replies[3]), [1, 2]);
    assert_eq!(offsets(&replies[6]), [3]);
    assert_eq!(replies[5]["broadcast"]["responses"][1]["error"]["code"], 102);
    for (index, command) in commands.as_array().unwrap().iter().enumerate() {
        let name = command.as_object().unwrap().keys().next().unwrap();
        assert!(replies[index][name].is_object(), "{name}: {}", replies[index]);
    }
    assert_eq!(replies.as_array().unwrap().len(), 16);
}

#[actix_web::test]
async fn a_bad_command_is_an_error_in_its_place_and_the_others_are_done() {
    let api = Api::start().await;
    let commands = json!([
        {"publish": {"channel": "kept:a", "data": 1}},
        {"pubish": {"channel": "kept:a", "data": 1}},
        {"batch": {"commands": []}},
        {"publish": {"channel": "kept:a", "dta": 1}},
        {"publish": ["kept:a", null, 1]},
        {"presence": {"channel": "kept:a"}},
        {"publish": {"channel": "kept:a", "data": 2}},
    ]);
    for parallel in [false, true] {
        let replies = api.ok("batch", json!({"commands": commands, "parallel": parallel})).await;
        let codes: Vec<u64> =
            (0..7).map(|index| replies[index]["error"]["code"].as_u64().unwrap_or_default()).collect();
        assert_eq!(codes, [0, 104, 104, 107, 107, 108, 0], "{replies}");
        assert!(replies[3]["error"]["message"].as_str().unwrap().contains("unknown field `dta`"));
    }
    assert_eq!(api.kept("kept:a").await.len(), 4);
}

#[actix_web::test]
async fn publications_of_a_channel_keep_their_order_in_parallel_too() {
    let api = Api::start().await;
    let commands: Vec<Value> =
        (0..1000).map(|n| json!({"publish": {"channel": "kept:a", "data": n}})).collect();
    let replies = api.ok("batch", json!({"commands": commands, "parallel": true})).await;
    let offsets: Vec<u64> = replies
        .as_array()
        .unwrap()
        .iter()
        .map(|reply| reply["publish"]["offset"].as_u64().unwrap())
        .collect();
    assert_eq!(offsets, (1..=1000).collect::<Vec<_>>());
    let kept: Vec<Value> = api.kept("kept:a").await.iter().map(|kept| kept["data"].clone()).collect();
    assert_eq!(kept, (0..1000).map(Value::from).collect::<Vec<_>>());
}

#[actix_web::test]
async fn a_batch_is_bounded_and_its_shape_is_checked_whole() {
    let api = Api::start().await;
    assert_eq!(api.ok("batch", json!({"commands": []})).await, json!([]));
    let most = format!("{{\"commands\":[{}]}}", vec![r#"{"info":{}}"#; 10_001].join(","));
    let (status, code, sentence) = api.refused("batch", most).await;
    assert_eq!((status, code), (400, 107));
    assert!(sentence.contains("more than 10000"), "{sentence}");
    for (wrong, says) in [
        (json!({}), "missing field `commands`"),
        (json!({"commands": [1]}), "commands[0]: invalid type"),
        (json!({"commands": [{"info": {}}, {}]}), "commands[1]: a command without a method"),
        (
            json!({"commands": [{"info": {}, "publish": {}}]}),
            "commands[0]: a command with more than one method",
        ),
        (json!({"commands": [], "paralel": true}), "unknown field `paralel`"),
        (json!({"commands": {"info": {}}}), "commands: invalid type"),
    ] {
        let (status, _, sentence) = api.refused("batch", &wrong).await;
        assert_eq!(status, 400);
        assert!(sentence.contains(says), "{wrong}: {sentence}");
    }
}
