//! What `deploy/prometheus` and `deploy/grafana` ask for is what a node counts.

use std::collections::BTreeSet;

use gorani_tests::{
    backend::{Answer, Backend},
    client::Client,
    http::Api,
    node::{Node, Settings},
    raw::{RawSocket, handshake},
};
use serde_json::{Value, json};

use super::{list, read, text, yaml};

/// Names of the node's metrics in an expression.
fn names(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("gorani_")).map(str::to_owned).collect()
}

/// What a node shows after one of everything happened to it.
pub(super) async fn shown() -> String {
    let backend = Backend::in_order(vec![Answer::result(json!({}))]);
    let hooks = format!(
        r#"[{{ name = "backend", url = "{}", events = ["connected", "disconnected"] }}]"#,
        backend.url("/hooks")
    );
    let settings = Settings::open()
        .set("rpc.proxy", format!("{{ endpoint = \"{}\" }}", backend.url("/rpc")))
        .set("rpc.without_namespace.proxy_enabled", "true")
        .set("hooks.endpoints", hooks);
    let node = Node::start(settings);
    let mut client = Client::subscribed(node.address(), "open:a").await;
    client.ok("rpc", json!({"method": "nothing"})).await;
    node.api().publish("open:a", &json!(1));
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
            is_told && shown.contains("gorani_disconnects_total{")
        },
    );
    api.get("/metrics").1
}

#[tokio::test]
async fn every_number_that_a_dashboard_or_an_alert_asks_for_is_one_that_a_node_shows() {
    let mut expressions = Vec::new();
    let dashboard: Value = serde_json::from_str(&read("grafana/dashboards/gorani.json")).unwrap();
    for panel in list(&dashboard, "/panels") {
        expressions.extend(list(panel, "/targets").iter().map(|target| text(target, "/expr").to_owned()));
    }
    let alerts = yaml("prometheus/alerts.yml");
    for group in list(&alerts, "/groups") {
        expressions.extend(list(group, "/rules").iter().map(|rule| text(rule, "/expr").to_owned()));
    }
    let asked: BTreeSet<_> = expressions.iter().flat_map(|expression| names(expression)).collect();
    assert!(asked.len() > 10, "{asked:?}");
    let shown = shown().await;
    for name in asked {
        let sample = |line: &str| line.strip_prefix(&name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        assert!(shown.lines().any(sample), "no node shows {name}: {shown}");
    }
}

#[test]
fn a_dashboard_asks_the_source_that_is_provided() {
    let source = yaml("grafana/provisioning/datasources/prometheus.yml");
    let dashboard: Value = serde_json::from_str(&read("grafana/dashboards/gorani.json")).unwrap();
    let mut ids = BTreeSet::new();
    for panel in list(&dashboard, "/panels") {
        assert_eq!(panel["datasource"]["uid"], source["datasources"][0]["uid"]);
        assert!(ids.insert(panel["id"].as_u64()), "{panel}");
    }
}
