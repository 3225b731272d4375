//! Traces that a backend's sampled `traceparent` begins, on three nodes and a Redis: where the namespace says so, one for a
//! publication, at most half of all, and with OTLP or without. Records 66, 67.

use gorani_tests::{backend::collector::Collector, client::Client, node::Node, redis::Redis};
use serde_json::{Value, json};

use super::{Asked, OPERATOR, begin, of_redis, part, read, subscribers, trace, traced_settings};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const NOT_SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
/// The traces that sampled contexts may begin.
const HALF: usize = 8;

/// The answer to a call with this `traceparent`, which must succeed.
fn call(node: &Node, path: &str, body: &Value, traceparent: Option<&str>) -> Value {
    let headers: Vec<_> = traceparent.map(|value| ("traceparent", value)).into_iter().collect();
    let (status, text) = node.api().post_with(path, body.to_string().as_bytes(), &headers);
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// The id of the trace of a publication, null where it has none.
fn publish(node: &Node, channel: &str, traceparent: Option<&str>) -> Value {
    let body = json!({"channel": channel, "data": 1});
    call(node, "/api/publish", &body, traceparent)["result"]["trace"].take()
}

fn counted(node: &Node, result: &str) -> u64 {
    let metrics = node.api().get("/metrics").1;
    let name = format!("gorani_publication_traces_total{{result=\"{result}\"}} ");
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap_or_else(|| panic!("{name} in {metrics}")).parse().unwrap()
}

#[tokio::test]
async fn a_sampled_publication_is_traced_on_all_nodes_where_its_namespace_says_so_and_no_other_is() {
    let redis = Redis::start();
    let nodes = of_redis(&redis);
    let mut clients = subscribers(&nodes, "sampled:a").await;
    let id = publish(&nodes[1], "sampled:a", Some(SAMPLED));
    for client in &mut clients {
        assert_eq!(client.publication().await, 1);
    }
    let traced = trace(&nodes[2], id.as_str().expect("an id"));
    assert_eq!(
        (&traced["counts"]["matched"], &traced["counts"]["whole"]),
        (&json!(3), &json!(3)),
        "{traced}"
    );
    for name in ["n1", "n2", "n3"] {
        assert_eq!(part(&traced, name)["counts"]["publications"], 1, "{traced}");
    }
    let described = &traced["trace"];
    assert_eq!((&described["by"], &described["trace_id"]), (&json!("traceparent"), &json!(TRACE)));
    assert_eq!((&described["kind"], &described["channel"]), (&json!("publication"), &json!("sampled:a")));
    let lasts = described["ends_at"].as_u64().unwrap() - described["began_at"].as_u64().unwrap();
    assert_eq!(lasts, 60_000, "a minute");
    assert_eq!(read(nodes[0].address(), "traces"), json!([described]));
    assert_eq!(trace(&nodes[0], TRACE)["trace"]["id"], id, "who has the trace of the backend finds it");
    let unknown = Asked::get(&format!("traces?id={}", TRACE.replace('4', "5"))).key(OPERATOR);
    assert_eq!(unknown.send(nodes[0].address()).error(), (404, "not_found"));

    for traceparent in [None, Some(NOT_SAMPLED), Some("nonsense"), Some(SAMPLED.to_uppercase().as_str())] {
        assert_eq!(publish(&nodes[1], "sampled:a", traceparent), Value::Null, "{traceparent:?}");
    }
    assert_eq!(publish(&nodes[1], "open:a", Some(SAMPLED)), Value::Null, "its namespace does not say so");
    // As with `trace`, a batch and a broadcast keep their order and have none.
    let one = json!({"channel": "sampled:a", "data": 1});
    let batch = json!({"commands": [{"publish": one}]});
    let answered = call(&nodes[1], "/api/batch", &batch, Some(SAMPLED));
    let published = &answered["replies"][0]["publish"];
    assert!(published.is_object() && published["trace"].is_null(), "{answered}");
    let broadcast = json!({"channels": ["sampled:a"], "data": 1});
    let answered = call(&nodes[1], "/api/broadcast", &broadcast, Some(SAMPLED));
    let published = &answered["result"]["responses"][0]["result"];
    assert!(published.is_object() && published["trace"].is_null(), "{answered}");
    // Nor has one of a client, who could put a context into each.
    let tagged = json!({"channel": "sampled:a", "data": 1, "tags": {"traceparent": SAMPLED}});
    clients[1].ok("publish", tagged.clone()).await;
    assert_eq!(read(nodes[0].address(), "traces").as_array().unwrap().len(), 1);
    assert_eq!((counted(&nodes[1], "begun"), counted(&nodes[1], "too_many")), (1, 0));

    let tagged = call(&nodes[1], "/api/publish", &tagged, None);
    assert!(tagged["result"]["trace"].is_string(), "the tags of a backend count: {tagged}");
}

#[tokio::test]
async fn sampled_contexts_begin_half_of_the_traces_and_what_is_more_goes_out_without() {
    let redis = Redis::start();
    let nodes = of_redis(&redis);
    let mut client = Client::subscribed(nodes[0].address(), "sampled:a").await;
    let ids: Vec<Value> = (0..HALF).map(|_| publish(&nodes[0], "sampled:a", Some(SAMPLED))).collect();
    assert!(ids.iter().all(Value::is_string), "{ids:?}");
    for (node, counts) in [(&nodes[0], (HALF as u64, 1)), (&nodes[1], (0, 1))] {
        assert_eq!(publish(node, "sampled:a", Some(SAMPLED)), Value::Null);
        assert_eq!((counted(node, "begun"), counted(node, "too_many")), counts);
    }
    for _ in 0..HALF + 2 {
        assert_eq!(client.publication().await, 1, "nothing is lost");
    }
    // The other half is left for operators.
    for _ in 0..HALF {
        begin(&nodes[2], &json!({"channel": "open:a"}));
    }
    let refused = Asked::post("actions/trace", &json!({"channel": "open:a"})).key(OPERATOR);
    assert_eq!(refused.send(nodes[2].address()).error(), (429, "too_many_traces"));
    let end = Asked::post("actions/trace", &json!({"end": ids[0]})).key(OPERATOR);
    end.result(nodes[0].address());
    assert!(publish(&nodes[0], "sampled:a", Some(SAMPLED)).is_string(), "one has ended");
}

#[tokio::test]
async fn spans_and_a_trace_of_deliveries_go_together() {
    let collector = Collector::answering(200);
    let settings = traced_settings().set("telemetry.otlp.endpoint", format!("\"{}\"", collector.endpoint()));
    let node = Node::start(settings);
    let mut client = Client::subscribed(node.address(), "sampled:a").await;
    let id = publish(&node, "sampled:a", Some(SAMPLED));
    client.publication().await;
    assert_eq!(trace(&node, id.as_str().expect("an id"))["counts"]["matched"], 1);
    let spans = collector.wait("three spans", |spans| spans.len() >= 3);
    assert!(spans.iter().all(|span| span.trace == TRACE), "{spans:#?}");
}
