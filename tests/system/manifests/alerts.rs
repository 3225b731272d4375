//! `deploy/prometheus`: every alert rings where it has to and is silent where it has not, by promtool and with a Prometheus that runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use gorani_tests::{
    binary,
    http::Api,
    node::{Node, Settings, free_address},
    process::{Process, Signal},
    redis::Redis,
};
use serde_json::{Value, json};

use super::{list, path, read, text, yaml};

/// An operator is to be woken within 30 s; the rest is for a busy machine.
const RINGS_WITHIN: Duration = Duration::from_secs(90);
const SOON: Duration = Duration::from_secs(30);

/// Cases of all alerts; those of the second file take days.
const CASES: [&str; 2] = ["alerts.test.yml", "alerts.days.test.yml"];

fn promtool(arguments: &[&str]) -> Output {
    let mut promtool = Command::new("promtool");
    promtool.current_dir(path("prometheus")).args(arguments);
    promtool.output().expect("promtool is installed; `make test` sees to it")
}

#[test]
fn prometheus_takes_the_files_and_every_alert_rings_when_it_has_to_and_only_then() {
    for arguments in [&["check", "config", "prometheus.yml"][..], &["test", "rules", CASES[0], CASES[1]]] {
        let output = promtool(arguments);
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&said));
    }
}

#[test]
fn every_alert_has_a_case_in_which_it_rings_and_one_in_which_it_does_not() {
    let alerts = yaml("prometheus/alerts.yml");
    let rules = list(&alerts, "/groups").iter().flat_map(|group| list(group, "/rules"));
    let mut cases: BTreeMap<&str, [bool; 2]> = rules.map(|rule| (text(rule, "/alert"), [false; 2])).collect();
    assert!(cases.len() > 5);
    let tests = CASES.map(|file| yaml(&format!("prometheus/{file}")));
    let tests = tests.iter().flat_map(|tests| list(tests, "/tests"));
    for case in tests.flat_map(|test| list(test, "/alert_rule_test")) {
        let rings = !list(case, "/exp_alerts").is_empty();
        let name = text(case, "/alertname");
        cases.get_mut(name).unwrap_or_else(|| panic!("no alert {name}"))[usize::from(rings)] = true;
    }
    assert!(cases.values().all(|cases| *cases == [true, true]), "[silent, rings]: {cases:?}");
}

#[test]
fn every_alert_names_the_heading_that_says_what_to_do_and_how_soon_somebody_has_to() {
    let alerts = yaml("prometheus/alerts.yml");
    let page = fs::read_to_string(binary::workspace().join("services/gateway/docs/alerts.md")).unwrap();
    let mut headings: BTreeSet<&str> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    for rule in list(&alerts, "/groups").iter().flat_map(|group| list(group, "/rules")) {
        let name = text(rule, "/alert");
        let runbook = format!("services/gateway/docs/alerts.md#{}", name.to_lowercase());
        assert_eq!(text(rule, "/annotations/runbook_url"), runbook);
        assert!(headings.remove(name), "no heading for {name}");
        assert!(["page", "ticket"].contains(&text(rule, "/labels/severity")), "{name}");
    }
    assert!(headings.is_empty(), "headings without an alert: {headings:?}");
}

/// A Prometheus with the files of `deploy/prometheus`, but for where the nodes are.
pub(super) struct Prometheus {
    child: Child,
    address: SocketAddr,
    _files: tempfile::TempDir,
}

impl Prometheus {
    pub(super) fn start(node: SocketAddr) -> Self {
        let files = tempfile::TempDir::new().unwrap();
        let settings = read("prometheus/prometheus.yml");
        let (before, _) = settings.split_once("    dns_sd_configs:").unwrap();
        let settings = format!("{before}    static_configs: [{{targets: [\"{node}\"]}}]\n");
        fs::write(files.path().join("prometheus.yml"), settings).unwrap();
        fs::copy(path("prometheus/alerts.yml"), files.path().join("alerts.yml")).unwrap();
        let address = free_address();
        let child =
            command(files.path(), address).spawn().expect("prometheus is installed; `make test` sees to it");
        Self { child, address, _files: files }
    }

    /// The answer to an expression.
    pub(super) fn query(&self, expression: &str) -> Value {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let path = format!("/api/v1/query?query={encoded}");
        let (_, answer) = Api::new(self.address, "none").try_get(&path).unwrap();
        serde_json::from_str(&answer).unwrap()
    }

    /// Names of the alerts that ring.
    fn firing(&self) -> Vec<String> {
        let Ok((200, answer)) = Api::new(self.address, "none").try_get("/api/v1/alerts") else {
            return Vec::new();
        };
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let alerts = list(&answer, "/data/alerts").iter().filter(|alert| alert["state"] == "firing");
        alerts.map(|alert| text(alert, "/labels/alertname").to_owned()).collect()
    }

    /// True if the node was scraped.
    pub(super) fn knows_the_node(&self) -> bool {
        let asked = Api::new(self.address, "none").try_get("/api/v1/query?query=gorani_ready");
        asked.is_ok_and(|(_, answer)| answer.contains("\"gorani_ready\""))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        Process::new(self.child.id()).signal(Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

fn command(files: &Path, address: SocketAddr) -> Command {
    let mut prometheus = Command::new("prometheus");
    prometheus
        .arg(format!("--config.file={}", files.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", files.join("data").display()))
        .arg(format!("--web.listen-address={address}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    prometheus
}

/// The value of a sample that the node shows.
fn sample(node: &Node, name: &str) -> Option<f64> {
    let (_, shown) = node.api().get("/metrics");
    shown.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[test]
fn somebody_is_woken_up_when_redis_dies_and_not_by_the_mistakes_of_a_backend() {
    let mut redis = Redis::start();
    let settings = Settings::open()
        .set("broker.kind", "\"redis\"")
        .set("broker.redis.url", format!("\"{}\"", redis.url()));
    let node = Node::start(settings);
    let prometheus = Prometheus::start(node.address());
    let mistake = json!({"channel": "nowhere:a", "data": 1});
    for _ in 0..20 {
        assert_eq!(node.api().call("publish", &mistake).0, 404);
    }
    let of_api =
        |result| sample(&node, &format!("gorani_publications_total{{source=\"api\",result=\"{result}\"}}"));
    assert_eq!((of_api("refused"), of_api("failed")), (Some(20.0), Some(0.0)));
    crate::eventually("it is scraped", SOON, || prometheus.knows_the_node());
    assert_eq!(sample(&node, "gorani_ready "), Some(1.0));
    redis.kill();
    crate::eventually("it is not ready", SOON, || sample(&node, "gorani_ready ") == Some(0.0));
    crate::eventually("both ring", RINGS_WITHIN, || {
        let firing = prometheus.firing();
        ["GoraniNotReady", "GoraniCanaryOld"].iter().all(|name| firing.iter().any(|alert| alert == name))
    });
    assert_eq!(node.api().call("publish", &json!({"channel": "open:a", "data": 1})).0, 503);
    assert!(of_api("failed") > Some(0.0));
    let firing = prometheus.firing();
    assert!(!firing.iter().any(|alert| alert == "GoraniNodeDown" || alert == "GoraniNoNodes"), "{firing:?}");
}
