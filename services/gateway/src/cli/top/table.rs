//! The tables: their columns, and their rows out of the answers of the admin API.

use std::{cmp::Ordering, collections::BTreeMap};

use clap::ValueEnum;
use serde_json::{Map, Value, json};

use crate::{
    cli::terminal::{cell, duration, time},
    clock::unix_ms,
};

/// A table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum TopTable {
    /// Nodes of the cluster.
    Nodes,
    /// Channels with the most subscribers.
    Channels,
    /// Connections: those for which bytes wait, or those of a filter.
    Connections,
    /// Clients that read too slowly.
    Slow,
    /// Users of the connections above.
    Users,
    /// Connections by transport.
    Transports,
}

/// The form of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ColumnKind {
    Text,
    Count,
    Bytes,
    Milliseconds,
    Time,
}

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Column {
    /// Its heading.
    pub(super) name: &'static str,
    /// The field of a row.
    pub(super) key: &'static str,
    /// The form of its values.
    pub(super) kind: ColumnKind,
}

const fn column(name: &'static str, key: &'static str, kind: ColumnKind) -> Column {
    Column { name, key, kind }
}

/// All tables, in the order of their number keys.
pub(super) const TABLES: [TopTable; 6] = [
    TopTable::Nodes,
    TopTable::Channels,
    TopTable::Connections,
    TopTable::Slow,
    TopTable::Users,
    TopTable::Transports,
];

const NODES: &[Column] = &[
    column("NODE", "node", ColumnKind::Text),
    column("STATE", "state", ColumnKind::Text),
    column("CONNECTIONS", "connections", ColumnKind::Count),
    column("CPU", "cpu", ColumnKind::Count),
    column("MEMORY", "resident_bytes", ColumnKind::Bytes),
    column("FILES", "open_files", ColumnKind::Count),
    column("LAG", "lag_ms", ColumnKind::Milliseconds),
    column("INBOX", "inbox", ColumnKind::Count),
    column("UPTIME", "uptime_ms", ColumnKind::Milliseconds),
    column("VERSION", "version", ColumnKind::Text),
];
const CHANNELS: &[Column] = &[
    column("CHANNEL", "channel", ColumnKind::Text),
    column("SUBSCRIBERS", "subscribers", ColumnKind::Count),
    column("OFFSET", "offset", ColumnKind::Count),
    column("HISTORY", "history_size", ColumnKind::Count),
    column("BYTES", "bytes", ColumnKind::Bytes),
    column("PRESENCE", "presence", ColumnKind::Count),
    column("NODES", "nodes", ColumnKind::Text),
];
const CONNECTIONS: &[Column] = &[
    column("USER", "user", ColumnKind::Text),
    column("NODE", "node", ColumnKind::Text),
    column("TRANSPORT", "transport", ColumnKind::Text),
    column("WAITING", "waiting_bytes", ColumnKind::Bytes),
    column("OLDEST", "oldest_ms", ColumnKind::Milliseconds),
    column("SDK", "sdk", ColumnKind::Text),
    column("ADDRESS", "address", ColumnKind::Text),
    column("SINCE", "connected_at", ColumnKind::Time),
    column("CLIENT", "client", ColumnKind::Text),
];
const SLOW: &[Column] = &[
    column("USER", "user", ColumnKind::Text),
    column("NODE", "node", ColumnKind::Text),
    column("TRANSPORT", "transport", ColumnKind::Text),
    column("WAITING", "waiting_bytes", ColumnKind::Bytes),
    column("OLDEST", "oldest_ms", ColumnKind::Milliseconds),
    column("CLIENT", "client", ColumnKind::Text),
];
const USERS: &[Column] = &[
    column("USER", "user", ColumnKind::Text),
    column("CONNECTIONS", "connections", ColumnKind::Count),
    column("WAITING", "waiting_bytes", ColumnKind::Bytes),
    column("TRANSPORTS", "transports", ColumnKind::Text),
    column("NODES", "nodes", ColumnKind::Text),
];
const TRANSPORTS: &[Column] = &[
    column("TRANSPORT", "transport", ColumnKind::Text),
    column("CONNECTIONS", "connections", ColumnKind::Count),
    column("NODES", "nodes", ColumnKind::Text),
];

impl TopTable {
    /// Its name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Channels => "channels",
            Self::Connections => "connections",
            Self::Slow => "slow consumers",
            Self::Users => "users",
            Self::Transports => "transports",
        }
    }

    /// Its columns.
    pub(super) fn columns(self) -> &'static [Column] {
        match self {
            Self::Nodes => NODES,
            Self::Channels => CHANNELS,
            Self::Connections => CONNECTIONS,
            Self::Slow => SLOW,
            Self::Users => USERS,
            Self::Transports => TRANSPORTS,
        }
    }

    /// The column that it is sorted by at first.
    pub(super) fn first_sort(self) -> usize {
        let wanted = match self {
            Self::Nodes => "node",
            Self::Channels => "subscribers",
            Self::Connections | Self::Slow => "waiting_bytes",
            Self::Users | Self::Transports => "connections",
        };
        self.columns().iter().position(|column| column.key == wanted).unwrap_or_default()
    }

    /// True if a filter is a question to the admin API, which gives no list of all connections.
    pub(super) fn is_asked_with_filter(self) -> bool {
        matches!(self, Self::Connections | Self::Users)
    }

    /// The rows out of an answer: flat objects.
    pub(super) fn rows(self, result: &Value) -> Vec<Value> {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        match self {
            Self::Nodes => list(result).iter().map(node).collect(),
            Self::Channels => list(result),
            Self::Connections => list(result).into_iter().map(connection).collect(),
            Self::Slow => list(&result["now"]),
            Self::Users => users(&list(result)),
            Self::Transports => transports(&list(result)),
        }
    }
}

fn sum_of_connections(node: &Value) -> u64 {
    node["connections"].as_object().into_iter().flat_map(Map::values).filter_map(Value::as_u64).sum()
}

fn node(node: &Value) -> Value {
    let workers = || node["workers"].as_array().into_iter().flatten();
    let lag = workers().filter_map(|worker| worker["lag_ms"].as_f64()).fold(0.0, f64::max);
    let inbox: u64 = workers().filter_map(|worker| worker["inbox"].as_u64()).sum();
    let state = match (node["draining"].as_bool(), node["ready"].as_bool()) {
        (Some(true), _) => format!("draining, {} left", cell(&node["drain_left"])),
        (_, Some(true)) => "ready".to_owned(),
        (_, Some(false)) => format!("not ready: {}", cell(&node["not_ready"])),
        _ => "-".to_owned(),
    };
    json!({
        "node": node["name"], "id": node["id"], "state": state, "connections": sum_of_connections(node),
        "cpu": node["cpu"], "resident_bytes": node["resident_bytes"], "open_files": node["open_files"],
        "lag_ms": lag, "inbox": inbox, "uptime_ms": node["uptime_seconds"].as_f64().map(|seconds| seconds * 1000.0),
        "version": node["version"], "address": node["address"],
    })
}

fn connection(mut connection: Value) -> Value {
    let oldest = connection["waiting_since"].as_u64().map(|since| unix_ms().saturating_sub(since));
    if let Some(fields) = connection.as_object_mut() {
        fields.insert("oldest_ms".to_owned(), oldest.into());
    }
    connection
}

/// Adds a name to a list, once.
fn add(names: &mut Vec<String>, name: &Value) {
    let name = name.as_str().unwrap_or_default();
    if !name.is_empty() && !names.iter().any(|other| other == name) {
        names.push(name.to_owned());
    }
}

/// The connections of one user.
#[derive(Default)]
struct UserRow {
    connections: u64,
    waiting_bytes: u64,
    transports: Vec<String>,
    nodes: Vec<String>,
}

fn users(connections: &[Value]) -> Vec<Value> {
    let mut users: BTreeMap<&str, UserRow> = BTreeMap::new();
    for connection in connections {
        let user = users.entry(connection["user"].as_str().unwrap_or_default()).or_default();
        user.connections += 1;
        let waiting = connection["waiting_bytes"].as_u64().unwrap_or_default();
        user.waiting_bytes = user.waiting_bytes.saturating_add(waiting);
        add(&mut user.transports, &connection["transport"]);
        add(&mut user.nodes, &connection["node"]);
    }
    let rows = users.into_iter().map(|(user, row)| {
        json!({
            "user": user, "connections": row.connections, "waiting_bytes": row.waiting_bytes,
            "transports": row.transports, "nodes": row.nodes,
        })
    });
    rows.collect()
}

fn transports(nodes: &[Value]) -> Vec<Value> {
    let mut transports: BTreeMap<&str, (u64, Vec<String>)> = BTreeMap::new();
    for node in nodes {
        for (transport, count) in node["connections"].as_object().into_iter().flatten() {
            let row = transports.entry(transport).or_default();
            row.0 = row.0.saturating_add(count.as_u64().unwrap_or_default());
            add(&mut row.1, &node["name"]);
        }
    }
    let rows = transports.into_iter().map(|(transport, (connections, nodes))| {
        json!({"transport": transport, "connections": connections, "nodes": nodes})
    });
    rows.collect()
}

/// A value of a row as it is shown.
pub(super) fn cell_text(row: &Value, column: &Column) -> String {
    let value = &row[column.key];
    match column.kind {
        ColumnKind::Text => cell(value),
        ColumnKind::Count => value.as_f64().map_or_else(|| cell(value), count),
        ColumnKind::Bytes => value.as_f64().map_or_else(|| "-".to_owned(), bytes),
        ColumnKind::Milliseconds => value.as_f64().map_or_else(|| "-".to_owned(), |ms| duration(&whole(ms))),
        ColumnKind::Time => time(value),
    }
}

/// Without its fraction. Negative ones are none.
fn whole(number: f64) -> Value {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
    let number = number as u64;
    json!(number)
}

/// A number as people read it: 1,234 or 0.7.
pub(super) fn count(number: f64) -> String {
    if number.fract() != 0.0 && number.abs() < 100.0 {
        return format!("{number:.1}");
    }
    let digits = format!("{:.0}", number.abs());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0.0 { format!("-{text}") } else { text }
}

/// Bytes as people read them.
pub(super) fn bytes(number: f64) -> String {
    const UNITS: [&str; 4] = ["K", "M", "G", "T"];
    if number < 1024.0 {
        return format!("{number:.0}");
    }
    let mut left = number / 1024.0;
    let mut unit = 0;
    while left >= 1024.0 && unit + 1 < UNITS.len() {
        left /= 1024.0;
        unit += 1;
    }
    format!("{left:.1}{}", UNITS.get(unit).copied().unwrap_or_default())
}

/// The order of two rows in a column: numbers before texts, what is missing first.
pub(super) fn compare(one: &Value, other: &Value, column: &Column) -> Ordering {
    match (one[column.key].as_f64(), other[column.key].as_f64()) {
        (Some(one), Some(other)) => one.total_cmp(&other),
        (one_is, other_is) if one_is.is_some() != other_is.is_some() => {
            one_is.is_some().cmp(&other_is.is_some())
        }
        _ => cell(&one[column.key]).cmp(&cell(&other[column.key])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_as_people_read_them() {
        assert_eq!(
            [0.0, 0.66, 999.0, 1000.0, 1_234_567.0, -1234.0].map(count),
            ["0", "0.7", "999", "1,000", "1,234,567", "-1,234"]
        );
        assert_eq!([0.0, 1023.0, 1024.0, 1.5e6, 1e18].map(bytes), ["0", "1023", "1.0K", "1.4M", "909494.7T"]);
    }

    #[test]
    fn answers_of_any_shape_make_rows() {
        for table in TABLES {
            for answer in [json!(null), json!([]), json!([1, "x", null, {}]), json!({"now": 3}), json!("x")] {
                for row in table.rows(&answer) {
                    for column in table.columns() {
                        let _text = cell_text(&row, column);
                    }
                }
            }
            assert!(table.first_sort() < table.columns().len());
        }
    }

    #[test]
    fn users_and_transports_are_sums() {
        let connections = json!([
            {"user": "a", "transport": "sse", "node": "n1", "waiting_bytes": 1},
            {"user": "a", "transport": "sse", "node": "n2", "waiting_bytes": 2},
            {"user": "", "transport": "websocket", "node": "n1"},
        ]);
        let users = TopTable::Users.rows(&connections);
        assert_eq!(users[1]["connections"], 2);
        assert_eq!((&users[1]["waiting_bytes"], &users[1]["nodes"]), (&json!(3), &json!(["n1", "n2"])));
        let nodes = json!([{"name": "n1", "connections": {"sse": 1}}, {"name": "n2", "connections": {"sse": 2, "poll": 1}}]);
        let transports = TopTable::Transports.rows(&nodes);
        assert_eq!((transports.len(), &transports[1]["connections"]), (2, &json!(3)));
    }
}
