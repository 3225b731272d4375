//! Traces of a worker: what became of each delivery, for the channels, users and publications that operators named. Decision record
//! 67.
//!
//! A channel that a trace concerns has a [`watch::TraceWatch`], which is looked at once for a run of publications. Without one, the
//! run is delivered as if there were no traces.
//!
//! - [`log`]: the traces that are on, and the ring of what they note.
//! - [`watch`]: a channel's part, which counts the deliveries of a run.

pub(in crate::hub) mod log;
pub(in crate::hub) mod watch;

use std::{collections::HashMap, rc::Rc};

use tokio::sync::oneshot;

use self::watch::TraceWatch;
use crate::{
    event_log::{
        query::{EVIDENCE_MAX, EvidenceQuery},
        trace::{TraceReport, TraceSpec, TraceTarget, TracedDelivery},
    },
    hub::{Hub, registry::SessionKey},
    session_command::SessionTarget,
    tasks::Tasks,
};

impl Hub {
    /// Begins a trace; the receiver hears of its end. `None` if there are as many as may be.
    pub(in crate::hub) fn begin_trace(&mut self, spec: TraceSpec) -> Option<oneshot::Receiver<()>> {
        let log = self.traces.get_or_insert_default().clone();
        let target = spec.target.clone();
        let ended = log.borrow_mut().begin(spec)?;
        self.mark_target(&target);
        Some(ended)
    }

    /// Ends a trace, if it is on. After the last one the ring is freed.
    pub(in crate::hub) fn end_trace(&mut self, id: &str) {
        let Some(log) = self.traces.clone() else { return };
        let Some(target) = log.borrow_mut().end(id) else { return };
        self.mark_target(&target);
        if log.borrow().is_idle() {
            self.traces = None;
        }
    }

    /// Traces that are on, without what they have noted.
    pub(in crate::hub) fn list_traces(&self) -> TraceReport {
        self.traces.as_ref().map_or_else(TraceReport::default, |log| log.borrow().list())
    }

    /// All that a trace has noted; nothing if it is not on.
    pub(in crate::hub) fn read_trace(&self, id: &str) -> TraceReport {
        self.traces.as_ref().map_or_else(TraceReport::default, |log| log.borrow().report(id))
    }

    /// Deliveries that traces have noted of the clients that are asked for.
    pub(in crate::hub) fn traced_deliveries(&self, query: &EvidenceQuery) -> Vec<TracedDelivery> {
        let is_meant = |user: &str, client: &str| query.is_about(user, client);
        self.traces
            .as_ref()
            .map_or_else(Vec::new, |log| log.borrow().deliveries_of(&query.channel, is_meant, EVIDENCE_MAX))
    }

    /// A session has come into a channel, which a trace may concern.
    pub(in crate::hub) fn watch_joined(&mut self, key: SessionKey, name: &str) {
        let Some(log) = &self.traces else { return };
        let Some(session) = self.registry.get(key) else { return };
        let (of_user, of_channel) = (log.borrow().of_user(&session.user), log.borrow().of_channel(name));
        if of_user == 0 && of_channel == 0 {
            return;
        }
        match self.channels.get_mut(name).and_then(|channel| channel.watch.as_mut()) {
            Some(watch) => watch.follow(key, of_user),
            None => self.mark_channel(name),
        }
    }

    /// Follows the writes of the deliveries that traces have just noted.
    pub(in crate::hub) fn follow_traced_writes(&self, tasks: &Tasks) {
        let Some(log) = &self.traces else { return };
        let pending = log.borrow_mut().take_pending();
        for write in pending {
            tasks.spawn(write.follow(Rc::downgrade(log)));
        }
    }

    /// Marks the channels that a target concerns, or takes their marks away.
    fn mark_target(&mut self, target: &TraceTarget) {
        match target {
            TraceTarget::Channel(name) => self.mark_channel(name),
            TraceTarget::Publication(publication) => self.mark_channel(&publication.channel),
            TraceTarget::User(user) => {
                let sessions = self.keys_of_user(user);
                let sessions = sessions.into_iter().filter_map(|key| self.registry.get(key));
                let names: Vec<_> = sessions.flat_map(|session| session.channel_names()).collect();
                names.iter().for_each(|name| self.mark_channel(name));
            }
        }
    }

    fn mark_channel(&mut self, name: &str) {
        let Some(log) = self.traces.clone() else { return };
        let mut sessions: HashMap<SessionKey, u16> = HashMap::new();
        let users = log.borrow().users();
        for (user, traces) in users {
            for key in self.keys_of_user(&user) {
                if self.registry.get(key).is_some_and(|session| session.is_in(name)) {
                    *sessions.entry(key).or_default() |= traces;
                }
            }
        }
        let Some(channel) = self.channels.get_mut(name) else { return };
        channel.watch = TraceWatch::begin(&log, name, sessions).map(Box::new);
    }

    fn keys_of_user(&self, user: &str) -> Vec<SessionKey> {
        self.registry.keys_of(&SessionTarget { user: user.to_owned(), ..SessionTarget::default() })
    }
}

#[cfg(test)]
mod tests;
