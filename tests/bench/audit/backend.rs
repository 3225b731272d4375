//! A careful backend: it publishes at any node, with a key for each message, and tries again until it is told.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use gorani_tests::node::API_KEY;
use rand::RngExt as _;
use serde_json::{Value, json};
use ureq::Agent;

use super::ledger::{Accepted, Ledger, Position, channel_name};

/// How long one attempt may take: longer than a node's own time-out, so that mostly the node says what happened.
const ATTEMPT: Duration = Duration::from_secs(5);
/// How long a message is tried.
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// Pause between two attempts, at random up to the second.
const PAUSE: std::ops::Range<u64> = 50..200;

/// What one attempt says.
enum Answer {
    Accepted(Position),
    /// Nothing was done.
    Refused,
    Unknown,
    Unexpected(String),
}

/// Publishes at this pace, into all channels at random, until it is told to stop; then ends what it has begun.
pub(crate) fn publish(ledger: &Ledger, nodes: &[SocketAddr], every: Duration, stop: &AtomicBool) {
    let agent: Agent =
        Agent::config_builder().http_status_as_error(false).timeout_global(Some(ATTEMPT)).build().into();
    let mut random = rand::rng();
    let mut next = Instant::now() + every.mul_f64(random.random());
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(next.saturating_duration_since(Instant::now()));
        next = Instant::now().max(next + every);
        let index = random.random_range(0..ledger.channels.len());
        let channel = &ledger.channels[index];
        let number = channel.number();
        let sent = Instant::now();
        let request = json!({
            "channel": channel_name(index),
            "data": number,
            "idempotency_key": number.to_string(),
        });
        loop {
            match attempt(&agent, nodes[random.random_range(0..nodes.len())], &request) {
                Answer::Accepted(position) => {
                    channel.accept(number, Accepted { position, sent });
                    break;
                }
                Answer::Refused => ledger.refused.fetch_add(1, Ordering::Relaxed),
                Answer::Unknown => ledger.unknown.fetch_add(1, Ordering::Relaxed),
                Answer::Unexpected(answer) => {
                    ledger.complain(format!("publish: {answer}"));
                    ledger.unknown.fetch_add(1, Ordering::Relaxed)
                }
            };
            if sent.elapsed() > TIME_LIMIT {
                ledger.given_up.fetch_add(1, Ordering::Relaxed);
                break;
            }
            thread::sleep(Duration::from_millis(random.random_range(PAUSE)));
        }
    }
}

fn attempt(agent: &Agent, node: SocketAddr, request: &Value) -> Answer {
    let sent = agent
        .post(format!("http://{node}/api/publish"))
        .header("X-API-Key", API_KEY)
        .content_type("application/json")
        .send(request.to_string());
    let mut response = match sent {
        Ok(response) => response,
        Err(ureq::Error::Io(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            return Answer::Refused;
        }
        Err(_) => return Answer::Unknown,
    };
    let status = response.status().as_u16();
    let Ok(body) = response.body_mut().read_to_string() else { return Answer::Unknown };
    let answer: Value = serde_json::from_str(&body).unwrap_or_default();
    match (status, answer["error"]["code"].as_u64()) {
        (200, None) => Answer::Accepted(Position {
            epoch: answer["result"]["epoch"].as_str().unwrap_or_default().to_owned(),
            offset: answer["result"]["offset"].as_u64().unwrap_or_default(),
        }),
        (503, Some(120)) | (429, Some(111)) => Answer::Refused,
        (503, Some(121)) => Answer::Unknown,
        _ => Answer::Unexpected(format!("{status} {body}")),
    }
}

/// What a channel's history holds in the end, and its top: `(number, position)`.
pub(crate) fn history(node: SocketAddr, index: usize) -> Result<(Vec<(u32, Position)>, Position), String> {
    let api = gorani_tests::http::Api::new(node, API_KEY);
    let mut publications = Vec::new();
    let mut since = 0;
    loop {
        let mut request = json!({"channel": channel_name(index), "limit": 300});
        if since > 0 {
            request["since"] = json!({"offset": since});
        }
        let (status, mut answer) = api.call("history", &request);
        if status != 200 {
            return Err(format!("history: {status} {answer}"));
        }
        let page = answer["result"].take();
        let epoch = page["epoch"].as_str().unwrap_or_default().to_owned();
        let top = Position { epoch: epoch.clone(), offset: page["offset"].as_u64().unwrap_or_default() };
        let part = page["publications"].as_array().cloned().unwrap_or_default();
        for publication in &part {
            since = publication["offset"].as_u64().unwrap_or_default();
            let number = publication["data"].as_u64().and_then(|number| u32::try_from(number).ok());
            publications.push((number.unwrap_or_default(), Position { epoch: epoch.clone(), offset: since }));
        }
        if part.is_empty() || since >= top.offset {
            return Ok((publications, top));
        }
    }
}
