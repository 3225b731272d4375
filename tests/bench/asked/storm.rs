//! Clients that return all at once to nodes that ask a slow backend who they are.

use std::{
    io,
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use gorani_tests::{
    node::{Node, Settings},
    redis::Redis,
};

use super::server::{Answers, Server};
use crate::client_process::ClientProcess;

/// Clients of one process and of one node: a process may open only so many files.
const CLIENTS_OF_A_NODE: u32 = 16_700;
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Runs it, and tells of it in Markdown.
pub(super) fn run(clients: u32, calls_per_second: u32) -> io::Result<String> {
    let server = Server::start(Answers::Every(Duration::from_secs(1) / calls_per_second))?;
    let redis = Redis::start();
    let count = clients.div_ceil(CLIENTS_OF_A_NODE);
    let settings = Settings::open()
        .set("broker.kind", "\"redis\"")
        .set("broker.redis.url", format!("\"{}\"", redis.url()))
        .set("http.max_handshakes", "20000")
        .set("http.max_handshakes_per_address", "20000")
        .set("client.max_unauthenticated", "20000")
        .set("client.proxy.connect.enabled", "true")
        .set("client.proxy.connect.endpoint", format!("\"{}\"", server.url()));
    let nodes: Vec<Node> = (0..count).map(|_| Node::start(settings.clone())).collect();
    let memory = || nodes.iter().map(|node| node.process().resident_bytes()).max().unwrap_or_default();
    let began = Instant::now();
    let mut running = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        let first = CLIENTS_OF_A_NODE * u32::try_from(index).map_err(io::Error::other)?;
        let own = CLIENTS_OF_A_NODE.min(clients - first);
        let arguments = ["backend-client".to_owned(), node.address().to_string(), own.to_string()];
        running.push(thread::spawn(move || {
            let mut last = Instant::now();
            let mut process = ClientProcess::start(&arguments, |joined| {
                if last.elapsed() > 30 * LOOK_EVERY {
                    last = Instant::now();
                    eprintln!("backend: node {index}: {joined} of {own} are connected");
                }
            })?;
            let attempts: usize = process.answer("attempts")?.parse().map_err(io::Error::other)?;
            Ok::<_, io::Error>((process, attempts))
        }));
    }
    let mut most = 0;
    while !running.iter().all(thread::JoinHandle::is_finished) {
        most = most.max(memory());
        thread::sleep(LOOK_EVERY);
    }
    let took = began.elapsed();
    let (mut attempts, mut processes) = (0, Vec::new());
    for running in running {
        let (process, tried) = running.join().map_err(|_| io::Error::other("a thread panicked"))??;
        attempts += tried;
        processes.push(process);
    }
    let asked = server.requests.load(Ordering::Relaxed);
    let cpu: Duration = nodes.iter().map(|node| node.process().cpu()).sum();
    Ok(format!(
        "\n- {clients} clients connect at once to {count} nodes, without tokens; the backend answers {calls_per_second} calls a second, one after the other, those included that nobody waits for\n\
         - all are connected after {:.0} s (at the backend's rate: {:.0} s), with {attempts} attempts; the backend answered {asked} calls\n\
         - memory of the largest node {:.0} MiB at most; CPU of all nodes {:.0} s\n",
        took.as_secs_f64(),
        f64::from(clients) / f64::from(calls_per_second),
        mebibytes(most),
        cpu.as_secs_f64(),
    ))
}

#[allow(clippy::cast_precision_loss, reason = "a number of bytes to be read by people")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}
