//! How far a long run is and how long it still takes: a bar on a terminal, a line every few seconds elsewhere.

use std::{
    io::{self, IsTerminal as _},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// Without a terminal: at most one line in this time.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// One phase of a run, of a number of equal steps.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    what: String,
    is_terminal: bool,
    began: Instant,
    told: Instant,
}

impl Progress {
    /// Begins a phase of `total` steps; `what` names the steps, in the plural.
    pub(crate) fn begin(what: &str, total: u64) -> io::Result<Self> {
        let template = "{elapsed_precise} [{bar:40}] {human_pos}/{human_len} {msg}, {eta_precise} left";
        let style = ProgressStyle::with_template(template).map_err(io::Error::other)?;
        let bar = ProgressBar::new(total).with_style(style).with_message(what.to_owned());
        let (is_terminal, now) = (io::stderr().is_terminal(), Instant::now());
        Ok(Self { bar, what: what.to_owned(), is_terminal, began: now, told: now })
    }

    /// So many steps are done by now.
    pub(crate) fn set(&mut self, done: u64) {
        self.bar.set_position(done);
        if !self.is_terminal && self.told.elapsed() >= LINE_EVERY {
            self.told = Instant::now();
            let total = self.bar.length().unwrap_or_default();
            let left = left(self.began.elapsed(), done, total);
            let left = left.map_or_else(String::new, |left| format!(", about {} s left", left.as_secs()));
            eprintln!("{done} of {total} {}{left}", self.what);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// What is left of `total` equal steps, of which `done` took `elapsed`. None before the first is done.
fn left(elapsed: Duration, done: u64, total: u64) -> Option<Duration> {
    (done > 0).then(|| elapsed.mul_f64(total.saturating_sub(done) as f64 / done as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_follows_from_the_time_that_the_steps_so_far_took() {
        let elapsed = Duration::from_secs(10);
        assert_eq!(left(elapsed, 0, 100), None);
        assert_eq!(left(elapsed, 25, 100), Some(Duration::from_secs(30)));
        assert_eq!(left(elapsed, 100, 100), Some(Duration::ZERO));
    }
}
