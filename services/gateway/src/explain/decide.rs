//! The decision: from what is known of a user's subscriptions to the reason why the user has a publication, or has not.
//!
//! It is made from positions wherever there are any; times decide only what positions cannot. What an unanswered node may know
//! is never taken for nothing: then only what is certain without it is said.

use std::cmp::Ordering;

use gorani_broker::{Position, Publication};

use super::{
    history::{Beginning, EvidenceOfNode, SessionFate, SubscriptionEnd, SubscriptionHistory},
    reason::{Rank, Reason},
};
use crate::{
    disconnect::{Disconnect, Unsubscribed},
    event_log::event::{GapChange, RecoveryResult},
};

/// Bytes that came to the outbox so long before its writer was blocked have left. A publication needs some time from its
/// publisher to the outbox, and more on a busy machine.
const LEFT_BEFORE_MS: u64 = 1000;

/// A publication, as far as it is known.
#[derive(Debug, Clone, Default)]
pub struct AskedPublication {
    /// Its offset; 0 on channels without history.
    pub offset: u64,
    /// Its epoch.
    pub epoch: String,
    /// Its time; absent if it has left the history.
    pub at: Option<u64>,
    /// The client that it excludes; empty for none.
    pub excluded: String,
}

impl AskedPublication {
    /// A publication that the history keeps.
    pub fn of(publication: &Publication) -> Self {
        Self {
            offset: publication.offset,
            epoch: publication.epoch.to_string(),
            at: Some(publication.time_ms),
            excluded: publication.exclude_client.clone(),
        }
    }
}

/// The evidence about a user and a channel.
#[derive(Debug, Default)]
pub struct Facts {
    /// Evidence of the nodes that answered.
    pub nodes: Vec<EvidenceOfNode>,
    /// Names of the nodes that did not.
    pub silent: Vec<String>,
    /// Only this client counts, if one is named.
    pub client: Option<String>,
}

/// The decision on one publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The reason.
    pub reason: Reason,
    /// The client that it is about; empty if it is about none.
    pub client: String,
    /// The rank of the evidence, where the user may have it.
    pub rank: Option<Rank>,
    /// More in words.
    pub detail: String,
}

impl Decision {
    /// A decision about no client.
    pub fn about(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, client: String::new(), rank: None, detail: detail.into() }
    }

    fn of(one: &SubscriptionHistory, reason: Reason, rank: Option<Rank>, detail: impl Into<String>) -> Self {
        Self { reason, client: one.client.clone(), rank, detail: detail.into() }
    }
}

impl Facts {
    /// The subscriptions that count, oldest first.
    pub fn subscriptions(&self) -> Vec<SubscriptionHistory> {
        let all = self.nodes.iter().flat_map(EvidenceOfNode::subscriptions);
        let counts =
            |one: &SubscriptionHistory| self.client.as_ref().is_none_or(|client| one.client == *client);
        let mut all: Vec<_> = all.filter(counts).collect();
        all.sort_by_key(|one| one.began.as_ref().map_or(0, |began| began.at));
        all
    }

    /// Decides on one publication.
    pub fn decide(&self, publication: &AskedPublication) -> Decision {
        let subscriptions = self.subscriptions();
        let mut found: Vec<Decision> =
            subscriptions.iter().filter_map(|one| self.look_at(one, publication)).collect();
        found.extend(came_back_with(&subscriptions, publication));
        found.extend(self.waiting_for_reply(publication));
        found.sort_by_key(|decision| order(decision.reason));
        let best = found.into_iter().next().map(|decision| self.came_once_more(decision, publication));
        if let Some(had) = best.as_ref().filter(|best| best.reason.exit() == super::reason::EXIT_HAD) {
            return had.clone();
        }
        if let Some(unknown) = self.incomplete(publication) {
            return unknown;
        }
        best.unwrap_or_else(|| self.without_subscription(publication))
    }

    /// One subscription and the publication; `None` if it says nothing of it.
    fn look_at(&self, one: &SubscriptionHistory, publication: &AskedPublication) -> Option<Decision> {
        let offset = publication.offset;
        let top = one.began.as_ref().and_then(|began| began.top.as_ref());
        let seen = one.end.seen();
        if offset == 0 || (top.is_none() && seen.is_none()) {
            return by_time(one, publication);
        }
        let is_of_epoch = |position: &&Position| *position.epoch == *publication.epoch;
        // A subscription that went over to the epoch has offsets of it from its beginning on.
        let has_gone_over = !top.as_ref().is_some_and(is_of_epoch) && seen.as_ref().is_some_and(is_of_epoch);
        let continues = |position: &&Position| has_gone_over || is_of_epoch(position);
        if let (Some(began), Some(top)) = (&one.began, top.filter(continues)) {
            let missed_from = began.asked.as_ref().filter(continues).map_or(0, |asked| asked.offset);
            let is_missed = offset <= top.offset && offset > missed_from;
            match began.recovery {
                RecoveryResult::Recovered if is_missed => {
                    let mut decision = written(one, publication, began.at, Reason::Recovered);
                    let after = publication.at.map(|at| began.at.saturating_sub(at));
                    if let (Reason::Recovered, Some(after)) = (decision.reason, after) {
                        decision.detail = format!(
                            "not received when published; client {} got it {after} ms later",
                            one.client
                        );
                    }
                    return Some(decision);
                }
                RecoveryResult::NotAsked if offset <= top.offset => {
                    let detail = format!("client {} subscribed at offset {}", one.client, top.offset);
                    return Some(Decision::of(one, Reason::SubscribedLater, None, detail));
                }
                why @ (RecoveryResult::TooOld | RecoveryResult::TooMuch | RecoveryResult::WrongEpoch)
                    if is_missed =>
                {
                    let detail = format!(
                        "client {} came back with offset {missed_from} and could not recover: {}",
                        one.client,
                        why_not(why)
                    );
                    return Some(Decision::of(one, Reason::NotRecovered, None, detail));
                }
                _ if offset <= top.offset => return None,
                _ => {}
            }
        } else if top.is_some() || one.began.is_some() {
            // Of another epoch, or not tracked.
            return None;
        }
        let seen = seen.filter(is_of_epoch)?;
        if offset <= seen.offset {
            let node = self.nodes.iter().find(|node| node.node == one.node);
            if one.began.is_none() {
                // It began before all that the node remembers: it is known to have had only what came later.
                let since = node?.known.known_since.subscriptions?;
                publication.at.filter(|at| *at >= since)?;
            }
            let is_caught_up = node.is_some_and(|node| node.caught_up(offset, &publication.epoch));
            let reason = if is_caught_up { Reason::CaughtUp } else { Reason::Written };
            return Some(written(one, publication, publication.at.unwrap_or_default(), reason));
        }
        not_reached(one)
    }

    /// The reason if not everything that may matter is known.
    fn incomplete(&self, publication: &AskedPublication) -> Option<Decision> {
        if !self.silent.is_empty() {
            return Some(Decision::about(Reason::Unknown, format!("unknown on {}", self.silent.join(", "))));
        }
        let at = publication.at?;
        for node in &self.nodes {
            for gap in &node.known.gaps {
                if let GapChange::NodeLost { id, name } = &gap.change
                    && gap.at >= at
                {
                    let name = if name.is_empty() { id } else { name };
                    return Some(Decision::about(Reason::NodeLost, format!("node {name} is gone")));
                }
            }
        }
        for node in &self.nodes {
            let since = node.known.known_since;
            let is_known = |since: Option<u64>| since.is_some_and(|since| since <= at);
            if node.known.is_cut || !is_known(since.sessions) || !is_known(since.subscriptions) {
                let detail = format!("{} does not remember all of that time", node.node);
                return Some(Decision::about(Reason::Unknown, detail));
            }
        }
        None
    }

    /// No subscription says anything of the publication.
    fn without_subscription(&self, publication: &AskedPublication) -> Decision {
        let Some(at) = publication.at else {
            return Decision::about(Reason::TooOld, "its time is not known any more");
        };
        let refused = self.nodes.iter().flat_map(|node| node.refusals_of(at));
        let is_of_client =
            |(client, _): &(String, u32)| self.client.as_ref().is_none_or(|named| named == client);
        let refused = refused.filter(|(_, one)| is_of_client(one)).max_by_key(|(at, _)| *at);
        let refused = refused.map(|(_, one)| one);
        if let Some((client, code)) = refused {
            let detail = format!("client {client} was refused with code {code}");
            return Decision { client, ..Decision::about(Reason::SubscribeRefused, detail) };
        }
        let mut times = self.nodes.iter().flat_map(EvidenceOfNode::connected_times);
        let was_connected = times.any(|time| time.covers(at));
        if was_connected {
            Decision::about(Reason::NotSubscribed, "")
        } else {
            Decision::about(Reason::NotConnected, "")
        }
    }
}

/// The order in which reasons count: what the user had first, then what was last in the way.
fn order(reason: Reason) -> usize {
    const ORDER: [Reason; 15] = [
        Reason::HadIt,
        Reason::Written,
        Reason::CaughtUp,
        Reason::Recovered,
        Reason::NotRecovered,
        Reason::Overflow,
        Reason::UnwrittenAtEnd,
        Reason::Told,
        Reason::Excluded,
        Reason::WaitsForPoll,
        Reason::Queued,
        Reason::HeldBack,
        Reason::Gap,
        Reason::SubscribedLater,
        Reason::Matched,
    ];
    ORDER.iter().position(|known| *known == reason).unwrap_or(ORDER.len())
}

/// A client that came back with a position at or after the publication had it, unless it is known to have begun after it.
fn came_back_with(subscriptions: &[SubscriptionHistory], publication: &AskedPublication) -> Option<Decision> {
    let offset = publication.offset;
    if offset == 0 {
        return None;
    }
    let is_after = |position: &Position| *position.epoch == *publication.epoch && position.offset >= offset;
    for (index, one) in subscriptions.iter().enumerate() {
        let asked = one.began.as_ref().and_then(|began| began.asked.as_ref());
        let Some(asked) = asked.filter(|asked| is_after(asked)) else { continue };
        let earlier = subscriptions.get(..index).unwrap_or_default();
        let brought = |one: &&SubscriptionHistory| {
            let start = one.began.as_ref().and_then(starts_at);
            start.is_some_and(|start| !is_after(start)) && one.end.seen().is_some_and(is_after)
        };
        let source = earlier.iter().rev().find(brought);
        let is_excluded = |client: &str| !publication.excluded.is_empty() && publication.excluded == client;
        let had = match source {
            Some(source) => !is_excluded(&source.client),
            None => {
                publication.excluded.is_empty()
                    && !earlier.iter().any(|one| one.began.as_ref().and_then(starts_at).is_some_and(is_after))
            }
        };
        if had {
            let detail = format!("client {} came back with offset {}", one.client, asked.offset);
            return Some(Decision::of(one, Reason::HadIt, Some(Rank::HadIt), detail));
        }
    }
    None
}

/// The position after which a subscription is brought everything.
fn starts_at(began: &Beginning) -> Option<&Position> {
    if began.recovery == RecoveryResult::Recovered { began.asked.as_ref() } else { began.top.as_ref() }
}

/// The publication was put into the outbox at about this time: what became of it there.
fn written(
    one: &SubscriptionHistory,
    publication: &AskedPublication,
    put_at: u64,
    reason: Reason,
) -> Decision {
    if publication.excluded == one.client {
        return Decision::of(
            one,
            Reason::Excluded,
            None,
            format!("exclude_client names client {}", one.client),
        );
    }
    let put_at = put_at.max(publication.at.unwrap_or_default());
    let client = &one.client;
    match &one.session {
        SessionFate::Live { now, session } => {
            let since = now.saturating_sub(session.waiting_ms);
            if session.waiting_bytes == 0 || put_at.saturating_add(LEFT_BEFORE_MS) < since {
                return Decision::of(
                    one,
                    reason,
                    Some(Rank::Written),
                    format!("client {client}, which lives"),
                );
            }
            let is_poll = ["poll", "sockjs_xhr", "sockjs_jsonp"].contains(&&*session.transport);
            let reason = if is_poll { Reason::WaitsForPoll } else { Reason::Queued };
            let (bytes, time) = (session.waiting_bytes, session.waiting_ms);
            let detail = format!("{bytes} B wait for client {client}, some for at most {time} ms");
            Decision::of(one, reason, Some(Rank::Queued), detail)
        }
        SessionFate::Ended { at, end } => {
            let since = at.saturating_sub(end.waiting_ms);
            if end.waiting_bytes == 0 || put_at.saturating_add(LEFT_BEFORE_MS) < since {
                let detail = format!("client {client}, which ended later with {}", end.code);
                return Decision::of(one, reason, Some(Rank::Written), detail);
            }
            let is_full = end.code == Disconnect::SLOW.code;
            let reason = if is_full { Reason::Overflow } else { Reason::UnwrittenAtEnd };
            let detail = format!(
                "client {client} ended with {} while {} B waited, the oldest for at most {} ms",
                end.code, end.waiting_bytes, end.waiting_ms
            );
            Decision::of(one, reason, Some(Rank::Queued), detail)
        }
        SessionFate::Unknown => {
            let detail =
                format!("it was put into the outbox of client {client}; the end of that is not known");
            Decision::of(one, Reason::Matched, Some(Rank::Queued), detail)
        }
    }
}

/// The publication did not come to a subscription that had begun before it.
fn not_reached(one: &SubscriptionHistory) -> Option<Decision> {
    let told = |code: u32| {
        Decision::of(one, Reason::Told, None, format!("client {} was told with {code}", one.client))
    };
    match &one.end {
        SubscriptionEnd::Live { is_broken: true, .. } => Some(told(Unsubscribed::INSUFFICIENT_STATE.code)),
        SubscriptionEnd::Live { .. } => {
            Some(Decision::of(one, Reason::Gap, None, format!("client {} is subscribed", one.client)))
        }
        SubscriptionEnd::Ended { code: Some(code), not_permitted: false, .. }
            if *code == Unsubscribed::INSUFFICIENT_STATE.code =>
        {
            Some(told(*code))
        }
        SubscriptionEnd::Ended { code: None, .. } => match &one.session {
            SessionFate::Ended { end, .. } if end.code == Disconnect::INSUFFICIENT_STATE.code => {
                Some(told(end.code.into()))
            }
            _ => None,
        },
        _ => None,
    }
}

/// Without positions: subscribed at the time of the publication, or not.
fn by_time(one: &SubscriptionHistory, publication: &AskedPublication) -> Option<Decision> {
    let at = publication.at?;
    let from = one.began.as_ref()?.at;
    let until = match &one.end {
        SubscriptionEnd::Live { .. } => u64::MAX,
        SubscriptionEnd::Ended { at, .. } => *at,
        SubscriptionEnd::Unknown => return None,
    };
    match (from.cmp(&at), at.cmp(&until)) {
        (Ordering::Less, Ordering::Less) => {
            if publication.excluded == one.client {
                return Some(written(one, publication, at, Reason::Excluded));
            }
            let detail = format!("client {} was subscribed", one.client);
            Some(Decision::of(one, Reason::Matched, Some(Rank::Matched), detail))
        }
        _ => None,
    }
}

/// A recovery's failure in words.
pub fn why_not(recovery: RecoveryResult) -> &'static str {
    match recovery {
        RecoveryResult::NotAsked => "it asked for no recovery",
        RecoveryResult::Recovered => "recovered",
        RecoveryResult::WrongEpoch => "its position is of an epoch that has ended",
        RecoveryResult::TooOld => "what it missed has left the history",
        RecoveryResult::TooMuch => "it missed more than one recovery brings",
    }
}
