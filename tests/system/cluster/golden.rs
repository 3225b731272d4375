//! Keys in Redis and messages between nodes that a released version has written, read by this one. The files are never
//! changed; a new released version adds its own (`make golden`).
//!
//! - `keys.json`: every key of two nodes with history, presence, leases, counted connections, an idempotency key, a work queue and
//!   events of hooks that wait.
//! - `messages.json`: everything that the nodes published in Redis: publications, joins, leaves, commands, queries and answers.
//! - `forwarded.http`: a sealed request from one node to the other; `src/forward/signature.rs` opens it.
//! - `answers.json`: what the API said of the same.

use std::{fs, path::PathBuf};

use gorani_tests::{
    backend::{recorder::Recorder, signature::SECRET},
    client::Client,
    node::{Node, Settings, free_address},
    redis::Redis,
    redis_data::{RedisConnection, bytes_of},
    stomp::Stomp,
};
use serde_json::{Value, json};

use super::{
    SOON,
    users::{connect, settings as of_users, token},
};
use crate::{
    eventually,
    forward::{Stream, gate::Tap},
};

/// The versions of which there are files, with the commit of those that have no number of their own.
const VERSIONS: [&str; 1] = ["0.1.0-f2901af"];
/// The variable that names the directory into which the files are written.
const WRITE_TO: &str = "GORANI_GOLDEN";
/// The channel with history and presence of which the files tell.
const CHANNEL: &str = "kept:golden";
/// The channel without history.
const LIVE: &str = "seen:golden";
/// The owner of a work queue.
const BACKEND: &str = "login:shop\npasscode:hush\n";
const JOBS: &str = "/queue/golden";
/// Milliseconds for which the leases of the nodes of that version last longer than they did: this one may take long to start.
const LEASES_LAST_LONGER_MS: u64 = 40_000;

/// The settings of all nodes here. `hooks`: the URL of the endpoint.
fn settings(redis: &Redis, hooks: &str) -> Settings {
    let endpoint = format!(
        r#"{{ name = "shop", url = "{hooks}", secrets = ["{SECRET}"], events = ["connected", "subscribed", "occupied"] }}"#
    );
    of_users(redis)
        .set("cluster.secret", "\"the secret of the golden files\"")
        .set("cluster.lease", "\"20s\"")
        .set("hooks.grace", "\"0s\"")
        .set("hooks.partitions", "2")
        .set("hooks.endpoints", format!("[{endpoint}]"))
        .set("stomp.users", r#"[{ name = "shop", password = "hush" }]"#)
        .set("stomp.tcp.address", format!("\"{}\"", free_address()))
}

fn stomp_address(settings: &Settings) -> std::net::SocketAddr {
    let text = settings.text();
    let line = text.lines().find_map(|line| line.strip_prefix("stomp.tcp.address = ")).unwrap();
    line.trim_matches('"').parse().unwrap()
}

fn file(version: &str, name: &str) -> Value {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/system/golden")).join(version).join(name);
    let text = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap()
}

/// The API's answers about the channel.
fn answers(node: &Node) -> Value {
    let history = node.api().ok("history", &json!({"channel": CHANNEL, "limit": 10}));
    let presence = node.api().ok("presence", &json!({"channel": CHANNEL}));
    let stats = node.api().ok("presence_stats", &json!({"channel": CHANNEL}));
    json!({"history": history, "presence": presence, "presence_stats": stats})
}

#[tokio::test]
#[ignore = "writes the files of the version that GORANI_BIN names: make golden"]
async fn the_files_of_a_released_version_are_written() {
    let to = PathBuf::from(std::env::var_os(WRITE_TO).expect("GORANI_GOLDEN names a directory"));
    let (redis, tap) = (Redis::start(), Tap::start());
    let heard = RedisConnection::open(redis.address()).listen();
    // Nobody listens there: its events wait.
    let hooks = format!("http://{}/hooks", free_address());
    let with_name = |name: &str| settings(&redis, &hooks).set("node.name", format!("\"{name}\""));
    let limited = |settings: Settings| settings.set("client.max_connections_per_user", "9");
    let first = limited(with_name("n1"));
    let second = limited(with_name("n2")).set("cluster.advertise", format!("\"{}\"", tap.address));
    let tcp = stomp_address(&first);
    let nodes = [first, second].map(Node::start);
    tap.lead_to(nodes[1].address());
    let mut clients = Vec::new();
    for (node, user) in nodes.iter().zip(["42", "고라니"]) {
        let (mut client, _) = connect(node, user).await;
        for channel in [CHANNEL, LIVE] {
            client.ok("subscribe", json!({"channel": channel})).await;
        }
        clients.push(client);
    }
    let mut gone = connect(&nodes[0], "43").await.0;
    gone.ok("subscribe", json!({"channel": LIVE})).await;
    gone.close().await;
    let publish = |at: usize, more: Value| {
        let mut request = json!({"channel": CHANNEL});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        nodes[at].api().ok("publish", &request)
    };
    publish(0, json!({"data": {"a": 1}, "tags": {"k": "고라니"}}));
    publish(1, json!({"b64data": "AP8=", "exclude_client": "0badcafe0000000000000001"}));
    let keyed = json!({"data": "keyed", "idempotency_key": "golden-key"});
    publish(0, keyed.clone());
    publish(1, keyed);
    publish(0, json!({"data": [1, "<\u{1}>"]}));
    publish(0, json!({"channel": LIVE, "data": {"live": true}, "tags": {"k": "v"}}));
    let mut stomp = Stomp::connect(tcp, BACKEND);
    stomp.send(JOBS, "kind:a\nreceipt:r\n", b"a job");
    stomp.receipt("r");
    let mut stream = Stream::open(nodes[1].address());
    assert_eq!(stream.post(nodes[0].address(), "subscribe", json!({"channel": "open:a"})), 204);
    for (method, request) in [
        ("subscribe", json!({"user": "42", "channel": "open:golden", "data": {"n": 1}})),
        ("unsubscribe", json!({"user": "42", "channel": "open:golden"})),
        ("refresh", json!({"user": "42"})),
        ("connections", json!({"user": "42"})),
        ("channels", json!({})),
        ("info", json!({})),
    ] {
        nodes[1].api().ok(method, &request);
    }
    let answers = json!({"api": answers(&nodes[0]), "info": nodes[0].api().ok("info", &json!({}))});
    let keys = RedisConnection::open(redis.address()).dump();
    nodes[1].api().ok("disconnect", &json!({"user": "42"}));
    eventually("the order to disconnect was heard", SOON, || {
        serde_json::to_string(&*heard.lock().unwrap()).unwrap().contains("disconnect")
    });
    fs::create_dir_all(&to).unwrap();
    let heard: Vec<Value> = heard.lock().unwrap().clone();
    let mut messages: Vec<Value> = Vec::new();
    for message in heard {
        let is_canary = message["channel"].as_str().is_some_and(|channel| channel.contains("canary"));
        if !is_canary && !messages.contains(&message) {
            messages.push(message);
        }
    }
    for (name, content) in
        [("keys.json", keys), ("messages.json", messages.into()), ("answers.json", answers)]
    {
        fs::write(to.join(name), serde_json::to_string_pretty(&content).unwrap() + "\n").unwrap();
    }
    fs::write(to.join("forwarded.http"), tap.caught()).unwrap();
}

#[tokio::test]
async fn golden_keys_of_released_versions_are_read_by_this_one() {
    for version in VERSIONS {
        let (mut keys, expected) = (file(version, "keys.json"), file(version, "answers.json"));
        // The node that delivered the events of hooks has given up its partitions.
        let is_partition = |key: &Value| key["key"].as_str().is_some_and(|key| key.contains("owner:{hooks"));
        keys["keys"].as_array_mut().unwrap().retain(|key| !is_partition(key));
        let is_leases = |key: &&mut Value| key["key"] == "gorani:leases:{%}";
        let leases = keys["keys"].as_array_mut().unwrap().iter_mut().find(is_leases).unwrap();
        for deadline in leases["content"].as_array_mut().unwrap().iter_mut().skip(1).step_by(2) {
            let later = deadline.as_str().unwrap().parse::<u64>().unwrap() + LEASES_LAST_LONGER_MS;
            *deadline = later.to_string().into();
        }
        let redis = Redis::start();
        RedisConnection::open(redis.address()).restore(&keys);
        let recorder = Recorder::signed(SECRET);
        let settings = settings(&redis, &recorder.url()).set("client.max_connections_per_user", "1");
        let tcp = stomp_address(&settings);
        let node = Node::start(settings);

        assert_eq!(answers(&node), expected["api"], "{version}");
        let info = node.api().ok("info", &json!({}));
        for old in expected["info"]["nodes"].as_array().unwrap() {
            let shown = info["nodes"].as_array().unwrap().iter().find(|node| node["uid"] == old["uid"]);
            let shown = shown.unwrap_or_else(|| panic!("{old} is not in {info}"));
            assert_eq!((&shown["name"], &shown["version"]), (&old["name"], &old["version"]));
        }

        // The user's connection at a node of that version counts.
        let mut second = Client::open(node.address()).await;
        let refused = second.attempt("connect", json!({"token": token("42")})).await;
        assert_eq!(refused.unwrap_err().0, 3504, "{version}");

        // A client of that version's nodes comes back where it was.
        let history = &expected["api"]["history"];
        let (top, epoch) = (history["offset"].as_u64().unwrap(), &history["epoch"]);
        let (mut client, _) = connect(&node, "44").await;
        let recover = json!({"channel": CHANNEL, "recover": true, "offset": 1, "epoch": epoch});
        let subscribed = client.ok("subscribe", recover).await;
        assert_eq!(subscribed["recovered"], true, "{subscribed}");
        let offsets: Vec<_> =
            subscribed["publications"].as_array().unwrap().iter().map(|one| &one["offset"]).collect();
        assert_eq!(offsets, (2..=top).collect::<Vec<_>>(), "{version}");

        // The same key is the same publication, and the next one follows.
        let keyed = json!({"channel": CHANNEL, "data": "keyed", "idempotency_key": "golden-key"});
        assert_eq!(node.api().ok("publish", &keyed)["offset"], 3, "{version}");
        let next = node.api().ok("publish", &json!({"channel": CHANNEL, "data": "next"}));
        assert_eq!((&next["offset"], &next["epoch"]), (&json!(top + 1), epoch), "{version}");
        assert_eq!(client.publication().await, "next");

        let mut worker = Stomp::connect(tcp, BACKEND);
        worker.subscribe("0", JOBS, "ack:auto\n");
        let job = worker.message();
        assert_eq!((job.text(), job.get("kind")), ("a job", Some("a")), "{version}");

        let told = recorder.wait("events that waited", |told| {
            ["connected", "subscribed", "occupied"].iter().all(|kind| told.of_type(kind).count() > 0)
                && told.events.iter().any(|event| event["channel"] == LIVE)
        });
        assert_eq!(told.faults, [""; 0], "{version}");
    }
}

/// Messages of one kind: those on this pub/sub channel whose text has this in it.
fn messages(all: &Value, channel: &str, text: &str) -> Vec<Vec<u8>> {
    let of_kind = |message: &&Value| {
        message["channel"].as_str().is_some_and(|name| name.contains(channel))
            && message["message"].to_string().contains(text)
    };
    let found: Vec<_> =
        all.as_array().unwrap().iter().filter(of_kind).map(|message| bytes_of(&message["message"])).collect();
    assert!(!found.is_empty(), "no message has {text} on {channel}");
    found
}

#[tokio::test]
async fn golden_messages_of_released_versions_are_read_by_this_one() {
    for version in VERSIONS {
        let all = file(version, "messages.json");
        let redis = Redis::start();
        let node = Node::start(of_users(&redis));
        let (mut client, id) = connect(&node, "42").await;
        client.ok("subscribe", json!({"channel": LIVE, "join_leave": true})).await;
        let mut backend = RedisConnection::open(redis.address());
        let mut say = |channel: &str, message: &[u8]| {
            backend.ask(&[b"PUBLISH", channel.as_bytes(), message]);
        };

        // Three clients came, the last of them left, and something was published.
        let events = format!("gorani:events:{{{LIVE}}}");
        messages(&all, &events, "").iter().take(5).for_each(|message| say(&events, message));
        let (mut joins, mut leaves) = (Vec::new(), Vec::new());
        let publication = loop {
            let mut push = client.push().await;
            let mut info = |kind: &str| push.get_mut(kind).map(|told| told["info"].take());
            joins.extend(info("join"));
            leaves.extend(info("leave"));
            if let Some(publication) = push.get_mut("pub") {
                break publication.take();
            }
        };
        joins.retain(|info| info["client"] != id);
        let users: Vec<_> = joins.iter().map(|info| info["user"].as_str().unwrap()).collect();
        assert_eq!(users, ["42", "고라니", "43"], "{version}");
        let left: Vec<_> = leaves.iter().map(|info| &info["client"]).collect();
        assert_eq!(left, [&joins[2]["client"]], "{version}");
        assert_eq!((&publication["data"], &publication["tags"]["k"]), (&json!({"live": true}), &json!("v")));

        // Commands are carried out and queries answered, to the node that wrote them.
        let heard = RedisConnection::open(redis.address()).listen();
        let is_answered = |count: usize| {
            eventually("the answers were heard", SOON, || {
                heard.lock().unwrap().iter().filter(|said| said.to_string().contains("answer")).count()
                    >= count
            });
            let heard = heard.lock().unwrap();
            let answer = heard.iter().rfind(|said| said.to_string().contains("answer")).unwrap();
            serde_json::from_slice::<Value>(&bytes_of(&answer["message"])).unwrap()["body"]["answer"].take()
        };
        let everybody = "gorani:nodes:{%}";
        let mut count = 0;
        for (text, done) in
            [("subscribe\\\":{", "subscribe"), ("unsubscribe", "unsubscribe"), ("refresh", "")]
        {
            for message in messages(&all, everybody, text).iter().take(1) {
                say(everybody, message);
                count += 1;
                assert_eq!(is_answered(count), "done", "{version}: {text}");
            }
            if !done.is_empty() {
                assert!(client.push().await[done].is_object(), "{version}: {done}");
            }
        }
        for (text, expected) in
            [("connections", id.as_str()), ("channels", LIVE), ("counts", "subscriptions")]
        {
            say(everybody, &messages(&all, everybody, text)[0]);
            count += 1;
            let answer = is_answered(count);
            assert!(answer[text].get(expected).is_some(), "{version}: {answer} has no {expected}");
        }
        say(everybody, &messages(&all, everybody, "disconnect")[0]);
        assert_eq!(client.closed().await.0, 3503, "{version}");
    }
}
