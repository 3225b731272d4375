//! The subscriptions of a session: subscribe, unsubscribe and refresh, asked for by the client or by a backend.
//! `docs/protocols/client.md` §5 and §6.

use std::sync::Arc;

use bytes::BytesMut;
use gorani_auth::{GrantedBy, SubscribeGranted};
use gorani_broker::Position;
use gorani_protocol::client::Subscribe;

use super::{
    ClientSession,
    large_reply::{LargeReply, NextStep},
    state::{ClientSubscription, PendingRequest, views},
};
use crate::{
    disconnect::{Disconnect, ErrorCode, Refused, Unsubscribed},
    format::views::reserve,
    session::{
        Action, Actions, Now, Subscribed, Ticket,
        shared::{
            deadlines::{end_of, ttl},
            policy::raw_bytes,
            recovery::{RequestedFeatures, SubscriptionFeatures},
        },
    },
};

/// A subscribe of the client that has its outcome.
pub(super) struct SubscribeCommand<'a> {
    pub(super) ticket: Ticket,
    pub(super) id: u32,
    pub(super) channel: &'a Arc<str>,
    /// A position that cannot be recovered is an error.
    pub(super) reject: bool,
}

impl ClientSession {
    pub(super) fn subscription(&self, channel: &str) -> Option<&ClientSubscription> {
        self.subscriptions.iter().find(|subscription| *subscription.channel == *channel)
    }

    pub(super) fn subscription_mut(&mut self, channel: &str) -> Option<&mut ClientSubscription> {
        self.subscriptions.iter_mut().find(|subscription| *subscription.channel == *channel)
    }

    /// Takes a subscription out of the session.
    pub(super) fn remove(&mut self, channel: &str) -> Option<ClientSubscription> {
        let index = self.subscriptions.iter().position(|subscription| *subscription.channel == *channel)?;
        if let Some(calls) = &mut self.calls {
            calls.sub_refreshes.retain(|(of, _)| **of != *channel);
        }
        Some(self.subscriptions.swap_remove(index))
    }

    /// Enters a subscription, which is under way until the outcome with its ticket.
    pub(super) fn begin_subscription(
        &mut self,
        mut subscription: ClientSubscription,
        pending: PendingRequest,
        recover_max_bytes: usize,
    ) -> Action {
        let ticket = self.ticket(pending);
        subscription.under_way = Some(ticket);
        let request = subscription.request(recover_max_bytes);
        if self.subscriptions.is_empty() {
            // Most clients have one, and a vector would have room for four of them.
            self.subscriptions.reserve_exact(1);
        }
        self.subscriptions.push(subscription);
        Action::Subscribe(ticket, request)
    }

    /// The subscription that an outcome belongs to; `None` if it has ended meanwhile, whether or not there is a newer one.
    pub(super) fn under_way(&mut self, channel: &str, ticket: Ticket) -> Option<&mut ClientSubscription> {
        self.subscription_mut(channel).filter(|subscription| subscription.under_way == Some(ticket))
    }

    /// The client asks for a channel.
    pub(super) fn subscribe(&mut self, id: u32, subscribe: &Subscribe<'_>, now: Now, actions: &mut Actions) {
        if !subscribe.token.is_empty() {
            self.budget.count_token();
        }
        if self.calls.is_some() && self.asks_about_subscribe(id, subscribe, actions) {
            return;
        }
        match self.grant(subscribe, now) {
            Ok(mut subscription) => {
                self.renew_epoch(&subscribe.channel, subscription.recover.as_mut());
                let reject = subscribe.rejects_unrecovered();
                let pending = PendingRequest::Subscribe { id, channel: subscription.channel.clone(), reject };
                actions.push(self.begin_subscription(
                    subscription,
                    pending,
                    self.policy.settings.reply_max_bytes,
                ));
                self.clock.set_subscription_expiry(&self.subscriptions);
            }
            Err(refused) => {
                actions.push(Action::NoteRefused((*subscribe.channel).into(), refused.code()));
                self.refuse_command(id, refused, actions);
            }
        }
    }

    /// The checks of a subscribe that come before it is asked who may have the channel.
    pub(super) fn may_begin(&self, subscribe: &Subscribe<'_>) -> Result<(), Refused> {
        let settings = &self.policy.settings;
        let channel: &str = &subscribe.channel;
        if channel.is_empty() || channel.len() > settings.channel_max_bytes {
            return Err(ErrorCode::BAD_REQUEST.into());
        }
        if self.subscription(channel).is_some() {
            return Err(ErrorCode::ALREADY_SUBSCRIBED.into());
        }
        if self.subscriptions.len() >= settings.max_subscriptions {
            return Err(ErrorCode::LIMIT_EXCEEDED.into());
        }
        // Delta compression is optional for the client and ignored; a filter or another kind of subscription is not.
        if subscribe.filter.is_some() || subscribe.kind != 0 {
            return Err(ErrorCode::NOT_AVAILABLE.into());
        }
        Ok(())
    }

    fn grant(&self, subscribe: &Subscribe<'_>, now: Now) -> Result<ClientSubscription, Refused> {
        self.may_begin(subscribe)?;
        let channel: &str = &subscribe.channel;
        let token = (!subscribe.token.is_empty()).then_some(&*subscribe.token);
        let requested = requested_features(subscribe);
        let granted = |granted: &SubscribeGranted<'_>| self.granted(channel, granted, requested);
        let mut subscription = self.policy.may_subscribe(channel, &self.identity, token, now, granted)?;
        subscription.expires = self.end_of_subscription(&subscription, now);
        if let Some(position) = requested_position(subscribe) {
            subscription.recover_from(position);
        }
        Ok(subscription)
    }

    /// A subscription that the client manages and that does not expire, as the options of its channel have it.
    pub(super) fn granted(
        &self,
        channel: &str,
        granted: &SubscribeGranted<'_>,
        requested: RequestedFeatures,
    ) -> ClientSubscription {
        let options = granted.options;
        let features = SubscriptionFeatures::granted(&options, requested);
        ClientSubscription {
            channel: channel.into(),
            server_side: false,
            by: granted.by,
            under_way: None,
            recoverable: features.recoverable,
            recover: None,
            unrecovered: None,
            expires: None,
            expires_at: granted.expires_at,
            asks_backend: self.sub_refresh_proxy(channel).is_some(),
            positioned: features.positioned,
            join_leave: features.join_leave,
            unseen: false,
            info: self.identity.info_for(raw_bytes(granted.info)),
            data: raw_bytes(granted.data),
            options,
        }
    }

    /// A subscribe of the client has its outcome.
    pub(super) fn on_subscribed(
        &mut self,
        SubscribeCommand { ticket, id, channel, reject }: SubscribeCommand<'_>,
        outcome: Result<Subscribed, ErrorCode>,
        now: Now,
        actions: &mut Actions,
    ) {
        let Some(subscription) = self.under_way(channel, ticket) else {
            // The server ended it before it had begun, and said so; the command has its answer all the same.
            return self.refuse(id, outcome.err().unwrap_or(ErrorCode::INTERNAL), actions);
        };
        let subscribed = match outcome {
            Ok(subscribed) if reject && subscription.unrecovered(&subscribed).is_some() => {
                actions.push(Action::Unsubscribe(channel.clone()));
                Err(ErrorCode::UNRECOVERABLE_POSITION)
            }
            outcome => outcome,
        };
        let subscribed = match subscribed {
            Ok(subscribed) => subscribed,
            Err(error) => {
                self.remove(channel);
                return self.refuse(id, error, actions);
            }
        };
        let (client, form) = (self.identity.client.clone(), self.traits.form);
        let Some(subscription) = self.under_way(channel, ticket) else { return };
        if subscribed.permit.is_some() {
            let mut around = BytesMut::new();
            let publications = views(&subscribed, &client);
            let result = subscription.result(&subscribed, &publications, now);
            let places = form.reply_subscribe_around(id, &result, &mut around);
            let then = NextStep::Subscribed { ticket, id, channel: channel.clone() };
            let mut reply = LargeReply::new(form, around, then);
            reply.add_recovered(places, [subscribed], &client);
            return self.large_replies.push_back(reply);
        }
        subscription.under_way = None;
        let publications = views(&subscribed, &client);
        let result = subscription.result(&subscribed, &publications, now);
        actions.reply(form, |out| {
            reserve(&publications, out);
            form.reply_subscribe(id, &result, out);
        });
        actions.release(channel);
        self.count_success();
    }

    /// The client leaves a channel. Leaving one that it is not in is no error.
    pub(super) fn unsubscribe(&mut self, id: u32, channel: &str, actions: &mut Actions) {
        if channel.is_empty() {
            return self.refuse(id, ErrorCode::BAD_REQUEST, actions);
        }
        if let Some(subscription) = self.remove(channel) {
            self.forget_epoch(channel, false);
            actions.forget_release(channel);
            actions.push(Action::Unsubscribe(subscription.channel));
            self.clock.set_subscription_expiry(&self.subscriptions);
        }
        self.count_success();
        let form = self.traits.form;
        actions.reply(form, |out| form.reply_unsubscribe(id, out));
    }

    /// A new token for a subscription.
    pub(super) fn sub_refresh(
        &mut self,
        id: u32,
        channel: &str,
        token: &str,
        now: Now,
        actions: &mut Actions,
    ) {
        if self.sub_refresh_proxy(channel).is_some() {
            // Nobody told it that the subscription expires.
            return self.close(Disconnect::BAD_REQUEST, actions);
        }
        self.budget.count_token();
        match self.refreshed(channel, token, now) {
            Ok(expires_at) => {
                let grace = self.policy.settings.expiry_grace;
                if let Some(subscription) = self.subscription_mut(channel) {
                    subscription.expires = end_of(expires_at, grace, now);
                    subscription.expires_at = expires_at;
                    if subscription.by != GrantedBy::SubscriptionToken {
                        subscription.by = GrantedBy::SubscriptionToken;
                        actions.push(Action::SetGrant(subscription.channel.clone(), subscription.by));
                    }
                }
                self.clock.set_subscription_expiry(&self.subscriptions);
                self.count_success();
                let form = self.traits.form;
                actions.reply(form, |out| {
                    form.reply_sub_refresh(id, expires_at.is_some(), ttl(expires_at, now), out);
                });
            }
            Err(Refused::Error(error @ (ErrorCode::TOKEN_EXPIRED | ErrorCode::EXPIRED))) => {
                // SDKs give a subscription up for good on an error that is not temporary. After this they subscribe with a new
                // token, and ignore the answer to the refresh.
                self.server_unsubscribe(channel, Unsubscribed::EXPIRED, actions);
                self.refuse(id, error.temporarily(), actions);
            }
            Err(refused) => self.refuse_command(id, refused, actions),
        }
    }

    fn refreshed(&self, channel: &str, token: &str, now: Now) -> Result<Option<u64>, Refused> {
        if token.is_empty() || channel.is_empty() {
            return Err(ErrorCode::BAD_REQUEST.into());
        }
        if self.subscription(channel).is_none_or(|subscription| subscription.server_side) {
            return Err(ErrorCode::PERMISSION_DENIED.into());
        }
        let granted = |granted: &SubscribeGranted<'_>| granted.expires_at;
        Ok(self.policy.may_subscribe(channel, &self.identity, Some(token), now, granted)?)
    }
}

/// The features that a client asks for.
pub(super) fn requested_features(subscribe: &Subscribe<'_>) -> RequestedFeatures {
    RequestedFeatures {
        recovery: subscribe.recoverable,
        positioning: subscribe.positioned,
        join_leave: subscribe.join_leave,
    }
}

/// The position that a client wants to recover from.
pub(super) fn requested_position(subscribe: &Subscribe<'_>) -> Option<Position> {
    subscribe.recover.then(|| Position { offset: subscribe.offset, epoch: (*subscribe.epoch).into() })
}
