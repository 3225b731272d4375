//! `gorani hooks`: dead letters of the endpoints of hooks, by the API of the node of this machine. `docs/protocols/hooks.md`.

use std::{fmt::Write as _, time::Duration};

use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde_json::{Value, json};

use super::health::{TrustedCertificate, Unhealthy, exchange};
use crate::{clock, settings::Settings};

/// Bytes of an answer at most; a page ends at `api.reply_max_bytes`, and events are written out.
const ANSWER_MAX_BYTES: u64 = 256 * 1024 * 1024;
/// Dead letters of one request.
const PAGE: u32 = 1000;

/// The action on dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DeadLetterAction {
    /// List them, a line each: id, type, endpoint, attempts, reason.
    List,
    /// Print them whole, a line of JSON each.
    Show,
    /// Send them again, with the same ids.
    Replay,
    /// Delete them.
    Discard,
}

/// Arguments of `gorani hooks`. The dead letters that are meant are all that fit all flags.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  gorani hooks list\n  gorani hooks replay --endpoint backend\n\nExit codes: 0 done, 1 not, 2 bad use, 78 bad settings."
)]
pub struct HooksArguments {
    /// The action on them.
    #[arg(value_enum)]
    action: DeadLetterAction,
    /// Name of an endpoint, as in hooks.endpoints; all of them without it.
    #[arg(long)]
    endpoint: Option<String>,
    /// Only events of this type, such as connected.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Only those that were given up within this time, such as 2h.
    #[arg(long, value_parser = humantime::parse_duration)]
    since: Option<Duration>,
    /// Only the event with this id; may be given several times.
    #[arg(long = "id", value_name = "ID")]
    ids: Vec<String>,
    /// Longest time to wait for an answer.
    #[arg(long, default_value = "30s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum HooksFailed {
    /// The API is closed.
    #[error("api.keys is empty, so the API of the node is closed")]
    NoKey,
    /// There is no endpoint to ask for.
    #[error("hooks.endpoints is empty")]
    NoEndpoint,
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

/// The answer to a call.
#[derive(Deserialize)]
struct ApiAnswer {
    result: Option<ApiResult>,
    error: Option<ApiFailure>,
}

/// The result of any of the methods.
#[derive(Deserialize)]
struct ApiResult {
    #[serde(default)]
    dead_letters: Vec<Value>,
    #[serde(default)]
    count: u64,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct ApiFailure {
    message: String,
}

impl HooksArguments {
    /// Does it; what is to be printed.
    pub(super) fn run(&self, settings: &Settings) -> Result<String, HooksFailed> {
        let method = match self.action {
            DeadLetterAction::List | DeadLetterAction::Show => "hooks_dead_letters",
            DeadLetterAction::Replay => "hooks_replay",
            DeadLetterAction::Discard => "hooks_discard",
        };
        let names: Vec<&str> = match &self.endpoint {
            Some(name) => vec![name],
            None => settings.hooks.endpoints.iter().map(|endpoint| &*endpoint.name).collect(),
        };
        if names.is_empty() {
            return Err(HooksFailed::NoEndpoint);
        }
        let mut text = String::new();
        for name in names {
            let mut count = 0;
            let mut cursor = None;
            loop {
                let page = call(settings, method, &self.request(name, cursor), self.timeout)?;
                count += page.count;
                for letter in &page.dead_letters {
                    let line = if self.action == DeadLetterAction::List {
                        summary(name, letter)
                    } else {
                        whole(name, letter)
                    };
                    text.push_str(&line);
                    text.push('\n');
                }
                cursor = page.next_cursor;
                if cursor.is_none() {
                    break;
                }
            }
            match self.action {
                DeadLetterAction::Replay => append(&mut text, format_args!("{name}: {count} sent again\n")),
                DeadLetterAction::Discard => append(&mut text, format_args!("{name}: {count} deleted\n")),
                DeadLetterAction::List | DeadLetterAction::Show => {}
            }
        }
        Ok(text)
    }

    fn request(&self, endpoint: &str, cursor: Option<String>) -> Value {
        let since = self.since.map(|since| {
            clock::unix_ms().saturating_sub(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
        });
        json!({
            "endpoint": endpoint, "type": self.kind, "since": since, "ids": self.ids, "limit": PAGE, "cursor": cursor
        })
    }
}

fn append(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing into a text does not fail.
    let _written = text.write_fmt(line);
}

fn summary(endpoint: &str, letter: &Value) -> String {
    let event = &letter["event"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (id, kind, reason) = (text(&event["id"]), text(&event["type"]), text(&letter["reason"]));
    format!("{id}\t{kind}\t{endpoint}\t{}\t{reason}", letter["tries"])
}

fn whole(endpoint: &str, letter: &Value) -> String {
    let mut letter = letter.clone();
    if let Some(object) = letter.as_object_mut() {
        object.insert("endpoint".to_owned(), endpoint.into());
    }
    letter.to_string()
}

fn call(
    settings: &Settings,
    method: &str,
    body: &Value,
    timeout: Duration,
) -> Result<ApiResult, HooksFailed> {
    let key = settings.api.keys.first().ok_or(HooksFailed::NoKey)?;
    let body = body.to_string();
    let request = format!(
        "POST /api/{method} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\nX-Gorani-Error-Mode: body\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let (status, answer) = exchange(
        settings.http.listener(),
        TrustedCertificate::OfSettings,
        request.as_bytes(),
        timeout,
        ANSWER_MAX_BYTES,
    )?;
    let answer: ApiAnswer = match serde_json::from_str(&answer) {
        Ok(answer) => answer,
        Err(_) if status != 200 => return Err(HooksFailed::Refused(format!("{status} {answer}"))),
        Err(error) => return Err(error.into()),
    };
    match answer {
        ApiAnswer { error: Some(error), .. } => Err(HooksFailed::Refused(error.message)),
        ApiAnswer { result: Some(result), .. } => Ok(result),
        ApiAnswer { .. } => Err(HooksFailed::Refused(format!("{status} without a result"))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
        thread,
    };

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct HooksCommandLine {
        #[command(flatten)]
        hooks: HooksArguments,
    }

    /// Runs a command against a node that gives these answers; the bodies that it got, and what the command prints.
    fn run(arguments: &str, answers: &[&str]) -> (Vec<Value>, Result<String, HooksFailed>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let text = "[api]\nkeys = ['0123456789abcdef']\n[[hooks.endpoints]]\nname = 'shop'\nurl = 'http://a/'\n\
                    events = ['connected']";
        let mut settings = Settings::from_text(text, &Default::default()).unwrap();
        settings.http.address = listener.local_addr().unwrap();
        let answers: Vec<_> = answers.iter().map(|answer| (*answer).to_owned()).collect();
        let node = thread::spawn(move || {
            let answer = |answer: String| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = Vec::new();
                let (head, body) = loop {
                    let mut bytes = [0; 1024];
                    let read = stream.read(&mut bytes).unwrap();
                    request.extend_from_slice(&bytes[..read]);
                    let text = String::from_utf8(request.clone()).unwrap();
                    match text.split_once("\r\n\r\n") {
                        Some((head, body)) if body.ends_with('}') => {
                            break (head.to_owned(), body.to_owned());
                        }
                        _ => {}
                    }
                };
                assert!(head.contains("X-API-Key: 0123456789abcdef"), "{head}");
                write!(stream, "HTTP/1.1 200 OK\r\n\r\n{answer}").unwrap();
                serde_json::from_str(&body).unwrap()
            };
            answers.into_iter().map(answer).collect()
        });
        let command = HooksCommandLine::parse_from(format!("x {arguments}").split(' '));
        let printed = command.hooks.run(&settings);
        (node.join().unwrap(), printed)
    }

    const LETTER: &str =
        r#"{"event":{"id":"3-5-1","type":"connected"},"reason":"422 no","tries":5,"died_ms":9}"#;

    #[test]
    fn a_list_goes_through_all_pages_and_shows_a_line_each() {
        let page = format!(r#"{{"result":{{"dead_letters":[{LETTER}],"next_cursor":"3:3-5-1"}}}}"#);
        let last = format!(r#"{{"result":{{"dead_letters":[{LETTER}]}}}}"#);
        let (requests, printed) = run("list --type connected --id 3-5-1", &[&page, &last]);
        assert_eq!(printed.unwrap(), "3-5-1\tconnected\tshop\t5\t422 no\n".repeat(2));
        let expected = json!({
            "endpoint": "shop", "type": "connected", "since": null, "ids": ["3-5-1"], "limit": 1000, "cursor": null
        });
        assert_eq!(requests[0], expected);
        assert_eq!(requests[1]["cursor"], "3:3-5-1");
    }

    #[test]
    fn what_is_shown_is_json_and_what_is_replayed_is_counted() {
        let answer = format!(r#"{{"result":{{"dead_letters":[{LETTER}]}}}}"#);
        let printed = run("show --since 2h", &[&answer]).1.unwrap();
        let shown: Value = serde_json::from_str(&printed).unwrap();
        assert_eq!((&shown["endpoint"], &shown["event"]["id"]), (&json!("shop"), &json!("3-5-1")));
        let pages = [r#"{"result":{"count":1000,"next_cursor":"0:"}}"#, r#"{"result":{"count":2}}"#];
        assert_eq!(run("replay --endpoint shop", &pages).1.unwrap(), "shop: 1002 sent again\n");
        assert_eq!(run("discard", &[r#"{"result":{"count":2}}"#]).1.unwrap(), "shop: 2 deleted\n");
    }

    #[test]
    fn what_the_node_refuses_is_said() {
        let answer = r#"{"error":{"code":107,"message":"endpoint: not in hooks.endpoints"}}"#;
        let error = run("list --endpoint nowhere", &[answer]).1.unwrap_err();
        assert_eq!(error.to_string(), "endpoint: not in hooks.endpoints");
        assert!(matches!(run("list", &["nonsense"]).1, Err(HooksFailed::Answer(_))));
        let closed = HooksCommandLine::parse_from(["x", "list", "--endpoint", "shop"]);
        assert!(matches!(closed.hooks.run(&Settings::default()), Err(HooksFailed::NoKey)));
        assert!(matches!(
            HooksCommandLine::parse_from(["x", "list"]).hooks.run(&Settings::default()),
            Err(HooksFailed::NoEndpoint)
        ));
    }
}
