//! `gorani doctor` against a real Redis and real balancers, set right and set wrong. `services/gateway/docs/doctor.md`.

use std::{
    net::SocketAddr,
    path::Path,
    process::{Command, Output},
};

use gorani_tests::{
    balancer::{Balancer, Kind},
    binary,
    node::{Node, Settings, free_address},
    redis::Redis,
};
use serde_json::Value;

use super::{at, gorani, objects, operated, text};

/// Time of silence in these tests; balancers that are set wrong cut a connection before.
const IDLE: &str = "3s";

/// The finding of a check.
fn found<'f>(findings: &'f [Value], check: &str) -> &'f Value {
    findings
        .iter()
        .find(|finding| finding["check"] == check)
        .unwrap_or_else(|| panic!("{check}: {findings:?}"))
}

/// A finding that is bad says how to mend it.
fn assert_bad(findings: &[Value], checks: &[&str]) {
    for check in checks {
        let finding = found(findings, check);
        assert_eq!(finding["state"], "bad", "{finding}");
        assert!(finding["advice"].as_str().unwrap().len() > 20, "{finding}");
    }
}

fn assert_fine(findings: &[Value], checks: &[&str]) {
    for check in checks {
        let finding = found(findings, check);
        assert_eq!(finding["state"], "fine", "{finding}");
    }
}

fn on_redis(redis: &Redis) -> Settings {
    operated(Settings::open())
        .set("broker.kind", "\"redis\"")
        .set("broker.redis.url", format!("\"{}\"", redis.url()))
}

/// Without pings while a test waits, so that a connection is silent.
fn silent(settings: Settings) -> Settings {
    settings.set("client.ping_interval", "\"60s\"").set("http.trusted_proxies", "[\"127.0.0.1\"]")
}

fn through(node: &Node, address: SocketAddr) -> Output {
    at(node, &["doctor", "--json", "--idle", IDLE, "--url", &format!("http://{address}")])
}

#[test]
fn few_open_files_are_bad_and_the_exit_code_says_so() {
    let line = format!("ulimit -n 256 && exec {} doctor --json", binary::node().display());
    let output = Command::new("sh").args(["-c", &line]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let findings = objects(&output);
    assert_bad(&findings, &["open_files"]);
    assert!(found(&findings, "open_files")["advice"].as_str().unwrap().contains("LimitNOFILE"));
    assert_fine(&findings, &["broker"]);
}

#[test]
fn a_redis_that_evicts_and_a_replica_are_bad_and_one_that_is_set_right_is_fine() {
    let redis = Redis::start();
    let doctor = |redis: &Redis| objects(&gorani(&["doctor", "--json"], &on_redis(redis).text()));
    assert_eq!(redis.ask("CONFIG SET maxmemory 100mb").trim(), "+OK");
    let fine = [
        "broker_version",
        "broker_eviction",
        "broker_pubsub_buffer",
        "broker_replication",
        "clock",
        "broker_round_trip",
    ];
    assert_fine(&doctor(&redis), &fine);
    assert_eq!(redis.ask("CONFIG SET maxmemory-policy allkeys-lru").trim(), "+OK");
    assert_eq!(redis.ask("CONFIG SET client-output-buffer-limit \"pubsub 1mb 1mb 1\"").trim(), "+OK");
    let findings = doctor(&redis);
    assert_bad(&findings, &["broker_eviction"]);
    assert_eq!(found(&findings, "broker_pubsub_buffer")["state"], "warning");
    let replica = Redis::replica_of(redis.address());
    assert_bad(&doctor(&replica), &["broker_replication"]);
}

#[test]
fn a_redis_that_is_not_there_is_bad_without_its_password() {
    let settings = Settings::open()
        .set("broker.kind", "\"redis\"")
        .set("broker.redis.url", format!("\"redis://:NEVER-SEEN@{}\"", free_address()));
    let output = gorani(&["doctor", "--json"], &settings.text());
    assert_bad(&objects(&output), &["broker"]);
    assert!(!text(&output.stdout).contains("NEVER-SEEN"));
    let people = text(&gorani(&["doctor"], &settings.text()).stdout);
    assert!(people.contains("BAD      broker: ") && people.contains("mend: "), "{people}");
}

#[test]
fn nothing_is_wrong_behind_the_balancers_of_the_repository() {
    let redis = Redis::start();
    // As many as fit into the open files of any machine that runs the tests.
    let settings = silent(on_redis(&redis)).set("http.max_connections", "1000");
    let nodes = [1, 2, 3].map(|_| Node::start(settings.clone()));
    for kind in [Kind::Nginx, Kind::Haproxy] {
        let balancer = Balancer::start(kind, nodes.each_ref().map(Node::address));
        let output = through(&nodes[0], balancer.address());
        let findings = objects(&output);
        let fine = [
            "reachable",
            "websocket",
            "idle",
            "stream",
            "body",
            "sockjs",
            "forwarded_address",
            "broker_canary",
        ];
        assert_fine(&findings, &fine);
        assert_eq!(findings.iter().find(|finding| finding["state"] == "bad"), None);
    }
}

/// nginx as somebody sets it up who has not read how.
fn nginx(address: SocketAddr, files: &Path, nodes: [SocketAddr; 2], more: &str) -> String {
    let files = files.display();
    let [one, other] = nodes;
    format!(
        "worker_processes 1;\npid {files}/nginx.pid;\nerror_log stderr emerg;\nevents {{ worker_connections 256; }}\n\
         http {{\naccess_log off;\nclient_body_temp_path {files}/body;\nproxy_temp_path {files}/proxy;\n\
         fastcgi_temp_path {files}/a;\nscgi_temp_path {files}/b;\nuwsgi_temp_path {files}/c;\n\
         upstream nodes {{ server {one}; server {other}; }}\n\
         server {{\nlisten {address};\nproxy_set_header Host $http_host;\n{more}\n\
         location / {{ proxy_pass http://nodes; }}\n}}\n}}\n"
    )
}

/// Two nodes that know nothing of one another, with one secret for commands.
fn strangers() -> [Node; 2] {
    [1, 2].map(|_| Node::start(silent(operated(Settings::open()))))
}

#[test]
fn an_nginx_with_the_settings_of_most_is_seen_through() {
    let nodes = strangers();
    let addresses = nodes.each_ref().map(Node::address);
    let wrong = "proxy_http_version 1.1;\nproxy_set_header Upgrade $http_upgrade;\nproxy_set_header Connection upgrade;\nproxy_read_timeout 1s;\n\
                 client_max_body_size 1000k;\nproxy_bind 127.0.0.9;";
    let balancer =
        Balancer::start_with(Kind::Nginx, |address, files| nginx(address, files, addresses, wrong));
    let findings = objects(&through(&nodes[0], balancer.address()));
    assert_fine(&findings, &["reachable", "websocket"]);
    assert_bad(&findings, &["idle", "body", "sockjs"]);
    let seen = [&nodes[0], &nodes[1]].map(|node| {
        let one = Balancer::start_with(Kind::Nginx, |address, files| {
            nginx(address, files, [node.address(); 2], wrong)
        });
        found(&objects(&through(node, one.address())), "forwarded_address")["state"].clone()
    });
    assert_eq!(seen, ["bad", "bad"]);
    let without_upgrade =
        Balancer::start_with(Kind::Nginx, |address, files| nginx(address, files, addresses, ""));
    let findings = objects(&through(&nodes[0], without_upgrade.address()));
    assert_bad(&findings, &["websocket"]);
    assert!(found(&findings, "websocket")["advice"].as_str().unwrap().contains("proxy_set_header Upgrade"));
}

#[test]
fn a_stream_whose_heartbeats_are_kept_back_is_bad() {
    let settings = || {
        operated(Settings::open())
            .set("client.ping_interval", "\"1s\"")
            .set("client.pong_timeout", "\"500ms\"")
    };
    let node = Node::start(settings());
    // Over HTTP/1.0, which is nginx's default, it waits until a buffer is full.
    for (more, state) in [("", "fine"), ("proxy_ignore_headers X-Accel-Buffering;", "bad")] {
        let balancer = Balancer::start_with(Kind::Nginx, |address, files| {
            nginx(address, files, [node.address(); 2], more)
        });
        let url = format!("http://{}", balancer.address());
        let findings = objects(&at(&node, &["doctor", "--json", "--idle", "5s", "--url", &url]));
        let stream = found(&findings, "stream");
        assert_eq!(stream["state"], state, "{more}: {stream}");
    }
}

#[test]
fn an_haproxy_with_short_timeouts_and_a_small_limit_is_seen_through() {
    let nodes = strangers();
    let addresses = nodes.each_ref().map(Node::address);
    let balancer = Balancer::start_with(Kind::Haproxy, |address, _| {
        let [one, other] = addresses;
        format!(
            "defaults\n mode http\n timeout connect 2s\n timeout client 10s\n timeout server 10s\n timeout tunnel 1s\n\
             frontend clients\n bind {address}\n\
             \x20http-request deny deny_status 413 if {{ req.hdr(content-length) -m int gt 1000000 }}\n\
             \x20default_backend nodes\n\
             backend nodes\n balance roundrobin\n source 127.0.0.9\n server one {one}\n server other {other}\n"
        )
    });
    let findings = objects(&through(&nodes[0], balancer.address()));
    assert_fine(&findings, &["reachable", "websocket", "stream"]);
    assert_bad(&findings, &["idle", "body", "sockjs"]);
}

#[test]
fn a_balancer_that_is_not_there_and_one_without_nodes_are_bad() {
    let node = Node::start(operated(Settings::open()));
    assert_bad(&objects(&through(&node, free_address())), &["reachable"]);
    let nobody = [free_address(), free_address()];
    let balancer = Balancer::start_with(Kind::Nginx, |address, files| nginx(address, files, nobody, ""));
    let findings = objects(&through(&node, balancer.address()));
    assert_bad(&findings, &["reachable", "websocket"]);
}

#[test]
fn a_client_that_is_refused_leaves_open_what_only_a_client_sees() {
    let settings = operated(Settings::open()).set("client.allow_anonymous", "false");
    let node = Node::start(settings);
    let output = through(&node, node.address());
    let findings = objects(&output);
    for check in ["idle", "stream"] {
        let finding = found(&findings, check);
        assert_eq!(finding["state"], "unknown", "{finding}");
        assert!(finding["advice"].as_str().unwrap().contains("--token"), "{finding}");
    }
    // With a secret in the settings the command makes a token.
    let settings = operated(Settings::open())
        .set("client.allow_anonymous", "false")
        .set("token.hmac_secret", "\"the-secret-of-these-tests-0123456789\"");
    let node = Node::start(settings);
    assert_fine(&objects(&through(&node, node.address())), &["idle", "stream"]);
}

#[test]
fn settings_of_a_try_are_not_fit_for_production() {
    let settings = Settings::open().set("development.page", "true").set("client.allowed_origins", "[\"*\"]");
    let without = gorani(&["doctor", "--json"], &settings.text());
    assert!(objects(&without).iter().all(|finding| finding["check"] != "development"));
    let findings = objects(&gorani(&["doctor", "--json", "--production"], &settings.text()));
    assert_bad(&findings, &["development", "origins", "broker_kind"]);
}
