//! The methods of the API, by the names that stand in paths and in batches. `docs/protocols/http.md` §5.

/// One method of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// One message to one channel.
    Publish,
    /// The same message to many channels.
    Broadcast,
    /// Subscribe a user's connections.
    Subscribe,
    /// End a subscription of a user's connections.
    Unsubscribe,
    /// End a user's connections.
    Disconnect,
    /// Prolong or end the life of a user's connections.
    Refresh,
    /// Who is in a channel.
    Presence,
    /// How many are in a channel.
    PresenceStats,
    /// What was published to a channel.
    History,
    /// Forget what was published to a channel.
    HistoryRemove,
    /// Channels with subscribers.
    Channels,
    /// Clients that are connected.
    Connections,
    /// The nodes of the cluster.
    Info,
}

impl Method {
    /// All of them, in the order of the table. `batch` is not among them: it holds them.
    pub const ALL: [Self; 13] = [
        Self::Publish,
        Self::Broadcast,
        Self::Subscribe,
        Self::Unsubscribe,
        Self::Disconnect,
        Self::Refresh,
        Self::Presence,
        Self::PresenceStats,
        Self::History,
        Self::HistoryRemove,
        Self::Channels,
        Self::Connections,
        Self::Info,
    ];

    /// The name in paths and batches.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Broadcast => "broadcast",
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
            Self::Disconnect => "disconnect",
            Self::Refresh => "refresh",
            Self::Presence => "presence",
            Self::PresenceStats => "presence_stats",
            Self::History => "history",
            Self::HistoryRemove => "history_remove",
            Self::Channels => "channels",
            Self::Connections => "connections",
            Self::Info => "info",
        }
    }

    /// The method of this name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }
}
