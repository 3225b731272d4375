//! What a channel can do: the options of a namespace, as they stand in the settings file.
//! `docs/protocols/client.md` §9; `docs/architecture.md` §4.2 (closed by default).

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Writes the options once and makes two structs of them: [`ChannelOptions`] for `channel.defaults`, and the
/// private `NamespaceTable` that has a `name` as well. serde's `flatten` would do it in one, but with it
/// unknown keys pass in silence, and numbers and booleans from the environment (which arrive as text) are
/// refused.
macro_rules! channel_options {
    ($($(#[$meta:meta])* $field:ident: $type:ty,)*) => {
        /// The options of the channels of a namespace. Everything is off in the built-in default.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct ChannelOptions {
            $($(#[$meta])* pub $field: $type,)*
        }

        #[derive(Default, Deserialize, Serialize)]
        #[serde(default, deny_unknown_fields)]
        struct NamespaceTable {
            name: String,
            $($(#[$meta])* $field: $type,)*
        }

        impl From<NamespaceTable> for NamespaceSettings {
            fn from(table: NamespaceTable) -> Self {
                Self { name: table.name, options: ChannelOptions { $($field: table.$field,)* } }
            }
        }

        impl From<NamespaceSettings> for NamespaceTable {
            fn from(namespace: NamespaceSettings) -> Self {
                Self { name: namespace.name, $($field: namespace.options.$field,)* }
            }
        }
    };
}

channel_options! {
    /// Publications that are kept for history and recovery; 0 keeps none. Goes with `history_ttl`.
    history_size: u32,
    /// How long a publication is kept; `0s` keeps none. Goes with `history_size`.
    #[serde(with = "crate::duration")]
    history_ttl: Duration,
    /// Keep a list of who is subscribed.
    presence: bool,
    /// Tell when somebody subscribes or leaves, to the subscribers that ask for it.
    join_leave: bool,
    /// Tell joins and leaves to all subscribers, asked for or not.
    force_push_join_leave: bool,
    /// Every subscription keeps its position, so that a gap is noticed.
    force_positioning: bool,
    /// Every subscription is recovered when its client returns.
    force_recovery: bool,
    /// A client may ask for a position.
    allow_positioning: bool,
    /// A client may ask for recovery.
    allow_recovery: bool,
    /// A client with a user id may subscribe without a token for the channel.
    allow_subscribe_for_client: bool,
    /// With `allow_subscribe_for_client`: clients without a user id, too.
    allow_subscribe_for_anonymous: bool,
    /// A subscriber may publish.
    allow_publish_for_subscriber: bool,
    /// Any client with a user id may publish.
    allow_publish_for_client: bool,
    /// With one of the two: clients without a user id, too.
    allow_publish_for_anonymous: bool,
    /// A subscriber may ask who is subscribed.
    allow_presence_for_subscriber: bool,
    /// Any client with a user id may ask who is subscribed.
    allow_presence_for_client: bool,
    /// With one of the two: clients without a user id, too.
    allow_presence_for_anonymous: bool,
    /// A subscriber may read the history.
    allow_history_for_subscriber: bool,
    /// Any client with a user id may read the history.
    allow_history_for_client: bool,
    /// With one of the two: clients without a user id, too.
    allow_history_for_anonymous: bool,
    /// The users named in `name#42,43` may subscribe without a token. Whoever is not named never may.
    allow_user_limited_channels: bool,
}

impl ChannelOptions {
    /// Are publications kept?
    #[must_use]
    pub fn has_history(&self) -> bool {
        self.history_size > 0 && !self.history_ttl.is_zero()
    }
}

/// One namespace: its name and its options, side by side in one table of the settings file. What a namespace
/// does not say has the built-in default (off), **not** the value of `channel.defaults`: those are the
/// options of the channels without a namespace, and loosening them must not open every namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(from = "NamespaceTable", into = "NamespaceTable")]
pub struct NamespaceSettings {
    /// What stands before the `:` of its channels: 1 to
    /// [`NAMESPACE_NAME_MAX_BYTES`](super::NAMESPACE_NAME_MAX_BYTES) bytes, letters, digits, `-`, `_` and
    /// `.`.
    pub name: String,
    /// Its options.
    pub options: ChannelOptions,
}
