//! `hooks_dead_letters`, `hooks_replay` and `hooks_discard`.

use gorani_broker::hook_store::{HookChange, HookDelivered, HookEventDraft, HookEventKind};

use super::*;
use crate::{
    hooks::{deliver, store::store_of},
    settings::HookEndpointSettings,
};

/// A node with dead letters: `count` in each of two partitions, by turns `connected` and `occupied`.
async fn api(count: usize) -> Api {
    let mut settings = settings();
    settings.hooks.partitions = 2;
    settings.hooks.endpoints.push(HookEndpointSettings {
        name: "shop".to_owned(),
        // Nobody listens there.
        url: "http://127.0.0.1:1/".to_owned(),
        events: vec![HookEventKind::Connected, HookEventKind::Occupied],
        ..HookEndpointSettings::default()
    });
    let api = Api::of(Node::start(settings).await.unwrap());
    let broker = api.node.broker();
    deliver::open(&**broker, &api.node.settings.hooks).await.unwrap();
    let store = store_of(&**broker).unwrap();
    let event = |kind, channel: &str| HookEventDraft {
        kind,
        time_ms: 7,
        node: "n1".into(),
        client: "".into(),
        user: "".into(),
        channel: channel.into(),
        details: web::Bytes::new(),
        meta: web::Bytes::new(),
        endpoints: [0].into(),
    };
    for partition in 0..2 {
        let run = store.begin(partition, None, event(HookEventKind::Reset, "")).await.unwrap();
        for number in 0..count {
            let kind = if number % 2 == 0 { HookEventKind::Connected } else { HookEventKind::Occupied };
            let changes = vec![HookChange::Append { event: event(kind, &number.to_string()) }];
            store.apply(partition, &run, changes).await.unwrap();
        }
        let head = store.head(partition, "shop", 1000, u64::MAX).await.unwrap();
        let (reset, others): (Vec<_>, Vec<_>) =
            head.events.into_iter().partition(|event| event.draft.kind == HookEventKind::Reset);
        let delivered = HookDelivered {
            taken: reset.into_iter().map(|event| event.id).collect(),
            dead: others.into_iter().map(|event| (event.id, "422 no".to_owned(), 5)).collect(),
            ..HookDelivered::default()
        };
        store.complete(partition, "shop", delivered).await.unwrap();
    }
    api
}

#[actix_web::test]
async fn dead_letters_are_listed_as_they_were_sent_in_pages_over_all_partitions() {
    let api = api(3).await;
    let all = api.ok("hooks_dead_letters", json!({"endpoint": "shop"})).await;
    let letters = all["dead_letters"].as_array().unwrap();
    assert_eq!(letters.len(), 6);
    assert_eq!((&letters[0]["reason"], &letters[0]["tries"]), (&"422 no".into(), &5.into()));
    assert_eq!(
        (&letters[5]["event"]["partition"], &letters[5]["event"]["channel"]),
        (&1.into(), &"2".into())
    );
    let (mut pages, mut cursor) = (Vec::new(), json!(null));
    loop {
        let request = json!({"endpoint": "shop", "limit": 2, "cursor": cursor});
        let page = api.ok("hooks_dead_letters", request).await;
        pages.extend(page["dead_letters"].as_array().unwrap().clone());
        match page.get("next_cursor") {
            Some(next) => cursor = next.clone(),
            None => break,
        }
    }
    assert_eq!(&pages, letters);
    let occupied = api.ok("hooks_dead_letters", json!({"endpoint": "shop", "type": "occupied"})).await;
    assert_eq!(occupied["dead_letters"], json!([letters[1], letters[4]]));
    let id = &letters[2]["event"]["id"];
    let one = api.ok("hooks_dead_letters", json!({"endpoint": "shop", "ids": [id, "9-9-9"]})).await;
    assert_eq!(one["dead_letters"], json!([letters[2]]));
    let later = letters[0]["died_ms"].as_u64().unwrap() + 3_600_000;
    let none = api.ok("hooks_dead_letters", json!({"endpoint": "shop", "since": later})).await;
    assert_eq!(none["dead_letters"], json!([]));
}

#[actix_web::test]
async fn what_is_replayed_is_in_the_queue_again_with_its_id_and_what_is_discarded_is_gone() {
    let api = api(3).await;
    let list = json!({"endpoint": "shop"});
    let letters = api.ok("hooks_dead_letters", list.clone()).await;
    let ids: Vec<_> = letters["dead_letters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|letter| letter["event"]["id"].clone())
        .collect();
    let replayed = api.ok("hooks_replay", json!({"endpoint": "shop", "type": "connected", "limit": 3})).await;
    assert_eq!(replayed["count"], 3);
    let replayed = api
        .ok(
            "hooks_replay",
            json!({"endpoint": "shop", "type": "connected", "cursor": replayed["next_cursor"]}),
        )
        .await;
    assert_eq!(replayed, json!({"count": 1}));
    let head = store_of(&**api.node.broker()).unwrap().head(1, "shop", 10, 10_000).await.unwrap();
    let waiting: Vec<_> = head.events.iter().map(|event| (json!(event.id), event.replayed)).collect();
    assert_eq!(waiting, [(ids[3].clone(), true), (ids[5].clone(), true)]);
    assert_eq!(api.ok("hooks_discard", list.clone()).await, json!({"count": 2}));
    assert_eq!(api.ok("hooks_discard", list.clone()).await, json!({"count": 0}));
    assert_eq!(api.ok("hooks_dead_letters", list).await["dead_letters"], json!([]));
}

#[actix_web::test]
async fn requests_for_dead_letters_that_mean_nothing_are_refused() {
    let api = api(1).await;
    for (wrong, says) in [
        (json!({}), "endpoint"),
        (json!({"endpoint": "nowhere"}), "endpoint: not in hooks.endpoints"),
        (json!({"endpoint": "shop", "type": "conected"}), "type: no type"),
        (json!({"endpoint": "shop", "limit": 1001}), "limit: at most 1000"),
        (json!({"endpoint": "shop", "cursor": "x"}), "cursor: not one"),
        (json!({"endpoint": "shop", "cursor": "0:a"}), "cursor: not one"),
        (json!({"endpoint": "shop", "cursor": "70000:"}), "cursor: not one"),
        (json!({"endpoint": "shop", "since": "yesterday"}), "since"),
    ] {
        for method in ["hooks_dead_letters", "hooks_replay", "hooks_discard"] {
            let (status, _, sentence) = api.refused(method, &wrong).await;
            assert_eq!(status, 400);
            assert!(sentence.contains(says), "{wrong}: {sentence}");
        }
    }
    let end = json!({"endpoint": "shop", "cursor": "60000:"});
    assert_eq!(api.ok("hooks_dead_letters", end).await["dead_letters"], json!([]));
}
