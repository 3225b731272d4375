//! The slots of a Redis Cluster: the slot of a name, and the servers of slots, as one server knows them. Redis Cluster
//! specification ("Key distribution model"), CLUSTER SLOTS.
//!
//! Requests have a ticket among those of their slot, while the slot may change its server. Record 11.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use redis::{Arg, Cmd, Value};

/// Slots of every cluster.
pub(super) const SLOTS: u16 = 16_384;

/// A slot, below [`SLOTS`].
pub(in crate::redis) type Slot = u16;

/// Host and port of a server.
pub(super) type Address = (String, u16);

/// The slot of a key or of a sharded pub/sub channel: of what is between the first brace and the next one that closes,
/// if that is anything, else of the whole.
pub(in crate::redis) fn slot_of(name: &[u8]) -> Slot {
    let tag = name.iter().position(|byte| *byte == b'{').and_then(|open| {
        let rest = name.get(open + 1..)?;
        let tag = rest.get(..rest.iter().position(|byte| *byte == b'}')?)?;
        (!tag.is_empty()).then_some(tag)
    });
    crc16::State::<crc16::XMODEM>::calculate(tag.unwrap_or(name)) % SLOTS
}

/// The slot of what a command is about: its first key, or its channel. All that it names must be of one slot.
pub(super) fn slot_of_command(command: &Cmd) -> Option<Slot> {
    let mut words = command.args_iter().filter_map(|word| match word {
        Arg::Simple(word) => Some(word),
        _ => None,
    });
    let before = match words.next()? {
        // The digest and the number of keys.
        b"EVALSHA" => 2,
        // Its subcommand.
        b"MEMORY" => 1,
        _ => 0,
    };
    words.nth(before).map(slot_of)
}

/// The servers of the slots, in the view of one server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct SlotMap {
    /// First and last slot, and their primary. Slots without a server are missing.
    pub(super) ranges: Vec<(Slot, Slot, Address)>,
    /// All servers, replicas too.
    pub(super) servers: BTreeSet<Address>,
}

impl SlotMap {
    /// Reads the answer to CLUSTER SLOTS of the server at `asked`; `None` if it has another shape.
    pub(super) fn read(answer: &Value, asked: &str) -> Option<Self> {
        let Value::Array(ranges) = answer else { return None };
        let mut map = Self::default();
        for range in ranges {
            let Value::Array(range) = range else { return None };
            let [Value::Int(first), Value::Int(last), servers @ ..] = range.as_slice() else { return None };
            let (first, last) = (Slot::try_from(*first).ok()?, Slot::try_from(*last).ok()?);
            let servers = servers.iter().map(|server| address(server, asked)).collect::<Option<Vec<_>>>()?;
            if last >= SLOTS {
                return None;
            }
            map.ranges.push((first, last, servers.first()?.clone()));
            map.servers.extend(servers);
        }
        Some(map)
    }

    /// The number of slots that are served.
    pub(super) fn covered(&self) -> usize {
        self.ranges.iter().map(|(first, last, _)| usize::from(last.saturating_sub(*first)) + 1).sum()
    }
}

/// Host, port, and more. A server that does not know its own name gives none: its address is the one that was queried.
fn address(server: &Value, asked: &str) -> Option<Address> {
    let Value::Array(server) = server else { return None };
    let [host, Value::Int(port), ..] = server.as_slice() else { return None };
    let host = match host {
        Value::BulkString(host) => std::str::from_utf8(host).ok()?,
        Value::SimpleString(host) => host,
        Value::Nil => "",
        _ => return None,
    };
    let host = if host.is_empty() || host == "?" { asked } else { host };
    Some((host.to_owned(), u16::try_from(*port).ok()?))
}

/// The number of a request among those of its slot.
#[derive(Debug)]
pub(in crate::redis) struct RedirectTicket {
    pub(super) slot: Slot,
    pub(super) number: u64,
    pub(super) at_server: Option<StandingRequest>,
}

/// One request that a server has.
#[derive(Debug)]
pub(super) struct StandingRequest {
    pub(super) slot: Slot,
    pub(super) counts: Arc<[AtomicU32]>,
}

impl Drop for StandingRequest {
    fn drop(&mut self) {
        if let Some(count) = self.counts.get(usize::from(self.slot)) {
            count.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use redis::cmd;

    use super::*;

    #[test]
    fn a_name_belongs_to_the_slot_of_its_tag() {
        // The value of the specification, and others that a server was asked for.
        assert_eq!(crc16::State::<crc16::XMODEM>::calculate(b"123456789"), 0x31c3);
        assert_eq!(slot_of(b"foo"), 12_182);
        assert_eq!(slot_of(b"gorani:events:{foo}"), 12_182);
        assert_eq!(slot_of(b"{}foo"), slot_of(b"{}foo"));
        assert_ne!(slot_of(b"{}foo"), slot_of(b""));
        assert_eq!(slot_of(b"a{foo}{bar}"), 12_182);
        assert_ne!(slot_of(b"a{foo"), 12_182);
    }

    #[test]
    fn a_command_belongs_to_the_slot_of_its_first_key() {
        let mut call = cmd("EVALSHA");
        call.arg("digest").arg(2).arg("a:{foo}").arg("b:{foo}").arg("{bar}");
        assert_eq!(slot_of_command(&call), Some(12_182));
        let mut publish = cmd("SPUBLISH");
        publish.arg("a:{foo}").arg("message");
        assert_eq!(slot_of_command(&publish), Some(12_182));
        let mut usage = cmd("MEMORY");
        usage.arg("USAGE").arg("a:{foo}");
        assert_eq!(slot_of_command(&usage), Some(12_182));
        assert_eq!(slot_of_command(&cmd("PING")), None);
    }

    #[test]
    fn a_map_is_read_with_replicas_and_unnamed_servers() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let server = |host: Value, port| Value::Array(vec![host, Value::Int(port), text("id")]);
        let range = Value::Array(vec![
            Value::Int(0),
            Value::Int(16_383),
            server(Value::Nil, 7000),
            server(text("10.0.0.2"), 7001),
        ]);
        let map = SlotMap::read(&Value::Array(vec![range]), "10.0.0.1").unwrap();
        assert_eq!(map.ranges, [(0, 16_383, ("10.0.0.1".to_owned(), 7000))]);
        assert_eq!(map.servers.len(), 2);
        assert_eq!(map.covered(), usize::from(SLOTS));
        assert_eq!(SlotMap::read(&Value::Nil, "10.0.0.1"), None);
    }
}
