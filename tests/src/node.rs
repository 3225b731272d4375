//! A node under test: the real binary with a settings file of its own, on a free port, killed when dropped.

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};
use tempfile::TempDir;

use crate::{
    binary,
    http::Api,
    process::{Process, Signal},
};

/// Longest time for a node from its start until `/health/ready` answers 200. Under valgrind it takes many times as long.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Pause between two looks at a node that is not ready or not yet gone.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(5);
/// Ports for nodes: below Linux's ephemeral range, whose ports thousands of client sockets take and leave.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// The API key that [`Settings::open`] sets.
pub const API_KEY: &str = "test-key";

/// The text of a settings file, key by key: dotted names to TOML values.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    values: BTreeMap<String, String>,
}

impl Settings {
    /// Nothing set: the node's defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// What most tests want: one worker, [`API_KEY`], and anybody may connect and subscribe to channels of the
    /// namespace `open`.
    pub fn open() -> Self {
        let namespace =
            r#"{ name = "open", allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true }"#;
        Self::new()
            .set("http.workers", "1")
            .set("api.keys", format!("[\"{API_KEY}\"]"))
            .set("client.allow_anonymous", "true")
            .set("channel.namespaces", format!("[{namespace}]"))
    }

    /// Sets `key` (dotted) to a TOML value, for example `"true"`, `"\"10s\""`. A later one replaces an earlier.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<String>) -> Self {
        self.values.insert(key.to_owned(), value.into());
        self
    }

    /// The file's text.
    pub fn text(&self) -> String {
        self.values.iter().map(|(key, value)| format!("{key} = {value}\n")).collect()
    }

    /// The value of `admin.address`, where it is set.
    fn operators(&self) -> Option<SocketAddr> {
        self.values.get("admin.address")?.trim_matches('"').parse().ok()
    }

    fn api_key(&self) -> String {
        let keys = self.values.get("api.keys").map_or("", String::as_str);
        keys.split('"').nth(1).unwrap_or_default().to_owned()
    }
}

/// A running node. It is killed, and its files are removed, when this is dropped.
#[derive(Debug)]
pub struct Node {
    program: PathBuf,
    child: Child,
    address: SocketAddr,
    operators: SocketAddr,
    api_key: String,
    files: TempDir,
    file_limit: Option<u64>,
}

/// The name of a node's settings file.
const SETTINGS_FILE: &str = "gorani.toml";
/// The name of the file, beside them, that takes what a node writes.
const OUTPUT_FILE: &str = "output";

impl Node {
    /// Starts the binary with these settings on a free port of the loopback and waits until it is ready.
    ///
    /// # Panics
    /// If it exits or is not ready in time; the message carries what the node wrote.
    pub fn start(settings: Settings) -> Self {
        let mut node = Self::spawn(settings);
        node.wait_ready();
        node
    }

    /// As [`Node::start`], with so many open files at most.
    ///
    /// # Panics
    /// As [`Node::start`].
    pub fn start_with_files(settings: Settings, files: u64) -> Self {
        let mut node = Self::spawn_program(&binary::next_node(), settings, Some(files));
        node.wait_ready();
        node
    }

    /// As [`Node::start`], of another binary than [`binary::next_node`].
    ///
    /// # Panics
    /// As [`Node::start`].
    pub fn start_program(program: &Path, settings: Settings) -> Self {
        let mut node = Self::spawn_program(program, settings, None);
        node.wait_ready();
        node
    }

    /// As [`Node::start`], without waiting for readiness.
    pub fn spawn(settings: Settings) -> Self {
        Self::spawn_program(&binary::next_node(), settings, None)
    }

    fn spawn_program(program: &Path, settings: Settings, file_limit: Option<u64>) -> Self {
        let address = free_address();
        let settings = settings.set("http.address", format!("\"{address}\""));
        let files = TempDir::new().expect("a temporary directory");
        std::fs::write(files.path().join(SETTINGS_FILE), settings.text())
            .expect("the settings file can be written");
        let child = run(program, &files, file_limit);
        let (program, api_key) = (program.to_owned(), settings.api_key());
        let operators = settings.operators().unwrap_or(address);
        Self { program, child, address, operators, api_key, files, file_limit }
    }

    /// Writes other settings into its file, on the same address. It reads them at the next start, or when it is told to.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn write_settings(&self, settings: &Settings) {
        let settings = settings.clone().set("http.address", format!("\"{}\"", self.address));
        self.write_file(&settings.text());
    }

    /// Writes any text in the place of its settings.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn write_file(&self, text: &str) {
        std::fs::write(self.files.path().join(SETTINGS_FILE), text)
            .expect("the settings file can be written");
    }

    /// The file of its settings, for commands on its machine.
    pub fn settings_file(&self) -> PathBuf {
        self.files.path().join(SETTINGS_FILE)
    }

    /// Waits until `/health/ready` answers 200.
    ///
    /// # Panics
    /// As [`Node::start`].
    pub fn wait_ready(&mut self) {
        let api = Api::new(self.operators, &self.api_key);
        let give_up = Instant::now() + READY_WITHIN;
        while !matches!(api.try_get("/health/ready"), Ok((200, _))) {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                panic!("the node ended with {status}:\n{}", self.output());
            }
            assert!(Instant::now() < give_up, "the node is not ready in time:\n{}", self.output());
            thread::sleep(LOOK_AGAIN_AFTER);
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address at which it serves the admin page, metrics and health: `admin.address`, or that of clients.
    pub fn operators(&self) -> SocketAddr {
        self.operators
    }

    /// What the kernel knows of it.
    pub fn process(&self) -> Process {
        Process::new(self.child.id())
    }

    /// A backend with this node's first API key.
    pub fn api(&self) -> Api {
        Api::new(self.address, &self.api_key)
    }

    /// All it has written to standard output and standard error so far. It writes into a file: whatever stood there before an answer
    /// or before its end is here after that, which a thread that reads a pipe could not promise.
    ///
    /// # Panics
    /// If the file is gone.
    pub fn output(&self) -> String {
        let written = std::fs::read(self.files.path().join(OUTPUT_FILE)).expect("the file of its output");
        String::from_utf8_lossy(&written).into_owned()
    }

    /// A crash: `kill -9`.
    pub fn kill(&mut self) {
        self.process().signal(Signal::SIGKILL);
        self.child.wait().expect("a killed child ends");
    }

    /// Starts it again where it was, with the same settings, after it has ended. Does not wait for readiness.
    pub fn restart(&mut self) {
        self.child = run(&self.program, &self.files, self.file_limit);
    }

    /// The binary of its next start, with the same settings.
    pub fn set_program(&mut self, program: &Path) {
        program.clone_into(&mut self.program);
    }

    /// Asks it to end (`SIGTERM`) without waiting.
    pub fn terminate(&self) {
        self.process().signal(Signal::SIGTERM);
    }

    /// Waits for its end, at most `time_limit`; `None` if it still runs by then.
    pub fn wait_exit(&mut self, time_limit: Duration) -> Option<ExitStatus> {
        let give_up = Instant::now() + time_limit;
        loop {
            match self.child.try_wait().expect("a child can be waited for") {
                Some(status) => return Some(status),
                None if Instant::now() >= give_up => return None,
                None => thread::sleep(LOOK_AGAIN_AFTER),
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Both fail only when it is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- what the node wrote ---\n{}---", self.output());
        }
    }
}

/// Starts the binary with the settings file of the directory, with so many open files at most. What it writes is added to the file
/// for that.
fn run(program: &Path, files: &TempDir, file_limit: Option<u64>) -> Child {
    let output = OpenOptions::new().create(true).append(true).open(files.path().join(OUTPUT_FILE));
    let output = output.expect("a writable directory");
    let mut command = match file_limit {
        None => Command::new(program),
        Some(limit) => {
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("ulimit -n {limit} && exec \"$0\" \"$@\"")]).arg(program);
            shell
        }
    };
    command
        .args(["serve", "--config"])
        .arg(files.path().join(SETTINGS_FILE))
        .stdin(Stdio::null())
        .stdout(output.try_clone().expect("a second handle of a file"))
        .stderr(output)
        .spawn()
        .expect("the node's binary can be started")
}

/// An address of the loopback on which nothing listens.
///
/// # Panics
/// If every port of the range is taken.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let ports = PORTS.end - PORTS.start;
    // Test programs that run at the same time start their search in different places.
    let offset = (std::process::id() % u32::from(ports)) as u16;
    for _ in 0..ports {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % ports;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PORTS.start + (offset + step) % ports));
        if is_free(address) {
            return address;
        }
    }
    panic!("no free port in {PORTS:?}");
}

/// True if nothing listens there. The socket that finds out never listens: a process that another test starts meanwhile has a copy of it
/// until it runs its own program, and a copy that listened would keep the address from the node that it is for.
fn is_free(address: SocketAddr) -> bool {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).expect("a socket");
    socket.set_reuse_address(true).expect("a socket option");
    socket.bind(&address.into()).is_ok()
}
