//! Traces: what operators switch on for a channel, a user or one publication, to see what became of each delivery. These are the
//! queries that nodes send to one another about them, and the answers of one node. Decision record 67.
//!
//! Nodes send them to one another as they are, so a new field has a default.

use std::time::Duration;

use gorani_broker::Publication;
use serde::{Deserialize, Serialize};

/// Traces of a cluster at a time.
pub const TRACES_MAX: usize = 16;
/// Those that sampled contexts of backends have begun among them: the others are left for people.
pub const SAMPLED_TRACES_MAX: usize = TRACES_MAX / 2;
/// The longest that a trace lasts.
pub const TRACE_LASTS_MAX: Duration = Duration::from_secs(3600);
/// Runs and single deliveries in one answer of a node, at most of each.
pub const TRACED_MAX: usize = 500;

/// The name of who began a trace, where that is a sampled context.
pub const BY_TRACEPARENT: &str = "traceparent";

/// A trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceSpec {
    /// Its id.
    pub id: String,
    /// Its target.
    pub target: TraceTarget,
    /// Name of the operator or the key that began it; [`BY_TRACEPARENT`].
    pub by: String,
    /// The id of the backend's trace, 32 hexadecimal digits, where its sampled context began this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Name of the node that was asked for it.
    pub node: String,
    /// Unix milliseconds of its beginning.
    pub began: u64,
    /// Milliseconds after which it ends by itself.
    pub lasts_ms: u64,
}

/// The target of a trace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TraceTarget {
    /// All publications of a channel.
    Channel(String),
    /// All that is delivered to the sessions of a user.
    User(String),
    /// One publication, which is told before it is published.
    Publication(TracedPublication),
}

/// A publication that has no offset yet, by all that tells it from the others of its channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedPublication {
    /// Its channel.
    pub channel: String,
    /// Its time.
    pub time_ms: u64,
    /// Bytes of its data.
    pub bytes: usize,
}

impl TracedPublication {
    /// The one that is about to be published into a channel.
    pub fn of(channel: &str, publication: &Publication) -> Self {
        let (time_ms, bytes) = (publication.time_ms, publication.data.len());
        Self { channel: channel.to_owned(), time_ms, bytes }
    }

    /// True for the publication that is meant. Another one of the same millisecond and size is taken for it as well.
    pub fn is(&self, publication: &Publication) -> bool {
        self.time_ms == publication.time_ms && self.bytes == publication.data.len()
    }
}

/// A query about traces.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TraceQuery {
    /// Begins one.
    Begin(TraceSpec),
    /// Ends one.
    End {
        /// Its id.
        id: String,
    },
    /// Lists all.
    List,
    /// Reads what one has noted.
    Read {
        /// Its id.
        id: String,
    },
}

/// The outcome of one delivery, or an event of a session that is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TraceOutcome {
    /// The whole run was put into the outbox.
    Whole,
    /// A part of the run: the client had the rest already.
    Part,
    /// The client had it already, by its position.
    Duplicate,
    /// The publication excludes the client.
    Excluded,
    /// It waits until the reply of the client's subscribe is written.
    HeldBack,
    /// The publications that were held back were put into the outbox.
    Released,
    /// The subscription had lost its position before, and its client was told.
    Broken,
    /// The subscription lost its position with it, and its client is told.
    Lost,
    /// The outbox was full: the client is ended as slow.
    Overflow,
    /// It waits for a read of history, with the whole channel.
    Gap,
    /// The bytes left the outbox.
    Written,
    /// An outcome that a newer version knows.
    #[serde(other)]
    Other,
}

impl TraceOutcome {
    /// The word in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Part => "part",
            Self::Duplicate => "duplicate",
            Self::Excluded => "excluded",
            Self::HeldBack => "held_back",
            Self::Released => "released",
            Self::Broken => "broken",
            Self::Lost => "lost",
            Self::Overflow => "overflow",
            Self::Gap => "gap",
            Self::Written => "written",
            Self::Other => "other",
        }
    }
}

/// Deliveries by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TraceCounts {
    /// Runs of publications that were delivered together.
    pub runs: u64,
    /// Publications in them.
    pub publications: u64,
    /// Subscribers of each run, summed up.
    pub matched: u64,
    /// [`TraceOutcome::Whole`].
    pub whole: u64,
    /// [`TraceOutcome::Part`].
    pub part: u64,
    /// [`TraceOutcome::Duplicate`].
    pub duplicate: u64,
    /// [`TraceOutcome::Excluded`].
    pub excluded: u64,
    /// [`TraceOutcome::HeldBack`].
    pub held_back: u64,
    /// [`TraceOutcome::Broken`].
    pub broken: u64,
    /// [`TraceOutcome::Lost`].
    pub lost: u64,
    /// [`TraceOutcome::Overflow`].
    pub overflow: u64,
    /// Bytes that were put into outboxes.
    pub bytes: u64,
    /// Microseconds of the worker's time.
    pub micros: u64,
}

impl TraceCounts {
    /// Counts one delivery.
    pub fn count(&mut self, outcome: TraceOutcome, bytes: usize) {
        self.matched += 1;
        self.bytes += bytes as u64;
        match outcome {
            TraceOutcome::Whole => self.whole += 1,
            TraceOutcome::Part => self.part += 1,
            TraceOutcome::Duplicate => self.duplicate += 1,
            TraceOutcome::Excluded => self.excluded += 1,
            TraceOutcome::HeldBack => self.held_back += 1,
            TraceOutcome::Broken => self.broken += 1,
            TraceOutcome::Lost => self.lost += 1,
            TraceOutcome::Overflow => self.overflow += 1,
            // Not outcomes of a run.
            TraceOutcome::Released | TraceOutcome::Gap | TraceOutcome::Written | TraceOutcome::Other => {}
        }
    }

    /// Adds others.
    pub fn add(&mut self, more: &Self) {
        let pairs = [
            (&mut self.runs, more.runs),
            (&mut self.publications, more.publications),
            (&mut self.matched, more.matched),
            (&mut self.whole, more.whole),
            (&mut self.part, more.part),
            (&mut self.duplicate, more.duplicate),
            (&mut self.excluded, more.excluded),
            (&mut self.held_back, more.held_back),
            (&mut self.broken, more.broken),
            (&mut self.lost, more.lost),
            (&mut self.overflow, more.overflow),
            (&mut self.bytes, more.bytes),
            (&mut self.micros, more.micros),
        ];
        for (count, more) in pairs {
            *count = count.saturating_add(more);
        }
    }
}

/// A run of publications that a trace has seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedRun {
    /// Unix milliseconds.
    pub at: u64,
    /// The channel.
    pub channel: String,
    /// Offset of the first one; 0 where there are none.
    pub offset: u64,
    /// Publications.
    pub length: u64,
    /// Subscribers whose outboxes got all of it.
    pub whole: u64,
    /// Bytes that were put into outboxes.
    pub bytes: u64,
    /// Microseconds of the worker's time.
    pub micros: u64,
}

/// A delivery to one session that a trace has noted: it was no success, or the session is followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracedDelivery {
    /// Unix milliseconds.
    pub at: u64,
    /// The channel.
    pub channel: String,
    /// Offset of the first publication; 0 where there are none.
    pub offset: u64,
    /// Client id; empty where the whole channel is meant.
    pub client: String,
    /// User id; empty for an anonymous user.
    pub user: String,
    /// Its outcome.
    pub outcome: TraceOutcome,
    /// Bytes that waited in the outbox; for [`TraceOutcome::Written`] the milliseconds until the bytes left.
    pub detail: u64,
}

/// The traces of a node.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TraceReport {
    /// Those that are on; only the one that was asked for, where it was one.
    pub traces: Vec<TraceSpec>,
    /// There was no room for another one.
    pub is_full: bool,
    /// All that was counted.
    pub counts: TraceCounts,
    /// The newest runs, newest first.
    pub runs: Vec<TracedRun>,
    /// The newest single deliveries, newest first.
    pub deliveries: Vec<TracedDelivery>,
    /// Entries that were forgotten since the trace began; the counts have them.
    pub forgotten: u64,
}

impl TraceReport {
    /// Adds what another worker of the node knows.
    pub fn add(&mut self, more: Self) {
        for trace in more.traces {
            if !self.traces.iter().any(|own| own.id == trace.id) {
                self.traces.push(trace);
            }
        }
        self.is_full |= more.is_full;
        self.counts.add(&more.counts);
        self.runs.extend(more.runs);
        self.runs.sort_by_key(|run| std::cmp::Reverse(run.at));
        self.runs.truncate(TRACED_MAX);
        self.deliveries.extend(more.deliveries);
        self.deliveries.sort_by_key(|delivery| std::cmp::Reverse(delivery.at));
        self.deliveries.truncate(TRACED_MAX);
        self.forgotten = self.forgotten.saturating_add(more.forgotten);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn run(at: u64) -> TracedRun {
        TracedRun { at, channel: "a".to_owned(), offset: at, length: 1, whole: 1, bytes: 1, micros: 1 }
    }

    #[test]
    fn the_reports_of_workers_are_one_with_the_newest_runs_and_the_sum_of_the_counts() {
        let of = |times: std::ops::Range<u64>| TraceReport {
            counts: TraceCounts { runs: 3, ..TraceCounts::default() },
            runs: times.map(run).collect(),
            ..TraceReport::default()
        };
        let mut all = of(0..400);
        all.add(of(300..700));
        let times: Vec<u64> = all.runs.iter().map(|run| run.at).collect();
        assert_eq!((times.len(), times.first(), all.counts.runs), (TRACED_MAX, Some(&699), 6));
        assert!(times.is_sorted_by(|one, other| one >= other));
    }

    #[test]
    fn an_outcome_and_a_field_of_a_newer_version_are_read() {
        let text = r#"{"at":1,"channel":"a","offset":1,"client":"c","user":"u","outcome":"mood","detail":0}"#;
        let read: TracedDelivery = serde_json::from_str(text).unwrap();
        assert_eq!(read.outcome, TraceOutcome::Other);
        let report: TraceReport = serde_json::from_str(r#"{"is_full":true,"mood":[1]}"#).unwrap();
        assert!(report.is_full && report.traces.is_empty());
        let of_before = r#"{"id":"i","target":{"user":"u"},"by":"ops","node":"n1","began":1,"lasts_ms":1}"#;
        let spec: TraceSpec = serde_json::from_str(of_before).unwrap();
        assert_eq!(
            (spec.trace_id.as_ref(), serde_json::to_string(&spec).unwrap().as_str()),
            (None, of_before)
        );
    }
}
