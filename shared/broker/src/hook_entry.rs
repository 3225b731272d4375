//! An entry of a node in a partition of the store of hooks, as one text: the cursor of [`crate::hook_store::HookStore::entries`],
//! the order in memory, and the member of a sorted set in Redis.

use std::sync::Arc;

use crate::{
    BrokerError,
    hook_store::{HookChange, MAX_CHANGES, OccupancyKey},
};

/// Ends the channel in the text of a user in a channel. No channel has it in its name.
pub(crate) const SEPARATOR: char = '\0';

/// The first character of each kind.
const SESSION: char = 's';
const CHANNEL: char = 'c';
const MEMBER: char = 'm';

/// An entry of a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum HookEntry {
    /// A session, by its client.
    Session(Arc<str>),
    /// A channel, or a user in a channel.
    Occupancy(OccupancyKey),
}

impl HookEntry {
    pub(crate) fn encode(&self) -> String {
        match self {
            Self::Session(client) => format!("{SESSION}{client}"),
            Self::Occupancy(key) => encode_key(key),
        }
    }

    /// The entry of a text; `None`: it is the text of none.
    pub(crate) fn decode(text: &str) -> Option<Self> {
        match text.strip_prefix(SESSION) {
            Some(client) => Some(Self::Session(client.into())),
            None => decode_key(text).map(Self::Occupancy),
        }
    }
}

/// The text of a key.
pub(crate) fn encode_key(key: &OccupancyKey) -> String {
    match &key.user {
        None => format!("{CHANNEL}{}", key.channel),
        Some(user) => format!("{MEMBER}{}{SEPARATOR}{user}", key.channel),
    }
}

/// The key of a text; `None`: it is the text of none.
pub(crate) fn decode_key(text: &str) -> Option<OccupancyKey> {
    if let Some(channel) = text.strip_prefix(CHANNEL) {
        return Some(OccupancyKey { channel: channel.into(), user: None });
    }
    let (channel, user) = text.strip_prefix(MEMBER)?.split_once(SEPARATOR)?;
    Some(OccupancyKey { channel: channel.into(), user: Some(user.into()) })
}

/// An id of an event in its three parts: partition, milliseconds, number.
pub(crate) fn parse_event_id(id: &str) -> Option<(u16, u64, u64)> {
    let mut parts = id.splitn(3, '-');
    let partition = parts.next()?.parse().ok()?;
    Some((partition, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Refuses more changes than a call may have, and names that would be taken for two.
pub(crate) fn check_changes(changes: &[HookChange]) -> Result<(), BrokerError> {
    if changes.len() > MAX_CHANGES {
        return Err(BrokerError::Limit("changes of one call"));
    }
    for change in changes {
        let (event, key) = match change {
            HookChange::Connect { event }
            | HookChange::Disconnect { event, .. }
            | HookChange::Note { event }
            | HookChange::Append { event } => (event, None),
            HookChange::Enter { key, event }
            | HookChange::Leave { key, event, .. }
            | HookChange::EndDue { key, event } => (event, Some(key)),
        };
        let channel = key.map_or("", |key| &key.channel);
        if [&event.node, &event.client, channel].iter().any(|name| name.contains(SEPARATOR)) {
            return Err(BrokerError::Limit("a name with a NUL in it"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_entry_survives_its_text(channel in "[^\0]{0,8}", user in proptest::option::of(".{0,8}")) {
            let key = OccupancyKey { channel: channel.as_str().into(), user: user.map(Into::into) };
            for entry in [HookEntry::Session(channel.as_str().into()), HookEntry::Occupancy(key)] {
                prop_assert_eq!(HookEntry::decode(&entry.encode()), Some(entry));
            }
        }

        #[test]
        fn no_text_is_too_odd_to_be_read(text in ".{0,20}") {
            let _ = HookEntry::decode(&text);
            let _ = parse_event_id(&text);
        }
    }

    #[test]
    fn an_id_has_three_parts() {
        assert_eq!(parse_event_id("3-1700000000000-17"), Some((3, 1_700_000_000_000, 17)));
        for odd in ["", "3", "3-1", "3-1-", "3-1-2-3", "x-1-2", "70000-1-2", "3--1-2"] {
            assert_eq!(parse_event_id(odd), None, "{odd}");
        }
    }
}
