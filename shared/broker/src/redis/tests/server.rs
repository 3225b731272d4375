//! A redis-server of a test's own: a free port, a directory of its own, nothing written, killed when dropped.

use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use tempfile::TempDir;

/// Far longer than a server takes to start.
const TIME_LIMIT: Duration = Duration::from_secs(20);
/// Attempts with another port, if another process takes it meanwhile.
const ATTEMPTS: usize = 5;

/// The log line of a server that can be used.
const READY: &str = "Ready to accept connections";
/// The log line of a Sentinel that watches the primary.
const WATCHING: &str = "+monitor master";

pub(super) struct Server {
    child: Child,
    pub(super) port: u16,
    directory: TempDir,
    pub(super) options: Vec<String>,
}

impl Server {
    pub(super) fn start() -> Self {
        Self::start_with(&[])
    }

    /// One with more options.
    pub(super) fn start_with(options: &[&str]) -> Self {
        for _ in 0..ATTEMPTS {
            if let Some(server) = Self::try_start(free_port(), options) {
                return server;
            }
        }
        panic!("redis-server found no free port");
    }

    /// One on a given port that was free a moment ago.
    pub(super) fn start_on(port: u16) -> Self {
        Self::try_start(port, &[]).expect("the port was taken meanwhile")
    }

    /// A Sentinel that watches the server on this port, under the name `primary`.
    pub(super) fn sentinel_of(primary_port: u16, quorum: usize) -> Self {
        for _ in 0..ATTEMPTS {
            let directory = tempfile::tempdir().unwrap();
            let port = free_port();
            let settings = directory.path().join("sentinel.conf");
            let text = format!(
                "port {port}\nbind 127.0.0.1\nprotected-mode no\ndir {}\n\
                 sentinel monitor primary 127.0.0.1 {primary_port} {quorum}\n\
                 sentinel down-after-milliseconds primary 1500\nsentinel failover-timeout primary 2000\n",
                directory.path().display()
            );
            std::fs::write(&settings, text).unwrap();
            let options = vec![settings.display().to_string(), "--sentinel".to_owned()];
            if let Some(child) = run(&options, WATCHING) {
                return Self { child, port, directory, options };
            }
        }
        panic!("the sentinel found no free port");
    }

    fn try_start(port: u16, more: &[&str]) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let port_text = port.to_string();
        let path = directory.path().display().to_string();
        let fixed =
            ["--port", &port_text, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", &path];
        let options: Vec<String> = fixed.iter().chain(more).map(|option| (*option).to_owned()).collect();
        let child = run(&options, READY)?;
        Some(Self { child, port, directory, options })
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// kill -9.
    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same port, empty.
    pub(super) fn restart(&mut self) {
        assert!(self.directory.path().exists());
        self.child = run(&self.options, READY).expect("the port was taken meanwhile");
    }

    /// SIGSTOP: the connections stay, the server does not answer.
    pub(super) fn freeze(&self) {
        self.signal("-STOP");
    }

    /// SIGCONT.
    pub(super) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until a section of INFO contains `text`.
    pub(super) async fn until_info(&self, section: &str, text: &str) {
        let deadline = tokio::time::Instant::now() + TIME_LIMIT;
        loop {
            let redis::Value::BulkString(info) = self.command(&["INFO", section]).await else {
                panic!("no text")
            };
            let info = String::from_utf8(info).unwrap();
            if info.contains(text) {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "{text:?} never came: {info}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Runs a command on the server.
    pub(super) async fn command(&self, words: &[&str]) -> redis::Value {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut connection).await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A stopped process dies of SIGKILL too.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(super) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A server that said `ready`; none if it ended before.
fn run(options: &[String], ready_line: &'static str) -> Option<Child> {
    let mut child = Command::new("redis-server")
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("these tests need redis-server: install the package redis-server (make test does)");
    let log = BufReader::new(child.stdout.take().unwrap());
    let (ready, is_ready) = mpsc::sync_channel(1);
    // Reads to the end, so that the server never waits for its log.
    std::thread::spawn(move || {
        for line in log.lines().map_while(Result::ok) {
            if line.contains(ready_line) {
                let _ = ready.try_send(());
            }
        }
    });
    match is_ready.recv_timeout(TIME_LIMIT) {
        Ok(()) => Some(child),
        Err(_) => {
            let _ = child.kill();
            let _ = child.wait();
            None
        }
    }
}
