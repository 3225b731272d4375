//! Presence of a channel, looked through in slices: other requests run in Redis between two of them. `docs/architecture.md` §4.8; record 26.

use std::{collections::BTreeSet, sync::Arc};

use futures_util::{FutureExt as _, future::BoxFuture};
use redis::Cmd;

use super::{replies, shards::Shards};
use crate::{BrokerError, ClientInfo};

/// Clients that one call looks through for those of a dead node.
const REAP_SLICE: u32 = 500;
/// Clients whose nodes one call gathers.
const NODES_SLICE: u32 = 1000;

/// See [`crate::Broker::presence_nodes`]. `call`: that of the script, with what `presence_set.lua` wants.
pub(super) fn nodes(
    shards: Arc<Shards>,
    call: Cmd,
    id_bytes: usize,
) -> BoxFuture<'static, Result<BTreeSet<String>, BrokerError>> {
    let slice = move |cursor: &str| {
        let mut call = call.clone();
        call.arg(cursor).arg(NODES_SLICE).arg(id_bytes);
        shards.make(call)
    };
    let mut made = slice(replies::LAST_CURSOR);
    async move {
        let (mut nodes, mut from) = (BTreeSet::new(), replies::LAST_CURSOR.to_owned());
        loop {
            if let Some((some, cursor)) = replies::presence_nodes(made.await?)? {
                nodes.extend(some);
                match cursor {
                    Some(cursor) => from = cursor,
                    None => return Ok(nodes),
                }
            }
            made = slice(&from);
        }
    }
    .boxed()
}

/// See [`crate::Broker::presence_reap`]. `call`: that of the script, with what `presence_set.lua` wants.
pub(super) fn reap(
    shards: Arc<Shards>,
    call: Cmd,
    node: String,
    limit: u32,
) -> BoxFuture<'static, Result<Vec<Arc<ClientInfo>>, BrokerError>> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let slice = move |cursor: &str, left: usize| {
        let mut call = call.clone();
        call.arg(&node).arg(left).arg(cursor).arg(REAP_SLICE);
        shards.make(call)
    };
    let first = slice(replies::LAST_CURSOR, limit);
    async move {
        let (mut reaped, mut cursor) = replies::reaped(first.await?)?;
        while let Some(from) = cursor.filter(|_| reaped.len() < limit) {
            match slice(&from, limit - reaped.len()).await.and_then(replies::reaped) {
                Ok((more, next)) => {
                    reaped.extend(more);
                    cursor = next;
                }
                // Clients that are out already must be returned; the rest is for the next call.
                Err(error) if reaped.is_empty() => return Err(error),
                Err(_) => return Ok(reaped),
            }
        }
        Ok(reaped)
    }
    .boxed()
}
