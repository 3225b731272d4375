//! The balancers' files themselves: both programs take them, and their times fit those of the nodes.

use std::{fs, net::SocketAddr, process::Command, time::Duration};

use gorani_tests::{
    balancer::{Kind, NODES, check, program},
    binary::workspace,
};

const NOWHERE: [SocketAddr; NODES] =
    [SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9); NODES];

fn read(file: &str) -> String {
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
fn duration_of(file: &str, directive: &str) -> Duration {
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
