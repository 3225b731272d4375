//! What was measured, as an aligned table for people and as a dated file (`docs/architecture.md` §9.12).

use std::{fmt::Write as _, fs, io, path::PathBuf, process::Command, time::SystemTime};

use gorani_tests::binary::workspace;

use crate::stats::Sample;

/// Above this load over the last minute something else runs on the machine.
const IDLE_LOAD: f64 = 0.5;

/// A bound that the project set itself for the quotient gateway over baseline, or for the gateway alone.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    /// The ratio shall be at most this.
    RatioAtMost(f64),
    /// The ratio shall be at least this.
    RatioAtLeast(f64),
    /// The gateway's own value shall be at most this.
    AtMost(f64),
}

/// One measure of both servers.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    pub(crate) gateway: Sample,
    pub(crate) stock: Sample,
    pub(crate) goal: Option<Goal>,
}

/// What a change may cost where the baseline is the node from before it.
const UNCHANGED: f64 = 1.02;

impl Row {
    /// The goal of a comparison with an older binary of the node.
    pub(crate) fn unchanged(&self) -> Goal {
        // Rates are better when they are higher, costs when they are lower.
        if self.unit.contains("/s") {
            Goal::RatioAtLeast(1.0 / UNCHANGED)
        } else {
            Goal::RatioAtMost(UNCHANGED)
        }
    }

    fn ratio(&self) -> Sample {
        self.gateway.over(&self.stock)
    }

    fn verdict(&self) -> String {
        let (met, bound) = match self.goal {
            None => return String::new(),
            Some(Goal::RatioAtMost(bound)) => (self.ratio().median() <= bound, format!("ratio ≤ {bound}")),
            Some(Goal::RatioAtLeast(bound)) => (self.ratio().median() >= bound, format!("ratio ≥ {bound}")),
            Some(Goal::AtMost(bound)) => (self.gateway.median() <= bound, format!("≤ {bound}")),
        };
        format!("{bound}: {}", if met { "met" } else { "MISSED" })
    }

    fn cells(&self) -> [String; 6] {
        let other = |sample: &Sample| if sample.is_empty() { String::new() } else { sample.to_string() };
        [
            self.what.clone(),
            self.unit.to_owned(),
            self.gateway.to_string(),
            other(&self.stock),
            other(&self.ratio()),
            self.verdict(),
        ]
    }
}

/// The rows as a Markdown table whose columns are aligned, so that it reads well on a terminal too.
/// The two columns are named for what was compared: the node and the baseline, or a new and an old node.
pub(crate) fn table(rows: &[Row], [mine, other]: [&str; 2]) -> String {
    let head = ["measure", "unit", mine, other, &format!("{mine}/{other}"), "goal"].map(str::to_owned);
    let cells: Vec<[String; 6]> = std::iter::once(head).chain(rows.iter().map(Row::cells)).collect();
    grid(&cells)
}

/// A Markdown table of lines of equal length, the first of which is the head.
pub(crate) fn grid(cells: &[impl AsRef<[String]>]) -> String {
    let columns = cells.first().map_or(0, |head| head.as_ref().len());
    let width = |column: usize| cells.iter().map(|row| row.as_ref()[column].chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    let mut table = String::new();
    for (line, row) in cells.iter().enumerate() {
        for (cell, width) in row.as_ref().iter().zip(&widths) {
            let _ = write!(table, "| {cell:width$} ");
        }
        table.push_str("|\n");
        if line == 0 {
            for width in &widths {
                let _ = write!(table, "|{}", "-".repeat(width + 2));
            }
            table.push_str("|\n");
        }
    }
    table
}

/// Writes `tests/bench/results/<date>-<name>.md`; returns its path.
/// `load` is what [`load`] said before the run.
pub(crate) fn write_file(
    name: &str,
    repeats: usize,
    rows: &[Row],
    names: [&str; 2],
    load: &str,
    notes: &str,
) -> io::Result<PathBuf> {
    let text = format!(
        "- {repeats} repeats, both by turns; every cell is the median (least to most)\n{notes}\n{}",
        table(rows, names)
    );
    write_text(name, load, &text)
}

/// The same for any text.
pub(crate) fn write_text(name: &str, load: &str, text: &str) -> io::Result<PathBuf> {
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let date = now.get(..10).unwrap_or(&now);
    let command: Vec<String> = std::env::args().skip(1).collect();
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    let text = format!(
        "# {name}, {date}\n\n\
         - machine: {}\n- {load}\n- commit: {}; the node's binary was built {}\n- command: `bench {}` ({build}, {now})\n{text}",
        machine(),
        commit(),
        built_at(),
        command.join(" "),
    );
    let path = workspace().join("tests/bench/results").join(format!("{date}-{name}.md"));
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(&path, text)?;
    Ok(path)
}

fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    // Not `available_parallelism`: this process may be pinned to one of them.
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let memory = first_line("/proc/meminfo");
    let kib: u64 = memory.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or_default();
    let kernel = first_line("/proc/sys/kernel/osrelease");
    let model = model.map_or("unknown CPU", |(_, model)| model);
    format!("{model}, {cores} cores, {} GiB, Linux {kernel}", kib / (1024 * 1024))
}

/// The machine's load by others, and whether it spoils the run. To be asked before the run adds its own.
pub(crate) fn load() -> String {
    let averages = first_line("/proc/loadavg");
    let last_minute: f64 = averages.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(f64::NAN);
    if last_minute < IDLE_LOAD {
        format!("load before the run: {averages}")
    } else {
        format!("BUSY MACHINE, rates and latencies mean little; load before the run: {averages}")
    }
}

/// Memory in bytes that the machine can still give to programs.
pub(crate) fn available_bytes() -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

/// When the binary under test was built: a commit alone does not say that it is of that commit.
fn built_at() -> String {
    let modified = fs::metadata(gorani_tests::binary::node()).and_then(|metadata| metadata.modified());
    modified.map_or_else(
        |_| "at an unknown time".to_owned(),
        |at| humantime::format_rfc3339_seconds(at).to_string(),
    )
}

fn commit() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").current_dir(workspace()).args(args).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else { return "none".to_owned() };
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(changes) if changes.is_empty() => commit,
        _ => format!("{commit} and uncommitted changes"),
    }
}

fn first_line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().lines().next().unwrap_or("unknown").to_owned()
}
