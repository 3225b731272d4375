//! The metrics that `deploy/prometheus` and `deploy/grafana` ask for are those of a node, and a node counts no more things than its settings say.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use gorani_tests::{
    backend::{Answer, Backend},
    client::Client,
    http::Api,
    node::{Node, Settings, free_address},
    raw::{RawSocket, handshake},
    redis::Redis,
};
use serde_json::{Value, json};

use super::{alerts::Prometheus, list, read, text, yaml};

/// Names of the node's metrics in an expression.
fn names(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let is_name = |word: &&str| word.starts_with("gorani_") || word.starts_with("process_");
    words.filter(is_name).map(str::to_owned).collect()
}

/// The panels of the dashboard, those of folded rows included.
fn panels() -> Vec<Value> {
    let dashboard: Value = serde_json::from_str(&read("grafana/dashboards/gorani.json")).unwrap();
    let inner = |panel: &Value| panel["panels"].as_array().cloned().unwrap_or_default();
    let of_all =
        list(&dashboard, "/panels").iter().flat_map(|panel| [vec![panel.clone()], inner(panel)].concat());
    of_all.filter(|panel| panel["type"] != "row").collect()
}

/// All expressions of the dashboard and of the alerts.
fn expressions() -> Vec<String> {
    let mut expressions = Vec::new();
    for panel in panels() {
        expressions.extend(list(&panel, "/targets").iter().map(|target| text(target, "/expr").to_owned()));
    }
    let alerts = yaml("prometheus/alerts.yml");
    for group in list(&alerts, "/groups") {
        expressions.extend(list(group, "/rules").iter().map(|rule| text(rule, "/expr").to_owned()));
    }
    assert!(expressions.len() > 50, "{}", expressions.len());
    expressions
}

/// Selectors of metrics in an expression, with their labels.
fn selectors(expression: &str) -> Vec<&str> {
    let is_of_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let begins = |at: &usize| !expression[..*at].ends_with(is_of_name);
    let prefixes = ["gorani_", "process_", "up{"];
    let found = prefixes.iter().flat_map(|prefix| expression.match_indices(prefix)).map(|(at, _)| at);
    found
        .filter(begins)
        .map(|at| {
            let rest = &expression[at..];
            let after = rest.find(|letter| !is_of_name(letter)).unwrap_or(rest.len());
            let end = if rest[after..].starts_with('{') { rest.find('}').unwrap() + 1 } else { after };
            &rest[..end]
        })
        .collect()
}

#[test]
fn every_panel_shows_the_job_and_the_nodes_that_are_chosen() {
    let targets = panels().into_iter().flat_map(|panel| list(&panel, "/targets").to_vec());
    let mut seen = 0;
    for target in targets {
        let expression = text(&target, "/expr");
        for selector in selectors(expression) {
            seen += 1;
            for variable in ["job=~\"$job\"", "instance=~\"$instance\""] {
                assert!(selector.contains(variable), "{selector} of {expression}");
            }
        }
    }
    assert!(seen > 50, "{seen}");
}

/// Settings of a node with everything that it can have, but for the endpoints of a backend.
fn settings(redis: &Redis) -> Settings {
    Settings::open().set("broker.kind", "\"redis\"").set("broker.redis.url", format!("\"{}\"", redis.url()))
}

/// What a node shows after one of everything happened to it.
pub(super) async fn shown() -> String {
    let redis = Redis::start();
    let backend = Backend::in_order(vec![Answer::result(json!({}))]);
    let hooks = format!(
        r#"[{{ name = "backend", url = "{}", events = ["connected", "disconnected"] }}]"#,
        backend.url("/hooks")
    );
    let files = tempfile::TempDir::new().unwrap();
    let (settings, _) = crate::tls::certified(settings(&redis), "stomp.tcp.tls", files.path());
    let settings = settings
        .set("stomp.tcp.address", format!("\"{}\"", free_address()))
        .set("rpc.proxy", format!("{{ endpoint = \"{}\" }}", backend.url("/rpc")))
        .set("rpc.without_namespace.proxy_enabled", "true")
        .set("hooks.endpoints", hooks);
    let node = Node::start(settings);
    let mut client = Client::subscribed(node.address(), "open:a").await;
    client.ok("rpc", json!({"method": "nothing"})).await;
    assert_eq!(client.error("subscribe", json!({"channel": "nowhere:a"})).await, 102);
    node.api().publish("open:a", &json!(1));
    client.publication().await;
    let (status, _) = node.api().call("publish", &json!({"channel": "nowhere:a", "data": 1}));
    assert_eq!(status, 404);
    client.close().await;
    let mut refused = RawSocket::connect(node.address());
    refused.write(handshake(node.address(), "/nowhere", "").as_bytes()).unwrap();
    assert_eq!(refused.read_head().unwrap().status, 404);
    let api: Api = node.api();
    crate::eventually(
        "the end of the client is counted and told",
        std::time::Duration::from_secs(20),
        || {
            let shown = api.get("/metrics").1;
            let is_told = shown.contains("gorani_hook_events_total{type=\"disconnected\"} 1");
            let is_sampled = shown.contains("gorani_flush_seconds_count{")
                && shown.contains("gorani_fanout_seconds_count{");
            is_told && is_sampled && shown.contains("gorani_disconnects_total{")
        },
    );
    api.get("/metrics").1
}

#[tokio::test]
async fn every_number_that_a_dashboard_or_an_alert_asks_for_is_one_that_a_node_shows() {
    let asked: BTreeSet<_> = expressions().iter().flat_map(|expression| names(expression)).collect();
    assert!(asked.len() > 10, "{asked:?}");
    let shown = shown().await;
    for name in asked {
        let sample = |line: &str| line.strip_prefix(&name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        assert!(shown.lines().any(sample), "no node shows {name}: {shown}");
    }
}

#[tokio::test]
async fn requests_to_redis_are_timed_by_the_names_of_their_scripts() {
    let shown = shown().await;
    for kind in ["canary", "announce", "hook_head", "publish"] {
        let name = format!("gorani_broker_request_seconds_count{{kind=\"{kind}\"}} ");
        let count = shown.lines().find_map(|line| line.strip_prefix(&name)?.parse::<u64>().ok());
        assert!(count.is_some_and(|count| count > 0), "{kind}: {shown}");
    }
    assert!(!shown.contains("kind=\"queue_push\""), "a script that was not called has no series");
}

#[tokio::test]
async fn a_bucket_of_a_histogram_is_two_to_two_and_a_half_times_the_one_before() {
    let shown = shown().await;
    let mut bounds: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for line in shown.lines() {
        let Some((name, labels)) = line.split_once("_bucket{") else { continue };
        let (_, bound) = labels.split_once("le=\"").unwrap();
        let bound: f64 = bound.split('"').next().unwrap().parse().unwrap();
        let of_name = bounds.entry(name).or_default();
        if bound.is_finite() && of_name.last().is_none_or(|last| bound > *last) {
            of_name.push(bound);
        }
    }
    assert!(bounds.len() > 8, "{bounds:?}");
    for (name, bounds) in bounds {
        for pair in bounds.windows(2) {
            let factor = pair[1] / pair[0];
            assert!((1.99..2.51).contains(&factor), "{name}: {pair:?}");
        }
    }
}

#[test]
fn a_dashboard_asks_the_source_that_is_provided() {
    let source = yaml("grafana/provisioning/datasources/prometheus.yml");
    let mut ids = BTreeSet::new();
    for panel in panels() {
        assert_eq!(panel["datasource"]["uid"], source["datasources"][0]["uid"]);
        assert!(ids.insert(panel["id"].as_u64()), "{panel}");
    }
}

#[test]
fn a_prometheus_that_watches_a_node_evaluates_every_expression_of_the_dashboard_and_the_alerts() {
    let redis = Redis::start();
    let node = Node::start(settings(&redis));
    let prometheus = Prometheus::start(node.address());
    crate::eventually("it is scraped", Duration::from_secs(60), || prometheus.knows_the_node());
    for expression in expressions() {
        let variables = [("$job", ".*"), ("$instance", ".*"), ("$namespace", ".*"), ("$quantile", "0.99")];
        let asked = variables.iter().fold(expression, |asked, (name, value)| asked.replace(name, value));
        let answer = prometheus.query(&asked);
        assert_eq!(answer["status"], "success", "{asked}: {answer}");
    }
}

/// The series that a node shows.
fn series(node: &Node) -> BTreeSet<String> {
    let (_, shown) = node.api().get("/metrics");
    let samples = shown.lines().filter(|line| !line.starts_with('#'));
    samples.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
}

/// Clients and a backend that make up names wherever a request has one.
async fn hostile(node: &Node, round: usize) {
    for number in 0..20 {
        let name = format!("made-up-{round}-{number}");
        let mut client = Client::open(node.address()).await;
        client.ok("connect", json!({"name": name, "version": name})).await;
        client.error("subscribe", json!({"channel": format!("{name}:a")})).await;
        client.ok("subscribe", json!({"channel": format!("open:{name}")})).await;
        client.error("publish", json!({"channel": format!("{name}:a"), "data": 1})).await;
        client.error("rpc", json!({"method": name})).await;
        client.ok("unsubscribe", json!({"channel": format!("open:{name}")})).await;
        client.close().await;
        let mut stranger = Client::open(node.address()).await;
        assert!(stranger.attempt("connect", json!({"token": name})).await.is_err());
        let (status, _) = node.api().call("publish", &json!({"channel": format!("{name}:a"), "data": 1}));
        assert_eq!(status, 404);
        assert_eq!(node.api().call(&name, &json!({})).0, 404);
        let mut raw = RawSocket::connect(node.address());
        raw.write(handshake(node.address(), &format!("/{name}"), "").as_bytes()).unwrap();
        assert_eq!(raw.read_head().unwrap().status, 404);
    }
    let ended = format!("gorani_unsubscribes_total{{code=\"0\"}} {}", 20 * (round + 1));
    let refused = format!("gorani_disconnects_total{{code=\"3500\"}} {}", 20 * (round + 1));
    crate::eventually("all of it is counted", Duration::from_secs(30), || {
        let (_, shown) = node.api().get("/metrics");
        shown.contains(&ended) && shown.contains(&refused)
    });
}

#[tokio::test]
async fn names_that_strangers_make_up_are_in_no_series_and_a_node_has_fewer_than_two_thousand() {
    let node = Node::start(Settings::open().set("http.handshakes_per_second", "0"));
    hostile(&node, 0).await;
    // The counters of workers are added once a second: a second time all that the first round can make is there.
    hostile(&node, 1).await;
    let before = series(&node);
    hostile(&node, 2).await;
    let after = series(&node);
    let new: Vec<_> = after.difference(&before).collect();
    assert!(new.is_empty(), "{new:?}");
    assert!(!after.iter().any(|name| name.contains("made-up")));
    assert!(after.len() > 100 && after.len() < 2000, "{}", after.len());
}
