//! The client of the admin API for commands.
//!
//! `--server` and `--key` name a node anywhere. On the node's own machine neither is needed: the command reads the settings as the node
//! does, and signs a token of 60 seconds with the secrets found there. `docs/commands.md`.

use std::{fmt::Write as _, io, time::Duration};

use clap::Args;
use serde_json::Value;
use url::Url;

use super::{
    health::{TrustedCertificate, Unhealthy, exchange},
    http_client::{ANSWER_MAX_BYTES, WebStream},
    streamed::StreamedLines,
};
use crate::{
    admin::token::{TokenBody, TokenKey},
    clock::unix_ms,
    settings::Settings,
};

/// Exit code of bad use.
const EXIT_USE: u8 = 2;
/// Exit code where no node is reached.
const EXIT_UNREACHABLE: u8 = 3;
/// Exit code where the right does not go so far.
const EXIT_REFUSED: u8 = 4;

/// The node that a command asks.
#[derive(Debug, Args)]
pub(super) struct ServerArguments {
    /// Address of the admin page, such as `https://gorani.example/admin`; without it the node that runs here with these settings.
    #[arg(long, value_name = "URL")]
    server: Option<Url>,
    /// A key of admin.keys; without it the command signs a token with the settings.
    #[arg(long, env = "GORANI_ADMIN_KEY", hide_env_values = true)]
    key: Option<String>,
    /// Longest time to wait for an answer.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

impl ServerArguments {
    /// Longest time to wait for an answer.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }
}

/// Why a command has no result.
#[derive(Debug, thiserror::Error)]
pub enum AdminCallFailed {
    /// The command line makes no sense.
    #[error("{0}")]
    Use(String),
    /// The node here cannot be reached.
    #[error(transparent)]
    NotHere(#[from] Unhealthy),
    /// The server cannot be reached.
    #[error("{0}: {1}")]
    Unreachable(String, #[source] io::Error),
    /// The right does not go so far.
    #[error("{0}")]
    Refused(String),
    /// Nothing was found, or the call failed.
    #[error("{0}")]
    Failed(String),
}

impl AdminCallFailed {
    /// The exit code.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Use(_) => EXIT_USE,
            Self::NotHere(_) | Self::Unreachable(..) => EXIT_UNREACHABLE,
            Self::Refused(_) => EXIT_REFUSED,
            Self::Failed(_) => 1,
        }
    }
}

/// The way to the admin API.
pub(super) struct AdminClient<'a> {
    settings: &'a Settings,
    server: Option<&'a Url>,
    timeout: Duration,
    /// The path of the admin page.
    path: String,
    credentials: Credentials,
}

/// The credentials of a request.
enum Credentials {
    /// A key of `admin.keys`.
    Key(String),
    /// A token that this key signs for each request: a command may ask for longer than a token is good.
    Signed(Box<TokenKey>),
}

impl Credentials {
    /// The text for a request at this Unix second.
    fn text(&self, now: u64) -> Result<String, AdminCallFailed> {
        match self {
            Self::Key(key) => Ok(key.clone()),
            Self::Signed(key) => key
                .sign(&TokenBody::of_command(now))
                .map_err(|error| AdminCallFailed::Failed(error.to_string())),
        }
    }
}

impl<'a> AdminClient<'a> {
    pub(super) fn new(
        arguments: &'a ServerArguments,
        settings: &'a Settings,
    ) -> Result<Self, AdminCallFailed> {
        let ServerArguments { server, key, timeout } = arguments;
        let credentials = match key {
            Some(key) if !key.bytes().all(|byte| byte.is_ascii_graphic()) => {
                return Err(AdminCallFailed::Use("--key: not a key".to_owned()));
            }
            Some(key) => Credentials::Key(key.clone()),
            None => Credentials::Signed(Box::new(TokenKey::of_commands(
                &settings.admin,
                &settings.cluster.secret,
            ))),
        };
        let path = match server {
            Some(url) if !url.path().trim_matches('/').is_empty() => {
                url.path().trim_end_matches('/').to_owned()
            }
            _ => settings.admin.path.clone(),
        };
        Ok(Self { settings, server: server.as_ref(), timeout: *timeout, path, credentials })
    }

    /// Asks for a read.
    pub(super) fn get(&self, call: &str, parameters: &[(&str, &str)]) -> Result<Value, AdminCallFailed> {
        let query: String = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        self.ask("GET", &format!("{}?{query}", self.api(call)?), None)
    }

    /// Asks for a change.
    pub(super) fn post(&self, call: &str, body: &str) -> Result<Value, AdminCallFailed> {
        self.ask("POST", &self.api(call)?, Some(body))
    }

    fn api(&self, call: &str) -> Result<String, AdminCallFailed> {
        if !call.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte == b'/') {
            return Err(AdminCallFailed::Use(format!("{call:?}: there is no such call")));
        }
        Ok(format!("{}/api/{call}", self.path))
    }

    /// The counters of the node, which everybody may read who reaches them.
    pub(super) fn metrics(&self) -> Result<String, AdminCallFailed> {
        let host = self.host();
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        match self.exchange(request.as_bytes())? {
            (200, body) => Ok(body),
            (status, _) => Err(AdminCallFailed::Failed(format!("/metrics answers {status}"))),
        }
    }

    fn host(&self) -> &str {
        self.server.map_or("localhost", |url| url.host_str().unwrap_or_default())
    }

    fn exchange(&self, request: &[u8]) -> Result<(u16, String), AdminCallFailed> {
        Ok(match self.server {
            None => {
                let (listener, trusted) = (self.settings.operator_listener(), TrustedCertificate::OfSettings);
                exchange(listener, trusted, request, self.timeout, ANSWER_MAX_BYTES)?
            }
            Some(url) => WebStream::open(url, self.timeout)
                .and_then(|mut stream| stream.exchange(request))
                .map(|answer| (answer.status, answer.text()))
                .map_err(|error| AdminCallFailed::Unreachable(url.to_string(), error))?,
        })
    }

    fn ask(&self, method: &str, target: &str, body: Option<&str>) -> Result<Value, AdminCallFailed> {
        let mut request = self.head(method, target)?;
        if let Some(body) = body {
            let length = body.len();
            let _ = write!(
                request,
                "Content-Type: application/json\r\nX-Gorani-Admin: 1\r\nContent-Length: {length}\r\n"
            );
        }
        let _ = write!(request, "Connection: close\r\n\r\n{}", body.unwrap_or_default());
        let (status, body) = self.exchange(request.as_bytes())?;
        let answer: Option<Value> = serde_json::from_str(&body).ok();
        if status == 200 {
            return answer
                .ok_or_else(|| AdminCallFailed::Failed("the answer is not of an admin API".to_owned()));
        }
        Err(self.failed(status, answer.as_ref()))
    }

    /// The beginning of a request.
    fn head(&self, method: &str, target: &str) -> Result<String, AdminCallFailed> {
        let (host, credentials) = (self.host(), self.credentials.text(unix_ms() / 1000)?);
        Ok(format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {credentials}\r\n"))
    }

    fn failed(&self, status: u16, answer: Option<&Value>) -> AdminCallFailed {
        let message = answer.and_then(|answer| answer["error"]["message"].as_str());
        let message = match (status, message) {
            (_, Some(message)) => message.to_owned(),
            (404, None) => format!("404: nothing is served at {}; is admin.enabled set?", self.path),
            (status, None) => format!("the answer has the status {status}"),
        };
        match status {
            401 | 403 => AdminCallFailed::Refused(message),
            400 | 405 => AdminCallFailed::Use(message),
            _ => AdminCallFailed::Failed(message),
        }
    }

    /// Asks for a read whose answer goes on line by line.
    pub(super) fn stream(
        &self,
        call: &str,
        parameters: &[(&str, &str)],
        wait: Duration,
    ) -> Result<StreamedLines, AdminCallFailed> {
        let query: String = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let mut request = self.head("GET", &format!("{}?{query}", self.api(call)?))?;
        request.push_str("Accept: application/x-ndjson\r\nConnection: close\r\n\r\n");
        let (server, opened) = match self.server {
            None => {
                let listener = self.settings.operator_listener();
                ("the node here".to_owned(), WebStream::open_here(listener, self.timeout)?)
            }
            Some(url) => {
                let opened = WebStream::open(url, self.timeout);
                (
                    url.to_string(),
                    opened.map_err(|error| AdminCallFailed::Unreachable(url.to_string(), error))?,
                )
            }
        };
        let (status, mut lines) = StreamedLines::begin(opened, request.as_bytes())
            .map_err(|error| AdminCallFailed::Unreachable(server, error))?;
        if status == 200 {
            return Ok(lines);
        }
        let answer: Option<Value> = serde_json::from_str(&lines.rest(wait)).ok();
        Err(self.failed(status, answer.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::settings::AdminSettings;

    #[test]
    fn a_command_that_asks_for_longer_than_its_token_is_good_signs_another_one() {
        let key = || TokenKey::of_commands(&AdminSettings::default(), "secret of the cluster");
        let credentials = Credentials::Signed(Box::new(key()));
        for now in [1_000, 1_090, 90_000] {
            let token = key().verify(&credentials.text(now).unwrap()).unwrap();
            assert!(token.is_fresh(now), "{now}");
        }
    }
}
