//! Reading what the scripts answer. An answer of another shape comes from another program on the same keys.
//!
//! The members of the last answer to an announcement are kept, so that an announcement need not bring them again while they
//! stay the same.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;
use redis::Value;

use super::wire;
use crate::{
    BrokerError, ClientInfo, ConnectionEntry, FULL_EVERY, HistoryPage, Member, Position, PresencePage,
    Publication, Published,
    queue::QueueDelivery,
    redis_values::{array, bytes, number, text, unreadable, values},
};

/// The cursor of `HSCAN` when all was given; also that of the first page.
pub(super) const LAST_CURSOR: &str = "0";

/// Members, and the revision of theirs that the server gave.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownMembers {
    pub(super) revision: String,
    pub(super) members: Arc<[Member]>,
    /// Announcements since they were read.
    age: u32,
}

/// The result of the last announcement. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Leases(Arc<Mutex<KnownMembers>>);

impl Leases {
    /// The state on which the next announcement may build; nothing where the members were not read for long.
    pub(super) fn known(&self) -> KnownMembers {
        let mut known = self.0.lock();
        known.age += 1;
        if known.age >= FULL_EVERY { KnownMembers::default() } else { known.clone() }
    }

    /// Learns from the answer to an announcement that was built on `known`: the members, or none if the revision is the same.
    pub(super) fn learn(
        &self,
        known: KnownMembers,
        revision: String,
        members: Option<Vec<Member>>,
    ) -> Arc<[Member]> {
        let Some(members) = members else { return known.members };
        let members: Arc<[Member]> = members.into();
        *self.0.lock() = KnownMembers { revision, members: Arc::clone(&members), age: 0 };
        members
    }
}

/// Notes that a server does not tell the size of a history, so that it is logged once.
#[derive(Debug, Clone, Default)]
pub(super) struct SizeRefused(Arc<AtomicBool>);

impl SizeRefused {
    /// Reads the answer to `MEMORY USAGE`, which managed servers and the rights of a user may not allow.
    pub(super) fn read(&self, answer: Result<Value, BrokerError>) -> Result<Option<u64>, BrokerError> {
        match answer {
            Ok(Value::Nil) => Ok(Some(0)),
            Ok(bytes) => Ok(Some(number(bytes)?)),
            Err(BrokerError::Unavailable(reason) | BrokerError::UnknownOutcome(reason))
                if is_refusal(&reason) =>
            {
                if !self.0.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        reason,
                        "Redis does not tell the size of a history (MEMORY USAGE); operators see none"
                    );
                }
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// The server answered, and does not take this command: at all, or from this user.
fn is_refusal(reason: &str) -> bool {
    reason.starts_with("NOPERM ") || reason.starts_with("ERR unknown ")
}

/// The answer of `publish.lua`.
pub(super) fn published(answer: Value) -> Result<Published, BrokerError> {
    let [offset, epoch, repeated] = array(answer)?;
    let position = position(offset, epoch)?;
    Ok(Published { position, repeated: number(repeated)? == 1 })
}

/// The answer of `history.lua`.
pub(super) fn history_page(answer: Value) -> Result<HistoryPage, BrokerError> {
    let [offset, epoch, entries, truncated, forks] = array(answer)?;
    let top = position(offset, epoch)?;
    let truncated = number(truncated)? == 1;
    let publications = values(entries)?
        .into_iter()
        .map(|entry| history_entry(entry, &top.epoch))
        .collect::<Result<_, _>>()?;
    Ok(HistoryPage { publications, top, truncated, ancestors: ancestors(&text(forks)?)? })
}

/// `<epoch> <offset>` of each earlier epoch, with spaces between, as `stream.lua` writes them.
fn ancestors(forks: &str) -> Result<Vec<Position>, BrokerError> {
    let mut ancestors = Vec::new();
    let mut words = forks.split_ascii_whitespace();
    while let Some(epoch) = words.next() {
        let offset = words.next().and_then(|offset| offset.parse().ok()).ok_or_else(unreadable)?;
        ancestors.push(Position { offset, epoch: epoch.into() });
    }
    Ok(ancestors)
}

/// `[<offset>-<accepted>, ["b", fields]]`.
fn history_entry(entry: Value, epoch: &Arc<str>) -> Result<Arc<Publication>, BrokerError> {
    let [id, body] = array(entry)?;
    let [_, fields] = array(body)?;
    let id = text(id)?;
    let offset = id.split_once('-').and_then(|(offset, _)| offset.parse().ok()).ok_or_else(unreadable)?;
    let publication = wire::decode_publication(bytes(fields)?, offset, Arc::clone(epoch));
    publication.map(Arc::new).map_err(|_| unreadable())
}

/// The entry of a client for `presence_set.lua`; `announce` adds the mark by which it publishes joins and leaves.
pub(super) fn presence_set_entry(info: &ClientInfo, announce: bool) -> Vec<u8> {
    let mut entry = format!("{}:{}", info.user.len(), info.user).into_bytes();
    entry.extend(wire::encode_client(info));
    if announce {
        entry.extend(wire::ANNOUNCED);
    }
    entry
}

/// The answer of `presence.lua`; `None` while it has not forgotten all whose time is over.
pub(super) fn presence_page(answer: Value) -> Result<Option<PresencePage>, BrokerError> {
    if answer == Value::Nil {
        return Ok(None);
    }
    let [cursor, entries] = array(answer)?;
    let cursor = text(cursor)?;
    let clients = clients_of(entries)?;
    Ok(Some(PresencePage { clients, cursor: (cursor != LAST_CURSOR).then_some(cursor) }))
}

/// Ids of nodes, and where the next slice begins.
pub(super) type NodesSlice = (Vec<String>, Option<String>);

/// The answer of `presence_nodes.lua`: ids of nodes, and where the next slice begins; `None` while it has not forgotten all
/// whose time is over.
pub(super) fn presence_nodes(answer: Value) -> Result<Option<NodesSlice>, BrokerError> {
    if answer == Value::Nil {
        return Ok(None);
    }
    let [cursor, nodes] = array(answer)?;
    let cursor = text(cursor)?;
    let nodes = values(nodes)?.into_iter().map(text).collect::<Result<_, _>>()?;
    Ok(Some((nodes, (cursor != LAST_CURSOR).then_some(cursor))))
}

/// The answer of `presence_reap.lua`: entries, and where the next slice begins.
pub(super) fn reaped(answer: Value) -> Result<(Vec<Arc<ClientInfo>>, Option<String>), BrokerError> {
    let [cursor, entries] = array(answer)?;
    let cursor = text(cursor)?;
    Ok((clients_of(entries)?, (cursor != LAST_CURSOR).then_some(cursor)))
}

/// Clients of entries as `presence_set.lua` has them.
fn clients_of(answer: Value) -> Result<Vec<Arc<ClientInfo>>, BrokerError> {
    values(answer)?.into_iter().map(client).collect()
}

fn client(entry: Value) -> Result<Arc<ClientInfo>, BrokerError> {
    let entry = bytes(entry)?;
    let colon = entry.iter().position(|byte| *byte == b':').ok_or_else(unreadable)?;
    let length = entry.get(..colon).and_then(|length| std::str::from_utf8(length).ok()?.parse().ok());
    let length: usize = length.ok_or_else(unreadable)?;
    let fields_at = colon.checked_add(1).and_then(|user| user.checked_add(length)).ok_or_else(unreadable)?;
    if fields_at > entry.len() {
        return Err(unreadable());
    }
    wire::decode_client(entry.slice(fields_at..)).map(Arc::new).map_err(|_| unreadable())
}

/// The answer of `presence_stats.lua`; `None` while it has not forgotten all whose time is over.
pub(super) fn stats(answer: Value) -> Result<Option<(u64, u64)>, BrokerError> {
    if answer == Value::Nil {
        return Ok(None);
    }
    let [clients, users] = array(answer)?;
    Ok(Some((number(clients)?, number(users)?)))
}

/// The answer of `members.lua`.
pub(super) fn members(answer: Value) -> Result<Vec<Member>, BrokerError> {
    let mut members = values(answer)?.into_iter().map(member).collect::<Result<Vec<_>, _>>()?;
    members.sort_unstable_by(|one, other| one.node.cmp(&other.node));
    Ok(members)
}

fn member(entry: Value) -> Result<Member, BrokerError> {
    let [node, description] = array(entry)?;
    Ok(Member { node: text(node)?, description: bytes(description)? })
}

/// The answer of `announce.lua`: whether the lease was running, the revision of the members, and they, unless they are known.
pub(super) fn announced(answer: Value) -> Result<(bool, String, Option<Vec<Member>>), BrokerError> {
    let mut answer = values(answer)?.into_iter();
    let mut next = || answer.next().ok_or_else(unreadable);
    let (renewed, revision) = (number(next()?)? == 1, text(next()?)?);
    Ok((renewed, revision, answer.next().map(members).transpose()?))
}

/// Client ids, sorted.
pub(super) fn clients(answer: Value) -> Result<Vec<String>, BrokerError> {
    let mut clients = values(answer)?.into_iter().map(text).collect::<Result<Vec<_>, _>>()?;
    clients.sort_unstable();
    Ok(clients)
}

/// The answer of `connection_enter.lua`: nothing, or those who are there.
pub(super) fn connection_entry(answer: Value) -> Result<ConnectionEntry, BrokerError> {
    match answer {
        Value::Nil => Ok(ConnectionEntry::Entered),
        answer => Ok(ConnectionEntry::Full { holders: clients(answer)? }),
    }
}

/// `[id, attempt, fields]` of each message of a work queue.
pub(super) fn deliveries(answer: Value) -> Result<Vec<QueueDelivery>, BrokerError> {
    values(answer)?
        .into_iter()
        .map(|delivery| {
            let [id, attempt, fields] = array(delivery)?;
            let publication = wire::decode_publication(bytes(fields)?, 0, Arc::default());
            let publication = publication.map(Arc::new).map_err(|_| unreadable())?;
            let attempt = u32::try_from(number(attempt)?).unwrap_or(u32::MAX);
            Ok(QueueDelivery { id: text(id)?.into(), attempt, publication })
        })
        .collect()
}

/// The owner of a name.
pub(super) fn owner(answer: Value) -> Result<Option<String>, BrokerError> {
    match answer {
        Value::Nil => Ok(None),
        answer => text(answer).map(Some),
    }
}

/// The owner of a name that has one.
pub(super) fn present_owner(answer: Value) -> Result<String, BrokerError> {
    owner(answer)?.ok_or_else(unreadable)
}

fn position(offset: Value, epoch: Value) -> Result<Position, BrokerError> {
    let offset = text(offset)?.parse().map_err(|_| unreadable())?;
    Ok(Position { offset, epoch: text(epoch)?.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_does_not_take_the_command_tells_nothing_and_one_that_is_away_is_an_error() {
        let refused = SizeRefused::default();
        let error = |reason: &str| BrokerError::UnknownOutcome(reason.to_owned());
        assert_eq!(refused.read(Ok(Value::Int(1500))), Ok(Some(1500)));
        assert_eq!(refused.read(Ok(Value::Nil)), Ok(Some(0)));
        assert!(!refused.0.load(Ordering::Relaxed));
        for reason in [
            "NOPERM this user has no permissions to run the 'memory|usage' command",
            "ERR unknown command 'MEMORY'",
        ] {
            assert_eq!(refused.read(Err(error(reason))), Ok(None));
            assert!(refused.0.load(Ordering::Relaxed));
        }
        for reason in ["time is over", "ERR wrong number of arguments", "LOADING Redis is loading"] {
            assert_eq!(refused.read(Err(error(reason))), Err(error(reason)));
        }
        assert!(refused.read(Ok(Value::Okay)).is_err());
    }
}
