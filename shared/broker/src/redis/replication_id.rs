//! The life of a server: after each start and each promotion of a replica it is another one, and publications that were accepted
//! in the life before may be forgotten. A stream that meets another life begins a new epoch (`stream.lua`, record 34).
//!
//! Redis's replication id names it. A server that was demoted and promoted again has another one too; its run id stays
//! the same.

use std::{sync::Arc, time::Duration};

use redis::{aio::MultiplexedConnection, cmd};
use tokio::time::timeout;

/// The first [`LIFE_CHARS`] of the replication id; empty where the server does not give it.
pub(super) type ReplicationId = Arc<str>;

/// Hexadecimal digits that distinguish lives; `stream.lua` takes as many.
const LIFE_CHARS: usize = 16;
/// The key before it in `INFO replication`.
const FIELD: &str = "master_replid:";

/// Asks a server. The error is for operators, and means that the connection cannot be used.
pub(super) async fn read(
    mut connection: MultiplexedConnection,
    patience: Duration,
) -> Result<ReplicationId, String> {
    let mut info = cmd("INFO");
    info.arg("replication");
    match timeout(patience, info.query_async::<String>(&mut connection)).await {
        Ok(Ok(text)) => Ok(life_in(&text)),
        // Not allowed, or unknown to a server that is not quite Redis.
        Ok(Err(error)) if error.is_unrecoverable_error() => Err(error.to_string()),
        Ok(Err(_)) => Ok(ReplicationId::default()),
        Err(_) => Err(format!("no answer within {patience:?}")),
    }
}

/// The replication id after another look. A busy server gives none, and counts as the same as before.
pub(super) fn newer(before: ReplicationId, now: ReplicationId) -> ReplicationId {
    if now.is_empty() { before } else { now }
}

fn life_in(info: &str) -> ReplicationId {
    let id = info.lines().find_map(|line| line.strip_prefix(FIELD)).unwrap_or_default().trim();
    id.get(..LIFE_CHARS).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_life_is_the_beginning_of_the_replication_id() {
        let info = "# Replication\r\nrole:master\r\nmaster_replid:0123456789abcdef0123456789abcdef01234567\r\n\
                    master_replid2:0000000000000000000000000000000000000000\r\n";
        assert_eq!(&*life_in(info), "0123456789abcdef");
        assert_eq!(&*life_in("role:master\r\n"), "");
    }
}
