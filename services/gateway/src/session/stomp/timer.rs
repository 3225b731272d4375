//! A time of a STOMP session has come: heart-beats, pings, expiry, the end. `docs/protocols/stomp.md` §2.12, §3 and §10.5.

use gorani_protocol::stomp::encode;

use super::{StompSession, StompState, failure::Failure};
use crate::{
    disconnect::Disconnect,
    session::{Action, Actions, MessageKind, Now, Session as _, shared::expiry::is_due},
};

impl StompSession {
    /// A time may have come.
    pub(super) fn timer(&mut self, now: Now, actions: &mut Actions) {
        if is_due(self.clock.leave_by, now) {
            return self.end(Disconnect::NORMAL, actions);
        }
        if self.state == StompState::Leaving {
            return;
        }
        if is_due(self.clock.connect_by, now) {
            let failure = match self.state {
                // It has done its part, and is to come again.
                StompState::Entering(_) => Failure::new(Disconnect::INTERNAL, "the CONNECT takes too long"),
                _ => Failure::new(Disconnect::STALE, "no CONNECT in time"),
            };
            return self.fail(failure, actions);
        }
        if is_due(self.clock.expires, now) {
            return self.fail(Failure::of_disconnect(Disconnect::EXPIRED), actions);
        }
        if is_due(self.clock.subscription_expires, now) {
            return self.fail(Failure::of_disconnect(Disconnect::SUBSCRIPTION_EXPIRED), actions);
        }
        if !self.is_blocked() && self.clock.is_silent(now) {
            return self.fail(Failure::new(Disconnect::NO_PONG, "no heart-beat from the client"), actions);
        }
        if self.clock.is_unanswered(!self.is_blocked(), now) {
            return self.fail(Failure::new(Disconnect::NO_PONG, "no pong from the client"), actions);
        }
        let settings = &self.policy.settings;
        if self.clock.pings.take_due(settings.ping_interval, Some(settings.pong_timeout), now.instant) {
            actions.push(Action::Ping);
        }
        if self.clock.take_beat(now) {
            actions.message(MessageKind::Text, |out| out.extend_from_slice(encode::HEART_BEAT));
        }
    }
}
