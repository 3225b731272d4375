//! `gorani publish`: one message to a channel; with `--trace` what became of it, by node. `docs/explain.md`.

use std::{
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};

use super::{
    admin_client::{AdminCallFailed, AdminClient, ServerArguments},
    output::{CommandOutput, missing_nodes},
    terminal::{Terminal, Tone, cell, printable},
};
use crate::settings::Settings;

/// The nodes are asked so often what they have noted.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// Single deliveries of a node that are shown.
const SHOWN_MAX: usize = 10;

/// Arguments of `gorani publish`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  gorani publish chat:lobby '{\"text\":\"hello\"}'\n  gorani publish --trace chat:lobby '\"hello\"'\n  gorani publish --dry-run chat:lobby 1\n\nExit codes: 0 published, 1 failure, or with --trace nobody got it or somebody did not, 2 bad use, 3 no node reached, 4 refused."
)]
pub(super) struct PublishArguments {
    /// The channel.
    channel: String,
    /// The message, as JSON.
    data: String,
    /// Follow what becomes of it, and print that by node.
    #[arg(long, conflicts_with = "dry_run")]
    trace: bool,
    /// Follow it for so long at most.
    #[arg(long = "for", value_name = "TIME", default_value = "3s", value_parser = humantime::parse_duration)]
    lasts: Duration,
    /// Publish nothing, and count the subscribers by node.
    #[arg(long)]
    dry_run: bool,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArguments,
}

/// The request. The message goes as it was written.
#[derive(Serialize)]
struct PublishBody<'a> {
    channel: &'a str,
    data: &'a RawValue,
    dry_run: bool,
    /// Nodes of an older version do not know the field.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    trace: bool,
}

impl PublishArguments {
    /// Publishes; what is to be printed.
    pub(super) fn run(&self, settings: &Settings) -> Result<CommandOutput, AdminCallFailed> {
        let client = AdminClient::new(&self.server, settings)?;
        let published = client.post("actions/publish", &self.request()?)?;
        let result = &published["result"];
        let Some(id) = result["trace"].as_str().filter(|_| self.trace) else {
            let text = if self.json { format!("{result}\n") } else { self.counted(result) };
            return Ok(CommandOutput { text, notes: missing_nodes(&published), code: 0 });
        };
        let traced = self.follow(&client, id, result["total"].as_u64().unwrap_or_default());
        // It is not needed any more, even if it could not be read. If it cannot be ended now, it ends by itself.
        let _ended = client.post("actions/trace", &json!({"end": id}).to_string());
        let traced = traced?;
        let found = &traced["result"];
        let text = if self.json {
            let mut whole = found.clone();
            if let Some(fields) = whole.as_object_mut() {
                fields.insert("offset".to_owned(), result["offset"].clone());
            }
            format!("{whole}\n")
        } else {
            tree(&self.channel, &result["offset"], &traced, Terminal::of_stdout())
        };
        let code = u8::from(!is_success(&found["counts"]));
        Ok(CommandOutput { text, notes: missing_nodes(&traced), code })
    }

    fn request(&self) -> Result<String, AdminCallFailed> {
        let data = serde_json::from_str(&self.data).map_err(|error| {
            AdminCallFailed::Use(format!("DATA is not JSON ({error}); a text stands in quotes: '\"hello\"'"))
        })?;
        let body = PublishBody { channel: &self.channel, data, dry_run: self.dry_run, trace: self.trace };
        serde_json::to_string(&body).map_err(|error| AdminCallFailed::Failed(error.to_string()))
    }

    fn counted(&self, result: &Value) -> String {
        let total = cell(&result["total"]);
        let nodes = by_name(&result["by_node"]);
        let nodes = nodes.iter().map(|node| format!("{} {}", cell(&node["name"]), cell(&node["count"])));
        let nodes = nodes.collect::<Vec<_>>().join(", ");
        let channel = printable(&self.channel);
        if self.dry_run {
            format!("{channel}: {total} subscribers would get it ({nodes})\n")
        } else {
            let offset = cell(&result["offset"]);
            format!("{channel}: published at offset {offset}, {total} subscribers ({nodes})\n")
        }
    }

    /// Reads the trace until all subscribers are accounted for, or its time is over.
    fn follow(&self, client: &AdminClient<'_>, id: &str, subscribers: u64) -> Result<Value, AdminCallFailed> {
        let end = Instant::now() + self.lasts;
        loop {
            let traced = client.get("traces", &[("id", id)])?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || is_over(&traced["result"], subscribers) {
                return Ok(traced);
            }
            #[expect(clippy::disallowed_methods, reason = "a command has no workers")]
            thread::sleep(ASK_EVERY.min(left));
        }
    }
}

/// Nodes in the order of their names.
fn by_name(nodes: &Value) -> Vec<&Value> {
    let mut nodes: Vec<&Value> = nodes.as_array().into_iter().flatten().collect();
    nodes.sort_by(|one, other| one["name"].as_str().cmp(&other["name"].as_str()));
    nodes
}

fn deliveries(node: &Value) -> &[Value] {
    node["deliveries"].as_array().map_or(&[], Vec::as_slice)
}

/// True if all subscribers are accounted for, and the bytes of those that are followed have left.
fn is_over(traced: &Value, subscribers: u64) -> bool {
    let matched = traced["counts"]["matched"].as_u64().unwrap_or_default();
    let nodes = traced["by_node"].as_array().map_or(&[][..], Vec::as_slice);
    let count = |outcomes: &[&str]| {
        let all = nodes.iter().flat_map(deliveries);
        all.filter(|one| one["outcome"].as_str().is_some_and(|outcome| outcomes.contains(&outcome))).count()
    };
    matched >= subscribers.max(1) && count(&["written"]) >= count(&["whole", "part"])
}

/// True if somebody got it, and nobody that should have it did not.
fn is_success(counts: &Value) -> bool {
    let count = |name: &str| counts[name].as_u64().unwrap_or_default();
    let failed: u64 = ["broken", "lost", "overflow"].into_iter().map(count).sum();
    count("whole") + count("part") > 0 && failed == 0
}

/// The publication, its nodes, and below each the deliveries that were noted one by one: failures first, then the slowest.
fn tree(channel: &str, offset: &Value, traced: &Value, terminal: Terminal) -> String {
    let result = &traced["result"];
    let whole = summary(&result["counts"]);
    let mut text = format!("{} offset {}: {whole}\n", printable(channel), cell(offset));
    let nodes = by_name(&result["by_node"]);
    let mut silent = by_name(&traced["nodes"]);
    silent.retain(|node| node["answered"] == false);
    let last = (nodes.len() + silent.len()).saturating_sub(1);
    for (index, node) in nodes.iter().enumerate() {
        let (branch, trunk) = if index == last { ("└─", "  ") } else { ("├─", "│ ") };
        let name = cell(&node["name"]);
        let counts = if node["traces"] == true {
            summary(&node["counts"])
        } else {
            "takes no part in the trace: it joined later".to_owned()
        };
        text.push_str(&format!("{branch} {name}: {counts}\n"));
        for (arrow, tone, line) in lines_of(node) {
            text.push_str(&format!("{trunk}  {} {line}\n", terminal.paint(tone, arrow)));
        }
    }
    for (index, node) in silent.iter().enumerate() {
        let branch = if nodes.len() + index == last { "└─" } else { "├─" };
        text.push_str(&format!("{branch} {}: did not answer\n", cell(&node["name"])));
    }
    text
}

/// The counts that are not zero.
fn summary(counts: &Value) -> String {
    let count = |name: &str| counts[name].as_u64().unwrap_or_default();
    if count("matched") == 0 {
        return "no subscriber".to_owned();
    }
    let names = ["whole", "part", "duplicate", "excluded", "held_back", "broken", "lost", "overflow"];
    let parts = names.into_iter().filter(|name| count(name) > 0);
    let parts: Vec<String> = parts.map(|name| format!("{} {name}", count(name))).collect();
    format!(
        "{} matched ({}), {} B in {} µs",
        count("matched"),
        parts.join(", "),
        count("bytes"),
        count("micros")
    )
}

/// Single deliveries of a node as lines: failures and what waits, then those whose bytes left, the slowest first.
fn lines_of(node: &Value) -> Vec<(&'static str, Tone, String)> {
    let mut failed = Vec::new();
    let mut written: Vec<&Value> = Vec::new();
    for one in deliveries(node) {
        let (arrow, tone) = match one["outcome"].as_str().unwrap_or_default() {
            "written" => {
                written.push(one);
                continue;
            }
            "whole" | "part" | "released" => continue,
            "held_back" | "gap" => ("--|", Tone::Warning),
            "duplicate" | "excluded" => ("--=", Tone::Warning),
            _ => ("--X", Tone::Bad),
        };
        failed.push((arrow, tone, format!("{}: {}", whom(one), cell(&one["outcome"]))));
    }
    written.sort_by_key(|one| std::cmp::Reverse(one["detail"].as_u64()));
    let written = written.into_iter().map(|one| {
        ("-->", Tone::Good, format!("{}: its bytes left after {} ms", whom(one), cell(&one["detail"])))
    });
    failed.into_iter().take(SHOWN_MAX).chain(written.take(SHOWN_MAX)).collect()
}

fn whom(delivery: &Value) -> String {
    match (delivery["client"].as_str(), delivery["user"].as_str()) {
        (Some(""), _) => "all subscribers".to_owned(),
        (_, Some("")) => format!("client {}", cell(&delivery["client"])),
        _ => format!("client {} of user {}", cell(&delivery["client"]), cell(&delivery["user"])),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        publish: PublishArguments,
    }

    fn parsed(arguments: &[&str]) -> PublishArguments {
        Command::try_parse_from(std::iter::once("x").chain(arguments.iter().copied())).unwrap().publish
    }

    #[test]
    fn the_message_is_json_and_what_is_none_is_said_to_be_bad_use() {
        let request = parsed(&["--trace", "a", r#"{"b": 1.0, "a": 2}"#]).request().unwrap();
        assert_eq!(request, r#"{"channel":"a","data":{"b": 1.0, "a": 2},"dry_run":false,"trace":true}"#);
        let request = parsed(&["--dry-run", "a", "1"]).request().unwrap();
        assert_eq!(request, r#"{"channel":"a","data":1,"dry_run":true}"#);
        assert!(matches!(parsed(&["a", "hello"]).request(), Err(AdminCallFailed::Use(_))));
    }

    fn traced() -> Value {
        let counts = json!({"matched": 3, "whole": 2, "overflow": 1, "bytes": 40, "micros": 7});
        let delivery = |client: &str, outcome: &str, detail: u64| json!({"client": client, "user": "u\u{1b}", "outcome": outcome, "detail": detail});
        let deliveries = [
            delivery("c1", "whole", 9),
            delivery("c1", "written", 2),
            delivery("c2", "overflow", 100),
            delivery("c3", "whole", 9),
            delivery("c3", "written", 30),
        ];
        json!({
            "result": {"counts": counts, "by_node": [
                {"name": "n2", "traces": false, "counts": {}, "deliveries": []},
                {"name": "n1", "traces": true, "counts": counts, "deliveries": deliveries},
            ]},
            "nodes": [{"name": "n3", "answered": false}],
        })
    }

    #[test]
    fn the_tree_shows_failures_first_then_the_slowest_and_names_silent_nodes() {
        let plain = Terminal { width: None, has_color: false };
        let expected = "a offset 7: 3 matched (2 whole, 1 overflow), 40 B in 7 µs\n\
            ├─ n1: 3 matched (2 whole, 1 overflow), 40 B in 7 µs\n\
            │   --X client c2 of user u\\u{1b}: overflow\n\
            │   --> client c3 of user u\\u{1b}: its bytes left after 30 ms\n\
            │   --> client c1 of user u\\u{1b}: its bytes left after 2 ms\n\
            ├─ n2: takes no part in the trace: it joined later\n\
            └─ n3: did not answer\n";
        assert_eq!(tree("a", &json!(7), &traced(), plain), expected);
    }

    #[test]
    fn a_trace_is_over_when_all_are_accounted_for_and_their_bytes_have_left() {
        let traced = traced();
        assert!(is_over(&traced["result"], 3) && !is_over(&traced["result"], 4));
        let waits = json!({"counts": {"matched": 1}, "by_node": [{"deliveries": [{"outcome": "whole"}]}]});
        assert!(!is_over(&waits, 1));
        assert!(!is_success(&traced["result"]["counts"]) && is_success(&json!({"whole": 1})));
        assert!(!is_success(&json!({})), "nobody got it");
    }
}
