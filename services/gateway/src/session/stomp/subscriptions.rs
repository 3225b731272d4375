//! SUBSCRIBE, with what was missed, and UNSUBSCRIBE. `docs/protocols/stomp.md` §5.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use gorani_auth::{ChannelOptions, GrantedBy};
use gorani_broker::Position;
use gorani_protocol::stomp::{StompFrame, Version};

use super::{
    StompSession,
    calls::AskedFor,
    consumer::prefetch,
    destination::{self, Destination, DestinationError},
    failure::Failure,
    state::{AckMode, QueueConsumer, RecoveryInProgress, StompSubscription, SubscriptionSource},
};
use crate::{
    disconnect::{Disconnect, ErrorCode},
    format::{
        encoding::SubscriptionFormat,
        message_headers::{MessageHeaders, SubscriptionHeaders},
    },
    proxy_call::ProxyRequest,
    session::{
        Action, Actions, Now, Outcome, Session as _, SubscribeParams, Subscribed, Ticket,
        shared::{
            deadlines::end_of,
            policy::raw_bytes,
            recovery::{RequestedFeatures, SubscriptionFeatures, retention},
        },
    },
};

/// Bytes of a subscription's id at most: each is kept, and stands in every message.
const ID_MAX_BYTES: usize = 255;

impl StompSession {
    /// True if the session is subscribed to a channel.
    pub(super) fn is_subscribed(&self, channel: &str) -> bool {
        self.subscriptions.iter().any(|known| known.is_of(channel))
    }

    /// The format in which the session gets the messages of a channel.
    pub(super) fn format(&self, channel: &str) -> SubscriptionFormat {
        let of_channel = self.subscriptions.iter().filter(|known| known.is_of(channel));
        let shown = of_channel.map(|subscription| subscription.shown.clone()).collect();
        SubscriptionFormat::Stomp(Arc::new(MessageHeaders { style: self.style(), subscriptions: shown }))
    }

    pub(super) fn subscribe(
        &mut self,
        frame: &StompFrame,
        now: Now,
        actions: &mut Actions,
    ) -> Result<(), Failure> {
        let headers = &frame.headers;
        let destination = headers.get("destination").ok_or(Failure::bad("no destination"))?;
        let id = headers.get("id");
        if id.is_none() && self.version > Version::V1_0 {
            return Err(Failure::bad("no id"));
        }
        if id.is_some_and(|id| id.len() > ID_MAX_BYTES) {
            return Err(Failure::limit("an id longer than 255 bytes"));
        }
        if self.subscriptions.iter().any(|known| known.name() == id.unwrap_or(destination)) {
            return Err(Failure::bad("a subscription with this id is open"));
        }
        if self.subscriptions.len() >= self.policy.settings.max_subscriptions {
            return Err(Failure::limit("too many subscriptions"));
        }
        // Passed over, a consumer would take away what is meant for another.
        if headers.get("selector").is_some_and(|selector| !selector.trim().is_empty()) {
            return Err(Failure::bad("selectors are not supported: subscribe to a destination of its own"));
        }
        let ack_mode = ack_mode(headers.get("ack"), self.version)?;
        let recover = position(headers.get("offset"), headers.get("epoch"))?;
        let acks = ack_mode != AckMode::Auto;
        let shown = SubscriptionHeaders { id: id.map(Into::into), destination: destination.into(), acks };
        let target = match destination::to_subscribe(destination, &self.identity.user) {
            Err(error) if recover.is_none() && self.has_replies(error, destination) => None,
            target => Some(target?),
        };
        let Some(target) = target else {
            self.subscribe_replies(shown, ack_mode);
            self.receipts.expect(0, headers.get("receipt"), false);
            return Ok(());
        };
        match target {
            Destination::Method(_) if recover.is_some() => {
                Err(Failure::bad("the backend's answer has no offsets"))
            }
            Destination::Method(method) => {
                let name = id.unwrap_or(destination);
                let call = self.rpc_call(frame, destination, method, Some(name))?;
                self.subscribe_replies(shown, ack_mode);
                let ticket = self.receipts.expect(1, headers.get("receipt"), false);
                self.call_rpc(ticket, call, actions);
                Ok(())
            }
            Destination::Channel(channel) => {
                let channel: Arc<str> = (*channel).into();
                let how = (shown, ack_mode);
                let done = self.subscribe_channel(frame, channel.clone(), how, recover, now, actions);
                if let Err(Failure { code: Some(code), .. }) = &done {
                    actions.push(Action::NoteRefused(channel, *code));
                }
                done
            }
            Destination::Queue(_) if recover.is_some() => {
                Err(Failure::bad("a queue has no offsets: what is not acknowledged comes again by itself"))
            }
            Destination::Queue(queue) => {
                self.check_queue(queue, false, now)?;
                let prefetch = prefetch(headers.get("prefetch-count"), self.settings.queue.prefetch)?;
                let source = SubscriptionSource::Queue(QueueConsumer::new(queue.into(), prefetch));
                self.subscriptions.push(StompSubscription::new(shown, source, ack_mode));
                self.receipts.expect(0, headers.get("receipt"), false);
                self.ask_for_more(actions);
                Ok(())
            }
        }
    }

    fn subscribe_channel(
        &mut self,
        frame: &StompFrame,
        channel: Arc<str>,
        (shown, ack_mode): (SubscriptionHeaders, AckMode),
        recover: Option<Position>,
        now: Now,
        actions: &mut Actions,
    ) -> Result<(), Failure> {
        let token = frame.headers.get("token").filter(|token| !token.is_empty());
        let receipt = frame.headers.get("receipt");
        let known = self.subscriptions.iter().find(|known| known.is_of(&channel));
        let is_first = known.is_none();
        let asked_recovery = recover.is_some();
        let source = SubscriptionSource::Channel(channel.clone());
        let before = self.grant_of(&channel);
        let mut subscription = StompSubscription {
            expires: known.and_then(|known| known.expires),
            asked_recovery,
            by: before.unwrap_or(GrantedBy::ConnectionToken),
            ..StompSubscription::new(shown, source, ack_mode)
        };
        let proxy = self.proxy_of_subscribe(&channel, token);
        if let (true, Some(proxy), Some(calls)) = (is_first, proxy, &mut self.calls) {
            self.policy.channel_options(&channel)?;
            let ticket = self.receipts.expect(1, receipt, false);
            (subscription.under_way, subscription.is_asked) = (Some(ticket), true);
            self.subscriptions.push(subscription);
            let request = ProxyRequest::Subscribe { channel, token: String::new(), data: None };
            actions.push(calls.ask((ticket, AskedFor::Subscribe(recover)), proxy, request));
            return Ok(());
        }
        // The backend's decision on a channel holds for all subscriptions of the session to it.
        let granted = match proxy {
            Some(_) => None,
            None => Some(self.may_subscribe(&channel, token, now, |granted| {
                (granted.options, raw_bytes(granted.info), granted.expires_at, granted.by)
            })?),
        };
        if let Some((options, _, expires_at, by)) = &granted {
            subscription.by = *by;
            if asked_recovery && !is_recoverable(options) {
                return Err(ErrorCode::NOT_AVAILABLE.into());
            }
            subscription.expires = end_of(*expires_at, Duration::ZERO, now);
        }
        if asked_recovery && !is_first {
            return Err(Failure::bad("only the first subscription of a destination can recover"));
        }
        match granted.filter(|_| is_first) {
            Some((options, info, ..)) => {
                let ticket = self.receipts.expect(1, receipt, false);
                subscription.under_way = Some(ticket);
                self.subscriptions.push(subscription);
                self.join(ticket, channel, (&options, info), recover, actions);
            }
            None => {
                self.subscriptions.push(subscription);
                self.receipts.expect(0, receipt, false);
                self.renew_subscription(channel, before, actions);
            }
        }
        self.watch_expiry();
        Ok(())
    }

    /// Joins the channel of the subscription that has this ticket.
    pub(super) fn join(
        &mut self,
        ticket: Ticket,
        channel: Arc<str>,
        (options, info): (&ChannelOptions, Bytes),
        recover: Option<Position>,
        actions: &mut Actions,
    ) {
        let request = SubscribeParams {
            info: self.identity.info_for(info),
            retention: retention(options),
            // The position is tracked wherever the options let a client ask for it.
            positioned: SubscriptionFeatures::granted(options, RequestedFeatures::ALL).positioned,
            recover,
            recover_max_bytes: self.policy.settings.reply_max_bytes,
            presence: options.presence,
            announce: options.join_leave,
            // STOMP has no frame for joins and leaves.
            join_leave: false,
            server_side: false,
            by: self.grant_of(&channel).unwrap_or(GrantedBy::ConnectionToken),
            format: self.format(&channel),
            channel,
        };
        actions.push(Action::Subscribe(ticket, request));
    }

    /// True if a subscription gets the backend's replies although there is no channel of its name: its client has no user, or one
    /// that cannot stand in a channel's name.
    fn has_replies(&self, error: DestinationError, destination: &str) -> bool {
        let rpc = &self.policy.proxies.rpc;
        error == DestinationError::User
            && self.calls.is_some()
            && destination::method_of_queue(destination).is_some()
            && (rpc.without_namespace.is_some() || rpc.namespaces.values().any(Option::is_some))
    }

    /// Opens a subscription that gets replies alone.
    fn subscribe_replies(&mut self, shown: SubscriptionHeaders, ack_mode: AckMode) {
        self.subscriptions.push(StompSubscription::new(shown, SubscriptionSource::Replies, ack_mode));
    }

    /// Ends the channel subscriptions of a session that is about to end: no message follows what it has just written.
    pub(super) fn leave_channels(&mut self, actions: &mut Actions) {
        let mut left: Vec<Arc<str>> = Vec::new();
        self.subscriptions.retain(|subscription| match &subscription.source {
            SubscriptionSource::Channel(channel) => {
                if !left.contains(channel) {
                    left.push(channel.clone());
                }
                false
            }
            SubscriptionSource::Queue(_) | SubscriptionSource::Replies => true,
        });
        for channel in left {
            actions.forget_release(&channel);
            actions.push(Action::Unsubscribe(channel));
        }
        self.watch_expiry();
    }

    pub(super) fn watch_expiry(&mut self) {
        self.clock.subscription_expires = self.subscriptions.iter().filter_map(|known| known.expires).min();
    }

    /// The subscription of which the request to the node has this ticket.
    pub(super) fn under_way(&self, ticket: Ticket) -> Option<&StompSubscription> {
        self.subscriptions.iter().find(|known| known.under_way == Some(ticket))
    }

    /// Writes a piece of the oldest recovery. Once it is whole it is sent, and its subscription begins. False if there is
    /// none.
    pub(super) fn write_recovered(&mut self, now: Now, actions: &mut Actions) -> bool {
        let Some(mut recovering) = self.recovering.pop_front() else { return false };
        let (style, client) = (self.style(), &self.identity.client);
        let subscription = self.under_way(recovering.ticket);
        if subscription.is_none_or(|known| recovering.write_piece(&known.shown, style, client)) {
            let RecoveryInProgress { ticket, written, subscribed, .. } = recovering;
            actions.append(written);
            self.outcome(ticket, Outcome::Subscribed(Ok(subscribed)), now, actions);
        } else {
            self.recovering.push_front(recovering);
        }
        if self.recovering.is_empty() {
            self.recovering = VecDeque::new();
        }
        true
    }

    /// A SUBSCRIBE has its outcome; what it missed is written.
    pub(super) fn subscribed(
        &mut self,
        ticket: Ticket,
        outcome: Result<Subscribed, ErrorCode>,
        actions: &mut Actions,
    ) -> Result<(), Failure> {
        let subscribed = outcome?;
        let is_asked = self.receipts.is_asked(ticket);
        let Some(subscription) = self.subscriptions.iter_mut().find(|known| known.under_way == Some(ticket))
        else {
            return Ok(());
        };
        subscription.under_way = None;
        if subscription.asked_recovery && !subscribed.recovered && !is_asked {
            // A gap is reported, never hidden: without a receipt there is no other frame for it.
            return Err(ErrorCode::UNRECOVERABLE_POSITION.into());
        }
        if is_asked && let Some(top) = &subscribed.top {
            let mut headers = vec![("offset", top.offset.to_string()), ("epoch", top.epoch.to_string())];
            if subscription.asked_recovery {
                headers.push(("recovered", subscribed.recovered.to_string()));
            }
            self.receipts.complete(ticket, headers);
        }
        if let SubscriptionSource::Channel(channel) = &subscription.source {
            actions.release(channel);
        }
        Ok(())
    }

    pub(super) fn unsubscribe(&mut self, frame: &StompFrame, actions: &mut Actions) -> Result<(), Failure> {
        let headers = &frame.headers;
        let by_destination = headers.get("destination").filter(|_| self.version == Version::V1_0);
        let name = headers.get("id").or(by_destination).ok_or(Failure::bad("no id"))?;
        let index = self.subscriptions.iter().position(|known| known.name() == name);
        let index = index.ok_or(Failure::bad("no subscription with this id"))?;
        let StompSubscription { source: left, by, .. } = self.subscriptions.remove(index);
        self.receipts.expect(0, headers.get("receipt"), false);
        match left {
            SubscriptionSource::Channel(channel) if self.is_subscribed(&channel) => {
                // No message that was held back follows the receipt.
                self.renew_subscription(channel, Some(by), actions);
            }
            SubscriptionSource::Channel(channel) => {
                actions.forget_release(&channel);
                actions.push(Action::Unsubscribe(channel));
            }
            // The backend's answer may still come, and is dropped.
            SubscriptionSource::Replies => {}
            SubscriptionSource::Queue(mut consumer) => {
                if let Some(ticket) = consumer.taking {
                    // What may be on its way goes back when it is here.
                    self.left_queues.push((ticket, consumer.queue.clone()));
                    actions.push(Action::StopFetching(ticket));
                }
                let ids = consumer.fetch_all();
                self.acknowledge_ids(consumer.queue, ids, false, actions);
            }
        }
        self.watch_expiry();
        Ok(())
    }

    /// A subscription cannot go on. STOMP has only ERROR for that.
    pub(super) fn lose(&mut self, channel: &str, why: &str, actions: &mut Actions) {
        if self.is_subscribed(channel) {
            let disconnect = Disconnect::new(Disconnect::INSUFFICIENT_STATE.code, why.to_owned());
            self.fail(Failure::of_disconnect(disconnect), actions);
        }
    }
}

/// True if what was missed in a channel can be asked for.
pub(super) fn is_recoverable(options: &ChannelOptions) -> bool {
    SubscriptionFeatures::granted(options, RequestedFeatures::ALL).recoverable
}

/// The mode in which messages are to be acknowledged.
fn ack_mode(mode: Option<&str>, version: Version) -> Result<AckMode, Failure> {
    match mode {
        None | Some("auto") => Ok(AckMode::Auto),
        Some("client") => Ok(AckMode::Client),
        Some("client-individual") if version > Version::V1_0 => Ok(AckMode::Individual),
        Some(_) => Err(Failure::bad("an ack mode that this version does not have")),
    }
}

/// The position from which a client wants to go on.
fn position(offset: Option<&str>, epoch: Option<&str>) -> Result<Option<Position>, Failure> {
    let Some(offset) = offset else {
        return if epoch.is_some() { Err(Failure::bad("an epoch without an offset")) } else { Ok(None) };
    };
    let offset = offset.parse().map_err(|_| Failure::bad("the offset is not a number"))?;
    Ok(Some(Position { offset, epoch: epoch.unwrap_or_default().into() }))
}
