//! How many publish requests a node takes on one keep-alive connection, beside a route that only echoes JSON.
//!
//! The channel has no subscribers, so this is the door alone: HTTP, the key, JSON, the broker. Rates are wall
//! clock and feel every other load on the machine; the CPU cost beside them does not.

use std::{io, time::Instant};

use indicatif::ProgressBar;

use crate::{
    plan::Plan,
    publisher::Publisher,
    report::{Goal, Row},
    server::{Kind, Server},
    stats::Sample,
};

/// Pipelined publishing beside the echo.
const PIPELINED_GOAL: Goal = Goal::RatioAtLeast(0.6);
/// Requests on the way at once when pipelining.
const PIPELINED_DEPTH: usize = 16;
/// Bytes of data in each publication.
const PAYLOAD_BYTES: usize = 128;

struct Way {
    what: &'static str,
    requests: usize,
    depth: usize,
    publications_per_request: usize,
    goal: Option<Goal>,
}

pub(crate) fn measure(plan: &Plan, progress: &ProgressBar) -> io::Result<Vec<Row>> {
    let servers = [Server::start(Kind::Gateway, plan.start), Server::start(Kind::Stock, plan.start)];
    let counts = plan.requests;
    let ways = [
        Way {
            what: "publish, keep-alive, one after the other",
            requests: counts.sequential,
            depth: 1,
            publications_per_request: 1,
            goal: None,
        },
        Way {
            what: "publish, keep-alive, pipelined 16 deep",
            requests: counts.pipelined,
            depth: PIPELINED_DEPTH,
            publications_per_request: 1,
            goal: Some(PIPELINED_GOAL),
        },
        Way {
            what: "publish, in batches of 1,000",
            requests: counts.batches,
            depth: 1,
            publications_per_request: counts.batch_of,
            goal: None,
        },
    ];
    let mut rows = Vec::new();
    for way in ways {
        progress.set_message(way.what);
        let mut rates = [Sample::default(), Sample::default()];
        let mut costs = [Sample::default(), Sample::default()];
        for server in &servers {
            run(server, &way, way.requests.div_ceil(10))?; // to warm up
        }
        for _ in 0..plan.repeats {
            for (at, server) in servers.iter().enumerate() {
                let (rate, cost) = run(server, &way, way.requests)?;
                rates[at].push(rate);
                costs[at].push(cost);
            }
            progress.inc(1);
        }
        let [gateway, stock] = rates;
        rows.push(Row {
            what: format!("{} (stock: echo)", way.what),
            unit: "publications/s",
            gateway,
            stock,
            goal: way.goal,
        });
        let [gateway, stock] = costs;
        rows.push(Row {
            what: format!("{}: CPU per publication", way.what),
            unit: "µs",
            gateway,
            stock,
            goal: None,
        });
    }
    Ok(rows)
}

/// Publications per second, and server CPU per publication in microseconds.
fn run(server: &Server, way: &Way, requests: usize) -> io::Result<(f64, f64)> {
    let request = match way.publications_per_request {
        1 => server.idle_publish_request(PAYLOAD_BYTES),
        many => server.batch_request(PAYLOAD_BYTES, many),
    };
    let mut publisher = Publisher::connect(server.address())?;
    let process = server.process();
    let (cpu, start) = (process.cpu(), Instant::now());
    publisher.pump(&request, requests, way.depth)?;
    let (elapsed, spent) = (start.elapsed(), process.cpu() - cpu);
    let publications = (requests * way.publications_per_request) as f64;
    Ok((publications / elapsed.as_secs_f64(), spent.as_secs_f64() * 1e6 / publications))
}
