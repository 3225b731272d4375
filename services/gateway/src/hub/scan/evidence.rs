//! Evidence: notes what happens to the worker's sessions and subscriptions, and answers queries about it.
//!
//! A query takes the worker's time in slices, like a scan. Between two of them it keeps only a number of the ring or of the
//! session that comes next, so entries may come and go. Decision record 55.

mod returns;
mod user_events;

use std::{
    cell::RefCell,
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use crate::{
    clock::unix_ms,
    disconnect::Disconnect,
    event_log::{
        EventLog,
        event::{RecoveryResult, SessionChange, SessionEvent, SubscriptionChange, SubscriptionEvent},
        query::{
            DisconnectsOfNode, EVIDENCE_MAX, EventAnswer, EventQuery, EvidenceQuery, KnownSince, LiveSession,
            LiveSubscription, NodeEvidence, SlowOfNode, WaitingClient,
        },
        ring::{Ring, RingEntry},
        trace::{TRACE_LASTS_MAX, TraceQuery, TraceReport, TraceSpec},
    },
    hub::{
        Hub,
        registry::{SessionEntry, SessionKey},
    },
    metrics::{TrafficCounters, commands::RecoveryOutcome},
};

/// Time of a worker that one slice may take before others get their turn.
const SLICE: Duration = Duration::from_millis(1);
/// Entries of a ring in one slice.
const ENTRIES: usize = 4096;
/// Sessions between two looks at the clock.
const SESSIONS_PER_LOOK: usize = 64;
/// Codes of disconnects that have last ones; there are fewer, unless a backend makes codes up.
const CODES_MAX: usize = 256;

impl Hub {
    /// Notes the change of a session's subscription.
    pub(crate) fn note_subscription(
        &mut self,
        key: SessionKey,
        channel: &Arc<str>,
        change: SubscriptionChange,
    ) {
        self.count_subscription(channel, &change);
        if self.events.subscriptions.is_off() {
            return;
        }
        let Some(session) = self.registry.get(key) else { return };
        let (client, user, channel) = (session.client.clone(), session.user.clone(), channel.clone());
        self.events.subscriptions.push(SubscriptionEvent { at: unix_ms(), client, user, channel, change });
    }

    fn count_subscription(&self, channel: &str, change: &SubscriptionChange) {
        let commands = &self.traffic.commands;
        let recovery = match change {
            SubscriptionChange::Refused(code) => return commands.count_subscribe(channel, *code),
            SubscriptionChange::Ended { not_permitted: true, .. } => return commands.count_not_permitted(),
            SubscriptionChange::Ended { code: Some(code), .. } => return commands.count_unsubscribe(*code),
            SubscriptionChange::Ended { code: None, .. } => return,
            SubscriptionChange::Began { recovery, .. } => recovery,
        };
        commands.count_subscribe(channel, 0);
        let outcome = match recovery {
            RecoveryResult::NotAsked => return,
            RecoveryResult::Recovered => RecoveryOutcome::Recovered,
            RecoveryResult::TooOld => RecoveryOutcome::TooOld,
            RecoveryResult::WrongEpoch => RecoveryOutcome::Epoch,
            RecoveryResult::TooMuch => RecoveryOutcome::TooMany,
        };
        commands.count_recovery(channel, outcome);
    }
}

/// Answers a query of a worker's events. Ends early when nobody waits for the answer.
pub(super) async fn answer_query(
    query: &EventQuery,
    hub: &RefCell<Hub>,
    traffic: &TrafficCounters,
    answer: oneshot::Sender<EventAnswer>,
) {
    let scan = EvidenceScan { hub, traffic };
    let found = match query {
        EventQuery::Slow { now, ended } => EventAnswer::Slow(scan.slow(*now, *ended).await),
        EventQuery::Disconnects { each } => EventAnswer::Disconnects(scan.disconnects(*each).await),
        EventQuery::Returns { of } => EventAnswer::Returns(scan.returns(of).await),
        EventQuery::Evidence(query) => EventAnswer::Evidence(Box::new(scan.evidence(query).await)),
        EventQuery::OfUser(query) => EventAnswer::OfUser(scan.of_user(query).await),
        EventQuery::Trace(TraceQuery::Begin(spec)) => return begin_trace(spec, hub, answer).await,
        EventQuery::Trace(query) => EventAnswer::Trace(Box::new(trace_report(hub, query))),
    };
    // The requester may have gone meanwhile; then nobody misses the answer.
    let _ = answer.send(found);
}

/// Begins a trace, and ends it when its time is over.
async fn begin_trace(spec: &TraceSpec, hub: &RefCell<Hub>, answer: oneshot::Sender<EventAnswer>) {
    let ended = hub.borrow_mut().begin_trace(spec.clone());
    let report = TraceReport { is_full: ended.is_none(), ..hub.borrow().read_trace(&spec.id) };
    // It is begun for the whole cluster, whether or not this answer is waited for.
    let _ = answer.send(EventAnswer::Trace(Box::new(report)));
    let Some(ended) = ended else { return };
    let lasts = Duration::from_millis(spec.lasts_ms).min(TRACE_LASTS_MAX);
    if tokio::time::timeout(lasts, ended).await.is_err() {
        hub.borrow_mut().end_trace(&spec.id);
    }
}

fn trace_report(hub: &RefCell<Hub>, query: &TraceQuery) -> TraceReport {
    match query {
        // Begun before.
        TraceQuery::Begin(spec) => hub.borrow().read_trace(&spec.id),
        TraceQuery::End { id } => {
            let report = hub.borrow().read_trace(id);
            hub.borrow_mut().end_trace(id);
            report
        }
        TraceQuery::List => hub.borrow().list_traces(),
        TraceQuery::Read { id } => hub.borrow().read_trace(id),
    }
}

/// A scan of a worker's events and sessions.
struct EvidenceScan<'a> {
    hub: &'a RefCell<Hub>,
    traffic: &'a TrafficCounters,
}

impl EvidenceScan<'_> {
    /// Shows the entries of a ring, newest first, to `take`, until it has enough.
    async fn each<T: RingEntry>(
        &self,
        ring: impl Fn(&EventLog) -> &Ring<T>,
        mut take: impl FnMut(&T) -> Enough,
    ) {
        let mut next = Some(ring(&self.hub.borrow().events).end());
        while let Some(before) = next {
            let began = Instant::now();
            {
                let hub = self.hub.borrow();
                let (mut entries, older) = ring(&hub.events).older(before, ENTRIES);
                next = if entries.any(|entry| take(entry) == Enough::Yes) { None } else { older };
            }
            self.traffic.held(began.elapsed());
            tokio::task::yield_now().await;
        }
    }

    /// The entries that are wanted, newest first, at most `most`; true if there are more.
    async fn collect<T: RingEntry + Clone>(
        &self,
        ring: impl Fn(&EventLog) -> &Ring<T>,
        most: usize,
        wanted: impl Fn(&T) -> bool,
    ) -> (Vec<T>, bool) {
        let mut found = Vec::new();
        let mut is_cut = false;
        self.each(ring, |entry| {
            if !wanted(entry) {
                return Enough::No;
            }
            if found.len() >= most {
                is_cut = true;
                return Enough::Yes;
            }
            found.push(entry.clone());
            Enough::No
        })
        .await;
        (found, is_cut)
    }

    /// Shows all sessions to `take`. They are walked from the end backwards: the last one takes the index of one that goes, and
    /// was looked at already, so none that stays is missed.
    async fn each_session(&self, mut take: impl FnMut(&SessionEntry)) {
        let mut index = usize::MAX;
        loop {
            let began = Instant::now();
            {
                let hub = self.hub.borrow();
                index = index.min(hub.registry.sessions.len());
                while index > 0 {
                    index -= 1;
                    if let Some((_, session)) = hub.registry.sessions.get_index(index) {
                        take(session);
                    }
                    if index % SESSIONS_PER_LOOK == 0 && began.elapsed() >= SLICE {
                        break;
                    }
                }
            }
            self.traffic.held(began.elapsed());
            if index == 0 {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn slow(&self, most: usize, ended: usize) -> SlowOfNode {
        let mut now: Vec<WaitingClient> = Vec::new();
        self.each_session(|session| {
            let (bytes, waiting_ms) = session.outbox.waiting();
            if bytes == 0 || session.client.is_empty() {
                return;
            }
            now.push(WaitingClient {
                client: session.client.to_string(),
                user: session.user.to_string(),
                transport: session.transport.to_owned(),
                waiting_bytes: bytes as u64,
                waiting_ms: waiting_ms.into(),
            });
            // Thousands may wait: what is kept is bounded.
            if now.len() >= most.saturating_mul(2).max(1024) {
                keep_longest_waiting(&mut now, most);
            }
        })
        .await;
        keep_longest_waiting(&mut now, most);
        let is_slow = |event: &SessionEvent| matches!(&event.change, SessionChange::Ended(end) if slow_cause(end.code).is_some());
        let (ended, _) = self.collect(|log| &log.sessions, ended, is_slow).await;
        let known_since = self.known_since().sessions;
        SlowOfNode { now, ended, known_since }
    }

    async fn disconnects(&self, each: usize) -> DisconnectsOfNode {
        let counts: BTreeMap<u16, u64> = self.hub.borrow().events.disconnects.clone();
        let mut seen: HashMap<u16, usize> = HashMap::new();
        let mut last = Vec::new();
        let mut take = |event: &SessionEvent| {
            let code = match &event.change {
                SessionChange::Connected => return Enough::No,
                SessionChange::Refused(code) => *code,
                SessionChange::Ended(end) => end.code,
            };
            if seen.len() < CODES_MAX || seen.contains_key(&code) {
                let count = seen.entry(code).or_default();
                if *count < each {
                    *count += 1;
                    last.push(event.clone());
                }
            }
            Enough::No
        };
        self.each(|log| &log.sessions, &mut take).await;
        self.each(|log| &log.refused, &mut take).await;
        DisconnectsOfNode { counts, last, known_since: self.known_since().sessions }
    }

    async fn evidence(&self, query: &EvidenceQuery) -> NodeEvidence {
        let most = EVIDENCE_MAX;
        let of_session = |event: &SessionEvent| query.is_about(&event.user, &event.client);
        let of_subscription = |event: &SubscriptionEvent| {
            *event.channel == *query.channel && query.is_about(&event.user, &event.client)
        };
        let (sessions, more_sessions) = self.collect(|log| &log.sessions, most, of_session).await;
        let (subscriptions, more_subscriptions) =
            self.collect(|log| &log.subscriptions, most, of_subscription).await;
        let (gaps, more_gaps) =
            self.collect(|log| &log.gaps, most, |event| *event.channel == *query.channel).await;
        let mut live = Vec::new();
        let hub = self.hub.borrow();
        for session in
            hub.registry.of(query.user.as_deref(), query.client.as_deref().filter(|_| query.user.is_none()))
        {
            if live.len() >= most {
                break;
            }
            live.push(hub.live_session(session, &query.channel));
        }
        NodeEvidence {
            now: unix_ms(),
            sessions,
            subscriptions,
            gaps,
            failures: Vec::new(),
            traced: hub.traced_deliveries(query),
            is_cut: more_sessions || more_subscriptions || more_gaps || live.len() >= most,
            live,
            subscribers: hub.subscribers(&query.channel).unwrap_or_default(),
            known_since: known_since(&hub.events),
        }
    }

    fn known_since(&self) -> KnownSince {
        known_since(&self.hub.borrow().events)
    }
}

impl Hub {
    fn live_session(&self, session: &SessionEntry, channel: &str) -> LiveSession {
        let (bytes, waiting_ms) = session.outbox.waiting();
        let key = self.registry.clients.get(&session.client);
        let subscription = key.and_then(|key| self.channels.get(channel)?.subscriptions.get(key));
        LiveSession {
            client: session.client.to_string(),
            user: session.user.to_string(),
            transport: session.transport.to_owned(),
            connected_at: session.connected_at_ms,
            waiting_bytes: bytes as u64,
            waiting_ms: waiting_ms.into(),
            subscription: subscription.map(|subscription| LiveSubscription {
                seen: subscription.seen().cloned(),
                is_broken: subscription.is_broken(),
            }),
        }
    }
}

/// The answer of one that is shown entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Enough {
    Yes,
    No,
}

fn known_since(events: &EventLog) -> KnownSince {
    KnownSince {
        sessions: events.sessions.known_since(events.began),
        subscriptions: events.subscriptions.known_since(events.began),
        gaps: events.gaps.known_since(events.began),
        failures: None,
    }
}

/// Keeps those for which some has waited longest, and of equal ones those with the most bytes.
pub fn keep_longest_waiting(clients: &mut Vec<WaitingClient>, most: usize) {
    clients.sort_unstable_by_key(|client| Reverse((client.waiting_ms, client.waiting_bytes)));
    clients.truncate(most);
}

/// The cause for which a client was ended as a slow consumer; `None` if it was not.
pub fn slow_cause(code: u16) -> Option<&'static str> {
    [
        (Disconnect::SLOW, "outbox_full"),
        (Disconnect::NO_PONG, "no_pong"),
        (Disconnect::WRITE_ERROR, "write_failed"),
    ]
    .into_iter()
    .find_map(|(disconnect, cause)| (disconnect.code == code).then_some(cause))
}
