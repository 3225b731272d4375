//! The names of keys and pub/sub channels in Redis. `docs/architecture.md` §5.2, §5.3.
//!
//! `<prefix>:<kind>:{<channel>}`, so that `<prefix>:*` covers everything for an access list. In the hash tag `%`, `{` and `}`
//! are percent-encoded: no two names share a key, and the tag is the whole name.

use crate::queue::QueueWake;

/// Makes the names, all under one prefix.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// The channel's epoch and newest offset.
    pub(super) fn position(&self, channel: &str) -> String {
        self.name("position", channel)
    }

    /// The channel's remembered publications.
    pub(super) fn history(&self, channel: &str) -> String {
        self.name("history", channel)
    }

    /// The answer to the publication with this idempotency key.
    pub(super) fn answer(&self, channel: &str, key: &str) -> String {
        let mut name = self.name("answer", channel);
        name.push(':');
        name.push_str(key);
        name
    }

    /// The clients present, when they are forgotten, and how many each user has.
    pub(super) fn presence_set(&self, channel: &str) -> [String; 3] {
        ["clients", "deadlines", "users"].map(|kind| self.name(kind, channel))
    }

    /// The pub/sub channel of the channel's events.
    pub(super) fn events(&self, channel: &str) -> String {
        self.name("events", channel)
    }

    /// The pub/sub channel of a node's canary.
    pub(super) fn canary(&self, node: &str) -> String {
        self.name("canary", node)
    }

    /// The descriptions of all nodes, and when their leases end. One tag: nothing of it is of one channel.
    pub(super) fn members(&self) -> [String; 2] {
        ["members", "leases"].map(|kind| self.name(kind, ""))
    }

    /// The pub/sub channel of the messages to one node.
    pub(super) fn node(&self, node: &str) -> String {
        self.name("node", node)
    }

    /// The pub/sub channel of the messages to all nodes.
    pub(super) fn nodes(&self) -> String {
        self.name("nodes", "")
    }

    /// The clients of a user, by the time at which they are forgotten.
    pub(super) fn connections(&self, user: &str) -> String {
        self.name("connections", user)
    }

    /// A work queue, by the channel that wakes its consumers: the messages, those that came back, how often each was
    /// delivered, the leases of its nodes, the bytes held.
    pub(super) fn queue(&self, wake: QueueWake<'_>) -> [String; 5] {
        let channel = wake.channel();
        ["queue", "returned", "tries", "consumers", "held"].map(|kind| self.name(kind, &channel))
    }

    /// The owner of a name.
    pub(super) fn owner(&self, name: &str) -> String {
        self.name("owner", name)
    }

    fn name(&self, kind: &str, channel: &str) -> String {
        let mut name = String::with_capacity(self.prefix.len() + kind.len() + channel.len() + 4);
        name.push_str(&self.prefix);
        name.push(':');
        name.push_str(kind);
        name.push_str(":{");
        if channel.is_empty() {
            // An empty tag is none. No channel's tag looks like this one.
            name.push('%');
        }
        for sign in channel.chars() {
            match sign {
                '%' => name.push_str("%25"),
                '{' => name.push_str("%7B"),
                '}' => name.push_str("%7D"),
                other => name.push(other),
            }
        }
        name.push('}');
        name
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::collections::HashSet;

    use super::*;

    #[test]
    fn all_keys_of_a_channel_carry_one_hash_tag_and_no_other_channels() {
        let keys = Keys::new("gorani");
        let channels = ["a", "{a}b", "}{", "{}", "}", "%7B", "{", "", "%", "a:b"];
        let mut tags = HashSet::new();
        for channel in channels {
            let [clients, deadlines, users] = keys.presence_set(channel);
            let names = [
                keys.position(channel),
                keys.history(channel),
                keys.answer(channel, "x}{y"),
                keys.events(channel),
                clients,
                deadlines,
                users,
            ];
            // What Redis Cluster hashes: from the first `{` to the first `}` after it.
            let tag = |name: &String| name.split_once('{').unwrap().1.split_once('}').unwrap().0.to_owned();
            let of_channel: HashSet<String> = names.iter().map(tag).collect();
            assert_eq!(of_channel.len(), 1, "{channel:?}");
            assert!(!of_channel.contains(""), "{channel:?}");
            assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
            tags.extend(of_channel);
        }
        assert_eq!(tags.len(), channels.len());
    }
}
