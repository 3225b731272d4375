//! `gorani slow`: the clients that read too slowly, now and lately. `docs/commands.md`.

use clap::Args;
use serde_json::Value;

use super::{
    admin_client::{AdminCallFailed, AdminClient, ServerArguments},
    output::{CommandOutput, missing_nodes, tagged_lines},
    terminal::{Terminal, cell, duration, time},
};
use crate::settings::Settings;

/// Arguments of `gorani slow`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  gorani slow\n  gorani slow --json | jq -r 'select(.table == \"now\") | .user'\n\nExit codes: 0 there are some, 1 none, 2 bad use, 3 no node reached, 4 refused."
)]
pub(super) struct SlowArguments {
    /// One object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArguments,
}

impl SlowArguments {
    /// Asks; what is to be printed.
    pub(super) fn run(&self, settings: &Settings) -> Result<CommandOutput, AdminCallFailed> {
        let answer = AdminClient::new(&self.server, settings)?.get("slow", &[])?;
        let result = &answer["result"];
        let is_empty = |name: &str| result[name].as_array().is_none_or(Vec::is_empty);
        let text = if self.json {
            tagged_lines([("now", &result["now"]), ("ended", &result["ended"])])
        } else {
            for_people(result, Terminal::of_stdout())
        };
        let code = u8::from(is_empty("now") && is_empty("ended"));
        Ok(CommandOutput { text, notes: missing_nodes(&answer), code })
    }
}

fn for_people(result: &Value, terminal: Terminal) -> String {
    let rows = |name: &str| result[name].as_array().cloned().unwrap_or_default();
    let (now, ended) = (rows("now"), rows("ended"));
    let mut text = String::new();
    if now.is_empty() {
        text.push_str("no bytes wait for a client that does not read\n");
    } else {
        let rows: Vec<_> = now.iter().map(waiting_cells).collect();
        text.push_str(
            &terminal.table(&["USER", "NODE", "TRANSPORT", "WAITING BYTES", "OLDEST", "CLIENT"], &rows),
        );
    }
    let since = match time(&result["known_since"]) {
        since if since == "-" => String::new(),
        since => format!(" since {since}"),
    };
    if ended.is_empty() {
        text.push_str(&format!("none was ended for it{since}\n"));
    } else {
        text.push_str(&format!("\nended{since}:\n"));
        let rows: Vec<_> = ended.iter().map(ended_cells).collect();
        let heads = ["AT", "USER", "NODE", "TRANSPORT", "BYTES", "AGE", "CAUSE", "CHANNELS", "CLIENT"];
        text.push_str(&terminal.table(&heads, &rows));
    }
    text
}

fn waiting_cells(client: &Value) -> Vec<String> {
    vec![
        cell(&client["user"]),
        cell(&client["node"]),
        cell(&client["transport"]),
        cell(&client["waiting_bytes"]),
        duration(&client["oldest_ms"]),
        cell(&client["client"]),
    ]
}

fn ended_cells(client: &Value) -> Vec<String> {
    let channels = client["channels"].as_array();
    let channels = channels.into_iter().flatten().map(|share| match share["part"].as_f64() {
        Some(part) => format!("{} {:.0}%", cell(&share["channel"]), 100.0 * part),
        None => cell(&share["channel"]),
    });
    vec![
        time(&client["at"]),
        cell(&client["user"]),
        cell(&client["node"]),
        cell(&client["transport"]),
        cell(&client["bytes"]),
        duration(&client["age_ms"]),
        cell(&client["cause"]),
        channels.collect::<Vec<_>>().join(", "),
        cell(&client["client"]),
    ]
}
