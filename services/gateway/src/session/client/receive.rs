//! The client protocol's session for a receiver without commands ([`crate::session::uni`]): its subscriptions
//! come with its request, and it gets objects without envelopes. `docs/protocols/http.md` §7.

use std::{collections::HashSet, sync::Arc};

use bytes::BytesMut;
use gorani_protocol::client::{ConnectResult, SubscribePush, plain, push};

use super::{ClientSession, OutputFormat, subscription::ClientSubscription};
use crate::{
    disconnect::{ErrorCode, Refused, Unsubscribed},
    format::position::{self, Unrecovered},
    session::{
        Actions, Now,
        receiver::{NotPollable, PollableChannel, ReceiveQuery},
        shared::recovery::retention,
    },
};

/// A receiver that was admitted: its subscriptions with their positions, and the expiry of its token.
pub(in crate::session) struct AdmittedReceiver {
    subscriptions: Vec<ClientSubscription>,
    /// Unix seconds.
    expires_at: Option<u64>,
    is_poll: bool,
}

impl ClientSession {
    /// Admits a receiver. A poll may read the history of its channels, and wants all that it missed or nothing.
    ///
    /// # Errors
    /// The token or a channel is refused.
    pub(in crate::session) fn admit_receiver(
        &mut self,
        receive_query: &ReceiveQuery,
        is_poll: bool,
        now: Now,
    ) -> Result<AdmittedReceiver, Refused> {
        // The node gets the receiver's identity when the session begins.
        let (mut subscriptions, expires_at) =
            self.admit(&receive_query.token, now, &mut Actions::default())?;
        self.add_requested(receive_query, &mut subscriptions, now)?;
        for subscription in &mut subscriptions {
            if is_poll {
                // Else every poll that waits would be a join and a leave for the whole channel.
                subscription.hide();
            }
            match receive_query.positions.get(&subscription.channel) {
                Some(position) => subscription.recover_from(position.clone()),
                None if receive_query.is_unreadable => {
                    subscription.unrecovered = Some(Unrecovered::BadPosition)
                }
                None => {}
            }
        }
        Ok(AdmittedReceiver { subscriptions, expires_at, is_poll })
    }

    /// Begins what was admitted.
    pub(in crate::session) fn receive(
        &mut self,
        admitted: Result<AdmittedReceiver, Refused>,
        now: Now,
        actions: &mut Actions,
    ) {
        match admitted {
            Ok(AdmittedReceiver { subscriptions, expires_at, is_poll }) => {
                self.identify(actions);
                self.begin_connect(0, subscriptions, expires_at, is_poll, now, actions);
            }
            Err(refused) => self.refuse_connect(0, refused, actions),
        }
    }

    /// The channels of a poll, and what the receiver may read of them.
    pub(in crate::session) fn readable(&self, admitted: &AdmittedReceiver) -> Vec<PollableChannel> {
        let readable = |subscription: &ClientSubscription| {
            let options = &subscription.options;
            let retention = if !options.has_history() {
                Err(NotPollable::NoHistory)
            } else if subscription.recoverable {
                Ok(retention(options))
            } else {
                Err(NotPollable::NotAllowed)
            };
            PollableChannel {
                channel: subscription.channel.clone(),
                retention,
                since: subscription.recover.clone(),
                unrecovered: subscription.unrecovered,
            }
        };
        admitted.subscriptions.iter().map(readable).collect()
    }

    /// Adds the channels that a receiver asks for by name, as far as its user may have them.
    fn add_requested(
        &self,
        receive_query: &ReceiveQuery,
        subscriptions: &mut Vec<ClientSubscription>,
        now: Now,
    ) -> Result<(), Refused> {
        let settings = &self.policy.settings;
        let mut known: HashSet<Arc<str>> =
            subscriptions.iter().map(|subscription| subscription.channel.clone()).collect();
        for channel in &receive_query.channels {
            if known.contains(channel.as_str()) {
                continue;
            }
            if subscriptions.len() >= settings.max_subscriptions {
                return Err(ErrorCode::LIMIT_EXCEEDED.into());
            }
            // Like a subscription that the server makes: the receiver cannot subscribe again, only come again.
            let subscription = self.subscription_by_name(channel, now)?;
            known.insert(subscription.channel.clone());
            subscriptions.push(subscription);
        }
        Ok(())
    }

    /// Writes an object in the session's output format: the first to clients with commands, the second to receivers.
    fn write_push(
        &self,
        actions: &mut Actions,
        with_envelope: impl FnOnce(&mut BytesMut),
        plain: impl FnOnce(&mut BytesMut),
    ) {
        match self.traits.format {
            OutputFormat::Commands => actions.line(with_envelope),
            OutputFormat::Plain => actions.line(plain),
            OutputFormat::WithPositions => actions.line(|out| {
                // It changes no receiver's position.
                out.extend_from_slice(b"\n");
                plain(out);
            }),
        }
    }

    /// The first object of a receiver, with the position from which it begins.
    pub(super) fn write_connected(&self, result: &ConnectResult<'_>, actions: &mut Actions) {
        actions.line(|out| {
            if self.traits.format == OutputFormat::WithPositions {
                let begins = result.subs.iter().filter(|(_, subscribed)| !subscribed.epoch.is_empty());
                for (index, (channel, subscribed)) in begins.enumerate() {
                    if index > 0 {
                        out.extend_from_slice(b".");
                    }
                    position::write(channel, subscribed.offset, subscribed.epoch, out);
                }
                out.extend_from_slice(b"\n");
            }
            plain::connect(result, out);
        });
    }

    pub(super) fn write_unsubscribed(&self, channel: &str, why: Unsubscribed, actions: &mut Actions) {
        self.write_push(
            actions,
            |out| push::push_unsubscribe(channel, why.code, why.reason, out),
            |out| plain::unsubscribe(channel, why.code, why.reason, out),
        );
    }

    pub(super) fn write_subscribed(&self, channel: &str, told: &SubscribePush<'_>, actions: &mut Actions) {
        self.write_push(
            actions,
            |out| push::push_subscribe(channel, told, out),
            |out| plain::subscribe(channel, told, out),
        );
    }

    pub(super) fn write_refreshed(&self, expires: bool, ttl: u32, actions: &mut Actions) {
        self.write_push(
            actions,
            |out| push::push_refresh(expires, ttl, out),
            |out| plain::refresh(expires, ttl, out),
        );
    }
}
