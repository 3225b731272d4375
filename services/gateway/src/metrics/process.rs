//! The process as the system sees it, under the names that every Prometheus client uses: `process_*`. Read from `/proc` at a
//! scrape. Also the lines of the log, counted by level.

use std::{
    fs,
    sync::atomic::{AtomicU64, Ordering},
};

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, NoLabelSet},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{Layer, layer::Context};

/// Ticks of a second in `/proc`: Linux fixes this for programs, whatever the kernel's own are.
const TICKS: f64 = 100.0;

/// Log lines by level, of the whole process: so is the log.
static LOG_MESSAGES: [(&str, AtomicU64); 5] = [
    ("error", AtomicU64::new(0)),
    ("warn", AtomicU64::new(0)),
    ("info", AtomicU64::new(0)),
    ("debug", AtomicU64::new(0)),
    ("trace", AtomicU64::new(0)),
];

/// Counts the lines of the log.
pub struct CountLogMessages;

impl<S: Subscriber> Layer<S> for CountLogMessages {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let index = match *event.metadata().level() {
            Level::ERROR => 0,
            Level::WARN => 1,
            Level::INFO => 2,
            Level::DEBUG => 3,
            Level::TRACE => 4,
        };
        if let Some((_, count)) = LOG_MESSAGES.get(index) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Shows the lines of the log.
#[derive(Debug)]
pub(super) struct LogMessages;

impl prometheus_client::collector::Collector for LogMessages {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let help = "Lines of the log by level";
        let mut metric = encoder.encode_descriptor("log_messages", help, None, MetricType::Counter)?;
        for (level, count) in &LOG_MESSAGES {
            let count = count.load(Ordering::Relaxed);
            metric
                .encode_family(&[("level", *level)])?
                .encode_counter::<NoLabelSet, u64, u64>(&count, None)?;
        }
        Ok(())
    }
}

/// Labels of the program.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct BuildLabel {
    /// Version of the server.
    pub(super) version: &'static str,
    /// `x86_64`, `aarch64`.
    pub(super) arch: &'static str,
}

impl BuildLabel {
    pub(super) const THIS: Self = Self { version: env!("CARGO_PKG_VERSION"), arch: std::env::consts::ARCH };
}

/// Shows the process. What the system does not tell is not shown.
#[derive(Debug)]
pub(super) struct ProcessCollector;

impl prometheus_client::collector::Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let seen = ProcessStatus::read();
        if let Some(seconds) = seen.cpu_seconds {
            let counter = ConstCounter::new(seconds);
            let help = "Seconds of CPU time, of user and system";
            counter.encode(encoder.encode_descriptor(
                "process_cpu_seconds",
                help,
                None,
                MetricType::Counter,
            )?)?;
        }
        let gauges = [
            ("process_resident_memory_bytes", "Resident memory", seen.resident_bytes),
            ("process_virtual_memory_bytes", "Virtual memory", seen.virtual_bytes),
            ("process_open_fds", "Open file descriptors", seen.open_files),
            ("process_max_fds", "Open file descriptors that the process may have", seen.max_files),
            ("process_start_time_seconds", "Start of the process since the Unix epoch", seen.started_at),
        ];
        for (name, help, value) in gauges {
            if let Some(value) = value {
                let gauge = ConstGauge::new(value);
                gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
            }
        }
        Ok(())
    }
}

/// The content of `/proc` about this process.
#[derive(Debug, Default)]
struct ProcessStatus {
    cpu_seconds: Option<f64>,
    started_at: Option<f64>,
    resident_bytes: Option<f64>,
    virtual_bytes: Option<f64>,
    open_files: Option<f64>,
    max_files: Option<f64>,
}

impl ProcessStatus {
    fn read() -> Self {
        let text = |name: &str| fs::read_to_string(name).unwrap_or_default();
        let (stat, status) = (text("/proc/self/stat"), text("/proc/self/status"));
        // The name of the program stands in brackets and may hold anything; what follows it are numbers.
        let fields: Vec<&str> =
            stat.rsplit_once(')').map_or(stat.as_str(), |(_, rest)| rest).split_whitespace().collect();
        // Counted as in proc(5), where the state is field 3.
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let kilobytes = |name| number_after(&status, name).map(|kilobytes| kilobytes * 1024.0);
        let booted_at = number_after(&text("/proc/stat"), "btime ");
        Self {
            cpu_seconds: field(14).zip(field(15)).map(|(user, system)| (user + system) / TICKS),
            started_at: field(22).zip(booted_at).map(|(ticks, booted_at)| booted_at + ticks / TICKS),
            resident_bytes: kilobytes("VmRSS:"),
            virtual_bytes: kilobytes("VmSize:"),
            open_files: open_files(),
            max_files: number_after(&text("/proc/self/limits"), "Max open files"),
        }
    }
}

/// The first number behind a name at the beginning of a line.
fn number_after(text: &str, name: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Open file descriptors. Since Linux 6.2 the size of the directory is their number; before that they have to be listed.
#[allow(clippy::cast_precision_loss, reason = "there are fewer than 2^53 files")]
fn open_files() -> Option<f64> {
    let directory = "/proc/self/fd";
    match fs::metadata(directory).ok()?.len() {
        0 => Some(fs::read_dir(directory).ok()?.count() as f64),
        open => Some(open as f64),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_process_is_seen_as_it_is() {
        let before = ProcessStatus::read();
        let files: Vec<_> = (0..20).map(|_| fs::File::open("/proc/self/stat").unwrap()).collect();
        let seen = ProcessStatus::read();
        assert!(seen.open_files.unwrap() >= 20.0);
        assert!(seen.max_files.unwrap() >= seen.open_files.unwrap());
        assert!(seen.resident_bytes.unwrap() > 1e6 && seen.virtual_bytes > seen.resident_bytes);
        assert!(seen.cpu_seconds.unwrap() >= before.cpu_seconds.unwrap());
        #[allow(clippy::cast_precision_loss, reason = "a date")]
        let now = crate::clock::unix_ms() as f64 / 1000.0;
        assert!(seen.started_at.unwrap() > 1.6e9 && seen.started_at.unwrap() <= now + 2.0);
        drop(files);
    }
}
