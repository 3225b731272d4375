//! The rules of the channels: the settings made ready for use. Asked on every command of every client, and
//! for every publication. `docs/protocols/client.md` §9; `docs/architecture.md` §4.2 (closed by
//! default).

mod decision;
mod settings;

use std::collections::HashMap;

pub use self::decision::{Denied, GrantedBy, SubscribeCheck, SubscribeGranted};
pub use self::settings::{ChannelOptions, NamespaceSettings};
pub use self::settings::{
    ChannelSettings, ChannelSettingsError, HISTORY_SIZE_MAX, NAMESPACE_NAME_MAX_BYTES, OptionsProblem,
};
use crate::channel::ChannelName;

/// The channel's namespace is not in the settings (error 102).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown channel namespace")]
pub struct UnknownNamespace;

/// Options by namespace. Immutable; share it in an `Arc`.
#[derive(Debug, Clone)]
pub struct ChannelRules {
    defaults: ChannelOptions,
    namespaces: HashMap<Box<str>, ChannelOptions>,
}

impl ChannelRules {
    /// Checks the settings ([`ChannelSettings::validate`]) and makes them ready.
    pub fn new(settings: &ChannelSettings) -> Result<Self, ChannelSettingsError> {
        settings.validate()?;
        let namespaces =
            settings.namespaces.iter().map(|namespace| (namespace.name.as_str().into(), namespace.options));
        Ok(Self { defaults: settings.defaults, namespaces: namespaces.collect() })
    }

    /// The options of a channel. The namespace stands before the first `:`, after a `$`: `$chat:1` is of
    /// namespace `chat`. Allocates nothing; one hash look-up, none for a channel without a namespace. Does
    /// not check the name ([`check_channel_name`](crate::check_channel_name)).
    pub fn options(&self, channel: &str) -> Result<&ChannelOptions, UnknownNamespace> {
        self.of_namespace(ChannelName::parse(channel).namespace)
    }

    /// True if some clients may subscribe to this channel without a token that names it. False for an unknown namespace,
    /// and for one whose options leave subscribing to backends and tokens.
    pub fn is_open_to_clients(&self, channel: &str) -> bool {
        self.options(channel)
            .is_ok_and(|options| options.allow_subscribe_for_client || options.allow_user_limited_channels)
    }

    fn of_namespace(&self, namespace: Option<&str>) -> Result<&ChannelOptions, UnknownNamespace> {
        match namespace {
            None => Ok(&self.defaults),
            Some(namespace) => self.namespaces.get(namespace).ok_or(UnknownNamespace),
        }
    }
}
