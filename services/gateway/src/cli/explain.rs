//! `gorani explain`: why a user got a publication or did not. `docs/explain.md`.

use std::{fmt::Write as _, time::Duration};

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    admin_client::{AdminCallFailed, AdminClient, ServerArguments},
    output::{CommandOutput, missing_nodes},
    terminal::{Terminal, Tone, printable, time},
};
use crate::{clock, settings::Settings};

/// Arguments of `gorani explain`. Exit code: 0 the user had it, 1 not, 5 unknown.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  gorani explain --channel chat:lobby --user 42 --offset 137\n  gorani explain --channel chat:lobby --user 42 --since 10m --json\n\nExit codes: 0 had it, 1 had it not, 2 bad use, 3 no node reached, 4 refused, 5 unknown."
)]
pub(super) struct ExplainArguments {
    /// The channel.
    #[arg(long)]
    channel: String,
    /// The user; a client must be named if none is.
    #[arg(long, required_unless_present = "client")]
    user: Option<String>,
    /// Only this client.
    #[arg(long)]
    client: Option<String>,
    /// The publication with this offset.
    #[arg(long, group = "publications")]
    offset: Option<u64>,
    /// All publications of so long, such as 10m or -10m.
    #[arg(long, group = "publications", value_parser = time_ago, allow_hyphen_values = true)]
    since: Option<Duration>,
    /// The last publications, at most 100.
    #[arg(long, group = "publications", default_value_t = 10)]
    last: u32,
    /// Send a ping to the client that the verdict is about: its pong confirms what it was sent before.
    #[arg(long)]
    probe: bool,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArguments,
}

/// A time ago, with the sign that `gorani tail` takes before it or without.
fn time_ago(text: &str) -> Result<Duration, humantime::DurationError> {
    humantime::parse_duration(text.strip_prefix('-').unwrap_or(text))
}

/// The explanation as the API has it.
#[derive(Deserialize)]
struct ExplainAnswer {
    verdict: VerdictAnswer,
    #[serde(default)]
    evidence: Vec<LineAnswer>,
    #[serde(default)]
    advice: Vec<String>,
    exit: u8,
}

#[derive(Deserialize)]
struct VerdictAnswer {
    code: String,
    #[serde(rename = "sentence")]
    text: String,
}

#[derive(Deserialize)]
struct LineAnswer {
    at: u64,
    node: String,
    #[serde(rename = "sentence")]
    text: String,
    rank: Option<String>,
}

impl ExplainArguments {
    /// Asks; what is to be printed.
    pub(super) fn run(&self, settings: &Settings) -> Result<CommandOutput, AdminCallFailed> {
        let answer =
            AdminClient::new(&self.server, settings)?.post("explain", &self.request().to_string())?;
        let result = &answer["result"];
        let explained = ExplainAnswer::deserialize(result)
            .map_err(|error| AdminCallFailed::Failed(format!("the answer is not understood: {error}")))?;
        let text =
            if self.json { format!("{result}\n") } else { for_people(&explained, Terminal::of_stdout()) };
        Ok(CommandOutput { text, notes: missing_nodes(&answer), code: explained.exit })
    }

    fn request(&self) -> Value {
        let mut request = json!({"channel": self.channel, "user": self.user, "client": self.client});
        let (field, value) = match (self.offset, self.since) {
            (Some(offset), _) => ("offset", offset),
            (None, Some(since)) => {
                let since = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
                ("since", clock::unix_ms().saturating_sub(since))
            }
            (None, None) => ("last", u64::from(self.last)),
        };
        if let Some(object) = request.as_object_mut() {
            object.insert(field.to_owned(), value.into());
            if self.probe {
                // Nodes of an older version do not know the field.
                object.insert("probe".to_owned(), true.into());
            }
        }
        request
    }
}

/// The answer as text: the verdict, the evidence in order of time, the advice. Names of users and channels may hold anything, so
/// control characters are written as escapes.
fn for_people(explained: &ExplainAnswer, terminal: Terminal) -> String {
    let mut text = String::new();
    let mut append = |line: std::fmt::Arguments<'_>| {
        // Writing into a text does not fail.
        let _written = text.write_fmt(line);
    };
    let tone = match explained.exit {
        0 => Tone::Good,
        1 => Tone::Bad,
        _ => Tone::Warning,
    };
    let code = terminal.paint(tone, &explained.verdict.code);
    append(format_args!("{code}: {}\n", printable(&explained.verdict.text)));
    for LineAnswer { at, node, text, rank } in &explained.evidence {
        let rank = rank.as_ref().map_or_else(String::new, |rank| format!(" [{rank}]"));
        let at = time(&Value::from(*at));
        append(format_args!(" {at}  {}  {}{rank}\n", printable(node), printable(text)));
    }
    for advice in &explained.advice {
        append(format_args!(" advice: {}\n", printable(advice)));
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct ExplainCommandLine {
        #[command(flatten)]
        explain: ExplainArguments,
    }

    fn parsed(arguments: &str) -> Result<ExplainArguments, clap::Error> {
        ExplainCommandLine::try_parse_from(format!("x --channel a {arguments}").trim().split(' '))
            .map(|it| it.explain)
    }

    #[test]
    fn a_question_names_a_user_or_a_client_and_one_kind_of_publications() {
        let request = |arguments: &str| parsed(arguments).unwrap().request();
        let expected = json!({"channel": "a", "user": "42", "client": null, "offset": 7});
        assert_eq!(request("--user 42 --offset 7"), expected);
        let expected = json!({"channel": "a", "user": null, "client": "c", "last": 10});
        assert_eq!(request("--client c"), expected);
        for ago in ["1h", "-1h"] {
            let since = request(&format!("--user 42 --since {ago}"))["since"].as_u64().unwrap();
            assert!(since + 3_600_000 <= clock::unix_ms(), "{ago}");
        }
        for wrong in [
            "--offset 7",
            "--user 42 --offset 7 --last 3",
            "--user 42 --since 1h --offset 7",
            "--user 42 --since --1h",
        ] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_of_users_do_not_move_the_cursor_of_a_terminal() {
        let answer = json!({
            "verdict": {"code": "written", "sentence": "a\u{1b}[2J"},
            "evidence": [{"at": 1000, "node": "n1", "sentence": "b", "rank": "written"}],
            "advice": ["c"],
            "exit": 0,
        });
        let plain = Terminal { width: None, has_color: false };
        let text = for_people(&ExplainAnswer::deserialize(&answer).unwrap(), plain);
        let expected = "written: a\\u{1b}[2J\n 1970-01-01T00:00:01.000Z  n1  b [written]\n advice: c\n";
        assert_eq!(text, expected);
    }
}
