//! The balancers' files themselves: both programs take them, and their times fit those of the nodes.

use std::{
    fs,
    io::Read,
    net::{Shutdown, SocketAddr, TcpListener},
    process::Command,
    time::Duration,
};

use gorani_tests::{
    balancer::{Balancer, Kind, NODES, check, program},
    binary::workspace,
    http::Api,
    raw::RawSocket,
};

use crate::eventually;

const NOWHERE: [SocketAddr; NODES] =
    [SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9); NODES];

pub(super) fn read(file: &str) -> String {
    fs::read_to_string(workspace().join("deploy").join(file)).unwrap()
}

#[test]
fn nginx_and_haproxy_take_the_files_without_a_warning() {
    for kind in [Kind::Nginx, Kind::Haproxy] {
        let output = check(kind, NOWHERE);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.to_lowercase().contains("[warn"), "{kind:?}: {said}");
    }
}

#[test]
fn haproxy_takes_the_file_with_nodes_behind_a_name() {
    let directory = workspace().join("deploy/haproxy");
    let output = Command::new(program("haproxy"))
        .args(["-c", "-f"])
        .arg(directory.join("haproxy.cfg"))
        .arg("-f")
        .arg(directory.join("nodes.dns.cfg"))
        .env("GORANI_LISTEN", ":8080")
        .env("GORANI_DNS", "127.0.0.11:53")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The lines of an nginx file that mean something, without their alignment.
fn directives(file: &str) -> Vec<String> {
    let text = read(file);
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    lines
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|line| !line.is_empty())
        .collect()
}

/// Debian's nginx is too old for names that are asked again, so what it cannot read is compared with what it was tested with.
#[test]
fn nodes_behind_a_name_have_the_same_upstream_in_nginx_as_nodes_by_address() {
    let by_name = directives("nginx/upstream.dns.conf");
    let by_address = directives("nginx/upstream.static.conf");
    let own = |lines: &[String], marks: [&str; 2]| -> Vec<String> {
        lines.iter().filter(|line| !marks.iter().any(|mark| line.starts_with(mark))).cloned().collect()
    };
    assert_eq!(own(&by_name, ["resolver", "server"]), own(&by_address, ["resolver", "server"]));
    let parameters = |lines: &[String]| -> Vec<String> {
        let servers = lines.iter().filter_map(|line| line.strip_prefix("server "));
        servers.map(|server| server.split_once(' ').unwrap().1.replace("resolve ", "")).collect()
    };
    let (by_name, by_address) = (parameters(&by_name), parameters(&by_address));
    assert_eq!(by_name.len(), 1);
    assert!(by_address.iter().all(|other| *other == by_name[0]), "{by_address:?}");
}

/// The value of a setting in deploy/gorani.toml, which a test of the gateway keeps equal to the code.
fn default_of(setting: &str) -> Duration {
    let text = read("gorani.toml");
    let line = text.lines().find_map(|line| line.strip_prefix(setting)?.trim_start().strip_prefix("= \""));
    humantime::parse_duration(line.unwrap().split('"').next().unwrap()).unwrap()
}

/// The duration after a directive, wherever it stands in a file.
pub(super) fn duration_of(file: &str, directive: &str) -> Duration {
    let text = read(file);
    let value =
        text.lines().find_map(|line| line.trim_start().strip_prefix(directive)?.split_whitespace().next());
    humantime::parse_duration(value.unwrap().trim_end_matches(';')).unwrap()
}

#[test]
fn no_balancer_cuts_a_connection_that_two_pings_in_a_row_keep_alive() {
    let two_pings = default_of("ping_interval") * 2 + default_of("pong_timeout");
    assert!(duration_of("nginx/gorani.conf", "proxy_read_timeout") > two_pings);
    for side in ["timeout client ", "timeout server ", "timeout tunnel "] {
        assert!(duration_of("haproxy/haproxy.cfg", side) > two_pings, "{side}");
    }
}

#[test]
fn a_balancer_gives_up_an_idle_connection_to_a_node_before_the_node_does() {
    let keep_alive = default_of("keep_alive");
    for file in ["nginx/upstream.dns.conf", "nginx/upstream.static.conf"] {
        assert!(duration_of(file, "keepalive_timeout") < keep_alive, "{file}");
    }
    assert!(duration_of("haproxy/haproxy.cfg", "timeout server ") < keep_alive);
}

/// `EventSource` and WebSockets of browsers can send no header, so their tokens stand in the query, which nginx's error log would show.
#[test]
fn no_balancer_logs_a_token_whatever_goes_wrong_and_failed_requests_are_logged() {
    const TOKEN: &str = "canary-c0ffee";
    let path = format!("/connection/uni_sse?channels=kept:a&token={TOKEN}");
    // A node that takes the request and hangs up: broken off while its answer is awaited.
    let hangs_up = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = hangs_up.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in hangs_up.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.shutdown(Shutdown::Both);
        }
    });
    for (kind, nodes) in [
        (Kind::Nginx, NOWHERE),
        (Kind::Nginx, [address; NODES]),
        (Kind::Haproxy, NOWHERE),
        (Kind::Haproxy, [address; NODES]),
    ] {
        let balancer = Balancer::start(kind, nodes);
        let (status, answer) = Api::new(balancer.address(), "none").get(&path);
        assert!((500..=504).contains(&status), "{kind:?} {status} {answer}");
        for hostile in [
            format!("GET {path} HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n"),
            format!("GET {path}{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(100_000)),
            format!("GET {path} HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(100_000)),
            format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n"),
            format!("GET {path} HTTP/1.1\r\n"),
        ] {
            let mut socket = RawSocket::connect(balancer.address());
            // It may refuse before all of it is written.
            let _ = socket.write(hostile.as_bytes());
            let _ = socket.read_head();
        }
        if kind == Kind::Nginx {
            let line = format!("\"GET /connection/uni_sse\" {status}");
            eventually("the failure is logged", Duration::from_secs(20), || {
                balancer.output().contains(&line)
            });
        }
        assert!(!balancer.output().contains(TOKEN), "{kind:?}: {}", balancer.output());
    }
}
