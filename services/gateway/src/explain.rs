//! Explain: why a user got a publication of a channel, or did not. It puts together the channel's history and what all nodes know
//! of the user ([`crate::event_log`]), and says no more than that. `docs/explain.md`; decision record 56.
//!
//! - [`query`], [`answer`]: the question and the answer.
//! - [`reason`]: the reasons, as one table.
//! - [`history`]: subscriptions and sessions of the user, out of the evidence of the nodes.
//! - [`decide`]: the decision on one publication.
//! - [`traced`]: what traces add.
//! - [`lines`]: the evidence in order of time, for people.

pub mod answer;
pub mod decide;
pub mod history;
pub mod lines;
pub mod query;
pub mod reason;
#[cfg(test)]
mod tests;
mod traced;

use std::sync::Arc;

use gorani_broker::{BrokerError, HistoryPage, HistoryQuery};

use self::{
    answer::{EvidenceLine, Explanation, Verdict},
    decide::{AskedPublication, Decision, Facts},
    history::EvidenceOfNode,
    lines::evidence_lines,
    query::{ExplainQuery, Selection, selected},
    reason::{EXIT_HAD, EXIT_NOT, EXIT_UNKNOWN, Reason},
};
use crate::{
    clock::unix_ms,
    disconnect::ErrorCode,
    event_log::query::{EventAnswer, EventQuery, EvidenceQuery},
    hub::history_reads::ReadSource,
    node::{
        Node,
        cluster::{ClusterError, event_queries::AskedNode},
    },
};

/// Publications that one request is about, at most.
pub const PUBLICATIONS_MAX: u32 = 100;
/// Bytes that are read of the history.
const READ_MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Clocks of nodes that differ by less are taken to be the same, in milliseconds.
const CLOCK_TOLERANCE_MS: u64 = 5;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The question cannot be answered.
    #[error("{0}")]
    Request(&'static str),
    /// Other nodes cannot be asked.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The history cannot be read.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// Answers a question.
pub async fn explain(node: &Arc<Node>, query: &ExplainQuery) -> Result<Explanation, ExplainError> {
    if query.user.as_ref().is_none_or(String::is_empty) && query.client.is_none() {
        return Err(ExplainError::Request("a user or a client must be named"));
    }
    let retention = match node.policy.get().channel_retention(&query.channel) {
        Ok(retention) => retention,
        Err(ErrorCode::UNKNOWN_CHANNEL) => {
            let decision = Decision::about(Reason::NoSuchChannel, "");
            return Ok(explanation(query, &decision, "", Vec::new(), Vec::new()));
        }
        Err(_) => return Err(ExplainError::Request("channel: not a name of a channel")),
    };
    let page = if retention.keeps_history() {
        let read = history_query(&query.publications)?;
        node.reads.history(ReadSource::Api, &query.channel, read, retention).await?
    } else {
        HistoryPage::default()
    };
    let about = EvidenceQuery {
        channel: query.channel.clone(),
        user: query.user.clone().filter(|user| !user.is_empty()),
        client: query.client.clone(),
    };
    let asked_at = unix_ms();
    let answers = node.cluster.events_of_all(EventQuery::Evidence(about)).await?;
    let mut facts = Facts { client: query.client.clone(), ..Facts::default() };
    let mut clocks = Vec::new();
    for (index, answer) in answers.answers {
        let (EventAnswer::Evidence(known), Some(of)) = (answer, answers.nodes.get(index)) else { continue };
        let ahead = clock_ahead(known.now, asked_at, of.ms);
        if index > 0 && ahead != 0 {
            clocks.push((of.name.clone(), ahead));
        }
        let mut of_node = EvidenceOfNode { node: of.name.clone(), known: *known };
        of_node.shift(if index > 0 { ahead } else { 0 });
        facts.nodes.push(of_node);
    }
    let silent = answers.nodes.iter().filter(|node| !node.answered);
    facts.silent = silent.map(|node| node.name.clone()).collect();
    let (decision, subject) = decide_all(query, &page, &facts);
    let evidence = evidence_lines(query, &page, &facts, &decision, &clocks);
    Ok(explanation(query, &decision, &subject, evidence, answers.nodes))
}

/// Milliseconds that another node's clock is ahead, if that is more than its answer's way can explain.
fn clock_ahead(now: u64, asked_at: u64, took_ms: u64) -> i64 {
    let middle = asked_at.saturating_add(took_ms / 2);
    let ahead = i64::try_from(now).unwrap_or(i64::MAX).saturating_sub_unsigned(middle);
    if ahead.unsigned_abs() > took_ms / 2 + CLOCK_TOLERANCE_MS { ahead } else { 0 }
}

fn history_query(publications: &Selection) -> Result<HistoryQuery, ExplainError> {
    let (limit, since, reverse) = match publications {
        Selection::Offset(0, _) => return Err(ExplainError::Request("offset: the first one is 1")),
        Selection::Offset(offset, _) => (1, Some(offset - 1), false),
        Selection::Since(_) => (PUBLICATIONS_MAX, None, true),
        Selection::Last(count) if (1..=PUBLICATIONS_MAX).contains(count) => (*count, None, true),
        Selection::Last(_) => return Err(ExplainError::Request("last: 1 to 100")),
    };
    Ok(HistoryQuery { limit, since, reverse, max_bytes: Some(READ_MAX_BYTES) })
}

/// The decision on all publications, with the words for them.
fn decide_all(query: &ExplainQuery, page: &HistoryPage, facts: &Facts) -> (Decision, String) {
    let found = selected(query, page);
    if let Selection::Offset(offset, epoch) = &query.publications {
        let subject = format!("offset {offset}");
        if let Some(epoch) = epoch.as_deref().filter(|epoch| !epoch.is_empty() && **epoch != *page.top.epoch)
        {
            let is_shared = page.ancestors.iter().any(|old| *old.epoch == *epoch && *offset <= old.offset);
            if !is_shared {
                let detail = format!("the epoch is {} now", page.top.epoch);
                return (Decision::about(Reason::WrongEpoch, detail), subject);
            }
        }
        if page.top.epoch.is_empty() {
            return (Decision::about(Reason::TooOld, "the channel keeps no history"), subject);
        }
        if *offset > page.top.offset {
            let detail = format!("the newest offset of epoch {} is {}", page.top.epoch, page.top.offset);
            return (Decision::about(Reason::NotAccepted, detail), subject);
        }
        let publication = found.first().map_or_else(
            || AskedPublication {
                offset: *offset,
                epoch: page.top.epoch.to_string(),
                ..AskedPublication::default()
            },
            |publication| AskedPublication::of(publication),
        );
        return (facts.decide(&publication), subject);
    }
    if found.is_empty() {
        return (nothing_published(query, page, facts), "no publication".to_owned());
    }
    let decisions: Vec<(u64, Decision)> = found
        .iter()
        .map(|publication| (publication.offset, facts.decide(&AskedPublication::of(publication))))
        .collect();
    let had = decisions.iter().filter(|(_, decision)| decision.reason.exit() == EXIT_HAD).count();
    // What is wrong counts first, then what is unknown.
    let worst = [EXIT_NOT, EXIT_UNKNOWN, EXIT_HAD]
        .into_iter()
        .find_map(|exit| decisions.iter().find(|(_, decision)| decision.reason.exit() == exit));
    let Some((offset, decision)) = worst else {
        return (nothing_published(query, page, facts), "no publication".to_owned());
    };
    (decision.clone(), format!("{had} of {} publications; offset {offset}", decisions.len()))
}

/// No publication is kept that the question could be about.
fn nothing_published(query: &ExplainQuery, page: &HistoryPage, facts: &Facts) -> Decision {
    let since = if let Selection::Since(since) = query.publications { since } else { 0 };
    let failures = facts.nodes.iter().flat_map(|node| &node.known.failures);
    let (open, failed): (Vec<_>, Vec<_>) = failures
        .filter(|failed| failed.at >= since)
        .partition(|failed| failed.code == ErrorCode::UNKNOWN_OUTCOME.code);
    if let Some(failed) = failed.first() {
        return Decision::about(Reason::NotAccepted, format!("a publish failed with code {}", failed.code));
    }
    if let Some(detail) = never_accepted(page, since) {
        return Decision::about(Reason::NotAccepted, detail);
    }
    if let Some(failed) = open.first() {
        let detail =
            format!("a publish ended with code {}: whether the broker has it is not known", failed.code);
        return Decision::about(Reason::Unknown, detail);
    }
    // Of a time that has not come nobody knows more than of now.
    let at = Some(since.min(unix_ms())).filter(|at| *at > 0);
    let publication = AskedPublication { at, ..AskedPublication::default() };
    let decision = facts.decide(&publication);
    if publication.at.is_none() || decision.reason.exit() == EXIT_HAD {
        return Decision::about(Reason::TooOld, "the history keeps nothing of it");
    }
    decision
}

/// The reason by which the history knows that nothing was accepted since this time; `None` if it does not know.
fn never_accepted(page: &HistoryPage, since: u64) -> Option<String> {
    let top = &page.top;
    if top.epoch.is_empty() {
        return None;
    }
    if top.offset == 0 {
        return Some(format!("nothing was published in epoch {}, the channel's life until now", top.epoch));
    }
    let newest = page.publications.iter().find(|publication| publication.offset == top.offset)?;
    (newest.time_ms < since).then(|| format!("the newest one, offset {}, is older", top.offset))
}

fn explanation(
    query: &ExplainQuery,
    decision: &Decision,
    subject: &str,
    evidence: Vec<EvidenceLine>,
    nodes: Vec<AskedNode>,
) -> Explanation {
    let whom = match (&query.user, &query.client) {
        (Some(user), None) => format!("user {user}"),
        (Some(user), Some(client)) => format!("user {user}, client {client}"),
        (None, client) => format!("client {}", client.as_deref().unwrap_or_default()),
    };
    let reason = decision.reason;
    let detail = if decision.detail.is_empty() { String::new() } else { format!(" ({})", decision.detail) };
    let subject = if subject.is_empty() { String::new() } else { format!(" {subject}") };
    let text = format!("{}{subject} → {whom}: {}{detail}", query.channel, reason.meaning());
    let mut advice: Vec<String> = Vec::new();
    if !reason.advice().is_empty() {
        advice.push(reason.advice().to_owned());
    }
    let answered = nodes.iter().filter(|node| node.answered).count();
    if !nodes.is_empty() {
        advice.push(format!("asked {} nodes, {answered} answered", nodes.len()));
    }
    Explanation {
        verdict: Verdict { code: reason.code(), text },
        reason,
        client: decision.client.clone(),
        evidence,
        advice,
        exit: reason.exit(),
        complete: answered == nodes.len(),
        nodes,
    }
}
