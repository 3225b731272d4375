//! What a receiver of hooks knows: every event folded into a state, and the rules that the events keep.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::Value;

/// A client that is connected, as the events say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KnownSession {
    pub(super) user: String,
    partition: u64,
}

/// Events folded, and what was wrong with them.
#[derive(Debug, Default)]
pub(super) struct Fold {
    seen: HashSet<String>,
    /// Clients that are connected.
    pub(super) sessions: BTreeMap<String, KnownSession>,
    /// Channels that are occupied, with their partition.
    pub(super) occupied: BTreeMap<String, u64>,
    /// Members of channels: channel and user, with the partition.
    pub(super) members: BTreeMap<(String, String), u64>,
    /// The last number of each client; `None` after a reset of its partition.
    sequences: HashMap<String, Option<u64>>,
    partition_of: HashMap<String, u64>,
    /// Clients of which a `connected` was told.
    pub(super) connected: BTreeSet<String>,
    /// Clients of which a `disconnected` was told.
    pub(super) disconnected: BTreeSet<String>,
    /// Events by type, without those that came twice.
    pub(super) counts: BTreeMap<String, u64>,
    /// Events that came again.
    pub(super) repeated: u64,
    /// A client whose events are not looked at: one of them was refused.
    pub(super) excused: Option<String>,
    pub(super) complaints: Vec<String>,
}

impl Fold {
    /// Takes the events of a batch that was accepted.
    pub(super) fn take(&mut self, events: &[Value]) {
        for event in events {
            self.take_event(event);
        }
    }

    fn take_event(&mut self, event: &Value) {
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let (id, kind, client, user, channel) =
            (text("id"), text("type"), text("client"), text("user"), text("channel"));
        if !self.seen.insert(id.clone()) {
            self.repeated += 1;
            return;
        }
        *self.counts.entry(kind.clone()).or_default() += 1;
        let Some(partition) = event["partition"].as_u64() else {
            return self.complaints.push(format!("{id}: no partition"));
        };
        if !client.is_empty() && self.excused.as_ref() == Some(&client) {
            return;
        }
        if let Some(number) = event["seq"].as_u64() {
            self.take_number(&id, &client, partition, number);
        }
        let resumed = event["resumed"] == true;
        let complaint = match kind.as_str() {
            "connected" => {
                self.connected.insert(client.clone());
                let known = KnownSession { user, partition };
                let again = self.sessions.insert(client.clone(), known).is_some() && !resumed;
                again.then(|| format!("{client} connected twice"))
            }
            "disconnected" => {
                self.disconnected.insert(client.clone());
                let unknown = self.sessions.remove(&client).is_none();
                unknown.then(|| format!("{client} disconnected, and was not connected"))
            }
            "subscribed" | "unsubscribed" => {
                let unknown = !self.sessions.contains_key(&client);
                unknown.then(|| format!("{kind} of {client}, which is not connected"))
            }
            "occupied" => {
                let again = self.occupied.insert(channel.clone(), partition).is_some() && !resumed;
                again.then(|| format!("{channel} occupied twice"))
            }
            "vacated" => {
                let unknown = self.occupied.remove(&channel).is_none();
                unknown.then(|| format!("{channel} vacated, and was not occupied"))
            }
            "member_added" => {
                let again =
                    self.members.insert((channel.clone(), user.clone()), partition).is_some() && !resumed;
                again.then(|| format!("{user} added twice to {channel}"))
            }
            "member_removed" => {
                let unknown = self.members.remove(&(channel.clone(), user.clone())).is_none();
                unknown.then(|| format!("{user} removed from {channel}, and was not there"))
            }
            "reset" => {
                self.forget((event["scope"] == "partition").then_some(partition));
                None
            }
            "gap" => Some(format!("a gap of {}", event["dropped"])),
            _ => None,
        };
        self.complaints.extend(complaint.map(|complaint| format!("{id}: {complaint}")));
    }

    /// Numbers of a client have no hole, but where its partition was reset.
    fn take_number(&mut self, id: &str, client: &str, partition: u64, number: u64) {
        self.partition_of.insert(client.to_owned(), partition);
        let last = self.sequences.entry(client.to_owned()).or_insert(Some(0));
        if let Some(last) = last
            && number != *last + 1
        {
            self.complaints.push(format!("{id}: {client} has number {number} after {last}"));
        }
        *last = Some(number);
    }

    /// Forgets what came from a partition; from all without one.
    fn forget(&mut self, partition: Option<u64>) {
        let stays = |of: u64| partition.is_some_and(|partition| partition != of);
        self.sessions.retain(|_, known| stays(known.partition));
        self.occupied.retain(|_, of| stays(*of));
        self.members.retain(|_, of| stays(*of));
        for (client, of) in &self.partition_of {
            if !stays(*of) {
                self.sequences.insert(client.clone(), None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn complaints(events: &[Value]) -> usize {
        let mut fold = Fold::default();
        fold.take(events);
        fold.complaints.len()
    }

    fn session(id: u64, kind: &str, seq: u64) -> Value {
        json!({"id": format!("0-{id}"), "partition": 0, "type": kind, "client": "c", "user": "u", "seq": seq})
    }

    fn channel(id: u64, kind: &str) -> Value {
        json!({"id": format!("0-{id}"), "partition": 0, "type": kind, "channel": "room:1", "user": "u"})
    }

    #[test]
    fn each_broken_rule_is_a_complaint_and_a_repeated_event_is_none() {
        let good = [session(1, "connected", 1), session(2, "subscribed", 2), session(3, "disconnected", 3)];
        assert_eq!(complaints(&good), 0);
        assert_eq!(complaints(&[good.to_vec(), good.to_vec()].concat()), 0);
        assert_eq!(complaints(&[session(1, "connected", 1), session(3, "disconnected", 3)]), 1);
        assert_eq!(complaints(&[session(1, "connected", 1), session(2, "connected", 2)]), 1);
        assert_eq!(complaints(&[session(1, "disconnected", 1)]), 1);
        assert_eq!(complaints(&[session(1, "subscribed", 1)]), 1);
        for (first, last) in [("occupied", "vacated"), ("member_added", "member_removed")] {
            assert_eq!(complaints(&[channel(1, first), channel(2, last), channel(3, first)]), 0);
            assert_eq!(complaints(&[channel(1, first), channel(2, first)]), 1);
            assert_eq!(complaints(&[channel(1, last)]), 1);
        }
        assert_eq!(complaints(&[json!({"id": "0-1", "partition": 0, "type": "gap", "dropped": 3})]), 1);
    }

    #[test]
    fn a_reset_forgets_its_partition_and_the_numbers_of_its_clients() {
        let reset = json!({"id": "0-2", "partition": 0, "type": "reset", "scope": "partition"});
        let mut fold = Fold::default();
        let other =
            json!({"id": "1-1", "partition": 1, "type": "connected", "client": "d", "user": "", "seq": 1});
        fold.take(&[session(1, "connected", 5), other, reset]);
        assert_eq!(fold.complaints.len(), 1, "5 is not the first number");
        assert_eq!(fold.sessions.keys().collect::<Vec<_>>(), ["d"]);
        fold.take(&[session(3, "connected", 1), session(4, "disconnected", 2)]);
        assert_eq!(fold.complaints.len(), 1);
    }
}
