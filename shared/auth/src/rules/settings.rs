//! `channel.*` of the settings: the options of channels without a namespace, and the namespaces. Errors
//! in them are reported before the node starts. `docs/protocols/client.md` §9.2
//! and §9.3.
//!
//! Options of a channel or a namespace, as they stand in the settings file.
//! `docs/protocols/client.md` §9; `docs/architecture.md` §4.2 (closed by default).

mod error;

use std::{collections::HashSet, time::Duration};

use serde::{Deserialize, Serialize};

pub use self::error::{ChannelSettingsError, HISTORY_SIZE_MAX, NAMESPACE_NAME_MAX_BYTES, OptionsProblem};
use crate::channel::is_name_character;

/// The channels' part of the settings. `P`: the proxies that namespaces name, which this crate does not know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(from = "ChannelSettingsTable<P>", into = "ChannelSettingsTable<P>")]
#[serde(bound(deserialize = "P: Default + Deserialize<'de>", serialize = "P: Clone + Serialize"))]
pub struct ChannelSettings<P = ()> {
    /// Options of the channels without a namespace. Namespaces do not inherit them.
    pub defaults: ChannelOptions,
    /// The proxies of the channels without a namespace. In the file they stand among `defaults`.
    pub default_proxies: NamespaceProxies,
    /// The namespaces. A channel of any other namespace does not exist (error 102).
    pub namespaces: Vec<NamespaceSettings>,
    /// The proxies named `default`.
    pub proxy: P,
}

/// [`ChannelSettings`] as they stand in the file.
#[derive(Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[serde(bound(deserialize = "P: Default + Deserialize<'de>", serialize = "P: Serialize"))]
struct ChannelSettingsTable<P> {
    defaults: DefaultsTable,
    namespaces: Vec<NamespaceSettings>,
    proxy: P,
}

impl<P> From<ChannelSettingsTable<P>> for ChannelSettings<P> {
    fn from(table: ChannelSettingsTable<P>) -> Self {
        let (defaults, default_proxies) = table.defaults.into();
        Self { defaults, default_proxies, namespaces: table.namespaces, proxy: table.proxy }
    }
}

impl<P> From<ChannelSettings<P>> for ChannelSettingsTable<P> {
    fn from(settings: ChannelSettings<P>) -> Self {
        let defaults = (settings.defaults, settings.default_proxies).into();
        Self { defaults, namespaces: settings.namespaces, proxy: settings.proxy }
    }
}

/// The name of a proxy. Not written: the one that its kind of question has by default.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct ProxyName(pub String);

impl ProxyName {
    /// The name that stands for the proxy of `channel.proxy` and `rpc.proxy`.
    pub const DEFAULT: &str = "default";
}

impl Default for ProxyName {
    fn default() -> Self {
        Self(Self::DEFAULT.to_owned())
    }
}

impl<P> ChannelSettings<P> {
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
    if !name.chars().all(may_stand_in_namespace) {
        return Err(ChannelSettingsError::NameCharacters { name: name.to_owned() });
    }
    Ok(())
}

/// `trace_context`: the way in which subscribers get the trace of a publication.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TraceContextDelivery {
    /// They do not get it.
    #[default]
    None,
    /// The tag `traceparent`.
    Tags,
}

/// Of ASCII letters, digits and three signs: the others separate names from one another, or may one day. Beyond ASCII all that
/// a channel's name may have but spaces, since combining marks are parts of letters.
fn may_stand_in_namespace(character: char) -> bool {
    if character.is_ascii() {
        character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.')
    } else {
        is_name_character(character) && !character.is_whitespace()
    }
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

/// Writes the options once and makes structs of them: [`ChannelOptions`], which the node works with and every subscription copies;
/// [`NamespaceProxies`], which it does not; and the private tables that stand in the file: `OptionsTable` for options alone,
/// `DefaultsTable` for `channel.defaults`, and `NamespaceTable`, which has a `name` as well. serde's
/// `flatten` would do it in one, but with it unknown keys pass in silence, and numbers and booleans from the environment (which
/// arrive as text) are refused. `recovery` names the options that follow from the others where the file does not have them.
macro_rules! channel_options {
    (
        options { $($(#[$meta:meta])* $field:ident: $type:ty,)* }
        recovery { $($(#[$recovery_meta:meta])* $recovery:ident,)* }
        proxies { $($(#[$proxy_meta:meta])* $proxy:ident: $proxy_type:ty,)* }
    ) => {
        /// The proxies that are asked about the channels of a namespace.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct NamespaceProxies {
            $($(#[$proxy_meta])* pub $proxy: $proxy_type,)*
        }

        /// The options of the channels of a namespace. Everything is off in the built-in default. Whoever makes them in code sets
        /// each one; those read from settings have what [`Recovery`] makes of the options that were not written.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
        #[serde(from = "OptionsTable", into = "OptionsTable")]
        pub struct ChannelOptions {
            $($(#[$meta])* pub $field: $type,)*
            $($(#[$recovery_meta])* pub $recovery: bool,)*
        }

        #[derive(Default, Deserialize, Serialize)]
        #[serde(default, deny_unknown_fields)]
        struct OptionsTable {
            $($(#[$meta])* $field: $type,)*
            $(#[serde(skip_serializing_if = "Option::is_none")] $recovery: Option<bool>,)*
        }

        #[derive(Default, Deserialize, Serialize)]
        #[serde(default, deny_unknown_fields)]
        struct DefaultsTable {
            $($(#[$meta])* $field: $type,)*
            $(#[serde(skip_serializing_if = "Option::is_none")] $recovery: Option<bool>,)*
            $($proxy: $proxy_type,)*
        }

        #[derive(Default, Deserialize, Serialize)]
        #[serde(default, deny_unknown_fields)]
        struct NamespaceTable {
            name: String,
            $($(#[$meta])* $field: $type,)*
            $(#[serde(skip_serializing_if = "Option::is_none")] $recovery: Option<bool>,)*
            $($proxy: $proxy_type,)*
        }

        impl From<DefaultsTable> for (ChannelOptions, NamespaceProxies) {
            fn from(table: DefaultsTable) -> Self {
                let options = OptionsTable { $($field: table.$field,)* $($recovery: table.$recovery,)* };
                (options.into(), NamespaceProxies { $($proxy: table.$proxy,)* })
            }
        }

        impl From<(ChannelOptions, NamespaceProxies)> for DefaultsTable {
            fn from((options, proxies): (ChannelOptions, NamespaceProxies)) -> Self {
                let options = OptionsTable::from(options);
                Self {
                    $($field: options.$field,)* $($recovery: options.$recovery,)* $($proxy: proxies.$proxy,)*
                }
            }
        }

        impl From<OptionsTable> for ChannelOptions {
            fn from(table: OptionsTable) -> Self {
                let is_kept = is_kept(table.history_size, table.history_ttl);
                let Recovery { $($recovery,)* } = Recovery::of(is_kept, &WrittenRecovery { $($recovery: table.$recovery,)* });
                Self { $($field: table.$field,)* $($recovery,)* }
            }
        }

        impl From<ChannelOptions> for OptionsTable {
            fn from(options: ChannelOptions) -> Self {
                let all = Recovery { $($recovery: options.$recovery,)* };
                let follows = all == Recovery::of(options.has_history(), &WrittenRecovery::default());
                Self { $($field: options.$field,)* $($recovery: (!follows).then_some(options.$recovery),)* }
            }
        }

        impl From<NamespaceTable> for NamespaceSettings {
            fn from(table: NamespaceTable) -> Self {
                let options = OptionsTable { $($field: table.$field,)* $($recovery: table.$recovery,)* };
                let proxies = NamespaceProxies { $($proxy: table.$proxy,)* };
                Self { name: table.name, options: options.into(), proxies }
            }
        }

        impl From<NamespaceSettings> for NamespaceTable {
            fn from(namespace: NamespaceSettings) -> Self {
                let options = OptionsTable::from(namespace.options);
                let proxies = namespace.proxies;
                Self {
                    name: namespace.name,
                    $($field: options.$field,)* $($recovery: options.$recovery,)* $($proxy: proxies.$proxy,)*
                }
            }
        }
    };
}

channel_options! {
    options {
    /// Publications that are kept for history and recovery; 0 keeps none. Goes with `history_ttl`.
    history_size: u32,
    /// Time for which a publication is kept; `0s` keeps none. Goes with `history_size`.
    #[serde(with = "crate::duration")]
    history_ttl: Duration,
    /// Keep a list of who is subscribed.
    presence: bool,
    /// Send joins and leaves to the subscribers that ask for them.
    join_leave: bool,
    /// Send joins and leaves to all subscribers, requested or not.
    force_push_join_leave: bool,
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
    /// The way in which subscribers get the trace of a publication that is sampled.
    trace_context: TraceContextDelivery,
    /// A publication of a backend whose `traceparent` is sampled is traced, as one with `"trace": true` is.
    trace_sampled: bool,
    }
    recovery {
    /// Every subscription keeps its position, so that a gap is noticed. Not written: as `force_recovery` and `allow_positioning`.
    force_positioning,
    /// Every subscription is recovered when its client returns, requested or not. Not written: as `allow_recovery`.
    force_recovery,
    /// A client may ask for a position. Not written: true where recovery or positions are allowed or forced.
    allow_positioning,
    /// A client may ask for recovery. Not written: true where history is kept; false keeps it for reading only.
    allow_recovery,
    }
    proxies {
    /// The backend decides on subscribes.
    subscribe_proxy_enabled: bool,
    /// By this proxy.
    subscribe_proxy_name: ProxyName,
    /// The backend decides on publications of clients.
    publish_proxy_enabled: bool,
    /// By this proxy.
    publish_proxy_name: ProxyName,
    /// The backend prolongs subscriptions whose time is over.
    sub_refresh_proxy_enabled: bool,
    /// By this proxy.
    sub_refresh_proxy_name: ProxyName,
    }
}

/// The options about recovery, as they stand in the settings. Absent: not written.
#[derive(Default)]
struct WrittenRecovery {
    force_positioning: Option<bool>,
    force_recovery: Option<bool>,
    allow_positioning: Option<bool>,
    allow_recovery: Option<bool>,
}

/// The options about recovery as they count. Kept history recovers unless the settings say otherwise: a client that asks for
/// nothing would lose publications without a word. `services/gateway/docs/adr/0043-history-recovers.md`.
#[derive(PartialEq, Eq)]
struct Recovery {
    force_positioning: bool,
    force_recovery: bool,
    allow_positioning: bool,
    allow_recovery: bool,
}

impl Recovery {
    fn of(is_kept: bool, written: &WrittenRecovery) -> Self {
        let allow_recovery = written.allow_recovery.unwrap_or(is_kept);
        let force_recovery = written.force_recovery.unwrap_or(is_kept && allow_recovery);
        let wants_positions = allow_recovery || force_recovery || written.force_positioning == Some(true);
        let allow_positioning = written.allow_positioning.unwrap_or(is_kept && wants_positions);
        let force_positioning =
            written.force_positioning.unwrap_or(is_kept && force_recovery && allow_positioning);
        Self { force_positioning, force_recovery, allow_positioning, allow_recovery }
    }
}

fn is_kept(history_size: u32, history_ttl: Duration) -> bool {
    history_size > 0 && !history_ttl.is_zero()
}

impl ChannelOptions {
    /// True if publications are kept.
    #[must_use]
    pub fn has_history(&self) -> bool {
        is_kept(self.history_size, self.history_ttl)
    }
}

/// One namespace: its name and its options, side by side in one table of the settings file. What a namespace
/// does not say has the built-in default (off), **not** the value of `channel.defaults`: those are the
/// options of the channels without a namespace, and loosening them must not open every namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(from = "NamespaceTable", into = "NamespaceTable")]
pub struct NamespaceSettings {
    /// The name, which stands before the `:` of its channels: 1 to
    /// [`NAMESPACE_NAME_MAX_BYTES`] bytes, letters, digits, `-`, `_` and
    /// `.`.
    pub name: String,
    /// Its options.
    pub options: ChannelOptions,
    /// Its proxies.
    pub proxies: NamespaceProxies,
}
