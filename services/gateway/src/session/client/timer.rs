//! A time of a client session has come: pings, and the expiry of its token and its subscriptions.
//! `docs/protocols/client.md` §4 and §10.12.

use gorani_protocol::client::PING;
use tokio::time::Instant;

use super::{ClientSession, ClientState, OutputFormat};
use crate::{
    disconnect::{Disconnect, Unsubscribed},
    session::{
        Action, Actions, Now,
        shared::expiry::{self, is_due},
    },
};

impl ClientSession {
    /// The end of something that expires at this time in Unix seconds, with the grace for its refresh.
    pub(super) fn end_of(&self, expires_at: Option<u64>, now: Now) -> Option<Instant> {
        expiry::end_of(expires_at, self.policy.settings.expiry_grace, now)
    }

    /// Does what is due.
    pub(super) fn timer(&mut self, now: Now, actions: &mut Actions) {
        if is_due(self.clock.connect_by, now) {
            // A client that has said connect has done its part: it is to come again, which a stale one is not.
            let is_waiting = matches!(self.state, ClientState::Connecting(_));
            return self.close(if is_waiting { Disconnect::INTERNAL } else { Disconnect::STALE }, actions);
        }
        if self.clock.pings.is_unanswered(now.instant) {
            return self.close(Disconnect::NO_PONG, actions);
        }
        if is_due(self.clock.expires, now) {
            return self.close(Disconnect::EXPIRED, actions);
        }
        if is_due(self.clock.subscription_expires, now) {
            self.expire_subscriptions(now, actions);
        }
        self.look_at_epochs(now, actions);
        let settings = &self.policy.settings;
        // Without pings that answer themselves, a receiver has a transport with a heartbeat, and no way to answer it.
        let has_pong = self.traits.native_ping || self.traits.format == OutputFormat::Commands;
        let timeout = has_pong.then_some(settings.pong_timeout);
        if matches!(self.state, ClientState::Connected)
            && self.clock.pings.take_due(settings.ping_interval, timeout, now.instant)
        {
            if self.traits.native_ping || self.traits.format != OutputFormat::Commands {
                actions.push(Action::Ping);
            } else {
                actions.line(|out| out.extend_from_slice(PING));
            }
        }
    }

    fn expire_subscriptions(&mut self, now: Now, actions: &mut Actions) {
        let expired = self.subscriptions.iter().filter(|subscription| is_due(subscription.expires, now));
        let expired: Vec<_> = expired.cloned().collect();
        for subscription in expired {
            if subscription.server_side {
                return self.close(Disconnect::SUBSCRIPTION_EXPIRED, actions);
            }
            self.server_unsubscribe(&subscription.channel, Unsubscribed::EXPIRED, actions);
        }
        self.clock.set_subscription_expiry(&self.subscriptions);
    }
}
