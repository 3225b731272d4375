//! `gorani report`: what is in the archive, and what is not. `services/gateway/docs/commands.md`.

use std::{os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use gorani_tests::{
    client::Client,
    node::{Node, Settings, free_address},
    redis::Redis,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{at, operated, text};

/// Stands in everything that must not be in a report.
const MARK: &str = "NEVER-IN-A-REPORT-0123456789";

/// A file of the archive.
fn file(archive: &Path, name: &str) -> String {
    let output =
        Command::new("tar").arg("-xzOf").arg(archive).arg(format!("gorani-report/{name}")).output().unwrap();
    assert!(output.status.success(), "{name}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn names(archive: &Path) -> Vec<String> {
    let output = Command::new("tar").arg("-tzf").arg(archive).output().unwrap();
    text(&output.stdout).lines().map(|name| name.trim_start_matches("gorani-report/").to_owned()).collect()
}

#[tokio::test]
async fn an_archive_tells_all_but_secrets_and_payloads() {
    let redis = Redis::start();
    let users = format!("[{{ name = \"s\", password = \"{MARK}\" }}]");
    let settings = operated(Settings::open())
        .set("api.keys", format!("[\"{MARK}-api\"]"))
        .set("token.hmac_secret", format!("\"{MARK}-hmac\""))
        .set("cluster.secret", format!("\"{MARK}-cluster\""))
        .set("stomp.users", users)
        .set("admin.keys", format!("[{{ name = \"k\", key = \"{MARK}-admin\" }}]"))
        .set("broker.kind", "\"redis\"")
        .set("broker.redis.url", format!("\"{}\"", redis.url()));
    let node = Node::start(settings);
    let mut client = Client::subscribed(node.address(), "open:a").await;
    node.api().publish("open:a", &json!(format!("{MARK}-payload")));
    client.publication().await;
    client.close().await;
    let files = TempDir::new().unwrap();
    let archive = files.path().join("fault.tar.gz");
    let output = at(&node, &["report", "--interval", "10ms", "--output", archive.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let listed = text(&output.stdout);
    let names = names(&archive);
    assert_eq!(names[0], "CONTENTS.txt");
    for name in &names[1..] {
        assert!(listed.contains(&format!("  {name} ")), "{name}: {listed}");
        assert!(!file(&archive, name).contains(MARK), "{name}");
    }
    let json = |name: &str| serde_json::from_str::<Value>(&file(&archive, name)).unwrap();
    assert_eq!(json("version.json")["gorani"], env!("CARGO_PKG_VERSION"));
    assert_eq!(json("version.json")["features"], json!({"admin": true, "otlp": true, "top": true}));
    assert_eq!(json("nodes.json")["result"].as_array().unwrap().len(), 1);
    let settings = json("settings-here.json");
    let secret =
        settings.as_array().unwrap().iter().find(|setting| setting["name"] == "token.hmac_secret").unwrap();
    assert_eq!(secret["value"], "set, 33 characters");
    for name in ["metrics-1.txt", "metrics-2.txt"] {
        assert!(file(&archive, name).contains("gorani_connections"), "{name}");
    }
    assert!(file(&archive, "doctor.jsonl").lines().count() > 5);
    assert!(json("disconnects.json")["result"]["last"].is_array());
    let mode = std::fs::metadata(&archive).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // A report that is there stays.
    let again = at(&node, &["report", "--interval", "0s", "--output", archive.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(1));
}

#[test]
fn a_node_that_does_not_answer_is_noted_in_the_archive() {
    let files = TempDir::new().unwrap();
    let settings = files.path().join("gorani.toml");
    let text_of = operated(Settings::open()).set("http.address", format!("\"{}\"", free_address())).text();
    std::fs::write(&settings, text_of).unwrap();
    let archive = files.path().join("r.tar.gz");
    let mut command = Command::new(gorani_tests::binary::node());
    command.args(["report", "--interval", "0s", "--output"]).arg(&archive).arg("--config").arg(&settings);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(file(&archive, "nodes.json").contains("not_available"));
    assert!(file(&archive, "doctor.jsonl").contains("open_files"));
}
