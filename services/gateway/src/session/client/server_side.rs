//! Subscriptions that the server makes and ends: those that come with the connection, and what a backend asks for.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use gorani_auth::{SubscribeClaims, SubscribeGranted};
use gorani_protocol::client::{Recover, SubscribePush};

use super::{
    ClientSession,
    pending_request::PendingRequest,
    subscription::{ClientSubscription, non_empty},
};
use crate::{
    disconnect::{Disconnect, ErrorCode, Refused, Unsubscribed},
    session::{Action, Actions, Now, Subscribed, Ticket, shared::recovery::RequestedFeatures},
    session_command::{ServerSubscribe, SessionCommand},
};

impl ClientSession {
    /// A subscription that comes with the connection: its client tracks the position of every history channel.
    pub(super) fn server_side_subscription(
        &self,
        channel: &str,
        claims: Option<&SubscribeClaims>,
    ) -> Result<ClientSubscription, Refused> {
        let granted = self.policy.server_side(channel, &self.identity.user, claims)?;
        Ok(self.granted_by_server(channel, &granted))
    }

    /// A subscription that its client does not manage itself.
    pub(super) fn granted_by_server(
        &self,
        channel: &str,
        granted: &SubscribeGranted<'_>,
    ) -> ClientSubscription {
        let mut subscription = self.granted(channel, granted, RequestedFeatures::ALL);
        subscription.server_side = true;
        subscription
    }

    /// A subscription that a client names in its connect, without a token of its own.
    pub(super) fn subscription_by_name(
        &self,
        channel: &str,
        now: Now,
    ) -> Result<ClientSubscription, Refused> {
        if channel.is_empty() || channel.len() > self.policy.settings.channel_max_bytes {
            return Err(ErrorCode::BAD_REQUEST.into());
        }
        let granted = |granted: &SubscribeGranted<'_>| self.granted_by_server(channel, granted);
        self.policy.may_subscribe(channel, &self.identity, None, now, granted)
    }

    /// Adds the server-side subscriptions that a returning client had, as far as its user may subscribe to their channels:
    /// a backend had made them, and would not learn that they are gone. Others are no error; the client sees that they are missing.
    pub(super) fn add_returning(
        &self,
        returning: &BTreeMap<Cow<'_, str>, Recover<'_>>,
        subscriptions: &mut Vec<ClientSubscription>,
        now: Now,
    ) -> Result<(), Disconnect> {
        let known: HashSet<Arc<str>> =
            subscriptions.iter().map(|subscription| subscription.channel.clone()).collect();
        for channel in returning.keys().filter(|channel| !known.contains(&***channel)) {
            let Ok(subscription) = self.subscription_by_name(channel, now) else { continue };
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
        self.forget_epoch(channel, why == Unsubscribed::INSUFFICIENT_STATE);
        actions.forget_release(channel);
        self.write_unsubscribed(channel, why, actions);
        actions.push(if why == Unsubscribed::INSUFFICIENT_STATE {
            Action::Interrupt(subscription.channel)
        } else {
            Action::Unsubscribe(subscription.channel)
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

    /// A backend has something done to the client.
    pub(super) fn run_backend_command(&mut self, command: &SessionCommand, now: Now, actions: &mut Actions) {
        match command {
            SessionCommand::Disconnect { disconnect, .. } => self.close(disconnect.clone(), actions),
            SessionCommand::Unsubscribe { channel, .. } => {
                self.server_unsubscribe(channel, Unsubscribed::SERVER, actions);
            }
            SessionCommand::Subscribe { subscribe, .. } => self.server_subscribe(subscribe, actions),
            SessionCommand::Refresh { expired, expire_at, .. } => {
                self.server_refresh(*expired, *expire_at, now, actions);
            }
        }
    }

    /// A backend subscribes the client.
    fn server_subscribe(&mut self, subscribe: &ServerSubscribe, actions: &mut Actions) {
        let ServerSubscribe { channel, info, data, recover } = subscribe;
        if !self.is_connected() || self.subscription(channel).is_some() {
            return;
        }
        if self.subscriptions.len() >= self.policy.settings.max_subscriptions {
            return self.close(Disconnect::CHANNEL_LIMIT, actions);
        }
        let Ok(mut subscription) = self.server_side_subscription(channel, None) else {
            tracing::warn!(channel, "server-side subscribe to an unknown channel");
            return;
        };
        subscription.info = self.identity.info_for(info.clone());
        subscription.data = data.clone();
        subscription.recover = recover.clone().filter(|_| subscription.recoverable);
        let pending = PendingRequest::ServerSubscribe { channel: subscription.channel.clone() };
        actions.push(self.begin_subscription(subscription, pending, self.policy.settings.reply_max_bytes));
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
        self.write_subscribed(channel, &pushed, actions);
        if subscribed.publications.is_empty() {
            actions.release(channel);
        } else {
            actions.push(Action::Replay(channel.clone(), subscribed.publications, subscribed.permit));
        }
    }
}
