//! Gaps between the broker and a node, as `explain` tells of them.

use gorani_tests::{node::Node, proxy::Proxy, redis::Redis};
use serde_json::json;

use super::{
    super::{SOON, users},
    settings,
};
use crate::eventually;

#[tokio::test]
async fn a_gap_that_was_closed_from_history_and_one_that_was_told_are_named() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.address());
    let near = Node::start(settings(&redis, 0));
    let far = Node::start(
        settings(&redis, 1).set("broker.redis.url", format!("\"redis://{}/0\"", proxy.address())),
    );
    let (mut kept, _) = users::connect(&far, "42").await;
    kept.ok("subscribe", json!({"channel": "kept:a"})).await;
    let (mut lost, _) = users::connect(&far, "43").await;
    lost.ok("subscribe", json!({"channel": "short:a"})).await;
    for (channel, client) in [("kept:a", &mut kept), ("short:a", &mut lost)] {
        near.api().publish(channel, &json!(1));
        assert_eq!(client.push().await["pub"]["offset"], 1);
    }
    proxy.swallow_answers();
    for number in 2..=9 {
        near.api().publish("kept:a", &json!(number));
        near.api().publish("short:a", &json!(number));
    }
    eventually("the node knows that it is deaf", SOON, || far.api().get("/health/ready").0 == 503);
    proxy.lift();
    for offset in 2..=9 {
        assert_eq!(kept.push().await["pub"]["offset"], offset);
    }
    assert_eq!(lost.push().await["unsubscribe"]["code"], 2500);
    let code = |channel: &str, user: &str, offset: u64| {
        let question = json!({"channel": channel, "user": user, "offset": offset});
        near.api().ok("explain", &question)["verdict"]["code"].clone()
    };
    eventually("both nodes answer", SOON, || {
        near.api().call("explain", &json!({"channel": "kept:a", "user": "1"})).1["result"]["complete"] == true
    });
    assert_eq!(code("kept:a", "42", 5), "caught_up");
    assert_eq!(code("short:a", "43", 9), "told");
    assert_eq!(code("short:a", "43", 1), "written");
}
