//! What this node wants to hear, and the one place from which the sink is called. [`Sink`] (calling rules).
//!
//! The connection's reader hands over every message, in order and without waiting. Everything happens under one lock, so
//! that nothing reaches the sink after an unsubscribe, and no two calls overlap when one connection follows another.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use redis::{PushInfo, PushKind, Value};
use tokio::time::Instant;

use super::wire::decode_message;
use crate::Sink;

/// Names of pub/sub channels in Redis.
pub(super) type Names = Vec<String>;

#[derive(Default)]
struct State {
    sink: Option<Arc<dyn Sink>>,
    /// The connection that is heard; messages of earlier ones are too late.
    generation: u64,
    /// Channels by their names in Redis.
    interest: HashMap<String, Arc<str>>,
    heard: Option<Instant>,
}

/// See the module's head.
pub(super) struct Ear {
    state: Mutex<State>,
    canary: String,
    /// The names under which this node is sent messages; set before the first connection.
    messages: OnceLock<Names>,
}

impl Ear {
    pub(super) fn new(canary: String) -> Self {
        Self { state: Mutex::default(), canary, messages: OnceLock::new() }
    }

    /// The pub/sub channel on which this node hears itself.
    pub(super) fn canary(&self) -> &str {
        &self.canary
    }

    pub(super) fn set_sink(&self, sink: Arc<dyn Sink>) {
        self.state.lock().sink = Some(sink);
    }

    /// Messages are sent to this node under these names. Only the first call counts.
    pub(super) fn want_messages(&self, names: Names) {
        let _ = self.messages.set(names);
    }

    fn messages(&self) -> &[String] {
        self.messages.get().map_or(&[], Vec::as_slice)
    }

    fn is_message(&self, name: &str) -> bool {
        self.messages().iter().any(|wanted| wanted == name)
    }

    /// A new connection; earlier ones are no longer heard.
    pub(super) fn begin(&self) -> u64 {
        let mut state = self.state.lock();
        state.generation += 1;
        state.generation
    }

    /// How long ago the node heard itself.
    pub(super) fn silence(&self) -> Option<Duration> {
        self.state.lock().heard.map(|heard| heard.elapsed())
    }

    /// The node heard itself, or cannot be expected to yet.
    pub(super) fn heard_now(&self) {
        self.state.lock().heard = Some(Instant::now());
    }

    /// Adds to the interest, and does `then` before anybody else can change it.
    pub(super) fn want<T>(&self, channels: Vec<(String, Arc<str>)>, then: impl FnOnce() -> T) -> T {
        let mut state = self.state.lock();
        state.interest.extend(channels);
        then()
    }

    /// Takes from the interest, and does `then` before anybody else can change it.
    pub(super) fn drop_interest<T>(&self, names: &Names, then: impl FnOnce() -> T) -> T {
        let mut state = self.state.lock();
        for name in names {
            state.interest.remove(name);
        }
        then()
    }

    /// Everything wanted now.
    pub(super) fn interest(&self) -> Names {
        self.messages().iter().chain(self.state.lock().interest.keys()).cloned().collect()
    }

    /// Those of the names that are no longer wanted.
    pub(super) fn unwanted(&self, names: Names) -> Names {
        let state = self.state.lock();
        let is_wanted = |name: &String| state.interest.contains_key(name) || self.is_message(name);
        names.into_iter().filter(|name| !is_wanted(name)).collect()
    }

    /// Tells the sink of a gap in each of these channels that is still wanted.
    pub(super) fn tell_gaps(&self, names: &Names) {
        for name in names {
            // Locked for each, so that a large set does not keep messages waiting.
            let state = self.state.lock();
            if let (Some(sink), Some(channel)) = (&state.sink, state.interest.get(name)) {
                sink.on_gap(channel);
            }
        }
    }

    /// What the server pushed over the connection of that generation.
    pub(super) fn hear(&self, generation: u64, pushed: PushInfo) {
        if !matches!(pushed.kind, PushKind::Message | PushKind::SMessage) {
            return;
        }
        let mut parts = pushed.data.into_iter();
        let (Some(Value::BulkString(name)), Some(Value::BulkString(message))) = (parts.next(), parts.next())
        else {
            return;
        };
        let Ok(name) = std::str::from_utf8(&name) else { return };
        if name == self.canary {
            let mut state = self.state.lock();
            if state.generation == generation {
                state.heard = Some(Instant::now());
            }
            return;
        }
        if self.is_message(name) {
            let state = self.state.lock();
            if let Some(sink) = state.sink.as_ref().filter(|_| state.generation == generation) {
                sink.on_message(Bytes::from(message));
            }
            return;
        }
        let event = decode_message(Bytes::from(message));
        let state = self.state.lock();
        if state.generation != generation {
            return;
        }
        if let (Some(sink), Some(channel)) = (&state.sink, state.interest.get(name)) {
            match event {
                Ok(event) => sink.on_event(channel, event),
                Err(error) => {
                    tracing::warn!(channel = &**channel, %error, "a message cannot be read");
                    sink.on_gap(channel);
                }
            }
        }
    }
}
