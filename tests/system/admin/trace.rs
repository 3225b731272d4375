//! Traces on three real nodes and a Redis: begun on one, they count on all, end by themselves, and leave nothing. `docs/explain.md`;
//! record 67.
//!
//! - [`reasons`]: what explain tells by them.
//! - [`sampled`]: those that a sampled `traceparent` begins.

mod reasons;
mod sampled;

use std::{process::Command, time::Duration};

use gorani_tests::{
    binary,
    client::Client,
    http::Api,
    node::{API_KEY, Node, Settings},
    redis::Redis,
};
use serde_json::{Value, json};

use super::{Asked, OPERATOR, VIEWER, read, settings};
use crate::eventually;

const SOON: Duration = Duration::from_secs(30);

fn traced_settings() -> Settings {
    let namespaces = r#"[
        { name = "open", allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true },
        { name = "kept", allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true, history_size = 100, history_ttl = "300s", force_recovery = true },
        { name = "sampled", allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true, allow_publish_for_subscriber = true, allow_publish_for_anonymous = true, trace_sampled = true },
    ]"#;
    settings(Settings::open())
        .set("channel.namespaces", namespaces.replace('\n', " "))
        .set("api.allow_trace", "true")
}

fn of_redis(redis: &Redis) -> Vec<Node> {
    let one = |number: usize| {
        let settings = traced_settings()
            .set("node.name", format!("\"n{number}\""))
            .set("broker.kind", "\"redis\"")
            .set("broker.redis.url", format!("\"{}\"", redis.url()))
            // All nodes live here: none is missing because it waited for a core.
            .set("cluster.answer_timeout", "\"10s\"")
            .set("cluster.lease", "\"60s\"");
        Node::start(settings)
    };
    (1..=3).map(one).collect()
}

fn begin(node: &Node, body: &Value) -> String {
    let begun = Asked::post("actions/trace", body).key(OPERATOR).result(node.address());
    begun["trace"]["id"].as_str().expect("an id").to_owned()
}

fn trace(node: &Node, id: &str) -> Value {
    read(node.address(), &format!("traces?id={id}"))
}

/// The part of a node in a trace.
fn part<'a>(trace: &'a Value, node: &str) -> &'a Value {
    trace["by_node"].as_array().unwrap().iter().find(|part| part["name"] == node).unwrap()
}

async fn subscribers(nodes: &[Node], channel: &str) -> Vec<Client> {
    let mut clients = Vec::new();
    for node in nodes {
        clients.push(Client::subscribed(node.address(), channel).await);
    }
    clients
}

#[tokio::test]
async fn a_trace_of_a_channel_counts_on_all_nodes_and_is_listed_until_it_is_ended() {
    let redis = Redis::start();
    let nodes = of_redis(&redis);
    let mut clients = subscribers(&nodes, "kept:a").await;
    let id = begin(&nodes[0], &json!({"channel": "kept:a", "seconds": 60}));
    for number in 0..3 {
        nodes[1].api().publish("kept:a", &json!(number));
    }
    for client in &mut clients {
        for _ in 0..3 {
            client.publication().await;
        }
    }
    let traced = trace(&nodes[2], &id);
    let counts = &traced["counts"];
    assert_eq!((&counts["publications"], &counts["overflow"]), (&json!(9), &json!(0)), "{traced}");
    assert_eq!(counts["whole"], counts["matched"]);
    for name in ["n1", "n2", "n3"] {
        let part = part(&traced, name);
        assert_eq!((&part["traces"], &part["counts"]["publications"]), (&json!(true), &json!(3)), "{part}");
        assert_eq!(part["deliveries"], json!([]), "successes are counted");
    }
    for node in &nodes {
        let listed = read(node.address(), "traces");
        assert_eq!((&listed[0]["id"], &listed[0]["by"]), (&json!(id), &json!("on-call")));
        assert_eq!((&listed[0]["kind"], &listed[0]["channel"]), (&json!("channel"), &json!("kept:a")));
    }
    let end = Asked::post("actions/trace", &json!({"end": id})).key(OPERATOR);
    end.result(nodes[2].address());
    assert_eq!(read(nodes[0].address(), "traces"), json!([]));
    assert_eq!(end.send(nodes[0].address()).error(), (404, "not_found"));
}

#[tokio::test]
async fn a_trace_ends_by_itself_and_a_viewer_sees_it_and_begins_none() {
    let node = Node::start(traced_settings());
    begin(&node, &json!({"user": "42", "seconds": 5}));
    assert_eq!(read(node.address(), "traces")[0]["user"], "42");
    eventually("the trace ends", SOON, || read(node.address(), "traces") == json!([]));
    let asked = |body: Value, key: &str| Asked::post("actions/trace", &body).key(key).send(node.address());
    assert_eq!(asked(json!({"user": "42"}), VIEWER).error(), (403, "forbidden"));
    let lines = Asked::get("audit").key(OPERATOR).result(node.address());
    let told = |result: &str| {
        let is_it = |line: &&Value| {
            line["action"] == "trace" && line["target"] == "user 42" && line["result"] == result
        };
        lines.as_array().unwrap().iter().filter(is_it).count()
    };
    assert_eq!((told("ok"), told("forbidden")), (1, 1), "{lines}");
    for bad in [
        json!({}),
        json!({"user": ""}),
        json!({"user": "42", "channel": "open:a"}),
        json!({"user": "42", "seconds": 0}),
        json!({"user": "42", "seconds": 3601}),
    ] {
        assert_eq!(asked(bad.clone(), OPERATOR).error(), (400, "bad_request"), "{bad}");
    }
    assert_eq!(asked(json!({"channel": "none:a"}), OPERATOR).error(), (404, "not_found"));
    for _ in 0..16 {
        begin(&node, &json!({"channel": "open:a"}));
    }
    assert_eq!(asked(json!({"channel": "open:a"}), OPERATOR).error(), (429, "too_many_traces"));
}

#[tokio::test]
async fn a_backend_has_one_publication_traced_where_the_setting_lets_it() {
    let node = Node::start(traced_settings());
    let mut client = Client::subscribed(node.address(), "open:a").await;
    let api: Api = node.api();
    let published = api.ok("publish", &json!({"channel": "open:a", "data": 1, "trace": true}));
    api.publish("open:a", &json!(2222));
    for _ in 0..2 {
        client.publication().await;
    }
    let traced = trace(&node, published["trace"].as_str().unwrap());
    assert_eq!(traced["counts"]["matched"], 1, "the other publication is not counted: {traced}");
    assert_eq!(traced["trace"]["kind"], "publication");
    let batch = json!({"commands": [{"publish": {"channel": "open:a", "data": 1, "trace": true}}]});
    let (_, answered) = api.call("batch", &batch);
    assert_eq!(answered["replies"][0]["error"]["code"], 107, "{answered}");
    let closed = Node::start(traced_settings().set("api.allow_trace", "false"));
    let (_, refused) = Api::new(closed.address(), API_KEY)
        .call("publish", &json!({"channel": "open:a", "data": 1, "trace": true}));
    assert_eq!(refused["error"]["code"], 103, "{refused}");
}

#[tokio::test]
async fn the_command_publishes_and_prints_what_became_of_it_by_node() {
    let redis = Redis::start();
    let nodes = of_redis(&redis);
    let mut clients = subscribers(&nodes[..2], "kept:a").await;
    let run = |arguments: &[&str]| {
        let mut command = Command::new(binary::node());
        command.arg("publish").args(arguments);
        command.args(["--server", &format!("http://{}/admin", nodes[2].address()), "--key", OPERATOR]);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = run(&["--trace", "kept:a", r#"{"text":"hello"}"#]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("kept:a offset 1: 2 matched (2 whole), "), "{text}");
    let lines = ["├─ n1: 1 matched (1 whole)", "├─ n2: 1 matched (1 whole)", "└─ n3: no subscriber"];
    for line in lines {
        assert!(text.contains(line), "{line} in {text}");
    }
    for client in &mut clients {
        assert_eq!(client.publication().await["text"], "hello");
    }
    assert_eq!(read(nodes[0].address(), "traces"), json!([]), "it ends with the command");
    let (code, text) = run(&["--dry-run", "kept:a", "1"]);
    assert_eq!((code, text.as_str()), (Some(0), "kept:a: 2 subscribers would get it (n1 1, n2 1, n3 0)\n"));
    let (code, text) = run(&["--trace", "--for", "1s", "kept:nobody", "1"]);
    assert_eq!(code, Some(1), "nobody got it: {text}");
    assert_eq!(run(&["kept:a", "hello"]).0, Some(2));
}

#[tokio::test]
async fn a_probe_confirms_what_was_only_written_before() {
    let node = Node::start(traced_settings());
    let mut client = Client::connect(node.address()).await;
    client.ok("subscribe", json!({"channel": "kept:a"})).await;
    node.api().publish("kept:a", &json!(1));
    client.publication().await;
    let listed = read(node.address(), "subscribers?channel=kept:a");
    let name = listed[0]["client"].as_str().unwrap().to_owned();
    let explain = |probe: bool| {
        let body = json!({"channel": "kept:a", "client": name, "offset": 1, "probe": probe});
        Asked::post("explain", &body).key(VIEWER).send(node.address())
    };
    assert_eq!(explain(false).body["result"]["verdict"]["code"], "written");
    assert_eq!(explain(true).error(), (403, "forbidden"), "a ping is an action");
    // The client answers pings while it is read.
    let asked = tokio::task::spawn_blocking({
        let body = json!({"channel": "kept:a", "client": name, "offset": 1, "probe": true});
        let address = node.address();
        move || Asked::post("explain", &body).key(OPERATOR).result(address)
    });
    let read_on = tokio::spawn(async move { client.push_or_end().await });
    let confirmed = asked.await.unwrap();
    read_on.abort();
    assert_eq!(confirmed["verdict"]["code"], "confirmed", "{confirmed}");
    assert_eq!(confirmed["exit"], 0);
    let last = confirmed["evidence"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["rank"], "confirmed", "{last}");
}
