//! The figure of a result that was written before there were figures, from the table in its file.

use std::{fs, io, path::PathBuf};

use clap::Args;

use crate::{
    fanout::{CpuPoint, cpu_figure},
    plot,
};

/// The file whose table is drawn.
#[derive(Debug, Args)]
pub(crate) struct DrawFlags {
    /// A dated file under tests/bench/results
    result: PathBuf,
}

pub(crate) fn run(flags: &DrawFlags) -> io::Result<()> {
    let text = fs::read_to_string(&flags.result)?;
    let table = CpuTable::read(&text).ok_or_else(|| io::Error::other("no table with CPU per delivery"))?;
    let names = [table.names[0].as_str(), table.names[1].as_str()];
    let figure = cpu_figure(table.subscribers, names, &table.points);
    plot::write_beside(&flags.result, &[figure])
}

/// The rows about CPU per delivery of the last table that has some.
#[derive(Debug, PartialEq)]
struct CpuTable {
    subscribers: usize,
    names: [String; 2],
    points: Vec<CpuPoint>,
}

impl CpuTable {
    fn read(text: &str) -> Option<Self> {
        let mut table = None;
        let mut names = None;
        for line in text.lines() {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            match cells[..] {
                ["", "measure", "unit", mine, other, ..] => {
                    (names, table) = (Some([mine.to_owned(), other.to_owned()]), None);
                }
                ["", what, "µs", mine, other, ..] => {
                    let Some((subscribers, payload_bytes, in_flight)) = measure(what) else { continue };
                    let (Some(names), Some(medians)) = (&names, median(mine).zip(median(other))) else {
                        continue;
                    };
                    let table = table.get_or_insert_with(|| Self {
                        subscribers,
                        names: names.clone(),
                        points: Vec::new(),
                    });
                    table.points.push(CpuPoint { payload_bytes, in_flight, medians: [medians.0, medians.1] });
                }
                _ => {}
            }
        }
        table
    }
}

/// Subscribers, bytes and publications in flight of `fan-out to 2000, 128 B, 1 in flight: CPU per delivery`.
fn measure(what: &str) -> Option<(usize, usize, u64)> {
    let mut parts =
        what.strip_prefix("fan-out to ")?.strip_suffix(" in flight: CPU per delivery")?.split(", ");
    let subscribers = parts.next()?.parse().ok()?;
    let payload_bytes = parts.next()?.strip_suffix(" B")?.parse().ok()?;
    Some((subscribers, payload_bytes, parts.next()?.parse().ok()?))
}

/// The median of `3.49 (2.86 to 4.47)`.
fn median(cell: &str) -> Option<f64> {
    cell.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_table_of_a_result_is_read_and_rows_about_other_things_are_passed_over() {
        let text = "\
# fan-out, old against new

| measure | unit | new | old | new/old | goal |
|---|---|---|---|---|---|
| fan-out to 9, 128 B, 1 in flight: CPU per delivery | µs | 1 | 1 | 1 | |

| measure                                               | unit | gateway             | stock               | gateway/stock       | goal |
|-------------------------------------------------------|------|---------------------|---------------------|---------------------|------|
| fan-out to 2000, 128 B, 1 in flight: CPU per delivery  | µs   | 3.49 (2.86 to 4.47) | 3.67 (3.43 to 3.82) | 0.95 (0.75 to 1.30) |      |
| fan-out to 2000, 128 B, 32 in flight: CPU per delivery | µs   | 0.12                | 0.14                | 0.89 (0.86 to 1.07) |      |
| fan-out to 2000 by STOMP, 128 B, 1 in flight: CPU per delivery | µs | 9 | 9 | 1 | |
| memory per idle subscribed connection, 10000 of them   | KB   | 3.05 (3.04 to 3.06) | 3.56 (3.55 to 3.56) | 0.86 (0.86 to 0.86) |      |
";
        let point = |in_flight, medians| CpuPoint { payload_bytes: 128, in_flight, medians };
        let expected = CpuTable {
            subscribers: 2_000,
            names: ["gateway".to_owned(), "stock".to_owned()],
            points: vec![point(1, [3.49, 3.67]), point(32, [0.12, 0.14])],
        };
        assert_eq!(CpuTable::read(text), Some(expected));
        assert_eq!(CpuTable::read("# nothing measured\n"), None);
    }
}
