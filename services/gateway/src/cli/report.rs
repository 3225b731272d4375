//! `gorani report`: one archive for a report of a fault. No secrets, no payloads: settings are those that operators may see, the event log
//! has no contents. `docs/commands.md`.

use std::{
    env,
    fmt::Write as _,
    fs::OpenOptions,
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use clap::Args;
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use tar::{Builder, Header};

use super::{
    admin_client::{AdminCallFailed, AdminClient, ServerArguments},
    doctor::{DoctorArguments, Finding},
    output::CommandOutput,
};
use crate::{
    clock::unix_ms,
    settings::{Settings, visible::visible},
};

/// Reads of the admin API that go into it: name, meaning.
const READS: [(&str, &str); 7] = [
    ("overview", "numbers of the cluster and of its last minutes"),
    ("nodes", "each node: version, uptime, load"),
    ("broker", "the broker as each node sees it"),
    ("settings", "settings of the running nodes, without secrets"),
    ("slow", "clients that read too slowly: users, addresses, channels; no payloads"),
    ("disconnects", "the last disconnects: users, addresses, codes; no payloads"),
    ("logs", "the last lines of the log"),
];

/// Arguments of `gorani report`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  gorani report\n  gorani report --output /tmp/fault.tar.gz --interval 30s\n\nExit codes: 0 written, 1 not, 2 bad use, 78 bad settings. A node that does not answer is noted in the archive."
)]
pub(super) struct ReportArguments {
    /// The archive; an existing file is never overwritten.
    #[arg(long, short)]
    output: Option<PathBuf>,
    /// Time between the two reads of the counters.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    interval: Duration,
    #[command(flatten)]
    server: ServerArguments,
}

/// A file of the archive.
struct ReportFile {
    name: String,
    meaning: &'static str,
    text: String,
}

impl ReportArguments {
    /// Gathers and writes; the list is what is to be printed.
    pub(super) fn run(self, settings: &Settings) -> Result<CommandOutput, AdminCallFailed> {
        let now = unix_ms();
        let output =
            self.output.clone().unwrap_or_else(|| PathBuf::from(format!("gorani-report-{now}.tar.gz")));
        let files = self.gather(settings)?;
        let list = list(&files);
        write(&output, now / 1000, &list, &files)
            .map_err(|error| AdminCallFailed::Failed(format!("{}: {error}", output.display())))?;
        let text = format!("{list}written to {}\n", output.display());
        Ok(CommandOutput { text, notes: String::new(), code: 0 })
    }

    fn gather(self, settings: &Settings) -> Result<Vec<ReportFile>, AdminCallFailed> {
        let client = AdminClient::new(&self.server, settings)?;
        let counters = || client.metrics().unwrap_or_else(|error| format!("# {error}\n"));
        let mut files = vec![
            file("version.json", "version of this command, and the system", &version()),
            file(
                "settings-here.json",
                "settings that the command read here, without secrets",
                &json!(visible(settings)),
            ),
        ];
        let first = counters();
        let before = unix_ms();
        for (call, meaning) in READS {
            let answer =
                client.get(call, &[]).unwrap_or_else(|error| json!({"not_available": error.to_string()}));
            files.push(file(&format!("{call}.json"), meaning, &answer));
        }
        let passed = Duration::from_millis(unix_ms().saturating_sub(before));
        #[expect(clippy::disallowed_methods, reason = "a command has no workers")]
        thread::sleep(self.interval.saturating_sub(passed));
        let second = counters();
        drop(client);
        let texts = [("metrics-1.txt", first), ("metrics-2.txt", second)];
        files.extend(texts.map(|(name, text)| ReportFile {
            name: name.to_owned(),
            meaning: "all counters; the second read is an interval later",
            text,
        }));
        let findings = DoctorArguments::for_report(self.server).findings(settings)?;
        files.push(ReportFile {
            name: "doctor.jsonl".to_owned(),
            meaning: "what gorani doctor --production finds here",
            text: findings.iter().map(Finding::line).collect(),
        });
        Ok(files)
    }
}

fn file(name: &str, meaning: &'static str, value: &Value) -> ReportFile {
    let text = serde_json::to_string_pretty(value).unwrap_or_default() + "\n";
    ReportFile { name: name.to_owned(), meaning, text }
}

fn version() -> Value {
    let system = std::fs::read_to_string("/proc/version").unwrap_or_default();
    json!({
        "gorani": env!("CARGO_PKG_VERSION"),
        "features": {"admin": cfg!(feature = "admin"), "otlp": cfg!(feature = "otlp"), "top": cfg!(feature = "top")},
        "system": system.trim(),
        "architecture": env::consts::ARCH,
        "processors": thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "time": unix_ms(),
    })
}

/// The table of contents.
fn list(files: &[ReportFile]) -> String {
    let mut text = String::from(
        "This archive holds no secrets and no payloads. User ids, addresses and names of channels are in it:\n",
    );
    for ReportFile { name, meaning, text: content } in files {
        let _written = writeln!(text, "  {name:20} {:>9} bytes  {meaning}", content.len());
    }
    text
}

fn write(output: &Path, time_s: u64, list: &str, files: &[ReportFile]) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(output)?;
    let mut archive = Builder::new(GzEncoder::new(file, Compression::default()));
    let mut append = |name: &str, text: &str| {
        let mut header = Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(time_s);
        archive.append_data(&mut header, format!("gorani-report/{name}"), text.as_bytes())
    };
    append("CONTENTS.txt", list)?;
    for ReportFile { name, text, .. } in files {
        append(name, text)?;
    }
    archive.into_inner()?.finish()?.sync_all()
}
