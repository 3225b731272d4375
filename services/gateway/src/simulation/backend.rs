//! The backend that nodes ask in a share of the worlds. It answers when a step says so: it grants, refuses, fails, or lets the time
//! pass. What it was asked and what it said is held against what clients are told.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::Arc,
};

use actix_http::StatusCode;
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::delivery_log::{DeliveryLog, number_of};
use crate::backend::{
    BackendAnswer, PostError,
    simulated::{self, SimulatedPost},
};

/// Ways to answer: grant, refuse, end the client's connection, break off, be unreachable, fail.
pub(super) const ANSWERS: usize = 6;
/// The way that grants.
pub(super) const GRANT: usize = 0;
const REFUSE: usize = 1;
const END: usize = 2;
const LOSE: usize = 3;
const UNREACHABLE: usize = 4;

/// Gives every fourth world a backend.
pub(super) fn asks(seed: u64) -> bool {
    seed % 4 == 2
}

/// The backend.
#[derive(Clone, Default)]
pub(super) struct SimBackend(Arc<Mutex<BackendState>>);

#[derive(Default)]
struct BackendState {
    calls: BTreeMap<usize, BackendCall>,
    next: usize,
    /// By client and kind, the highest number that it was asked about: calls of `rpc`, and publications.
    newest: BTreeMap<(String, &'static str), u64>,
    /// Of each such number the error codes that its client may be told, 0 for none. Empty while no answer was given.
    answered: BTreeMap<u64, u64>,
    /// By client and channel, whether the last answer lets it in.
    lets_in: BTreeMap<(String, String), bool>,
    /// Publications that it refused.
    refused: BTreeSet<(String, u64)>,
    violations: Vec<String>,
}

struct BackendCall {
    kind: String,
    body: Value,
    answer: oneshot::Sender<Result<BackendAnswer, PostError>>,
}

impl BackendCall {
    fn text(&self, field: &str) -> String {
        self.body[field].as_str().unwrap_or_default().to_owned()
    }

    fn number(&self) -> Option<u64> {
        number_of(self.body["data"].to_string().as_bytes())
    }

    /// Receivers take a refusal for good, and are let in.
    fn is_of_receiver(&self) -> bool {
        self.body["transport"] != "websocket"
    }
}

impl SimBackend {
    /// All requests of this thread go to this backend from now on.
    pub(super) fn install(&self) {
        let state = self.0.clone();
        let post: SimulatedPost = Rc::new(move |endpoint, body| {
            let (answer, answered) = oneshot::channel();
            let kind = endpoint.path().trim_start_matches('/').to_owned();
            let body = serde_json::from_slice(body).unwrap_or_default();
            state.lock().take(BackendCall { kind, body, answer });
            async move { answered.await.unwrap_or(Err(PostError::Lost("the world ended".to_owned()))) }
                .boxed_local()
        });
        simulated::set(Some(post));
    }

    /// The calls that wait for an answer.
    pub(super) fn waiting(&self) -> Vec<usize> {
        let mut state = self.0.lock();
        state.calls.retain(|_, call| !call.answer.is_closed());
        state.calls.keys().copied().collect()
    }

    /// Answers a call. False if there is none.
    pub(super) fn answer(&self, number: usize, way: usize) -> Option<String> {
        self.0.lock().answer(number, way)
    }

    /// Holds the reply to a call of `rpc` against the answer: it comes after those to earlier calls, and belongs to this one.
    /// `last`: the number of the last call that was answered.
    pub(super) fn check_rpc(&self, number: u64, reply: &Value, last: &mut u64) -> Result<(), String> {
        if number < *last {
            return Err(format!("rpc {number} is answered after {last}"));
        }
        *last = number;
        let error = reply.get("error");
        let told = reply.pointer("/rpc/data/n").and_then(Value::as_u64);
        if error.is_none() && told != Some(number) {
            return Err("the answer to another call".to_owned());
        }
        let code = error.and_then(|error| error.get("code")).and_then(Value::as_u64).unwrap_or(0);
        let state = self.0.lock();
        match state.answered.get(&number) {
            Some(expected) if *expected == code => Ok(()),
            Some(expected) => Err(format!("code {code} in the place of {expected}")),
            // Its time was over.
            None if code == 121 => Ok(()),
            None => Err(format!("code {code} without an answer")),
        }
    }

    /// Holds a subscription against the answer that it follows from.
    pub(super) fn check_subscribed(&self, client: &str, channel: &str) -> Result<(), String> {
        if channel.starts_with("short") {
            return Ok(());
        }
        let is_let_in = self.0.lock().lets_in.get(&(client.to_owned(), channel.to_owned())).copied();
        if is_let_in == Some(true) {
            return Ok(());
        }
        Err(format!("subscribed to {channel} although the backend said {is_let_in:?}"))
    }

    /// Contradictions to its answers so far.
    pub(super) fn violations(&self, log: &DeliveryLog) -> Vec<String> {
        let state = self.0.lock();
        let published = state.refused.iter().filter(|(channel, number)| log.get(channel, *number).is_some());
        let published = published.map(|(channel, number)| {
            format!("{channel}: publication {number} is there although the backend refused it")
        });
        state.violations.iter().cloned().chain(published).collect()
    }
}

impl BackendState {
    fn take(&mut self, call: BackendCall) {
        let lane = match call.kind.as_str() {
            "rpc" => Some("rpc"),
            "publish" => Some("publish"),
            _ => None,
        };
        if let (Some(lane), Some(number)) = (lane, call.number()) {
            let newest = self.newest.entry((call.text("client"), lane)).or_default();
            if number < *newest {
                self.violations.push(format!("{lane} {number} is asked about after {newest}"));
            }
            if number == *newest && self.answered.get(&number) != Some(&100) {
                self.violations.push(format!("{lane} {number} is asked about again"));
            }
            *newest = number;
            self.answered.remove(&number);
            self.refused.remove(&(call.text("channel"), number));
        }
        self.calls.insert(self.next, call);
        self.next += 1;
    }

    fn answer(&mut self, number: usize, way: usize) -> Option<String> {
        let call = self.calls.remove(&number).filter(|call| !call.answer.is_closed())?;
        let way = if call.is_of_receiver() { GRANT } else { way };
        let (result, code) = match (call.kind.as_str(), way) {
            ("connect", GRANT) => (Ok(json!({ "result": { "user": "" } })), 0),
            ("rpc", GRANT) => (Ok(json!({ "result": { "data": call.body["data"] } })), 0),
            (_, GRANT) => (Ok(json!({ "result": {} })), 0),
            (_, REFUSE) => (Ok(json!({ "error": { "code": 1000, "message": "no" } })), 1000),
            (_, END) => (Ok(json!({ "disconnect": { "code": 4000, "reason": "come again" } })), 4000),
            (_, LOSE) => (Err(PostError::Lost("reset".to_owned())), 121),
            (_, UNREACHABLE) => (Err(PostError::Connect("refused".to_owned())), 100),
            _ => (Ok(Value::Null), 121),
        };
        if let Some(number) = call.number() {
            self.answered.insert(number, code);
            if call.kind == "publish" && way != GRANT {
                self.refused.insert((call.text("channel"), number));
            }
        }
        if call.kind == "subscribe" {
            self.lets_in.insert((call.text("client"), call.text("channel")), way == GRANT);
        }
        let said = format!("{} {}: {way}", call.kind, call.body);
        let answer = result.map(|body| BackendAnswer {
            status: if body.is_null() { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK },
            retry_after: None,
            body: body.to_string().into(),
            took: std::time::Duration::ZERO,
        });
        call.answer.send(answer).ok().map(|()| said)
    }
}
