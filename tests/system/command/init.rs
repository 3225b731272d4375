//! `gorani init`: a file that check finds good, that nobody else reads, and whose node lets in who has a token of it.

use std::{
    collections::HashSet,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use gorani_tests::{binary, client::Client, http::Api, node::free_address};
use serde_json::json;
use tempfile::TempDir;

use super::{Serving, text};

/// The text that a setting of the file has, or the first of its list.
fn value(settings: &str, key: &str) -> String {
    let line = settings.lines().find(|line| line.starts_with(&format!("{key} = "))).unwrap();
    line.split('"').nth(1).unwrap().to_owned()
}

/// Runs a command in a directory, without a terminal.
fn run(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary::node());
    command.current_dir(directory).env_remove("GORANI_CONFIG").stdin(Stdio::null());
    command.args(arguments).output().unwrap()
}

#[tokio::test]
async fn a_node_of_new_settings_takes_a_token_of_them_and_publishes_with_their_key() {
    let files = TempDir::new().unwrap();
    let address = free_address();
    let made = run(
        files.path(),
        &[
            "init",
            "--origin",
            "https://app.example.com",
            "--namespace",
            "room",
            "--address",
            &address.to_string(),
        ],
    );
    let steps = text(&made.stdout);
    assert!(made.status.success() && made.stderr.is_empty(), "{}", text(&made.stderr));
    for step in
        ["gorani check --config gorani.toml", "gorani serve", "gorani token", "/api/publish", "room:hello"]
    {
        assert!(steps.contains(step), "{steps}");
    }

    let file = files.path().join("gorani.toml");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let key = value(&std::fs::read_to_string(&file).unwrap(), "keys");
    assert!(!steps.contains(&key), "{steps}");
    let checked = run(files.path(), &["check", "--config", "gorani.toml"]);
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    let warnings = text(&checked.stderr);
    assert!(!warnings.contains("room") && !warnings.contains("secret"), "{warnings}");

    let token = run(files.path(), &["token", "--config", "gorani.toml", "--user", "42"]);
    let token = text(&token.stdout).trim().to_owned();
    let mut serve = Command::new(binary::node());
    serve.current_dir(files.path()).args(["serve", "--config", "gorani.toml"]).stderr(Stdio::null());
    let _serving = Serving(serve.spawn().unwrap());
    crate::eventually("the node listens", std::time::Duration::from_secs(60), || {
        std::net::TcpStream::connect(address).is_ok()
    });
    let mut client = Client::open(address).await;
    client.ok("connect", json!({ "token": token })).await;
    let subscribed = client.ok("subscribe", json!({"channel": "room:hello"})).await;
    assert_eq!((&subscribed["recoverable"], &subscribed["positioned"]), (&json!(true), &json!(true)));
    Api::new(address, &key).publish("room:hello", &json!("hello"));
    assert_eq!(client.publication().await, "hello");
}

#[test]
fn an_existing_file_stays_as_it_is() {
    let files = TempDir::new().unwrap();
    let file = files.path().join("mine.toml");
    let init = ["init", "--origin", "http://localhost:3000", "--config", "mine.toml"];
    for content in ["", "http.workers = 3"] {
        std::fs::write(&file, content).unwrap();
        let output = run(files.path(), &init);
        assert_eq!(output.status.code(), Some(1));
        let error = text(&output.stderr);
        assert!(error.contains("mine.toml exists already") && error.lines().count() == 1, "{error}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), content);
    }
    // A link that leads nowhere is somebody's, too.
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("elsewhere.toml", &file).unwrap();
    assert_eq!(run(files.path(), &init).status.code(), Some(1));
    assert!(!files.path().join("elsewhere.toml").exists());
}

#[test]
fn two_files_have_different_secrets() {
    let files = TempDir::new().unwrap();
    let [one, other] = ["one.toml", "other.toml"].map(|name| {
        let output = run(files.path(), &["init", "--origin", "http://localhost:3000", "--config", name]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        std::fs::read_to_string(files.path().join(name)).unwrap()
    });
    let secrets = [&one, &other].map(|settings| [value(settings, "hmac_secret"), value(settings, "keys")]);
    let all: HashSet<String> = secrets.into_iter().flatten().collect();
    assert_eq!(all.len(), 4, "{all:?}");
}

#[test]
fn what_makes_no_good_settings_writes_no_file() {
    let files = TempDir::new().unwrap();
    for (arguments, problem) in [
        (&["--origin", "app.example.com"][..], "https://host"),
        (&["--origin", "http://a", "--namespace", "a:b"], "letters and digits"),
        (&["--origin", "http://a", "--address", "localhost"], "http.address"),
        (&["--origin", "http://a", "--address", "1.2.3.4:5\"\n[x]"], "http.address"),
        (&[], "--origin"),
        (&["--namespace", "chat"], "--origin"),
        (&["--origin", "http://a", "--config", "nowhere/gorani.toml"], "nowhere/gorani.toml"),
    ] {
        let output = run(files.path(), &[&["init"], arguments].concat());
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?} {error}");
        assert!(error.contains(problem), "{arguments:?} gave {error}");
        assert_eq!(std::fs::read_dir(files.path()).unwrap().count(), 0);
    }
}
