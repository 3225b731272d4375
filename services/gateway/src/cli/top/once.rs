//! One answer as text, as lines of JSON, or as comma-separated values.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{screen::header, snapshot::Snapshot, state::TopState, table::cell_text};
use crate::cli::terminal::Terminal;

/// For people.
pub(super) fn text(snapshot: &Snapshot, state: &TopState) -> String {
    let terminal = Terminal::of_stdout();
    let columns = state.table.columns();
    let heads: Vec<&str> = columns.iter().map(|column| column.name).collect();
    let rows: Vec<Vec<String>> = state
        .visible(snapshot)
        .into_iter()
        .map(|row| columns.iter().map(|column| cell_text(row, column)).collect())
        .collect();
    let mut text: String = header(snapshot).iter().map(|line| terminal.cut(line) + "\n").collect();
    let _written = write!(text, "\n{}:\n{}", state.table.name(), terminal.table(&heads, &rows));
    text
}

/// The overview, then the rows; each names its table.
pub(super) fn json(snapshot: &Snapshot, state: &TopState) -> String {
    let overview = std::iter::once(("overview", &snapshot.overview));
    let rows = state.visible(snapshot).into_iter().map(|row| (state.table.name(), row));
    let lines = overview.chain(rows).map(|(table, row)| {
        let mut object = serde_json::Map::from_iter([("table".to_owned(), json!(table))]);
        object.extend(row.as_object().cloned().unwrap_or_default());
        format!("{}\n", Value::Object(object))
    });
    lines.collect()
}

/// The table alone, with a heading of field names.
pub(super) fn csv(snapshot: &Snapshot, state: &TopState) -> String {
    let columns = state.table.columns();
    let line = |cells: Vec<String>| cells.join(",") + "\r\n";
    let heading = line(columns.iter().map(|column| column.key.to_owned()).collect());
    let rows = state
        .visible(snapshot)
        .into_iter()
        .map(|row| line(columns.iter().map(|column| field(&row[column.key])).collect()));
    std::iter::once(heading).chain(rows).collect()
}

/// RFC 4180: in quotes where it has to be.
fn field(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(values) => values
            .iter()
            .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            .collect::<Vec<_>>()
            .join(" "),
        value => value.to_string(),
    };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::top::table::TopTable;

    #[test]
    fn values_with_commas_and_quotes_stay_one_field() {
        let row = json!({"channel": "a,\"b\"\n", "subscribers": 2, "nodes": ["n1", "n2"]});
        let snapshot = Snapshot::of(TopTable::Channels, json!({"nodes_up": 1}), vec![row]);
        let state = TopState::new(TopTable::Channels, 10, None);
        let expected = "channel,subscribers,offset,history_size,bytes,presence,nodes\r\n\"a,\"\"b\"\"\n\",2,,,,,n1 n2\r\n";
        assert_eq!(csv(&snapshot, &state), expected);
        let lines = json(&snapshot, &state);
        assert_eq!(lines.lines().next(), Some(r#"{"nodes_up":1,"table":"overview"}"#));
        assert_eq!(lines.lines().count(), 2);
    }
}
