//! Hooks: a backend is told what happened, whatever happens to it and to the node. `docs/protocols/hooks.md`.

use std::{
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use gorani_tests::{
    backend::{Answer, Request, recorder::Recorder, signature::SECRET},
    binary,
    node::{Node, Settings},
    redis::Redis,
};

use crate::{eventually, subscribed};

/// Longest wait for the end of a node.
const STOPPED_WITHIN: Duration = Duration::from_secs(60);

/// An endpoint of the settings that wants all that a test looks at.
fn endpoint(name: &str, recorder: &Recorder) -> String {
    format!(
        r#"{{ name = "{name}", url = "{}", secrets = ["{SECRET}"], events = ["connected", "disconnected", "subscribed", "occupied", "vacated"] }}"#,
        recorder.url()
    )
}

fn telling(recorders: &[(&str, &Recorder)]) -> Settings {
    let endpoints: Vec<_> = recorders.iter().map(|(name, recorder)| endpoint(name, recorder)).collect();
    Settings::open()
        .set("hooks.grace", "\"0s\"")
        .set("hooks.endpoints", format!("[{}]", endpoints.join(", ")))
}

fn over(redis: &Redis, settings: Settings) -> Settings {
    settings.set("broker.kind", "\"redis\"").set("broker.redis.url", format!("\"{}\"", redis.url()))
}

/// Refuses batches with an event of a channel whose name has this in it.
fn refusing(text: &'static str) -> impl Fn(&Request) -> Answer {
    move |request| Answer::status(if request.json().to_string().contains(text) { 422 } else { 204 })
}

/// The output of `gorani hooks`.
fn hooks(settings: &Settings, node: &Node, arguments: &[&str]) -> String {
    let file = tempfile(settings, node);
    let output = Command::new(binary::node())
        .arg("hooks")
        .args(arguments)
        .args(["--config"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The settings of a node with the address that it really has.
fn tempfile(settings: &Settings, node: &Node) -> std::path::PathBuf {
    let address = node.address();
    let file = std::env::temp_dir().join(format!("gorani-hooks-{}.toml", address.port()));
    let text = settings.clone().set("http.address", format!("\"{address}\"")).text();
    std::fs::write(Path::new(&file), text).unwrap();
    file
}

#[test]
fn a_backend_is_told_who_comes_and_goes_in_order_and_signed() {
    let recorder = Recorder::signed(SECRET);
    let node = Node::start(telling(&[("shop", &recorder)]));
    let socket = subscribed(&node, "open:a");
    recorder.wait("all", |recorded| {
        recorded.of_type("occupied").count() == 1 && recorded.of_type("subscribed").count() == 1
    });
    drop(socket);
    let recorded = recorder.wait("the end", |recorded| {
        recorded.of_type("disconnected").count() == 1 && recorded.of_type("vacated").count() == 1
    });
    assert_eq!(recorded.faults, [""; 0]);
    assert!(recorded.present.clients.is_empty() && recorded.present.channels.is_empty());
    assert!(recorded.of_type("connected").all(|event| event["partition"].is_u64()));
}

#[test]
fn a_node_that_is_stopped_tells_the_end_of_all_its_sessions() {
    let recorder = Recorder::signed(SECRET);
    let mut node = Node::start(telling(&[("shop", &recorder)]));
    let _sockets = [subscribed(&node, "open:a"), subscribed(&node, "open:b")];
    recorder.wait("both", |recorded| recorded.of_type("occupied").count() == 2);
    node.terminate();
    assert!(node.wait_exit(STOPPED_WITHIN).unwrap().success());
    let recorded = recorder.recorded();
    assert_eq!(
        recorded.of_type("disconnected").map(|event| event["code"].clone()).collect::<Vec<_>>(),
        [3001, 3001]
    );
    assert!(recorded.present.clients.is_empty(), "{:?}", recorded.present);
    assert_eq!(recorded.faults, [""; 0]);
}

#[test]
fn an_event_that_is_refused_blocks_no_other_and_is_replayed_from_the_dead_letters() {
    let recorder = Recorder::answering(Some(SECRET.to_owned()), refusing("open:bad"));
    let settings = telling(&[("shop", &recorder)]).set("hooks.partitions", "1");
    let node = Node::start(settings.clone());
    let _bad = subscribed(&node, "open:bad");
    let _good = subscribed(&node, "open:good");
    // Two events name the channel, one after the other.
    let give_up = Duration::from_secs(60);
    let mut list = String::new();
    eventually("two dead letters", give_up, || {
        list = hooks(&settings, &node, &["list"]);
        list.lines().count() == 2
    });
    assert!(list.lines().all(|line| line.contains("\tshop\t5\t422")), "{list}");
    recorder.wait("the others", |recorded| recorded.present.channels.contains("open:good"));
    recorder.answer_by(Some(SECRET.to_owned()), |_| Answer::status(200));
    assert_eq!(hooks(&settings, &node, &["replay", "--type", "occupied"]), "shop: 1 sent again\n");
    let is_replayed = |event: &serde_json::Value| event["replayed"] == true;
    let recorded = recorder.wait("the replayed one", |recorded| recorded.events.iter().any(is_replayed));
    let again: Vec<_> = recorded.events.iter().filter(|event| is_replayed(event)).collect();
    assert_eq!(again.len(), 1);
    assert_eq!((&again[0]["type"], &again[0]["channel"]), (&"occupied".into(), &"open:bad".into()));
    assert_eq!(hooks(&settings, &node, &["discard"]), "shop: 1 deleted\n");
    assert_eq!(hooks(&settings, &node, &["show"]), "");
}

#[test]
fn an_endpoint_that_is_away_gets_everything_later_and_another_one_does_not_wait_for_it() {
    let away = Recorder::answering(Some(SECRET.to_owned()), |_| Answer::status(503));
    let other = Recorder::signed(SECRET);
    let node = Node::start(telling(&[("away", &away), ("other", &other)]));
    let _socket = subscribed(&node, "open:a");
    other.wait("its events", |recorded| recorded.of_type("occupied").count() == 1);
    away.wait("an attempt", |recorded| recorded.refused > 0);
    away.answer_by(Some(SECRET.to_owned()), |_| Answer::status(200));
    let recorded = away.wait("its events", |recorded| recorded.of_type("occupied").count() == 1);
    assert_eq!(recorded.faults, [""; 0]);
}

#[test]
fn retries_go_on_after_a_restart_of_the_node_and_nothing_is_lost() {
    let redis = Redis::start();
    let tried = Arc::new(Mutex::new(String::new()));
    let seen = tried.clone();
    let recorder = Recorder::answering(Some(SECRET.to_owned()), move |request| {
        let body = request.json().to_string();
        seen.lock().unwrap().push_str(&body);
        // A batch that failed comes again as it was, so what stands before the events must be taken.
        let is_theirs = body.contains(r#""type":"connected""#) || body.contains(r#""type":"occupied""#);
        Answer::status(if is_theirs { 500 } else { 200 })
    });
    let mut node = Node::start(over(&redis, telling(&[("shop", &recorder)])));
    let socket = subscribed(&node, "open:a");
    // Before that the store may not have them, and then a killed node cannot have told them.
    eventually("attempts with both events", STOPPED_WITHIN, || {
        let tried = tried.lock().unwrap();
        tried.contains(r#""type":"connected""#) && tried.contains(r#""type":"occupied""#)
    });
    node.kill();
    drop(socket);
    recorder.answer_by(Some(SECRET.to_owned()), |_| Answer::status(200));
    node.restart();
    let recorded = recorder.wait("the end of the killed node's session", |recorded| {
        recorded.of_type("disconnected").count() == 1 && recorded.of_type("vacated").count() == 1
    });
    assert_eq!(recorded.of_type("disconnected").next().unwrap()["lost"], true);
    assert_eq!(recorded.of_type("connected").count(), 1);
    assert_eq!(recorded.faults, [""; 0]);
}

#[test]
fn another_number_of_partitions_than_the_store_was_made_with_is_exit_code_78() {
    let redis = Redis::start();
    let recorder = Recorder::signed(SECRET);
    let settings = over(&redis, telling(&[("shop", &recorder)]));
    drop(Node::start(settings.clone()));
    let mut node = Node::spawn(settings.set("hooks.partitions", "8"));
    assert_eq!(node.wait_exit(STOPPED_WITHIN).unwrap().code(), Some(78));
    eventually("the setting is named", STOPPED_WITHIN, || node.output().contains("hooks.partitions"));
}
