//! A subscriber as the SDKs are (`docs/protocols/client.md`): it reconnects with jittered backoff at another node, recovers by
//! offset and epoch, and writes down all that it is given.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::{SinkExt as _, StreamExt as _};
use gorani_tests::client::PATH;
use rand::RngExt as _;
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest as _},
};

use super::ledger::Position;

/// The SDKs' limits of the pause before connecting again; theirs goes on to 20 s.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(5);
/// The SDKs' patience with a command, and with a connection.
pub(crate) const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);
/// How much later than announced the SDKs let a ping be.
const PING_DELAY: Duration = Duration::from_secs(10);

/// What a subscriber was given, in order.
#[derive(Debug)]
pub(crate) enum Entry {
    Publication {
        number: u32,
        position: Position,
        at: Instant,
    },
    /// It was told that what lies between cannot be recovered.
    Told {
        before: Position,
        after: Position,
    },
}

/// What a subscriber wrote down.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) entries: Vec<Entry>,
    /// Where it stands.
    pub(crate) position: Position,
    pub(crate) is_subscribed: bool,
    /// Connections after the first.
    pub(crate) reconnects: usize,
    /// Times that the server told it to subscribe anew (2500).
    pub(crate) insufficient: usize,
    /// What no server should say.
    pub(crate) complaints: Vec<String>,
}

impl Record {
    /// The numbers of what it was given, each with the moment.
    pub(crate) fn publications(&self) -> impl Iterator<Item = (u32, Instant)> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Publication { number, at, .. } => Some((*number, *at)),
            Entry::Told { .. } => None,
        })
    }

    /// True if this was the last publication that it had.
    pub(crate) fn had_last(&self, newest: u32) -> bool {
        let last = self.entries.iter().rev().find_map(|entry| match entry {
            Entry::Publication { number, .. } => Some(*number),
            Entry::Told { .. } => None,
        });
        last == Some(newest)
    }
}

/// One subscriber of one channel.
#[derive(Debug)]
pub(crate) struct Subscriber {
    pub(crate) channel: String,
    pub(crate) nodes: Vec<SocketAddr>,
    /// Index of the node that it tries first.
    pub(crate) first: usize,
    pub(crate) record: Arc<Mutex<Record>>,
}

/// Why a connection is over.
#[derive(Debug)]
enum End {
    /// Try again.
    Lost,
    /// The server said that there is no coming back.
    Terminal(String),
}

pub(crate) type Socket = WebSocketStream<TcpStream>;

impl Subscriber {
    /// Runs for ever.
    pub(crate) async fn run(self) {
        let mut node = self.first;
        let mut attempt = 0;
        loop {
            let end = self.connection(self.nodes[node % self.nodes.len()], &mut attempt).await;
            {
                let mut record = self.record.lock().unwrap();
                record.is_subscribed = false;
                record.reconnects += 1;
                if let End::Terminal(reason) = end {
                    record.complaints.push(reason);
                }
            }
            // As a balancer that goes round: another one each time.
            node += 1;
            sleep(pause(attempt)).await;
            attempt += 1;
        }
    }

    async fn connection(&self, node: SocketAddr, attempt: &mut u32) -> End {
        let Ok(Some(mut socket)) = timeout(COMMAND_TIMEOUT, open(node)).await else { return End::Lost };
        let mut last_id = 2;
        let first = format!("{}\n{}", json!({"id": 1, "connect": {}}), self.subscribe(2));
        if socket.send(Message::text(first)).await.is_err() {
            return End::Lost;
        }
        let mut ping = COMMAND_TIMEOUT;
        let mut retries = 0;
        // Until the subscription is answered there is a command under way.
        let mut answer_by = Some(Instant::now() + COMMAND_TIMEOUT);
        let mut subscribe_at: Option<Instant> = None;
        loop {
            let now = Instant::now();
            let mut wait = ping;
            for deadline in [answer_by, subscribe_at].into_iter().flatten() {
                wait = wait.min(deadline.saturating_duration_since(now));
            }
            let message = match timeout(wait, socket.next()).await {
                Ok(Some(Ok(message))) => message,
                Ok(_) => return End::Lost,
                Err(_) if subscribe_at.is_some_and(|at| at <= Instant::now()) => {
                    last_id += 1;
                    (subscribe_at, answer_by) = (None, Some(Instant::now() + COMMAND_TIMEOUT));
                    if socket.send(Message::text(self.subscribe(last_id))).await.is_err() {
                        return End::Lost;
                    }
                    continue;
                }
                Err(_) => return End::Lost,
            };
            let text = match message {
                Message::Text(text) => text,
                Message::Close(Some(close)) => {
                    let code = u16::from(close.code);
                    return match code {
                        3500..=3999 | 4500..=4999 => {
                            End::Terminal(format!("closed with {code} {}", close.reason))
                        }
                        _ => End::Lost,
                    };
                }
                Message::Close(None) => return End::Lost,
                _ => continue,
            };
            for line in text.as_str().split('\n') {
                let Ok(object) = serde_json::from_str::<Value>(line) else {
                    return End::Terminal(format!("no JSON: {line:?}"));
                };
                if object == json!({}) {
                    if socket.send(Message::text("{}")).await.is_err() {
                        return End::Lost;
                    }
                } else if let Some(connect) = object.get("connect") {
                    ping = Duration::from_secs(connect["ping"].as_u64().unwrap_or(25)) + PING_DELAY;
                } else if let Some(reply) = object.get("subscribe") {
                    (answer_by, *attempt, retries) = (None, 0, 0);
                    self.subscribed(reply);
                } else if let Some(error) = object.get("error") {
                    if object["id"] == 1 {
                        return End::Lost;
                    }
                    if error["temporary"] != true {
                        return End::Terminal(format!("refused: {error}"));
                    }
                    answer_by = None;
                    subscribe_at = Some(Instant::now() + pause(retries));
                    retries += 1;
                } else if object["push"]["pub"].is_object() {
                    self.publication(&object["push"]["pub"]);
                } else if let Some(unsubscribe) = object["push"].get("unsubscribe") {
                    if unsubscribe["code"].as_u64() < Some(2500) {
                        return End::Terminal(format!("unsubscribed: {unsubscribe}"));
                    }
                    let mut record = self.record.lock().unwrap();
                    (record.is_subscribed, subscribe_at) = (false, Some(Instant::now()));
                    record.insufficient += 1;
                } else {
                    return End::Terminal(format!("unexpected: {object}"));
                }
            }
        }
    }

    /// The command, with the position from the second time on.
    fn subscribe(&self, id: u32) -> String {
        let position = self.record.lock().unwrap().position.clone();
        let mut subscribe = json!({"channel": self.channel});
        if !position.epoch.is_empty() {
            subscribe["recover"] = true.into();
            subscribe["offset"] = position.offset.into();
            subscribe["epoch"] = position.epoch.into();
        }
        json!({"id": id, "subscribe": subscribe}).to_string()
    }

    fn subscribed(&self, reply: &Value) {
        let mut record = self.record.lock().unwrap();
        let position = Position {
            epoch: reply["epoch"].as_str().unwrap_or_default().to_owned(),
            offset: reply["offset"].as_u64().unwrap_or_default(),
        };
        record.is_subscribed = true;
        if reply["recoverable"] != true {
            record.complaints.push(format!("not recoverable: {reply}"));
        }
        if record.position.epoch.is_empty() {
            record.position = position;
        } else if reply["recovered"] == true {
            // Another epoch continues the one before (record 34); whether nothing is missing is checked by numbers. The
            // publications bring the offset.
            record.position.epoch = position.epoch;
        } else {
            let before = std::mem::replace(&mut record.position, position.clone());
            record.entries.push(Entry::Told { before, after: position });
        }
        drop(record);
        for publication in reply["publications"].as_array().into_iter().flatten() {
            self.publication(publication);
        }
    }

    fn publication(&self, publication: &Value) {
        let mut record = self.record.lock().unwrap();
        let (Some(number), Some(offset)) = (publication["data"].as_u64(), publication["offset"].as_u64())
        else {
            return record.complaints.push(format!("a publication without number or offset: {publication}"));
        };
        record.position.offset = offset;
        let entry = Entry::Publication {
            number: u32::try_from(number).unwrap_or_default(),
            position: record.position.clone(),
            at: Instant::now(),
        };
        record.entries.push(entry);
    }
}

pub(crate) async fn open(node: SocketAddr) -> Option<Socket> {
    let stream = TcpStream::connect(node).await.ok()?;
    stream.set_nodelay(true).ok()?;
    let request = format!("ws://{node}{PATH}").into_client_request().ok()?;
    Some(client_async(request, stream).await.ok()?.0)
}

/// The SDKs' backoff: at least the first pause, and a random part that doubles.
fn pause(attempt: u32) -> Duration {
    let random = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(attempt.min(16))).min(LAST_PAUSE);
    (FIRST_PAUSE + random.mul_f64(rand::rng().random())).min(LAST_PAUSE)
}
