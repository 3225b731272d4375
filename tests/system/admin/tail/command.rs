//! `gorani tail`: lines, the sum, exit codes, and the end.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use gorani_tests::{
    binary,
    node::Node,
    process::{Process, Signal},
};
use serde_json::Value;

use super::{SOON, metric, publish, tailed_settings};
use crate::{admin::VIEWER, eventually};

/// The command, which asks a node.
fn command(node: &Node, key: &str, arguments: &[&str]) -> Child {
    let mut command = Command::new(binary::node());
    command.arg("tail").args(arguments);
    command.args(["--server", &format!("http://{}/admin", node.address()), "--key", key]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[tokio::test]
async fn the_command_prints_lines_and_sums_them_up() {
    let node = Node::start(tailed_settings());
    publish(&node.api(), "kept:a", 1..4);
    // Long enough for the history to be read before.
    let arguments = ["kept:a", "--since", "0", "--for", "4s", "--json"];
    let output = command(&node, VIEWER, &arguments).wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let kinds: Vec<Value> =
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["kind"].take()).collect();
    assert_eq!(kinds, ["began", "publication", "publication", "publication", "ended"]);
    let sum = String::from_utf8(output.stderr).unwrap();
    assert!(sum.starts_with("gorani: 3 events in ") && sum.contains("0 skipped; ended: time"), "{sum}");
    assert_eq!(output.status.code(), Some(0));
    let output = command(&node, VIEWER, &["kept:a", "--for", "1s"]).wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "nothing came");
    for (arguments, key, code) in [
        (&["kept:a", "--contents"][..], VIEWER, 4),
        (&["kept:a"], "another-key-0123456789", 4),
        (&["kept:a", "--since", "x"], VIEWER, 2),
        (&["none:a"], VIEWER, 1),
    ] {
        let output = command(&node, key, arguments).wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    }
    let nowhere = Command::new(binary::node())
        .args(["tail", "a", "--server", "http://127.0.0.1:1/admin", "--key", "k"])
        .output()
        .unwrap();
    assert_eq!(nowhere.status.code(), Some(3));
}

#[tokio::test]
async fn the_command_ends_at_an_interrupt_and_when_nobody_reads_it() {
    let node = Node::start(tailed_settings());
    publish(&node.api(), "kept:a", 1..4);
    let mut child = command(&node, VIEWER, &["kept:a", "--since", "0"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..3 {
        assert!(lines.next().unwrap().unwrap().contains("  by backend"));
    }
    Process::new(child.id()).signal(Signal::SIGINT);
    let output = child.wait_with_output().unwrap();
    let sum = String::from_utf8(output.stderr).unwrap();
    assert!(sum.starts_with("gorani: 3 events in ") && sum.contains("ended: interrupted"), "{sum}");
    assert_eq!(output.status.code(), Some(0));
    let mut child = command(&node, VIEWER, &["kept:a"]);
    eventually("the tail is there", SOON, || metric(&node, "gorani_channels ").ends_with(" 1"));
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
