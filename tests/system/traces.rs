//! Traces on real nodes: one publication is one trace over the whole cluster, its spans come to a collector, and without a collector nothing
//! is sent anywhere. `docs/traces.md`.

use std::time::Duration;

use gorani_tests::{
    backend::{
        Answer, Backend, Request,
        collector::{CollectedSpan, Collector},
    },
    client::Client,
    node::{Node, Settings},
    redis::Redis,
};
use serde_json::{Value, json};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const NOT_SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
/// Time for a node that stops.
const SOON: Duration = Duration::from_secs(60);

const NAMESPACES: &str = r#"[{ name = "open", allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true, history_size = 10, history_ttl = "60s", trace_context = "tags" }]"#;

fn settings(collector: &Collector) -> Settings {
    Settings::open()
        .set("channel.namespaces", NAMESPACES)
        .set("telemetry.otlp.endpoint", format!("\"{}\"", collector.endpoint()))
}

fn of_redis(collector: &Collector, redis: &Redis) -> Settings {
    settings(collector)
        .set("broker.kind", "\"redis\"")
        .set("broker.redis.url", format!("\"{}\"", redis.url()))
}

fn publish(node: &Node, path: &str, body: &Value, headers: &[(&str, &str)]) {
    let (status, answer) = node.api().post_with(path, body.to_string().as_bytes(), headers);
    assert_eq!(status, 200, "{answer}");
}

/// The next push, which must be a publication, whole.
async fn publication(client: &mut Client) -> Value {
    client.push().await["pub"].take()
}

fn named<'a>(spans: &'a [CollectedSpan], name: &str) -> Vec<&'a CollectedSpan> {
    spans.iter().filter(|span| span.name == name).collect()
}

#[tokio::test]
async fn a_publication_is_one_trace_over_all_nodes_that_have_subscribers() {
    let (redis, collector) = (Redis::start(), Collector::answering(200));
    let nodes: Vec<Node> = (0..3).map(|_| Node::start(of_redis(&collector, &redis))).collect();
    // Two subscribers on the second node, one on the third, none on the first.
    let mut clients = Vec::new();
    for node in [1, 1, 2] {
        clients.push(Client::subscribed(nodes[node].address(), "open:a").await);
    }
    let headers = [("traceparent", SAMPLED), ("tracestate", "vendor=1")];
    publish(&nodes[0], "/api/publish", &json!({"channel": "open:a", "data": 1}), &headers);
    for client in &mut clients {
        let tags = publication(client).await["tags"].take();
        assert!(
            tags["traceparent"].as_str().is_some_and(|text| text.starts_with(&format!("00-{TRACE}-"))),
            "{tags}"
        );
    }
    let spans = collector.wait("four spans", |spans| spans.len() >= 4);
    let [call] = named(&spans, "POST /api/publish")[..] else { panic!("{spans:#?}") };
    assert_eq!(
        (call.trace.as_str(), call.parent.as_str(), call.kind, call.state.as_str()),
        (TRACE, PARENT, 2, "vendor=1")
    );
    assert_eq!(call.attributes["http.response.status_code"], "200");
    let [published] = named(&spans, "publish open")[..] else { panic!("{spans:#?}") };
    assert_eq!((&published.trace, &published.parent, published.kind), (&call.trace, &call.id, 4));
    assert_eq!((&published.node, published.attributes["gorani.offset"].as_str()), (&call.node, "1"));
    assert!(call.start <= published.start && published.start <= published.end, "{spans:#?}");
    assert!(!published.attributes.contains_key("messaging.destination.name"), "{published:?}");
    let mut delivered = named(&spans, "deliver open");
    delivered.sort_by_key(|span| span.attributes["gorani.deliver.matched"].clone());
    let [one, two] = delivered[..] else { panic!("{spans:#?}") };
    for span in [one, two] {
        assert_eq!((&span.trace, &span.parent, span.kind), (&call.trace, &published.id, 1));
        assert_ne!(span.node, call.node, "the first node has no subscriber");
    }
    assert_ne!(one.node, two.node);
    assert_eq!(
        (
            one.attributes["gorani.deliver.matched"].as_str(),
            two.attributes["gorani.deliver.matched"].as_str()
        ),
        ("1", "2")
    );
}

#[tokio::test]
async fn what_is_not_sampled_leaves_no_span_and_no_tag() {
    let collector = Collector::answering(200);
    let mut node = Node::start(settings(&collector));
    let mut client = Client::subscribed(node.address(), "open:a").await;
    for headers in [&[][..], &[("traceparent", NOT_SAMPLED)], &[("traceparent", "nonsense")]] {
        publish(&node, "/api/publish", &json!({"channel": "open:a", "data": 1}), headers);
        assert!(publication(&mut client).await["tags"].is_null());
    }
    publish(&node, "/api/publish", &json!({"channel": "open:a", "data": 1}), &[("traceparent", SAMPLED)]);
    client.publication().await;
    client.close().await;
    // All that there is to send is sent before a node ends.
    node.terminate();
    assert!(node.wait_exit(SOON).is_some_and(|status| status.success()));
    let traces: Vec<_> = collector.spans().into_iter().map(|span| span.trace).collect();
    assert_eq!(traces, [TRACE; 3]);
}

#[tokio::test]
async fn deliveries_of_a_batch_are_traces_of_their_own_with_a_link() {
    let collector = Collector::answering(200);
    let node = Node::start(settings(&collector));
    let mut client = Client::subscribed(node.address(), "open:a").await;
    let publication = |data: u8| json!({"publish": {"channel": "open:a", "data": data}});
    let batch = json!({"commands": [publication(1), publication(2)]});
    publish(&node, "/api/batch", &batch, &[("traceparent", SAMPLED)]);
    client.publication().await;
    client.publication().await;
    let spans = collector.wait("five spans", |spans| spans.len() >= 5);
    let [call] = named(&spans, "POST /api/batch")[..] else { panic!("{spans:#?}") };
    let (published, delivered) = (named(&spans, "publish open"), named(&spans, "deliver open"));
    assert_eq!((published.len(), delivered.len()), (2, 2), "{spans:#?}");
    assert!(published.iter().all(|span| span.trace == TRACE && span.parent == call.id), "{spans:#?}");
    for span in delivered {
        assert!(span.trace != TRACE && span.parent.is_empty(), "{span:?}");
        let [(trace, id)] = &span.links[..] else { panic!("{span:?}") };
        assert!(trace == TRACE && published.iter().any(|published| published.id == *id), "{spans:#?}");
    }
}

#[tokio::test]
async fn a_context_that_a_publisher_put_into_the_tags_is_continued_and_not_changed() {
    let collector = Collector::answering(200);
    let node = Node::start(settings(&collector));
    let mut client = Client::subscribed(node.address(), "open:a").await;
    let request = json!({"channel": "open:a", "data": 1, "tags": {"traceparent": SAMPLED}});
    publish(&node, "/api/publish", &request, &[]);
    assert_eq!(publication(&mut client).await["tags"]["traceparent"], SAMPLED);
    let spans = collector.wait("two spans", |spans| spans.len() >= 2);
    let [published] = named(&spans, "publish open")[..] else { panic!("{spans:#?}") };
    assert_eq!((published.trace.as_str(), published.parent.as_str()), (TRACE, PARENT));
    assert_eq!(named(&spans, "deliver open")[0].parent, published.id);
}

#[tokio::test]
async fn what_has_no_parent_begins_a_trace_where_the_settings_say_so() {
    let (collector, shop) = (Collector::answering(200), Backend::start(|_| Answer::status(200)));
    let endpoint =
        format!(r#"[{{ name = "shop", url = "{}", events = ["connected"] }}]"#, shop.url("/hooks"));
    let settings = settings(&collector).set("telemetry.sample", "1.0").set("telemetry.channel_names", "true");
    let node = Node::start(settings.set("hooks.endpoints", endpoint));
    let position = node.api().publish("open:a", &json!(1));
    let mut client = Client::connect(node.address()).await;
    let from = json!({"channel": "open:a", "recover": true, "epoch": position["epoch"], "offset": 0});
    client.ok("subscribe", from).await;
    let names = ["POST /api/publish", "publish open", "recover open", "POST shop"];
    let spans =
        collector.wait("a span of each", |spans| names.iter().all(|name| !named(spans, name).is_empty()));
    let [call, published, recovered, told] = names.map(|name| named(&spans, name)[0].clone());
    assert_eq!((published.trace, published.parent, call.parent.as_str()), (call.trace, call.id, ""));
    assert_eq!(
        (recovered.parent.as_str(), recovered.attributes["gorani.recover.publications"].as_str()),
        ("", "1")
    );
    assert_eq!(recovered.attributes["messaging.destination.name"], "open:a");
    let request = shop.wait_for_requests(1).swap_remove(0);
    let parent = format!("00-{}-{}-03", told.trace, told.id);
    assert_eq!((request.header("traceparent"), told.kind), (Some(parent.as_str()), 3));
}

#[tokio::test]
async fn a_call_to_a_proxy_is_a_span_under_the_trace_of_the_client() {
    let accepts = |_: &Request| Answer::result(json!({"user": "42"}));
    let (collector, backend) = (Collector::answering(200), Backend::start(accepts));
    let settings = settings(&collector)
        .set("client.proxy.traceparent", "true")
        .set("client.proxy.connect.enabled", "true")
        .set("client.proxy.connect.endpoint", format!("\"{}\"", backend.url("/connect")));
    let node = Node::start(settings);
    // The second one has no trace: its call begins one for the backend, which is not sampled here.
    for headers in [json!({"traceparent": SAMPLED}), json!({})] {
        Client::open(node.address()).await.ok("connect", json!({"headers": headers})).await;
    }
    let requests = backend.wait_for_requests(2);
    let spans = collector.wait("a span", |spans| !spans.is_empty());
    let [call] = spans.as_slice() else { panic!("{spans:#?}") };
    assert_eq!(
        (call.name.as_str(), call.kind, call.trace.as_str(), call.parent.as_str()),
        ("POST client.proxy.connect", 3, TRACE, PARENT)
    );
    assert_eq!((call.attributes["gorani.proxy.event"].as_str(), call.is_error), ("connect", false));
    let parent = format!("00-{TRACE}-{}-01", call.id);
    assert_eq!(requests[0].header("traceparent"), Some(parent.as_str()));
    assert!(requests[1].header("traceparent").is_some_and(|header| !header.contains(TRACE)));
}

#[tokio::test]
async fn a_collector_that_is_away_costs_spans_and_nothing_else() {
    let collector = Collector::answering(503);
    let node = Node::start(settings(&collector));
    let mut client = Client::subscribed(node.address(), "open:a").await;
    for number in 0..20 {
        publish(
            &node,
            "/api/publish",
            &json!({"channel": "open:a", "data": number}),
            &[("traceparent", SAMPLED)],
        );
        assert_eq!(client.publication().await, number);
    }
    collector.backend().wait_for_requests(2);
    let metrics = node.api().get("/metrics").1;
    assert!(metrics.contains("gorani_trace_spans_total{result=\"exported\"} 0"), "{metrics}");
}
