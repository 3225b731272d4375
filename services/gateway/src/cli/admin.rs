//! The client of the admin API for commands, and `gorani admin`, which asks any of its calls.
//!
//! `--server` and `--key` name a node anywhere. On the node's own machine neither is needed: the command reads the settings as the node
//! does, and signs a token of 60 seconds with the secrets found there. `docs/admin.md`.

use std::{
    fmt::Write as _,
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    sync::Arc,
    time::Duration,
};

use clap::Args;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::aws_lc_rs, pki_types::ServerName,
};
use serde_json::Value;
use url::Url;

use super::health::{Unhealthy, exchange};
use crate::{
    admin::token::{TokenBody, TokenKey},
    clock::unix_ms,
    settings::Settings,
};

/// Bytes of an answer at most.
const ANSWER_MAX_BYTES: u64 = 16 * 1024 * 1024;
/// Exit code of bad use.
const EXIT_USE: u8 = 2;
/// Exit code where no node is reached.
const EXIT_UNREACHABLE: u8 = 3;
/// Exit code where the right does not go so far.
const EXIT_REFUSED: u8 = 4;

/// The node that a command asks.
#[derive(Debug, Args)]
pub struct ServerArguments {
    /// Address of the admin page, such as https://gorani.example/admin; without it the node that runs here with these settings.
    #[arg(long, value_name = "URL")]
    server: Option<Url>,
    /// A key of admin.keys; without it the command signs a token with the settings.
    #[arg(long, env = "GORANI_ADMIN_KEY", hide_env_values = true)]
    key: Option<String>,
    /// Longest time to wait for an answer.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

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
    /// What was asked for is not there, or the call failed.
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
    let nodes = answer.get("nodes").and_then(Value::as_array);
    for node in nodes.into_iter().flatten().filter(|node| node["answered"] == false) {
        let name = node["name"].as_str().unwrap_or_default();
        let _ = match node["version"].as_str().filter(|_| node["unsupported"] == true) {
            Some(version) => writeln!(text, "{name} ({version}) cannot tell, its part is missing"),
            None => writeln!(text, "{name} did not answer, its part is missing"),
        };
    }
    if let Some(cursor) = answer.get("cursor").and_then(Value::as_str) {
        let _ = writeln!(text, "there is more: cursor={cursor}");
    }
    text
}

/// The way to the admin API.
pub(super) struct AdminClient<'a> {
    settings: &'a Settings,
    server: Option<&'a Url>,
    timeout: Duration,
    /// The path of the admin page.
    path: String,
    credentials: String,
}

impl<'a> AdminClient<'a> {
    pub(super) fn new(
        arguments: &'a ServerArguments,
        settings: &'a Settings,
    ) -> Result<Self, AdminCallFailed> {
        let ServerArguments { server, key, timeout } = arguments;
        let credentials = match key {
            Some(key) => key.clone(),
            None => {
                let key = TokenKey::of_commands(&settings.admin, &settings.cluster.secret);
                let token = key.sign(&TokenBody::of_command(unix_ms() / 1000));
                token.map_err(|error| AdminCallFailed::Failed(error.to_string()))?
            }
        };
        if !credentials.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(AdminCallFailed::Use("--key: not a key".to_owned()));
        }
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

    fn ask(&self, method: &str, target: &str, body: Option<&str>) -> Result<Value, AdminCallFailed> {
        let host = self.server.map_or("localhost", |url| url.host_str().unwrap_or_default());
        let mut request = format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {}\r\n",
            self.credentials
        );
        if let Some(body) = body {
            let length = body.len();
            let _ = write!(
                request,
                "Content-Type: application/json\r\nX-Gorani-Admin: 1\r\nContent-Length: {length}\r\n"
            );
        }
        let _ = write!(request, "Connection: close\r\n\r\n{}", body.unwrap_or_default());
        let (status, body) = match self.server {
            None => exchange(&self.settings.http, request.as_bytes(), self.timeout, ANSWER_MAX_BYTES)?,
            Some(url) => exchange_with(url, request.as_bytes(), self.timeout)
                .map_err(|error| AdminCallFailed::Unreachable(url.to_string(), error))?,
        };
        let answer: Option<Value> = serde_json::from_str(&body).ok();
        if status == 200 {
            return answer
                .ok_or_else(|| AdminCallFailed::Failed("the answer is not of an admin API".to_owned()));
        }
        let message = answer.as_ref().and_then(|answer| answer["error"]["message"].as_str());
        let message = match (status, message) {
            (_, Some(message)) => message.to_owned(),
            (404, None) => format!("404: nothing is served at {}; is admin.enabled set?", self.path),
            (status, None) => format!("the answer has the status {status}"),
        };
        Err(match status {
            401 | 403 => AdminCallFailed::Refused(message),
            400 | 405 => AdminCallFailed::Use(message),
            _ => AdminCallFailed::Failed(message),
        })
    }
}

/// Sends a request that ends the connection to a server anywhere.
fn exchange_with(url: &Url, request: &[u8], timeout: Duration) -> io::Result<(u16, String)> {
    let wrong = |text: &str| io::Error::new(io::ErrorKind::InvalidInput, text.to_owned());
    let host = url.host_str().ok_or_else(|| wrong("the URL has no host"))?;
    let port = url.port_or_known_default().ok_or_else(|| wrong("the URL has no port"))?;
    let mut last = wrong("the host has no address");
    let addresses = (host.trim_matches(['[', ']']), port).to_socket_addrs()?;
    let tcp = addresses
        .into_iter()
        .find_map(|address| TcpStream::connect_timeout(&address, timeout).map_err(|error| last = error).ok());
    let Some(tcp) = tcp else { return Err(last) };
    tcp.set_read_timeout(Some(timeout))?;
    tcp.set_write_timeout(Some(timeout))?;
    let answer = match url.scheme() {
        "http" => transfer(tcp, request)?,
        "https" => transfer(over_tls(host, tcp)?, request)?,
        _ => return Err(wrong("the URL must begin with http:// or https://")),
    };
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut headers);
    let parsed = head.parse(&answer).map_err(io::Error::other)?;
    let (httparse::Status::Complete(length), Some(status)) = (parsed, head.code) else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    let body = answer.get(length..).unwrap_or_default();
    let is_chunked = head.headers.iter().any(|header| header.name.eq_ignore_ascii_case("transfer-encoding"));
    let body = if is_chunked { unchunked(body) } else { body.to_vec() };
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

fn over_tls(host: &str, tcp: TcpStream) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(io::Error::other)?;
    let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    Ok(StreamOwned::new(connection, tcp))
}

fn transfer(mut io: impl Read + Write, request: &[u8]) -> io::Result<Vec<u8>> {
    io.write_all(request)?;
    io.flush()?;
    let mut answer = Vec::new();
    match io.take(ANSWER_MAX_BYTES).read_to_end(&mut answer) {
        // What has come counts, whichever way the connection ends.
        Err(_) if !answer.is_empty() => {}
        result => drop(result?),
    }
    Ok(answer)
}

/// The body of an answer that a proxy has cut into chunks. One that breaks off ends there.
fn unchunked(mut chunks: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(httparse::Status::Complete((start, length))) = httparse::parse_chunk_size(chunks) {
        let end = usize::try_from(length).ok().and_then(|length| start.checked_add(length));
        let chunk = end.filter(|end| *end > start).and_then(|end| Some((chunks.get(start..end)?, end)));
        let Some((chunk, end)) = chunk else { break };
        body.extend_from_slice(chunk);
        chunks = chunks.get(end + 2..).unwrap_or_default();
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_in_chunks_is_put_together_and_a_broken_one_ends_where_it_breaks() {
        assert_eq!(unchunked(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), b"abcde");
        assert_eq!(unchunked(b"3\r\nabc\r\nffffffffffffffff\r\nde"), b"abc");
        assert_eq!(unchunked(b"9\r\nabc"), b"");
        assert_eq!(unchunked(b"zz"), b"");
    }

    #[test]
    fn what_is_missing_stands_below_the_result() {
        let answer = serde_json::json!({"result": [{"a": 1}, {"a": 2}], "nodes": [{"name": "n2", "version": "0.1.0", "answered": false, "unsupported": true}, {"name": "n3", "answered": false}], "cursor": "eA"});
        assert_eq!(lines(&answer), "{\"a\":1}\n{\"a\":2}\n");
        assert!(
            text(&answer).ends_with("n2 (0.1.0) cannot tell, its part is missing\nn3 did not answer, its part is missing\nthere is more: cursor=eA\n")
        );
    }
}
