//! Acts of backends on a STOMP client, and the end of subscriptions by a reload. `docs/protocols/stomp.md` §10.

use std::{sync::Arc, time::Duration};

use gorani_auth::GrantedBy;

use super::{StompSession, failure::Failure};
use crate::{
    disconnect::{Disconnect, Unsubscribed},
    session::{
        Action, Actions, Now,
        shared::{
            deadlines::{end_of, has_expired},
            enforcement::PermissionCheck,
        },
    },
    session_command::SessionCommand,
};

impl StompSession {
    /// A backend has something done to the client.
    pub(super) fn run_backend_command(&mut self, command: &SessionCommand, now: Now, actions: &mut Actions) {
        if !command.concerns_session(None) {
            return;
        }
        match command {
            SessionCommand::Disconnect { disconnect, .. } => {
                self.fail(Failure::of_disconnect(disconnect.clone()), actions);
            }
            SessionCommand::Unsubscribe { channel, .. } => {
                self.lose(channel, Unsubscribed::SERVER.reason, actions);
            }
            // STOMP has no frame for a subscription that the client did not ask for.
            SessionCommand::Subscribe { subscribe, .. } => {
                tracing::info!(
                    channel = subscribe.channel,
                    "server-side subscribe of a STOMP client ignored"
                );
            }
            SessionCommand::Refresh { expired, expire_at, info, .. } => {
                if *expired || has_expired(*expire_at, now) {
                    return self.fail(Failure::of_disconnect(Disconnect::EXPIRED), actions);
                }
                self.identity.renew_info(info);
                self.clock.expires = end_of(*expire_at, Duration::ZERO, now);
            }
        }
    }

    /// Ends the subscriptions to a channel that the settings did not permit when they were counted, unless they do now. STOMP has
    /// only ERROR for that, so the connection ends with them.
    pub(super) fn check_permission(&mut self, check: &PermissionCheck, actions: &mut Actions) {
        let channel = &check.channel;
        let Some(by) = self.grant_of(channel) else { return };
        if self.policy.still_permits(channel, &self.identity.user, by) {
            return;
        }
        check.note_ended();
        let first = self.subscriptions.iter().find(|known| known.is_of(channel));
        let destination = first.map(|known| known.shown.destination.clone()).unwrap_or_default();
        self.subscriptions.retain(|known| !known.is_of(channel));
        actions.forget_release(channel);
        actions.push(Action::EndSubscription(channel.clone(), Unsubscribed::NOT_PERMITTED));
        let disconnect =
            Disconnect::new(Disconnect::INSUFFICIENT_STATE.code, Unsubscribed::NOT_PERMITTED.reason);
        self.fail(Failure::of_disconnect(disconnect).about(&destination), actions);
    }

    /// The step of the check that allows the session's subscriptions to a channel. Of several one that does not depend on the
    /// rules: each of them keeps the session in the channel.
    pub(super) fn grant_of(&self, channel: &str) -> Option<GrantedBy> {
        let is_by_rules = |by: &GrantedBy| matches!(by, GrantedBy::Options | GrantedBy::UserLimited);
        let grants = self.subscriptions.iter().filter(|known| known.is_of(channel)).map(|known| known.by);
        grants.min_by_key(is_by_rules)
    }

    /// The session has another subscription to a channel that it is in, or one less: its messages are shown as those that are left
    /// have it. `before`: the grant until now.
    pub(super) fn renew_subscription(
        &self,
        channel: Arc<str>,
        before: Option<GrantedBy>,
        actions: &mut Actions,
    ) {
        let by = self.grant_of(&channel);
        if let Some(by) = by.filter(|_| by != before) {
            actions.push(Action::SetGrant(channel.clone(), by));
        }
        let format = self.format(&channel);
        actions.show(channel, format);
    }
}
