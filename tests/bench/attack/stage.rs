//! What is attacked: a cluster with honest backends and subscribers, and what is watched meanwhile.
//!
//! Nodes 0 and 1 speak plain HTTP, node 2 TLS; all have a plain STOMP port. Honest clients come from 127.0.0.1: WebSocket, SSE,
//! SockJS and STOMP at nodes 0 and 1, STOMP at node 2.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use gorani_tests::{
    binary,
    http::Api,
    node::{API_KEY, free_address},
};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tempfile::TempDir;

use super::{
    BACKENDS,
    attacker::{FULL_NODE, Targets},
    attacks::{LARGE_BYTES, LARGE_CHANNEL, LARGE_PUBLICATIONS},
    endpoint::{CONNECT, CONNECTED, Endpoint, HANDSHAKE, SWITCHED},
    reader::{Reader, Way},
};
use crate::audit::{
    backend,
    cluster::{Cluster, Kind, until},
    ledger::{Accepted, Ledger, channel_name},
    subscriber::{Record, Subscriber},
    watch::{OK, Probe, READY, Sample, Watch},
};

/// Channels of honest clients.
const CHANNELS: usize = 4;
/// The node with TLS.
const TLS_NODE: usize = 2;
/// How often resident memory is read.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often an honest client comes anew, at each node over WebSocket and over STOMP.
const COME_EVERY: Duration = Duration::from_millis(250);
/// How long everything may take to arrive after the last publication.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
/// What all clients of a node may hold, in bytes; kept only where the node under test knows the setting.
const MEMORY_BYTES: u64 = 256 * 1024 * 1024;

const NAMESPACES: &str = concat!(
    r#"[{ name = "audit", history_size = 100000, history_ttl = "1h", force_recovery = true, allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true }, "#,
    r#"{ name = "noise", allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true, allow_publish_for_client = true, allow_publish_for_anonymous = true }, "#,
    r#"{ name = "large", history_size = 300, history_ttl = "1h", allow_recovery = true, allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true, allow_history_for_client = true, allow_history_for_anonymous = true }]"#
);

/// A node's resident memory at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resident {
    pub(crate) node: usize,
    pub(crate) at: Instant,
    pub(crate) bytes: u64,
}

/// An honest subscriber.
#[derive(Debug)]
pub(crate) struct Honest {
    pub(crate) name: String,
    pub(crate) channel: usize,
    pub(crate) record: Arc<Mutex<Record>>,
}

/// What was seen in the end.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) honest: Vec<Honest>,
    pub(crate) accepted: Vec<HashMap<u32, Accepted>>,
    pub(crate) readiness: Vec<Vec<Sample>>,
    /// Whether honest clients that came anew were answered.
    pub(crate) newcomers: Vec<Sample>,
    pub(crate) resident: Vec<Resident>,
    pub(crate) complaints: Vec<String>,
    /// Connections of honest clients that ended while the nodes ran.
    pub(crate) reconnects: usize,
    pub(crate) given_up: u64,
    pub(crate) unknown: u64,
}

/// Everything that runs.
pub(crate) struct Stage {
    pub(crate) targets: Targets,
    cluster: Cluster,
    ledger: Arc<Ledger>,
    honest: Vec<Honest>,
    watch: Watch,
    newcomers: Watch,
    resident: Arc<Mutex<Vec<Resident>>>,
    stop_backends: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    backends: Vec<JoinHandle<()>>,
    _files: TempDir,
}

impl Stage {
    /// Starts it, waits until all are subscribed, and begins to publish.
    /// A newcomer, and who asks whether a node is ready, waits for `time_limit`.
    pub(crate) fn start(rate: u32, time_limit: Duration) -> io::Result<Self> {
        let (files, config) = certificate()?;
        let stomp: Vec<SocketAddr> = (0..3).map(|_| free_address()).collect();
        let memory = known_setting("memory.max_bytes", MEMORY_BYTES)?;
        let cluster = Cluster::start_with(Kind::Alone, |index, settings| {
            let mut settings = settings
                .set("channel.namespaces", NAMESPACES)
                .set("stomp.tcp.address", format!("\"{}\"", stomp[index]))
                .set("stomp.users", "[{ name = \"shop\", password = \"a-long-password-of-a-shop\" }]")
                .set("websocket.compression", "true")
                .set("http.max_connections", "800")
                .set("sockjs.max_waiting", "400");
            if memory {
                settings = settings.set("memory.max_bytes", MEMORY_BYTES.to_string());
            }
            if index == TLS_NODE {
                for (key, file) in [("certificate", "certificate.pem"), ("key", "key.pem")] {
                    settings =
                        settings.set(&format!("http.tls.{key}"), format!("{:?}", files.path().join(file)));
                }
            }
            settings
        });
        let addresses = cluster.addresses();
        let (plain, tls) = (addresses[..TLS_NODE].to_vec(), addresses[TLS_NODE]);
        let ask_tls = Endpoint::tls(tls, time_limit, &config);
        let is_ready = ask_tls.probe(READY, OK);
        until("the node with TLS is ready", || is_ready().is_ok());
        let api = Api::new(plain[0], API_KEY);
        for _ in 0..LARGE_PUBLICATIONS {
            api.publish(LARGE_CHANNEL, &json!("x".repeat(LARGE_BYTES)));
        }
        // The first publication of each channel tells its epoch; nobody is subscribed yet.
        let epochs: Vec<String> = (0..CHANNELS)
            .map(|index| api.publish(&channel_name(index), &json!(0)))
            .map(|result| result["epoch"].as_str().unwrap_or_default().to_owned())
            .collect();
        let stop = Arc::new(AtomicBool::new(false));
        let honest = listen(&plain, &stomp, &epochs, &stop)?;
        until("everybody is subscribed", || {
            honest.iter().all(|honest| honest.record.lock().unwrap().is_subscribed)
        });
        let mut endpoints: Vec<Endpoint> =
            plain.iter().map(|node| Endpoint::plain(*node, time_limit)).collect();
        endpoints.push(ask_tls);
        let watch =
            Watch::asking(endpoints.iter().map(|endpoint| endpoint.probe(READY, OK)).collect(), LOOK_EVERY);
        let mut newcomers: Vec<Probe> =
            endpoints.iter().map(|endpoint| endpoint.probe(HANDSHAKE, SWITCHED)).collect();
        newcomers
            .extend(stomp.iter().map(|node| Endpoint::plain(*node, time_limit).probe(CONNECT, CONNECTED)));
        let newcomers = Watch::asking(newcomers, COME_EVERY);
        let resident = Arc::default();
        watch_memory(&cluster, &resident, &stop);
        let (ledger, stop_backends) = (Arc::new(Ledger::new(CHANNELS)), Arc::new(AtomicBool::new(false)));
        let every = Duration::from_secs(1) * BACKENDS / rate;
        let backends = (0..BACKENDS).map(|_| {
            let (ledger, nodes, stop) = (Arc::clone(&ledger), plain.clone(), Arc::clone(&stop_backends));
            thread::spawn(move || backend::publish(&ledger, &nodes, every, &stop))
        });
        let backends = backends.collect();
        let mut h2 = ClientConfig::clone(&config);
        h2.alpn_protocols = vec![b"h2".to_vec()];
        let targets = Targets { http: plain, stomp, tls: vec![tls], h2: Arc::new(h2) };
        Ok(Self {
            targets,
            cluster,
            ledger,
            honest,
            watch,
            newcomers,
            resident,
            stop_backends,
            stop,
            backends,
            _files: files,
        })
    }

    /// Ends publishing, waits until all has arrived, and gives what was seen. Newcomers at a full node do not count.
    pub(crate) fn finish(self, has_full_node: bool) -> Seen {
        self.stop_backends.store(true, Ordering::Relaxed);
        let mut complaints = Vec::new();
        for backend in self.backends {
            if backend.join().is_err() {
                complaints.push("a backend panicked".to_owned());
            }
        }
        let accepted: Vec<_> = self.ledger.channels.iter().map(|channel| channel.accepted()).collect();
        let tops = accepted.iter().map(|accepted| accepted.values().map(|one| one.position.offset).max());
        let tops: Vec<u64> = tops.map(Option::unwrap_or_default).collect();
        let give_up = Instant::now() + SETTLED_WITHIN;
        let is_behind =
            |honest: &&Honest| honest.record.lock().unwrap().position.offset < tops[honest.channel];
        while self.honest.iter().any(|honest| is_behind(&honest)) && Instant::now() < give_up {
            thread::sleep(LOOK_EVERY);
        }
        for honest in self.honest.iter().filter(is_behind) {
            complaints.push(format!("{} did not come to the top of its channel", honest.name));
        }
        let reconnects = self.honest.iter().map(|honest| honest.record.lock().unwrap().reconnects).sum();
        self.stop.store(true, Ordering::Relaxed);
        for honest in &self.honest {
            let record = honest.record.lock().unwrap();
            complaints
                .extend(record.complaints.iter().map(|complaint| format!("{}: {complaint}", honest.name)));
        }
        complaints.extend(self.ledger.complaints.lock().unwrap().iter().cloned());
        let readiness = (0..self.cluster.nodes.len()).map(|node| self.watch.of(node)).collect();
        let nodes = self.cluster.nodes.len();
        let ways = (0..2 * nodes).filter(|way| !has_full_node || way % nodes != FULL_NODE);
        let newcomers = ways.flat_map(|way| self.newcomers.of(way)).collect();
        let resident = self.resident.lock().unwrap().clone();
        Seen {
            honest: self.honest,
            accepted,
            readiness,
            newcomers,
            resident,
            complaints,
            reconnects,
            given_up: self.ledger.given_up.load(Ordering::Relaxed),
            unknown: self.ledger.unknown.load(Ordering::Relaxed),
        }
    }
}

/// Subscribes all honest clients; they run until `stop`.
fn listen(
    plain: &[SocketAddr],
    stomp: &[SocketAddr],
    epochs: &[String],
    stop: &Arc<AtomicBool>,
) -> io::Result<Vec<Honest>> {
    let mut honest = Vec::new();
    let mut subscribers = Vec::new();
    let mut new = |way: &str, node: usize, channel: usize, epoch: &str| {
        let record: Arc<Mutex<Record>> = Arc::default();
        record.lock().unwrap().position.epoch = epoch.to_owned();
        let name = format!("{way} at node {node}, {}", channel_name(channel));
        honest.push(Honest { name, channel, record: Arc::clone(&record) });
        record
    };
    let mut readers = Vec::new();
    for (channel, epoch) in epochs.iter().enumerate() {
        for (node, address) in plain.iter().enumerate() {
            // It learns its position by itself.
            let record = new("WebSocket", node, channel, "");
            subscribers.push(Subscriber {
                channel: channel_name(channel),
                nodes: plain.to_vec(),
                first: node,
                record,
            });
            for way in [Way::Sse, Way::Sockjs] {
                let record = new(&format!("{way:?}"), node, channel, epoch);
                readers.push(Reader { way, node: *address, channel: channel_name(channel), record });
            }
        }
        for (node, address) in stomp.iter().enumerate() {
            let record = new("STOMP", node, channel, epoch);
            readers.push(Reader { way: Way::Stomp, node: *address, channel: channel_name(channel), record });
        }
    }
    for reader in readers {
        let stop = Arc::clone(stop);
        thread::spawn(move || reader.run(&stop));
    }
    let (runtime, stop) =
        (tokio::runtime::Builder::new_current_thread().enable_all().build()?, Arc::clone(stop));
    thread::spawn(move || {
        runtime.block_on(async {
            for subscriber in subscribers {
                tokio::spawn(subscriber.run());
            }
            while !stop.load(Ordering::Relaxed) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
    });
    Ok(honest)
}

/// Reads the nodes' resident memory until `stop`, on a thread of its own.
fn watch_memory(cluster: &Cluster, resident: &Arc<Mutex<Vec<Resident>>>, stop: &Arc<AtomicBool>) {
    let processes: Vec<_> = cluster.nodes.iter().map(gorani_tests::node::Node::process).collect();
    let (resident, stop) = (Arc::clone(resident), Arc::clone(stop));
    thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            for (node, process) in processes.iter().enumerate() {
                let bytes = process.resident_bytes();
                resident.lock().unwrap().push(Resident { node, at: Instant::now(), bytes });
            }
            thread::sleep(LOOK_EVERY);
        }
    });
}

/// A new certificate for `localhost` in a directory of its own, and who trusts it.
fn certificate() -> io::Result<(TempDir, Arc<ClientConfig>)> {
    let files = TempDir::new()?;
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).map_err(io::Error::other)?;
    std::fs::write(files.path().join("certificate.pem"), certified.cert.pem())?;
    std::fs::write(files.path().join("key.pem"), certified.signing_key.serialize_pem())?;
    let mut roots = RootCertStore::empty();
    roots.add(certified.cert.der().to_vec().into()).map_err(io::Error::other)?;
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok((files, Arc::new(config)))
}

/// Whether the node under test, which may be an older one, knows a setting.
fn known_setting(key: &str, value: u64) -> io::Result<bool> {
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), format!("{key} = {value}\n"))?;
    let output = Command::new(binary::node()).args(["check", "--config"]).arg(file.path()).output()?;
    Ok(output.status.success())
}
