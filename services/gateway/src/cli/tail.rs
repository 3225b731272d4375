//! `gorani tail`: what comes through a channel and what happens to a user's sessions, line by line as it comes. `docs/commands.md`.
//!
//! It ends when its time is over, at SIGINT, and when nobody reads its output any more; a line on standard error sums it up.

use std::{
    io::{self, Write as _},
    thread,
    time::Duration,
};

use clap::Args;
use rustix::{
    event::{PollFd, PollFlags, poll},
    time::Timespec,
};
use serde_json::Value;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval},
};

use super::{
    admin_client::{AdminCallFailed, AdminClient, ServerArguments},
    streamed::StreamedLines,
    terminal::{Terminal, Tone, cell, duration, printable, time},
};
use crate::settings::Settings;

/// The node shows every 10 seconds that it is there; one that is silent for so long is not.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Lines that wait to be printed.
const WAITING_LINES: usize = 64;
/// The reader of the output is looked for so often.
const READER_EVERY: Duration = Duration::from_millis(200);
/// Fields of an event of a session, in the order of its line.
const HAPPENED: [&str; 11] = [
    "command",
    "channel",
    "method",
    "client",
    "node",
    "transport",
    "address",
    "code",
    "reason",
    "offset",
    "recovery",
];
/// Exit code where nothing came.
const EXIT_NOTHING: u8 = 1;

/// Arguments of `gorani tail`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  gorani tail chat:lobby\n  gorani tail chat:lobby --since -10m --contents\n  gorani tail --user 42 --json\n\nExit codes: 0 something came, 1 nothing came or failure, 2 bad use, 3 no node reached, 4 refused."
)]
pub(super) struct TailArguments {
    /// The channel; with --user beside it, what happens to this user in it as well.
    #[arg(required_unless_present = "user")]
    channel: Option<String>,
    /// Follow this user's sessions, on all nodes.
    #[arg(long)]
    user: Option<String>,
    /// First what has been: publications after this offset, or all of so long, such as -10m.
    #[arg(long, value_name = "OFFSET|-TIME", allow_hyphen_values = true)]
    since: Option<String>,
    /// Events a second at most, of the whole cluster; others are counted.
    #[arg(long, default_value_t = 100)]
    rate: u64,
    /// With the data of publications; needs the right contents.
    #[arg(long)]
    contents: bool,
    /// The tail ends after so long, at most 1h.
    #[arg(long = "for", value_name = "TIME", default_value = "10m")]
    length: String,
    /// Joins and leaves as well, where the channel has them.
    #[arg(long)]
    joins: bool,
    /// One object a line, as the admin API gives it.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArguments,
}

/// The cause for which the output ended.
enum TailEnd {
    /// The node ended it, for this reason.
    Ended(String),
    Interrupted,
    /// Nobody reads the output.
    NoReader,
}

/// The numbers of a tail.
#[derive(Debug, Default)]
struct TailCounts {
    events: u64,
    skipped: u64,
}

impl TailArguments {
    fn parameters(&self) -> Vec<(&'static str, String)> {
        let named = [
            ("channel", self.channel.clone()),
            ("user", self.user.clone()),
            ("since", self.since.clone()),
            ("rate", Some(self.rate.to_string())),
            ("for", Some(self.length.clone())),
            ("contents", self.contents.then(|| "1".to_owned())),
            ("joins", self.joins.then(|| "1".to_owned())),
        ];
        named.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// Prints lines as they come; the exit code.
    #[allow(clippy::print_stderr, reason = "the sum of a command goes to its terminal")]
    pub(super) fn run(&self, settings: &Settings) -> Result<u8, AdminCallFailed> {
        let client = AdminClient::new(&self.server, settings)?;
        let parameters = self.parameters();
        let parameters: Vec<_> = parameters.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let lines = client.stream("tail", &parameters, SILENCE_MAX)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| AdminCallFailed::Failed(error.to_string()))?;
        let (began, mut counts) = (Instant::now(), TailCounts::default());
        let cause = match runtime.block_on(self.print(lines, &mut counts))? {
            TailEnd::Ended(cause) => cause,
            TailEnd::Interrupted => "interrupted".to_owned(),
            // Who closed the pipe has what they wanted.
            TailEnd::NoReader => return Ok(0),
        };
        let TailCounts { events, skipped } = counts;
        let took = duration(&u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX).into());
        eprintln!("gorani: {events} events in {took}, {skipped} skipped; ended: {}", printable(&cause));
        Ok(if events == 0 { EXIT_NOTHING } else { 0 })
    }

    async fn print(
        &self,
        mut lines: StreamedLines,
        counts: &mut TailCounts,
    ) -> Result<TailEnd, AdminCallFailed> {
        let failed = |error: io::Error| AdminCallFailed::Failed(error.to_string());
        let mut interrupts = signal(SignalKind::interrupt()).map_err(failed)?;
        let (sender, mut received) = mpsc::channel(WAITING_LINES);
        // It ends with the process, or with the answer.
        thread::spawn(move || {
            loop {
                let line = lines.next(SILENCE_MAX);
                let is_last = !matches!(line, Ok(Some(_)));
                if sender.blocking_send(line).is_err() || is_last {
                    return;
                }
            }
        });
        let mut looks = interval(READER_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let terminal = Terminal::of_stdout();
        loop {
            let line = tokio::select! {
                line = received.recv() => line.unwrap_or(Ok(None)),
                _ = interrupts.recv() => return Ok(TailEnd::Interrupted),
                _ = looks.tick() => {
                    if has_reader() {
                        continue;
                    }
                    return Ok(TailEnd::NoReader);
                }
            };
            let line = match line {
                Ok(Some(line)) => line,
                Ok(None) => {
                    let ended = io::Error::from(io::ErrorKind::UnexpectedEof);
                    return Err(AdminCallFailed::Unreachable("the node ended the tail".to_owned(), ended));
                }
                Err(error) => {
                    return Err(AdminCallFailed::Unreachable("the node is silent".to_owned(), error));
                }
            };
            // An empty one shows that the node is there.
            let Ok(event) = serde_json::from_str::<Value>(&line) else { continue };
            counts.note(&event);
            let shown = if self.json { Some(line) } else { text(&event, terminal) };
            if let Some(shown) = shown
                && write(&shown).is_err()
            {
                return Ok(TailEnd::NoReader);
            }
            if event["kind"] == "ended" {
                return Ok(TailEnd::Ended(event["cause"].as_str().unwrap_or_default().to_owned()));
            }
        }
    }
}

fn write(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// False once the other end of a pipe is closed.
fn has_reader() -> bool {
    let stdout = io::stdout();
    let mut watched = [PollFd::new(&stdout, PollFlags::empty())];
    match poll(&mut watched, Some(&Timespec::default())) {
        Ok(_) => !watched.iter().any(|one| one.revents().intersects(PollFlags::ERR | PollFlags::NVAL)),
        Err(_) => true,
    }
}

impl TailCounts {
    fn note(&mut self, event: &Value) {
        match event["kind"].as_str() {
            Some("began" | "ended" | "epoch" | "forgotten" | "gap" | "nodes") | None => {}
            Some("skipped") => self.skipped += event["skipped"].as_u64().unwrap_or_default(),
            Some(_) => self.events += 1,
        }
    }
}

/// A line for people; nothing where there is nothing to tell them.
fn text(event: &Value, terminal: Terminal) -> Option<String> {
    let kind = event["kind"].as_str().unwrap_or_default();
    let line = match kind {
        "publication" => publication(event),
        "began" => {
            let since = event["known_since"].as_u64()?;
            return Some(terminal.paint(
                Tone::Warning,
                &format!("the nodes remember events since {} only", time(&since.into())),
            ));
        }
        "skipped" => {
            let text = format!("{} skipped ({})", cell(&event["skipped"]), cell(&event["cause"]));
            return Some(terminal.paint(Tone::Warning, &text));
        }
        "forgotten" => {
            let (since, known_since) = (time(&event["since"]), time(&event["known_since"]));
            let text = format!(
                "events on {} from {since} to {known_since} may be missing: the node does not remember them",
                cell(&event["node"])
            );
            return Some(terminal.paint(Tone::Warning, &text));
        }
        "gap" => return Some(terminal.paint(Tone::Warning, "events may be lost here: the broker was away")),
        "epoch" => {
            let text = format!("the stream begins anew: epoch {}", cell(&event["epoch"]));
            return Some(terminal.paint(Tone::Warning, &text));
        }
        "nodes" => {
            let silent = cell(&event["silent"]);
            let text = if silent.is_empty() {
                "all nodes answer again".to_owned()
            } else {
                format!("no answer from {silent}: what happens there is missing")
            };
            return Some(terminal.paint(Tone::Warning, &text));
        }
        "ended" => return None,
        kind => happened(kind, event),
    };
    Some(terminal.cut(&line))
}

fn publication(event: &Value) -> String {
    let mut parts = vec![time(&event["at"])];
    if event["offset"].is_u64() {
        parts.push(format!("#{}", event["offset"]));
    }
    if event["age_ms"].is_u64() {
        parts.push(format!("+{}", duration(&event["age_ms"])));
    }
    parts.push(format!("{} B", cell(&event["bytes"])));
    parts.push(match &event["by"] {
        Value::Null => "by backend".to_owned(),
        by => format!("by {}", sender(by)),
    });
    if let Some(matched) = event["matched"].as_object() {
        let count = |count: &Value| if count.is_null() { "?".to_owned() } else { cell(count) };
        let nodes =
            matched.iter().map(|(node, subscribers)| format!("{} {}", printable(node), count(subscribers)));
        parts.push(format!("to {}", nodes.collect::<Vec<_>>().join(", ")));
    }
    for tag in event["tags"].as_array().into_iter().flatten() {
        parts.push(format!("{}={}", cell(&tag[0]), cell(&tag[1])));
    }
    if let Some(data) = event.get("data") {
        let data = data.as_str().map_or_else(|| printable(&data.to_string()), printable);
        parts.push(if event["data_cut"] == true { format!("{data}…") } else { data });
    }
    parts.join("  ")
}

fn sender(by: &Value) -> String {
    format!("{}/{}", cell(&by["user"]), cell(&by["client"]))
}

/// The text of an event of a session or of a subscription.
fn happened(kind: &str, event: &Value) -> String {
    let mut parts = vec![time(&event["at"]), printable(kind)];
    if event["by"].is_object() {
        parts.push(sender(&event["by"]));
    }
    for name in HAPPENED {
        match &event[name] {
            Value::Null => {}
            Value::String(text) if text.is_empty() => {}
            value => parts.push(format!("{name}={}", cell(value))),
        }
    }
    if event["connected_ms"].is_u64() {
        parts.push(format!("after {}", duration(&event["connected_ms"])));
    }
    parts.join("  ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use clap::Parser;
    use serde_json::json;

    use super::*;

    const PIPE: Terminal = Terminal { width: None, has_color: false };

    #[derive(Debug, Parser)]
    struct TailCommandLine {
        #[command(flatten)]
        tail: TailArguments,
    }

    fn parsed(arguments: &[&str]) -> Result<TailArguments, clap::Error> {
        let command = std::iter::once("tail").chain(arguments.iter().copied());
        TailCommandLine::try_parse_from(command).map(|command| command.tail)
    }

    #[test]
    fn a_tail_names_a_channel_or_a_user_and_a_time_ago_has_a_minus() {
        let arguments = parsed(&["a:b", "--since", "-10m", "--joins", "--contents", "--rate", "5"]).unwrap();
        let expected = [
            ("channel", "a:b"),
            ("since", "-10m"),
            ("rate", "5"),
            ("for", "10m"),
            ("contents", "1"),
            ("joins", "1"),
        ];
        let parameters = arguments.parameters();
        let parameters: Vec<_> = parameters.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(parameters, expected);
        assert!(parsed(&["--user", "42"]).is_ok() && parsed(&["a", "--user", "42"]).is_ok());
        assert!(parsed(&[]).is_err() && parsed(&["a", "--rate", "x"]).is_err());
    }

    #[test]
    fn a_line_tells_a_person_what_the_object_says() {
        let event = json!({
            "kind": "publication", "at": 1000, "offset": 7, "age_ms": 3, "bytes": 12, "by": null,
            "tags": [["a", "b\u{1b}"]], "matched": {"n1": 2, "n2": null}, "data": {"x": 1},
        });
        let expected =
            "1970-01-01T00:00:01.000Z  #7  +3ms  12 B  by backend  to n1 2, n2 ?  a=b\\u{1b}  {\"x\":1}";
        assert_eq!(text(&event, PIPE).unwrap(), expected);
        let event = json!({"kind": "disconnect", "at": 0, "node": "n1", "client": "c", "code": 3008, "reason": "", "connected_ms": 1500});
        let expected = "1970-01-01T00:00:00.000Z  disconnect  client=c  node=n1  code=3008  after 1.5s";
        assert_eq!(text(&event, PIPE).unwrap(), expected);
        let event = json!({"kind": "command", "at": 0, "node": "n1", "client": "c", "command": "history", "channel": "a", "code": 103});
        let expected =
            "1970-01-01T00:00:00.000Z  command  command=history  channel=a  client=c  node=n1  code=103";
        assert_eq!(text(&event, PIPE).unwrap(), expected);
        let skipped = json!({"kind": "skipped", "skipped": 4900, "cause": "rate"});
        assert_eq!(text(&skipped, PIPE).unwrap(), "4900 skipped (rate)");
        let forgotten = json!({"kind": "forgotten", "node": "n1", "since": 0, "known_since": 1000});
        let said = "events on n1 from 1970-01-01T00:00:00.000Z to 1970-01-01T00:00:01.000Z may be missing: the node does not remember them";
        assert_eq!(text(&forgotten, PIPE).unwrap(), said);
        assert_eq!(text(&json!({"kind": "ended"}), PIPE), None);
        assert_eq!(text(&json!({"kind": "began", "known_since": null}), PIPE), None);
    }

    #[test]
    fn events_are_counted_and_what_is_about_the_tail_is_not() {
        let mut counts = TailCounts::default();
        for kind in ["began", "publication", "join", "gap", "connect", "epoch", "forgotten", "nodes", "ended"]
        {
            counts.note(&json!({"kind": kind, "skipped_total": 9}));
        }
        counts.note(&json!({"kind": "skipped", "skipped": 4}));
        assert_eq!((counts.events, counts.skipped), (3, 4));
    }
}
