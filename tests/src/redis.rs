//! A real redis-server of a test's own: on a free port, in a directory of its own, killed when dropped. Also as a replica, or
//! as a Sentinel that watches one.

use std::{
    io::{BufRead, BufReader, Read, Write},
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
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Longest wait for an answer of one that may stand still.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Pause between two looks at a server that does not accept yet.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(5);

/// The name under which a Sentinel of [`Redis::sentinel`] knows what it watches.
pub const WATCHED: &str = "primary";
/// What a Sentinel is told of its primary: a failover begins half a second after the primary is gone.
const SENTINEL_DOWN_AFTER_MS: u32 = 500;
/// How long Sentinels wait with the next attempt at a failover.
const SENTINEL_FAILOVER_TIMEOUT_MS: u32 = 3_000;

/// Without an answer for so long, a server of a cluster is believed to be gone. A server that only waits for a core on a busy machine
/// must not be: the failover would lose what was not copied yet.
const CLUSTER_NODE_TIMEOUT_MS: u32 = 3_000;

/// A redis-server that writes every change to its append-only file before it answers, so that it can be killed.
#[derive(Debug)]
pub struct Redis {
    child: Child,
    address: SocketAddr,
    files: TempDir,
    more: Vec<String>,
}

impl Redis {
    /// Starts one and waits until it accepts.
    ///
    /// # Panics
    /// If redis-server is not installed (`make test` installs it) or does not start.
    pub fn start() -> Self {
        Self::start_with(Vec::new())
    }

    /// As [`Redis::start`], but it writes no file: to measure what else it costs.
    pub fn without_file() -> Self {
        Self::start_with(vec!["--appendonly".to_owned(), "no".to_owned()])
    }

    /// As [`Redis::start`], as a replica of another one.
    pub fn replica_of(primary: SocketAddr) -> Self {
        Self::start_with(vec!["--replicaof".to_owned(), primary.ip().to_string(), primary.port().to_string()])
    }

    /// As [`Redis::start`], as a server that may become part of a cluster, with the port of its cluster bus.
    pub fn of_cluster() -> (Self, u16) {
        let bus_port = free_address().port();
        let options = [
            ("--cluster-enabled", "yes".to_owned()),
            ("--cluster-port", bus_port.to_string()),
            ("--cluster-node-timeout", CLUSTER_NODE_TIMEOUT_MS.to_string()),
            ("--cluster-replica-validity-factor", "0".to_owned()),
        ];
        let options = options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
        (Self::start_with(options.collect()), bus_port)
    }

    fn start_with(more: Vec<String>) -> Self {
        let (address, files) = (free_address(), TempDir::new().expect("a temporary directory"));
        let child = spawn(address, &files, &more);
        Self { child, address, files, more }
    }

    /// A Sentinel that watches a server under the name [`WATCHED`]; `quorum` of them must agree that it is gone.
    ///
    /// # Panics
    /// As [`Redis::start`].
    pub fn sentinel(primary: SocketAddr, quorum: usize) -> Self {
        let (address, files) = (free_address(), TempDir::new().expect("a temporary directory"));
        let file = files.path().join("sentinel.conf");
        let text = format!(
            "port {}\nbind {}\nprotected-mode no\nsentinel monitor {WATCHED} {} {} {quorum}\n\
             sentinel down-after-milliseconds {WATCHED} {SENTINEL_DOWN_AFTER_MS}\n\
             sentinel failover-timeout {WATCHED} {SENTINEL_FAILOVER_TIMEOUT_MS}\n",
            address.port(),
            address.ip(),
            primary.ip(),
            primary.port(),
        );
        std::fs::write(&file, text).expect("the settings file can be written");
        let more = vec![file.display().to_string(), "--sentinel".to_owned()];
        let child = spawn(address, &files, &more);
        Self { child, address, files, more }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn process(&self) -> Process {
        Process::new(self.child.id())
    }

    /// A section of what the server says of itself; empty while it cannot be asked.
    pub fn info(&self, section: &str) -> String {
        self.ask(&format!("INFO {section}"))
    }

    /// What the server answers to a command whose answer is one text; empty while it cannot be asked.
    pub fn ask(&self, command: &str) -> String {
        let ask = || -> std::io::Result<String> {
            let mut stream = BufReader::new(TcpStream::connect(self.address)?);
            stream.get_mut().set_read_timeout(Some(ANSWER_WITHIN))?;
            stream.get_mut().write_all(format!("{command}\r\n").as_bytes())?;
            let mut head = String::new();
            stream.read_line(&mut head)?;
            let Some(length) = head.trim().strip_prefix('$') else { return Ok(head) };
            let length = length.parse().map_err(std::io::Error::other)?;
            let mut text = String::new();
            stream.take(length).read_to_string(&mut text)?;
            Ok(text)
        };
        ask().unwrap_or_default()
    }

    /// Follows another server from now on: with an address where nobody is, a replica falls behind.
    ///
    /// # Panics
    /// If it does not do so.
    pub fn follow(&self, primary: SocketAddr) {
        let answer = self.ask(&format!("REPLICAOF {} {}", primary.ip(), primary.port()));
        assert!(answer.starts_with("+OK"), "{answer}");
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
        self.child = spawn(self.address, &self.files, &self.more);
    }

    /// Makes it forget everything (`FLUSHALL`).
    ///
    /// # Panics
    /// If it does not.
    pub fn forget(&self) {
        let mut stream = TcpStream::connect(self.address).expect("a running server accepts");
        stream.write_all(b"FLUSHALL\r\n").expect("a running server reads");
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).expect("a running server answers");
        assert_eq!(&answer, b"+OK\r\n");
    }

    /// Freezes it (`SIGSTOP`), as a host that hangs.
    pub fn pause(&self) {
        self.process().signal(Signal::SIGSTOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.process().signal(Signal::SIGCONT);
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // Both fail only when it is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(address: SocketAddr, files: &TempDir, more: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    // A Sentinel has everything in its file, which comes first.
    let is_sentinel = more.iter().any(|option| option == "--sentinel");
    if !is_sentinel {
        command.args(["--bind", &address.ip().to_string(), "--port", &address.port().to_string()]).args([
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
            "--save",
            "",
        ]);
    }
    let child = command
        .args(more)
        .current_dir(files.path())
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
