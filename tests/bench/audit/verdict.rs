//! What an audit found, and how it is shown.

use std::time::Duration;

use super::check::Counts;
use crate::plot::{Axis, Figure, Panel, Scale};

/// What the columns say.
pub(crate) const LEGEND: &str = "\
accepted: publications that the API answered with 200; tries: attempts answered with 503 and nothing done, and attempts without a known outcome, all
repeated with their idempotency key. delivered, lost, duplicated, reordered: over all subscribers; told: not delivered, and the subscriber was told by a
failed recovery. forgotten: accepted, and not in Redis in the end. clients: reconnects, and subscriptions that the node broke off (2500). recovered:
from the fault's end (of a node: its beginning) until a subscriber had what was sent after it, and so all before. not ready: from the fault's beginning
until the affected nodes said so, and from its end until they were ready again (longest).\n";

/// Lines of one kind.
const TOLD_AT_MOST: usize = 20;

/// The outcome of one scenario.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) scenario: String,
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    pub(crate) unknown: u64,
    pub(crate) counts: Counts,
    /// Accepted, and not in the history in the end: Redis lost it.
    pub(crate) forgotten: Vec<String>,
    pub(crate) reconnects: usize,
    pub(crate) insufficient: usize,
    /// In ascending order.
    pub(crate) recoveries: Vec<Duration>,
    pub(crate) down: Vec<Duration>,
    pub(crate) up: Vec<Duration>,
    pub(crate) complaints: Vec<String>,
    /// From sending to receiving, over the time of the run.
    pub(crate) latencies: Panel,
}

impl Verdict {
    /// Nothing lost, doubled or out of order; told of a loss only where Redis had one; readiness told the truth.
    pub(crate) fn is_good(&self) -> bool {
        let Counts { lost, duplicated, reordered, mixed, told, delivered, .. } = self.counts;
        [lost, duplicated, reordered, mixed].iter().all(|count| *count == 0)
            && (told == 0 || !self.forgotten.is_empty())
            && delivered > 0
            && self.complaints.is_empty()
    }

    /// Everything that is no number.
    pub(crate) fn tell(&self) {
        let say = |what: &str, all: &[String]| {
            all.iter().take(TOLD_AT_MOST).for_each(|one| eprintln!("audit: {}: {what}{one}", self.scenario));
            if all.len() > TOLD_AT_MOST {
                eprintln!("audit: {}: {what}… {} in all", self.scenario, all.len());
            }
        };
        say("", &self.complaints);
        say("lost: ", &self.counts.which);
        say("forgotten by Redis: ", &self.forgotten);
    }

    fn cells(&self) -> Vec<String> {
        let counts = &self.counts;
        let longest =
            |times: &[Duration]| times.iter().max().map_or_else(|| "–".to_owned(), |time| seconds(*time));
        let part = |share: f64| {
            let last = self.recoveries.len().saturating_sub(1);
            #[allow(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "an index"
            )]
            let index = (last as f64 * share).round() as usize;
            self.recoveries.get(index).map_or_else(|| "–".to_owned(), |time| seconds(*time))
        };
        vec![
            self.scenario.clone(),
            self.accepted.to_string(),
            format!("{} / {}", self.refused, self.unknown),
            counts.delivered.to_string(),
            counts.lost.to_string(),
            counts.duplicated.to_string(),
            (counts.reordered + counts.mixed).to_string(),
            counts.told.to_string(),
            self.forgotten.len().to_string(),
            format!("{} / {}", self.reconnects, self.insufficient),
            format!("{} / {} / {}", part(0.5), part(0.99), part(1.0)),
            format!("{} / {}", longest(&self.down), longest(&self.up)),
            if self.is_good() { "good".to_owned() } else { format!("FAILED ({})", self.complaints.len()) },
        ]
    }
}

/// The verdicts, a head and a line for each.
pub(crate) fn table(verdicts: &[Verdict]) -> Vec<Vec<String>> {
    let head = [
        "scenario",
        "accepted",
        "tries: refused / unknown",
        "delivered",
        "lost",
        "duplicated",
        "reordered",
        "told",
        "forgotten",
        "clients: reconnects / 2500",
        "recovered p50 / p99 / max",
        "not ready after / ready after",
        "verdict",
    ];
    let head = head.map(str::to_owned).to_vec();
    std::iter::once(head).chain(verdicts.iter().map(Verdict::cells)).collect()
}

/// The latency of deliveries while something broke, a panel for each scenario.
pub(crate) fn figure(verdicts: &[Verdict]) -> Figure {
    let told: Vec<String> = verdicts
        .iter()
        .map(|verdict| format!("{}: {} delivered", verdict.scenario, verdict.counts.delivered))
        .collect();
    Figure {
        name: "latency",
        title: "From the first attempt to publish to the subscriber, while things break".to_owned(),
        description: format!(
            "Percentiles in milliseconds by the second of publishing; the coloured part is the fault. {}.",
            told.join(", ")
        ),
        x: Axis { label: "seconds".to_owned(), places: Vec::new() },
        y: "latency, ms".to_owned(),
        scale: Scale::Decades,
        panels: verdicts.iter().map(|verdict| verdict.latencies.clone()).collect(),
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}
