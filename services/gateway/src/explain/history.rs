//! The history of what happened to a user in a channel: subscriptions with their beginnings and ends, and the fate of each session,
//! put together from the evidence of all nodes.

use gorani_broker::Position;

use crate::event_log::{
    event::{EndedSession, GapChange, RecoveryResult, SessionChange, SubscriptionChange, SubscriptionEvent},
    query::{LiveSession, NodeEvidence},
};

/// Evidence of one node. Its times are by the clock of the node that asked.
#[derive(Debug, Clone, Default)]
pub struct EvidenceOfNode {
    /// The node's name.
    pub node: String,
    /// Everything that it knows.
    pub known: NodeEvidence,
}

/// One subscription of one client.
#[derive(Debug, Clone)]
pub struct SubscriptionHistory {
    /// The node's name.
    pub node: String,
    /// Client id.
    pub client: String,
    /// Its beginning; absent if the node does not remember it.
    pub began: Option<Beginning>,
    /// Its end.
    pub end: SubscriptionEnd,
    /// The fate of its session.
    pub session: SessionFate,
}

/// The beginning of a subscription.
#[derive(Debug, Clone)]
pub struct Beginning {
    /// Its time.
    pub at: u64,
    /// The position that the client came with.
    pub asked: Option<Position>,
    /// The top of the stream; absent where the position is not tracked.
    pub top: Option<Position>,
    /// The outcome of a recovery.
    pub recovery: RecoveryResult,
}

/// The end of a subscription.
#[derive(Debug, Clone)]
pub enum SubscriptionEnd {
    /// It lives.
    Live {
        /// The position up to which everything is in the outbox.
        seen: Option<Position>,
        /// It lost its position.
        is_broken: bool,
    },
    /// It ended.
    Ended {
        /// Its time.
        at: u64,
        /// The code of the unsubscribe; absent if it ended with its session.
        code: Option<u32>,
        /// The position up to which everything was in the outbox.
        seen: Option<Position>,
        /// A reload ended it: the settings no longer permit it.
        not_permitted: bool,
    },
    /// Nothing is known of it.
    Unknown,
}

impl SubscriptionEnd {
    /// The position up to which everything was in the outbox.
    pub fn seen(&self) -> Option<&Position> {
        match self {
            Self::Live { seen, .. } | Self::Ended { seen, .. } => seen.as_ref(),
            Self::Unknown => None,
        }
    }
}

/// The fate of a session: what becomes of bytes in its outbox.
#[derive(Debug, Clone)]
pub enum SessionFate {
    /// It lives.
    Live {
        /// The node's time.
        now: u64,
        /// The session.
        session: LiveSession,
    },
    /// It ended.
    Ended {
        /// Its time.
        at: u64,
        /// The end.
        end: EndedSession,
    },
    /// Nothing is known of it.
    Unknown,
}

/// The time for which a session was connected; no end if it lives.
#[derive(Debug, Clone)]
pub struct ConnectedTime {
    /// Client id.
    pub client: String,
    /// The beginning.
    pub from: u64,
    /// The end.
    pub to: Option<u64>,
}

impl ConnectedTime {
    /// True if the session was connected then.
    pub fn covers(&self, at: u64) -> bool {
        self.from <= at && self.to.is_none_or(|to| at <= to)
    }
}

impl EvidenceOfNode {
    /// Moves all times, which are by another clock, back by so many milliseconds.
    pub fn shift(&mut self, ahead_ms: i64) {
        if ahead_ms == 0 {
            return;
        }
        let shift = |at: &mut u64| *at = at.saturating_add_signed(ahead_ms.saturating_neg());
        let known = &mut self.known;
        shift(&mut known.now);
        known.sessions.iter_mut().for_each(|event| shift(&mut event.at));
        known.subscriptions.iter_mut().for_each(|event| shift(&mut event.at));
        known.gaps.iter_mut().for_each(|event| shift(&mut event.at));
        known.failures.iter_mut().for_each(|event| shift(&mut event.at));
        known.traced.iter_mut().for_each(|delivery| shift(&mut delivery.at));
        known.live.iter_mut().for_each(|session| shift(&mut session.connected_at));
        let since = &mut known.known_since;
        for since in [&mut since.sessions, &mut since.subscriptions, &mut since.gaps, &mut since.failures] {
            since.iter_mut().for_each(shift);
        }
    }

    /// The subscriptions of its clients to the channel.
    pub fn subscriptions(&self) -> Vec<SubscriptionHistory> {
        let known = &self.known;
        let mut found: Vec<SubscriptionHistory> = Vec::new();
        // The events of one client are of one worker, in the order in which they happened once they are turned round.
        for event in known.subscriptions.iter().rev() {
            let open = |one: &&mut SubscriptionHistory| {
                *one.client == *event.client && matches!(one.end, SubscriptionEnd::Unknown)
            };
            match &event.change {
                SubscriptionChange::Began { asked, top, recovery } => {
                    let (asked, top, recovery) = (asked.clone(), top.clone(), *recovery);
                    found.push(self.history(event, Some(Beginning { at: event.at, asked, top, recovery })));
                }
                SubscriptionChange::Ended { code, seen, not_permitted } => {
                    let (at, seen) = (event.at, seen.clone());
                    let end = SubscriptionEnd::Ended { at, code: *code, seen, not_permitted: *not_permitted };
                    match found.iter_mut().rev().find(open) {
                        Some(one) => one.end = end,
                        None => found.push(SubscriptionHistory { end, ..self.history(event, None) }),
                    }
                }
                SubscriptionChange::Refused(_) => {}
            }
        }
        for session in &known.live {
            let Some(live) = &session.subscription else { continue };
            let end = SubscriptionEnd::Live { seen: live.seen.clone(), is_broken: live.is_broken };
            let open = |one: &&mut SubscriptionHistory| {
                one.client == session.client && matches!(one.end, SubscriptionEnd::Unknown)
            };
            match found.iter_mut().rev().find(open) {
                Some(one) => one.end = end,
                None => found.push(SubscriptionHistory {
                    node: self.node.clone(),
                    client: session.client.clone(),
                    began: None,
                    end,
                    session: self.fate(&session.client),
                }),
            }
        }
        found
    }

    fn history(&self, event: &SubscriptionEvent, began: Option<Beginning>) -> SubscriptionHistory {
        SubscriptionHistory {
            node: self.node.clone(),
            client: event.client.to_string(),
            began,
            end: SubscriptionEnd::Unknown,
            session: self.fate(&event.client),
        }
    }

    fn fate(&self, client: &str) -> SessionFate {
        // A session that is closing is still among those that live; what waits there is its close message.
        let ended = self.known.sessions.iter().find_map(|event| match &event.change {
            SessionChange::Ended(end) if *event.client == *client => {
                Some(SessionFate::Ended { at: event.at, end: (**end).clone() })
            }
            _ => None,
        });
        let live = self.known.live.iter().find(|session| session.client == client);
        let live = live.map(|session| SessionFate::Live { now: self.known.now, session: session.clone() });
        ended.or(live).unwrap_or(SessionFate::Unknown)
    }

    /// The times for which the user was connected to this node.
    pub fn connected_times(&self) -> Vec<ConnectedTime> {
        let live = self.known.live.iter().map(|session| ConnectedTime {
            client: session.client.clone(),
            from: session.connected_at,
            to: None,
        });
        let ended = self.known.sessions.iter().filter_map(|event| match &event.change {
            SessionChange::Ended(end) => Some(ConnectedTime {
                client: event.client.to_string(),
                from: event.at.saturating_sub(end.connected_ms),
                to: Some(event.at),
            }),
            _ => None,
        });
        live.chain(ended).collect()
    }

    /// The clients that were connected then and whose last subscribe until then was refused: its time, the client, its code.
    pub fn refusals_of(&self, at: u64) -> Vec<(u64, (String, u32))> {
        let clients = self.connected_times().into_iter().filter(|time| time.covers(at));
        let refused = clients.filter_map(|ConnectedTime { client, .. }| {
            // The newest one comes first.
            let of_client = |event: &&SubscriptionEvent| *event.client == *client && event.at <= at;
            let last = self.known.subscriptions.iter().find(of_client)?;
            match last.change {
                SubscriptionChange::Refused(code) => Some((last.at, (client, code))),
                _ => None,
            }
        });
        refused.collect()
    }

    /// True if a gap before this offset was closed from history.
    pub fn caught_up(&self, offset: u64, epoch: &str) -> bool {
        self.known.gaps.iter().any(|gap| match &gap.change {
            GapChange::CaughtUp { after, to } => {
                (*after.epoch == *epoch || epoch.is_empty()) && after.offset < offset && offset <= *to
            }
            _ => false,
        })
    }
}
