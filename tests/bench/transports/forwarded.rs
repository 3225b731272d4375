//! A request for a SockJS session of another node against one for a session of its own: two nodes on one Redis, and an echo
//! whose poll and whose send each go to the owner or to the other node. `docs/adr/0021-sticky-free.md`.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use gorani_tests::{
    node::{Node, Settings},
    raw::RawSocket,
    redis::Redis,
};

use super::way::post;
use crate::{report, server::start_node, stats::Sample};

/// Length of the text that is echoed.
const MESSAGE_BYTES: usize = 128;
/// Echoes before anything is measured: connections between the nodes, caches.
const WARM_UP: usize = 5;

/// Where the poll and the send go. The first is what the others are compared with.
pub(crate) const PLACES: [Place; 4] = [
    Place { name: "both at the owner", poll: OWNER, send: OWNER },
    Place { name: "the poll at the other node", poll: OTHER, send: OWNER },
    Place { name: "the send at the other node", poll: OWNER, send: OTHER },
    Place { name: "both at the other node", poll: OTHER, send: OTHER },
];
const OWNER: usize = 0;
const OTHER: usize = 1;

/// Which node is asked.
#[derive(Debug)]
pub(crate) struct Place {
    name: &'static str,
    poll: usize,
    send: usize,
}

/// What an echo costs.
#[derive(Debug, Default)]
pub(crate) struct Cost {
    /// CPU of both nodes in µs, for a poll and a send together.
    microseconds: Sample,
    /// Median from the send to its answer, in µs.
    sent: Sample,
    /// Median from the send to the answer of the poll that waits, in µs.
    echoed: Sample,
}

/// One repeat of each of [`PLACES`].
pub(crate) fn measure(echoes: usize, pinned: bool, costs: &mut [Cost]) -> io::Result<()> {
    let redis = Redis::start();
    let settings = Settings::open()
        .set("broker.kind", "\"redis\"")
        .set("broker.redis.url", format!("\"{}\"", redis.url()))
        .set("development.echo", "true")
        .set("development.sockjs_conformance", "true");
    let nodes = [start_node(settings.clone(), pinned), start_node(settings, pinned)];
    for (number, (place, cost)) in PLACES.iter().zip(costs).enumerate() {
        one(&nodes, number, place, echoes, cost)?;
    }
    Ok(())
}

fn one(nodes: &[Node; 2], number: usize, place: &Place, echoes: usize, cost: &mut Cost) -> io::Result<()> {
    let session = format!("/echo/000/s{number}");
    let poll = |address: SocketAddr| post(address, &format!("{session}/xhr"), "");
    // Whom the first poll reaches has the session.
    let mut opening = RawSocket::connect(nodes[OWNER].address());
    opening.write(&poll(nodes[OWNER].address()))?;
    answer(&mut opening, 200, b"o\n")?;

    let [polled, sent] = [place.poll, place.send].map(|node| nodes[node].address());
    let (mut polling, mut sending) = (RawSocket::connect(polled), RawSocket::connect(sent));
    let body = format!("[\"{}\"]", "x".repeat(MESSAGE_BYTES));
    let frame = format!("a{body}\n");
    let (poll, send) = (poll(polled), post(sent, &format!("{session}/xhr_send"), &body));
    let mut echo = || -> io::Result<(Duration, Duration)> {
        polling.write(&poll)?;
        let begun = Instant::now();
        sending.write(&send)?;
        answer(&mut sending, 204, b"")?;
        let sent = begun.elapsed();
        answer(&mut polling, 200, frame.as_bytes())?;
        Ok((sent, begun.elapsed()))
    };
    for _ in 0..WARM_UP {
        echo()?;
    }
    let cpu = || nodes.iter().map(|node| node.process().cpu()).sum::<Duration>();
    let before = cpu();
    let (mut until_sent, mut until_echoed) = (Sample::default(), Sample::default());
    for _ in 0..echoes {
        let (sent, echoed) = echo()?;
        until_sent.push(sent.as_secs_f64() * 1e6);
        until_echoed.push(echoed.as_secs_f64() * 1e6);
    }
    cost.microseconds.push((cpu() - before).as_secs_f64() * 1e6 / echoes as f64);
    cost.sent.push(until_sent.median());
    cost.echoed.push(until_echoed.median());
    Ok(())
}

fn answer(socket: &mut RawSocket, status: u16, body: &[u8]) -> io::Result<()> {
    let head = socket.read_head()?;
    let came = socket.read_body(&head)?;
    if (head.status, &*came) == (status, body) {
        return Ok(());
    }
    Err(io::Error::other(format!("answered {}: {}", head.status, String::from_utf8_lossy(&came))))
}

/// The table.
pub(crate) fn describe(echoes: usize, costs: &[Cost]) -> String {
    let head = [
        "requests",
        "CPU of both nodes per poll and send, µs",
        "over the owner's",
        "p50 of a send, µs",
        "p50 from send to poll's answer, µs",
    ];
    let mut cells = vec![head.map(str::to_owned)];
    let base = costs.first().expect("the owner is the first place");
    for (place, cost) in PLACES.iter().zip(costs) {
        cells.push([
            place.name.to_owned(),
            cost.microseconds.to_string(),
            cost.microseconds.over(&base.microseconds).to_string(),
            cost.sent.to_string(),
            cost.echoed.to_string(),
        ]);
    }
    format!(
        "SockJS xhr at two nodes on one Redis: a poll waits, a send of {MESSAGE_BYTES} B is echoed to it; one session, {echoes} echoes a \
         repeat, on connections that are kept.\n\n{}",
        report::grid(&cells)
    )
}
