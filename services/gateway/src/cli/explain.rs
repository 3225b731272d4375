//! `gorani explain`: why a user got a publication or did not, by the API of the node of this machine. `docs/explain.md`.

use std::{
    fmt::Write as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::health::{Unhealthy, exchange};
use crate::{clock, settings::Settings};

/// Bytes of an answer at most.
const ANSWER_MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Arguments of `gorani explain`. Exit code: 0 the user had it, 1 not, 5 unknown.
#[derive(Debug, Args)]
pub struct ExplainArguments {
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
    /// All publications of so long, such as 10m.
    #[arg(long, group = "publications", value_parser = humantime::parse_duration)]
    since: Option<Duration>,
    /// The last publications, at most 100.
    #[arg(long, group = "publications", default_value_t = 10)]
    last: u32,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
    /// Longest time to wait for the answer.
    #[arg(long, default_value = "30s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ExplainFailed {
    /// The API is closed.
    #[error("api.keys is empty, so the API of the node is closed")]
    NoKey,
    /// The node cannot be reached.
    #[error(transparent)]
    Unreachable(#[from] Unhealthy),
    /// The node refuses.
    #[error("{0}")]
    Refused(String),
    /// The answer is none of this API.
    #[error("the answer is not understood: {0}")]
    Answer(#[from] serde_json::Error),
}

impl ExplainFailed {
    /// The exit code: none of those that are an answer.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Unreachable(_) | Self::Answer(_) => 3,
            Self::NoKey | Self::Refused(_) => 4,
        }
    }
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
    /// Asks the node; what is to be printed, and the exit code.
    pub(super) fn run(&self, settings: &Settings) -> Result<(String, u8), ExplainFailed> {
        let key = settings.api.keys.first().ok_or(ExplainFailed::NoKey)?;
        let body = self.request().to_string();
        let request = format!(
            "POST /api/explain HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\nX-Gorani-Error-Mode: body\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let (status, answer) = exchange(&settings.http, request.as_bytes(), self.timeout, ANSWER_MAX_BYTES)?;
        let answer: Value = match serde_json::from_str(&answer) {
            Ok(answer) => answer,
            Err(_) if status != 200 => return Err(ExplainFailed::Refused(format!("{status} {answer}"))),
            Err(error) => return Err(error.into()),
        };
        if let Some(message) = answer.pointer("/error/message") {
            return Err(ExplainFailed::Refused(message.as_str().unwrap_or_default().to_owned()));
        }
        let result = answer.get("result").cloned().unwrap_or_default();
        let explained = ExplainAnswer::deserialize(&result)?;
        let text = if self.json { format!("{result}\n") } else { for_people(&explained) };
        Ok((text, explained.exit))
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
        }
        request
    }
}

/// The answer as text: the verdict, the evidence in order of time, the advice. Names of users and channels may hold anything, so
/// control characters are written as escapes.
fn for_people(explained: &ExplainAnswer) -> String {
    let mut text = String::new();
    let mut append = |line: std::fmt::Arguments<'_>| {
        // Writing into a text does not fail.
        let _written = text.write_fmt(line);
    };
    append(format_args!("{}: {}\n", explained.verdict.code, printable(&explained.verdict.text)));
    for LineAnswer { at, node, text, rank } in &explained.evidence {
        let rank = rank.as_ref().map_or_else(String::new, |rank| format!(" [{rank}]"));
        let time = UNIX_EPOCH.checked_add(Duration::from_millis(*at)).unwrap_or(SystemTime::UNIX_EPOCH);
        let time = humantime::format_rfc3339_millis(time);
        append(format_args!(" {time}  {}  {}{rank}\n", printable(node), printable(text)));
    }
    for advice in &explained.advice {
        append(format_args!(" advice: {}\n", printable(advice)));
    }
    text
}

fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        explain: ExplainArguments,
    }

    fn parsed(arguments: &str) -> Result<ExplainArguments, clap::Error> {
        Command::try_parse_from(format!("x --channel a {arguments}").trim().split(' ')).map(|it| it.explain)
    }

    #[test]
    fn a_question_names_a_user_or_a_client_and_one_kind_of_publications() {
        let request = |arguments: &str| parsed(arguments).unwrap().request();
        let expected = json!({"channel": "a", "user": "42", "client": null, "offset": 7});
        assert_eq!(request("--user 42 --offset 7"), expected);
        let expected = json!({"channel": "a", "user": null, "client": "c", "last": 10});
        assert_eq!(request("--client c"), expected);
        assert!(request("--user 42 --since 1h")["since"].as_u64().unwrap() < clock::unix_ms());
        for wrong in ["--offset 7", "--user 42 --offset 7 --last 3", "--user 42 --since 1h --offset 7"] {
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
        let text = for_people(&ExplainAnswer::deserialize(&answer).unwrap());
        let expected = "written: a\\u{1b}[2J\n 1970-01-01T00:00:01.000Z  n1  b [written]\n advice: c\n";
        assert_eq!(text, expected);
    }
}
