//! `gorani admin`: asks any call of the admin API. `docs/admin.md`.

use std::fmt::Write as _;

use clap::Args;
use serde_json::Value;

use super::{
    admin_client::{AdminCallFailed, AdminClient, ServerArguments},
    output::missing_nodes,
};
use crate::settings::Settings;

/// Arguments of `gorani admin`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  gorani admin nodes\n  gorani admin connections user=42 --json\n  gorani admin actions/disconnect --data '{\"user\":\"42\",\"dry_run\":true}'\n\nExit codes: 0 success, 1 nothing found or failure, 2 bad use, 3 no node reached, 4 refused."
)]
pub struct AdminArguments {
    /// The call: overview, nodes, channels, connections, actions/disconnect, …
    call: String,
    /// Parameters of a read: name=value.
    #[arg(value_name = "NAME=VALUE")]
    parameters: Vec<String>,
    /// JSON of a change; without it the call is a read.
    #[arg(long, value_name = "JSON", conflicts_with = "parameters")]
    data: Option<String>,
    /// One object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArguments,
}

impl AdminArguments {
    /// Asks; the text of the answer.
    pub(super) fn run(&self, settings: &Settings) -> Result<String, AdminCallFailed> {
        let client = AdminClient::new(&self.server, settings)?;
        let answer = match &self.data {
            Some(data) => client.post(&self.call, data)?,
            None => {
                let pairs = self.parameters.iter().map(|pair| {
                    pair.split_once('=')
                        .ok_or_else(|| AdminCallFailed::Use(format!("{pair:?}: not name=value")))
                });
                client.get(&self.call, &pairs.collect::<Result<Vec<_>, _>>()?)?
            }
        };
        Ok(if self.json { lines(&answer) } else { text(&answer) })
    }
}

/// One object a line: the entries of a list, or the result itself.
fn lines(answer: &Value) -> String {
    let result = answer.get("result").unwrap_or(answer);
    match result {
        Value::Array(rows) => rows.iter().fold(String::new(), |mut text, row| {
            let _ = writeln!(text, "{row}");
            text
        }),
        result => format!("{result}\n"),
    }
}

/// The result for people, and what is missing in it.
fn text(answer: &Value) -> String {
    let result = answer.get("result").unwrap_or(answer);
    let mut text = serde_json::to_string_pretty(result).unwrap_or_default();
    text.push('\n');
    text.push_str(&missing_nodes(answer));
    if let Some(cursor) = answer.get("cursor").and_then(Value::as_str) {
        let _ = writeln!(text, "there is more: cursor={cursor}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_stands_below_the_result() {
        let answer = serde_json::json!({"result": [{"a": 1}, {"a": 2}], "nodes": [{"name": "n2", "version": "0.1.0", "answered": false, "unsupported": true}, {"name": "n3", "answered": false}], "cursor": "eA"});
        assert_eq!(lines(&answer), "{\"a\":1}\n{\"a\":2}\n");
        assert!(
            text(&answer).ends_with("n2 (0.1.0) cannot tell, its part is missing\nn3 did not answer, its part is missing\nthere is more: cursor=eA\n")
        );
    }
}
