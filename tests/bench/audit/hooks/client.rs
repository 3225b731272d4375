//! A client of the audit of hooks: it connects as a user, enters rooms and leaves them, goes in an orderly way or without a word,
//! and comes back. It writes down each session that the node let in.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{SinkExt as _, StreamExt as _};
use rand::RngExt as _;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;

use super::super::subscriber::{COMMAND_TIMEOUT, open};

/// Rooms that clients enter.
pub(super) const ROOMS: u32 = 12;
/// A session that comes and goes stays for so long at most.
const LONGEST_STAY: Duration = Duration::from_millis(2_500);
/// Pause between two steps of a client.
const LONGEST_PAUSE: Duration = Duration::from_millis(400);

/// A session that a client had.
#[derive(Debug, Clone)]
pub(super) struct SessionRecord {
    /// Client id, from the reply to its connect.
    pub(super) client: String,
    pub(super) user: String,
    /// Index of the node.
    pub(super) node: usize,
    pub(super) began: Instant,
    /// Absent as long as it goes on.
    pub(super) ended: Option<Instant>,
}

/// All sessions of all clients.
pub(super) type SessionRecords = Arc<Mutex<Vec<SessionRecord>>>;

/// The signal by which clients stop.
#[derive(Debug, Default)]
pub(super) struct Stop {
    /// Those that come and go stop.
    pub(super) is_quiet: AtomicBool,
    /// All end their sessions.
    pub(super) is_over: AtomicBool,
}

/// One client.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) nodes: Vec<SocketAddr>,
    pub(super) user: String,
    pub(super) token: String,
    /// True: it stays as long as the node lets it, and comes back.
    pub(super) stays: bool,
    pub(super) records: SessionRecords,
    pub(super) stop: Arc<Stop>,
}

impl Client {
    fn must_end(&self) -> bool {
        self.stop.is_over.load(Ordering::Relaxed)
            || (!self.stays && self.stop.is_quiet.load(Ordering::Relaxed))
    }

    /// Runs until it is stopped.
    pub(super) async fn run(self) {
        while !self.must_end() {
            let node = rand::rng().random_range(0..self.nodes.len());
            let record = self.session(node).await;
            if let Some(index) = record {
                self.records.lock().unwrap()[index].ended = Some(Instant::now());
            }
            let pause = LONGEST_PAUSE.mul_f64(rand::rng().random());
            sleep(pause).await;
        }
    }

    /// One session. Gives the index of its record, if the node let it in.
    async fn session(&self, node: usize) -> Option<usize> {
        let mut socket = timeout(COMMAND_TIMEOUT, open(self.nodes[node])).await.ok()??;
        let first = format!(
            "{}\n{}",
            json!({"id": 1, "connect": {"token": self.token}}),
            json!({"id": 2, "subscribe": {"channel": room()}})
        );
        socket.send(Message::text(first)).await.ok()?;
        let leaves_at = Instant::now() + LONGEST_STAY.mul_f64(rand::rng().random());
        let (mut index, mut last_id) = (None, 2);
        loop {
            let is_over = self.must_end() || (!self.stays && Instant::now() >= leaves_at);
            if is_over && index.is_some() {
                let is_orderly: bool = rand::rng().random();
                if is_orderly {
                    // Nobody but the node knows whether the close arrives.
                    let _ = socket.close(None).await;
                }
                return index;
            }
            let message = match timeout(LONGEST_PAUSE, socket.next()).await {
                Ok(Some(Ok(Message::Text(text)))) => text,
                Ok(Some(Ok(_))) => continue,
                Ok(_) => return index,
                Err(_) => {
                    if !self.stays {
                        last_id += 1;
                        socket.send(Message::text(step(last_id))).await.ok();
                    }
                    continue;
                }
            };
            for line in message.as_str().split('\n') {
                let Ok(object) = serde_json::from_str::<Value>(line) else { return index };
                if object == json!({}) {
                    socket.send(Message::text("{}")).await.ok();
                } else if let Some(client) = object["connect"]["client"].as_str() {
                    let mut records = self.records.lock().unwrap();
                    index = Some(records.len());
                    records.push(SessionRecord {
                        client: client.to_owned(),
                        user: self.user.clone(),
                        node,
                        began: Instant::now(),
                        ended: None,
                    });
                } else if object["id"] == 1 && object["error"].is_object() {
                    return index;
                }
            }
        }
    }
}

/// A step of a client that comes and goes.
fn step(id: u32) -> String {
    let channel = room();
    if rand::rng().random() {
        json!({"id": id, "subscribe": {"channel": channel}}).to_string()
    } else {
        json!({"id": id, "unsubscribe": {"channel": channel}}).to_string()
    }
}

fn room() -> String {
    format!("room:{}", rand::rng().random_range(0..ROOMS))
}
