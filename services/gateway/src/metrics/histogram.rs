//! Histograms that cost an addition: those of one worker are arrays without a lock, which are added to the node's once a second.
//! `prometheus_client`'s own take a mutex for every observation. Decision record 60.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, TypedMetric},
};

/// Upper bounds of times in nanoseconds, from 0.1 ms to 10 s. Chosen once: dashboards compare histograms with one another.
pub const TIME_BOUNDS: [u64; 16] = gorani_broker::ROUND_TRIP_BOUNDS;

/// Upper bounds of sizes in bytes, from 256 B to 16 MiB.
const SIZE_BOUNDS: [u64; 17] = {
    let mut bounds = [256; 17];
    let mut index = 1;
    while index < bounds.len() {
        bounds[index] = bounds[index - 1] * 2;
        index += 1;
    }
    bounds
};

/// Buckets of the largest scale, with the one that has no upper bound.
const BUCKETS: usize = SIZE_BOUNDS.len() + 1;

/// Nanoseconds of a second.
const NANOSECONDS: f64 = 1e9;

/// The bounds of a histogram's buckets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scale {
    /// Times; kept in nanoseconds, shown in seconds.
    #[default]
    Seconds,
    /// Sizes in bytes.
    Bytes,
}

impl Scale {
    const fn bounds(self) -> &'static [u64] {
        match self {
            Self::Seconds => &TIME_BOUNDS,
            Self::Bytes => &SIZE_BOUNDS,
        }
    }

    /// The bucket of a value.
    fn bucket(self, value: u64) -> usize {
        self.bounds().partition_point(|bound| *bound < value)
    }

    /// A value in the unit in which it is shown.
    #[allow(
        clippy::cast_precision_loss,
        reason = "2^53 nanoseconds are 104 days, and a sum is shown rounded"
    )]
    fn in_unit(self, value: u64) -> f64 {
        match self {
            Self::Seconds => value as f64 / NANOSECONDS,
            Self::Bytes => value as f64,
        }
    }
}

/// A time in whole nanoseconds.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A histogram of the whole node. Cloning shares.
#[derive(Debug, Clone, Default)]
pub struct AtomicHistogram {
    scale: Scale,
    state: Arc<AtomicState>,
}

#[derive(Debug, Default)]
struct AtomicState {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

impl AtomicHistogram {
    /// An empty one.
    pub fn new(scale: Scale) -> Self {
        Self { scale, state: Arc::default() }
    }

    /// Counts a time.
    pub fn observe(&self, time: Duration) {
        self.add(nanoseconds(time));
    }

    /// Counts a value in the scale's own unit.
    pub fn add(&self, value: u64) {
        if let Some(bucket) = self.state.buckets.get(self.scale.bucket(value)) {
            bucket.fetch_add(1, Ordering::Relaxed);
            self.state.sum.fetch_add(value, Ordering::Relaxed);
        }
    }

    /// Puts counts that are kept elsewhere in the place of its own.
    pub fn set(&self, buckets: &[u64], sum: u64) {
        for (bucket, count) in self.state.buckets.iter().zip(buckets) {
            bucket.store(*count, Ordering::Relaxed);
        }
        self.state.sum.store(sum, Ordering::Relaxed);
    }

    /// True if nothing was counted.
    pub fn is_unused(&self) -> bool {
        self.count() == 0
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.counts().sum()
    }

    /// The values by bucket, the lowest first.
    pub fn counts(&self) -> impl Iterator<Item = u64> {
        self.state.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed))
    }
}

impl TypedMetric for AtomicHistogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for AtomicHistogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let bounds = self.scale.bounds().iter().map(|bound| self.scale.in_unit(*bound));
        let buckets: Vec<(f64, u64)> = bounds.chain([f64::INFINITY]).zip(self.counts()).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = self.scale.in_unit(self.state.sum.load(Ordering::Relaxed));
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

/// Adds times by bucket to others.
pub fn add_counts(all: &mut Vec<u64>, more: impl IntoIterator<Item = u64>) {
    for (bucket, count) in more.into_iter().take(BUCKETS).enumerate() {
        if all.len() <= bucket {
            all.resize(bucket + 1, 0);
        }
        if let Some(of_all) = all.get_mut(bucket) {
            *of_all = of_all.saturating_add(count);
        }
    }
}

/// The seconds that 99 of 100 times do not exceed, of times by bucket: the bound of a bucket. `None` without times, and above the last bound.
pub fn percentile_99(counts: &[u64]) -> Option<f64> {
    let all = counts.iter().fold(0, |all: u64, count| all.saturating_add(*count));
    let mut left = (all - all / 100).checked_sub(1)?;
    for (count, bound) in counts.iter().zip(Scale::Seconds.bounds()) {
        match left.checked_sub(*count) {
            Some(more) => left = more,
            None => return Some(Scale::Seconds.in_unit(*bound)),
        }
    }
    None
}

/// A histogram of times of one worker, since it was last added to the node's.
#[derive(Debug, Default)]
pub struct LocalHistogram {
    buckets: [Cell<u32>; BUCKETS],
    sum: Cell<u64>,
    is_used: Cell<bool>,
}

impl LocalHistogram {
    /// Counts a time.
    pub fn observe(&self, time: Duration) {
        let value = nanoseconds(time);
        if let Some(bucket) = self.buckets.get(Scale::Seconds.bucket(value)) {
            bucket.set(bucket.get().saturating_add(1));
            self.sum.set(self.sum.get().saturating_add(value));
            self.is_used.set(true);
        }
    }

    /// Adds it to the node's, and begins anew.
    pub fn add_to(&self, all: &AtomicHistogram) {
        if !self.is_used.take() {
            return;
        }
        for (own, bucket) in self.buckets.iter().zip(&all.state.buckets) {
            bucket.fetch_add(own.take().into(), Ordering::Relaxed);
        }
        all.state.sum.fetch_add(self.sum.take(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use prometheus_client::{encoding::text::encode, registry::Registry};

    use super::*;

    fn text(histogram: &AtomicHistogram) -> String {
        let mut registry = Registry::default();
        registry.register("a", "a", histogram.clone());
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn a_value_is_in_the_first_bucket_whose_bound_it_does_not_pass() {
        let histogram = AtomicHistogram::default();
        histogram.observe(Duration::from_micros(100));
        histogram.observe(Duration::from_nanos(100_001));
        histogram.observe(Duration::from_secs(11));
        let text = text(&histogram);
        for line in [
            "a_bucket{le=\"0.0001\"} 1",
            "a_bucket{le=\"0.00025\"} 2",
            "a_bucket{le=\"10.0\"} 2",
            "a_bucket{le=\"+Inf\"} 3",
            "a_count 3",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }

    #[test]
    fn bounds_grow_by_a_factor_of_two_to_two_and_a_half() {
        for scale in [Scale::Seconds, Scale::Bytes] {
            for pair in scale.bounds().windows(2) {
                assert!(pair[1] >= 2 * pair[0] && 2 * pair[1] <= 5 * pair[0], "{pair:?}");
            }
        }
        assert_eq!((SIZE_BOUNDS[0], SIZE_BOUNDS[16]), (256, 16 * 1024 * 1024));
    }

    #[test]
    fn the_99th_percentile_is_the_bound_below_which_99_of_100_are() {
        let counted = |times: &[(usize, u64)]| {
            let mut counts = Vec::new();
            for (bucket, count) in times {
                let mut more = vec![0; bucket + 1];
                more[*bucket] = *count;
                add_counts(&mut counts, more);
            }
            percentile_99(&counts)
        };
        assert_eq!(counted(&[]), None);
        assert_eq!(counted(&[(0, 1)]), Some(0.0001));
        assert_eq!(counted(&[(0, 99), (5, 1)]), Some(0.0001));
        assert_eq!(counted(&[(0, 98), (5, 2)]), Some(0.005));
        assert_eq!(counted(&[(0, 1), (16, 99)]), None, "above the last bound");
        assert_eq!(counted(&[(3, u64::MAX), (4, u64::MAX)]), Some(0.001));
    }

    #[test]
    fn what_a_worker_counts_is_added_once() {
        let (own, all) = (LocalHistogram::default(), AtomicHistogram::default());
        own.observe(Duration::from_millis(3));
        own.observe(Duration::from_secs(60));
        own.add_to(&all);
        own.add_to(&all);
        assert_eq!(all.count(), 2);
        let text = text(&all);
        assert!(text.contains("a_sum 60.003\n") && text.contains("a_bucket{le=\"0.005\"} 1\n"), "{text}");
    }
}
