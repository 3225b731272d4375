//! The answers to one poll.

use serde_json::Value;

use super::table::TopTable;

/// The answers of one poll.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Snapshot {
    /// The table of the rows.
    pub(super) table: TopTable,
    /// The overview's result.
    pub(super) overview: Value,
    /// The rows, in no order.
    pub(super) rows: Vec<Value>,
    /// The nodes that did not answer, a line each.
    pub(super) missing: String,
    /// Why the table could not be asked for.
    pub(super) trouble: Option<String>,
}

impl Snapshot {
    /// One without a table.
    #[cfg(test)]
    pub(super) fn of(table: TopTable, overview: Value, rows: Vec<Value>) -> Self {
        Self { table, overview, rows, missing: String::new(), trouble: None }
    }

    /// Notes on missing parts, for standard error.
    pub(super) fn notes(&self) -> String {
        let trouble = self.trouble.iter().map(|trouble| format!("{trouble}\n"));
        trouble.chain([self.missing.clone()]).collect()
    }

    /// The same in a line.
    pub(super) fn warning(&self) -> Option<String> {
        let notes = self.notes();
        (!notes.is_empty()).then(|| notes.trim_end().replace('\n', "; "))
    }
}
