//! The evidence as lines for people, in order of time.

use gorani_broker::{HistoryPage, Position};

use super::{
    answer::EvidenceLine,
    decide::{Decision, Facts, why_not},
    history::{EvidenceOfNode, SessionFate, SubscriptionEnd},
    query::{ExplainQuery, selected},
    reason::Reason,
};
use crate::{
    clock::unix_ms,
    event_log::event::{GapChange, RecoveryResult, SessionChange, SubscriptionChange},
};

/// Lines of one answer; of more, those that are nearest to its end are kept.
const LINES_MAX: usize = 200;

/// All lines of an answer.
pub(super) fn evidence_lines(
    query: &ExplainQuery,
    page: &HistoryPage,
    facts: &Facts,
    decision: &Decision,
    clocks: &[(String, i64)],
) -> Vec<EvidenceLine> {
    let mut lines = Vec::new();
    for publication in selected(query, page) {
        let publisher = match &publication.info {
            Some(info) => format!("client {} of user {}", info.client, info.user),
            None => "the backend".to_owned(),
        };
        let text = format!(
            "accepted from {publisher}: offset {}, epoch {}, {} B",
            publication.offset,
            publication.epoch,
            publication.data.len()
        );
        lines.push(line(publication.time_ms, "broker", text, None));
    }
    for (node, ahead) in clocks {
        let text = format!("its clock is {ahead} ms ahead; its times are corrected");
        lines.push(line(unix_ms(), node, text, None));
    }
    for node in &facts.silent {
        lines.push(line(
            unix_ms(),
            node,
            "did not answer in time, or its version cannot tell: its part is unknown".to_owned(),
            Some(Reason::Unknown),
        ));
    }
    for of_node in &facts.nodes {
        lines.extend(of_node.lines());
        lines.extend(of_node.traced_lines(query));
    }
    for one in facts.subscriptions() {
        if let SubscriptionEnd::Live { seen, .. } = &one.end
            && let SessionFate::Live { now, session } = &one.session
        {
            let text = format!(
                "client {} is subscribed{}; {} B wait for it",
                one.client,
                up_to(seen.as_ref()),
                session.waiting_bytes
            );
            lines.push(line(*now, &one.node, text, None));
        }
    }
    lines.sort_by_key(|line| line.at);
    if lines.len() > LINES_MAX {
        lines.drain(..lines.len() - LINES_MAX);
    }
    if let Some(rank) = decision.rank {
        // The last line of the client that the decision is about shows how sure it is.
        let of_client = lines.iter_mut().rev().find(|line| line.text.contains(&decision.client));
        if let Some(of_client) = of_client {
            of_client.rank = Some(rank.name());
            of_client.code.get_or_insert(decision.reason.code());
        }
    }
    lines
}

pub(super) fn line(at: u64, node: &str, text: String, reason: Option<Reason>) -> EvidenceLine {
    EvidenceLine { at, node: node.to_owned(), text, rank: None, code: reason.map(Reason::code) }
}

fn up_to(seen: Option<&Position>) -> String {
    seen.map_or_else(String::new, |seen| {
        format!(", everything up to offset {} was put into its outbox", seen.offset)
    })
}

impl EvidenceOfNode {
    fn lines(&self) -> Vec<EvidenceLine> {
        let (node, known) = (&self.node, &self.known);
        let mut lines = Vec::new();
        for event in &known.sessions {
            let (client, transport) = (&event.client, &event.transport);
            let text = match &event.change {
                SessionChange::Connected => format!("client {client} connected over {transport}"),
                SessionChange::Refused(code) => format!("a client was refused with {code}"),
                SessionChange::Ended(end) => format!(
                    "client {client} ({transport}) ended with {} {}; {} B waited, the oldest for at most {} ms",
                    end.code, end.reason, end.waiting_bytes, end.waiting_ms
                ),
            };
            lines.push(line(event.at, node, text, None));
        }
        for event in &known.subscriptions {
            let client = &event.client;
            let (text, reason) = match &event.change {
                SubscriptionChange::Began { asked, top, recovery } => {
                    let came = asked
                        .as_ref()
                        .map_or(String::new(), |asked| format!(" with offset {}", asked.offset));
                    let at = top.as_ref().map_or(String::new(), |top| format!(" at offset {}", top.offset));
                    let outcome = if *recovery == RecoveryResult::NotAsked { "" } else { why_not(*recovery) };
                    let outcome = if outcome.is_empty() { String::new() } else { format!(": {outcome}") };
                    (format!("client {client} subscribed{came}{at}{outcome}"), None)
                }
                SubscriptionChange::Refused(code) => {
                    let text = format!("client {client} was refused the channel with code {code}");
                    (text, Some(Reason::SubscribeRefused))
                }
                SubscriptionChange::Ended { code, seen, not_permitted } => {
                    let how = match code {
                        Some(code) if *not_permitted => {
                            format!("with {code}: the settings no longer permit it")
                        }
                        None => "with its session".to_owned(),
                        Some(0) => "as the client wanted".to_owned(),
                        Some(code) => format!("with {code}"),
                    };
                    let seen = up_to(seen.as_ref());
                    (format!("the subscription of client {client} ended {how}{seen}"), None)
                }
            };
            lines.push(line(event.at, node, text, reason));
        }
        for event in &known.gaps {
            let (text, reason) = match &event.change {
                GapChange::Missed => {
                    ("the broker may have missed publications".to_owned(), Some(Reason::Gap))
                }
                GapChange::InboxFull => ("the worker's inbox was full".to_owned(), Some(Reason::Gap)),
                GapChange::CaughtUp { after, to } => {
                    let text =
                        format!("what followed offset {} was read from history, up to {to}", after.offset);
                    (text, Some(Reason::CaughtUp))
                }
                GapChange::NotCaughtUp => (
                    "what was missed could not be read; subscribers were told".to_owned(),
                    Some(Reason::Told),
                ),
                GapChange::EpochEnded { next } => (format!("the stream went on in epoch {next}"), None),
                GapChange::BrokerReconnected(count) => {
                    (format!("{count} connections to the broker were lost"), None)
                }
                GapChange::CanaryLate(ms) => (format!("the canary had not come back for {ms} ms"), None),
                GapChange::NodeLost { id, name } => {
                    let name = if name.is_empty() { id } else { name };
                    (format!("node {name} left the cluster"), Some(Reason::NodeLost))
                }
            };
            lines.push(line(event.at, node, text, reason));
        }
        for failed in &known.failures {
            let by = if failed.by_client { "a client" } else { "the backend" };
            let text = format!("a publish of {by} failed with code {}", failed.code);
            lines.push(line(failed.at, node, text, Some(Reason::NotAccepted)));
        }
        let (text, reason) = match known.subscribers {
            0 => (
                "no subscriber of the channel now: the broker sends it nothing".to_owned(),
                Some(Reason::NoInterest),
            ),
            count => (format!("subscribers of the channel now: {count}"), None),
        };
        lines.push(line(known.now, node, text, reason));
        lines
    }
}
