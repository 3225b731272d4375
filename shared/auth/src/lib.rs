//! Authentication and authorisation for every way into the node: connections bring a token (`token`),
//! backends an API key (`api_key`), browsers an origin (`origin`), and every subscribe, publish, presence and
//! history command is decided by the rules of its channel (`rules`), whose name was checked before
//! (`channel`). People who operate a node log in with a password (`password`).
//!
//! Pure functions and values: no IO, no clock (the caller passes the time), no runtime. Everything is closed
//! until a setting opens it. Secrets never reach an error, a log line or a `Debug` output.
//! `docs/protocols/client.md` §9 and §10; `docs/protocols/http.md` §4.2; `docs/architecture.md` §4, §8.

pub mod api_key;
pub mod channel;
pub mod origin;
pub mod password;
pub mod rules;
pub mod token;

pub use api_key::{ApiKeyError, ApiKeys};
pub use channel::{
    CHANNEL_NAME_MAX_BYTES, ChannelName, ChannelNameError, check_channel_name, personal_channel,
};
pub use origin::{OriginError, Origins};
pub use password::{NotAPasswordHash, PasswordHash, PasswordRefused};
pub use rules::{
    ChannelOptions, ChannelRules, ChannelSettings, ChannelSettingsError, Denied, GrantedBy, NamespaceProxies,
    NamespaceSettings, Operation, ProxyName, SubscribeCheck, SubscribeGranted, TraceContextDelivery,
    UnknownNamespace,
};
pub use token::{
    AuthSettingsError, ConnectionClaims, ConnectionTokenRequest, ExpectedIdToken, ID_TOKEN_MAX_BYTES,
    IdTokenError, IdTokenKeys, InvalidToken, JwksSource, OptionOverrides, SignError, SubscribeClaims,
    SubscriptionClaims, SubscriptionTokenRequest, TOKEN_MAX_BYTES, TokenError, TokenSettings, TokenVerifier,
};

/// Durations in settings, as text such as `300s`, `1h 30m`, `0s`.
mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    /// Writes a duration as text that [`deserialize`] reads back to the same value.
    pub(crate) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*value))
    }

    /// Reads a duration from text with units. A number without a unit is refused, since it could be seconds
    /// or milliseconds; only a bare `0` means the same in every unit.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        // The text is not shown: errors name settings, never their values.
        humantime::parse_duration(text.trim())
            .map_err(|_| D::Error::custom("bad duration, write it with a unit: `300s`, `10m`, `1h 30m`"))
    }
}
