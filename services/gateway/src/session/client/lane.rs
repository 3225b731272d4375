//! Lanes: which commands keep their order among themselves while the backend is asked. Those of a channel do, publications of all
//! channels do, and so do calls of `rpc`. Lanes do not wait for one another. Decision record 48.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash as _, Hasher as _},
};

use gorani_protocol::client::{ClientForm, ClientRequest};

/// A command that waits.
pub(super) struct WaitingCommand {
    /// As it came.
    pub(super) encoded: Box<[u8]>,
    pub(super) lane: CommandLane,
}

impl WaitingCommand {
    /// Bytes that a command holds while it waits, near enough.
    pub(super) fn bytes(encoded: &[u8]) -> u32 {
        u32::try_from(encoded.len() + size_of::<Self>()).unwrap_or(u32::MAX)
    }
}

/// The lane of a command. Two channels of the same hash share one, which costs their client time and nothing else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct CommandLane {
    channel: Option<u64>,
    kind: LaneKind,
}

/// Commands that keep their order whatever their channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum LaneKind {
    #[default]
    Other,
    Publish,
    Rpc,
    /// Reads that may bring much wait for one another.
    Read,
}

impl CommandLane {
    /// The lane of a request.
    pub(super) fn of(request: &ClientRequest<'_>) -> Self {
        let kind = match request {
            ClientRequest::Publish(_) => LaneKind::Publish,
            ClientRequest::Rpc { .. } => LaneKind::Rpc,
            ClientRequest::History(_) | ClientRequest::Presence { .. } => LaneKind::Read,
            _ => LaneKind::Other,
        };
        Self { channel: channel_of(request).map(hash), kind }
    }

    /// The lane of a command as it came. One that cannot be read waits for nothing.
    pub(super) fn of_encoded(form: ClientForm, encoded: &[u8]) -> Self {
        form.decode(encoded).map_or(Self::default(), |command| Self::of(&command.request))
    }

    /// True if the later of the two must not run before the earlier.
    pub(super) fn keeps_order_with(self, other: Self) -> bool {
        let same_channel = self.channel.is_some() && self.channel == other.channel;
        same_channel || (self.kind != LaneKind::Other && self.kind == other.kind)
    }
}

/// The channel that a request is about.
pub(super) fn channel_of<'r>(request: &'r ClientRequest<'_>) -> Option<&'r str> {
    match request {
        ClientRequest::Subscribe(subscribe) => Some(&subscribe.channel),
        ClientRequest::Unsubscribe { channel }
        | ClientRequest::Presence { channel }
        | ClientRequest::PresenceStats { channel }
        | ClientRequest::SubRefresh { channel, .. } => Some(channel),
        ClientRequest::Publish(publish) => Some(&publish.channel),
        ClientRequest::History(history) => Some(&history.channel),
        _ => None,
    }
}

fn hash(channel: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    channel.hash(&mut hasher);
    hasher.finish()
}
