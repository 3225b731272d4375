//! `channel.*` of the settings: the options of channels without a namespace, and the namespaces; and what is
//! wrong with them, told before the node starts. `docs/protocols/client.md` §9.2
//! and §9.3.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::options::{ChannelOptions, NamespaceSettings};

/// Longest name of a namespace, in bytes: leaves most of a channel name (255 bytes) to its channels.
pub const NAMESPACE_NAME_MAX_BYTES: usize = 64;

/// Most publications a channel may keep. Above it a single channel's history would not fit the memory of
/// small nodes (at 1 KiB each this is 1 GiB), so a larger number is taken for a mistake.
pub const HISTORY_SIZE_MAX: u32 = 1_000_000;

/// The channels' part of the settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChannelSettings {
    /// Options of the channels without a namespace. Namespaces do not inherit them.
    pub defaults: ChannelOptions,
    /// The namespaces. A channel of any other namespace does not exist (error 102).
    pub namespaces: Vec<NamespaceSettings>,
}

/// What is wrong with the channel settings. Each message begins with the place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChannelSettingsError {
    /// A namespace without a name; `number` is its place in the list, from 1.
    #[error("channel.namespaces: number {number} has no name")]
    NoName {
        /// Place in the list, from 1.
        number: usize,
    },
    /// A name that cannot stand before a `:`.
    #[error("namespace {name:?}: a name has letters, digits, `-`, `_` and `.` only")]
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
        /// What does not fit.
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
    /// An option that is about kept publications, where none are kept; its name is told.
    #[error("{0} needs history_size and history_ttl")]
    NeedsHistory(&'static str),
    /// Forced, but nothing to tell.
    #[error("force_push_join_leave needs join_leave")]
    PushWithoutJoinLeave,
}

impl ChannelSettings {
    /// Finds the first thing that is wrong.
    pub fn validate(&self) -> Result<(), ChannelSettingsError> {
        check_options(&self.defaults).map_err(|problem| ChannelSettingsError::Options {
            place: "channel.defaults".to_owned(),
            problem,
        })?;
        let mut seen = HashSet::new();
        for (index, namespace) in self.namespaces.iter().enumerate() {
            let name = &namespace.name;
            check_name(name, index + 1)?;
            if !seen.insert(name) {
                return Err(ChannelSettingsError::Duplicate { name: name.clone() });
            }
            check_options(&namespace.options).map_err(|problem| ChannelSettingsError::Options {
                place: format!("namespace {name:?}"),
                problem,
            })?;
        }
        Ok(())
    }
}

fn check_name(name: &str, number: usize) -> Result<(), ChannelSettingsError> {
    if name.is_empty() {
        return Err(ChannelSettingsError::NoName { number });
    }
    if name.len() > NAMESPACE_NAME_MAX_BYTES {
        return Err(ChannelSettingsError::NameTooLong { name: name.to_owned() });
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')) {
        return Err(ChannelSettingsError::NameCharacters { name: name.to_owned() });
    }
    Ok(())
}

fn check_options(options: &ChannelOptions) -> Result<(), OptionsProblem> {
    let has_ttl = !options.history_ttl.is_zero();
    if options.history_size > HISTORY_SIZE_MAX {
        return Err(OptionsProblem::SizeTooLarge);
    }
    if options.history_size > 0 && !has_ttl {
        return Err(OptionsProblem::SizeWithoutTtl);
    }
    if options.history_size == 0 && has_ttl {
        return Err(OptionsProblem::TtlWithoutSize);
    }
    let about_history = [
        (options.force_recovery, "force_recovery"),
        (options.force_positioning, "force_positioning"),
        (options.allow_recovery, "allow_recovery"),
        (options.allow_positioning, "allow_positioning"),
    ];
    if let Some((_, name)) = about_history.iter().find(|(is_on, _)| *is_on && !options.has_history()) {
        return Err(OptionsProblem::NeedsHistory(name));
    }
    if options.force_push_join_leave && !options.join_leave {
        return Err(OptionsProblem::PushWithoutJoinLeave);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
