//! The state of the screen, and the effect of keys on it.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::Value;

use super::{
    snapshot::Snapshot,
    table::{TABLES, TopTable, cell_text, compare},
};

/// Characters of a filter at most.
const INPUT_MAX: usize = 200;

/// A line that is typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TypedLine {
    /// A filter of rows.
    Filter(String),
    /// A number of rows.
    Rows(String),
}

/// A page over the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overlay {
    /// None.
    None,
    /// The keys.
    Help,
    /// All fields of the selected row.
    Detail,
}

/// The effect of a key beyond the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyEffect {
    /// Draw.
    Draw,
    /// Ask again: the question has changed.
    Ask,
    /// End.
    End,
}

/// The state of the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TopState {
    /// The table.
    pub(super) table: TopTable,
    /// Index of the column that it is sorted by.
    pub(super) sort: usize,
    /// The largest first.
    pub(super) is_descending: bool,
    /// Rows at most.
    pub(super) rows: usize,
    /// Rows with this text, or a question to the admin API.
    pub(super) filter: String,
    /// Nothing is asked.
    pub(super) is_paused: bool,
    /// Index of the selected row.
    pub(super) selected: usize,
    /// A line that is typed.
    pub(super) input: Option<TypedLine>,
    /// A page over the table.
    pub(super) overlay: Overlay,
}

impl TopState {
    /// At first.
    pub(super) fn new(table: TopTable, rows: usize, filter: Option<String>) -> Self {
        let filter = filter.unwrap_or_default();
        let is_descending = table != TopTable::Nodes;
        let sort = table.first_sort();
        Self {
            table,
            sort,
            is_descending,
            rows,
            filter,
            is_paused: false,
            selected: 0,
            input: None,
            overlay: Overlay::None,
        }
    }

    /// Sorts by a column of this name, the largest first. False if there is none.
    pub(super) fn sort_by(&mut self, name: &str) -> bool {
        let found = self.table.columns().iter().position(|column| {
            column.name.eq_ignore_ascii_case(name) || column.key.eq_ignore_ascii_case(name)
        });
        if let Some(index) = found {
            self.sort = index;
            self.is_descending = true;
        }
        found.is_some()
    }

    /// The rows that are shown, in their order.
    pub(super) fn visible<'s>(&self, snapshot: &'s Snapshot) -> Vec<&'s Value> {
        if snapshot.table != self.table {
            return Vec::new();
        }
        let columns = self.table.columns();
        let wanted = if self.table.is_asked_with_filter() { "" } else { self.filter.as_str() };
        let matches = |row: &&Value| {
            wanted.is_empty() || columns.iter().any(|column| cell_text(row, column).contains(wanted))
        };
        let mut rows: Vec<&Value> = snapshot.rows.iter().filter(matches).collect();
        if let Some(column) = columns.get(self.sort) {
            rows.sort_by(|one, other| {
                let order = compare(one, other, column);
                if self.is_descending { order.reverse() } else { order }
            });
        }
        rows.truncate(self.rows);
        rows
    }

    fn show(&mut self, table: TopTable) -> KeyEffect {
        // The filter of one table means nothing in another.
        let (rows, is_paused) = (self.rows, self.is_paused);
        *self = Self { is_paused, ..Self::new(table, rows, None) };
        KeyEffect::Ask
    }

    /// A key was pressed while `count` rows are shown.
    pub(super) fn key(&mut self, key: KeyEvent, count: usize) -> KeyEffect {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c' | 'd') => KeyEffect::End,
                _ => KeyEffect::Draw,
            };
        }
        if let Some(input) = self.input.take() {
            return self.typed(key.code, input);
        }
        if self.overlay != Overlay::None {
            self.overlay = Overlay::None;
            return if key.code == KeyCode::Char('q') { KeyEffect::End } else { KeyEffect::Draw };
        }
        let columns = self.table.columns().len();
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return KeyEffect::End,
            KeyCode::Char('?' | 'h') => self.overlay = Overlay::Help,
            KeyCode::Enter if count > 0 => self.overlay = Overlay::Detail,
            KeyCode::Char('p' | ' ') => {
                self.is_paused = !self.is_paused;
                return KeyEffect::Ask;
            }
            KeyCode::Char('o') => self.sort = (self.sort + 1) % columns,
            KeyCode::Char('O') => self.sort = (self.sort + columns - 1) % columns,
            KeyCode::Char('r') => self.is_descending = !self.is_descending,
            KeyCode::Char('n') => self.input = Some(TypedLine::Rows(String::new())),
            KeyCode::Char('/') => self.input = Some(TypedLine::Filter(self.filter.clone())),
            KeyCode::Char(digit @ '1'..='6') => {
                let index = digit.to_digit(10).unwrap_or(1) as usize - 1;
                return TABLES.get(index).map_or(KeyEffect::Draw, |table| self.show(*table));
            }
            KeyCode::Tab | KeyCode::Right => return self.show(self.neighbour(1)),
            KeyCode::BackTab | KeyCode::Left => return self.show(self.neighbour(TABLES.len() - 1)),
            KeyCode::Down | KeyCode::Char('j') => self.select(self.selected.saturating_add(1), count),
            KeyCode::Up | KeyCode::Char('k') => self.select(self.selected.saturating_sub(1), count),
            KeyCode::PageDown => self.select(self.selected.saturating_add(10), count),
            KeyCode::PageUp => self.select(self.selected.saturating_sub(10), count),
            KeyCode::Home => self.select(0, count),
            KeyCode::End => self.select(usize::MAX, count),
            _ => {}
        }
        KeyEffect::Draw
    }

    fn neighbour(&self, step: usize) -> TopTable {
        let index = TABLES.iter().position(|table| *table == self.table).unwrap_or_default();
        TABLES.get((index + step) % TABLES.len()).copied().unwrap_or(self.table)
    }

    fn select(&mut self, index: usize, count: usize) {
        self.selected = index.min(count.saturating_sub(1));
    }

    fn typed(&mut self, code: KeyCode, input: TypedLine) -> KeyEffect {
        let (mut text, is_filter) = match input {
            TypedLine::Filter(text) => (text, true),
            TypedLine::Rows(text) => (text, false),
        };
        let again = |text| Some(if is_filter { TypedLine::Filter(text) } else { TypedLine::Rows(text) });
        match code {
            KeyCode::Esc => return KeyEffect::Draw,
            KeyCode::Enter if is_filter => {
                self.filter = text;
                self.selected = 0;
                return KeyEffect::Ask;
            }
            KeyCode::Enter => {
                self.rows = text.parse().map_or(self.rows, |rows: usize| rows.clamp(1, 1000));
                self.selected = 0;
                return KeyEffect::Ask;
            }
            KeyCode::Backspace => {
                text.pop();
            }
            KeyCode::Char(character)
                if text.chars().count() < INPUT_MAX && (is_filter || character.is_ascii_digit()) =>
            {
                text.push(character);
            }
            _ => {}
        }
        self.input = again(text);
        KeyEffect::Draw
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn press(state: &mut TopState, codes: &[KeyCode]) -> KeyEffect {
        let mut effect = KeyEffect::Draw;
        for code in codes {
            effect = state.key(KeyEvent::new(*code, KeyModifiers::NONE), 3);
        }
        effect
    }

    fn keys(text: &str) -> Vec<KeyCode> {
        text.chars().map(KeyCode::Char).collect()
    }

    #[test]
    fn keys_choose_the_table_the_order_and_the_rows() {
        let mut state = TopState::new(TopTable::Nodes, 100, None);
        assert_eq!((press(&mut state, &keys("2")), state.table), (KeyEffect::Ask, TopTable::Channels));
        assert_eq!(state.sort, 1);
        press(&mut state, &keys("oor"));
        assert_eq!((state.sort, state.is_descending), (3, false));
        press(&mut state, &keys("n25"));
        assert_eq!(press(&mut state, &[KeyCode::Enter]), KeyEffect::Ask);
        assert_eq!(state.rows, 25);
        press(&mut state, &[KeyCode::BackTab]);
        assert_eq!(state.table, TopTable::Nodes);
        press(&mut state, &[KeyCode::BackTab]);
        assert_eq!(state.table, TopTable::Transports);
        assert_eq!(press(&mut state, &keys("q")), KeyEffect::End);
    }

    #[test]
    fn the_selection_stays_in_the_table_and_q_in_a_filter_is_a_letter() {
        let mut state = TopState::new(TopTable::Slow, 100, None);
        press(&mut state, &keys("jjjjj"));
        assert_eq!(state.selected, 2);
        press(&mut state, &keys("kkkkk"));
        assert_eq!(state.selected, 0);
        assert_eq!(press(&mut state, &keys("/q")), KeyEffect::Draw);
        assert_eq!(state.input, Some(TypedLine::Filter("q".to_owned())));
        press(&mut state, &[KeyCode::Enter]);
        assert_eq!(state.filter, "q");
        press(&mut state, &keys("?"));
        assert_eq!(state.overlay, Overlay::Help);
        press(&mut state, &keys("x"));
        assert_eq!(state.overlay, Overlay::None);
    }

    #[test]
    fn rows_are_filtered_sorted_and_cut() {
        let rows = [("a", 1), ("b", 30), ("ab", 4)]
            .map(|(channel, count)| json!({"channel": channel, "subscribers": count}));
        let snapshot = Snapshot::of(TopTable::Channels, json!({}), rows.into());
        let mut state = TopState::new(TopTable::Channels, 2, None);
        let names = |state: &TopState| -> Vec<String> {
            state
                .visible(&snapshot)
                .iter()
                .map(|row| row["channel"].as_str().unwrap_or_default().to_owned())
                .collect()
        };
        assert_eq!(names(&state), ["b", "ab"]);
        state.filter = "a".to_owned();
        assert_eq!(names(&state), ["ab", "a"]);
        assert!(state.sort_by("channel") && !state.sort_by("nonsense"));
        assert_eq!(names(&state), ["ab", "a"]);
        state.table = TopTable::Nodes;
        assert_eq!(names(&state), Vec::<String>::new());
    }
}
