//! `gorani reload`: has a node, or all of them, read the settings again. The command shows first what would change, and changes nothing where a
//! node would refuse. `docs/commands.md`.

use std::fmt::Write as _;

use clap::Args;
use serde_json::{Value, json};

use super::{
    admin_client::{AdminCallFailed, AdminClient, ServerArguments},
    output::CommandOutput,
    terminal::{Terminal, Tone, cell, printable},
};
use crate::settings::Settings;

/// Arguments of `gorani reload`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  gorani reload --dry-run\n  gorani reload --all\n  gorani reload --all --enforce --dry-run\n\nExit codes: 0 done, 1 a node refuses the settings or does not answer, 2 bad use, 3 no node reached, 4 refused."
)]
pub(super) struct ReloadArguments {
    /// Only show what would change.
    #[arg(long)]
    dry_run: bool,
    /// End subscriptions that the settings no longer permit, with 2500 over 20 s. What tokens, proxies and the backend granted stays.
    /// With --dry-run only their number is shown.
    #[arg(long)]
    enforce: bool,
    /// All nodes of the cluster; without it the one that is asked.
    #[arg(long)]
    all: bool,
    /// One object a line, for each node: node, dry_run, changed, error, report.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArguments,
}

impl ReloadArguments {
    /// Asks; what is to be printed.
    pub(super) fn run(&self, settings: &Settings) -> Result<CommandOutput, AdminCallFailed> {
        let client = AdminClient::new(&self.server, settings)?;
        let ask = |dry_run: bool| {
            let body = json!({"dry_run": dry_run, "this_node": !self.all, "enforce": self.enforce});
            client.post("actions/reload", &body.to_string())
        };
        let before = ask(true)?;
        let is_refused = rows(&before).iter().any(|row| trouble(row).is_some());
        if self.dry_run || is_refused {
            let mut text = self.text(&before, true);
            if is_refused && !self.dry_run && !self.json {
                text.push_str("nothing was changed\n");
            }
            return Ok(CommandOutput { text, notes: String::new(), code: u8::from(is_refused) });
        }
        let after = ask(false)?;
        let is_failed = rows(&after).iter().any(|row| trouble(row).is_some());
        let text = if self.json {
            self.text(&after, false)
        } else {
            let ended = if self.enforce { ended(&after) } else { String::new() };
            self.text(&before, true) + &done(&after, Terminal::of_stdout()) + &ended
        };
        Ok(CommandOutput { text, notes: String::new(), code: u8::from(is_failed) })
    }

    fn text(&self, answer: &Value, dry_run: bool) -> String {
        if self.json {
            return lines(answer, dry_run);
        }
        let mut text = differences(answer, Terminal::of_stdout());
        if let (true, Some(count)) =
            (self.enforce && self.dry_run, answer["result"]["not_permitted"].as_u64())
        {
            let _written = writeln!(text, "{count} subscriptions would end");
        }
        text
    }
}

fn rows(answer: &Value) -> &[Value] {
    answer["result"]["by_node"].as_array().map_or(&[], Vec::as_slice)
}

/// Why a node did not do it.
fn trouble(row: &Value) -> Option<&str> {
    row["error"].as_str()
}

fn lines(answer: &Value, dry_run: bool) -> String {
    let lines = rows(answer).iter().map(|row| {
        let line = json!({
            "node": row["name"], "dry_run": dry_run, "changed": row["count"], "error": row["error"],
            "report": row["report"],
        });
        format!("{line}\n")
    });
    lines.collect()
}

/// The differences. Nodes with the same ones share a paragraph.
fn differences(answer: &Value, terminal: Terminal) -> String {
    let mut paragraphs: Vec<(Vec<String>, String)> = Vec::new();
    for row in rows(answer) {
        let text = match trouble(row) {
            Some(error) => format!("  {}\n", terminal.paint(Tone::Bad, &printable(error))),
            None => report(&row["report"]),
        };
        match paragraphs.iter_mut().find(|(_, other)| *other == text) {
            Some((names, _)) => names.push(cell(&row["name"])),
            None => paragraphs.push((vec![cell(&row["name"])], text)),
        }
    }
    paragraphs
        .iter()
        .map(|(names, text)| format!("{}\n{text}", terminal.paint(Tone::Strong, &names.join(", "))))
        .collect()
}

fn report(report: &Value) -> String {
    let list = |name: &str| report[name].as_array().cloned().unwrap_or_default();
    let mut text = String::new();
    for change in list("live") {
        let _written = writeln!(text, "  {}", difference(&change));
    }
    for certificate in list("certificates") {
        let (listener, hash) = (cell(&certificate["listener"]), cell(&certificate["fingerprint"]));
        let _written = writeln!(text, "  {listener}: certificate {hash}");
    }
    for effect in list("effects") {
        let _written = writeln!(text, "  {}", cell(&effect));
    }
    for change in list("restart") {
        let _written = writeln!(text, "  waits for a restart: {}", difference(&change));
    }
    if text.is_empty() {
        text.push_str("  nothing differs from what the node runs with\n");
    }
    text
}

/// One setting that differs. Of a secret there is no value.
fn difference(change: &Value) -> String {
    let key = cell(&change["key"]);
    match (change.get("before"), change.get("after")) {
        (Some(before), Some(after)) => {
            format!("{key}: {} → {}", printable(&before.to_string()), printable(&after.to_string()))
        }
        (None, Some(Value::String(after))) => format!("{key}: {}", printable(after)),
        _ => format!("{key}: changed"),
    }
}

fn done(answer: &Value, terminal: Terminal) -> String {
    let mut text = String::new();
    for row in rows(answer) {
        let (name, count) = (cell(&row["name"]), cell(&row["count"]));
        let _written = match trouble(row) {
            Some(error) => {
                writeln!(text, "{name}: {}", terminal.paint(Tone::Bad, &printable(error)))
            }
            None => writeln!(text, "{name}: {count} put in place"),
        };
    }
    text
}

/// The number of subscriptions that end.
fn ended(answer: &Value) -> String {
    format!("{} subscriptions end over 20 s\n", cell(&answer["result"]["ended"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Terminal = Terminal { width: None, has_color: false };

    #[test]
    fn nodes_with_the_same_differences_share_a_paragraph_and_a_secret_has_no_value() {
        let report = json!({
            "live": [{"key": "log.level", "before": "info", "after": "de\u{1b}bug"}, {"key": "api.keys"}],
            "restart": [{"key": "http.workers", "before": 1, "after": 2}],
        });
        let row = |name: &str| json!({"name": name, "count": 2, "report": report});
        let answer =
            json!({"result": {"by_node": [row("n1"), {"name": "n2", "error": "no answer"}, row("n3")]}});
        let expected = "n1, n3\n  log.level: \"info\" → \"de\\u001bbug\"\n  api.keys: changed\n  \
                        waits for a restart: http.workers: 1 → 2\nn2\n  no answer\n";
        assert_eq!(differences(&answer, PLAIN), expected);
        assert_eq!(done(&answer, PLAIN), "n1: 2 put in place\nn2: no answer\nn3: 2 put in place\n");
    }
}
