//! SIGHUP: live settings and certificates are put in place, and no connection notices. Whatever is wrong in the files changes nothing.
//! Records 46, 61 and 62; `docs/protocols/client.md` §10.19.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    path::Path,
    sync::{Arc, atomic},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use gorani_tests::{
    client::Client,
    node::{Node, Settings, free_address},
    process::Signal,
    stomp::Stomp,
};
use jsonwebtoken::{EncodingKey, Header};
use rustls::ClientConfig;
use serde_json::{Value, json};

use crate::{
    eventually,
    tls::{certified, connect_to, request, start_with, write_certificate},
};

/// Long enough for a reload on a busy machine.
const SOON: Duration = Duration::from_secs(40);
/// The beginning of a year, in Unix seconds.
const START_OF_2030: u64 = 1_893_456_000;
/// A year later.
const START_OF_2031: u64 = 1_924_992_000;
const FIRST: &str = "the-first-secret-of-the-tests-0123456789";
const SECOND: &str = "the-second-secret-of-the-tests-0123456789";
const THIRD: &str = "the-third-secret-of-the-tests-0123456789";

fn settings(secret: &str, previous: &str) -> Settings {
    let private = r#"[{ name = "open", allow_subscribe_for_client = true }, { name = "room" }]"#;
    Settings::open()
        .set("http.workers", "2")
        .set("client.allow_anonymous", "false")
        .set("channel.namespaces", private)
        .set("token.hmac_secret", format!("{secret:?}"))
        .set("token.hmac_secret_previous", format!("{previous:?}"))
}

fn sign(secret: &str, claims: &Value) -> String {
    jsonwebtoken::encode(&Header::default(), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

fn claims() -> Value {
    let expires = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 600;
    json!({"sub": "42", "exp": expires})
}

/// `Ok` if a token of this secret opens a connection, else the code of the end.
async fn connect(node: &Node, secret: &str) -> Result<Client, u16> {
    let mut client = Client::open(node.address()).await;
    match client.attempt("connect", json!({"token": sign(secret, &claims())})).await {
        Ok(reply) if reply.get("error").is_none() => Ok(client),
        Ok(reply) => panic!("{reply}"),
        Err((code, _)) => Err(code),
    }
}

/// Number of lines of the log that say so.
fn told(node: &Node, what: &str) -> usize {
    node.output().matches(what).count()
}

/// Sends SIGHUP and waits for the line that tells of its result.
fn reload(node: &Node, result: &str) {
    let before = told(node, result);
    node.process().signal(Signal::SIGHUP);
    eventually(result, SOON, || told(node, result) > before);
}

const RELOADED: &str = "settings reloaded";
const REFUSED: &str = "settings not reloaded";

#[tokio::test]
async fn secrets_rotate_in_three_steps_and_no_connection_ends() {
    let node = Node::start(settings(FIRST, ""));
    let mut witness = connect(&node, FIRST).await.unwrap();
    witness.ok("subscribe", json!({"channel": "open:a"})).await;
    assert_eq!(connect(&node, SECOND).await.err(), Some(3500));

    node.write_settings(&settings(SECOND, FIRST));
    reload(&node, RELOADED);
    assert!(connect(&node, FIRST).await.is_ok());
    let mut second = connect(&node, SECOND).await.unwrap();
    // Subscription tokens of both, on a connection of either.
    for (client, secret) in [(&mut witness, SECOND), (&mut second, FIRST)] {
        let mut claims = claims();
        claims["channel"] = "room:1".into();
        client.ok("subscribe", json!({"channel": "room:1", "token": sign(secret, &claims)})).await;
    }

    node.write_settings(&settings(SECOND, ""));
    reload(&node, RELOADED);
    assert_eq!(connect(&node, FIRST).await.err(), Some(3500));
    assert!(connect(&node, SECOND).await.is_ok());
    // Who came with the removed one is still there, and comes on with a token of the new one.
    witness.ok("refresh", json!({"token": sign(SECOND, &claims())})).await;
    node.api().publish("open:a", &json!("still here"));
    assert_eq!(witness.publication().await, "still here");
    assert_eq!(told(&node, "are refused from now on"), 0, "every step kept the secret before it");

    // A secret that goes at once is told.
    node.write_settings(&settings(THIRD, ""));
    reload(&node, RELOADED);
    assert_eq!(connect(&node, SECOND).await.err(), Some(3500));
    eventually("the warning", SOON, || told(&node, "are refused from now on") == 1);
    let output = node.output();
    assert!([FIRST, SECOND, THIRD].iter().all(|secret| !output.contains(secret)), "a secret is in the log");
    assert!(output.contains("token.hmac_secret_previous"), "{output}");
    let (_, metrics) = node.api().get("/metrics");
    assert!(metrics.contains("gorani_settings_reloads_total{result=\"done\"} 3"), "{metrics}");
}

#[tokio::test]
async fn settings_with_a_mistake_change_nothing_and_the_next_good_ones_count() {
    let node = Node::start(settings(FIRST, ""));
    let mut witness = connect(&node, FIRST).await.unwrap();
    witness.ok("subscribe", json!({"channel": "open:a"})).await;
    let broken = [
        "this is no TOML [".to_owned(),
        settings(SECOND, "").set("no.such.key", "1").text(),
        settings(SECOND, "").set("token.rsa_public_key", "\"no PEM\"").text(),
        settings(SECOND, "").set("client.channel_max_bytes", "1000").text(),
        settings("", FIRST).text(),
    ];
    for text in broken {
        node.write_file(&text);
        reload(&node, REFUSED);
        assert!(connect(&node, FIRST).await.is_ok(), "{text}");
        assert_eq!(connect(&node, SECOND).await.err(), Some(3500), "{text}");
        let (_, metrics) = node.api().get("/metrics");
        assert!(metrics.contains("gorani_settings_last_reload_successful 0"), "{metrics}");
    }
    node.write_settings(&settings(SECOND, FIRST).set("reads.api", "7"));
    reload(&node, RELOADED);
    assert!(connect(&node, SECOND).await.is_ok());
    // What cannot be changed while the node runs is named.
    eventually("the warning", SOON, || told(&node, "wait for a restart") == 1);
    assert!(node.output().contains("reads.api"), "{}", node.output());
    let (_, metrics) = node.api().get("/metrics");
    assert!(metrics.contains("gorani_settings_last_reload_successful 1"), "{metrics}");
    node.api().publish("open:a", &json!("still here"));
    assert_eq!(witness.publication().await, "still here");
}

/// A request over a connection that stays open.
fn health(stream: &mut crate::tls::Stream) -> bool {
    stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = [0; 4096];
    let read = stream.read(&mut answer).unwrap();
    answer[..read].starts_with(b"HTTP/1.1 200")
}

/// True if a new handshake is trusted by who trusts this certificate.
fn is_shown(address: SocketAddr, trusting: &Arc<ClientConfig>) -> bool {
    let mut stream = connect_to(address, trusting);
    stream.conn.complete_io(&mut stream.sock).is_ok()
}

#[test]
fn a_new_certificate_is_shown_to_new_connections_and_those_before_go_on() {
    let files = tempfile::TempDir::new().unwrap();
    let (node, first) = start_with(Settings::open(), files.path());
    assert!(request(&node, &first, "GET /health/ready", "").starts_with("HTTP/1.1 200"));
    let mut before = connect_to(node.address(), &first);
    assert!(health(&mut before));

    let second = write_certificate(files.path());
    assert!(is_shown(node.address(), &first), "nothing changes until it is asked for");
    reload(&node, RELOADED);
    assert!(is_shown(node.address(), &second) && !is_shown(node.address(), &first));
    assert!(health(&mut before), "the connection goes on");
    eventually("its fingerprint is told", SOON, || told(&node, "certificate replaced") == 1);

    // No certificate, half of one, and a key of another.
    let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| files.path().join(name));
    let [good, good_key] = [&certificate, &key].map(|file| std::fs::read(file).unwrap());
    let other = tempfile::TempDir::new().unwrap();
    write_certificate(other.path());
    let breakages: [&dyn Fn(); 4] = [
        &|| std::fs::write(&certificate, "nothing").unwrap(),
        &|| std::fs::write(&certificate, &good[..good.len() / 2]).unwrap(),
        &|| std::fs::write(&key, std::fs::read(other.path().join("key.pem")).unwrap()).unwrap(),
        &|| std::fs::remove_file(&certificate).unwrap(),
    ];
    for (number, breaks) in breakages.iter().enumerate() {
        breaks();
        reload(&node, REFUSED);
        assert!(is_shown(node.address(), &second), "breakage {number}");
        std::fs::write(&certificate, &good).unwrap();
        std::fs::write(&key, &good_key).unwrap();
    }
    // What is the same as before is no new certificate.
    reload(&node, RELOADED);
    assert_eq!(told(&node, "certificate replaced"), 1);
    assert!(is_shown(node.address(), &second) && health(&mut before));
}

fn stomp(tcp: SocketAddr, trusting: &Arc<ClientConfig>) -> Stomp<crate::tls::Stream> {
    let mut client = Stomp::over(connect_to(tcp, trusting));
    client.begin("");
    client
}

#[test]
fn a_new_certificate_of_stomp_over_tcp_is_shown_to_new_connections_and_those_before_go_on() {
    let files = tempfile::TempDir::new().unwrap();
    let tcp = free_address();
    let open = Settings::open().set("stomp.tcp.address", format!("\"{tcp}\""));
    let (settings, first) = certified(open, "stomp.tcp.tls", files.path());
    let node = Node::start(settings.clone());
    let mut before = stomp(tcp, &first);
    before.subscribe("0", "/topic/open:a", "");

    // In files of other names this time.
    let moved = tempfile::TempDir::new().unwrap();
    let second = write_certificate(moved.path());
    node.write_settings(&named(settings.clone(), moved.path()));
    reload(&node, RELOADED);
    assert!(is_shown(tcp, &second) && !is_shown(tcp, &first));
    stomp(tcp, &second).subscribe("0", "/topic/open:a", "");

    node.write_settings(&named(settings.clone(), Path::new("/nowhere")));
    reload(&node, REFUSED);
    assert!(is_shown(tcp, &second));
    // To end TLS needs a restart; until then the listener has what it had.
    let without = named(settings, Path::new(""))
        .set("stomp.tcp.tls.certificate", "\"\"")
        .set("stomp.tcp.tls.key", "\"\"");
    node.write_settings(&without);
    reload(&node, RELOADED);
    eventually("the warning", SOON, || node.output().contains("wait for a restart"));
    assert!(is_shown(tcp, &second));
    node.api().publish("open:a", &json!("still here"));
    assert_eq!(before.message().text(), "\"still here\"");
}

/// Writes a chain into the files of a certificate. Each certificate of it ends when its year begins.
fn write_chain(files: &Path, years: &[i32]) {
    let made = years.iter().map(|year| {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(*year, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    });
    let (chain, keys): (Vec<String>, Vec<String>) = made.unzip();
    std::fs::write(files.join("certificate.pem"), chain.concat()).unwrap();
    std::fs::write(files.join("key.pem"), &keys[0]).unwrap();
}

#[test]
fn the_end_of_a_certificate_is_shown_from_the_start_on_and_after_a_reload() {
    let files = tempfile::TempDir::new().unwrap();
    let open = Settings::open().set("stomp.tcp.address", format!("\"{}\"", free_address()));
    let (settings, _) = certified(open, "stomp.tcp.tls", files.path());
    write_chain(files.path(), &[2031]);
    let node = Node::start(settings);
    let shows = |end: u64| {
        let name = "gorani_tls_certificate_expiry_timestamp_seconds{listener=\"stomp.tcp\"}";
        let (_, shown) = node.api().get("/metrics");
        assert!(shown.lines().any(|line| line == format!("{name} {end}")), "{end}: {shown}");
    };
    shows(START_OF_2031);
    // The first of a chain that ends is what counts.
    write_chain(files.path(), &[2032, 2030]);
    reload(&node, RELOADED);
    shows(START_OF_2030);
    write_chain(files.path(), &[2032]);
    shows(START_OF_2030);
    std::fs::write(files.path().join("key.pem"), "nothing").unwrap();
    reload(&node, REFUSED);
    shows(START_OF_2030);
}

/// The files of `stomp.tcp.tls` in another directory.
fn named(settings: Settings, files: &Path) -> Settings {
    settings
        .set("stomp.tcp.tls.certificate", format!("{:?}", files.join("certificate.pem")))
        .set("stomp.tcp.tls.key", format!("{:?}", files.join("key.pem")))
}

/// Settings of a node whose rules, keys and limits are all those of one version.
fn versioned(version: u32) -> Settings {
    let namespaces = format!(
        r#"[{{ name = "open", history_size = {}, history_ttl = "60s", allow_subscribe_for_client = true, allow_publish_for_client = true }}, {{ name = "only{version}", allow_subscribe_for_client = true }}]"#,
        1000 + version
    );
    settings(FIRST, "")
        .set("channel.namespaces", namespaces)
        .set("client.max_errors", "0")
        // Whoever does not read for the time of a test is no slow consumer.
        .set("client.ping_interval", "\"5m\"")
        .set("client.outbox_max_bytes", "67108864")
        .set("client.history_max", format!("{}", 100 + version))
        .set("api.keys", format!("[\"{KEPT_KEY}\", \"key-of-version-{version}-0123456789\"]"))
}

const KEPT_KEY: &str = "the-key-that-stays-0123456789";

#[tokio::test]
async fn namespaces_keys_and_origins_change_without_a_restart_and_it_is_told_for_whom() {
    let node = Node::start(versioned(1));
    let mut client = connect(&node, FIRST).await.unwrap();
    client.ok("subscribe", json!({"channel": "only1:a"})).await;
    let with_key = |version: u32| {
        let api =
            gorani_tests::http::Api::new(node.address(), &format!("key-of-version-{version}-0123456789"));
        api.call("info", &json!({})).0
    };
    assert_eq!((with_key(1), with_key(2)), (200, 401));

    node.write_settings(&versioned(2));
    reload(&node, RELOADED);
    assert_eq!((with_key(1), with_key(2)), (401, 200));
    eventually("the last use of the key is told", SOON, || {
        node.output().contains("ago from 127.0.0.1; 1 added")
    });
    client.ok("subscribe", json!({"channel": "only2:a"})).await;
    assert_eq!(
        client.attempt("subscribe", json!({"channel": "only1:b"})).await.unwrap()["error"]["code"],
        102
    );
    let effects = "namespace only1 is removed: its channels are unknown to new commands; 1 subscription of this node stays";
    eventually("the effect is told", SOON, || {
        told(&node, effects) == 1 && told(&node, "api.keys: 1 removed") == 1
    });
    assert!(!node.output().contains("key-of-version"), "a key is in the log");
}

#[tokio::test]
async fn reloads_in_a_loop_under_load_lose_nothing_and_no_command_fails() {
    const RELOADS: usize = 30;
    let node = Node::start(versioned(0));
    let mut subscriber = connect(&node, FIRST).await.unwrap();
    subscriber.ok("subscribe", json!({"channel": "open:a"})).await;
    let mut client = connect(&node, FIRST).await.unwrap();
    let (is_over, so_far) = (atomic::AtomicBool::new(false), atomic::AtomicUsize::new(0));
    let published = std::thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let api = gorani_tests::http::Api::new(node.address(), KEPT_KEY);
            let mut number = 0;
            while !is_over.load(atomic::Ordering::Acquire) {
                api.publish("open:a", &json!(number));
                number += 1;
                so_far.store(number, atomic::Ordering::Release);
            }
            number
        });
        for round in 0..RELOADS {
            let before = so_far.load(atomic::Ordering::Acquire);
            node.write_settings(&versioned(u32::try_from(round % 2).unwrap()));
            reload(&node, RELOADED);
            // Each round has some of them, whichever thread is the slower one.
            eventually("load", SOON, || so_far.load(atomic::Ordering::Acquire) > before);
        }
        is_over.store(true, atomic::Ordering::Release);
        publisher.join().unwrap()
    });
    client.ok("publish", json!({"channel": "open:a", "data": "last"})).await;
    for number in 0..published {
        assert_eq!(subscriber.publication().await, number);
    }
    assert_eq!(subscriber.publication().await, "last");
    assert_eq!(told(&node, REFUSED), 0);
    assert!(published >= RELOADS, "{published} publications are no load");
}

#[test]
fn nodes_with_different_settings_name_one_another_until_they_are_equal_again() {
    let redis = gorani_tests::redis::Redis::start();
    let of_cluster = |version| {
        versioned(version)
            .set("broker.kind", "\"redis\"")
            .set("broker.redis.url", format!("\"redis://{}\"", redis.address()))
            .set("cluster.heartbeat", "\"100ms\"")
            .set("cluster.lease", "\"5s\"")
    };
    let [one, other] = [Node::start(of_cluster(1)), Node::start(of_cluster(2))];
    let differing = |node: &Node| {
        let (_, metrics) = node.api().get("/metrics");
        metrics
            .lines()
            .find_map(|line| line.strip_prefix("gorani_settings_differing_nodes ")?.parse::<u32>().ok())
    };
    eventually("both see it", SOON, || differing(&one) == Some(1) && differing(&other) == Some(1));
    let differ = "settings differ between this node and another one";
    eventually("it is logged", SOON, || told(&one, differ) == 1);
    assert!(one.output().contains("api.keys, channel, client"), "{}", one.output());
    other.write_settings(&of_cluster(1));
    reload(&other, RELOADED);
    eventually("they are equal", SOON, || differing(&one) == Some(0) && differing(&other) == Some(0));
    eventually("that is logged", SOON, || told(&one, "settings are equal on all nodes") == 1);
}
