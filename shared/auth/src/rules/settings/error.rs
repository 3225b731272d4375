//! Errors in the settings of channels. Each message begins with where it is.

/// Longest name of a namespace, in bytes of UTF-8: leaves most of a channel name (255 bytes) to its channels.
pub const NAMESPACE_NAME_MAX_BYTES: usize = 64;

/// Most publications a channel may keep. Above it a single channel's history would not fit the memory of
/// small nodes (at 1 KiB each this is 1 GiB), so a larger number is taken for a mistake.
pub const HISTORY_SIZE_MAX: u32 = 1_000_000;

/// An error in the channel settings. Each message begins with where it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChannelSettingsError {
    /// A namespace without a name; `number` is its position in the list, from 1.
    #[error("channel.namespaces: number {number} has no name")]
    NoName {
        /// Position in the list, from 1.
        number: usize,
    },
    /// A name that cannot stand before a `:`.
    #[error(
        "namespace {name:?}: a name has letters and digits of any script, `-`, `_` and `.`, without spaces"
    )]
    NameCharacters {
        /// The name.
        name: String,
    },
    /// Longer than [`NAMESPACE_NAME_MAX_BYTES`].
    #[error("namespace {name:?}: the name is longer than {NAMESPACE_NAME_MAX_BYTES} bytes")]
    NameTooLong {
        /// The name.
        name: String,
    },
    /// The same name twice.
    #[error("namespace {name:?} is defined twice")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// Options that do not go together.
    #[error("{place}: {problem}")]
    Options {
        /// `channel.defaults` or `namespace "name"`.
        place: String,
        /// The options that do not fit.
        problem: OptionsProblem,
    },
}

/// Options that do not go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OptionsProblem {
    /// Publications without a lifetime.
    #[error("history_size needs history_ttl")]
    SizeWithoutTtl,
    /// A lifetime of nothing.
    #[error("history_ttl needs history_size")]
    TtlWithoutSize,
    /// Above [`HISTORY_SIZE_MAX`].
    #[error("history_size is more than {HISTORY_SIZE_MAX}")]
    SizeTooLarge,
    /// An option that is about kept publications, where none are kept; the error names it.
    #[error("{0} needs history_size and history_ttl")]
    NeedsHistory(&'static str),
    /// The push of joins and leaves is forced, but there are none.
    #[error("force_push_join_leave needs join_leave")]
    PushWithoutJoinLeave,
}
