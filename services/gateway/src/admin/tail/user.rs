//! The user of a tail: what happens to their sessions on any node. Once a second the event logs of all nodes are asked for what is new
//! in them; a node keeps nothing for it.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    line,
    output::{ReaderGone, TailOutput},
    request::{TailRequest, TailStart},
};
use crate::{
    admin::state::Admin,
    clock::unix_ms,
    event_log::query::{EVIDENCE_MAX, EventAnswer, EventQuery, UserEventQuery, later},
};

/// A tail of a user.
pub(super) struct UserWatch {
    admin: Arc<Admin>,
    /// The query of the next poll, with the time up to which each node has told.
    query: UserEventQuery,
    rate: u64,
    /// Names of nodes that did not answer the last poll.
    silent: Vec<String>,
    node_count: u64,
    polled: Instant,
    found: FoundEvents,
}

/// The events of one poll.
#[derive(Default)]
struct FoundEvents {
    lines: Vec<(u64, Value)>,
    skipped: u64,
    /// Lines about nodes that forgot events between two polls.
    forgotten: Vec<Value>,
    silent: Vec<String>,
    known_since: Option<u64>,
}

impl UserWatch {
    pub(super) fn new(admin: &Arc<Admin>, user: &str, asked: &TailRequest) -> Self {
        let ago = match asked.since {
            Some(TailStart::Ago(ago)) => u64::try_from(ago.as_millis()).unwrap_or(u64::MAX),
            _ => 0,
        };
        let query = UserEventQuery {
            user: user.to_owned(),
            channel: asked.channel.as_deref().map(str::to_owned),
            since: unix_ms().saturating_sub(ago),
            seen: BTreeMap::new(),
            until: 0,
            limit: EVIDENCE_MAX,
            commands: true,
            is_first: true,
        };
        Self {
            admin: admin.clone(),
            query,
            rate: asked.rate,
            silent: Vec::new(),
            node_count: 1,
            polled: Instant::now(),
            found: FoundEvents::default(),
        }
    }

    /// Asks for the first time, so that it is known since when the nodes remember.
    pub(super) async fn begin(&mut self) {
        self.found = self.ask(EVIDENCE_MAX).await;
    }

    /// All nodes know everything since then, if one of them does not know all that is asked for.
    pub(super) fn known_since(&self) -> Option<u64> {
        self.found.known_since.filter(|since| *since > self.query.since)
    }

    /// Tells what happened since the last time.
    pub(super) async fn poll(&mut self, output: &mut TailOutput) -> Result<(), ReaderGone> {
        let seconds = self.polled.elapsed().as_secs().max(1);
        self.polled = Instant::now();
        // The rate is a budget of the whole cluster.
        let each = self.rate.saturating_mul(seconds).div_ceil(self.node_count);
        let mut found = std::mem::take(&mut self.found);
        if found.lines.is_empty() && found.skipped == 0 {
            found = self.ask(usize::try_from(each).unwrap_or(EVIDENCE_MAX).min(EVIDENCE_MAX)).await;
        }
        if found.silent != self.silent {
            output.line(&json!({"kind": "nodes", "silent": found.silent})).await?;
            self.silent = found.silent;
        }
        output.skipped(found.skipped, "rate").await?;
        for line in found.forgotten {
            output.line(&line).await?;
        }
        for (_, line) in found.lines {
            output.event(&line).await?;
        }
        Ok(())
    }

    async fn ask(&mut self, limit: usize) -> FoundEvents {
        self.query.limit = limit;
        let answered = self.admin.node.cluster.events_of_all(EventQuery::OfUser(self.query.clone())).await;
        let answered = match answered {
            Ok(answered) => answered,
            Err(error) => {
                tracing::debug!(%error, "event logs not asked for a tail");
                return FoundEvents { silent: self.silent.clone(), ..FoundEvents::default() };
            }
        };
        self.node_count = (answered.nodes.len() as u64).max(1);
        let silent = answered.nodes.iter().filter(|node| !node.answered).map(|node| node.name.clone());
        let mut found =
            FoundEvents { silent: silent.collect(), known_since: Some(0), ..FoundEvents::default() };
        for (index, answer) in answered.answers {
            let (EventAnswer::OfUser(events), Some(node)) = (answer, answered.nodes.get(index)) else {
                continue;
            };
            let seen = self.query.seen.insert(node.id.clone(), events.until);
            if let (Some(since), Some(known_since)) = (seen, events.known_since)
                && known_since > since
            {
                let line = json!({"kind": "forgotten", "node": node.name, "since": since, "known_since": known_since});
                found.forgotten.push(line);
            }
            found.skipped += events.skipped;
            found.known_since = later(found.known_since, events.known_since);
            let name = &node.name;
            found.lines.extend(events.sessions.iter().map(|event| (event.at, line::session(event, name))));
            found.lines.extend(events.commands.iter().map(|event| (event.at, line::command(event, name))));
            let subscriptions = events.subscriptions.iter();
            found.lines.extend(subscriptions.map(|event| (event.at, line::subscription(event, name))));
        }
        // Of one node and one millisecond: in the order in which a session has them.
        found.lines.sort_by_key(|(at, line)| (*at, rank(line)));
        let most = limit.saturating_mul(usize::try_from(self.node_count).unwrap_or(1));
        let too_many = found.lines.len().saturating_sub(most);
        found.lines.drain(..too_many);
        found.skipped += too_many as u64;
        found
    }
}

fn rank(line: &Value) -> u8 {
    match line["kind"].as_str() {
        Some("connect") => 0,
        Some("disconnect" | "connect_refused") => 2,
        _ => 1,
    }
}
