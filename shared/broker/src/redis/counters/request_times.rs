//! Times of requests by kind: each script by its name, and plain commands by theirs. [`crate::BrokerStats`].
//!
//! A request takes as long as its pipeline, from sending it to the answers. What was not answered is not among them.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::broker::{ROUND_TRIP_BOUNDS, RoundTrips};

/// The times of all kinds. Adding to them takes no lock.
#[derive(Debug, Default)]
pub(crate) struct RequestTimes(Box<[KindTimes]>);

/// The times of one kind.
#[derive(Debug, Default)]
struct KindTimes {
    kind: &'static str,
    buckets: [AtomicU64; ROUND_TRIP_BOUNDS.len() + 1],
    sum: AtomicU64,
}

impl RequestTimes {
    pub(super) fn new(kinds: &[&'static str]) -> Self {
        Self(kinds.iter().map(|kind| KindTimes { kind, ..KindTimes::default() }).collect())
    }

    /// Counts a request that was answered. `kind`: its position among those of [`Self::new`].
    pub(crate) fn add(&self, kind: usize, time: Duration) {
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let bucket = ROUND_TRIP_BOUNDS.partition_point(|bound| *bound < time);
        if let Some(times) = self.0.get(kind)
            && let Some(bucket) = times.buckets.get(bucket)
        {
            bucket.fetch_add(1, Ordering::Relaxed);
            times.sum.fetch_add(time, Ordering::Relaxed);
        }
    }

    /// The kinds that there was a request of, with their times.
    pub(crate) fn read(&self) -> Vec<(&'static str, RoundTrips)> {
        let read = self.0.iter().map(|times| (times.kind, times.read()));
        read.filter(|(_, times)| times.buckets.iter().any(|count| *count > 0)).collect()
    }
}

impl KindTimes {
    fn read(&self) -> RoundTrips {
        let mut read = RoundTrips { sum: self.sum.load(Ordering::Relaxed), ..RoundTrips::default() };
        for (count, bucket) in read.buckets.iter_mut().zip(&self.buckets) {
            *count = bucket.load(Ordering::Relaxed);
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use redis::{Cmd, cmd};

    use super::*;
    use crate::redis::scripts::Scripts;

    #[test]
    fn a_request_counts_for_the_name_of_its_script_or_command() {
        let (scripts, times) = (Scripts::new(), RequestTimes::new(Scripts::KINDS));
        assert!(times.read().is_empty());
        let milliseconds = Duration::from_millis;
        let mut unlink = cmd("UNLINK");
        unlink.arg("a");
        let mut unknown = cmd("EVALSHA");
        unknown.arg("0123").arg(0);
        let requests = [
            (scripts.publish.call(&["a"]), 3),
            (scripts.publish.call(&["b"]), 30_000),
            (scripts.hook_forget.call(&[]), 1),
            (unlink, 2),
            (unknown, 4),
            (cmd("PUBLISH"), 3),
            (cmd("SPUBLISH"), 3),
            (cmd("PING"), 4),
            (Cmd::new(), 4),
        ];
        for (request, took) in requests {
            times.add(scripts.kind_of(&request), milliseconds(took));
        }
        let read = times.read();
        let counts: Vec<_> =
            read.iter().map(|(name, times)| (*name, times.buckets.iter().sum::<u64>())).collect();
        assert_eq!(counts, [("publish", 4), ("hook_forget", 1), ("unlink", 1), ("other", 3)]);
        let (_, publish) = &read[0];
        assert_eq!((publish.buckets[5], publish.buckets[16]), (3, 1), "3 ms, and longer than all");
        assert_eq!(publish.sum, 30_009_000_000);
    }
}
