//! `gorani disconnects`: how often connections ended, by code, and the last ones of each. `docs/commands.md`.

use clap::Args;
use serde_json::Value;

use super::{
    admin_client::{AdminCallFailed, AdminClient, ServerArguments},
    output::{CommandOutput, missing_nodes, tagged_lines},
    terminal::{Terminal, cell, duration, time},
};
use crate::settings::Settings;

/// Arguments of `gorani disconnects`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  gorani disconnects\n  gorani disconnects --code 3008 --each 50 --json\n\nExit codes: 0 there are some, 1 none, 2 bad use, 3 no node reached, 4 refused."
)]
pub(super) struct DisconnectsArguments {
    /// The last so many of each code.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(0..=100))]
    each: u8,
    /// Only this code.
    #[arg(long)]
    code: Option<u16>,
    /// One object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArguments,
}

impl DisconnectsArguments {
    /// Asks; what is to be printed.
    pub(super) fn run(&self, settings: &Settings) -> Result<CommandOutput, AdminCallFailed> {
        let each = self.each.to_string();
        let mut answer = AdminClient::new(&self.server, settings)?.get("disconnects", &[("each", &each)])?;
        if let Some(code) = self.code {
            for table in ["codes", "last"] {
                if let Some(rows) = answer["result"][table].as_array_mut() {
                    rows.retain(|row| row["code"] == code);
                }
            }
        }
        let result = &answer["result"];
        let text = if self.json {
            tagged_lines([("codes", &result["codes"]), ("last", &result["last"])])
        } else {
            for_people(result, Terminal::of_stdout())
        };
        let code = u8::from(result["codes"].as_array().is_none_or(Vec::is_empty));
        Ok(CommandOutput { text, notes: missing_nodes(&answer), code })
    }
}

fn for_people(result: &Value, terminal: Terminal) -> String {
    let rows = |name: &str| result[name].as_array().cloned().unwrap_or_default();
    let (codes, last) = (rows("codes"), rows("last"));
    if codes.is_empty() {
        return "no connection has ended\n".to_owned();
    }
    let cells: Vec<_> = codes
        .iter()
        .map(|row| vec![cell(&row["code"]), cell(&row["count"]), cell(&row["sentence"])])
        .collect();
    let mut text = terminal.table(&["CODE", "COUNT", "MEANING"], &cells);
    if !last.is_empty() {
        let cells: Vec<_> = last.iter().map(last_cells).collect();
        let heads = [
            "AT",
            "CODE",
            "USER",
            "NODE",
            "TRANSPORT",
            "AFTER",
            "WAITING",
            "RETURNED",
            "ADDRESS",
            "CLIENT",
            "REASON",
        ];
        text.push('\n');
        text.push_str(&terminal.table(&heads, &cells));
    }
    text
}

fn last_cells(row: &Value) -> Vec<String> {
    let returned = &row["returned"];
    let returned = if returned.is_null() {
        "no".to_owned()
    } else {
        let recovered = match returned["recovered"].as_bool() {
            Some(true) => ", recovered",
            Some(false) => ", not recovered",
            None => "",
        };
        format!("after {} on {}{recovered}", duration(&returned["after_ms"]), cell(&returned["node"]))
    };
    vec![
        time(&row["at"]),
        cell(&row["code"]),
        cell(&row["user"]),
        cell(&row["node"]),
        cell(&row["transport"]),
        duration(&row["connected_ms"]),
        cell(&row["waiting_bytes"]),
        returned,
        cell(&row["address"]),
        cell(&row["client"]),
        cell(&row["reason"]),
    ]
}
