//! The last lines of the log at warn and above, and the numbers of all of them by target, for whoever has no access to the log itself.
//!
//! It sees what the filter of the log lets through, so lines that `log.level` silences are not here either. A line below warn costs one
//! comparison. [`LINES_MAX`] lines of [`TEXT_MAX_BYTES`] are kept.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::{self, Write as _},
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

use crate::clock::unix_ms;

/// Lines that are kept.
pub const LINES_MAX: usize = 500;
/// Bytes of a line's text at most; what is longer is cut.
pub const TEXT_MAX_BYTES: usize = 1024;
/// Targets that are counted by name; those of further ones count as `other`.
const TARGETS_MAX: usize = 256;

static LAST_LINES: Mutex<LastLines> = Mutex::new(LastLines::new());

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedLine {
    /// Milliseconds since the Unix epoch.
    pub at: u64,
    /// `warn` or `error`.
    pub level: String,
    /// The module that wrote it.
    pub target: String,
    /// Its text, with its fields.
    pub message: String,
}

/// The lines of this process.
#[derive(Debug, Default)]
struct LastLines {
    lines: VecDeque<LoggedLine>,
    counts: BTreeMap<String, u64>,
}

impl LastLines {
    const fn new() -> Self {
        Self { lines: VecDeque::new(), counts: BTreeMap::new() }
    }

    fn add(&mut self, line: LoggedLine) {
        let is_known = self.counts.len() < TARGETS_MAX || self.counts.contains_key(&line.target);
        let target = if is_known { line.target.as_str() } else { "other" };
        match self.counts.get_mut(target) {
            Some(count) => *count += 1,
            None => drop(self.counts.insert(target.to_owned(), 1)),
        }
        if self.lines.len() >= LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }
}

/// The last lines, the newest at the end, and how many there were since the start, by target.
pub fn last_lines() -> (Vec<LoggedLine>, BTreeMap<String, u64>) {
    let last = LAST_LINES.lock();
    (last.lines.iter().cloned().collect(), last.counts.clone())
}

/// Keeps the lines at warn and above.
pub(super) struct KeepLastLines;

impl<S: Subscriber> Layer<S> for KeepLastLines {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            _ => return,
        };
        let mut text = LineText::default();
        event.record(&mut text);
        let (level, target) = (level.to_owned(), event.metadata().target().to_owned());
        LAST_LINES.lock().add(LoggedLine { at: unix_ms(), level, target, message: text.whole() });
    }
}

/// The text of a line, and its fields behind it.
#[derive(Default)]
struct LineText {
    message: BoundedText,
    fields: BoundedText,
}

impl LineText {
    fn whole(self) -> String {
        let Self { mut message, fields } = self;
        // A text that is full takes no more.
        let _ = message.write_str(&fields.0);
        message.0
    }
}

impl Visit for LineText {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = match field.name() {
            "message" => self.message.write_str(value),
            name => write!(self.fields, " {name}={value}"),
        };
    }
}

/// A text that takes [`TEXT_MAX_BYTES`] and no more.
#[derive(Default)]
struct BoundedText(String);

impl fmt::Write for BoundedText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = TEXT_MAX_BYTES.saturating_sub(self.0.len());
        let end = text.floor_char_boundary(room);
        self.0.push_str(text.get(..end).unwrap_or_default());
        // Whoever writes on after this would write for nothing.
        if end < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    fn line(target: &str, message: &str) -> LoggedLine {
        let (level, target) = ("warn".to_owned(), target.to_owned());
        LoggedLine { at: 1, level, target, message: message.to_owned() }
    }

    #[test]
    fn the_last_lines_are_kept_and_all_are_counted() {
        let mut last = LastLines::new();
        for number in 0..=LINES_MAX {
            last.add(line("gorani::hub", &number.to_string()));
        }
        assert_eq!(last.lines.len(), LINES_MAX);
        assert_eq!(last.lines.front().map(|line| line.message.as_str()), Some("1"));
        assert_eq!(last.counts.get("gorani::hub"), Some(&(LINES_MAX as u64 + 1)));
    }

    #[test]
    fn targets_without_end_are_counted_together() {
        let mut last = LastLines::new();
        for number in 0..2 * TARGETS_MAX {
            last.add(line(&format!("target{number}"), ""));
        }
        assert_eq!(last.counts.len(), TARGETS_MAX + 1);
        assert_eq!(last.counts.get("other"), Some(&(TARGETS_MAX as u64)));
    }

    #[test]
    fn lines_at_warn_and_above_are_kept_with_their_fields_and_cut_where_they_are_long() {
        let subscriber = tracing_subscriber::registry().with(KeepLastLines);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "last_lines::test", "not kept");
            tracing::warn!(target: "last_lines::test", server = "redis\u{0}1", "connection lost");
            tracing::error!(target: "last_lines::test", error = %"고".repeat(1000), "long");
        });
        let (lines, counts) = last_lines();
        let own: Vec<_> = lines.iter().filter(|line| line.target == "last_lines::test").collect();
        assert_eq!(counts.get("last_lines::test"), Some(&2));
        assert_eq!(own.len(), 2);
        assert_eq!(own.first().map(|line| line.message.as_str()), Some("connection lost server=redis\u{0}1"));
        assert!(own.iter().all(|line| line.message.len() <= TEXT_MAX_BYTES));
        assert_eq!(own.last().map(|line| line.level.as_str()), Some("error"));
    }
}
