//! The policy that decides who a client is and what it may: tokens, channel rules, limits, and the limit of failed logins, which
//! the node counts by the client's network. Shared by all sessions of a node.

use std::{
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use bytes::Bytes;
use gorani_auth::{
    CHANNEL_NAME_MAX_BYTES, ChannelOptions, ChannelRules, ConnectionClaims, Denied, InvalidToken, Operation,
    Origins, SubscribeCheck, SubscribeClaims, SubscribeGranted, TokenError, TokenVerifier,
    check_channel_name,
};
use gorani_broker::{ClientInfo, Retention};
use parking_lot::RwLock;
use rand::Rng;
use serde_json::value::RawValue;
use tokio::sync::Notify;

use super::{
    api_key_uses::NotedApiKeys,
    deadlines::has_expired,
    login_limit::{Credential, LoginLimit, check_login},
    recovery::retention,
};
use crate::{
    disconnect::{Disconnect, ErrorCode, Refused},
    event_log::commands::CommandLog,
    metrics::commands::CommandMetrics,
    proxy_call::{ConnectGrant, ProxyCounts, ProxyRoutes},
    refusal_log::{LogCause, RefusalLog},
    session::Now,
    settings::ClientSettings,
};

/// The policy that decides on a client's commands. It never changes; a reload puts another one in its place.
pub struct Policy {
    /// Permissions and options by namespace.
    pub rules: ChannelRules,
    /// Keys of tokens.
    pub tokens: TokenVerifier,
    /// Keys of backends.
    pub api_keys: NotedApiKeys,
    /// Origins that browsers may connect from.
    pub origins: Origins,
    /// The proxies that decide in the place of these rules.
    pub proxies: ProxyRoutes,
    /// Counts of what became of their answers.
    pub proxy_counts: Arc<ProxyCounts>,
    /// Some endpoint of hooks is sent what the backend keeps with a connection.
    pub hooks_want_meta: bool,
    /// Operators may look at single clients.
    pub describes_clients: bool,
    /// Time that a session has for calls under way when the node goes down.
    pub call_grace: Duration,
    /// Limits and times.
    pub settings: ClientSettings,
    /// The node's id, 8 hexadecimal digits.
    pub node_id: Arc<str>,
    /// The node's name (`node.name`), for people.
    pub node_name: Arc<str>,
    /// Notified when a token names a key that is not known yet, and when the settings of tokens are replaced.
    pub key_wanted: Arc<Notify>,
    /// Counters of what clients ask for.
    pub counts: CommandMetrics,
    /// Why clients are refused, for the operator.
    pub log: Arc<RefusalLog>,
    /// Commands of users that an operator follows.
    pub command_log: Arc<CommandLog>,
    /// The policy that counts now, once it is another one.
    pub replaced_by: OnceLock<Weak<RwLock<Arc<Self>>>>,
}

/// A refusal, with its reason in words for the log and for backends.
#[derive(Debug)]
pub(in crate::session) struct Denial {
    pub(in crate::session) refused: Refused,
    /// It names the option that would open what is refused.
    pub(in crate::session) reason: String,
}

impl From<Denial> for Refused {
    fn from(denial: Denial) -> Self {
        denial.refused
    }
}

impl Policy {
    /// Takes the policy that a reload has put in the place of this one: at the beginning of a turn, so that all of it has the same.
    pub fn renew(policy: &mut Arc<Self>) {
        if let Some(current) = policy.replaced_by.get().and_then(Weak::upgrade) {
            *policy = current.read().clone();
        }
    }

    /// A client id that no other connection of the cluster has: the node's id, then 64 random bits.
    pub fn new_client_id(&self) -> Arc<str> {
        format!("{}{:016x}", self.node_id, crate::random::rng().next_u64()).into()
    }

    /// A connection's meta, if there is some and an endpoint of hooks wants it.
    pub(in crate::session) fn meta_for_hooks(&self, meta: &Bytes) -> Option<Arc<Bytes>> {
        (self.hooks_want_meta && !meta.is_empty()).then(|| Arc::new(meta.clone()))
    }

    /// The options of a channel. Errors: 107 for a bad name, 102 for an unknown namespace.
    pub fn channel_options(&self, channel: &str) -> Result<&ChannelOptions, ErrorCode> {
        let most = self.settings.channel_max_bytes.min(CHANNEL_NAME_MAX_BYTES);
        check_channel_name(channel, most).map_err(|_| ErrorCode::BAD_REQUEST)?;
        self.rules.options(channel).map_err(|_| ErrorCode::UNKNOWN_CHANNEL)
    }

    /// The retention of a channel.
    pub fn channel_retention(&self, channel: &str) -> Result<Retention, ErrorCode> {
        self.channel_options(channel).map(retention)
    }

    /// The claims of a connection token; without one, an anonymous client's if allowed. Failed tokens count against `limit`.
    pub(in crate::session) fn authenticate(
        &self,
        token: Option<&str>,
        limit: Option<&dyn LoginLimit>,
        now: Now,
    ) -> Result<ConnectionClaims, Refused> {
        let Some(token) = token else {
            return if self.settings.allow_anonymous {
                Ok(ConnectionClaims::default())
            } else {
                Err(self.refuse_anonymous("no token", "it brings no token").into())
            };
        };
        check_login(limit, Credential::Token)?;
        let claims = self.tokens.connection(token, now.unix_s()).map_err(|error| {
            // An expired token was a right one, and an unknown key may be a new one.
            if let (TokenError::Invalid(_), Some(limit)) = (&error, limit) {
                limit.failed(Credential::Token);
            }
            self.refuse_token(error)
        })?;
        self.check_subject(&claims)?;
        Ok(claims)
    }

    /// A token without a `sub` opens no more than no token does: its issuer may have named the user in another claim. One with an
    /// empty `sub` means an anonymous user. Decision record 42.
    pub(in crate::session) fn check_subject(&self, claims: &ConnectionClaims) -> Result<(), ErrorCode> {
        if claims.has_subject || self.settings.allow_anonymous {
            return Ok(());
        }
        let why = "its token has no `sub`, the claim that names the user; `\"sub\":\"\"` stands for an anonymous one";
        Err(self.refuse_anonymous("no sub", why))
    }

    /// Lets a client in to which the backend gave no credentials; an error where no anonymous clients are allowed.
    pub(in crate::session) fn admit_without_credentials(&self) -> Result<(), Refused> {
        if self.settings.allow_anonymous {
            return Ok(());
        }
        self.refuse_anonymous("no result", "the connect proxy gave it no credentials");
        Err(Refused::Disconnect(Disconnect::BAD_REQUEST))
    }

    fn refuse_anonymous(&self, subject: &str, why: &str) -> ErrorCode {
        self.log.write(LogCause::Anonymous, subject, |_| {
            format!("anonymous client refused: {why}; client.allow_anonymous would let it in")
        });
        ErrorCode::UNAUTHORIZED
    }

    /// Lets a client subscribe to a channel, by a subscription token if it has one. `granted` takes what is needed of the grant.
    pub(in crate::session) fn may_subscribe<T>(
        &self,
        channel: &str,
        identity: &ClientIdentity,
        token: Option<&str>,
        now: Now,
        granted: impl FnOnce(&SubscribeGranted<'_>) -> T,
    ) -> Result<T, Denial> {
        if token.is_none() && self.subscribe_proxy(channel).is_some() {
            return Err(self.deny_what_a_proxy_decides(LogCause::Subscribe, channel));
        }
        let claims = token.map(|token| self.tokens.subscription(token, now.unix_s()));
        if let Some(Err(error)) = &claims {
            self.counts.count_token(*error);
        }
        let check = SubscribeCheck {
            channel,
            user: &identity.user,
            client: &identity.client,
            token: claims.as_ref().map(Result::as_ref),
        };
        let grant = self.rules.may_subscribe(&check);
        let grant = grant.map_err(|denied| self.deny_subscribe(&check, denied))?;
        if has_expired(grant.expires_at, now) {
            let reason = "its subscription token has expired".to_owned();
            return Err(Denial { refused: ErrorCode::EXPIRED.into(), reason });
        }
        Ok(granted(&grant))
    }

    /// Lets a client publish into a channel, or read what it asks for. `is_subscribed`: to this channel, now.
    pub(in crate::session) fn may(
        &self,
        operation: Operation,
        channel: &str,
        user: &str,
        is_subscribed: bool,
    ) -> Result<&ChannelOptions, Denial> {
        if operation == Operation::Publish && self.publish_proxy(channel).is_some() {
            return Err(self.deny_what_a_proxy_decides(LogCause::Publish, channel));
        }
        let (options, cause, what) = match operation {
            Operation::Publish => {
                (self.rules.may_publish(channel, user, is_subscribed), LogCause::Publish, "publication")
            }
            Operation::Presence => (
                self.rules.may_presence(channel, user, is_subscribed),
                LogCause::Presence,
                "read of presence",
            ),
            Operation::History => {
                (self.rules.may_history(channel, user, is_subscribed), LogCause::History, "read of history")
            }
        };
        options.map_err(|denied| {
            let reason = self.rules.denial(operation, channel, user, is_subscribed);
            self.log.write(cause, channel, |channel| {
                format!("{what} refused: user {user:?}, channel {channel}: {reason}")
            });
            Denial { refused: self.refuse_denied(denied), reason }
        })
    }

    /// Lets a client read the presence of a channel. `own`: the options of its subscription to it, which may have presence where the
    /// channel's namespace has none.
    pub(in crate::session) fn may_presence(
        &self,
        channel: &str,
        user: &str,
        own: Option<&ChannelOptions>,
    ) -> Result<(), Denial> {
        let is_opened = own.is_some_and(|options| options.presence)
            && self.rules.may_presence_by_override(channel, user).is_ok();
        if is_opened {
            return Ok(());
        }
        self.may(Operation::Presence, channel, user, own.is_some()).map(drop)
    }

    /// True if a backend's answer may give subscriptions to this channel options that its namespace has not.
    pub fn may_be_overridden(&self, channel: &str) -> bool {
        self.proxies.connect.is_some() || self.subscribe_proxy(channel).is_some()
    }

    /// The refusal of what only a proxy can allow, where it is not asked.
    fn deny_what_a_proxy_decides(&self, cause: LogCause, channel: &str) -> Denial {
        let reason = "the proxy of its namespace decides, and is not asked for those who name it in this way"
            .to_owned();
        self.log.write(cause, channel, |channel| format!("channel {channel} refused: {reason}"));
        Denial { refused: ErrorCode::PERMISSION_DENIED.into(), reason }
    }

    fn deny_subscribe(&self, check: &SubscribeCheck<'_>, denied: Denied) -> Denial {
        let reason = self.rules.subscribe_denial(check);
        self.log.write(LogCause::Subscribe, check.channel, |channel| {
            format!("subscription refused: user {:?}, channel {channel}: {reason}", check.user)
        });
        Denial { refused: self.refuse_denied(denied), reason }
    }

    /// A subscription that comes with the connection. `claims`: what the connection token says of the channel.
    pub(in crate::session) fn server_side<'a>(
        &self,
        channel: &str,
        claims: Option<&'a SubscribeClaims>,
    ) -> Result<SubscribeGranted<'a>, Denial> {
        self.rules.server_side(channel, claims).map_err(|denied| {
            // What these rules refuse depends on the channel's name alone.
            let check = SubscribeCheck { channel, user: "", client: "", token: None };
            let reason = self.rules.subscribe_denial(&check);
            self.log.write(LogCause::Subscribe, channel, |channel| {
                format!("server-side subscription refused: channel {channel}: {reason}")
            });
            Denial { refused: self.refuse_denied(denied), reason }
        })
    }

    /// The options of a channel for a backend that publishes into it: it only has to be one. The caller logs a refusal.
    pub(in crate::session) fn options_for_backend(&self, channel: &str) -> Result<ChannelOptions, Denial> {
        let granted = self.rules.server_side(channel, None);
        granted.map(|granted| granted.options).map_err(|denied| {
            let reason = self.rules.denial(Operation::Publish, channel, "", false);
            Denial { refused: self.refuse_denied(denied), reason }
        })
    }

    /// Most connections of this user. `None`: no limit, as for clients without a user id.
    pub(in crate::session) fn connection_limit(&self, user: &str) -> Option<u32> {
        let limit = self.settings.max_connections_per_user;
        (limit > 0 && !user.is_empty()).then_some(limit)
    }

    /// The refusal for a bad connection token.
    pub(in crate::session) fn refuse_token(&self, error: TokenError) -> Refused {
        self.log_token(error);
        match error {
            TokenError::Expired | TokenError::NotYetValid => ErrorCode::TOKEN_EXPIRED.into(),
            TokenError::UnknownKey => self.await_key(),
            TokenError::Invalid(_) => Refused::Disconnect(Disconnect::INVALID_TOKEN),
        }
    }

    /// Logs why a connection token is refused.
    pub(in crate::session) fn log_token(&self, error: TokenError) {
        self.counts.count_token(error);
        let (cause, subject) = match error {
            TokenError::Expired | TokenError::NotYetValid => (LogCause::TokenTime, format!("{error:?}")),
            TokenError::UnknownKey => (LogCause::ConnectionToken, format!("{error:?}")),
            TokenError::Invalid(InvalidToken::Claim(claim)) => (LogCause::ConnectionToken, claim.to_owned()),
            TokenError::Invalid(reason) => (LogCause::ConnectionToken, format!("{reason:?}")),
        };
        self.log.write(cause, &subject, |_| format!("connection token refused: {error}"));
    }

    /// The refusal for a denial.
    fn refuse_denied(&self, denied: Denied) -> Refused {
        match denied {
            Denied::UnknownChannel => ErrorCode::UNKNOWN_CHANNEL.into(),
            Denied::PermissionDenied => ErrorCode::PERMISSION_DENIED.into(),
            Denied::BadRequest => ErrorCode::BAD_REQUEST.into(),
            Denied::NotAvailable => ErrorCode::NOT_AVAILABLE.into(),
            Denied::TokenExpired => ErrorCode::TOKEN_EXPIRED.into(),
            Denied::UnknownKey => self.await_key(),
            // The connection has a token of its own and stays, as with every other denied subscription.
            Denied::InvalidToken(_) => ErrorCode::PERMISSION_DENIED.into(),
        }
    }

    /// The key may come with the next fetch of the key set: the client is to try again a little later.
    fn await_key(&self) -> Refused {
        self.key_wanted.notify_one();
        ErrorCode::INTERNAL.into()
    }
}

/// The identity of a client. Empty until it is known.
#[derive(Debug, Default)]
pub(in crate::session) struct ClientIdentity {
    /// User id; empty for an anonymous client.
    pub(in crate::session) user: Arc<str>,
    /// Client id, of this connection alone.
    pub(in crate::session) client: Arc<str>,
    /// JSON of the token's info; empty for none.
    info: Bytes,
}

impl ClientIdentity {
    /// The bearer of a connection token.
    pub(in crate::session) fn of_claims(claims: &ConnectionClaims, client: Arc<str>) -> Self {
        Self { user: claims.user.as_str().into(), client, info: raw_bytes(claims.info.as_deref()) }
    }

    /// A client of which no more than its id is known yet.
    pub(in crate::session) fn unknown(client: Arc<str>) -> Self {
        Self { client, ..Self::default() }
    }

    /// A client that the connect proxy let in.
    pub(in crate::session) fn of_grant(grant: &ConnectGrant, client: Arc<str>) -> Self {
        Self { user: grant.user.as_str().into(), client, info: grant.info.clone() }
    }

    /// A backend, by its login.
    pub(in crate::session) fn of_backend(login: &str, client: Arc<str>) -> Self {
        Self { user: login.into(), client, info: Bytes::new() }
    }

    /// Others see this JSON of it from now on; nothing changes where it is empty.
    pub(in crate::session) fn renew_info(&mut self, info: &Bytes) {
        if !info.is_empty() {
            self.info = info.clone();
        }
    }

    /// The client as others see it in a channel. `channel_info`: JSON; empty for none.
    pub(in crate::session) fn info_for(&self, channel_info: Bytes) -> Arc<ClientInfo> {
        Arc::new(ClientInfo {
            user: self.user.to_string(),
            client: self.client.to_string(),
            connection_info: self.info.clone(),
            channel_info,
        })
    }
}

/// The bytes of raw JSON; empty where there is none.
pub(in crate::session) fn raw_bytes(raw: Option<&RawValue>) -> Bytes {
    raw.map(|raw| Bytes::copy_from_slice(raw.get().as_bytes())).unwrap_or_default()
}
