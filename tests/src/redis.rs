//! A real redis-server of a test's own: on a free port, in a directory of its own, killed when dropped.

use std::{
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    node::free_address,
    process::{Process, Signal},
};

/// How long a server may take until it accepts.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// Pause between two looks at a server that does not accept yet.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(5);

/// A redis-server that writes every change to its append-only file before it answers, so that it can be killed.
#[derive(Debug)]
pub struct Redis {
    child: Child,
    address: SocketAddr,
    files: TempDir,
}

impl Redis {
    /// Starts one and waits until it accepts.
    ///
    /// # Panics
    /// If redis-server is not installed (`make test` installs it) or does not start.
    pub fn start() -> Self {
        let (address, files) = (free_address(), TempDir::new().expect("a temporary directory"));
        let child = spawn(address, &files);
        Self { child, address, files }
    }

    /// Its address as the node's settings want it.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// A crash: `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().expect("a running server can be killed");
        self.child.wait().expect("a killed child ends");
    }

    /// Starts it again where it was, with what it had written.
    pub fn restart(&mut self) {
        self.child = spawn(self.address, &self.files);
    }

    /// Freezes it (`SIGSTOP`), as a host that hangs.
    pub fn pause(&self) {
        Process::new(self.child.id()).signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        Process::new(self.child.id()).signal(Signal::SIGCONT);
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // Both fail only when it is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(address: SocketAddr, files: &TempDir) -> Child {
    let child = Command::new("redis-server")
        .args(["--bind", &address.ip().to_string(), "--port", &address.port().to_string()])
        .args(["--appendonly", "yes", "--appendfsync", "always", "--save", ""])
        .arg("--dir")
        .arg(files.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed; `make test` sees to it");
    let give_up = Instant::now() + READY_WITHIN;
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < give_up, "redis-server does not accept in time");
        thread::sleep(LOOK_AGAIN_AFTER);
    }
    child
}
