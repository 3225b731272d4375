//! The command line: what each command prints, and the exit codes. Issue line "Settings and command line".

mod check;
mod doctor;
mod enforce;
mod init;
mod operator;
mod report;
mod startup;
mod top;

use std::process::{Child, Command, Output};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use gorani_tests::{
    binary,
    node::{Node, Settings},
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Exit code for bad settings.
const BAD_SETTINGS: i32 = 78;

/// The key of [`operated`].
const VIEWER_KEY: &str = "viewer-key-of-the-commands-0123456789";

/// Runs a command with a settings file of this text.
fn gorani(arguments: &[&str], settings: &str) -> Output {
    let files = TempDir::new().unwrap();
    let file = files.path().join("gorani.toml");
    std::fs::write(&file, settings).unwrap();
    let mut command = Command::new(binary::node());
    command.args(arguments);
    if !arguments.contains(&"version") {
        command.arg("--config").arg(&file);
    }
    command.output().unwrap()
}

/// Runs a command with the settings of a node, as on its machine.
fn at(node: &Node, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary::node());
    command.args(arguments).arg("--config").arg(node.settings_file());
    command.env_remove("GORANI_ADMIN_KEY").output().unwrap()
}

/// Settings of a node whose admin API is open to its commands, and to one key that only sees.
fn operated(settings: Settings) -> Settings {
    let keys = format!("[{{ name = \"reader\", key = \"{VIEWER_KEY}\" }}]");
    settings.set("admin.enabled", "true").set("admin.keys", keys)
}

/// The objects of an output, one a line.
fn objects(output: &Output) -> Vec<Value> {
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A node that ends with its test.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn claims(token: &str) -> Value {
    let payload = token.trim().split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[test]
fn bad_settings_end_every_command_with_one_line_and_exit_code_78() {
    for command in [&[][..], &["serve"], &["check"], &["token", "--user", "42"]] {
        let output = gorani(command, "[http]\nadress = '127.0.0.1:0'");
        assert_eq!(output.status.code(), Some(BAD_SETTINGS), "{command:?}");
        let error = text(&output.stderr);
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(error.contains("adress"), "{error}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_missing_settings_file_is_named() {
    let output = Command::new(binary::node()).args(["check", "--config", "nowhere.toml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(BAD_SETTINGS));
    assert!(text(&output.stderr).contains("nowhere.toml"));
}

#[test]
fn check_accepts_good_settings() {
    let output = gorani(&["check"], "[http]\nworkers = 2");
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn version_prints_the_version() {
    let output = gorani(&["version"], "");
    assert!(text(&output.stdout).starts_with("gorani 0."), "{}", text(&output.stdout));
}

#[test]
fn health_tells_by_its_exit_code_whether_the_node_of_these_settings_lives_and_is_ready() {
    let mut node = Node::start(Settings::open());
    let settings = format!("[http]\naddress = '{}'", node.address());
    for question in [&["health"][..], &["health", "ready"], &["health", "live"]] {
        let output = gorani(question, &settings);
        assert!(output.status.success(), "{question:?}: {}", text(&output.stderr));
    }
    node.kill();
    let output = gorani(&["health", "live"], &settings);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.lines().count() == 1 && error.contains(&node.address().to_string()), "{error}");
}

#[test]
fn health_tells_why_a_node_is_not_ready() {
    // Nothing listens on the discard port: the broker is away, the process lives.
    let away =
        Settings::open().set("broker.kind", "\"redis\"").set("broker.redis.url", "\"redis://127.0.0.1:9\"");
    let node = Node::spawn(away);
    let settings = format!("[http]\naddress = '{}'", node.address());
    crate::eventually("it lives", std::time::Duration::from_secs(60), || {
        gorani(&["health", "live"], &settings).status.success()
    });
    let output = gorani(&["health", "ready"], &settings);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("broker"), "{}", text(&output.stderr));
}

#[test]
fn tokens_are_made_for_connections_and_subscriptions() {
    const SETTINGS: &str = "[token]\nhmac_secret = 'a secret of at least thirty-two bytes'";
    let arguments = [
        "token",
        "--user",
        "42",
        "--ttl",
        "1h",
        "--channel",
        "a",
        "--channel",
        "b",
        "--info",
        r#"{"name":"n"}"#,
    ];
    let connection = claims(&text(&gorani(&arguments, SETTINGS).stdout));
    assert_eq!((&connection["sub"], &connection["channels"]), (&json!("42"), &json!(["a", "b"])));
    assert_eq!(connection["exp"].as_u64().unwrap() - connection["iat"].as_u64().unwrap(), 3600);
    assert_eq!(connection["info"]["name"], "n");
    let subscription =
        claims(&text(&gorani(&["token", "--user", "42", "--subscribe", "$a"], SETTINGS).stdout));
    assert_eq!((&subscription["sub"], &subscription["channel"]), (&json!("42"), &json!("$a")));
    assert!(subscription.get("exp").is_none());

    let output = gorani(&["token", "--user", "42"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("token.hmac_secret"));
}

#[test]
fn an_address_that_is_taken_is_said_to_be() {
    let node = Node::start(Settings::open());
    let output = gorani(&["serve"], &format!("[http]\naddress = '{}'", node.address()));
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains(&node.address().to_string()) && error.contains("in use"), "{error}");
}

#[test]
fn log_lines_are_json_where_nobody_reads_them_and_hold_no_payload() {
    let node = Node::start(Settings::open());
    node.api().publish("open:a", &json!("payload-that-is-nobody's-business"));
    // It may be ready a moment before it says where it listens.
    crate::eventually("its address", std::time::Duration::from_secs(60), || {
        node.output().contains("\"address\"")
    });
    let output = node.output();
    for line in output.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }
    assert!(!output.contains("payload-that"), "{output}");
}
