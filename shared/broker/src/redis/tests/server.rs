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
const PATIENCE: Duration = Duration::from_secs(20);
/// Attempts with another port, should somebody else take it meanwhile.
const ATTEMPTS: usize = 5;

pub(super) struct Server {
    child: Child,
    pub(super) port: u16,
    directory: TempDir,
}

impl Server {
    pub(super) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for _ in 0..ATTEMPTS {
            let port = free_port();
            if let Some(child) = run(port, &directory) {
                return Self { child, port, directory };
            }
        }
        panic!("redis-server found no free port");
    }

    /// One on a given port that was free a moment ago.
    pub(super) fn start_on(port: u16) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let child = run(port, &directory).expect("the port was taken meanwhile");
        Self { child, port, directory }
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
        self.child = run(self.port, &self.directory).expect("the port was taken meanwhile");
    }

    /// SIGSTOP: the connections stay, nobody answers.
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

/// A server that accepts connections; none if it ended at once.
fn run(port: u16, directory: &TempDir) -> Option<Child> {
    let mut child = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(["--daemonize", "no", "--dir"])
        .arg(directory.path())
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
            if line.contains("Ready to accept connections") {
                let _ = ready.try_send(());
            }
        }
    });
    match is_ready.recv_timeout(PATIENCE) {
        Ok(()) => Some(child),
        Err(_) => {
            let _ = child.kill();
            let _ = child.wait();
            None
        }
    }
}
