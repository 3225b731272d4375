//! What honest clients noticed: times by phase, losses, readiness, memory, and what of it fails the run.

use std::{collections::BTreeSet, fmt::Write as _, time::Duration};

use super::{AttackFlags, BACKENDS, Kind, Phase, attacker::Done, attacks::Attack, stage::Seen};
use crate::{
    audit::{
        check::{Counts, check},
        subscriber::Entry,
        watch::Sample,
    },
    report,
};

/// The 99th percentile under attack may be this many times that under control.
const P99_RATIO: f64 = 2.0;
/// Failures of one kind that are told.
const TOLD_AT_MOST: usize = 10;
const MIB: u64 = 1024 * 1024;

/// One kind of phase, all rounds together.
#[derive(Debug)]
struct Times {
    kind: Kind,
    deliveries: usize,
    median: Duration,
    p99: Duration,
    /// One reason for each time that a node was not ready.
    not_ready: Vec<String>,
    /// One reason for each honest newcomer that was not let in, of all that came.
    refused: Vec<String>,
    came: usize,
    peak_mib: Vec<u64>,
}

/// The whole run.
#[derive(Debug)]
pub(crate) struct Outcome {
    times: Vec<Times>,
    counts: Counts,
    reconnects: usize,
    unknown: u64,
    pub(crate) failures: Vec<String>,
}

impl Outcome {
    /// Without `brief` the times count too.
    pub(crate) fn of(seen: &Seen, phases: &[Phase], memory_mib: u64, brief: bool) -> Self {
        let mut counts = Counts::default();
        for honest in &seen.honest {
            let record = honest.record.lock().unwrap();
            check(&record, &seen.accepted[honest.channel], &mut counts);
        }
        let kinds = [Kind::Quiet, Kind::Control, Kind::Attack];
        let times: Vec<Times> = kinds.into_iter().map(|kind| Times::of(kind, seen, phases)).collect();
        let mut failures: Vec<String> = seen.complaints.iter().take(TOLD_AT_MOST).cloned().collect();
        let [quiet, control, attack] = &times[..] else { unreachable!("three kinds") };
        let wrong = counts.lost + counts.duplicated + counts.reordered + counts.mixed + counts.told;
        if wrong > 0 {
            failures.push(format!(
                "{} lost, {} told as lost, {} duplicated, {} out of order",
                counts.lost,
                counts.told,
                counts.duplicated,
                counts.reordered + counts.mixed
            ));
        }
        if counts.delivered == 0 || seen.given_up > 0 {
            failures.push(format!("{} delivered, {} never accepted", counts.delivered, seen.given_up));
        }
        if !attack.not_ready.is_empty() {
            let (times, why) = (attack.not_ready.len(), reasons(&attack.not_ready));
            failures.push(format!("not ready {times} times under attack: {why}"));
        }
        if !attack.refused.is_empty() {
            let (refused, came, why) = (attack.refused.len(), attack.came, reasons(&attack.refused));
            failures.push(format!("{refused} of {came} honest newcomers not let in: {why}"));
        }
        for (node, (peak, before)) in attack.peak_mib.iter().zip(&quiet.peak_mib).enumerate() {
            if peak.saturating_sub(*before) > memory_mib {
                failures.push(format!("node {node} grew from {before} to {peak} MiB"));
            }
        }
        let ratio = attack.p99.as_secs_f64() / control.p99.as_secs_f64().max(1e-6);
        if !brief && ratio > P99_RATIO {
            failures.push(format!("p99 under attack is {ratio:.1} times that under control"));
        }
        Self { times, counts, reconnects: seen.reconnects, unknown: seen.unknown, failures }
    }

    /// For people, and for the dated file.
    pub(crate) fn text(&self, attacks: &[Attack], done: &[Done], flags: &AttackFlags) -> String {
        let mut text = format!(
            "- 3 nodes of 2 workers (two plain, one with TLS), Redis with appendfsync always; {} publications a second from {BACKENDS} backends\n\
             - honest subscribers from 127.0.0.1 over WebSocket, SSE, SockJS and STOMP; attackers from 127.0.0.2 to 127.0.0.11\n\
             - control: the attackers' traffic goes to a server that accepts and reads; p99 under attack is compared with p99 under control\n\n",
            flags.rate
        );
        let head = [
            "phase",
            "deliveries",
            "p50 ms",
            "p99 ms",
            "not ready",
            "newcomers refused",
            "peak memory by node, MiB",
        ];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        let ms = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1e3);
        rows.extend(self.times.iter().filter(|times| times.deliveries > 0).map(|times| {
            vec![
                format!("{:?}", times.kind).to_lowercase(),
                times.deliveries.to_string(),
                ms(times.median),
                ms(times.p99),
                times.not_ready.len().to_string(),
                format!("{} of {}", times.refused.len(), times.came),
                times.peak_mib.iter().map(u64::to_string).collect::<Vec<_>>().join(" / "),
            ]
        }));
        text.push_str(&report::grid(&rows));
        let head = ["attack", "opened", "refused", "ended by the node", "sent KB", "received KB"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(attacks.iter().zip(done).map(|(attack, done)| {
            let numbers =
                [done.opened, done.refused, done.ended, done.sent_bytes / 1000, done.received_bytes / 1000];
            std::iter::once(attack.name.to_owned()).chain(numbers.iter().map(u64::to_string)).collect()
        }));
        let Counts { delivered, lost, told, duplicated, .. } = self.counts;
        let _ = write!(
            text,
            "\n{delivered} delivered, {lost} lost, {told} told as lost, {duplicated} duplicated, {} out of order; \
             {} reconnects of honest clients; {} publications repeated without a known outcome\n\n{}\n",
            self.counts.reordered + self.counts.mixed,
            self.reconnects,
            self.unknown,
            report::grid(&rows)
        );
        match self.failures.as_slice() {
            [] => text.push_str("good\n"),
            failures => failures.iter().for_each(|failure| {
                let _ = writeln!(text, "FAILED: {failure}");
            }),
        }
        text
    }
}

/// The different ones of these.
fn reasons(all: &[String]) -> String {
    let different: BTreeSet<&str> = all.iter().map(String::as_str).collect();
    different.into_iter().take(TOLD_AT_MOST).collect::<Vec<_>>().join(", ")
}

impl Times {
    fn of(kind: Kind, seen: &Seen, phases: &[Phase]) -> Self {
        let within =
            |at| phases.iter().any(|phase| phase.kind == kind && (phase.began..phase.ended).contains(&at));
        let mut times: Vec<Duration> = Vec::new();
        for honest in &seen.honest {
            let accepted = &seen.accepted[honest.channel];
            for entry in &honest.record.lock().unwrap().entries {
                let Entry::Publication { number, at, .. } = entry else { continue };
                if let Some(accepted) = accepted.get(number).filter(|accepted| within(accepted.sent)) {
                    times.push(at.duration_since(accepted.sent));
                }
            }
        }
        times.sort_unstable();
        let part = |of: usize| times.get((times.len() * of / 100).min(times.len().saturating_sub(1)));
        let peak = |node: usize| {
            let bytes = seen.resident.iter().filter(|sample| sample.node == node && within(sample.at));
            bytes.map(|sample| sample.bytes).max().unwrap_or_default() / MIB
        };
        let refusals = |samples: &mut dyn Iterator<Item = &Sample>| -> Vec<String> {
            samples
                .filter(|sample| within(sample.asked))
                .filter_map(|sample| sample.refusal.clone())
                .collect()
        };
        Self {
            kind,
            deliveries: times.len(),
            median: part(50).copied().unwrap_or_default(),
            p99: part(99).copied().unwrap_or_default(),
            not_ready: refusals(&mut seen.readiness.iter().flatten()),
            refused: refusals(&mut seen.newcomers.iter()),
            came: seen.newcomers.iter().filter(|sample| within(sample.asked)).count(),
            peak_mib: (0..seen.readiness.len()).map(peak).collect(),
        }
    }
}
