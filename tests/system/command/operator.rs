//! The commands that ask the admin API, on real nodes: reload, slow, disconnects, explain. `services/gateway/docs/commands.md`.

use std::{process::Command, time::Duration};

use gorani_tests::{
    binary,
    client::Client,
    node::{Node, Settings, free_address},
    process::Signal,
    redis::Redis,
};
use serde_json::{Value, json};

use super::{VIEWER_KEY, at, objects, operated, text};
use crate::eventually;

const SOON: Duration = Duration::from_secs(60);

fn alone() -> Settings {
    operated(Settings::open())
}

fn of_cluster(redis: &Redis, number: usize) -> Settings {
    alone()
        .set("node.name", format!("\"n{number}\""))
        .set("broker.kind", "\"redis\"")
        .set("broker.redis.url", format!("\"{}\"", redis.url()))
        // A node that only waits for a core answers within that.
        .set("cluster.answer_timeout", "\"5s\"")
}

/// The level of a node's log, as its admin API tells it.
fn level(node: &Node) -> Value {
    let output = at(node, &["admin", "settings", "--json"]);
    let settings = objects(&output).swap_remove(0)["settings"].take();
    let level = settings.as_array().unwrap().iter().find(|setting| setting["name"] == "log.level");
    level.unwrap()["value"].clone()
}

#[test]
fn a_reload_shows_what_would_change_and_a_dry_run_changes_nothing() {
    let node = Node::start(alone().set("log.level", "\"info\""));
    let changed = alone().set("log.level", "\"warn\"").set("api.keys", "[\"a-new-secret-key-0123456789\"]");
    node.write_settings(&changed);
    let shown = at(&node, &["reload", "--dry-run"]);
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    let shown = text(&shown.stdout);
    assert!(shown.contains("log.level: \"info\" → \"warn\""), "{shown}");
    assert!(shown.contains("api.keys") && !shown.contains("a-new-secret-key"), "{shown}");
    assert_eq!(level(&node), "info");
    let done = at(&node, &["reload"]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let done = text(&done.stdout);
    assert!(done.starts_with(&shown) && done.contains("put in place"), "{done}");
    assert_eq!(level(&node), "warn");
    let again = text(&at(&node, &["reload"]).stdout);
    assert!(again.contains("nothing differs"), "{again}");
}

#[test]
fn a_reload_of_all_nodes_changes_none_where_one_refuses_and_one_alone_is_of_that_node() {
    let redis = Redis::start();
    let nodes = [1, 2].map(|number| Node::start(of_cluster(&redis, number).set("log.level", "\"info\"")));
    eventually("they know one another", SOON, || {
        objects(&at(&nodes[0], &["admin", "nodes", "--json"])).len() == 2
    });
    nodes[0].write_settings(&of_cluster(&redis, 1).set("log.level", "\"warn\""));
    nodes[1].write_file("[http]\nadress = 1");
    let refused = at(&nodes[0], &["reload", "--all"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stdout);
    assert!(said.contains("adress") && said.contains("nothing was changed"), "{said}");
    assert_eq!(level(&nodes[0]), "info");
    let own = at(&nodes[0], &["reload", "--json"]);
    assert!(own.status.success(), "{}", text(&own.stdout));
    let own = objects(&own);
    assert_eq!((own.len(), &own[0]["node"], &own[0]["changed"]), (1, &json!("n1"), &json!(1)));
    assert_eq!(level(&nodes[0]), "warn");
    nodes[1].write_settings(&of_cluster(&redis, 2).set("log.level", "\"warn\""));
    let all = objects(&at(&nodes[1], &["reload", "--all", "--json"]));
    let names: Vec<_> = all.iter().map(|line| line["node"].as_str().unwrap()).collect();
    assert!(all.len() == 2 && names.contains(&"n1") && names.contains(&"n2"), "{all:?}");
    assert_eq!(level(&nodes[1]), "warn");
}

#[tokio::test]
async fn disconnects_are_counted_by_code_and_slow_finds_nobody_where_all_read() {
    let node = Node::start(alone());
    assert_eq!(at(&node, &["disconnects"]).status.code(), Some(1));
    let slow = at(&node, &["slow"]);
    assert_eq!((slow.status.code(), text(&slow.stdout).contains("no bytes wait")), (Some(1), true));
    Client::subscribed(node.address(), "open:a").await.close().await;
    eventually("it is counted", SOON, || at(&node, &["disconnects"]).status.success());
    let shown = text(&at(&node, &["disconnects"]).stdout);
    assert!(shown.starts_with("CODE") && shown.contains("websocket"), "{shown}");
    let lines = objects(&at(&node, &["disconnects", "--json"]));
    let tables: Vec<_> = lines.iter().map(|line| line["table"].as_str().unwrap()).collect();
    assert_eq!(tables, ["codes", "last"], "{lines:?}");
    assert_eq!((&lines[0]["count"], &lines[1]["transport"]), (&json!(1), &json!("websocket")));
    assert_eq!(at(&node, &["disconnects", "--code", "3999"]).status.code(), Some(1));
}

#[tokio::test]
async fn a_client_that_does_not_read_is_named_by_slow() {
    let node = Node::start(alone().set("client.outbox_max_bytes", "67108864"));
    let _client = Client::subscribed(node.address(), "open:a").await;
    let message = json!("x".repeat(256 * 1024));
    eventually("bytes wait", SOON, || {
        // What the kernel takes is full after a few looks, each of which starts a process.
        (0..8).for_each(|_| drop(node.api().publish("open:a", &message)));
        at(&node, &["slow"]).status.success()
    });
    let lines = objects(&at(&node, &["slow", "--json"]));
    let client = lines.iter().find(|line| line["table"] == "now").unwrap();
    assert_eq!(client["transport"], "websocket");
    assert!(client["waiting_bytes"].as_u64().unwrap() > 0, "{client}");
}

#[tokio::test]
async fn explain_tells_by_its_exit_code_if_the_user_had_it() {
    let namespace = r#"[{ name = "open", history_size = 10, history_ttl = "60s", allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true }]"#;
    let node = Node::start(alone().set("channel.namespaces", namespace));
    let mut client = Client::open(node.address()).await;
    let id = client.ok("connect", json!({})).await["client"].as_str().unwrap().to_owned();
    client.ok("subscribe", json!({"channel": "open:a"})).await;
    node.api().publish("open:a", &json!(1));
    client.publication().await;
    let ask = |about: &[&str]| at(&node, &[&["explain", "--channel", "open:a"], about].concat());
    eventually("it had it", SOON, || ask(&["--client", &id, "--offset", "1"]).status.code() == Some(0));
    let never = ask(&["--user", "nobody", "--offset", "1"]);
    assert_eq!(never.status.code(), Some(1), "{}", text(&never.stdout));
    assert_eq!(ask(&["--user", "nobody", "--offset", "1", "--last", "2"]).status.code(), Some(2));
    let lines = objects(&ask(&["--client", &id, "--offset", "1", "--json"]));
    assert_eq!((lines.len(), &lines[0]["exit"]), (1, &json!(0)));
}

#[test]
fn each_way_to_fail_has_its_exit_code() {
    let node = Node::start(alone());
    let url = format!("http://{}/admin", node.address());
    for command in ["slow", "disconnects", "reload"] {
        let code = |arguments: &[&str]| at(&node, &[&[command], arguments].concat()).status.code();
        assert_eq!(code(&["--server", &url, "--key", "wrong"]), Some(4), "{command}");
        assert_eq!(code(&["--server", "ftp://127.0.0.1/admin"]), Some(3), "{command}");
        let nobody = format!("http://{}/admin", free_address());
        assert_eq!(code(&["--server", &nobody]), Some(3), "{command}");
        assert_eq!(code(&["--no-such-flag"]), Some(2), "{command}");
    }
    // A key that sees may not change.
    let by_viewer =
        |command: &str| at(&node, &[command, "--server", &url, "--key", VIEWER_KEY]).status.code();
    assert_eq!((by_viewer("slow"), by_viewer("reload")), (Some(1), Some(4)));
    let closed = Node::start(Settings::open());
    let said = at(&closed, &["slow"]);
    assert!(text(&said.stderr).contains("admin.enabled"), "{}", text(&said.stderr));
}

/// The output of a command on a terminal of so many columns.
fn on_terminal(node: &Node, command: &str, columns: usize, environment: &[(&str, &str)]) -> String {
    let line = format!(
        "stty cols {columns}; {} {command} --config {}",
        binary::node().display(),
        node.settings_file().display()
    );
    let mut script = Command::new("script");
    script
        .args(["-qec", &line, "/dev/null"])
        .env_remove("NO_COLOR")
        .env_remove("COLUMNS")
        .env("TERM", "xterm");
    script.envs(environment.iter().copied());
    text(&script.output().unwrap().stdout)
}

#[tokio::test]
async fn colours_are_for_terminals_and_lines_are_as_wide_as_the_terminal() {
    let node = Node::start(alone());
    Client::subscribed(node.address(), "open:a").await.close().await;
    eventually("it is counted", SOON, || at(&node, &["disconnects"]).status.success());
    assert!(!text(&at(&node, &["disconnects"]).stdout).contains('\u{1b}'));
    let shown = on_terminal(&node, "disconnects", 60, &[]);
    assert!(shown.contains("\u{1b}[1mCODE"), "{shown:?}");
    let plain = on_terminal(&node, "disconnects", 60, &[("NO_COLOR", "1")]);
    assert!(!plain.contains('\u{1b}') && plain.contains('…'), "{plain:?}");
    assert!(plain.lines().all(|line| line.trim_end().chars().count() <= 60), "{plain:?}");
}

#[test]
fn a_node_that_does_not_answer_is_named_beside_what_the_others_know() {
    let redis = Redis::start();
    let nodes = [1, 2].map(|number| Node::start(of_cluster(&redis, number).set("cluster.lease", "\"60s\"")));
    eventually("they know one another", SOON, || {
        objects(&at(&nodes[0], &["admin", "nodes", "--json"])).len() == 2
    });
    nodes[1].process().signal(Signal::SIGSTOP);
    let output = at(&nodes[0], &["slow", "--json"]);
    nodes[1].process().signal(Signal::SIGCONT);
    assert_eq!(text(&output.stderr), "n2 did not answer, its part is missing\n");
}
