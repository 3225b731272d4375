//! The headers of a frame: two allocations for all of them. `docs/protocols/stomp.md` §1.5, §1.6 and §1.10.

use std::fmt;

use super::{error::StompDecodeError, escape, version::Version};

/// Names and values in the order of the frame, unescaped; of a repeated name the first.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers {
    /// All names and values, one after the other.
    text: String,
    spans: Vec<HeaderRange>,
}

/// Where one header stands in the text.
#[derive(Clone, Copy, PartialEq, Eq)]
struct HeaderRange {
    name: usize,
    name_end: usize,
    value: usize,
    value_end: usize,
}

impl Headers {
    /// The value of a header. Names are case-sensitive.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// All headers.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.spans
            .iter()
            .map(|span| (self.slice(span.name, span.name_end), self.slice(span.value, span.value_end)))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Bytes of memory, near enough.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.text.capacity() + self.spans.capacity() * size_of::<HeaderRange>()
    }

    fn slice(&self, start: usize, end: usize) -> &str {
        self.text.get(start..end).unwrap_or_default()
    }

    /// Adds a line, split at its first colon. A name that is there already is left as it is.
    pub(super) fn add(&mut self, line: &str, unescape: Option<Version>) -> Result<(), StompDecodeError> {
        let (name, value) = line.split_once(':').ok_or(StompDecodeError::NoColon)?;
        if name.is_empty() {
            return Err(StompDecodeError::NoName);
        }
        let start = self.text.len();
        escape::unescape(name, unescape, &mut self.text)?;
        let name_end = self.text.len();
        escape::unescape(value, unescape, &mut self.text)?;
        let value_end = self.text.len();
        if self.get(self.slice(start, name_end)).is_some() {
            self.text.truncate(start);
        } else {
            self.spans.push(HeaderRange { name: start, name_end, value: name_end, value_end });
        }
        Ok(())
    }

    /// Takes the spaces before each value away, as 1.0 writes them.
    pub(super) fn trim_values(&mut self) {
        for span in &mut self.spans {
            let value = self.text.get(span.value..span.value_end).unwrap_or_default();
            span.value += value.len() - value.trim_start_matches(' ').len();
        }
    }
}

/// Names alone: values may be credentials.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|(name, _)| name)).finish()
    }
}
