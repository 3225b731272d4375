//! Text for people: tables, colour only on a terminal and never against `NO_COLOR`, lines no wider than the terminal.

use std::{
    env,
    io::{self, IsTerminal as _},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Between two columns.
const GAP: &str = "  ";

/// The place that text is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terminal {
    /// Columns; `None` if it is no terminal, and lines may be as long as they are.
    pub(super) width: Option<usize>,
    /// Colours are shown.
    pub(super) has_color: bool,
}

/// A colour, by its meaning. The text says the same without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// As it should be.
    Good,
    /// To be looked at.
    Warning,
    /// Wrong.
    Bad,
    /// A heading.
    Strong,
}

impl Terminal {
    /// That of standard output.
    pub(super) fn of_stdout() -> Self {
        let stdout = io::stdout();
        if !stdout.is_terminal() {
            return Self { width: None, has_color: false };
        }
        let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        let columns = env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let size = || rustix::termios::tcgetwinsize(&stdout).ok().map(|size| usize::from(size.ws_col));
        Self {
            width: columns.or_else(size).filter(|columns| *columns > 0),
            has_color: !is_set("NO_COLOR") && !is_dumb,
        }
    }

    /// The text in the colour of this meaning.
    pub(super) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "31",
            Tone::Strong => "1",
        };
        if self.has_color { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// The line as far as it fits.
    pub(super) fn cut(self, line: &str) -> String {
        self.width.map_or_else(|| line.to_owned(), |width| cut(line, width))
    }

    /// A table with a heading. Rows are cut at the terminal's width.
    pub(super) fn table(self, heads: &[&str], rows: &[Vec<String>]) -> String {
        let mut widths: Vec<usize> = heads.iter().map(|head| head.width()).collect();
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width());
            }
        }
        let heads: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
        let mut text = self.paint(Tone::Strong, &self.cut(&line(&heads, &widths)));
        text.push('\n');
        for row in rows {
            text.push_str(&self.cut(&line(row, &widths)));
            text.push('\n');
        }
        text
    }
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let padded = cells.iter().zip(widths).map(|(cell, width)| {
        let space = width.saturating_sub(cell.width());
        format!("{cell}{}", " ".repeat(space))
    });
    padded.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
}

/// The text as far as it fits into so many columns; one that is cut ends with `…`.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut left = columns.saturating_sub(1);
    let mut kept = String::new();
    for character in text.chars() {
        let width = character.width().unwrap_or(0);
        if width > left {
            break;
        }
        left -= width;
        kept.push(character);
    }
    if columns > 0 {
        kept.push('…');
    }
    kept
}

/// Names of users and channels may hold anything: characters that move the cursor, are not seen or turn the direction of text are
/// written as escapes.
pub(super) fn printable(text: &str) -> String {
    let is_hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    text.chars().flat_map(|c| if is_hidden(c) { c.escape_default().collect() } else { vec![c] }).collect()
}

/// A value of an answer as a cell: `-` for one that is not there.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => printable(text),
        Value::Array(values) => values.iter().map(cell).collect::<Vec<_>>().join(","),
        value => printable(&value.to_string()),
    }
}

/// A time in Unix milliseconds.
pub(super) fn time(ms: &Value) -> String {
    let Some(ms) = ms.as_u64() else { return "-".to_owned() };
    let time = UNIX_EPOCH.checked_add(Duration::from_millis(ms)).unwrap_or(SystemTime::UNIX_EPOCH);
    // The library has no words for years after 9999.
    if ms > 253_402_300_799_999 { "-".to_owned() } else { humantime::format_rfc3339_millis(time).to_string() }
}

/// A length of time in milliseconds, as long as a person reads it.
pub(super) fn duration(ms: &Value) -> String {
    let Some(ms) = ms.as_u64() else { return "-".to_owned() };
    match ms {
        0..1000 => format!("{ms}ms"),
        1000..60_000 => format!("{}.{}s", ms / 1000, ms % 1000 / 100),
        60_000..3_600_000 => format!("{}m{:02}s", ms / 60_000, ms / 1000 % 60),
        3_600_000..86_400_000 => format!("{}h{:02}m", ms / 3_600_000, ms / 60_000 % 60),
        _ => format!("{}d{:02}h", ms / 86_400_000, ms / 3_600_000 % 24),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NARROW: Terminal = Terminal { width: Some(10), has_color: false };

    #[test]
    fn a_table_has_no_line_wider_than_the_terminal() {
        let rows =
            vec![vec!["고라니".to_owned(), "0123456789".to_owned()], vec!["a".to_owned(), "b".to_owned()]];
        assert_eq!(NARROW.table(&["user", "id"], &rows), "user    id\n고라니  0…\na       b\n");
        let wide = Terminal { width: None, has_color: false };
        assert_eq!(wide.table(&["user", "id"], &rows), "user    id\n고라니  0123456789\na       b\n");
        assert_eq!(
            (cut("abc", 0), cut("고라니", 4), cut("abc", 3)),
            (String::new(), "고…".into(), "abc".into())
        );
    }

    #[test]
    fn colours_are_shown_only_where_they_are_wanted() {
        let colored = Terminal { width: None, has_color: true };
        assert_eq!(colored.paint(Tone::Bad, "x"), "\u{1b}[31mx\u{1b}[0m");
        assert_eq!(NARROW.paint(Tone::Bad, "x"), "x");
    }

    #[test]
    fn names_do_not_move_the_cursor_or_turn_the_text() {
        assert_eq!(printable("a\u{1b}[2J\u{202e}b고"), "a\\u{1b}[2J\\u{202e}b고");
        assert_eq!(cell(&json!(["a\n", null, 1])), "a\\n,-,1");
    }

    #[test]
    fn times_of_any_size_have_a_text() {
        assert_eq!(time(&json!(1000)), "1970-01-01T00:00:01.000Z");
        assert_eq!((time(&json!(u64::MAX)), time(&json!(null))), ("-".into(), "-".into()));
        let texts: Vec<_> = [5, 1250, 61_000, 3_660_000, 90_000_000].map(|ms| duration(&json!(ms))).into();
        assert_eq!(texts, ["5ms", "1.2s", "1m01s", "1h01m", "1d01h"]);
    }
}
