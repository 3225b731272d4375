//! The scripts that run in Redis, each one atomic step. `docs/architecture.md` §5.2.
//!
//! Called by digest; a server that lost them (restart, failover, `SCRIPT FLUSH`) is given all of them again, see
//! `requests`.

use redis::{Cmd, Script, cmd};

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
}
