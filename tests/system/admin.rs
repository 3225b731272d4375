//! The admin API on real nodes: who gets in, what they may, and what is told of nodes, channels and connections.
//! `docs/admin.md`; records 57, 58.
//!
//! - [`broker`]: the size of histories, and the requests that wait for each server.
//! - [`entry`]: logins, cookies, other sites, roles, the limit of wrong passwords.
//! - [`cluster`]: three nodes and a Redis.
//! - [`listener`]: an address of its own.
//! - [`mixed`]: nodes of other versions.
//! - [`trace`]: what became of single deliveries.
//! - [`oidc`]: logins by an identity provider.
//! - [`tail`]: what comes through a channel, and what happens to a user.

mod broker;
mod cluster;
mod entry;
mod listener;
mod mixed;
mod oidc;
mod tail;
mod trace;

use std::{
    io::Write,
    net::{Ipv4Addr, SocketAddr},
    process::{Command, Stdio},
    sync::LazyLock,
    time::Duration,
};

use gorani_tests::{
    binary,
    node::Settings,
    raw::{Head, RawSocket},
};
use serde_json::{Value, json};

/// Longest wait for an answer.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// The password of all tests.
const PASSWORD: &str = "고라니 runs at night";
/// A key that may act and see contents.
const OPERATOR: &str = "operator-key-0123456789";
/// A key that sees.
const VIEWER: &str = "viewer-key-0123456789";

/// The line that `gorani password` makes, once for all tests: it takes a while.
static HASH: LazyLock<String> = LazyLock::new(|| {
    let mut command = Command::new(binary::node());
    let mut child =
        command.arg("password").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut input = child.stdin.take().unwrap();
    writeln!(input, "{PASSWORD}").unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
});

/// Settings with a password and two keys.
fn settings(before: Settings) -> Settings {
    let keys = format!(
        r#"[{{ name = "on-call", key = "{OPERATOR}", role = "operator", contents = true }}, {{ name = "reader", key = "{VIEWER}" }}]"#
    );
    before
        .set("admin.enabled", "true")
        .set("admin.password_hash", format!("{:?}", *HASH))
        .set("admin.keys", keys)
        // Clients of the tests read late.
        .set("client.ping_interval", "\"300s\"")
}

/// One request to the admin API.
#[derive(Debug, Clone)]
struct Asked<'a> {
    method: &'a str,
    path: String,
    headers: Vec<(String, String)>,
    body: String,
    from: Ipv4Addr,
}

/// An answer.
#[derive(Debug)]
struct Answered {
    head: Head,
    body: Value,
    /// The body as it came.
    text: String,
}

impl<'a> Asked<'a> {
    fn get(call: &str) -> Self {
        let path = format!("/admin/api/{call}");
        Self { method: "GET", path, headers: Vec::new(), body: String::new(), from: Ipv4Addr::LOCALHOST }
    }

    /// A change as the page makes it.
    fn post(call: &str, body: &Value) -> Self {
        Self { method: "POST", body: body.to_string(), ..Self::get(call) }
            .with("content-type", "application/json")
            .with("x-gorani-admin", "1")
            .with("sec-fetch-site", "same-origin")
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(own, _)| own != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(own, _)| own != name);
        self
    }

    fn key(self, key: &str) -> Self {
        self.with("authorization", &format!("Bearer {key}"))
    }

    fn from(self, last: u8) -> Self {
        Self { from: Ipv4Addr::new(127, 0, 0, last), ..self }
    }

    fn send(&self, node: SocketAddr) -> Answered {
        let mut socket = RawSocket::connect_from(self.from, node);
        // A login waits for those before it, each of which takes a second or more on a busy machine.
        socket.stream().set_read_timeout(Some(ANSWER_TIME)).unwrap();
        let mut headers = self.headers.clone();
        if !headers.iter().any(|(name, _)| name == "host") {
            headers.push(("host".to_owned(), node.to_string()));
        }
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let (method, path, body) = (self.method, &self.path, &self.body);
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        socket.write(request.as_bytes()).unwrap();
        let head = socket.read_head().unwrap();
        let body = socket.read_body(&head).unwrap();
        let text = String::from_utf8_lossy(&body).into_owned();
        Answered { head, body: serde_json::from_slice(&body).unwrap_or(Value::Null), text }
    }

    /// The result of a request that succeeds.
    fn result(&self, node: SocketAddr) -> Value {
        let mut answered = self.send(node);
        assert_eq!(answered.head.status, 200, "{self:?}: {answered:?}");
        answered.body["result"].take()
    }
}

impl Answered {
    /// Status and code of the error.
    fn error(&self) -> (u16, &str) {
        (self.head.status, self.body["error"]["code"].as_str().unwrap_or_default())
    }

    fn cookie_line(&self) -> &str {
        self.head.header("set-cookie").unwrap_or_default()
    }

    /// Name and value of the cookie.
    fn cookie(&self) -> String {
        self.cookie_line().split(';').next().unwrap_or_default().to_owned()
    }
}

fn login(password: &str) -> Asked<'static> {
    Asked::post("login", &json!({"password": password}))
}

/// The status of a login with this password.
pub(crate) fn login_status(node: SocketAddr, password: &str) -> u16 {
    login(password).send(node).head.status
}

/// Reads of one node by a key.
fn read(node: SocketAddr, call: &str) -> Value {
    Asked::get(call).key(VIEWER).result(node)
}
