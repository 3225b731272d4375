//! The scripts that run in Redis, each one atomic step. Design §5 (one Lua script per publish).
//!
//! Called by digest; a server that lost them (restart, failover, `SCRIPT FLUSH`) is given all of them again, see
//! `requests`.

use redis::{Cmd, Script, cmd};

/// One script, and its digest.
#[derive(Debug)]
pub(super) struct Code {
    text: String,
    digest: String,
}

impl Code {
    fn new(shared: &str, own: &str) -> Self {
        let text = format!("{shared}\n{own}");
        let digest = Script::new(&text).get_hash().to_owned();
        Self { text, digest }
    }

    /// The call with these keys; the arguments follow.
    pub(super) fn call(&self, keys: &[&str]) -> Cmd {
        let mut call = cmd("EVALSHA");
        call.arg(&self.digest).arg(keys.len()).arg(keys);
        call
    }
}

/// All scripts.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) publish: Code,
    pub(super) history: Code,
    pub(super) renew: Code,
    pub(super) presence_add: Code,
    pub(super) presence_remove: Code,
    pub(super) presence: Code,
    pub(super) presence_stats: Code,
    pub(super) presence_reap: Code,
    pub(super) announce: Code,
    pub(super) retire: Code,
    pub(super) members: Code,
    pub(super) connection_enter: Code,
    pub(super) connection_refresh: Code,
    pub(super) connection_leave: Code,
    pub(super) connection_holders: Code,
    pub(super) claim: Code,
    pub(super) release: Code,
    pub(super) queue_push: Code,
    pub(super) queue_take: Code,
    pub(super) queue_ack: Code,
    pub(super) queue_return: Code,
    pub(super) queue_keep: Code,
}

impl Scripts {
    pub(super) fn new() -> Self {
        let stream = include_str!("scripts/stream.lua");
        let roster = include_str!("scripts/roster.lua");
        let leases = include_str!("scripts/leases.lua");
        let connections = include_str!("scripts/connections.lua");
        let queue = include_str!("scripts/queue.lua");
        Self {
            publish: Code::new(stream, include_str!("scripts/publish.lua")),
            history: Code::new(stream, include_str!("scripts/history.lua")),
            renew: Code::new("", include_str!("scripts/renew.lua")),
            presence_add: Code::new(roster, include_str!("scripts/presence_add.lua")),
            presence_remove: Code::new(roster, include_str!("scripts/presence_remove.lua")),
            presence: Code::new(roster, include_str!("scripts/presence.lua")),
            presence_stats: Code::new(roster, include_str!("scripts/presence_stats.lua")),
            presence_reap: Code::new(roster, include_str!("scripts/presence_reap.lua")),
            announce: Code::new(leases, include_str!("scripts/announce.lua")),
            retire: Code::new(leases, include_str!("scripts/retire.lua")),
            members: Code::new(leases, include_str!("scripts/members.lua")),
            connection_enter: Code::new(connections, include_str!("scripts/connection_enter.lua")),
            connection_refresh: Code::new(connections, include_str!("scripts/connection_refresh.lua")),
            connection_leave: Code::new(connections, include_str!("scripts/connection_leave.lua")),
            connection_holders: Code::new(connections, include_str!("scripts/connection_holders.lua")),
            claim: Code::new("", include_str!("scripts/claim.lua")),
            release: Code::new("", include_str!("scripts/release.lua")),
            queue_push: Code::new(queue, include_str!("scripts/queue_push.lua")),
            queue_take: Code::new(queue, include_str!("scripts/queue_take.lua")),
            queue_ack: Code::new(queue, include_str!("scripts/queue_ack.lua")),
            queue_return: Code::new(queue, include_str!("scripts/queue_return.lua")),
            queue_keep: Code::new(queue, include_str!("scripts/queue_keep.lua")),
        }
    }

    /// The commands that make a server know all scripts.
    pub(super) fn load(&self) -> Vec<Cmd> {
        let Self {
            publish,
            history,
            renew,
            presence_add,
            presence_remove,
            presence,
            presence_stats,
            presence_reap,
            announce,
            retire,
            members,
            connection_enter,
            connection_refresh,
            connection_leave,
            connection_holders,
            claim,
            release,
            queue_push,
            queue_take,
            queue_ack,
            queue_return,
            queue_keep,
        } = self;
        [
            publish,
            history,
            renew,
            presence_add,
            presence_remove,
            presence,
            presence_stats,
            presence_reap,
            announce,
            retire,
            members,
            connection_enter,
            connection_refresh,
            connection_leave,
            connection_holders,
            claim,
            release,
            queue_push,
            queue_take,
            queue_ack,
            queue_return,
            queue_keep,
        ]
        .map(|code| {
            let mut load = cmd("SCRIPT");
            load.arg("LOAD").arg(&code.text);
            load
        })
        .into()
    }
}
