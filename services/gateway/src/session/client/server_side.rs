//! Subscriptions that the server makes and ends: those that come with the connection, what a backend asks for, and those whose
//! epoch ended.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use bytes::BytesMut;
use gorani_auth::{SubscribeClaims, SubscribeGranted};
use gorani_broker::Position;
use gorani_protocol::client::{ClientForm, Recover, SubscribePush, plain};
use rand::RngExt;

use super::{
    ClientSession, OutputFormat,
    state::{ClientSubscription, PendingRequest, non_empty},
};
use crate::{
    disconnect::{Disconnect, ErrorCode, Refused, Unsubscribed},
    session::{
        Action, Actions, EndedEpoch, Now, Subscribed, Ticket,
        shared::{deadlines::is_due, enforcement::PermissionCheck, recovery::RequestedFeatures},
    },
    session_command::{ServerSubscribe, SessionCommand},
};

/// Between these times after a failover clients are asked to subscribe anew, so that they do not all come at once.
const SOONEST: Duration = Duration::from_secs(10);
const LATEST: Duration = Duration::from_secs(100);

impl ClientSession {
    /// A subscription that comes with the connection: its client tracks the position of every history channel.
    pub(super) fn server_side_subscription(
        &self,
        channel: &str,
        claims: Option<&SubscribeClaims>,
    ) -> Result<ClientSubscription, Refused> {
        let granted = self.policy.server_side(channel, claims)?;
        Ok(self.granted_by_server(channel, &granted, RequestedFeatures::BY_SERVER))
    }

    /// A subscription that its client does not manage itself.
    pub(super) fn granted_by_server(
        &self,
        channel: &str,
        granted: &SubscribeGranted<'_>,
        requested: RequestedFeatures,
    ) -> ClientSubscription {
        let mut subscription = self.granted(channel, granted, requested);
        subscription.server_side = true;
        subscription
    }

    /// A subscription that a client names in its connect, without a token of its own.
    pub(super) fn subscription_by_name(
        &self,
        channel: &str,
        requested: RequestedFeatures,
        now: Now,
    ) -> Result<ClientSubscription, Refused> {
        if channel.is_empty() || channel.len() > self.policy.settings.channel_max_bytes {
            return Err(ErrorCode::BAD_REQUEST.into());
        }
        let granted = |granted: &SubscribeGranted<'_>| self.granted_by_server(channel, granted, requested);
        Ok(self.policy.may_subscribe(channel, &self.identity, None, now, granted)?)
    }

    /// Adds the server-side subscriptions that a returning client had, as far as its user may subscribe to their channels: a
    /// backend had made them, and would not learn that they are gone. Others are no error; the client sees that they are missing.
    pub(super) fn add_returning(
        &self,
        returning: &BTreeMap<Cow<'_, str>, Recover<'_>>,
        subscriptions: &mut Vec<ClientSubscription>,
        now: Now,
    ) -> Result<(), Disconnect> {
        let known: HashSet<Arc<str>> =
            subscriptions.iter().map(|subscription| subscription.channel.clone()).collect();
        for channel in returning.keys().filter(|channel| !known.contains(&***channel)) {
            let requested = RequestedFeatures::BY_SERVER;
            let Ok(subscription) = self.subscription_by_name(channel, requested, now) else { continue };
            if subscriptions.len() >= self.policy.settings.max_subscriptions {
                return Err(Disconnect::CHANNEL_LIMIT);
            }
            subscriptions.push(subscription);
        }
        Ok(())
    }

    /// The server ends a subscription and says why.
    pub(super) fn server_unsubscribe(&mut self, channel: &str, why: Unsubscribed, actions: &mut Actions) {
        let Some(subscription) = self.remove(channel) else { return };
        let pending = subscription.under_way.and_then(|ticket| self.pending.get(&ticket));
        if pending.is_some_and(|pending| pending.proxied().is_some()) {
            // The backend is still asked about it: there is nothing to leave.
            return self.write_unsubscribed(channel, why, actions);
        }
        self.forget_epoch(channel, why == Unsubscribed::INSUFFICIENT_STATE);
        actions.forget_release(channel);
        self.write_unsubscribed(channel, why, actions);
        actions.push(if why == Unsubscribed::INSUFFICIENT_STATE {
            Action::Interrupt(subscription.channel)
        } else {
            Action::EndSubscription(subscription.channel, why)
        });
        self.clock.set_subscription_expiry(&self.subscriptions);
    }

    /// The stream of a channel broke: the client has to come back to it and recover.
    pub(super) fn lose_position(&mut self, channel: &str, actions: &mut Actions) {
        match self.subscription(channel) {
            Some(subscription) if subscription.server_side => {
                self.close(Disconnect::INSUFFICIENT_STATE, actions)
            }
            Some(_) => self.server_unsubscribe(channel, Unsubscribed::INSUFFICIENT_STATE, actions),
            None => {}
        }
    }

    /// Ends a subscription that the settings did not permit when it was counted, unless they do now.
    pub(super) fn check_permission(&mut self, check: &PermissionCheck, actions: &mut Actions) {
        let Some(subscription) = self.subscription(&check.channel) else { return };
        if !self.policy.still_permits(&check.channel, &self.identity.user, subscription.by) {
            check.note_ended();
            self.server_unsubscribe(&check.channel, Unsubscribed::NOT_PERMITTED, actions);
        }
    }

    /// A backend has something done to the client.
    pub(super) fn run_backend_command(&mut self, command: &SessionCommand, now: Now, actions: &mut Actions) {
        if let Some(channels) = self.calls.as_mut().and_then(|calls| calls.channels.as_mut()) {
            channels.apply(command);
        }
        match command {
            SessionCommand::Disconnect { disconnect, .. } => self.close(disconnect.clone(), actions),
            SessionCommand::Unsubscribe { channel, .. } => {
                self.server_unsubscribe(channel, Unsubscribed::SERVER, actions);
            }
            SessionCommand::Subscribe { subscribe, .. } => self.server_subscribe(subscribe, now, actions),
            SessionCommand::Refresh { expired, expire_at, info, .. } => {
                self.server_refresh(*expired, *expire_at, info, now, actions);
            }
        }
    }

    /// A backend subscribes the client.
    fn server_subscribe(&mut self, subscribe: &ServerSubscribe, now: Now, actions: &mut Actions) {
        let ServerSubscribe { channel, info, data, recover, expire_at, overrides } = subscribe;
        if !self.is_connected() || self.subscription(channel).is_some() {
            return;
        }
        if self.subscriptions.len() >= self.policy.settings.max_subscriptions {
            return self.close(Disconnect::CHANNEL_LIMIT, actions);
        }
        let claims = SubscribeClaims { overrides: *overrides, ..SubscribeClaims::default() };
        // A channel of an unknown namespace is logged by the policy.
        let Ok(mut subscription) = self.server_side_subscription(channel, Some(&claims)) else { return };
        subscription.info = self.identity.info_for(info.clone());
        subscription.data = data.clone();
        subscription.recover = recover.clone().filter(|_| subscription.recoverable);
        subscription.expires_at = *expire_at;
        subscription.expires = self.end_of_subscription(&subscription, now);
        let pending = PendingRequest::ServerSubscribe { channel: subscription.channel.clone() };
        actions.push(self.begin_subscription(subscription, pending, self.policy.settings.reply_max_bytes));
        self.clock.set_subscription_expiry(&self.subscriptions);
    }

    /// A backend's subscription has its outcome.
    pub(super) fn on_server_subscribe_outcome(
        &mut self,
        ticket: Ticket,
        channel: &Arc<str>,
        outcome: Result<Subscribed, ErrorCode>,
        actions: &mut Actions,
    ) {
        let subscribed = match outcome {
            Ok(subscribed) => subscribed,
            Err(error) => {
                tracing::warn!(%channel, %error, "server-side subscription failed");
                if self.under_way(channel, ticket).is_some() {
                    self.remove(channel);
                }
                return;
            }
        };
        let Some(subscription) = self.under_way(channel, ticket) else { return };
        subscription.under_way = None;
        let data = subscription.data.clone();
        let requested = subscription.recover.as_ref().filter(|_| subscribed.recovered);
        let pushed = SubscribePush {
            recoverable: subscription.recoverable,
            epoch: subscribed.top.as_ref().map_or("", |top| &top.epoch),
            offset: requested.or(subscribed.top.as_ref()).map_or(0, |position| position.offset),
            positioned: subscription.positioned,
            data: non_empty(&data),
        };
        self.write_push(
            actions,
            |form, out| form.push_subscribe(channel, &pushed, out),
            |out| plain::subscribe(channel, &pushed, out),
        );
        if subscribed.publications.is_empty() {
            actions.release(channel);
        } else {
            actions.push(Action::Replay(channel.clone(), subscribed.publications, subscribed.permit));
        }
    }

    pub(super) fn write_unsubscribed(&self, channel: &str, why: Unsubscribed, actions: &mut Actions) {
        self.write_push(
            actions,
            |form, out| form.push_unsubscribe(channel, why.code, why.reason, out),
            |out| plain::unsubscribe(channel, why.code, why.reason, out),
        );
    }

    pub(super) fn write_refreshed(&self, expires: bool, ttl: u32, actions: &mut Actions) {
        self.write_push(
            actions,
            |form, out| form.push_refresh(expires, ttl, out),
            |out| plain::refresh(expires, ttl, out),
        );
    }

    /// Writes an object in the session's output format: the first to clients with commands, the second to receivers.
    fn write_push(
        &self,
        actions: &mut Actions,
        with_envelope: impl FnOnce(ClientForm, &mut BytesMut),
        plain: impl FnOnce(&mut BytesMut),
    ) {
        match self.traits.format {
            OutputFormat::Commands => {
                let form = self.traits.form;
                actions.reply(form, |out| with_envelope(form, out));
            }
            OutputFormat::Plain => actions.line(plain),
            OutputFormat::WithPositions => actions.line(|out| {
                // It changes no receiver's position.
                out.extend_from_slice(b"\n");
                plain(out);
            }),
        }
    }
}

/// Epochs that ended while the client stayed connected (record 34). The stream of a channel goes on in another one, the client
/// was given everything, and knows it by the epoch of its subscribe still. Its protocol has no word for a new one but to
/// subscribe anew. So it is asked to, a while later, and recovers at once; otherwise it would learn that something is missing
/// when it next comes back, although nothing is.
impl ClientSession {
    /// The epoch of a channel ended, and its client goes on in the next one.
    pub(super) fn epoch_ended(&mut self, ended: EndedEpoch, now: Now) {
        // Receivers get the epoch with each publication; only a new connection could renew a server-side subscription.
        let is_concerned =
            self.subscription(&ended.channel).is_some_and(|known| known.recoverable && !known.server_side);
        if self.traits.format != OutputFormat::Commands || !is_concerned {
            return;
        }
        let epochs = self.clock.epochs.get_or_insert_default();
        match epochs.stale.iter_mut().find(|known| known.channel == ended.channel) {
            // Its client knows the first of them.
            Some(known) => known.next = ended.next,
            None => epochs.stale.push(ended),
        }
        let pause = crate::random::rng().random_range(SOONEST..LATEST);
        epochs.by.get_or_insert(now.instant + pause);
    }

    /// Asks the client to subscribe anew, if it is time.
    pub(super) fn look_at_epochs(&mut self, now: Now, actions: &mut Actions) {
        let Some(epochs) = self.clock.epochs.as_mut().filter(|epochs| is_due(epochs.by, now)) else {
            return;
        };
        epochs.by = None;
        epochs.returning = Vec::new();
        let channels: Vec<Arc<str>> = epochs.stale.iter().map(|ended| ended.channel.clone()).collect();
        for channel in channels {
            self.server_unsubscribe(&channel, Unsubscribed::INSUFFICIENT_STATE, actions);
        }
    }

    /// A subscription has ended. `comes_back`: its client is to subscribe again from its position.
    pub(super) fn forget_epoch(&mut self, channel: &str, comes_back: bool) {
        let Some(epochs) = &mut self.clock.epochs else { return };
        epochs.returning.retain(|ended| *ended.channel != *channel);
        if let Some(index) = epochs.stale.iter().position(|ended| *ended.channel == *channel) {
            let ended = epochs.stale.swap_remove(index);
            if comes_back {
                epochs.returning.push(ended);
            }
        }
        if epochs.stale.is_empty() && epochs.returning.is_empty() {
            self.clock.epochs = None;
        }
    }

    /// Moves the position from which a client recovers into the current epoch, in which it went on without knowing.
    pub(super) fn renew_epoch(&mut self, channel: &str, from: Option<&mut Position>) {
        let ended = self
            .clock
            .epochs
            .as_ref()
            .and_then(|epochs| epochs.returning.iter().find(|ended| *ended.channel == *channel));
        if let (Some(ended), Some(from)) = (ended, from)
            && from.epoch == ended.epoch
        {
            from.epoch = ended.next.clone();
        }
        self.forget_epoch(channel, false);
    }
}
