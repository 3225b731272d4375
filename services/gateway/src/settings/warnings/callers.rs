//! The callers of a node: who may connect and call, for the warnings about options that nobody can use.

use crate::settings::Settings;

/// The callers that the settings let in: the permissions of channels mean nothing without them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Callers {
    /// Clients with a user id: there is a key for their tokens, or the backend says who they are.
    pub(super) users: bool,
    /// Clients without a user id.
    pub(super) anonymous: bool,
    /// Backends with an API key.
    pub(super) api: bool,
    /// Backends with a name and password over STOMP.
    pub(super) stomp_users: bool,
}

impl Callers {
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            users: settings.token.is_configured() || settings.client.proxy.is_connect_on(),
            anonymous: settings.client.allow_anonymous,
            api: !settings.api.keys.is_empty(),
            stomp_users: !settings.stomp.users.is_empty(),
        }
    }
}
