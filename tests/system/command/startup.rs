//! `gorani check` and `gorani serve` give the same warnings and refusals for the same settings.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use gorani_tests::{binary, node::Settings};
use serde_json::Value;
use tempfile::TempDir;

use super::{BAD_SETTINGS, Serving, gorani, text};
use crate::tls::certified;

/// Beginnings of all the warnings that a file can bring at once, and one of the environment.
const WARNINGS: [&str; 16] = [
    "GORANI_HTTP_ADDRESS is no setting and has no effect; http.address is GORANI__HTTP__ADDRESS",
    "GORANI_NONSENSE is no setting and has no effect; variables of settings begin with GORANI__",
    "DEVELOPMENT: development.page_api_key",
    "DEVELOPMENT: development.echo",
    "client.allow_anonymous lets everybody connect",
    "client.personal_channels has no effect",
    "cluster.advertise is empty and http.tls is on",
    "api.keys: a secret of fewer than 16 characters",
    "stomp.users: a secret of fewer than 16 characters",
    "channel.defaults: allow_publish_for_anonymous opens nothing",
    "namespace \"odd\": allow_publish_for_client opens nothing: [token] has no key",
    "namespace \"odd\": presence is on, and no client may read it",
    "namespace \"odd\": allow_recovery = false closes nothing",
    "namespace \"odd\": join_leave is on, and nobody can receive",
    "namespace \"odd\": history is kept no longer than broker.redis.position_ttl",
    "the system lets this process open",
];

/// Settings that bring them all.
fn all_warnings(files: &TempDir) -> String {
    let odd = r#"{ name = "odd", allow_publish_for_client = true, presence = true, history_size = 5, history_ttl = "60days",
        allow_recovery = false, force_recovery = true, join_leave = true }"#
        .replace('\n', " ");
    let settings = Settings::new()
        .set("http.address", "\"127.0.0.1:0\"")
        .set("http.max_connections", "4000000000")
        .set("development.page_api_key", "true")
        .set("development.echo", "true")
        .set("client.allow_anonymous", "true")
        .set("client.personal_channels", "[\"odd:mine\"]")
        .set("api.keys", "[\"short\"]")
        .set("stomp.users", "[{ name = \"shop\", password = \"short\" }]")
        .set("channel.defaults.allow_publish_for_anonymous", "true")
        .set("channel.namespaces", format!("[{odd}]"))
        // Nothing listens on the discard port: the node starts without its broker.
        .set("broker.kind", "\"redis\"")
        .set("broker.redis.url", "\"redis://127.0.0.1:9\"");
    certified(settings, "http.tls", files.path()).0.text()
}

/// The command with variables that are no settings.
fn command(name: &str, file: &std::path::Path) -> Command {
    let mut command = Command::new(binary::node());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GORANI_") {
            command.env_remove(name);
        }
    }
    command.args([name, "--config"]).arg(file);
    command.env("GORANI_HTTP_ADDRESS", "127.0.0.1:1").env("GORANI_NONSENSE", "1");
    command.env("GORANI_SERVICE_HOST", "10.0.0.1");
    command
}

#[test]
fn check_prints_every_warning_that_serve_logs() {
    let files = TempDir::new().unwrap();
    let file = files.path().join("gorani.toml");
    std::fs::write(&file, all_warnings(&files)).unwrap();

    let checked = command("check", &file).output().unwrap();
    let printed = text(&checked.stderr);
    assert!(checked.status.success(), "{printed}");
    let printed: Vec<&str> =
        printed.lines().map(|line| line.strip_prefix("gorani: warning: ").unwrap()).collect();
    assert_eq!(printed.len(), WARNINGS.len(), "{printed:#?}");
    for (warning, begins) in printed.iter().zip(WARNINGS) {
        assert!(warning.starts_with(begins), "{warning:?} does not begin with {begins:?}");
    }

    let mut serving =
        Serving(command("serve", &file).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
    let mut logged = Vec::new();
    for line in BufReader::new(serving.0.stderr.take().unwrap()).lines() {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        if line["message"] == "listening" {
            break;
        }
        // What names a server is of Redis, which is away.
        if line["level"] == "WARN" && line.get("server").is_none() {
            logged.push(line["message"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(logged, printed);
}

#[test]
fn urls_and_addresses_in_a_wrong_form_are_refused_with_the_right_one() {
    for (settings, key, form) in [
        ("broker.kind = 'redis'\nbroker.redis.url = '127.0.0.1:6379'", "broker.redis: url:", "redis://"),
        ("broker.kind = 'redis'\nbroker.redis.url = 'localhost:6379'", "broker.redis: url:", "redis://"),
        ("broker.kind = 'redis'\nbroker.redis.url = 'redis:6379'", "broker.redis: url:", "redis://"),
        ("broker.kind = 'redis'\nbroker.redis.url = 'redis'", "broker.redis: url:", "redis://"),
        ("broker.kind = 'redis'\nbroker.redis.url = 'http://redis:6379'", "broker.redis: url:", "rediss://"),
        (
            "broker.kind = 'redis'\nbroker.redis.sentinel = { urls = ['10.0.0.1:26379'], primary = 'm' }",
            "broker.redis: sentinel.urls:",
            "redis://",
        ),
        (
            "broker.kind = 'redis'\nbroker.redis.cluster.urls = ['redis://10.0.0.1:6379', '10.0.0.2:6379']",
            "broker.redis: cluster.urls:",
            "redis://",
        ),
        ("token.jwks_url = 'keys.example.com/jwks'", "token.jwks_url", "https://"),
        ("sockjs.client_url = 'cdn.example.com/sockjs.js'", "sockjs.client_url:", "https://"),
        ("sockjs.base_url = 'push.example.com'", "sockjs.base_url:", "https://"),
        ("client.allowed_origins = ['app.example.com']", "client.allowed_origins:", "https://"),
        ("cluster.advertise = 'http://10.0.0.7:8000'", "cluster.advertise:", "10.0.0.7:8000"),
        ("cluster.advertise = '10.0.0.7'", "cluster.advertise:", "10.0.0.7:8000"),
        ("http.address = 'http://0.0.0.0:8000'", "http.address:", "127.0.0.1:8000"),
        ("http.address = ':8000'", "http.address:", "127.0.0.1:8000"),
        ("http.address = 'localhost'", "http.address:", "127.0.0.1:8000"),
        ("stomp.tcp.address = 'tcp://0.0.0.0:61613'", "stomp.tcp.address:", "0.0.0.0:61613"),
    ] {
        for command in ["check", "serve"] {
            let output = gorani(&[command], settings);
            let error = text(&output.stderr);
            assert_eq!(output.status.code(), Some(BAD_SETTINGS), "{settings} {error}");
            assert_eq!(error.lines().count(), 1, "{error}");
            assert!(error.contains(key) && error.contains(form), "{settings:?} gave {error:?}");
        }
    }
}

#[test]
fn personal_channels_of_an_unknown_namespace_are_refused() {
    for command in ["check", "serve"] {
        let output = gorani(&[command], "client.personal_channels = ['nowhere:orders']");
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(BAD_SETTINGS), "{error}");
        assert!(error.contains("client.personal_channels") && error.contains("nowhere:orders"), "{error}");
    }
}

/// `gorani … | head`, where what is read is enough before all of it is written.
#[test]
fn a_reader_that_goes_away_is_no_failure_of_a_command() {
    for arguments in [&["version"][..], &["completions", "bash"], &["man"], &["token", "--user", "42"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(binary::node());
        let secret = ("GORANI__TOKEN__HMAC_SECRET", "a-secret-of-at-least-thirty-two-bytes");
        let output = command.args(arguments).envs([secret]).stdout(writer).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        assert!(output.stderr.is_empty(), "{arguments:?}: {output:?}");
    }
}
