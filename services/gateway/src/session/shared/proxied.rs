//! The calls to the backend that one session makes: who it is for the backend, which of its headers are kept, and what follows from
//! an answer in every protocol. `docs/protocols/proxy.md`.
//!
//! A session has [`SessionCalls`] only where some proxy is configured.

use std::{collections::HashSet, net::SocketAddr, sync::Arc, time::Duration};

use actix_http::header::HeaderMap;
use bytes::{Bytes, BytesMut};
use gorani_auth::{ChannelName, GrantedBy, SubscribeClaims, SubscribeGranted};
use gorani_broker::{DataKind, Idempotency, Publication, PublishOptions};
use gorani_protocol::client::{PayloadKind, write_payload};
use rand::RngExt;

use super::{
    IDEMPOTENCY_KEY_MAX_BYTES, IDEMPOTENCY_TTL, TAGS_MAX, TAGS_MAX_BYTES,
    deadlines::has_expired,
    policy::{ClientIdentity, Policy},
    recovery::retention,
};
use crate::{
    disconnect::{Disconnect, ErrorCode, Refused},
    proxy_call::{
        ConnectGrant, ProxyAnswer, ProxyCall, ProxyCaller, ProxyHeaders, ProxyId, ProxyOutcome, ProxyPayload,
        ProxyRequest, ProxyResult, PublishGrant, SubscribeGrant,
    },
    session::Now,
};

/// Headers of a connect command at most.
const EMULATED_MAX: usize = 64;
/// Bytes of their names and values together at most.
const EMULATED_MAX_BYTES: usize = 16 * 1024;
/// Bytes of one value at most.
const EMULATED_VALUE_MAX_BYTES: usize = 8 * 1024;

/// Time after which a backend that failed to answer is asked again about an expiry…
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// …give or take this part of it, so that those who were deferred together do not ask together.
const ASK_AGAIN_JITTER: f64 = 0.2;

/// The moment from now on at which a backend that failed is asked again.
pub(in crate::session) fn ask_again_after() -> Duration {
    let factor = crate::random::rng().random_range(1.0 - ASK_AGAIN_JITTER..1.0 + ASK_AGAIN_JITTER);
    ASK_AGAIN_AFTER.mul_f64(factor)
}

/// The calls of one session.
#[derive(Debug, Default)]
pub struct SessionCalls {
    caller: Arc<ProxyCaller>,
    /// Calls so far.
    number: u64,
}

impl SessionCalls {
    /// The calls of a session that this request opens; `None` where no proxy is configured. Of the headers those are kept that
    /// some proxy forwards.
    pub fn of_request(
        policy: &Policy,
        transport: &'static str,
        protocol: &'static str,
        headers: &HeaderMap,
        peer: Option<SocketAddr>,
    ) -> Option<Box<Self>> {
        if policy.proxies.is_empty() {
            return None;
        }
        let forwarded = &policy.proxies.http_headers;
        let values = forwarded
            .iter()
            .flat_map(|name| headers.get_all(name).map(|value| (name.clone(), value.clone())));
        let headers = ProxyHeaders {
            http: values.collect(),
            emulated: Vec::new(),
            address: peer.map(|peer| peer.ip().to_canonical()),
        };
        let caller = ProxyCaller { transport, protocol, headers: headers.into(), ..ProxyCaller::default() };
        Some(Box::new(Self { caller: caller.into(), ..Self::default() }))
    }

    /// The client, as the backend sees it.
    pub(in crate::session) fn caller(&self) -> &ProxyCaller {
        &self.caller
    }

    /// Keeps the headers of a connect command that some proxy forwards, and no others.
    ///
    /// # Errors
    /// They are too many or too large, or one would break a request apart.
    pub(in crate::session) fn emulate<'h>(
        &mut self,
        policy: &Policy,
        headers: impl Iterator<Item = (&'h str, &'h str)>,
    ) -> Result<(), Disconnect> {
        let listed = &policy.proxies.emulated_headers;
        if listed.is_empty() {
            return Ok(());
        }
        let (mut count, mut bytes, mut emulated) = (0, 0, Vec::new());
        for (name, value) in headers {
            count += 1;
            bytes += name.len() + value.len();
            let is_broken = value.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
            if is_broken
                || count > EMULATED_MAX
                || bytes > EMULATED_MAX_BYTES
                || value.len() > EMULATED_VALUE_MAX_BYTES
            {
                return Err(Disconnect::BAD_REQUEST);
            }
            if let Some(name) = listed.iter().find(|listed| listed.eq_ignore_ascii_case(name)) {
                emulated.push((name.clone(), value.into()));
            }
        }
        let caller = Arc::make_mut(&mut self.caller);
        Arc::make_mut(&mut caller.headers).emulated = emulated;
        Ok(())
    }

    /// The client has an identity; before it is known who it is, an id alone.
    pub(in crate::session) fn identify(&mut self, identity: &ClientIdentity) {
        let caller = Arc::make_mut(&mut self.caller);
        caller.user = identity.user.clone();
        caller.client = identity.client.clone();
    }

    /// The backend keeps this with the connection from now on; nothing changes where it is empty.
    pub(in crate::session) fn set_meta(&mut self, meta: &Bytes) {
        if !meta.is_empty() {
            Arc::make_mut(&mut self.caller).meta = meta.clone();
        }
    }

    /// A call.
    pub(in crate::session) fn ask(&mut self, proxy: ProxyId, request: ProxyRequest) -> Box<ProxyCall> {
        self.number += 1;
        Box::new(ProxyCall { proxy, caller: self.caller.clone(), number: self.number, request })
    }
}

impl ProxyPayload {
    /// The payload of a command.
    pub(in crate::session) fn of(payload: &gorani_protocol::client::Payload<'_>) -> Self {
        Self {
            data: Bytes::copy_from_slice(&payload.data),
            kind: crate::format::views::data_kind(payload.kind),
        }
    }

    /// The payload as the value of a field of a JSON reply.
    pub(in crate::session) fn to_json(&self) -> Bytes {
        let kind = match self.kind {
            DataKind::Json => return self.data.clone(),
            DataKind::Text => PayloadKind::Text,
            DataKind::Binary => PayloadKind::Binary,
        };
        let mut out = BytesMut::new();
        write_payload(&mut out, &self.data, kind);
        out.freeze()
    }
}

/// The result of a call that decides, and what refuses it instead: the backend's error, its disconnect, or that it could not be
/// asked.
///
/// # Errors
/// There is no result.
pub(in crate::session) fn decided(outcome: ProxyOutcome) -> Result<ProxyResult, Refused> {
    match outcome {
        Ok(answer) => result_of(answer),
        Err(failure) => Err(Refused::Backend(failure.of_decision().into())),
    }
}

/// The same for what the backend may have carried out: publish and rpc.
///
/// # Errors
/// There is no result.
pub(in crate::session) fn carried_out(outcome: ProxyOutcome) -> Result<ProxyResult, Refused> {
    match outcome {
        Ok(answer) => result_of(answer),
        Err(failure) => Err(Refused::Backend(failure.of_effect().into())),
    }
}

fn result_of(answer: ProxyAnswer) -> Result<ProxyResult, Refused> {
    match answer {
        ProxyAnswer::Result(result) => Ok(result),
        ProxyAnswer::Error(error) => Err(Refused::Backend(error)),
        ProxyAnswer::Disconnect(disconnect) => Err(Refused::Disconnect(disconnect)),
    }
}

/// The answer to the question if a connection or a subscription may go on.
#[derive(Debug)]
pub(in crate::session) enum Prolonged {
    /// It goes on until then.
    Until {
        /// Unix seconds, in the future.
        expire_at: u64,
        /// JSON that others see from now on; empty: as before.
        info: Bytes,
        /// JSON that the backend keeps from now on; empty: as before.
        meta: Bytes,
    },
    /// It ends now.
    Expired,
    /// The connection ends with the backend's own code.
    Ended(Disconnect),
    /// The backend could not be asked: it goes on, and is asked about again later.
    Deferred,
}

impl Prolonged {
    /// Reads an answer to refresh or sub_refresh.
    pub(in crate::session) fn of(outcome: ProxyOutcome, now: Now) -> Self {
        match outcome {
            Err(_) => Self::Deferred,
            Ok(ProxyAnswer::Disconnect(disconnect)) => Self::Ended(disconnect),
            Ok(ProxyAnswer::Result(ProxyResult::Refresh(Some(grant))))
                if !grant.expired && !has_expired(Some(grant.expire_at), now) =>
            {
                Self::Until { expire_at: grant.expire_at, info: grant.info, meta: grant.meta }
            }
            Ok(_) => Self::Expired,
        }
    }
}

impl Policy {
    /// The end that the settings give to a connect of a receiver that failed with this error, where it has no reply.
    pub fn disconnect_of_connect(&self, code: u32) -> Option<Disconnect> {
        let named = self.settings.connect_code_to_unidirectional_disconnect.close(code)?;
        Some(Disconnect::new(named.code, named.reason.clone()))
    }

    /// The proxy that decides on a connect with this token: one with a token is never its business.
    pub(in crate::session) fn connect_proxy(&self, token: &str) -> Option<ProxyId> {
        self.proxies.connect.filter(|_| token.is_empty())
    }

    /// The proxy that alone decides on subscribing to this channel without a token. Private and user-limited channels are none of
    /// its business: a token and the channel's name decide on them.
    pub(in crate::session) fn subscribe_proxy(&self, channel: &str) -> Option<ProxyId> {
        let proxy = self.proxies.channel(channel).subscribe?;
        let name = ChannelName::parse(channel);
        (!name.is_private && !name.is_user_limited()).then_some(proxy)
    }

    /// True if a subscription that was allowed by `by` may go on. What the rules granted is asked of them again. Where a proxy
    /// decides on the channel now, only a client that subscribes again can get its answer, so the rules no longer permit it.
    pub fn still_permits(&self, channel: &str, user: &str, by: GrantedBy) -> bool {
        let is_by_rules = matches!(by, GrantedBy::Options | GrantedBy::UserLimited);
        let is_for_proxy = is_by_rules && self.subscribe_proxy(channel).is_some();
        !is_for_proxy && self.rules.still_permits(channel, user, by)
    }

    /// The proxy that alone decides on publications of clients in this channel.
    pub(in crate::session) fn publish_proxy(&self, channel: &str) -> Option<ProxyId> {
        self.proxies.channel(channel).publish
    }

    /// The options and the expiry of a subscription that a backend grants.
    ///
    /// # Errors
    /// There is no such channel (102, 107), or the grant has expired (110).
    pub(in crate::session) fn granted_by_proxy(
        &self,
        channel: &str,
        grant: &SubscribeGrant,
        now: Now,
    ) -> Result<SubscribeGranted<'static>, Refused> {
        if channel.len() > self.settings.channel_max_bytes {
            return Err(ErrorCode::BAD_REQUEST.into());
        }
        let claims = SubscribeClaims { overrides: grant.overrides, ..SubscribeClaims::default() };
        let options =
            self.server_side(channel, Some(&claims)).map(|granted| (granted.options, granted.by))?;
        let expires_at = (grant.expire_at > 0).then_some(grant.expire_at);
        if has_expired(expires_at, now) {
            return Err(ErrorCode::EXPIRED.into());
        }
        Ok(SubscribeGranted { options: options.0, by: options.1, expires_at, info: None, data: None })
    }

    /// The publication of a client as the backend wants it, and how it is published. `None`: it is dropped.
    ///
    /// # Errors
    /// There is no such channel, or the answer breaks the bounds of publications.
    pub(in crate::session) fn publication_by_proxy(
        &self,
        channel: &str,
        sent: ProxyPayload,
        grant: PublishGrant,
    ) -> Result<Option<(Publication, PublishOptions)>, Refused> {
        if grant.drop {
            self.proxy_counts.dropped.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            return Ok(None);
        }
        let options = self.channel_options(channel)?;
        let tag_bytes: usize = grant.tags.iter().map(|(key, value)| key.len() + value.len()).sum();
        let data = grant.data.unwrap_or(sent);
        if grant.tags.len() > TAGS_MAX
            || tag_bytes > TAGS_MAX_BYTES
            || data.data.len() > self.settings.message_max_bytes
            || grant.idempotency_key.len() > IDEMPOTENCY_KEY_MAX_BYTES
        {
            self.log.write(crate::refusal_log::LogCause::Publish, channel, |channel| {
                format!(
                    "answer of the publish proxy refused: channel {channel}: its tags, its data or its idempotency key is too large"
                )
            });
            return Err(ErrorCode::INTERNAL.into());
        }
        let idempotency = (!grant.idempotency_key.is_empty())
            .then_some(Idempotency { key: grant.idempotency_key, ttl: IDEMPOTENCY_TTL });
        let publication =
            Publication { data: data.data, kind: data.kind, tags: grant.tags, ..Publication::default() };
        let options =
            PublishOptions { retention: retention(options), skip_history: grant.skip_history, idempotency };
        Ok(Some((publication, options)))
    }
}

impl ConnectGrant {
    /// Channels of the grant, each once, with what it says of them: `subs` before `channels`.
    pub(in crate::session) fn subscriptions(&self) -> Vec<(&str, SubscribeGrant)> {
        let mut known = HashSet::new();
        let with_options = self.subs.iter().map(|(channel, grant)| (channel.as_str(), grant.clone()));
        let plain = self.channels.iter().map(|channel| (channel.as_str(), SubscribeGrant::default()));
        with_options.chain(plain).filter(|(channel, _)| known.insert(*channel)).collect()
    }
}

#[cfg(test)]
mod tests;
