//! A backend that folds the events it is sent into the state of the cluster, and notices what cannot be.

use std::collections::{BTreeMap, BTreeSet};

use gorani_broker::hook_store::{HookEvent, HookEventKind, Partition};

/// The state of the cluster.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ClusterState {
    /// Clients, each with its channels.
    pub(crate) sessions: BTreeMap<String, BTreeSet<String>>,
    pub(crate) channels: BTreeSet<String>,
    /// Channels and users.
    pub(crate) members: BTreeSet<(String, String)>,
}

/// The events of one partition, folded.
#[derive(Debug, Default)]
struct FoldedPartition {
    state: ClusterState,
    sequences: BTreeMap<String, u64>,
}

/// All events, folded.
#[derive(Debug, Default)]
pub(crate) struct FoldedEvents {
    partitions: BTreeMap<Partition, FoldedPartition>,
    /// Each event as a line.
    pub(super) lines: Vec<String>,
    pub(crate) faults: Vec<String>,
    /// Publications: their channels and details.
    pub(crate) publications: Vec<(String, serde_json::Value)>,
}

impl FoldedEvents {
    /// The lines since the last call.
    pub(super) fn take_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }

    /// The state of all partitions together.
    pub(crate) fn state(&self) -> ClusterState {
        let mut all = ClusterState::default();
        for FoldedPartition { state, .. } in self.partitions.values() {
            all.sessions.extend(state.sessions.iter().map(|(client, of)| (client.clone(), of.clone())));
            all.channels.extend(state.channels.iter().cloned());
            all.members.extend(state.members.iter().cloned());
        }
        all
    }

    pub(crate) fn take_in(&mut self, partition: Partition, event: &HookEvent) {
        let draft = &event.draft;
        let details = std::str::from_utf8(&draft.details).unwrap();
        let details: serde_json::Value = serde_json::from_str(&format!("{{{details}}}")).unwrap();
        let meta = std::str::from_utf8(&draft.meta).unwrap();
        let line = format!(
            "{:?} {} {} {} seq={} sessions={} {details}{meta}",
            draft.kind, draft.client, draft.user, draft.channel, event.sequence, event.user_sessions
        );
        let FoldedPartition { state, sequences } = self.partitions.entry(partition).or_default();
        let (client, channel) = (draft.client.to_string(), draft.channel.to_string());
        let member = (channel.clone(), draft.user.to_string());
        if event.sequence > 0 {
            let last = sequences.insert(client.clone(), event.sequence);
            if last.is_some_and(|last| event.sequence != last + 1) {
                self.faults.push(format!("a hole before {line}"));
            }
        }
        let is_right = match draft.kind {
            HookEventKind::Connected => state.sessions.insert(client, BTreeSet::new()).is_none(),
            HookEventKind::Disconnected => state.sessions.remove(&client).is_some(),
            HookEventKind::Subscribed => {
                let session = state.sessions.get_mut(&client);
                session.map(|channels| channels.insert(channel)).is_some()
            }
            HookEventKind::Unsubscribed => {
                let session = state.sessions.get_mut(&client);
                session.map(|channels| channels.remove(&channel)).is_some()
            }
            HookEventKind::Occupied => state.channels.insert(channel),
            HookEventKind::Vacated => state.channels.remove(&channel),
            HookEventKind::MemberAdded => state.members.insert(member),
            HookEventKind::MemberRemoved => state.members.remove(&member),
            HookEventKind::Publication => {
                self.publications.push((channel, details.clone()));
                true
            }
            HookEventKind::Gap => true,
            HookEventKind::Reset => {
                *state = ClusterState::default();
                sequences.clear();
                true
            }
        };
        if !is_right {
            self.faults.push(format!("out of place: {line}"));
        }
        if let Some(replaced) = details.get("replaces").and_then(serde_json::Value::as_str) {
            // It may have ended as lost before.
            state.sessions.remove(replaced);
        }
        self.lines.push(line);
    }
}
