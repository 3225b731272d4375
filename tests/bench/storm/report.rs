//! A storm in numbers: how long until the clients were recovered, what it cost, and what was wrong.

use std::time::Duration;

use super::{StormFlags, outcome::Counts};
use crate::report::grid;

/// Clients that return, and the time within which the last of them shall be recovered.
const GOALS: [(u32, Duration); 2] = [(19_000, Duration::from_secs(3)), (57_000, Duration::from_secs(12))];

/// The figures of one storm.
pub(super) struct Storm {
    /// Clients whose node was killed.
    pub(super) returning: u32,
    /// On the monotonic clock.
    pub(super) killed_at: Duration,
    /// Over all clients; its times are sorted.
    pub(super) counts: Counts,
    /// Publications that were accepted.
    pub(super) accepted: u64,
    /// Publications that were never accepted, however often they were tried.
    pub(super) given_up: u64,
    /// From the kill to the last client: of the other nodes, of Redis, of the returning clients.
    pub(super) cpu: [Duration; 3],
    /// Commands of Redis meanwhile.
    pub(super) commands: u64,
}

impl Storm {
    pub(super) fn is_good(&self) -> bool {
        self.counts.is_good() && self.given_up == 0
    }

    /// The time at which this part of the clients was recovered, in seconds after the kill.
    fn seconds(&self, part: f64) -> f64 {
        let times = &self.counts.recovered_at;
        let index = ((times.len().saturating_sub(1)) as f64 * part).round() as usize;
        let at = times.get(index).map_or(f64::NAN, |at| *at as f64 / 1e9);
        at - self.killed_at.as_secs_f64()
    }

    fn goal(&self) -> String {
        let goal = GOALS.iter().find(|(returning, _)| *returning == self.returning);
        let verdict =
            |within: &Duration| if self.seconds(1.0) <= within.as_secs_f64() { "met" } else { "MISSED" };
        goal.map_or_else(String::new, |(_, within)| format!("{} s: {}", within.as_secs(), verdict(within)))
    }
}

/// The text of the result.
pub(super) fn describe(flags: &StormFlags, storms: &[Storm]) -> String {
    let seconds = |value: f64| format!("{value:.2}");
    let each = |value: Duration, of: u32| format!("{:.0}", value.as_secs_f64() * 1e6 / f64::from(of));
    let head = [
        "clients that return",
        "first, s",
        "median, s",
        "99 %, s",
        "last, s",
        "goal",
        "CPU of nodes, µs each",
        "of Redis, µs each",
        "of clients, µs each",
        "commands of Redis each",
    ];
    let mut times = vec![head.map(str::to_owned)];
    let head = [
        "clients that return",
        "published",
        "received",
        "recovered",
        "lost",
        "doubled",
        "reordered",
        "mixed",
        "told",
        "behind",
        "sent away",
        "refused for now",
    ];
    let mut correctness = vec![head.map(str::to_owned)];
    let mut complaints = String::new();
    for storm in storms {
        let (of, counts) = (storm.returning, &storm.counts);
        let [nodes, redis, clients] = storm.cpu;
        times.push([
            of.to_string(),
            seconds(storm.seconds(0.0)),
            seconds(storm.seconds(0.5)),
            seconds(storm.seconds(0.99)),
            seconds(storm.seconds(1.0)),
            storm.goal(),
            each(nodes, of),
            each(redis, of),
            each(clients, of),
            format!("{:.2}", storm.commands as f64 / f64::from(of)),
        ]);
        let refused: Vec<String> =
            counts.refused.iter().map(|(code, count)| format!("{count} of code {code}")).collect();
        correctness.push([
            of.to_string(),
            storm.accepted.to_string(),
            counts.received.to_string(),
            counts.recovered.to_string(),
            counts.lost.to_string(),
            counts.doubled.to_string(),
            counts.reordered.to_string(),
            counts.mixed.to_string(),
            counts.told.to_string(),
            counts.behind.to_string(),
            (counts.disconnected + counts.unsubscribed).to_string(),
            refused.join(", "),
        ]);
        for complaint in &counts.complaints {
            complaints.push_str(&format!("- {complaint}\n"));
        }
        if counts.complained > counts.complaints.len() as u64 {
            complaints.push_str(&format!("- {} such sentences in all\n", counts.complained));
        }
        if storm.given_up > 0 {
            complaints.push_str(&format!("- {} publications were never accepted\n", storm.given_up));
        }
    }
    format!(
        "Nodes of {} clients each are killed (SIGKILL) together while backends publish {} times a second into {} channels with \
         history. Each client has one of the channels, comes from an address of its own, and connects at once to one of the {} \
         other nodes, which have {} clients each before. Nodes of {} workers, Redis (appendfsync always) and clients are on the \
         same machine.\n\nFrom the kill until the client has the answer to its recovery:\n\n{}\nOver all clients, the other \
         nodes' own included; each publication's position is checked by each client that has it:\n\n{}{complaints}",
        flags.clients,
        flags.rate,
        flags.channels,
        flags.others,
        flags.bystanders,
        flags.workers,
        grid(&times),
        grid(&correctness),
    )
}
