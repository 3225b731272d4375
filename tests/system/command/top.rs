//! `gorani top`: once for scripts, and in a real terminal (tmux). `services/gateway/docs/commands.md`.

use std::{process::Command, time::Duration};

use gorani_tests::{
    binary,
    client::Client,
    node::{Node, Settings},
};
use serde_json::json;
use tempfile::TempDir;

use super::{at, objects, operated, text};
use crate::eventually;

const SOON: Duration = Duration::from_secs(60);

#[tokio::test]
async fn each_table_is_printed_once_as_text_json_and_csv() {
    let node = Node::start(operated(Settings::open()));
    let _client = Client::subscribed(node.address(), "open:a").await;
    eventually("it is counted", SOON, || {
        objects(&at(&node, &["top", "--once", "--json"]))[0]["connections"] == 1
    });
    let lines = objects(&at(&node, &["top", "channels", "--once", "--json"]));
    assert_eq!((&lines[0]["table"], &lines[1]["channel"]), (&json!("overview"), &json!("open:a")));
    let transports = text(&at(&node, &["top", "transports", "--once", "--csv"]).stdout);
    assert!(
        transports.starts_with("transport,connections,nodes\r\n") && transports.contains("websocket,1,"),
        "{transports}"
    );
    let nodes = text(&at(&node, &["top", "--once"]).stdout);
    assert!(nodes.starts_with("nodes 1/1") && nodes.contains("\nNODE "), "{nodes}");
    for table in ["connections", "slow", "users"] {
        let output = at(&node, &["top", table, "--once", "--json", "--filter", "transport=websocket"]);
        assert!(output.status.success(), "{table}: {}", text(&output.stderr));
        let rows = objects(&output).len() - 1;
        assert_eq!(rows, usize::from(table != "slow"), "{table}");
    }
    let code = |arguments: &[&str]| at(&node, &[&["top"], arguments].concat()).status.code();
    // There is no terminal here; and bad use is told.
    assert_eq!(code(&[]), Some(2));
    assert_eq!(code(&["--once", "--sort", "nonsense"]), Some(2));
    assert_eq!(code(&["--json"]), Some(2));
    let url = format!("http://{}/admin", node.address());
    assert_eq!(code(&["--once", "--server", &url, "--key", "wrong"]), Some(4));
}

/// A terminal of tmux, in which one command runs; ended when dropped.
struct Pane {
    files: TempDir,
}

impl Pane {
    fn start(columns: u16, lines: u16, command: &str) -> Self {
        let pane = Self { files: TempDir::new().unwrap() };
        let (columns, lines) = (columns.to_string(), lines.to_string());
        pane.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", &columns, "-y", &lines, command]);
        pane
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let mut tmux = Command::new("tmux");
        tmux.arg("-S").arg(self.files.path().join("socket")).args(arguments).env_remove("TMUX");
        let output = tmux.output().expect("tmux is installed; `make test` sees to it");
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    fn shown(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    fn wait_for(&self, part: &str) {
        eventually(part, SOON, || self.shown().contains(part));
    }

    fn keys(&self, keys: &str) {
        self.tmux(&["send-keys", keys]);
    }
}

impl Drop for Pane {
    fn drop(&mut self) {
        let socket = self.files.path().join("socket");
        // It fails only when it is gone already.
        let _ = Command::new("tmux").arg("-S").arg(socket).arg("kill-server").output();
    }
}

#[tokio::test]
async fn in_a_terminal_keys_choose_the_table_and_q_gives_the_terminal_back() {
    let node = Node::start(operated(Settings::open()));
    let _client = Client::subscribed(node.address(), "open:a").await;
    let (program, file) = (binary::node(), node.settings_file());
    let command = format!(
        "sh -c '{} top --config {}; echo ended $?; stty -a; exec cat'",
        program.display(),
        file.display()
    );
    let pane = Pane::start(80, 24, &command);
    pane.wait_for("nodes: 1 ");
    pane.keys("2");
    pane.wait_for("open:a");
    pane.keys("?");
    pane.wait_for("sort by the next column");
    pane.keys("x");
    pane.keys("p");
    pane.wait_for("PAUSED");
    pane.tmux(&["resize-window", "-x", "20", "-y", "5"]);
    eventually("it fits", SOON, || pane.shown().lines().all(|line| line.chars().count() <= 20));
    pane.tmux(&["resize-window", "-x", "100", "-y", "40"]);
    pane.wait_for("channels: 1");
    pane.keys("q");
    pane.wait_for("ended 0");
    let left = pane.shown();
    assert!(left.contains("polls in") && !left.contains("-icanon") && !left.contains("-echo "), "{left}");
    assert_eq!(pane.tmux(&["display-message", "-p", "#{alternate_on}"]).trim(), "0");
}

#[test]
fn a_signal_and_the_last_round_give_the_terminal_back() {
    let node = Node::start(operated(Settings::open()));
    let (program, file) = (binary::node(), node.settings_file());
    let (program, file) = (program.display(), file.display());
    let line = format!(
        "sh -c \"echo \\$\\$ > {file}.pid; exec {program} top --config {file}\"; echo ended $?; stty -a; exec cat"
    );
    let pane = Pane::start(80, 24, &line);
    pane.wait_for("nodes: 1 ");
    let id = std::fs::read_to_string(format!("{file}.pid")).unwrap();
    let signal = Command::new("kill").args(["-TERM", id.trim()]).status().unwrap();
    assert!(signal.success());
    pane.wait_for("ended 0");
    assert!(!pane.shown().contains("-icanon"), "{}", pane.shown());
    let rounds = format!("sh -c '{program} top --rounds 2 --config {file}; echo ended $?; exec cat'");
    let pane = Pane::start(80, 24, &rounds);
    pane.wait_for("ended 0");
    assert!(pane.shown().contains("2 polls in"), "{}", pane.shown());
}

#[test]
fn a_terminal_that_goes_away_ends_it_whether_or_not_a_signal_comes() {
    let node = Node::start(operated(Settings::open()));
    let (program, file) = (binary::node(), node.settings_file());
    let (program, file) = (program.display(), file.display());
    // In a session of its own it has no controlling terminal, and is told nothing.
    for session in ["exec", "exec setsid --wait"] {
        let line =
            format!("{session} sh -c \"echo \\$\\$ > {file}.pid; exec {program} top --config {file}\"");
        let pane = Pane::start(80, 24, &line);
        pane.wait_for("nodes: 1 ");
        let id = std::fs::read_to_string(format!("{file}.pid")).unwrap();
        drop(pane);
        eventually(session, SOON, || {
            // One that nobody has waited for yet has ended, too.
            std::fs::read_to_string(format!("/proc/{}/stat", id.trim()))
                .map_or(true, |state| state.contains(") Z "))
        });
    }
}
