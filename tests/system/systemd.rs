//! A node tells systemd of its life (`Type=notify`): a real datagram socket takes the place of the service manager. sd_notify(3).

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixDatagram,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use gorani_tests::{
    binary,
    http::Api,
    node::{Settings, free_address},
    process::{Process, Signal},
    redis::Redis,
};
use tempfile::TempDir;

/// A node is ready, or gone, within this on a busy machine.
const WITHIN: Duration = Duration::from_secs(60);

/// A node whose service manager is this test.
struct Service {
    child: Child,
    address: SocketAddr,
    socket: UnixDatagram,
    _files: TempDir,
}

impl Service {
    fn start(settings: Settings, environment: &[(&str, &str)]) -> Self {
        let files = TempDir::new().unwrap();
        let (path, file) = (files.path().join("notify"), files.path().join("gorani.toml"));
        let socket = UnixDatagram::bind(&path).unwrap();
        let address = free_address();
        fs::write(&file, settings.set("http.address", format!("\"{address}\"")).text()).unwrap();
        let child = Command::new(binary::node())
            .args(["serve", "--config"])
            .arg(&file)
            .env("NOTIFY_SOCKET", &path)
            .envs(environment.iter().copied())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, address, socket, _files: files }
    }

    /// The next message, if one is there within the time.
    fn message(&self, within: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(within)).unwrap();
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
    }

    /// Takes messages up to the first that has this line.
    fn until(&self, line: &str) -> String {
        let give_up = Instant::now() + WITHIN;
        let mut seen = Vec::new();
        while Instant::now() < give_up {
            let Some(message) = self.message(Duration::from_millis(100)) else { continue };
            if message.lines().any(|told| told.starts_with(line)) {
                return message;
            }
            seen.push(message);
        }
        panic!("no {line} among {seen:?}");
    }

    fn get(&self, path: &str) -> u16 {
        Api::new(self.address, "").try_get(path).map_or(0, |(status, _)| status)
    }

    fn signal(&self, signal: Signal) {
        Process::new(self.child.id()).signal(signal);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn systemd_is_told_that_a_node_is_ready_once_it_listens_and_that_it_stops_when_it_drains() {
    let mut service = Service::start(Settings::open().set("drain.grace", "\"300ms\""), &[]);
    let ready = service.until("READY=1");
    assert!(TcpStream::connect(service.address).is_ok());
    assert_eq!(service.get("/health/ready"), 200);
    assert!(ready.contains(&format!("STATUS=Serving 0 connections on {}", service.address)), "{ready}");
    service.signal(Signal::SIGTERM);
    service.until("STOPPING=1");
    assert!(service.child.wait().unwrap().success());
    // Without a watchdog nobody is told that it lives.
    while let Some(message) = service.message(Duration::from_millis(1)) {
        assert!(!message.contains("WATCHDOG"), "{message}");
    }
}

#[test]
fn systemd_waits_for_a_node_whose_broker_is_away_until_it_is_there() {
    let mut redis = Redis::start();
    redis.kill();
    // It is back soon after Redis is: long before a node whose broker stays away is told to be ready.
    let settings = Settings::open()
        .set("broker.kind", "\"redis\"")
        .set("broker.redis.url", format!("\"{}\"", redis.url()))
        .set("broker.redis.reconnect_max", "\"500ms\"");
    let service = Service::start(settings, &[]);
    crate::eventually("it listens", WITHIN, || service.get("/health/live") == 200);
    assert_eq!(service.get("/health/ready"), 503);
    assert_eq!(service.message(Duration::from_millis(1)), None);
    redis.restart();
    service.until("READY=1");
    assert_eq!(service.get("/health/ready"), 200);
}

#[test]
fn a_node_whose_broker_stays_away_is_told_to_be_ready_in_the_end_and_says_what_it_lacks() {
    // Nothing listens on the discard port.
    let settings =
        Settings::open().set("broker.kind", "\"redis\"").set("broker.redis.url", "\"redis://127.0.0.1:9\"");
    let service = Service::start(settings, &[]);
    let ready = service.until("READY=1");
    assert!(ready.contains("STATUS=Not ready (broker: "), "{ready}");
    assert_eq!(service.get("/health/ready"), 503);
}

#[test]
fn the_watchdog_is_told_again_and_again_that_a_node_lives_while_it_drains_too() {
    let settings = Settings::open().set("drain.grace", "\"20s\"");
    let service = Service::start(settings, &[("WATCHDOG_USEC", "900000")]);
    service.until("READY=1");
    for _ in 0..3 {
        service.until("WATCHDOG=1");
    }
    service.signal(Signal::SIGTERM);
    service.until("STOPPING=1");
    service.until("STATUS=Draining, 0 connections left");
    service.until("WATCHDOG=1");
}

#[test]
fn a_watchdog_of_another_process_is_not_told() {
    let other = std::process::id().to_string();
    let environment = [("WATCHDOG_USEC", "300000"), ("WATCHDOG_PID", other.as_str())];
    let mut service = Service::start(Settings::open(), &environment);
    service.until("READY=1");
    service.signal(Signal::SIGTERM);
    assert!(service.child.wait().unwrap().success());
    while let Some(message) = service.message(Duration::from_millis(1)) {
        assert!(!message.contains("WATCHDOG"), "{message}");
    }
}
