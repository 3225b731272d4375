//! The calls into Redis: the scripts that run there, each one atomic step, and the names of keys and pub/sub channels.
//! `docs/architecture.md` §5.2 and §5.3.
//!
//! Called by digest; a server that lost them (restart, failover, `SCRIPT FLUSH`) is given all of them again, see
//! `requests`.

use redis::{Arg, Cmd, Script, cmd};

use crate::{hook_store::Partition, queue::QueueWake};

/// Plain commands that are told apart.
const PLAIN_COMMANDS: [&str; 2] = ["get", "unlink"];
/// The kind of all others.
const OTHER_COMMANDS: &str = "other";

/// The bytes of an argument.
fn simple(argument: Option<Arg<&[u8]>>) -> &[u8] {
    match argument {
        Some(Arg::Simple(bytes)) => bytes,
        _ => b"",
    }
}

/// One script, and its digest.
#[derive(Debug)]
pub(super) struct LuaScript {
    text: &'static str,
    digest: String,
}

impl LuaScript {
    fn new(text: &'static str) -> Self {
        Self { text, digest: Script::new(text).get_hash().to_owned() }
    }

    /// The command that makes a server know it.
    fn load(&self) -> Cmd {
        let mut load = cmd("SCRIPT");
        load.arg("LOAD").arg(self.text);
        load
    }

    /// The call with these keys; the arguments follow.
    pub(super) fn call(&self, keys: &[&str]) -> Cmd {
        let mut call = cmd("EVALSHA");
        call.arg(&self.digest).arg(keys.len()).arg(keys);
        call
    }
}

/// Defines the scripts, each from one or two files, what several share first, and the commands that load them all.
macro_rules! scripts {
    ($($name:ident: $($part:literal)+,)*) => {
        /// All scripts.
        #[derive(Debug)]
        pub(super) struct Scripts {
            $(pub(super) $name: LuaScript,)*
        }

        impl Scripts {
            /// The kinds of requests: the names of the scripts, of some plain commands, and one for all others.
            pub(super) const KINDS: &'static [&'static str] =
                &[$(stringify!($name),)* PLAIN_COMMANDS[0], PLAIN_COMMANDS[1], OTHER_COMMANDS];

            /// The position of a request's kind among [`Self::KINDS`].
            pub(super) fn kind_of(&self, command: &Cmd) -> usize {
                let scripts = [$(&self.$name,)*];
                let mut arguments = command.args_iter();
                let (name, first) = (simple(arguments.next()), simple(arguments.next()));
                if name == b"EVALSHA" {
                    let called = scripts.iter().position(|script| script.digest.as_bytes() == first);
                    return called.unwrap_or(Self::KINDS.len() - 1);
                }
                // A publish without history needs no script.
                if name.eq_ignore_ascii_case(b"PUBLISH") || name.eq_ignore_ascii_case(b"SPUBLISH") {
                    return Self::PUBLISH;
                }
                let plain = |command: &&str| command.as_bytes().eq_ignore_ascii_case(name);
                scripts.len() + PLAIN_COMMANDS.iter().position(plain).unwrap_or(PLAIN_COMMANDS.len())
            }

            /// The position of `publish`, which is a command too.
            const PUBLISH: usize = {
                let mut at = 0;
                while !matches!(Self::KINDS[at].as_bytes(), b"publish") {
                    at += 1;
                }
                at
            };

            pub(super) fn new() -> Self {
                Self { $($name: LuaScript::new(concat!($(include_str!($part), "\n"),+)),)* }
            }

            /// The commands that make a server know all scripts.
            pub(super) fn load(&self) -> Vec<Cmd> {
                [$(&self.$name,)*].map(LuaScript::load).into()
            }
        }
    };
}

scripts! {
    canary: "scripts/canary.lua",
    publish: "scripts/stream.lua" "scripts/publish.lua",
    history: "scripts/stream.lua" "scripts/history.lua",
    renew: "scripts/renew.lua",
    presence_add: "scripts/presence_set.lua" "scripts/presence_add.lua",
    presence_remove: "scripts/presence_set.lua" "scripts/presence_remove.lua",
    presence: "scripts/presence_set.lua" "scripts/presence.lua",
    presence_nodes: "scripts/presence_set.lua" "scripts/presence_nodes.lua",
    presence_stats: "scripts/presence_set.lua" "scripts/presence_stats.lua",
    presence_reap: "scripts/presence_set.lua" "scripts/presence_reap.lua",
    announce: "scripts/leases.lua" "scripts/announce.lua",
    retire: "scripts/leases.lua" "scripts/retire.lua",
    members: "scripts/leases.lua" "scripts/members.lua",
    connection_enter: "scripts/connections.lua" "scripts/connection_enter.lua",
    connection_refresh: "scripts/connections.lua" "scripts/connection_refresh.lua",
    connection_leave: "scripts/connections.lua" "scripts/connection_leave.lua",
    connection_holders: "scripts/connections.lua" "scripts/connection_holders.lua",
    claim: "scripts/claim.lua",
    release: "scripts/release.lua",
    queue_push: "scripts/queue.lua" "scripts/queue_push.lua",
    queue_take: "scripts/queue.lua" "scripts/queue_take.lua",
    queue_ack: "scripts/queue.lua" "scripts/queue_ack.lua",
    queue_return: "scripts/queue.lua" "scripts/queue_return.lua",
    queue_keep: "scripts/queue.lua" "scripts/queue_keep.lua",
    hook_open: "scripts/hook.lua" "scripts/hook_open.lua",
    hook_begin: "scripts/hook.lua" "scripts/hook_begin.lua",
    hook_apply: "scripts/hook.lua" "scripts/hook_apply.lua",
    hook_entries: "scripts/hook.lua" "scripts/hook_entries.lua",
    hook_nodes: "scripts/hook.lua" "scripts/hook_nodes.lua",
    hook_due: "scripts/hook.lua" "scripts/hook_due.lua",
    hook_head: "scripts/hook.lua" "scripts/hook_head.lua",
    hook_complete: "scripts/hook.lua" "scripts/hook_letter.lua" "scripts/hook_complete.lua",
    hook_dead: "scripts/hook.lua" "scripts/hook_dead.lua",
    hook_dead_take: "scripts/hook.lua" "scripts/hook_letter.lua" "scripts/hook_dead_take.lua",
    hook_seen: "scripts/hook.lua" "scripts/hook_seen.lua",
    hook_forget: "scripts/hook.lua" "scripts/hook_forget.lua",
}

/// Makes the names, all under one prefix: `<prefix>:<kind>:{<channel>}`, so that `<prefix>:*` covers everything for an access
/// list. In the hash tag `%`, `{` and `}` are percent-encoded: no two names share a key, and the tag is the whole name.
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

    /// A partition of the store of hooks with the queues of these endpoints, in the order of `hook.lua`.
    pub(super) fn hooks_with<'e>(
        &self,
        partition: Partition,
        endpoints: impl IntoIterator<Item = &'e str>,
    ) -> Vec<String> {
        let queues = endpoints.into_iter().flat_map(|endpoint| self.hook_queue(partition, endpoint));
        self.hooks(partition).into_iter().chain(queues).collect()
    }

    fn hooks(&self, partition: Partition) -> [String; 8] {
        let kinds = ["meta", "sessions", "ended", "users", "entries", "occupied", "due", "seen"];
        kinds.map(|kind| self.name(&format!("hook-{kind}"), &hook_tag(partition)))
    }

    /// The queue of an endpoint in a partition, in the order of `hook.lua`.
    fn hook_queue(&self, partition: Partition, endpoint: &str) -> [String; 5] {
        let kinds = ["queue", "state", "replayed", "dead", "letters"];
        kinds.map(|kind| {
            let mut name = self.name(&format!("hook-{kind}"), &hook_tag(partition));
            name.push(':');
            name.push_str(endpoint);
            name
        })
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

/// The hash tag of a partition of the store of hooks.
fn hook_tag(partition: Partition) -> String {
    format!("hooks:{partition}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::collections::HashSet;

    use super::*;

    #[test]
    fn all_keys_of_a_channel_carry_one_hash_tag_and_no_other_channels() {
        let keys = Keys::new("gorani");
        let channels = [
            "a",
            "{a}b",
            "}{",
            "{}",
            "}",
            "%7B",
            "{",
            "",
            "%",
            "a:b",
            "채팅방",
            "{채팅}방",
            "채팅",
            "\u{e9}",
            "e\u{301}",
        ];
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

    #[test]
    fn all_keys_of_a_partition_carry_one_hash_tag_and_no_other_partitions() {
        let keys = Keys::new("gorani");
        let of = |partition, endpoint| keys.hooks_with(partition, [endpoint]);
        let slots = |names: &[String]| -> HashSet<String> {
            names
                .iter()
                .map(|name| name.split_once('{').unwrap().1.split_once('}').unwrap().0.to_owned())
                .collect()
        };
        let (one, other) = (of(1, "a"), of(11, "a"));
        assert_eq!(slots(&one), HashSet::from(["hooks:1".to_owned()]));
        let all: HashSet<&String> = one.iter().chain(&other).collect();
        assert_eq!(all.len(), one.len() + other.len());
        assert!(!keys.hook_queue(1, "b").iter().any(|name| one.contains(name)));
    }
}
