//! Counters in rows and columns that are known at the start: what traffic brings cannot make another one.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, TypedMetric},
};

/// Counters of a table up to which those at 0 are shown too: the first event counts for a rate only where there was a 0 before.
const SHOWN_AT_ZERO: usize = 64;

/// Counters with two labels. Of large tables those at 0 are not shown. Cloning shares.
#[derive(Debug, Clone)]
pub struct CounterTable(Arc<TableState>);

#[derive(Debug)]
struct TableState {
    labels: [&'static str; 2],
    rows: Arc<[Cow<'static, str>]>,
    columns: Vec<Cow<'static, str>>,
    counts: Vec<AtomicU64>,
}

impl CounterTable {
    /// A table with these values of its two labels.
    pub fn new(
        labels: [&'static str; 2],
        rows: Arc<[Cow<'static, str>]>,
        columns: Vec<Cow<'static, str>>,
    ) -> Self {
        let counts = std::iter::repeat_with(AtomicU64::default).take(rows.len() * columns.len()).collect();
        Self(Arc::new(TableState { labels, rows, columns, counts }))
    }

    /// Adds to the counter at this place; one outside of the table is not counted.
    pub fn add(&self, row: usize, column: usize, count: u64) {
        let state = &*self.0;
        if column < state.columns.len()
            && let Some(counter) = state.counts.get(row * state.columns.len() + column)
        {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }
}

impl CounterTable {
    /// All counters together.
    pub fn sum(&self) -> u64 {
        self.0.counts.iter().map(|counter| counter.load(Ordering::Relaxed)).sum()
    }
}

impl TypedMetric for CounterTable {
    const TYPE: MetricType = MetricType::Counter;
}

impl EncodeMetric for CounterTable {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let TableState { labels: [first, second], rows, columns, counts } = &*self.0;
        let places = rows.iter().flat_map(|row| columns.iter().map(move |column| (row, column)));
        for ((row, column), counter) in places.zip(counts) {
            let count = counter.load(Ordering::Relaxed);
            if count > 0 || counts.len() <= SHOWN_AT_ZERO {
                // A label without a name is one that this table does not show.
                let labels: Vec<(&str, &str)> = [(*first, &**row), (*second, &**column)]
                    .into_iter()
                    .filter(|(name, _)| !name.is_empty())
                    .collect();
                if labels.is_empty() {
                    encoder.encode_counter::<NoLabelSet, u64, u64>(&count, None)?;
                } else {
                    encoder.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, u64>(&count, None)?;
                }
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }

    fn is_empty(&self) -> bool {
        let is_zero = |counter: &AtomicU64| counter.load(Ordering::Relaxed) == 0;
        self.0.counts.len() > SHOWN_AT_ZERO && self.0.counts.iter().all(is_zero)
    }
}

/// Codes of errors of commands, in the order of their columns. The backend's own codes share one.
const CODES: [u32; 15] = [100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111, 112, 120, 121];

/// Values of a label that is a code: `0` for success, those of the table of errors, and `backend` for a backend's own.
pub fn code_columns() -> Vec<Cow<'static, str>> {
    let codes = CODES.iter().map(|code| Cow::from(code.to_string()));
    std::iter::once(Cow::from("0")).chain(codes).chain([Cow::from("backend")]).collect()
}

/// The column of a code.
pub fn code_column(code: u32) -> usize {
    match code {
        0 => 0,
        code => CODES.iter().position(|known| *known == code).map_or(CODES.len() + 1, |index| index + 1),
    }
}

/// The values of a label.
pub fn values(values: &[&'static str]) -> Vec<Cow<'static, str>> {
    values.iter().copied().map(Cow::from).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use prometheus_client::{encoding::text::encode, registry::Registry};

    use super::*;

    #[test]
    fn counters_are_shown_once_they_were_moved_and_no_code_makes_another_one() {
        let methods = values(&["publish", "rpc", "history", "refresh"]).into();
        let table = CounterTable::new(["method", "code"], methods, code_columns());
        let mut registry = Registry::default();
        registry.register("errors", "Errors", table.clone());
        let text = || {
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            text
        };
        assert!(!text().contains("errors"));
        table.add(0, code_column(103), 2);
        for code in 400..2000 {
            table.add(1, code_column(code), 1);
        }
        table.add(4, 0, 1);
        let text = text();
        assert!(text.contains("errors_total{method=\"publish\",code=\"103\"} 2\n"), "{text}");
        assert!(text.contains("errors_total{method=\"rpc\",code=\"backend\"} 1600\n"), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with("errors_total")).count(), 2);
    }

    #[test]
    fn the_counters_of_a_small_table_begin_at_zero() {
        let table = CounterTable::new(["", "reason"], values(&[""]).into(), values(&["expired", "clock"]));
        let mut registry = Registry::default();
        registry.register("tokens_refused", "Refused", table);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        assert!(text.contains("tokens_refused_total{reason=\"clock\"} 0\n"), "{text}");
    }
}
