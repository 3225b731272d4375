//! From the first frame to CONNECTED: version, credentials, heart-beats. `docs/protocols/stomp.md` §2 and §3.
//!
//! The passcode is a token (JWT), or with `login` the password of one of `stomp.users`, who are backends. `host` is not
//! looked at: most clients send none, or whatever is in their URL.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use gorani_auth::{ConnectionClaims, Denied, SubscribeGranted, TokenError, personal_channel};
use gorani_broker::ClientInfo;
use gorani_protocol::stomp::{Headers, HeartBeat, ServerCommand, StompFrame, Version, encode};

use super::{StompSession, StompState, failure::Failure};
use crate::{
    disconnect::{Disconnect, ErrorCode},
    session::{
        Action, Actions, MessageKind, Now, Ticket,
        shared::{
            expiry::{end_of, has_expired},
            login_limit::Credential,
        },
    },
    version::VERSION,
};

/// Scheme of an `Authorization` header with a token.
const BEARER: &str = "Bearer ";

/// Names the question whether there is room among the user's connections: there is no other before its answer.
const ENTRY: Ticket = Ticket(0);

/// Who speaks.
#[derive(Default)]
pub(super) struct Identity {
    pub(super) user: Arc<str>,
    pub(super) client: Arc<str>,
    /// JSON of the token's info.
    info: Bytes,
    access: Access,
}

/// What the rules of channels have to say of a session.
enum Access {
    /// They decide, but for what its token allows.
    Client(Box<ConnectionClaims>),
    /// Nothing: a backend is trusted, as with a key of the API.
    Backend,
}

impl Default for Access {
    fn default() -> Self {
        Self::Client(Box::default())
    }
}

impl Identity {
    /// Who this client is in a channel.
    pub(super) fn info_for(&self, channel_info: Bytes) -> Arc<ClientInfo> {
        Arc::new(ClientInfo {
            user: self.user.to_string(),
            client: self.client.to_string(),
            connection_info: self.info.clone(),
            channel_info,
        })
    }

    pub(super) fn is_backend(&self) -> bool {
        matches!(self.access, Access::Backend)
    }
}

impl StompSession {
    /// The first frame.
    pub(super) fn connect(
        &mut self,
        frame: &StompFrame,
        now: Now,
        actions: &mut Actions,
    ) -> Result<(), Failure> {
        let headers = &frame.headers;
        let version = Version::negotiate(headers.get("accept-version")).ok_or_else(Failure::no_version)?;
        let offer = HeartBeat::parse(headers.get("heart-beat"))
            .map_err(|_| Failure::bad("heart-beat is not two numbers"))?;
        self.version = version;
        self.decoder.set_version(version);
        let claims = self.credentials(headers, now)?;
        let expires_at = claims.as_ref().and_then(|claims| claims.expires_at);
        self.clock.expires = end_of(expires_at, Duration::ZERO, now);
        self.identity = self.identify(claims, headers.get("login").unwrap_or_default());
        let identity = &self.identity;
        actions.push(Action::Identify { user: identity.user.clone(), client: identity.client.clone() });
        let limit = self.policy.settings.max_connections_per_user;
        if limit == 0 || identity.user.is_empty() || identity.is_backend() {
            self.open(offer, now, actions);
        } else {
            self.state = StompState::Entering(offer);
            actions.push(Action::Enter(ENTRY, limit));
        }
        Ok(())
    }

    /// The client has its place among its user's connections.
    pub(super) fn entered(&mut self, now: Now, actions: &mut Actions) {
        if let StompState::Entering(offer) = self.state {
            self.open(offer, now, actions);
        }
    }

    fn open(&mut self, offer: HeartBeat, now: Now, actions: &mut Actions) {
        let (identity, style) = (&self.identity, self.style());
        let version = style.version;
        let millis = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        let ours = HeartBeat {
            sends_ms: millis(self.settings.heart_beat_send),
            wants_ms: millis(self.settings.heart_beat_receive),
        };
        let settings = &self.policy.settings;
        let ping_interval = self.traits.has_pings.then_some(settings.ping_interval);
        self.clock.start(offer.agree(ours), ping_interval, now);
        self.state = StompState::Open;
        self.login_limit = None;
        actions.message(MessageKind::Text, |out| {
            let mut connected = encode::frame(ServerCommand::Connected, version, out)
                .header("version", version.name())
                .header("session", &identity.client)
                .header("server", &format!("gorani/{VERSION}"))
                .header("heart-beat", &format!("{},{}", ours.sends_ms, ours.wants_ms));
            if !identity.user.is_empty() {
                connected = connected.header("user-name", &identity.user);
            }
            connected.end();
            style.end_frame(out);
        });
    }

    fn identify(&self, claims: Option<Box<ConnectionClaims>>, login: &str) -> Identity {
        let client = self.policy.new_client_id();
        match claims {
            Some(claims) => Identity {
                user: claims.user.as_str().into(),
                client,
                info: claims.info.as_deref().map(raw_bytes).unwrap_or_default(),
                access: Access::Client(claims),
            },
            None => Identity { user: login.into(), client, info: Bytes::new(), access: Access::Backend },
        }
    }

    /// What the token claims; `None` for a backend. Nothing of it is told or logged.
    fn credentials(&self, headers: &Headers, now: Now) -> Result<Option<Box<ConnectionClaims>>, Failure> {
        let bearer = headers.get("Authorization").and_then(|value| value.strip_prefix(BEARER));
        let passcode = headers.get("passcode").filter(|passcode| !passcode.is_empty());
        let login = headers.get("login").filter(|_| bearer.is_none() && !self.settings.users.is_empty());
        if let (Some(login), Some(passcode)) = (login, passcode) {
            return self.login(login, passcode, now);
        }
        match bearer.map(str::trim).or(passcode) {
            Some(token) => {
                self.check_limit(Credential::Token)?;
                match self.policy.tokens.connection(token, now.unix_s()) {
                    Ok(claims) => Ok(Some(Box::new(claims))),
                    Err(error) => Err(self.refuse_token(error)),
                }
            }
            None if self.policy.settings.allow_anonymous => Ok(Some(Box::default())),
            None => Err(ErrorCode::UNAUTHORIZED.into()),
        }
    }

    /// A name with a passcode, which is the password of a backend, or a token of a client that names itself as it likes.
    /// Whoever is refused does not learn whether there is such a backend: nothing that is done, and nothing that is
    /// answered, depends on it.
    fn login(&self, login: &str, passcode: &str, now: Now) -> Result<Option<Box<ConnectionClaims>>, Failure> {
        self.check_limit(Credential::Password)?;
        if self.settings.admits(login, passcode) {
            return Ok(None);
        }
        match self.policy.tokens.connection(passcode, now.unix_s()) {
            Ok(claims) => Ok(Some(Box::new(claims))),
            Err(TokenError::Invalid(_)) => {
                self.count_failed(Credential::Password);
                Err(ErrorCode::UNAUTHORIZED.into())
            }
            Err(error) => Err(self.refuse_token(error)),
        }
    }

    fn check_limit(&self, credential: Credential) -> Result<(), Failure> {
        if self.login_limit.as_deref().is_none_or(|limit| limit.allows(credential)) {
            return Ok(());
        }
        Err(Failure::new(
            Disconnect::TOO_MANY_REQUESTS,
            "too many wrong logins from this address, come back later",
        ))
    }

    fn count_failed(&self, credential: Credential) {
        if let Some(limit) = &self.login_limit {
            limit.failed(credential);
        }
    }

    fn refuse_token(&self, error: TokenError) -> Failure {
        match error {
            TokenError::Expired | TokenError::NotYetValid => ErrorCode::TOKEN_EXPIRED.into(),
            TokenError::UnknownKey => self.await_key(),
            TokenError::Invalid(reason) => {
                tracing::debug!(%reason, "token refused");
                self.count_failed(Credential::Token);
                Failure::of_disconnect(Disconnect::INVALID_TOKEN)
            }
        }
    }

    /// The key may come with the next fetch of the key set: the client is to try again a little later.
    fn await_key(&self) -> Failure {
        self.policy.key_wanted.notify_one();
        ErrorCode::INTERNAL.into()
    }

    pub(super) fn refuse_denied(&self, denied: Denied) -> Failure {
        let error = match denied {
            Denied::UnknownChannel => ErrorCode::UNKNOWN_CHANNEL,
            Denied::PermissionDenied => ErrorCode::PERMISSION_DENIED,
            Denied::BadRequest => ErrorCode::BAD_REQUEST,
            Denied::NotAvailable => ErrorCode::NOT_AVAILABLE,
            Denied::TokenExpired => ErrorCode::TOKEN_EXPIRED,
            Denied::UnknownKey => return self.await_key(),
            Denied::InvalidToken(reason) => {
                tracing::debug!(%reason, "subscription token refused");
                ErrorCode::PERMISSION_DENIED
            }
        };
        error.into()
    }

    /// Whether this session may subscribe to a channel, with the `token` header of its frame if there is one, and what
    /// for. As in the client protocol; what is a server-side subscription there, a STOMP client may ask for.
    pub(super) fn may_subscribe<T>(
        &self,
        channel: &str,
        token: Option<&str>,
        now: Now,
        granted: impl FnOnce(&SubscribeGranted<'_>) -> T,
    ) -> Result<T, Failure> {
        let rules = &self.policy.rules;
        let denied = |denied| self.refuse_denied(denied);
        let user = &*self.identity.user;
        let Access::Client(claims) = &self.identity.access else {
            return rules.server_side(channel, user, None).map(|grant| granted(&grant)).map_err(denied);
        };
        let is_personal = (self.policy.settings.personal_channels.iter())
            .any(|name| personal_channel(name, user).is_ok_and(|personal| personal == channel));
        let listed = claims.server_side().find(|(listed, _)| *listed == channel);
        if is_personal || listed.is_some() {
            let claims = listed.and_then(|(_, claims)| claims);
            return rules.server_side(channel, user, claims).map(|grant| granted(&grant)).map_err(denied);
        }
        let token = token.map(|token| self.policy.tokens.subscription(token, now.unix_s()));
        let request = gorani_auth::SubscribeCheck {
            channel,
            user,
            client: &self.identity.client,
            token: token.as_ref().map(Result::as_ref),
        };
        let grant = rules.may_subscribe(&request).map_err(denied)?;
        if has_expired(grant.expires_at, now) {
            return Err(ErrorCode::EXPIRED.into());
        }
        Ok(granted(&grant))
    }
}

/// The bytes of raw JSON.
pub(super) fn raw_bytes(raw: &serde_json::value::RawValue) -> Bytes {
    Bytes::copy_from_slice(raw.get().as_bytes())
}
