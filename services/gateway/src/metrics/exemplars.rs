//! Exemplars: for a bucket of a histogram the trace of one sampled publication in it, so that a slow one leads to its spans.
//!
//! The library has them for histograms of its own only, so they are put into the text behind their lines. Without a sampled
//! publication the text is not touched. Decision record 66.

use std::{fmt::Write as _, time::Duration};

use parking_lot::Mutex;

use super::histogram::TIME_BOUNDS;
use crate::clock;

/// The prefix of our names.
const PREFIX: &str = "gorani_";
/// Buckets with an exemplar at most: those of two families, as many as their labels have values.
const BUCKETS_MAX: usize = 512;
/// Nanoseconds of a second.
const NANOSECONDS: f64 = 1e9;

/// The newest exemplar of each bucket that has one.
#[derive(Debug, Default)]
pub struct Exemplars(Mutex<Vec<BucketExemplar>>);

#[derive(Debug)]
struct BucketExemplar {
    /// The name of the histogram, without the prefix.
    family: &'static str,
    /// Its labels, each as in the text: `source="api"`.
    labels: Vec<String>,
    /// The upper bound of the bucket, in seconds.
    bound: f64,
    /// The part behind the value of the line.
    text: String,
}

impl Exemplars {
    /// A sampled publication is in a histogram of times.
    pub fn note(&self, family: &'static str, labels: &[(&str, &str)], time: Duration, trace_id: &[u8; 16]) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let index = TIME_BOUNDS.partition_point(|bound| *bound < nanoseconds);
        let bound = TIME_BOUNDS.get(index).map_or(f64::INFINITY, |bound| seconds(*bound));
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let text = line_end(trace_id, time);
        let mut all = self.0.lock();
        let at = all.iter().position(|known| {
            known.family == family && known.bound.total_cmp(&bound).is_eq() && known.labels == labels
        });
        if let Some(known) = at.and_then(|at| all.get_mut(at)) {
            known.text = text;
        } else if all.len() < BUCKETS_MAX {
            all.push(BucketExemplar { family, labels, bound, text });
        }
    }

    /// Puts the exemplars behind the lines of their buckets.
    pub(super) fn add_to(&self, text: &mut String) {
        let all = self.0.lock();
        if all.is_empty() {
            return;
        }
        let mut out = String::with_capacity(text.len() + all.len() * 96);
        for line in text.lines() {
            out.push_str(line);
            if let Some(exemplar) = all.iter().find(|exemplar| exemplar.is_of(line)) {
                out.push_str(&exemplar.text);
            }
            out.push('\n');
        }
        *text = out;
    }
}

impl BucketExemplar {
    fn is_of(&self, line: &str) -> bool {
        let labels = line.strip_prefix(PREFIX).and_then(|line| line.strip_prefix(self.family));
        let Some(labels) = labels.and_then(|line| line.strip_prefix("_bucket{")) else { return false };
        let bound = labels.split_once("le=\"").and_then(|(_, rest)| rest.split_once('"'));
        let bound = bound.and_then(|(bound, _)| bound.parse::<f64>().ok());
        bound.is_some_and(|bound| bound.total_cmp(&self.bound).is_eq())
            && self.labels.iter().all(|label| labels.contains(label.as_str()))
    }
}

fn line_end(trace_id: &[u8; 16], time: Duration) -> String {
    let now = clock::unix_ms();
    let mut text = " # {trace_id=\"".to_owned();
    for byte in trace_id {
        // A String takes everything.
        let _ = write!(text, "{byte:02x}");
    }
    let _ = write!(text, "\"}} {} {}.{:03}", time.as_secs_f64(), now / 1000, now % 1000);
    text
}

#[allow(clippy::cast_precision_loss, reason = "the bounds are far below 2^53 nanoseconds")]
fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / NANOSECONDS
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use gorani_broker::BrokerStats;

    use super::*;
    use crate::metrics::{Metrics, PublishOutcome};

    #[test]
    fn an_exemplar_stands_behind_the_bucket_of_its_time_and_labels_and_nowhere_else() {
        let metrics = Metrics::default();
        let time = Duration::from_millis(3);
        metrics.api_publications.count(PublishOutcome::Accepted, time);
        metrics.client_publications.count(PublishOutcome::Accepted, time);
        let before = metrics.text(&BrokerStats::default()).unwrap();
        assert!(!before.contains(" # {"), "{before}");
        let labels = [("source", "api"), ("result", "accepted")];
        metrics.exemplars.note("publish_duration_seconds", &labels, time, &[0xab; 16]);
        let text = metrics.text(&BrokerStats::default()).unwrap();
        let lines: Vec<_> = text.lines().filter(|line| line.contains(" # {")).collect();
        let [line] = lines.as_slice() else { unreachable!("one line: {lines:?}") };
        assert!(line.starts_with("gorani_publish_duration_seconds_bucket{"), "{line}");
        assert!(line.contains("le=\"0.005\"") && line.contains("source=\"api\""), "{line}");
        let trace = "ab".repeat(16);
        assert!(line.contains(&format!(" 1 # {{trace_id=\"{trace}\"}} 0.003 ")), "{line}");
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn a_bucket_has_its_newest_exemplar_and_there_are_no_more_than_may_be() {
        let exemplars = Exemplars::default();
        for id in [1, 2] {
            exemplars.note("fanout_seconds", &[], Duration::from_secs(20), &[id; 16]);
        }
        let mut text = "gorani_fanout_seconds_bucket{le=\"+Inf\"} 2\n".to_owned();
        exemplars.add_to(&mut text);
        assert!(text.contains("020202") && !text.contains("010101"), "{text}");
        for number in 0..2 * BUCKETS_MAX {
            let value = number.to_string();
            exemplars.note("fanout_seconds", &[("namespace", &value)], Duration::ZERO, &[1; 16]);
        }
        assert_eq!(exemplars.0.lock().len(), BUCKETS_MAX);
    }
}
