//! Times of deliveries, sorted into windows: the percentiles of each are points of a figure.

use super::{POINTS_MAX, Series};

/// The part of the deliveries that were faster, and its name.
const PERCENTILES: [(f64, &str); 3] = [(0.5, "p50"), (0.99, "p99"), (1.0, "slowest")];

/// Times by the moment at which they were measured.
#[derive(Debug, Default)]
pub(crate) struct Windows {
    /// The moment, and the time that it took.
    taken: Vec<(f64, f64)>,
}

impl Windows {
    /// One more time.
    pub(crate) fn add(&mut self, at: f64, took: f64) {
        self.taken.push((at, took));
    }

    /// A line for each percentile: windows of this length, or of as many times it as make the figure small. A window in which
    /// nothing was measured has no point.
    pub(crate) fn series(&self, prefix: &str, length: f64) -> Vec<Series> {
        let last = self.taken.iter().map(|(at, _)| *at).fold(0.0, f64::max);
        let windows = (last / length).floor() + 1.0;
        let length = length * (windows / POINTS_MAX as f64).ceil();
        let mut sorted = self.taken.clone();
        sorted.sort_by(|one, other| one.0.total_cmp(&other.0));
        let windows: Vec<(f64, Vec<f64>)> = sorted
            .chunk_by(|one, other| (one.0 / length).floor() == (other.0 / length).floor())
            .map(|window| {
                let mut times: Vec<f64> = window.iter().map(|(_, took)| *took).collect();
                times.sort_by(f64::total_cmp);
                ((window[0].0 / length).floor() * length + length / 2.0, times)
            })
            .collect();
        PERCENTILES
            .iter()
            .map(|(part, name)| Series {
                name: format!("{prefix}{name}"),
                points: windows.iter().map(|(middle, times)| (*middle, percentile(times, *part))).collect(),
            })
            .collect()
    }
}

/// The least of the sorted times that this part of them does not exceed.
fn percentile(sorted: &[f64], part: f64) -> f64 {
    let at = (sorted.len() as f64 * part).ceil() as usize;
    sorted[at.saturating_sub(1).min(sorted.len() - 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_window_has_the_percentiles_of_its_own_times_and_an_empty_one_has_none() {
        let mut windows = Windows::default();
        (1..=100).rev().for_each(|took| windows.add(0.5, f64::from(took)));
        windows.add(2.9, 7.0);
        let series = windows.series("new ", 1.0);
        let expected = [
            ("new p50", [(0.5, 50.0), (2.5, 7.0)]),
            ("new p99", [(0.5, 99.0), (2.5, 7.0)]),
            ("new slowest", [(0.5, 100.0), (2.5, 7.0)]),
        ];
        let expected =
            expected.map(|(name, points)| Series { name: name.to_owned(), points: points.to_vec() });
        assert_eq!(series, expected);
    }

    #[test]
    fn a_long_run_has_longer_windows_instead_of_more_points() {
        let mut windows = Windows::default();
        (0..10_000).for_each(|at| windows.add(f64::from(at), 1.0));
        let series = windows.series("", 1.0);
        assert!(series.iter().all(|series| (60..=POINTS_MAX).contains(&series.points.len())), "{series:?}");
    }

    #[test]
    fn without_a_time_there_is_no_point() {
        assert!(Windows::default().series("", 1.0).iter().all(|series| series.points.is_empty()));
    }
}
