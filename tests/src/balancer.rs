//! A real balancer in front of nodes: nginx or HAProxy with the very files of `deploy/`, on a free port, ended when dropped.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    binary,
    node::free_address,
    process::{Process, Signal},
};

/// How long one may take until it accepts.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Pause between two looks at one that does not accept yet.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(5);

/// The file, among its own, that holds what it logs.
const OUTPUT: &str = "output";

/// Nodes that the files of `deploy/` name.
pub const NODES: usize = 3;

/// Which balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `deploy/nginx`.
    Nginx,
    /// `deploy/haproxy`.
    Haproxy,
}

/// A balancer that runs.
#[derive(Debug)]
pub struct Balancer {
    child: Child,
    address: SocketAddr,
    files: TempDir,
}

impl Balancer {
    /// Starts one in front of these addresses and waits until it accepts.
    ///
    /// # Panics
    /// If it is not installed (`make test` installs it) or does not start.
    pub fn start(kind: Kind, nodes: [SocketAddr; NODES]) -> Self {
        let (address, files) = (free_address(), TempDir::new().expect("a temporary directory"));
        let command = command(kind, address, nodes, files.path());
        Self::run(kind, command, address, files)
    }

    /// Starts one with settings of the test's own, made of its address and of a directory for its files.
    ///
    /// # Panics
    /// As [`Balancer::start`].
    pub fn start_with(kind: Kind, settings: impl Fn(SocketAddr, &Path) -> String) -> Self {
        let (address, files) = (free_address(), TempDir::new().expect("a temporary directory"));
        let file = files.path().join("settings");
        fs::write(&file, settings(address, files.path())).expect("a writable directory");
        fs::set_permissions(files.path(), fs::Permissions::from_mode(0o755)).expect("a directory of our own");
        let command = match kind {
            Kind::Nginx => {
                let mut nginx = Command::new(program("nginx"));
                nginx.arg("-p").arg(files.path()).arg("-c").arg(&file).args(["-g", "daemon off;"]);
                nginx
            }
            Kind::Haproxy => {
                let mut haproxy = Command::new(program("haproxy"));
                haproxy.args(["-db", "-f"]).arg(&file);
                haproxy
            }
        };
        Self::run(kind, command, address, files)
    }

    fn run(kind: Kind, mut command: Command, address: SocketAddr, files: TempDir) -> Self {
        let said = fs::OpenOptions::new().create(true).append(true).open(files.path().join(OUTPUT));
        let said = said.expect("a writable directory");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(said.try_clone().expect("a second handle of a file"))
            .stderr(said)
            .spawn()
            .expect("nginx and haproxy are installed; `make test` sees to it");
        let give_up = Instant::now() + READY_WITHIN;
        while TcpStream::connect(address).is_err() {
            if let Some(status) = child.try_wait().expect("a child can be waited for") {
                let said = fs::read_to_string(files.path().join(OUTPUT));
                panic!("{kind:?} ended with {status}: {said:?}");
            }
            assert!(Instant::now() < give_up, "{kind:?} does not accept in time");
            thread::sleep(LOOK_AGAIN_AFTER);
        }
        Self { child, address, files }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All that it has logged so far.
    ///
    /// # Panics
    /// If the file is gone.
    pub fn output(&self) -> String {
        fs::read_to_string(self.files.path().join(OUTPUT)).expect("the file of its output")
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // Not killed: nginx has workers, which only its master can end.
        if matches!(self.child.try_wait(), Ok(None)) {
            Process::new(self.child.id()).signal(Signal::SIGTERM);
        }
        let _ = self.child.wait();
    }
}

/// What the balancer itself says about its files (`nginx -t`, `haproxy -c`).
///
/// # Panics
/// If it is not installed.
pub fn check(kind: Kind, nodes: [SocketAddr; NODES]) -> Output {
    let files = TempDir::new().expect("a temporary directory");
    let mut command = command(kind, free_address(), nodes, files.path());
    command.arg(match kind {
        Kind::Nginx => "-t",
        Kind::Haproxy => "-c",
    });
    command.output().expect("nginx and haproxy are installed; `make test` sees to it")
}

/// Where a daemon's program is: Debian keeps it in a directory that is not on the path of everybody.
pub fn program(name: &str) -> PathBuf {
    let path = Path::new("/usr/sbin").join(name);
    if path.is_file() { path } else { name.into() }
}

fn command(kind: Kind, address: SocketAddr, nodes: [SocketAddr; NODES], files: &Path) -> Command {
    let deploy = binary::workspace().join("deploy");
    match kind {
        Kind::Nginx => {
            render(&deploy.join("nginx"), address, nodes, files);
            let mut nginx = Command::new(program("nginx"));
            nginx
                .arg("-p")
                .arg(files.join("prefix"))
                .arg("-c")
                .arg(files.join("nginx.conf"))
                .args(["-g", "daemon off;"]);
            nginx
        }
        Kind::Haproxy => {
            let mut haproxy = Command::new(program("haproxy"));
            haproxy.arg("-db").env("GORANI_LISTEN", address.to_string());
            for file in ["haproxy.cfg", "nodes.static.cfg"] {
                haproxy.arg("-f").arg(deploy.join("haproxy").join(file));
            }
            for (number, node) in nodes.iter().enumerate() {
                haproxy.env(format!("GORANI_NODE_{}", number + 1), node.to_string());
            }
            haproxy
        }
    }
}

/// The files of `deploy/nginx` as somebody installs them: with addresses of their own, and nothing else changed.
fn render(deploy: &Path, address: SocketAddr, nodes: [SocketAddr; NODES], into: &Path) {
    let read = |name: &str| fs::read_to_string(deploy.join(name)).expect("a file of deploy/nginx");
    let write = |name: &str, text: String| fs::write(into.join(name), text).expect("a writable directory");
    let replace = |text: String, from: &str, to: String| {
        assert_eq!(text.matches(from).count(), 1, "{from} stands there once: {text}");
        text.replace(from, &to)
    };
    for name in ["nginx.conf", "gorani.conf"] {
        write(name, read(name));
    }
    write("listen.conf", replace(read("listen.conf"), "listen 8080 ", format!("listen {address} ")));
    let by_address = replace(read("upstream.conf"), "\ninclude upstream.dns.conf;", "\n".to_owned());
    write(
        "upstream.conf",
        replace(by_address, "# include upstream.static.conf;", "include upstream.static.conf;".to_owned()),
    );
    let mut upstream = read("upstream.static.conf");
    for (number, node) in nodes.iter().enumerate() {
        upstream = replace(upstream, &format!("10.0.0.{}:8000", number + 1), node.to_string());
    }
    write("upstream.static.conf", upstream);
    fs::create_dir_all(into.join("prefix/run")).expect("a writable directory");
    // The workers are another user's when the master is root's.
    fs::set_permissions(into, fs::Permissions::from_mode(0o755)).expect("a directory of our own");
}
