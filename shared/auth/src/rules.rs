//! The rules of the channels: the settings made ready for use. Asked on every command of every client, and
//! for every publication: may this client subscribe, publish, see presence, read history? Pure functions of the
//! rules, the client and its token; the session asks and acts. `docs/protocols/client.md` §9 and §12.1;
//! `docs/architecture.md` §4.2 (closed by default).

mod denial;
mod settings;

use std::collections::HashMap;

use serde_json::value::RawValue;

use crate::{
    channel::{CHANNEL_NAME_MAX_BYTES, ChannelName, check_channel_name},
    token::{InvalidToken, OptionOverrides, SubscribeClaims, SubscriptionClaims, TokenError},
};

pub use self::denial::Operation;
pub use self::settings::{
    ChannelOptions, ChannelSettings, ChannelSettingsError, HISTORY_SIZE_MAX, NAMESPACE_NAME_MAX_BYTES,
    NamespaceProxies, NamespaceSettings, OptionsProblem, ProxyName, TraceContextDelivery,
};

/// The channel's namespace is not in the settings (error 102).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown channel namespace")]
pub struct UnknownNamespace;

/// Options by namespace. Immutable; share it in an `Arc`.
#[derive(Debug, Clone)]
pub struct ChannelRules {
    defaults: ChannelOptions,
    namespaces: HashMap<Box<str>, ChannelOptions>,
    /// Some channels have [`ChannelOptions::trace_sampled`].
    traces_sampled: bool,
}

impl ChannelRules {
    /// Checks the settings ([`ChannelSettings::validate`]) and makes them ready.
    pub fn new(settings: &ChannelSettings) -> Result<Self, ChannelSettingsError> {
        settings.rules()
    }

    /// The options of a channel. The namespace stands before the first `:`, after a `$`: `$chat:1` is of
    /// namespace `chat`. Allocates nothing; one hash look-up, none for a channel without a namespace. Does
    /// not check the name ([`check_channel_name`]).
    pub fn options(&self, channel: &str) -> Result<&ChannelOptions, UnknownNamespace> {
        self.of_namespace(ChannelName::parse(channel).namespace)
    }

    /// True if there are namespaces with `trace_sampled`: for the others nobody looks for a `traceparent`.
    pub fn traces_sampled(&self) -> bool {
        self.traces_sampled
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

impl<P> ChannelSettings<P> {
    /// Checks the settings and makes rules of them.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn rules(&self) -> Result<ChannelRules, ChannelSettingsError> {
        self.validate()?;
        let namespaces =
            self.namespaces.iter().map(|namespace| (namespace.name.as_str().into(), namespace.options));
        let mut all = self.namespaces.iter().map(|namespace| &namespace.options).chain([&self.defaults]);
        let traces_sampled = all.any(|options| options.trace_sampled);
        Ok(ChannelRules { defaults: self.defaults, namespaces: namespaces.collect(), traces_sampled })
    }
}

/// The reason of a refusal. The client gets [`Denied::code`] and its reason in the table of codes, the log gets the variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The channel's namespace is not in the settings (error 102).
    #[error("unknown channel")]
    UnknownChannel,
    /// Nothing allows it (error 103).
    #[error("permission denied")]
    PermissionDenied,
    /// The text is no channel name (error 107).
    #[error("bad request")]
    BadRequest,
    /// The namespace has the feature off, for everybody (error 108).
    #[error("not available")]
    NotAvailable,
    /// The subscription token was good once (error 109): the client fetches a new one.
    #[error("token expired")]
    TokenExpired,
    /// The subscription token is not signed by a known key, or is malformed (error 103: it fails its channel, and
    /// the connection, which has a token of its own, stays). The reason is for the node's log and holds
    /// nothing of the token.
    #[error("permission denied: invalid token")]
    InvalidToken(InvalidToken),
    /// The subscription token names a key that is not in the installed JWK set: fetch the set and try again;
    /// where that does not help it is as good as invalid (error 103).
    #[error("permission denied: unknown token key")]
    UnknownKey,
}

impl Denied {
    /// Error code of the reply.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::UnknownChannel => 102,
            Self::PermissionDenied | Self::InvalidToken(_) | Self::UnknownKey => 103,
            Self::BadRequest => 107,
            Self::NotAvailable => 108,
            Self::TokenExpired => 109,
        }
    }
}

/// A client that wants to subscribe.
#[derive(Debug, Clone, Copy)]
pub struct SubscribeCheck<'a> {
    /// The channel, as sent.
    pub channel: &'a str,
    /// User id of the connection; empty for an anonymous one.
    pub user: &'a str,
    /// Client id of the connection.
    pub client: &'a str,
    /// The verifier's result for the command's token; None where the command has none. An empty token is none.
    pub token: Option<Result<&'a SubscriptionClaims, &'a TokenError>>,
}

/// The step of the check that allowed a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrantedBy {
    /// The subscription token.
    SubscriptionToken,
    /// The connection token, the backend or the node itself: a server-side subscription, or one that a proxy granted.
    ConnectionToken,
    /// The user stands in the channel's name.
    UserLimited,
    /// The options of the namespace.
    Options,
}

/// A subscription that is allowed, with all that its token says about it.
#[derive(Debug, Clone, Copy)]
pub struct SubscribeGranted<'a> {
    /// The namespace's options, with the token's overrides applied.
    pub options: ChannelOptions,
    /// The step that allowed it.
    pub by: GrantedBy,
    /// End of the subscription unless it is refreshed, in Unix seconds; None for never.
    pub expires_at: Option<u64>,
    /// JSON for presence, joins and publications of this client in this channel (`chan_info`).
    pub info: Option<&'a RawValue>,
    /// JSON for the subscribe reply's `data`.
    pub data: Option<&'a RawValue>,
}

impl ChannelRules {
    /// Decides if this client may subscribe, in the order of `docs/protocols/client.md` §9.6: private prefix, subscription token
    /// (where given, it alone decides), user-limited, options; else 103. A name with `#` is never opened by the options to
    /// users that it does not list.
    pub fn may_subscribe<'a>(&self, request: &SubscribeCheck<'a>) -> Result<SubscribeGranted<'a>, Denied> {
        let (name, options) = self.open(request.channel)?;
        if let Some(token) = request.token {
            return by_token(request, token, *options);
        }
        if name.is_private {
            return Err(Denied::PermissionDenied);
        }
        let granted =
            |by| SubscribeGranted { options: *options, by, expires_at: None, info: None, data: None };
        if name.is_user_limited() {
            if !name.lists_user(request.user) {
                return Err(Denied::PermissionDenied);
            }
            if options.allow_user_limited_channels {
                return Ok(granted(GrantedBy::UserLimited));
            }
        }
        if options.allow_subscribe_for_client
            && (!request.user.is_empty() || options.allow_subscribe_for_anonymous)
        {
            return Ok(granted(GrantedBy::Options));
        }
        Err(Denied::PermissionDenied)
    }

    /// A subscription that a connection token asks for (its `channels` or `subs`): the backend signed
    /// it, so only the name and the namespace are checked. Such a subscription lives as long as the connection.
    pub fn server_side<'a>(
        &self,
        channel: &str,
        claims: Option<&'a SubscribeClaims>,
    ) -> Result<SubscribeGranted<'a>, Denied> {
        let (_, options) = self.open(channel)?;
        Ok(SubscribeGranted {
            options: claims.map_or(*options, |claims| overridden(*options, claims.overrides)),
            by: GrantedBy::ConnectionToken,
            expires_at: None,
            info: claims.and_then(|claims| claims.info.as_deref()),
            data: claims.and_then(|claims| claims.data.as_deref()),
        })
    }

    /// Decides if a subscription that was allowed by `by` may go on under these rules. What a token or a backend granted needs its
    /// channel only; what the rules granted is asked of them again, and any of them may allow it now.
    pub fn still_permits(&self, channel: &str, user: &str, by: GrantedBy) -> bool {
        match by {
            GrantedBy::SubscriptionToken | GrantedBy::ConnectionToken => self.open(channel).is_ok(),
            GrantedBy::UserLimited | GrantedBy::Options => {
                self.may_subscribe(&SubscribeCheck { channel, user, client: "", token: None }).is_ok()
            }
        }
    }

    /// Decides if this client may publish. `user` is empty for an anonymous one; `is_subscribed`: to this channel, now.
    pub fn may_publish(
        &self,
        channel: &str,
        user: &str,
        is_subscribed: bool,
    ) -> Result<&ChannelOptions, Denied> {
        let (name, options) = self.open(channel)?;
        let allowed = AllowOptions {
            subscriber: options.allow_publish_for_subscriber,
            client: options.allow_publish_for_client,
            anonymous: options.allow_publish_for_anonymous,
        };
        allowed.check(name, user, is_subscribed).map(|()| options)
    }

    /// Decides if this client may read the presence and its numbers.
    pub fn may_presence(
        &self,
        channel: &str,
        user: &str,
        is_subscribed: bool,
    ) -> Result<&ChannelOptions, Denied> {
        let (name, options) = self.open(channel)?;
        if !options.presence {
            return Err(Denied::NotAvailable);
        }
        AllowOptions::of_presence(options).check(name, user, is_subscribed).map(|()| options)
    }

    /// The same for a subscriber whose own subscription has presence, by an override of its token or of a backend, whatever the
    /// channel has.
    pub fn may_presence_by_override(&self, channel: &str, user: &str) -> Result<(), Denied> {
        let (name, options) = self.open(channel)?;
        AllowOptions::of_presence(options).check(name, user, true)
    }

    /// Decides if this client may read the history.
    pub fn may_history(
        &self,
        channel: &str,
        user: &str,
        is_subscribed: bool,
    ) -> Result<&ChannelOptions, Denied> {
        let (name, options) = self.open(channel)?;
        if !options.has_history() {
            return Err(Denied::NotAvailable);
        }
        let allowed = AllowOptions {
            subscriber: options.allow_history_for_subscriber,
            client: options.allow_history_for_client,
            anonymous: options.allow_history_for_anonymous,
        };
        allowed.check(name, user, is_subscribed).map(|()| options)
    }

    /// The first two checks of every decision: the name is valid, and its namespace is known.
    fn open<'n>(&self, channel: &'n str) -> Result<(ChannelName<'n>, &ChannelOptions), Denied> {
        check_channel_name(channel, CHANNEL_NAME_MAX_BYTES).map_err(|_| Denied::BadRequest)?;
        let name = ChannelName::parse(channel);
        let options = self.of_namespace(name.namespace).map_err(|_| Denied::UnknownChannel)?;
        Ok((name, options))
    }
}

/// The three `allow_…_for_…` options of one command.
struct AllowOptions {
    subscriber: bool,
    client: bool,
    anonymous: bool,
}

impl AllowOptions {
    fn of_presence(options: &ChannelOptions) -> Self {
        Self {
            subscriber: options.allow_presence_for_subscriber,
            client: options.allow_presence_for_client,
            anonymous: options.allow_presence_for_anonymous,
        }
    }

    /// Subscribers are allowed by `subscriber` or `client`. Other clients are allowed by `client`, with two exceptions:
    /// a private channel is for its subscribers, a user-limited one for the users it lists.
    /// Without that, reading the history would go around the subscription token. Anonymous clients need
    /// `anonymous` in addition.
    fn check(&self, name: ChannelName<'_>, user: &str, is_subscribed: bool) -> Result<(), Denied> {
        let passes_door = !name.is_private && (!name.is_user_limited() || name.lists_user(user));
        let by_role = (is_subscribed && (self.subscriber || self.client)) || (self.client && passes_door);
        let is_known = !user.is_empty() || self.anonymous;
        if by_role && is_known { Ok(()) } else { Err(Denied::PermissionDenied) }
    }
}

fn by_token<'a>(
    request: &SubscribeCheck<'a>,
    token: Result<&'a SubscriptionClaims, &'a TokenError>,
    options: ChannelOptions,
) -> Result<SubscribeGranted<'a>, Denied> {
    let claims = token.map_err(|error| match error {
        TokenError::Expired | TokenError::NotYetValid => Denied::TokenExpired,
        TokenError::UnknownKey => Denied::UnknownKey,
        TokenError::Invalid(reason) => Denied::InvalidToken(*reason),
    })?;
    let client_fits = claims.client.as_deref().is_none_or(|client| client == request.client);
    if claims.channel != request.channel || claims.user != request.user || !client_fits {
        return Err(Denied::PermissionDenied);
    }
    Ok(SubscribeGranted {
        options: overridden(options, claims.overrides),
        by: GrantedBy::SubscriptionToken,
        expires_at: claims.expires_at,
        info: claims.info.as_deref(),
        data: claims.data.as_deref(),
    })
}

/// The options as a token changes them, for one subscription.
fn overridden(mut options: ChannelOptions, overrides: OptionOverrides) -> ChannelOptions {
    let pairs = [
        (&mut options.presence, overrides.presence),
        (&mut options.join_leave, overrides.join_leave),
        (&mut options.force_push_join_leave, overrides.force_push_join_leave),
        (&mut options.force_recovery, overrides.force_recovery),
        (&mut options.force_positioning, overrides.force_positioning),
    ];
    for (option, value) in pairs {
        *option = value.unwrap_or(*option);
    }
    // A token cannot make a stream where none is kept: there is nothing to take a position in.
    options.force_recovery &= options.has_history();
    options.force_positioning &= options.has_history();
    options
}

#[cfg(test)]
mod tests;
