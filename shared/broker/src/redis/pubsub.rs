//! The interest of this node on one server, the server's confirmations, and the only caller of the sink.
//! [`Sink`] (calling rules), `docs/architecture.md` §5.1, §5.5.
//!
//! The connection's reader hands over everything that the server pushes, in order and without waiting. The sink is called under one
//! lock (`delivery`), so that nothing reaches it after an unsubscribe, and no two calls overlap when one connection follows
//! another. What is wanted and confirmed stands under another lock, which is never held while the sink is called: a call that
//! subscribes does not wait until the workers' inboxes are filled. The server's pushes alone say what is confirmed: a
//! name is confirmed from the server's confirmation on, and no longer when the server ends it by itself (its slot went
//! to another server).

mod state;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use redis::{PushInfo, PushKind, Value};
use tokio::{sync::Notify, time::Instant};

use self::state::{PubSubState, SinkEvent};
pub(super) use self::state::{SubscriptionKind, Waiter, WantedChannel};
use super::{canary::Canary, counters::Counters, wire::decode_message};
use crate::{BrokerError, Sink};

/// Names of pub/sub channels in Redis.
pub(super) type RedisChannels = Vec<String>;

/// The sink, and what the pub/sub state of all servers shares in telling it.
#[derive(Default)]
pub(super) struct SinkHandle {
    sink: OnceLock<Arc<dyn Sink>>,
    /// Messages of nodes come from several servers, and are handed over one at a time.
    messages: Mutex<()>,
    counters: Arc<Counters>,
}

impl SinkHandle {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        Self { counters, ..Self::default() }
    }

    pub(super) fn set_sink(&self, sink: Arc<dyn Sink>) {
        let _ = self.sink.set(sink);
    }
}

/// The interest of this node on one server, and the only caller of the sink.
pub(super) struct PubSub {
    /// Held while the sink is called. Taken before `state`, where both are.
    delivery: Mutex<()>,
    state: Mutex<PubSubState>,
    sink: Arc<SinkHandle>,
    /// Notifies the task that a name has to be subscribed.
    wake: Notify,
}

impl PubSub {
    pub(super) fn new(sink: Arc<SinkHandle>, canary: String) -> Self {
        let state = PubSubState { canary: Canary::new(canary), ..PubSubState::default() };
        Self { delivery: Mutex::default(), state: Mutex::new(state), sink, wake: Notify::new() }
    }

    /// Gives `with` the state of the canaries, for as long as it runs.
    pub(super) fn canary<T>(&self, with: impl FnOnce(&mut Canary) -> T) -> T {
        with(&mut self.state.lock().canary)
    }

    /// Begins a new connection; pushes of earlier ones no longer count.
    pub(super) fn begin(&self) -> u64 {
        let mut state = self.state.lock();
        let state = &mut *state;
        state.generation += 1;
        state.leaving.clear();
        for (name, wanted) in &mut state.wanted {
            wanted.is_heard = false;
            wanted.has_gap = true;
            if !state.unheard.contains(name) {
                state.unheard.insert(name.clone());
            }
        }
        state.generation
    }

    /// The number of names that are wanted.
    pub(super) fn wanted(&self) -> usize {
        self.state.lock().wanted.len()
    }

    /// Time since a confirmed subscription was lost, although the connection stands.
    pub(super) fn lost_for(&self) -> Option<Duration> {
        self.state.lock().lost.map(|lost| lost.elapsed())
    }

    /// Wants these names, and calls `ask` with those that are not confirmed, before another call can change it.
    pub(super) fn want<T>(
        &self,
        names: Vec<(String, SubscriptionKind)>,
        waiter: Option<&Arc<Waiter>>,
        ask: impl FnOnce(RedisChannels) -> T,
    ) -> T {
        let mut state = self.state.lock();
        let mut unheard = RedisChannels::new();
        for (name, kind) in names {
            let wanted = state.wanted.entry(name.clone()).or_insert_with(|| WantedChannel::new(kind.clone()));
            wanted.kind = kind;
            if wanted.is_heard {
                waiter.into_iter().for_each(|waiter| waiter.count_down());
            } else {
                // Callers that retry while a name is not confirmed must not pile up.
                wanted.waiters.retain(|waiter| !waiter.is_given_up());
                wanted.waiters.extend(waiter.cloned());
                unheard.push(name);
            }
        }
        state.unheard.extend(unheard.iter().cloned());
        ask(unheard)
    }

    /// No longer wants these, and calls `ask`, which says if the server is going to be asked to end them, before another call
    /// can change it.
    pub(super) fn drop_interest(&self, names: &RedisChannels, ask: impl FnOnce() -> bool) {
        // What is being delivered now may be of one of them.
        let _delivered = self.delivery.lock();
        let mut state = self.state.lock();
        for name in names {
            state.forget(name);
        }
        if ask() {
            state.leave(names);
        }
    }

    /// Everything wanted now.
    pub(super) fn interest(&self) -> RedisChannels {
        self.state.lock().wanted.keys().cloned().collect()
    }

    /// The wanted names that are not confirmed.
    pub(super) fn unconfirmed(&self) -> RedisChannels {
        self.state.lock().unheard.iter().cloned().collect()
    }

    /// Those of the names that are no longer wanted; the server is going to be asked to end them.
    pub(super) fn leave_unwanted(&self, names: RedisChannels) -> RedisChannels {
        let mut state = self.state.lock();
        let unwanted: RedisChannels =
            names.into_iter().filter(|name| !state.wanted.contains_key(name)).collect();
        state.leave(&unwanted);
        unwanted
    }

    /// Gives the waiters an error, since the connection is gone; what they want stays wanted.
    pub(super) fn fail_waiters(&self, reason: &str) {
        let mut state = self.state.lock();
        let state = &mut *state;
        for name in &state.unheard {
            for waiter in
                state.wanted.get_mut(name).map(|wanted| std::mem::take(&mut wanted.waiters)).iter().flatten()
            {
                waiter.end(Err(BrokerError::Unavailable(reason.to_owned())));
            }
        }
    }

    /// Gives away the names that belong to other servers now. None of their events reaches the sink from here after this returns.
    pub(super) fn hand_over(&self, is_theirs: impl Fn(&str) -> bool) -> Vec<(String, WantedChannel)> {
        let _delivered = self.delivery.lock();
        let mut state = self.state.lock();
        state.leaving.retain(|name, _| !is_theirs(name));
        let names: RedisChannels = state.wanted.keys().filter(|name| is_theirs(name)).cloned().collect();
        names.into_iter().filter_map(|name| state.remove(&name).map(|wanted| (name, wanted))).collect()
    }

    /// Takes over names of another server. They may have missed something by now.
    pub(super) fn take_over(&self, given: Vec<(String, WantedChannel)>) {
        if given.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        for (name, wanted) in given {
            state.unheard.insert(name.clone());
            state.wanted.insert(name, WantedChannel { is_heard: false, has_gap: true, ..wanted });
        }
        state.lost.get_or_insert_with(Instant::now);
        self.wake.notify_one();
    }

    /// Resolves when a name has to be subscribed.
    pub(super) async fn on_wake(&self) {
        self.wake.notified().await;
    }

    /// Asks once more for the names that are not confirmed.
    pub(super) fn wake(&self) {
        if !self.state.lock().unheard.is_empty() {
            self.wake.notify_one();
        }
    }

    /// Handles a push of the server over the connection of that generation.
    pub(super) fn on_push(&self, generation: u64, pushed: PushInfo) {
        let mut parts = pushed.data.into_iter();
        let Some(Value::BulkString(name)) = parts.next() else { return };
        let Ok(name) = std::str::from_utf8(&name) else { return };
        // The next push waits until this one is delivered, even where it comes over the next connection.
        let _delivery = self.delivery.lock();
        let mut state = self.state.lock();
        if state.generation != generation {
            return;
        }
        let (delivery, heard) = match pushed.kind {
            PushKind::Message | PushKind::SMessage => {
                let Some(Value::BulkString(message)) = parts.next() else { return };
                (self.on_message(&mut state, name, Bytes::from(message)), Vec::new())
            }
            PushKind::Subscribe | PushKind::SSubscribe => state.on_subscribed(name),
            PushKind::Unsubscribe | PushKind::SUnsubscribe => {
                self.on_unsubscribed(&mut state, name);
                (None, Vec::new())
            }
            _ => (None, Vec::new()),
        };
        drop(state);
        if let (Some(delivery), Some(sink)) = (delivery, self.sink.sink.get()) {
            self.deliver(delivery, &**sink);
        }
        // The waiters resolve after the gap.
        for waiter in heard {
            waiter.count_down();
        }
    }

    fn on_message(&self, state: &mut PubSubState, name: &str, message: Bytes) -> Option<SinkEvent> {
        if name == state.canary.name() {
            state.canary.on_received(&message);
            return None;
        }
        let wanted = state.wanted.get(name);
        if !matches!(wanted, Some(WantedChannel { kind: SubscriptionKind::Messages, .. })) {
            // Wanted or not: that it came so far is what counts.
            self.sink.counters.messages_received.add(1);
        }
        match &wanted.filter(|wanted| wanted.is_heard)?.kind {
            SubscriptionKind::Messages => Some(SinkEvent::Message(message)),
            SubscriptionKind::Channel(channel) => Some(SinkEvent::Event(channel.clone(), message)),
        }
    }

    fn deliver(&self, delivery: SinkEvent, sink: &dyn Sink) {
        match delivery {
            SinkEvent::Message(message) => {
                let _one_at_a_time = self.sink.messages.lock();
                sink.on_message(message);
            }
            SinkEvent::Event(channel, message) => match decode_message(message) {
                Ok(event) => sink.on_event(&channel, event),
                Err(error) => {
                    tracing::warn!(channel = &*channel, %error, "message not decoded");
                    self.tell_gap(&channel, sink);
                }
            },
            SinkEvent::Gap(channel) => self.tell_gap(&channel, sink),
        }
    }

    fn tell_gap(&self, channel: &Arc<str>, sink: &dyn Sink) {
        self.sink.counters.gaps_told.add(1);
        sink.on_gap(channel);
    }

    fn on_unsubscribed(&self, state: &mut PubSubState, name: &str) {
        if let Some(count) = state.leaving.get_mut(name) {
            *count -= 1;
            if *count == 0 {
                state.leaving.remove(name);
            }
            return;
        }
        // A push that was not requested: the slot went to another server.
        if let Some(wanted) = state.wanted.get_mut(name).filter(|wanted| wanted.is_heard) {
            wanted.is_heard = false;
            wanted.has_gap = true;
            state.unheard.insert(name.to_owned());
            state.lost.get_or_insert_with(Instant::now);
            self.wake.notify_one();
        }
    }
}

#[cfg(test)]
mod tests;
