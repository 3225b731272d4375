//! The part of traces in the evidence: deliveries that were noted one by one, where a trace was on. Decision record 67.

use super::{
    answer::EvidenceLine,
    decide::{AskedPublication, Decision, Facts},
    history::EvidenceOfNode,
    lines::line,
    query::{ExplainQuery, Selection},
    reason::{Rank, Reason},
};
use crate::event_log::trace::{TraceOutcome, TracedDelivery};

impl Facts {
    /// The decision; if a trace saw that the client had the publication already when it came once more, it says so.
    pub(super) fn came_once_more(&self, decision: Decision, publication: &AskedPublication) -> Decision {
        if publication.offset == 0 || !matches!(decision.reason, Reason::Written | Reason::Recovered) {
            return decision;
        }
        let is_duplicate = |one: &TracedDelivery| {
            one.outcome == TraceOutcome::Duplicate
                && one.offset == publication.offset
                && (one.client.is_empty() || one.client == decision.client)
        };
        if self.nodes.iter().flat_map(|node| &node.known.traced).any(is_duplicate) {
            return Decision { reason: Reason::Duplicate, ..decision };
        }
        decision
    }

    /// A client for which the publication waits until the reply of its subscribe, as a trace saw. Its subscription has no position
    /// yet, or an earlier one.
    pub(super) fn waiting_for_reply(&self, publication: &AskedPublication) -> Option<Decision> {
        if publication.offset == 0 {
            return None;
        }
        self.nodes.iter().find_map(|node| {
            let live = node.known.live.iter().filter(|session| session.subscription.is_some());
            let clients = live.map(|session| &*session.client);
            let asked = clients.filter(|client| self.client.as_ref().is_none_or(|own| own == client));
            asked.filter_map(|client| node.first_waiting(client)).find_map(|first| {
                (first.offset <= publication.offset).then(|| {
                    let detail = format!("client {} waits since offset {}", first.client, first.offset);
                    let (client, rank) = (first.client.clone(), Some(Rank::Matched));
                    Decision { reason: Reason::HeldBack, client, rank, detail }
                })
            })
        })
    }
}

impl EvidenceOfNode {
    /// The first publication that is held back for a client; `None` if it got what was held back.
    fn first_waiting(&self, client: &str) -> Option<&TracedDelivery> {
        let is_over = |one: &&TracedDelivery| {
            matches!(one.outcome, TraceOutcome::Released | TraceOutcome::Lost | TraceOutcome::Broken)
        };
        // Newest first.
        let of_client = self.known.traced.iter().filter(|one| one.client == client);
        let waits = of_client.take_while(|one| !is_over(one));
        waits.filter(|one| one.outcome == TraceOutcome::HeldBack).last()
    }

    /// Lines of the deliveries that are asked for.
    pub(super) fn traced_lines(&self, query: &ExplainQuery) -> Vec<EvidenceLine> {
        let is_asked = |one: &&TracedDelivery| match &query.publications {
            Selection::Offset(offset, _) => one.offset == *offset || one.outcome == TraceOutcome::Released,
            Selection::Since(since) => one.at >= *since,
            Selection::Last(_) => true,
        };
        self.known.traced.iter().filter(is_asked).map(|one| self.traced_line(one)).collect()
    }

    fn traced_line(&self, one: &TracedDelivery) -> EvidenceLine {
        let TracedDelivery { at, offset, client, outcome, detail, .. } = one;
        let whom = if client.is_empty() { "all subscribers".to_owned() } else { format!("client {client}") };
        let (text, rank, reason) = match outcome {
            TraceOutcome::Whole | TraceOutcome::Part => (
                format!("trace: offset {offset} queued for {whom}; {detail} B wait for it"),
                Some(Rank::Queued),
                None,
            ),
            TraceOutcome::Written => {
                let text = format!("trace: offset {offset} left for {whom} after {detail} ms");
                (text, Some(Rank::Written), None)
            }
            TraceOutcome::Duplicate => {
                (format!("trace: offset {offset} came once more to {whom}"), None, Some(Reason::Duplicate))
            }
            TraceOutcome::Excluded => {
                (format!("trace: offset {offset} excludes {whom}"), None, Some(Reason::Excluded))
            }
            TraceOutcome::HeldBack => (
                format!("trace: offset {offset} is held back for {whom} until the reply of its subscribe"),
                Some(Rank::Matched),
                Some(Reason::HeldBack),
            ),
            TraceOutcome::Released => {
                (format!("trace: {whom} got what was held back, up to offset {offset}"), None, None)
            }
            TraceOutcome::Overflow => {
                let text = format!("trace: no room for offset {offset} in the outbox of {whom}");
                (text, None, Some(Reason::Overflow))
            }
            TraceOutcome::Broken | TraceOutcome::Lost => (
                format!("trace: offset {offset} came to {whom} without the position for it"),
                None,
                Some(Reason::Told),
            ),
            TraceOutcome::Gap => (
                format!("trace: offset {offset} waits with {whom} until a gap is closed"),
                None,
                Some(Reason::Gap),
            ),
            TraceOutcome::Other => (format!("trace: offset {offset}, {whom}"), None, None),
        };
        EvidenceLine { rank: rank.map(Rank::name), ..line(*at, &self.node, text, reason) }
    }
}
