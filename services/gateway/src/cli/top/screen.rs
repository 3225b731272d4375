//! The screen: a header of the cluster, a table, a line of keys; help and details over them. Any size of the terminal.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Modifier, Style},
    text::Line,
    widgets::{Block, Cell, Clear, Paragraph, Row, Table, TableState, Wrap},
};
use serde_json::Value;

use super::{
    snapshot::Snapshot,
    state::{Overlay, TopState, TypedLine},
    table::{bytes, cell_text, count},
};
use crate::cli::terminal::{cell, printable};

const KEYS: &str = "1-6 table  o sort  r reverse  / filter  n rows  p pause  Enter detail  ? help  q quit";
const HELP: &[&str] = &[
    "1 2 3 4 5 6     nodes, channels, connections, slow consumers, users, transports",
    "Tab, Shift-Tab  next table, previous table",
    "o, O            sort by the next column, by the one before",
    "r               reverse the order",
    "n               rows at most",
    "/               filter; connections and users: user=42, address=, transport=, sdk=",
    "j k, arrows     select a row; Enter shows all of it",
    "p, space        pause and go on",
    "q, Esc          quit",
];

/// The lines above the table.
pub(super) fn header(snapshot: &Snapshot) -> Vec<String> {
    let overview = &snapshot.overview;
    let number = |name: &str| overview[name].as_f64().map_or_else(|| "-".to_owned(), count);
    let rate = overview["bytes_per_second"].as_f64().map_or_else(|| "-".to_owned(), bytes);
    let lag = overview["worst_lag_ms"].as_f64().map_or_else(|| "-".to_owned(), |lag| format!("{lag:.1} ms"));
    vec![
        format!(
            "nodes {}/{}  connections {}  channels {}  subscriptions {}",
            number("nodes_up"),
            number("nodes_expected"),
            number("connections"),
            number("channels"),
            number("subscriptions")
        ),
        format!(
            "publications/s {}  deliveries/s {}  bytes/s {rate}  broker {}  worst lag {lag}",
            number("publications_per_second"),
            number("deliveries_per_second"),
            cell(&overview["broker"]["state"])
        ),
    ]
}

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, state: &TopState, snapshot: &Snapshot) {
    let area = frame.area();
    // A small terminal has room for the table first.
    let header_lines = if area.height >= 8 { 2 } else { 1 };
    let [head, title, body, foot] = Layout::vertical([
        Constraint::Length(header_lines),
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(area);
    let lines: Vec<Line<'_>> = header(snapshot).into_iter().map(Line::from).collect();
    frame.render_widget(Paragraph::new(lines), head);
    let rows = state.visible(snapshot);
    frame.render_widget(Paragraph::new(title_of(state, snapshot, rows.len())).style(bold()), title);
    table(frame, body, state, &rows);
    frame.render_widget(Paragraph::new(foot_of(state, snapshot)), foot);
    match state.overlay {
        Overlay::None => {}
        Overlay::Help => {
            let lines = HELP.iter().map(|line| Line::from(*line)).collect();
            over(frame, "keys", lines);
        }
        Overlay::Detail => {
            let row = rows.get(state.selected).copied().unwrap_or(&Value::Null);
            let fields = row.as_object().into_iter().flatten();
            let lines =
                fields.map(|(name, value)| Line::from(format!("{}: {}", printable(name), cell(value))));
            over(frame, "detail", lines.collect());
        }
    }
}

fn bold() -> Style {
    Style::default().add_modifier(Modifier::BOLD)
}

fn title_of(state: &TopState, snapshot: &Snapshot, count: usize) -> String {
    let sort = state.table.columns().get(state.sort).map_or("", |column| column.name);
    let order = if state.is_descending { "largest first" } else { "smallest first" };
    let paused = if state.is_paused { "  PAUSED" } else { "" };
    let filter = match state.filter.as_str() {
        "" => String::new(),
        filter => format!("  filter {}", printable(filter)),
    };
    let waits = if snapshot.table == state.table { "" } else { " (asking)" };
    format!("{}: {count}{waits}{paused}  by {sort}, {order}{filter}", state.table.name())
}

fn foot_of(state: &TopState, snapshot: &Snapshot) -> Line<'static> {
    match &state.input {
        Some(TypedLine::Filter(text)) => Line::from(format!("filter: {}_", printable(text))),
        Some(TypedLine::Rows(text)) => Line::from(format!("rows: {}_", printable(text))),
        None => match snapshot.warning() {
            Some(warning) => Line::from(printable(&warning)).style(bold()),
            None => Line::from(KEYS),
        },
    }
}

fn table(frame: &mut Frame<'_>, area: Rect, state: &TopState, rows: &[&Value]) {
    let columns = state.table.columns();
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| columns.iter().map(|column| cell_text(row, column)).collect()).collect();
    let widths = columns.iter().enumerate().map(|(index, column)| {
        let widest = cells
            .iter()
            .filter_map(|row| row.get(index))
            .map(|cell| unicode_width::UnicodeWidthStr::width(cell.as_str()))
            .fold(column.name.len(), usize::max);
        Constraint::Length(u16::try_from(widest.min(48)).unwrap_or(48))
    });
    let heads = columns.iter().enumerate().map(|(index, column)| {
        let style = if index == state.sort { bold().add_modifier(Modifier::UNDERLINED) } else { bold() };
        Cell::from(column.name).style(style)
    });
    let widget = Table::new(cells.iter().map(|row| Row::new(row.clone())), widths)
        .header(Row::new(heads))
        .column_spacing(2)
        .row_highlight_style(Style::default().add_modifier(Modifier::REVERSED));
    let selected = (!rows.is_empty()).then(|| state.selected.min(rows.len() - 1));
    frame.render_stateful_widget(widget, area, &mut TableState::default().with_selected(selected));
}

/// A page over the table, as large as the terminal has room for.
fn over(frame: &mut Frame<'_>, title: &'static str, lines: Vec<Line<'_>>) {
    let area = frame.area();
    let height = u16::try_from(lines.len()).unwrap_or(u16::MAX).saturating_add(2).min(area.height);
    let width = area.width.min(90);
    let place =
        Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    frame.render_widget(Clear, place);
    let page = Paragraph::new(lines).wrap(Wrap { trim: false }).block(Block::bordered().title(title));
    frame.render_widget(page, place);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use ratatui::{Terminal, backend::TestBackend};
    use serde_json::json;

    use super::*;
    use crate::cli::top::table::{TABLES, TopTable};

    fn overview() -> Value {
        json!({
            "nodes_up": 2, "nodes_expected": 3, "connections": 1234, "channels": 5, "subscriptions": 6,
            "publications_per_second": 7.5, "deliveries_per_second": 800, "bytes_per_second": 2048,
            "broker": {"state": "ready"}, "worst_lag_ms": 1.25,
        })
    }

    fn snapshot(table: TopTable) -> Snapshot {
        let connection = json!({"user": "42", "client": "c1", "node": "n1", "transport": "websocket", "waiting_bytes": 4096, "address": "10.0.0.1"});
        let answer = match table {
            TopTable::Nodes | TopTable::Transports => json!([{
                "name": "n1", "id": "1f", "ready": true, "connections": {"websocket": 1200, "sse": 34}, "cpu": 0.5,
                "resident_bytes": 1048576, "open_files": 99, "workers": [{"lag_ms": 2.0, "inbox": 3}],
                "uptime_seconds": 3700, "version": "0.1.0",
            }]),
            TopTable::Channels => {
                json!([{"channel": "고:라\u{1b}니", "subscribers": 9, "nodes": ["n1"], "offset": 7}])
            }
            TopTable::Slow => {
                json!({"now": [{"user": "42", "client": "c1", "node": "n1", "transport": "sse", "waiting_bytes": 1, "oldest_ms": 1500}]})
            }
            TopTable::Connections | TopTable::Users => json!([connection]),
        };
        Snapshot::of(table, overview(), table.rows(&answer))
    }

    fn drawn(state: &TopState, snapshot: &Snapshot, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, state, snapshot)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn each_table_is_drawn_with_the_header_of_the_cluster() {
        let expected = ["1,234", "고:라\\u{1b}니", "4.0K", "1.5s", "42", "websocket"];
        for (table, expected) in TABLES.into_iter().zip(expected) {
            let state = TopState::new(table, 100, None);
            let text = drawn(&state, &snapshot(table), 110, 24);
            for part in [
                "nodes 2/3",
                "connections 1,234",
                "publications/s 7.5",
                "broker ready",
                "worst lag 1.2 ms",
                "? help",
                expected,
            ] {
                // A wide character takes two cells, of which the second is empty.
                let joined = text.replace(' ', "");
                assert!(joined.contains(&part.replace(' ', "")), "{part}: {text}");
            }
            assert!(text.contains(&format!("{}: ", table.name())), "{text}");
        }
    }

    #[test]
    fn help_and_details_lie_over_the_table() {
        let mut state = TopState::new(TopTable::Nodes, 100, None);
        state.overlay = Overlay::Help;
        assert!(drawn(&state, &snapshot(TopTable::Nodes), 80, 24).contains("sort by the next column"));
        state.overlay = Overlay::Detail;
        let text = drawn(&state, &snapshot(TopTable::Nodes), 80, 24);
        assert!(text.contains("resident_bytes: 1048576"), "{text}");
    }

    #[test]
    fn every_screen_fits_into_every_terminal() {
        for (width, height) in [(80, 24), (20, 5), (1, 1), (200, 2), (3, 60)] {
            for table in TABLES {
                for overlay in [Overlay::None, Overlay::Help, Overlay::Detail] {
                    let mut state = TopState::new(table, 100, Some("x".repeat(150)));
                    state.overlay = overlay;
                    drawn(&state, &snapshot(table), width, height);
                    state.filter.clear();
                    state.input = Some(TypedLine::Filter("y".repeat(200)));
                    drawn(&state, &snapshot(table), width, height);
                }
            }
        }
        let state = TopState::new(TopTable::Nodes, 100, None);
        assert!(drawn(&state, &snapshot(TopTable::Nodes), 20, 5).contains("nodes 2/3"));
    }
}
