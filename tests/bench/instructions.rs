//! Instructions that the node executes for a delivery and for a publish request, counted by valgrind's callgrind.
//!
//! Counts hardly vary between runs and do not see what else the machine does, so that a change of a tenth of a percent shows. Every
//! number is the difference of two runs that differ only in the number of publications: what starting, subscribing and ending cost
//! falls out. What the kernel does is not counted.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use gorani_tests::{binary, node::Node};
use indicatif::ProgressBar;
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
/// Longest time for a node under valgrind to end.
const ENDED_WITHIN: Duration = Duration::from_secs(60);

/// A case: the publications and their receivers.
#[derive(Debug, Clone, Copy)]
enum Case {
    /// To subscribers by this way, so many publications at once.
    Deliveries(Way, u64),
    /// To nobody: the cost of a request.
    Requests,
}

/// Counts for the measures whose name contains `only`.
pub(crate) fn measure(only: &str, plan: &Plan, progress: &ProgressBar) -> io::Result<Vec<Row>> {
    let deliveries =
        Way::ALL.into_iter().flat_map(|way| IN_FLIGHT.map(|in_flight| Case::Deliveries(way, in_flight)));
    let mut rows = Vec::new();
    for case in deliveries.chain([Case::Requests]) {
        let what = match case {
            Case::Deliveries(way, in_flight) => {
                format!("{}, {in_flight} in flight: instructions per delivery", way.name())
            }
            Case::Requests => "publish to nobody: instructions per request".to_owned(),
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
    let (subscribers, rounds) = plan.instructions;
    let short = counted(program, case, subscribers, WARM_UP_ROUNDS)?;
    let long = counted(program, case, subscribers, WARM_UP_ROUNDS + rounds)?;
    let each_round = match case {
        Case::Deliveries(_, in_flight) => in_flight * subscribers as u64,
        Case::Requests => REQUESTS as u64,
    };
    Ok((long as f64 - short as f64) / (rounds * each_round) as f64)
}

/// Instructions of a whole run of a node, from its start to its end.
fn counted(program: &Path, case: Case, subscribers: usize, rounds: u64) -> io::Result<u64> {
    let files = TempDir::new()?;
    let counts = files.path().join("callgrind.out");
    let mut node = Node::start_program(&under_callgrind(program, &files, &counts)?, settings());
    publish(&node, case, subscribers, rounds)
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
        return Err(io::Error::new(io::ErrorKind::NotFound, "valgrind is not installed (Debian: valgrind)"));
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

fn publish(node: &Node, case: Case, subscribers: usize, rounds: u64) -> io::Result<()> {
    let mut publisher = Publisher::connect(node.address())?;
    match case {
        Case::Deliveries(way, in_flight) => {
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
    }
    Ok(())
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
