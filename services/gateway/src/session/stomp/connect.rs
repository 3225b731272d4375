//! From the first frame to CONNECTED: version, credentials, heart-beats. `docs/protocols/stomp.md` §2 and §3.
//!
//! The passcode is a token (JWT), or with `login` the password of one of `stomp.users`, who are backends. `host` is not
//! checked: most clients send none, or the one in their URL.

use std::time::Duration;

use bytes::Bytes;
use gorani_auth::{ConnectionClaims, SubscribeClaims, SubscribeGranted, TokenError, personal_channel};
use gorani_protocol::stomp::{Headers, HeartBeat, ServerCommand, StompFrame, Version, encode};

use serde_json::value::RawValue;

use super::{Access, StompSession, StompState, failure::Failure};
use crate::{
    disconnect::{Disconnect, ErrorCode, Refused},
    proxy_call::{ProxyId, SubscribeGrant},
    refusal_log::{LogCause, printable},
    session::{
        Action, Actions, MessageKind, Now, Ticket,
        shared::{
            deadlines::end_of,
            login_limit::{Credential, check_login},
            policy::{ClientIdentity, raw_bytes},
        },
    },
};

/// Scheme of an `Authorization` header with a token.
const BEARER: &str = "Bearer ";

/// Ticket of the request for a connection slot of the user: no other request is made before its outcome.
pub(super) const ENTRY: Ticket = Ticket(0);

impl StompSession {
    pub(super) fn is_backend(&self) -> bool {
        matches!(self.access, Access::Backend)
    }

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
        let client = self.policy.new_client_id();
        if let Some(calls) = &mut self.calls {
            let emulated = calls.session.emulate(&self.policy, headers.iter());
            emulated.map_err(Failure::of_disconnect)?;
        }
        if let Some(proxy) = self.proxy_of_connect(headers, now)? {
            self.identity = ClientIdentity::of_claims(&ConnectionClaims::default(), client);
            self.state = StompState::Entering(offer);
            self.ask_to_connect(proxy, headers, actions);
            return Ok(());
        }
        let claims = self.credentials(headers, now)?;
        let meta = claims.as_deref().map(|claims| raw_bytes(claims.meta.as_deref()));
        let expires_at = claims.as_ref().and_then(|claims| claims.expires_at);
        self.clock.expires = end_of(expires_at, Duration::ZERO, now);
        (self.identity, self.access) = match claims {
            Some(claims) => (ClientIdentity::of_claims(&claims, client), Access::Client(claims)),
            None => {
                let login = headers.get("login").unwrap_or_default();
                (ClientIdentity::of_backend(login, client), Access::Backend)
            }
        };
        self.admit(offer, &meta.unwrap_or_default(), now, actions);
        Ok(())
    }

    /// The connection's meta goes to the backend with calls and hooks; nothing changes where it is empty.
    pub(super) fn keep_meta(&mut self, meta: &Bytes, actions: &mut Actions) {
        if let Some(calls) = &mut self.calls {
            calls.session.set_meta(meta);
        }
        if let Some(meta) = self.policy.meta_for_hooks(meta) {
            actions.push(Action::KeepMeta(meta));
        }
    }

    /// The client is known. It comes in, once it has one of its user's connection slots.
    pub(super) fn admit(&mut self, offer: HeartBeat, meta: &Bytes, now: Now, actions: &mut Actions) {
        let identity = &self.identity;
        if let Some(calls) = &mut self.calls {
            calls.session.identify(identity);
        }
        actions.push(Action::Identify { user: identity.user.clone(), client: identity.client.clone() });
        self.keep_meta(meta, actions);
        match self.policy.connection_limit(&self.identity.user).filter(|_| !self.is_backend()) {
            Some(limit) => {
                self.state = StompState::Entering(offer);
                actions.push(Action::Enter(ENTRY, limit));
            }
            None => self.open(offer, now, actions),
        }
    }

    /// The client got one of its user's connection slots.
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
                .header("server", concat!("gorani/", env!("CARGO_PKG_VERSION")))
                .header("heart-beat", &format!("{},{}", ours.sends_ms, ours.wants_ms));
            if !identity.user.is_empty() {
                connected = connected.header("user-name", &identity.user);
            }
            connected.end();
            style.end_frame(out);
        });
    }

    /// The proxy that decides on a CONNECT: one without a token and without the login of a backend. A passcode that is neither
    /// belongs to the user's backend, if some proxy forwards it.
    fn proxy_of_connect(&self, headers: &Headers, now: Now) -> Result<Option<ProxyId>, Failure> {
        let proxies = &self.policy.proxies;
        let Some(proxy) = proxies.connect.filter(|_| self.calls.is_some()) else { return Ok(None) };
        if headers.get("Authorization").is_some_and(|value| value.starts_with(BEARER)) {
            return Ok(None);
        }
        let Some(passcode) = headers.get("passcode").filter(|passcode| !passcode.is_empty()) else {
            return Ok(Some(proxy));
        };
        if !proxies.emulated_headers.iter().any(|listed| **listed == *"passcode") {
            return Ok(None);
        }
        let limit = self.login_limit.as_deref();
        check_login(limit, Credential::Password).map_err(|error| refused_login(error.into()))?;
        let login = headers.get("login").unwrap_or_default();
        let is_ours = self.settings.admits(login, passcode)
            || !matches!(self.policy.tokens.connection(passcode, now.unix_s()), Err(TokenError::Invalid(_)));
        Ok((!is_ours).then_some(proxy))
    }

    /// The claims of the token; `None` for a backend. The credentials are neither sent back nor logged.
    fn credentials(&self, headers: &Headers, now: Now) -> Result<Option<Box<ConnectionClaims>>, Failure> {
        let bearer = headers.get("Authorization").and_then(|value| value.strip_prefix(BEARER));
        let passcode = headers.get("passcode").filter(|passcode| !passcode.is_empty());
        let login = headers.get("login").filter(|_| bearer.is_none() && !self.settings.users.is_empty());
        if let (Some(login), Some(passcode)) = (login, passcode) {
            return self.login(login, passcode, now);
        }
        let token = bearer.map(str::trim).or(passcode);
        let claims = self.policy.authenticate(token, self.login_limit.as_deref(), now);
        claims.map(|claims| Some(Box::new(claims))).map_err(|refused| {
            let is_invalid = refused == Refused::Disconnect(Disconnect::INVALID_TOKEN);
            let failure = refused_login(refused);
            // Spring's relay logs in as `guest` unless it is told otherwise.
            match headers.get("login").filter(|login| is_invalid && bearer.is_none() && !login.is_empty()) {
                Some(login) => failure.because(self.log_refused_login(login)),
                None => failure,
            }
        })
    }

    /// Logs a refused login. Returns what its client is told, which is the same whether there is such a backend or not.
    fn log_refused_login(&self, login: &str) -> String {
        let is_known = self.settings.users.iter().any(|user| user.name == login);
        self.policy.log.write(LogCause::StompLogin, login, |login| {
            let why =
                if is_known { "another password in stomp.users" } else { "no such user in stomp.users" };
            format!("STOMP login `{login}` refused: {why}, and its passcode is no token")
        });
        let login = printable(login);
        format!("no user `{login}` with this passcode in stomp.users, and its passcode is no token")
    }

    /// A name with a passcode, which is the password of a backend, or a token of a client that names itself as it likes.
    /// A refused client does not learn whether there is such a backend: nothing that is done, and nothing that is
    /// answered, depends on it.
    fn login(&self, login: &str, passcode: &str, now: Now) -> Result<Option<Box<ConnectionClaims>>, Failure> {
        let limit = self.login_limit.as_deref();
        check_login(limit, Credential::Password).map_err(|error| refused_login(error.into()))?;
        if self.settings.admits(login, passcode) {
            return Ok(None);
        }
        match self.policy.tokens.connection(passcode, now.unix_s()) {
            Ok(claims) => {
                self.policy.check_subject(&claims)?;
                Ok(Some(Box::new(claims)))
            }
            Err(TokenError::Invalid(_)) => {
                if let Some(limit) = limit {
                    limit.failed(Credential::Password);
                }
                Err(Failure::from(ErrorCode::UNAUTHORIZED).because(self.log_refused_login(login)))
            }
            Err(error) => Err(self.policy.refuse_token(error).into()),
        }
    }

    /// The grant of the connect proxy for a channel.
    fn granted(&self, channel: &str) -> Option<&SubscribeGrant> {
        let granted = &self.calls.as_ref()?.granted;
        granted.iter().find(|(granted, _)| **granted == *channel).map(|(_, grant)| grant)
    }

    /// The claims of the connection token for a channel that it lists.
    fn listed(&self, channel: &str) -> Option<Option<&SubscribeClaims>> {
        let Access::Client(claims) = &self.access else { return None };
        claims.server_side().find(|(listed, _)| *listed == channel).map(|(_, claims)| claims)
    }

    fn is_personal(&self, channel: &str) -> bool {
        let user = &*self.identity.user;
        let names = &self.policy.settings.personal_channels;
        names.iter().any(|name| personal_channel(name, user).is_ok_and(|personal| personal == channel))
    }

    /// The proxy that decides on a SUBSCRIBE: none where the client has the channel already by its connection, or a token.
    pub(super) fn proxy_of_subscribe(&self, channel: &str, token: Option<&str>) -> Option<ProxyId> {
        let is_decided = token.is_some()
            || self.is_backend()
            || self.is_personal(channel)
            || self.granted(channel).is_some()
            || self.listed(channel).is_some();
        self.calls.as_ref().and_then(|_| self.policy.subscribe_proxy(channel)).filter(|_| !is_decided)
    }

    /// Checks that this session may subscribe to a channel, with the `token` header of its frame if there is one.
    /// As in the client protocol; but a client may ask for subscriptions that are server-side there. `granted` gets the rights.
    pub(super) fn may_subscribe<T>(
        &self,
        channel: &str,
        token: Option<&str>,
        now: Now,
        granted: impl FnOnce(&SubscribeGranted<'_>) -> T,
    ) -> Result<T, Failure> {
        if self.is_backend() {
            return Ok(granted(&self.policy.server_side(channel, None)?));
        }
        if let Some(grant) = self.granted(channel) {
            let of_grant = self.policy.granted_by_proxy(channel, grant, now)?;
            let info = RawValue::from_string(String::from_utf8_lossy(&grant.info).into_owned()).ok();
            return Ok(granted(&SubscribeGranted { info: info.as_deref(), ..of_grant }));
        }
        let listed = self.listed(channel);
        if listed.is_some() || self.is_personal(channel) {
            return Ok(granted(&self.policy.server_side(channel, listed.flatten())?));
        }
        Ok(self.policy.may_subscribe(channel, &self.identity, token, now, granted)?)
    }
}

/// The failure for a client whose login is refused.
fn refused_login(refused: Refused) -> Failure {
    match refused {
        Refused::Error(ErrorCode::TOO_MANY_REQUESTS) => Failure::new(
            Disconnect::TOO_MANY_REQUESTS,
            "too many wrong logins from this address, come back later",
        ),
        refused => refused.into(),
    }
}
