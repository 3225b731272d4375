//! The way of a client through the balancer: certificate, WebSockets, silence, streams, long bodies, the client's address, and one
//! SockJS session on several nodes.

use std::{
    io::{Read as _, Write as _},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

use super::{
    Finding,
    seen::{days_left, seen_address},
    websocket::{WebSocketFailed, WebSocketLink},
};
use crate::{
    CLIENT_PATH, CLIENT_SOCKJS_PATH,
    cli::{
        admin_client::AdminCallFailed,
        http_client::{WebAnswer, WebStream, host},
        terminal::printable,
    },
    endpoints::NOTHING_SERVED,
};

/// Bytes of a long body: the default of `api.body_max_bytes`.
const BODY_BYTES: usize = 1024 * 1024;
/// Requests for one SockJS session, each on a connection of its own: with two nodes that take turns both are met.
const SOCKJS_REQUESTS: usize = 8;
/// The first event of a stream comes at once, unless somebody keeps it back.
const FIRST_EVENT_WITHIN: Duration = Duration::from_secs(5);
/// A heartbeat may be late by so much.
const HEARTBEAT_SLACK: Duration = Duration::from_secs(3);
/// Bytes before the first event at most.
const STREAM_MAX_BYTES: usize = 64 * 1024;

/// The way through a balancer, to be looked at.
pub(super) struct Balancer<'a> {
    /// The address for clients.
    pub(super) url: &'a Url,
    /// With what.
    pub(super) token: Option<&'a str>,
    /// Time of silence.
    pub(super) idle: Duration,
    /// Longest time for an answer.
    pub(super) timeout: Duration,
}

impl Balancer<'_> {
    /// Looks. `address_of` tells the address of a client as the nodes see it.
    pub(super) fn findings(
        &self,
        address_of: impl Fn(&str) -> Result<String, AdminCallFailed> + Sync,
    ) -> Vec<Finding> {
        let mut findings = match self.reach() {
            Ok(reached) => reached,
            Err(finding) => return vec![finding],
        };
        thread::scope(|scope| {
            // These wait.
            let silent = scope.spawn(|| self.connection(&address_of));
            let stream = scope.spawn(|| self.stream());
            findings.extend([self.long_body(), self.sockjs()]);
            let broken = |check| Finding::unknown(check, "the test broke off", "");
            findings.push(stream.join().unwrap_or_else(|_| broken("stream")));
            findings.extend(silent.join().unwrap_or_else(|_| vec![broken("websocket")]));
        });
        findings
    }

    fn path(&self, path: &str) -> String {
        format!("{}{path}", self.url.path().trim_end_matches('/'))
    }

    fn request(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> std::io::Result<WebAnswer> {
        let mut stream = WebStream::open(self.url, self.timeout)?;
        stream.exchange(&self.bytes(method, path, headers, body))
    }

    fn bytes(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
        let mut request = format!(
            "{method} {} HTTP/1.1\r\nHost: {}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n",
            self.path(path),
            host(self.url),
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        request
    }

    /// Reaches a node, and looks at the certificate on the way.
    fn reach(&self) -> Result<Vec<Finding>, Finding> {
        let mut findings = Vec::new();
        let bad = |error: std::io::Error| {
            let advice = if self.url.scheme() == "https" {
                "look whether the name leads to the balancer, and whether its certificate is for this name, valid, and sent with its chain"
            } else {
                "look whether the balancer listens there, and whether a firewall lets this machine through"
            };
            Finding::bad("reachable", format!("{}: {error}", self.url.origin().ascii_serialization()), advice)
        };
        let mut stream = WebStream::open(self.url, self.timeout).map_err(bad)?;
        let answer = stream.exchange(&self.bytes("GET", "/health/ready", "", b"")).map_err(bad)?;
        findings.extend(stream.certificate().map(|certificate| days_left(&certificate)));
        findings.push(match answer.status {
            200 => Finding::fine("reachable", "a node answers, and is ready"),
            404 if answer.text().starts_with(NOTHING_SERVED) => {
                Finding::fine("reachable", "a node answers; its health is served on admin.address")
            }
            502..=504 => Finding::bad(
                "reachable",
                format!("the answer is {}", answer.status),
                "look whether the nodes are ready (gorani health), and whether the balancer has their addresses",
            ),
            status => Finding::unknown("reachable", format!("/health/ready answers {status}"), ""),
        });
        Ok(findings)
    }

    /// A WebSocket that says nothing for a while. Its address is asked for while it is open.
    fn connection(&self, address_of: impl Fn(&str) -> Result<String, AdminCallFailed>) -> Vec<Finding> {
        const CHECK: &str = "websocket";
        let mut link = match WebSocketLink::open(self.url, &self.path(CLIENT_PATH), self.timeout) {
            Ok(link) => link,
            Err(error) => return vec![Finding::bad(CHECK, error.to_string(), UPGRADE_ADVICE)],
        };
        let refused = |reason: String| {
            let text = format!("the node refuses to connect: {reason}");
            vec![Finding::fine(CHECK, "upgraded"), Finding::unknown("idle", text, GIVE_TOKEN)]
        };
        let reply = match self.connect(&mut link) {
            Ok(Some(reply)) if reply.get("connect").is_some() => reply,
            Ok(Some(reply)) => return refused(printable(&reply["error"].to_string())),
            Ok(None) => {
                let text = "upgraded, and then no answer";
                let advice = "look whether the balancer passes bytes on as they come, in both directions";
                return vec![Finding::bad(CHECK, text, advice)];
            }
            Err(error) => return refused(error.to_string()),
        };
        let connect = &reply["connect"];
        let local = link.stream().local_address().ok().map(|address| address.ip());
        let client = connect["client"].as_str().unwrap_or_default();
        let address = seen_address(address_of(client), local);
        let silent = self.stay(&mut link, connect["ping"].as_u64());
        vec![Finding::fine(CHECK, "upgraded and connected"), address, silent]
    }

    fn connect(&self, link: &mut WebSocketLink) -> Result<Option<Value>, WebSocketFailed> {
        let command = match self.token {
            Some(token) => json!({"id": 1, "connect": {"token": token}}),
            None => json!({"id": 1, "connect": {}}),
        };
        link.send(&command.to_string())?;
        reply_to(link, 1, Instant::now() + self.timeout)
    }

    /// Says nothing but pongs for a while, then asks.
    fn stay(&self, link: &mut WebSocketLink, ping_seconds: Option<u64>) -> Finding {
        const CHECK: &str = "idle";
        let began = Instant::now();
        let stayed = reply_to(link, 0, began + self.idle);
        let asked = stayed.and_then(|_| {
            // A refusal is an answer too.
            link.send(r#"{"id":2,"presence_stats":{"channel":"gorani-doctor"}}"#)?;
            reply_to(link, 2, Instant::now() + self.timeout)
        });
        let after = humantime::format_duration(Duration::from_secs(began.elapsed().as_secs()));
        let pings =
            ping_seconds.map_or_else(String::new, |seconds| format!("; the node pings every {seconds} s"));
        match asked {
            Ok(Some(_)) => {
                let idle = humantime::format_duration(self.idle);
                Finding::fine(CHECK, format!("a connection without messages stays for {idle}{pings}"))
            }
            Ok(None) => Finding::bad(
                CHECK,
                format!(
                    "no answer after {after} without messages: something on the way dropped the connection and told nobody"
                ),
                IDLE_ADVICE,
            ),
            Err(error) => Finding::bad(
                CHECK,
                format!("cut after {after} without messages ({error}){pings}"),
                IDLE_ADVICE,
            ),
        }
    }

    /// A stream whose first event should come at once, and whose heartbeats should come too: some who keep bytes back pass the first ones on.
    fn stream(&self) -> Finding {
        const CHECK: &str = "stream";
        let within = FIRST_EVENT_WITHIN.min(self.timeout);
        let read = || -> std::io::Result<(Vec<u8>, Option<Duration>)> {
            let mut stream = self.open_stream(within)?;
            let mut seen = Vec::new();
            while !contains(&seen, b"data:")
                && seen.len() < STREAM_MAX_BYTES
                && read_more(&mut stream, &mut seen)
            {}
            let ping = ping_interval(&seen).filter(|ping| *ping + HEARTBEAT_SLACK <= self.idle);
            let Some(ping) = ping else { return Ok((seen, None)) };
            stream.extend(ping + HEARTBEAT_SLACK);
            let is_late = !read_more(&mut stream, &mut seen);
            Ok((seen, is_late.then_some(ping)))
        };
        let (seen, late) = match read() {
            Ok(read) => read,
            Err(error) => return Finding::bad(CHECK, error.to_string(), BUFFER_ADVICE),
        };
        let status = seen.get(9..12).and_then(|status| std::str::from_utf8(status).ok()).unwrap_or_default();
        let has_event = contains(&seen, b"data:");
        match (status, late) {
            ("200", Some(ping)) => Finding::bad(
                CHECK,
                format!(
                    "no heartbeat came, and the node sends one every {}: something on the way keeps bytes back",
                    humantime::format_duration(ping)
                ),
                BUFFER_ADVICE,
            ),
            ("200", None) if has_event => Finding::fine(CHECK, "events come at once"),
            ("200" | "", _) => Finding::bad(
                CHECK,
                format!(
                    "no event within {}: something on the way keeps bytes back",
                    humantime::format_duration(within)
                ),
                BUFFER_ADVICE,
            ),
            (status, _) => {
                Finding::unknown(CHECK, format!("the answer is {}", printable(status)), GIVE_TOKEN)
            }
        }
    }

    fn open_stream(&self, within: Duration) -> std::io::Result<WebStream> {
        let token = self.token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let mut stream = WebStream::open(self.url, within)?;
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\n{token}Accept: text/event-stream\r\n\r\n",
            self.path("/connection/uni_sse"),
            host(self.url)
        );
        stream.write_all(request.as_bytes())?;
        stream.flush()?;
        stream.extend(within);
        Ok(stream)
    }

    /// A publish as long as a node takes.
    fn long_body(&self) -> Finding {
        const CHECK: &str = "body";
        let advice = "let bodies of api.body_max_bytes pass (nginx: client_max_body_size 2m)";
        let body = vec![b' '; BODY_BYTES];
        let answer = self.request("POST", "/api/info", "Content-Type: application/json\r\n", &body);
        match answer {
            Ok(answer) if answer.status == 413 => {
                Finding::bad(CHECK, "a body of 1 MiB is refused with 413", advice)
            }
            Ok(answer) if matches!(answer.status, 200 | 400 | 401) => {
                Finding::fine(CHECK, "a body of 1 MiB passes")
            }
            Ok(answer) if matches!(answer.status, 403 | 404) => Finding::fine(
                CHECK,
                format!("the API is not open on this way ({}): backends have another one", answer.status),
            ),
            Ok(answer) => Finding::unknown(CHECK, format!("the answer is {}", answer.status), ""),
            Err(error) => Finding::bad(CHECK, format!("a body of 1 MiB is cut off: {error}"), advice),
        }
    }

    /// Requests of one SockJS session on many connections.
    fn sockjs(&self) -> Finding {
        const CHECK: &str = "sockjs";
        let session = format!("doctor{:016x}", rand::random::<u64>());
        let path = |kind: &str| format!("{CLIENT_SOCKJS_PATH}/000/{session}/{kind}");
        match self.request("POST", &path("xhr"), "", b"") {
            Ok(answer) if answer.status == 200 && answer.body.starts_with(b"o") => {}
            Ok(answer) => {
                return Finding::unknown(
                    CHECK,
                    format!("a session cannot be opened: the answer is {}", answer.status),
                    "",
                );
            }
            Err(error) => return Finding::bad(CHECK, error.to_string(), ""),
        }
        for number in 1..=SOCKJS_REQUESTS {
            let sent = self.request("POST", &path("xhr_send"), "Content-Type: text/plain\r\n", b"[]");
            match sent {
                Ok(answer) if matches!(answer.status, 200 | 204) => {}
                Ok(answer) if answer.status == 404 => {
                    return Finding::bad(
                        CHECK,
                        format!("request {number} of a session met a node that does not know it"),
                        "make the nodes one cluster: broker.kind = \"redis\" with the same server and prefix, and cluster.advertise where they do not reach one another; sticky sessions are not needed then",
                    );
                }
                Ok(answer) => {
                    return Finding::unknown(
                        CHECK,
                        format!("request {number} is answered with {}", answer.status),
                        "",
                    );
                }
                Err(error) => return Finding::bad(CHECK, format!("request {number}: {error}"), ""),
            }
        }
        Finding::fine(CHECK, format!("{SOCKJS_REQUESTS} requests of one session on as many connections"))
    }
}

const UPGRADE_ADVICE: &str = "let the balancer pass Upgrade and Connection on, over HTTP/1.1 (nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection \"upgrade\")";
const BUFFER_ADVICE: &str = "switch buffering off for these paths (nginx: proxy_http_version 1.1, proxy_buffering off, and no proxy_ignore_headers X-Accel-Buffering), and compression and caches too";
const GIVE_TOKEN: &str = "give a connection token with --token";
const IDLE_ADVICE: &str = "raise the balancer's time-outs for silence above client.ping_interval, better to 75 s (nginx: proxy_read_timeout and proxy_send_timeout; HAProxy: timeout tunnel, client, server; the idle timeout of a cloud's balancer), or lower client.ping_interval";

/// The reply to a command; what comes before it is skipped, and pings are answered. `None`: not in time.
fn reply_to(link: &mut WebSocketLink, id: u64, give_up: Instant) -> Result<Option<Value>, WebSocketFailed> {
    while let Some(text) = link.receive(give_up)? {
        for line in text.lines() {
            let message: Value = serde_json::from_str(line).unwrap_or_default();
            if message.as_object().is_some_and(serde_json::Map::is_empty) {
                link.send("{}")?;
            } else if id != 0 && message["id"] == id {
                return Ok(Some(message));
            }
        }
    }
    Ok(None)
}

/// Reads what has come; false if nothing comes any more or in time.
fn read_more(stream: &mut WebStream, seen: &mut Vec<u8>) -> bool {
    let mut chunk = [0; 4096];
    match stream.read(&mut chunk) {
        Ok(0) | Err(_) => false,
        Ok(read) => {
            seen.extend_from_slice(chunk.get(..read).unwrap_or_default());
            true
        }
    }
}

/// The interval of heartbeats that the first event of a stream names.
fn ping_interval(seen: &[u8]) -> Option<Duration> {
    let text = String::from_utf8_lossy(seen);
    let (_, after) = text.split_once("\"ping\":")?;
    let digits = after.find(|c: char| !c.is_ascii_digit()).and_then(|end| after.get(..end))?;
    digits.parse().ok().map(Duration::from_secs)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_of_heartbeats_is_read_where_it_stands() {
        let interval = |text: &str| ping_interval(text.as_bytes()).map(|interval| interval.as_secs());
        assert_eq!(interval("data: {\"connect\":{\"client\":\"a\",\"ping\":25}}"), Some(25));
        assert_eq!(
            (interval("data: {\"ping\":"), interval("data: {\"ping\":-1}"), interval("")),
            (None, None, None)
        );
        assert_eq!(interval("\"ping\":99999999999999999999}"), None);
    }
}
