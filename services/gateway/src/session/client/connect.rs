//! From the connect command to its reply: token, identity, server-side subscriptions. `docs/protocols/client.md` §3.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use gorani_auth::{ConnectionClaims, personal_channel};
use gorani_broker::{Position, Publication};
use gorani_protocol::client::{Connect, ConnectResult, PublicationFields, Recover, SubscribeResult};

use super::{
    ClientSession, OutputFormat,
    large_reply::{LargeReply, NextStep},
    state::{AdmittedClient, ClientState, ClientSubscription, Connecting, PendingRequest, non_empty, views},
};
use crate::{
    disconnect::{Disconnect, ErrorCode, Refused},
    format::position::Unrecovered,
    memory::ReplyPermit,
    refusal_log::LogCause,
    session::{
        Action, Actions, ClientDescription, Now, Subscribed, Ticket,
        shared::{
            deadlines::ttl,
            policy::{ClientIdentity, raw_bytes},
        },
    },
};

impl ClientSession {
    pub(super) fn connect(&mut self, id: u32, connect: &Connect<'_>, now: Now, actions: &mut Actions) {
        self.sdk = self.policy.counts.connected(&connect.name, &connect.version);
        if self.policy.describes_clients {
            let description = ClientDescription::of_sdk(&connect.name, &connect.version);
            actions.push(Action::Describe(Box::new(description)));
        }
        if self.calls.is_some() && self.asks_about_connect(id, connect, actions) {
            return;
        }
        let admitted = self.admit(&connect.token, now);
        self.begin_client(id, admitted, &connect.subs, now, actions);
    }

    /// Begins a client that is admitted, with the subscriptions of the server that it had before.
    pub(super) fn begin_client(
        &mut self,
        id: u32,
        admitted: Result<AdmittedClient, Refused>,
        returning: &BTreeMap<Cow<'_, str>, Recover<'_>>,
        now: Now,
        actions: &mut Actions,
    ) {
        let mut admitted = match admitted {
            Ok(admitted) => admitted,
            Err(refused) => return self.refuse_connect(id, refused, actions),
        };
        self.identify(&admitted.meta, actions);
        if let Err(disconnect) = self.add_returning(returning, &mut admitted.subscriptions, now) {
            return self.refuse_connect(id, Refused::Disconnect(disconnect), actions);
        }
        for subscription in &mut admitted.subscriptions {
            let recover = returning.get(&*subscription.channel).filter(|recover| recover.recover);
            if let Some(recover) = recover {
                let epoch = (*recover.epoch).into();
                subscription.recover_from(Position { offset: recover.offset, epoch });
            }
        }
        self.begin_connect(id, admitted, false, now, actions);
    }

    /// Admits a client by its token.
    pub(super) fn admit(&mut self, token: &str, now: Now) -> Result<AdmittedClient, Refused> {
        self.budget.count_token();
        let token = (!token.is_empty()).then_some(token);
        let claims = self.policy.authenticate(token, self.login_limit.as_deref(), now)?;
        self.identity = ClientIdentity::of_claims(&claims, self.policy.new_client_id());
        if let Some(activity) = &mut self.activity {
            activity.set_token(claims.id.as_deref());
        }
        let subscriptions = self.server_side(&claims)?;
        let meta = raw_bytes(claims.meta.as_deref());
        Ok(AdmittedClient { subscriptions, expires_at: claims.expires_at, data: Bytes::new(), meta })
    }

    /// Sends the client's identity to the hub.
    pub(super) fn identify(&mut self, meta: &Bytes, actions: &mut Actions) {
        if let Some(calls) = &mut self.calls {
            calls.session.identify(&self.identity);
        }
        let ClientIdentity { user, client, .. } = &self.identity;
        actions.push(Action::Identify { user: user.clone(), client: client.clone() });
        self.keep_meta(meta, actions);
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

    /// Begins the subscriptions that come with the connection. `reject`: all are recovered, or none begins.
    pub(super) fn begin_connect(
        &mut self,
        id: u32,
        admitted: AdmittedClient,
        reject: bool,
        now: Now,
        actions: &mut Actions,
    ) {
        let AdmittedClient { subscriptions, expires_at, data, meta: _ } = admitted;
        self.clock.expires = self.end_of_connection(expires_at, now);
        self.state = ClientState::Connecting(Box::new(Connecting {
            id,
            expires_at,
            data,
            reject,
            subscribed: BTreeMap::new(),
            failed: None,
            under_way: subscriptions.len(),
            held: Vec::new(),
        }));
        let recover_max_bytes = self.recover_max_bytes(&subscriptions);
        let mut subscribes = Vec::with_capacity(subscriptions.len());
        for subscription in subscriptions {
            let pending = PendingRequest::ConnectSubscribe { channel: subscription.channel.clone() };
            subscribes.push(self.begin_subscription(subscription, pending, recover_max_bytes));
        }
        self.clock.set_subscription_expiry(&self.subscriptions);
        self.enter_user(subscribes, now, actions);
    }

    /// Bytes that each of these may recover. If they come in one reply they share its size limit; a message of the largest
    /// kind is always brought.
    fn recover_max_bytes(&self, subscriptions: &[ClientSubscription]) -> usize {
        let most = self.policy.settings.reply_max_bytes;
        if self.traits.format != OutputFormat::Commands {
            return most;
        }
        let recovering = subscriptions.iter().filter(|subscription| subscription.recover.is_some()).count();
        (most / recovering.max(1)).max(self.policy.settings.message_max_bytes)
    }

    /// Begins the subscriptions; if the user's connections are limited, not before the client has one of their slots.
    fn enter_user(&mut self, subscribes: Vec<Action>, now: Now, actions: &mut Actions) {
        let Some(limit) = self.policy.connection_limit(&self.identity.user) else {
            subscribes.into_iter().for_each(|subscribe| actions.push(subscribe));
            return self.try_finish_connect(now, actions);
        };
        let ticket = self.ticket(PendingRequest::Enter);
        if let ClientState::Connecting(connecting) = &mut self.state {
            connecting.under_way += 1;
            connecting.held = subscribes;
        }
        actions.push(Action::Enter(ticket, limit));
    }

    /// The client got its connection slot, or none.
    pub(super) fn on_entered(&mut self, outcome: Result<(), Disconnect>, now: Now, actions: &mut Actions) {
        let ClientState::Connecting(connecting) = &mut self.state else { return };
        if let Err(disconnect) = outcome {
            let id = connecting.id;
            return self.refuse_connect(id, Refused::Disconnect(disconnect), actions);
        }
        connecting.under_way -= 1;
        std::mem::take(&mut connecting.held).into_iter().for_each(|subscribe| actions.push(subscribe));
        self.try_finish_connect(now, actions);
    }

    /// The subscriptions that come with the connection: those of the token and the personal channels.
    fn server_side(&self, claims: &ConnectionClaims) -> Result<Vec<ClientSubscription>, Refused> {
        let most = self.policy.settings.max_subscriptions;
        let mut all = self.personal_subscriptions(&claims.user)?;
        let mut known: HashSet<Arc<str>> =
            all.iter().map(|subscription| subscription.channel.clone()).collect();
        for (channel, claims) in claims.server_side() {
            if known.contains(channel) {
                continue;
            }
            let subscription = self.server_side_subscription(channel, claims)?;
            known.insert(subscription.channel.clone());
            all.push(subscription);
            if all.len() > most {
                // A token may name thousands more: they are not checked.
                break;
            }
        }
        if all.len() > most {
            return Err(Refused::Disconnect(Disconnect::CHANNEL_LIMIT));
        }
        Ok(all)
    }

    /// The subscriptions of a user's personal channels.
    pub(super) fn personal_subscriptions(&self, user: &str) -> Result<Vec<ClientSubscription>, Refused> {
        let mut all = Vec::new();
        for name in self.policy.settings.personal_channels.iter().filter(|_| !user.is_empty()) {
            // The settings' name is good (`Settings::validate`), so it is the user's id that no channel can carry.
            match personal_channel(name, user) {
                Ok(channel) => all.push(self.server_side_subscription(&channel, None)?),
                Err(reason) => self.policy.log.write(LogCause::PersonalChannel, name, |name| {
                    format!(
                        "no personal channel {name}#… of client.personal_channels for user {user:?}: {reason}"
                    )
                }),
            }
        }
        Ok(all)
    }

    /// One server-side subscription of a connect has an outcome.
    pub(super) fn on_server_subscribed(
        &mut self,
        ticket: Ticket,
        channel: Arc<str>,
        outcome: Result<Subscribed, ErrorCode>,
        now: Now,
        actions: &mut Actions,
    ) {
        let ClientState::Connecting(connecting) = &mut self.state else { return };
        connecting.under_way -= 1;
        match outcome {
            Ok(subscribed) => {
                let subscription = self.subscriptions.iter().find(|known| known.channel == channel);
                let is_unrecovered =
                    subscription.is_some_and(|known| known.unrecovered(&subscribed).is_some());
                if connecting.reject && is_unrecovered {
                    connecting.failed = Some(ErrorCode::UNRECOVERABLE_POSITION);
                }
                connecting.subscribed.insert(channel, subscribed);
            }
            Err(error) => {
                connecting.failed = Some(error);
                self.subscriptions.retain(|subscription| subscription.under_way != Some(ticket));
            }
        }
        self.try_finish_connect(now, actions);
    }

    fn try_finish_connect(&mut self, now: Now, actions: &mut Actions) {
        match std::mem::replace(&mut self.state, ClientState::New) {
            ClientState::Connecting(connecting) if connecting.under_way == 0 => {
                self.finish_connect(*connecting, now, actions);
            }
            other => self.state = other,
        }
    }

    fn finish_connect(&mut self, mut connecting: Connecting, now: Now, actions: &mut Actions) {
        if let Some(error) = connecting.failed {
            for subscription in std::mem::take(&mut self.subscriptions) {
                actions.push(Action::Unsubscribe(subscription.channel));
            }
            self.clock.expires = None;
            return self.refuse_connect(connecting.id, error.into(), actions);
        }
        // One that the server ended meanwhile, and said so, is no part of the reply.
        connecting.subscribed.retain(|channel, _| self.subscription(channel).is_some());
        let (settings, form) = (&self.policy.settings, self.traits.form);
        let is_receiver = self.traits.format != OutputFormat::Commands;
        let is_large = connecting.subscribed.values().any(|subscribed| subscribed.permit.is_some());
        // A receiver is brought what it missed like everything else, an object for each publication.
        let replayed: Vec<_> =
            connecting.subscribed.iter_mut().filter(|_| is_receiver).map(take_missed).collect();
        let is_large = is_large && !is_receiver;
        let views: Vec<Vec<PublicationFields<'_>>> = connecting
            .subscribed
            .values()
            .map(|subscribed| views(subscribed, &self.identity.client))
            .collect();
        let views = views.iter().map(Vec::as_slice);
        let mut subs: Vec<(&str, SubscribeResult<'_>)> = Vec::with_capacity(connecting.subscribed.len());
        for ((channel, subscribed), publications) in connecting.subscribed.iter().zip(views) {
            if let Some(subscription) = self.subscription(channel) {
                let mut result = subscription.result(subscribed, publications, now);
                if is_receiver {
                    result.unrecovered_reason =
                        subscription.unrecovered(subscribed).map_or("", Unrecovered::reason);
                }
                subs.push((channel, result));
            }
        }
        // An end that the backend is asked about is none that the client has to do something about.
        let told_end = connecting.expires_at.filter(|_| self.policy.proxies.refresh.is_none());
        let result = ConnectResult {
            client: &self.identity.client,
            version: env!("CARGO_PKG_VERSION"),
            expires: told_end.is_some(),
            ttl: ttl(told_end, now),
            data: non_empty(&connecting.data),
            subs: &subs,
            // The transport's own pings are seen by no SDK: one that was promised others would wait for them.
            ping: if self.traits.native_ping { 0 } else { seconds(settings.ping_interval) },
            pong: !self.traits.native_ping && !is_receiver,
            session: self.traits.emulation.as_deref().unwrap_or_default(),
            node: self.traits.emulation.as_ref().map_or("", |_| &*self.policy.node_id),
            time: now.unix_ms,
        };
        if is_large {
            let mut around = BytesMut::new();
            let places = form.reply_connect_around(connecting.id, &result, &mut around);
            let subscribed = std::mem::take(&mut connecting.subscribed);
            let mut reply = LargeReply::new(
                form,
                around,
                NextStep::Connected { channels: subscribed.keys().cloned().collect() },
            );
            reply.add_recovered(places, subscribed.into_values(), &self.identity.client);
            // As long as it is written, the client is not connected, and nothing else is said to it.
            connecting.under_way = 1;
            self.state = ClientState::Connecting(Box::new(connecting));
            return self.large_replies.push_back(reply);
        }
        if is_receiver {
            self.write_connected(&result, actions);
        } else {
            actions.reply(form, |out| form.reply_connect(connecting.id, &result, out));
        }
        self.connected(now);
        for (channel, missed, permit) in replayed {
            if !missed.is_empty() {
                connecting.subscribed.remove(&channel);
                if let Some(subscription) = self.subscription_mut(&channel) {
                    subscription.under_way = None;
                }
                actions.push(Action::Replay(channel, missed, permit));
            }
        }
        for channel in connecting.subscribed.keys() {
            self.accept(channel, actions);
        }
    }

    /// The reply to the connect is written.
    pub(super) fn connected(&mut self, now: Now) {
        self.state = ClientState::Connected;
        self.login_limit = None;
        self.clock.start(self.policy.settings.ping_interval, now.instant);
        self.count_success();
    }

    /// A subscription of the connect begins, unless the server ended it meanwhile.
    pub(super) fn accept(&mut self, channel: &Arc<str>, actions: &mut Actions) {
        if let Some(subscription) = self.subscription_mut(channel) {
            subscription.under_way = None;
            actions.release(channel);
        }
    }
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

type MissedPublications = (Arc<str>, Vec<Arc<Publication>>, Option<ReplyPermit>);

/// The publications that a subscription recovered, and the permit for them.
fn take_missed((channel, subscribed): (&Arc<str>, &mut Subscribed)) -> MissedPublications {
    (channel.clone(), std::mem::take(&mut subscribed.publications), subscribed.permit.take())
}
