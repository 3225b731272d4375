//! Instructions that the node executes for a delivery, for a publish request and for a connection, counted by valgrind's callgrind.
//!
//! Counts hardly vary between runs and do not see what else the machine does, so that a change of a tenth of a percent shows. Every
//! number is the difference of two runs that differ only in the number of publications, or of connections: what starting and ending
//! cost falls out. What the kernel does is not counted.
//!
//! The cost of a trace is counted at many subscribers of one channel: without a trace, with one of that channel, and with one of
//! another channel. Decision record 67.

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use gorani_tests::{
    binary,
    node::{Node, Settings},
};
use indicatif::ProgressBar;
use serde_json::json;
use tempfile::TempDir;

use crate::{
    plan::Plan,
    publisher::Publisher,
    report::Row,
    server::{command, post},
    stats::Sample,
    transports::{request, round, settings, subscribers::Subscribers, way::Way},
};

/// Publications at once: in the first case the system call dominates, in the second one write takes all of them.
const IN_FLIGHT: [u64; 2] = [1, 32];
/// Rounds of the shorter run, which fill every cache and buffer.
const WARM_UP_ROUNDS: u64 = 5;
/// Publish requests of a round that nobody receives.
const REQUESTS: usize = 100;
/// Bytes of their data.
const PAYLOAD_BYTES: usize = 128;
/// Rounds of the longer run over the shorter for a traced channel, whose rounds have many more deliveries.
const TRACED_ROUNDS: u64 = 10;
/// The key with which traces are begun.
const OPERATOR_KEY: &str = "operator-key-of-the-bench";
/// Connections of a round that come, subscribe and go.
const CONNECTIONS: usize = 100;
/// Pause between two looks for connections that are not gone yet. Each look costs the node a request.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Longest time for a node under valgrind to end.
const ENDED_WITHIN: Duration = Duration::from_secs(60);

/// A case: the publications and their receivers.
#[derive(Debug, Clone, Copy)]
enum Case {
    /// To subscribers by this way, so many publications at once.
    Deliveries(Way, u64),
    /// To many subscribers, with a trace that is on meanwhile.
    Traced(Way, u64, TracedChannel),
    /// To nobody: the cost of a request.
    Requests,
    /// No publications, but connections of this way: each comes, subscribes and goes.
    Connections(Way),
}

/// The channel of the trace that is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TracedChannel {
    /// There is no trace.
    None,
    /// That of the subscribers.
    Own,
    /// One that nobody subscribes to.
    Other,
}

impl TracedChannel {
    const ALL: [Self; 3] = [Self::None, Self::Own, Self::Other];

    fn name(self) -> &'static str {
        match self {
            Self::None => "no trace",
            Self::Own => "the channel traced",
            Self::Other => "another channel traced",
        }
    }

    /// Begins the trace.
    fn begin(self, node: &Node, way: Way) -> io::Result<()> {
        let channel = match self {
            Self::None => return Ok(()),
            Self::Own => way.channel(),
            Self::Other => "bench:other",
        };
        let body = format!(r#"{{"channel":"{channel}","seconds":3600}}"#);
        let authorization = format!("Bearer {OPERATOR_KEY}");
        let headers = [("authorization", authorization.as_str()), ("x-gorani-admin", "1")];
        let (status, answer) = node.api().post_with("/admin/api/actions/trace", body.as_bytes(), &headers);
        if status == 200 { Ok(()) } else { Err(io::Error::other(format!("no trace: {status} {answer}"))) }
    }
}

/// Counts for the measures whose name contains `only`.
pub(crate) fn measure(only: &str, plan: &Plan, progress: &ProgressBar) -> io::Result<Vec<Row>> {
    let deliveries =
        Way::ALL.into_iter().flat_map(|way| IN_FLIGHT.map(|in_flight| Case::Deliveries(way, in_flight)));
    let mut rows = Vec::new();
    let traced = [Way::WebSocket, Way::Protobuf].into_iter().flat_map(|way| {
        let of_traces =
            move |in_flight| TracedChannel::ALL.map(|traced| Case::Traced(way, in_flight, traced));
        IN_FLIGHT.into_iter().flat_map(of_traces)
    });
    let connections = [Way::WebSocket, Way::Stomp].map(Case::Connections);
    for case in deliveries.chain([Case::Requests]).chain(connections).chain(traced) {
        let what = match case {
            Case::Deliveries(way, in_flight) => {
                format!("{}, {in_flight} in flight: instructions per delivery", way.name())
            }
            Case::Traced(way, in_flight, traced) => format!(
                "{} to {} subscribers, {in_flight} in flight, {}: instructions per delivery",
                way.name(),
                plan.subscribers,
                traced.name()
            ),
            Case::Requests => "publish to nobody: instructions per request".to_owned(),
            Case::Connections(way) => {
                format!("{}, connect, subscribe and end: instructions per connection", way.name())
            }
        };
        if !what.contains(only) {
            continue;
        }
        let (mut new, mut old) = (Sample::default(), Sample::default());
        for _ in 0..plan.repeats {
            progress.set_message(what.clone());
            let of = |program: &Path| {
                of_one(program, case, plan)
                    .map_err(|error| io::Error::new(error.kind(), format!("{what}: {error}")))
            };
            new.push(of(&binary::node())?);
            if let Some(program) = plan.start.old {
                old.push(of(program)?);
            }
        }
        rows.push(Row { what, unit: "", gateway: new, stock: old, goal: None });
    }
    Ok(rows)
}

/// Instructions of this binary for one delivery or request.
fn of_one(program: &Path, case: Case, plan: &Plan) -> io::Result<f64> {
    let (subscribers, rounds) = match case {
        Case::Traced(..) => (plan.subscribers, TRACED_ROUNDS.min(plan.instructions.1)),
        Case::Deliveries(..) | Case::Requests | Case::Connections(_) => plan.instructions,
    };
    let short = counted(program, case, subscribers, WARM_UP_ROUNDS)?;
    let long = counted(program, case, subscribers, WARM_UP_ROUNDS + rounds)?;
    let each_round = match case {
        Case::Deliveries(_, in_flight) | Case::Traced(_, in_flight, _) => in_flight * subscribers as u64,
        Case::Requests => REQUESTS as u64,
        Case::Connections(_) => CONNECTIONS as u64,
    };
    Ok((long as f64 - short as f64) / (rounds * each_round) as f64)
}

/// Instructions of a whole run of a node, from its start to its end.
fn counted(program: &Path, case: Case, subscribers: usize, rounds: u64) -> io::Result<u64> {
    let files = TempDir::new()?;
    let counts = files.path().join("callgrind.out");
    let settings = if matches!(case, Case::Traced(..)) { with_operator(settings()) } else { settings() };
    let mut node = Node::start_program(&under_callgrind(program, &files, &counts)?, settings);
    run(&node, case, subscribers, rounds)
        .map_err(|error| io::Error::new(error.kind(), format!("{error}\n{}", node.output())))?;
    node.terminate();
    // Clients are gone by now, so that nothing has to be drained.
    if !node.wait_exit(ENDED_WITHIN).is_some_and(|status| status.success()) {
        return Err(io::Error::other(format!("the node did not end well:\n{}", node.output())));
    }
    total(&fs::read_to_string(counts)?)
}

/// A program that runs the node under callgrind, with the node's own arguments.
fn under_callgrind(program: &Path, files: &TempDir, counts: &Path) -> io::Result<PathBuf> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        return Err(io::Error::new(ErrorKind::NotFound, "valgrind is not installed (Debian: valgrind)"));
    }
    let script = files.path().join("node");
    let text = format!(
        "#!/bin/sh\nexec valgrind --tool=callgrind --callgrind-out-file='{}' '{}' \"$@\"\n",
        counts.display(),
        program.display()
    );
    fs::write(&script, text)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700))?;
    Ok(script)
}

/// With an operator, who may begin traces.
fn with_operator(settings: Settings) -> Settings {
    let key = format!(r#"[{{ name = "bench", key = "{OPERATOR_KEY}", role = "operator" }}]"#);
    settings.set("admin.enabled", "true").set("admin.keys", key)
}

/// Runs the rounds of a case.
fn run(node: &Node, case: Case, subscribers: usize, rounds: u64) -> io::Result<()> {
    let mut publisher = Publisher::connect(node.address())?;
    match case {
        Case::Deliveries(way, in_flight) | Case::Traced(way, in_flight, _) => {
            if let Case::Traced(_, _, traced) = case {
                traced.begin(node, way)?;
            }
            let mut subscribers = Subscribers::subscribe(node.address(), way, subscribers)?;
            let requests = request(node, way).repeat(in_flight as usize);
            for _ in 0..rounds {
                round(&mut subscribers, &mut publisher, &requests, in_flight)?;
            }
        }
        Case::Requests => {
            let request = post(node.address(), "/api/publish", &command("bench:idle", PAYLOAD_BYTES));
            for _ in 0..rounds {
                publisher.pump(&request, REQUESTS, 1)?;
            }
        }
        Case::Connections(way) => {
            for _ in 0..rounds {
                drop(Subscribers::subscribe(node.address(), way, CONNECTIONS)?);
            }
            wait_until_alone(node)?;
        }
    }
    Ok(())
}

/// Waits until the node has seen the ends of all clients.
fn wait_until_alone(node: &Node) -> io::Result<()> {
    let until = Instant::now() + ENDED_WITHIN;
    loop {
        std::thread::sleep(LOOK_EVERY);
        let info = node.api().ok("info", &json!({}));
        if info["nodes"][0]["num_clients"] == 0 {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(io::Error::new(ErrorKind::TimedOut, format!("clients are left: {info}")));
        }
    }
}

/// The number in the line `summary: <number>` of callgrind's file.
fn total(counts: &str) -> io::Result<u64> {
    let line = counts.lines().find_map(|line| line.strip_prefix("summary: "));
    let number = line.and_then(|number| number.trim().parse().ok());
    number.ok_or_else(|| io::Error::other("callgrind wrote no summary"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_the_number_of_the_summary() {
        assert_eq!(total("version: 1\nevents: Ir\nsummary: 1234567\n\nfn=(1) a\n3 4\n").unwrap(), 1_234_567);
        assert!(total("events: Ir\n").is_err());
    }
}
