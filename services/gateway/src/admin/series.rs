//! The last 15 minutes of a node's numbers, one value a second, in a ring of fixed size. Filled from counters that are kept anyway:
//! no delivery does more than without the admin API.

use std::{collections::VecDeque, time::Duration};

use gorani_broker::Health;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::counters::{NodeCounters, ProcessReport, Rates, connections};
use crate::{clock::unix_ms, metrics::histogram::percentile_99, node::Node};

/// Seconds that are kept.
const SECONDS: usize = 900;
/// Longest time to wait for a worker's turn: a worker that takes longer has this lag at least.
const LAG_MOST: Duration = Duration::from_millis(900);
/// Seconds between two looks at what the process uses.
const PROCESS_EVERY: u32 = 5;
/// Newest seconds that are left out where a node has no value for them yet: without it the sums would seem to fall.
const UNFINISHED: u64 = 2;

/// The names of the series.
pub const NAMES: [&str; 14] = [
    "connections",
    "channels",
    "subscriptions",
    "publications",
    "events",
    "bytes",
    "messages_received",
    "disconnects",
    "worst_lag_ms",
    "pending_requests",
    // A node of an older version has those above only.
    "deliveries",
    "fanout_p99_ms",
    "nodes_up",
    "broker_ready",
];

/// The values of one second, in the order of [`NAMES`].
type Sample = [f64; NAMES.len()];

/// The samples that were taken.
#[derive(Default)]
pub struct Sampler(Mutex<SampledNumbers>);

#[derive(Default)]
struct SampledNumbers {
    /// Unix second of the newest sample.
    newest: u64,
    ring: VecDeque<Sample>,
    last: Option<(Instant, NodeCounters)>,
    rates: Rates,
    workers: Vec<(Duration, usize)>,
    process: ProcessReport,
    /// Samples until the next look at the process.
    until_process: u32,
}

/// Series of one node: from `begin`, one value a second.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Unix second of the first value.
    pub begin: u64,
    /// The values of each second, in the order of [`NAMES`].
    pub samples: Vec<Vec<Option<f64>>>,
}

impl Sampler {
    /// The values after a Unix second; all that are kept without one.
    pub fn series(&self, since: Option<u64>) -> Series {
        let sampled = self.0.lock();
        let count = u64::try_from(sampled.ring.len()).unwrap_or_default();
        let first = (sampled.newest + 1).saturating_sub(count);
        let begin = since.map_or(first, |since| first.max(since + 1));
        let skipped = usize::try_from(begin - first).unwrap_or(usize::MAX);
        let finite = |value: &f64| Some(*value).filter(|value| value.is_finite());
        let samples = sampled.ring.iter().skip(skipped).map(|sample| sample.iter().map(finite).collect());
        Series { begin, samples: samples.collect() }
    }

    /// The rates of the last second, the lag and the inbox of each worker, and what the process uses.
    pub fn latest(&self) -> (Rates, Vec<(Duration, usize)>, ProcessReport) {
        let sampled = self.0.lock();
        (sampled.rates.clone(), sampled.workers.clone(), sampled.process)
    }

    /// Takes the sample of this second.
    pub async fn sample(&self, node: &Node) {
        let before = self.process_due();
        if let Some(before) = before {
            // It reads files, and counts those that are open.
            let read = actix_web::web::block(move || ProcessReport::read(before)).await;
            if let Ok(process) = read {
                self.0.lock().process = process;
            }
        }
        let workers = node.workers.lags(LAG_MOST).await;
        self.push(unix_ms() / 1000, self.numbers(node, workers));
    }

    /// The last look at the process, if the next one is due.
    fn process_due(&self) -> Option<ProcessReport> {
        let mut sampled = self.0.lock();
        let is_due = sampled.until_process == 0;
        sampled.until_process = if is_due { PROCESS_EVERY - 1 } else { sampled.until_process - 1 };
        is_due.then_some(sampled.process)
    }

    #[allow(clippy::cast_precision_loss, reason = "numbers on a chart")]
    fn numbers(&self, node: &Node, workers: Vec<(Duration, usize)>) -> Sample {
        let (now, counters) = (Instant::now(), NodeCounters::read(node));
        let mut sampled = self.0.lock();
        let rates = match &sampled.last {
            Some((at, before)) => counters.rates(before, now - *at),
            None => Rates::default(),
        };
        let lag = workers.iter().map(|(lag, _)| lag.as_secs_f64() * 1000.0).fold(0.0, f64::max);
        let open: i64 = connections(node).values().sum();
        let sample = [
            open as f64,
            node.metrics.channels.get() as f64,
            node.metrics.sessions.subscriptions() as f64,
            rates.publications,
            rates.events,
            rates.bytes,
            rates.messages_received,
            rates.disconnects.iter().fold(0.0, |sum, (_, rate)| sum + rate),
            lag,
            node.broker().stats().pending_requests as f64,
            rates.deliveries,
            percentile_99(&rates.fanouts).map_or(f64::NAN, |seconds| 1000.0 * seconds),
            // Summed over the nodes: those that were there, and those whose broker was ready.
            1.0,
            f64::from(u8::from(!matches!(node.broker().health(), Health::NotReady(_)))),
        ];
        sampled.last = Some((now, counters));
        sampled.rates = rates;
        sampled.workers = workers;
        sample
    }

    fn push(&self, second: u64, sample: Sample) {
        let mut sampled = self.0.lock();
        if sampled.newest != 0 && second <= sampled.newest {
            // Two ticks in one second, or a clock that was set back.
            return;
        }
        let gap = second.saturating_sub(sampled.newest + 1);
        let gap = if sampled.ring.is_empty() { 0 } else { gap.min(SECONDS as u64) };
        let missing = std::iter::repeat_n([f64::NAN; NAMES.len()], usize::try_from(gap).unwrap_or_default());
        sampled.ring.extend(missing);
        sampled.ring.push_back(sample);
        while sampled.ring.len() > SECONDS {
            sampled.ring.pop_front();
        }
        sampled.newest = second;
    }
}

/// The times of samples.
pub fn ticks() -> Interval {
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

/// Series of several nodes as one: sums, and the largest of lags. A second that a node has no value for is one without it.
pub fn merge(all: &[Series]) -> Series {
    let begin = all.iter().filter(|series| !series.samples.is_empty()).map(|series| series.begin).min();
    let Some(begin) = begin else { return Series::default() };
    let mut samples: Vec<Vec<Option<f64>>> = Vec::new();
    for series in all {
        let offset = usize::try_from(series.begin.saturating_sub(begin)).unwrap_or_default();
        // Of another node: a clock that is far off must not make the answer large.
        for (index, sample) in series.samples.iter().take(SECONDS).enumerate() {
            let slot = offset + index;
            if slot >= 2 * SECONDS {
                break;
            }
            if samples.len() <= slot {
                samples.resize(slot + 1, vec![None; NAMES.len()]);
            }
            let Some(merged) = samples.get_mut(slot) else { break };
            for ((merged, value), name) in merged.iter_mut().zip(sample).zip(NAMES) {
                let join = if name.ends_with("_ms") { f64::max } else { |one, other| one + other };
                *merged = match (*merged, *value) {
                    (Some(one), Some(other)) => Some(join(one, other)),
                    (one, other) => one.or(other),
                };
            }
        }
    }
    let newest = begin + samples.len() as u64;
    let present = all.iter().filter(|series| !series.samples.is_empty());
    let ends = present.map(|series| series.begin.saturating_add(series.samples.len() as u64));
    let finished = ends.filter(|end| newest.saturating_sub(*end) <= UNFINISHED).min().unwrap_or(newest);
    samples.truncate(usize::try_from(finished.saturating_sub(begin)).unwrap_or(usize::MAX));
    Series { begin, samples }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(seconds: impl IntoIterator<Item = u64>) -> Sampler {
        let sampler = Sampler::default();
        #[allow(clippy::cast_precision_loss, reason = "small numbers")]
        seconds.into_iter().for_each(|second| sampler.push(second, [second as f64; NAMES.len()]));
        sampler
    }

    fn first(series: &Series) -> Vec<Option<f64>> {
        series.samples.iter().filter_map(|sample| sample.first().copied()).collect()
    }

    #[test]
    fn the_ring_keeps_fifteen_minutes_and_no_more() {
        let series = sampler(1_000..3_000).series(None);
        assert_eq!((series.begin, series.samples.len()), (2_100, SECONDS));
        assert_eq!(series.samples.last().and_then(|sample| *sample.first()?), Some(2_999.0));
    }

    #[test]
    fn a_second_without_a_sample_has_no_value_and_none_counts_twice() {
        let sampler = sampler([10, 11, 11, 14, 13]);
        assert_eq!(first(&sampler.series(None)), [Some(10.0), Some(11.0), None, None, Some(14.0)]);
        let later = sampler.series(Some(12));
        assert_eq!((later.begin, first(&later)), (13, vec![None, Some(14.0)]));
        assert_eq!(first(&sampler.series(Some(99))), []);
    }

    #[test]
    fn series_of_nodes_are_summed_by_the_second_and_of_times_the_worst_counts() {
        let all = [sampler([10, 11]).series(None), sampler([11, 12]).series(None)];
        let merged = merge(&all);
        assert_eq!(merged.begin, 10);
        assert_eq!(first(&merged), [Some(10.0), Some(22.0)], "one node has no value for the last second yet");
        let of = |merged: &Series, name: &str| {
            let index = NAMES.iter().position(|one| *one == name)?;
            *merged.samples.get(1)?.get(index)?
        };
        assert_eq!(of(&merged, "worst_lag_ms"), Some(11.0));
        assert_eq!(of(&merged, "fanout_p99_ms"), Some(11.0));
        assert_eq!(of(&merged, "deliveries"), Some(22.0));
        let down = [sampler([10, 11]).series(None), sampler([11, 12, 13, 14]).series(None)];
        assert_eq!(first(&merge(&down)).last(), Some(&Some(14.0)), "a node that has gone ends nothing");
        // Of an older version, which has fewer series.
        let mut older = sampler([10, 11]).series(None);
        older.samples.iter_mut().for_each(|sample| sample.truncate(10));
        let mixed = merge(&[older, sampler([11]).series(None)]);
        assert_eq!((of(&mixed, "deliveries"), of(&mixed, "connections")), (Some(11.0), Some(22.0)));
        let far = Series { begin: u64::MAX - 10, samples: first_of_far() };
        assert!(merge(&[sampler([10]).series(None), far]).samples.len() <= 2 * SECONDS);
    }

    fn first_of_far() -> Vec<Vec<Option<f64>>> {
        vec![vec![Some(1.0); NAMES.len()]; 5]
    }
}
