//! The life of a client's connection: pings, the expiry of its token and its subscriptions, and the refresh of the token, by its
//! client or by a backend. `docs/protocols/client.md` §4 and §10.

use bytes::Bytes;
use gorani_auth::TokenError;

use super::{ClientSession, ClientState};
use crate::{
    disconnect::{Disconnect, ErrorCode},
    refusal_log::LogCause,
    session::{
        Actions, Now, Session,
        shared::deadlines::{has_expired, is_due, ttl},
    },
};

impl ClientSession {
    /// Does what is due.
    pub(super) fn timer(&mut self, now: Now, actions: &mut Actions) {
        if is_due(self.clock.connect_by, now) {
            // A client that has said connect has done its part: it is to come again, which a stale one is not.
            let is_waiting = matches!(self.state, ClientState::Asked | ClientState::Connecting(_));
            return self.close(if is_waiting { Disconnect::INTERNAL } else { Disconnect::STALE }, actions);
        }
        if self.clock.pings.is_unanswered(now.instant) {
            if !self.is_blocked() {
                return self.close(Disconnect::NO_PONG, actions);
            }
            // Nothing is read while so many commands wait; the pong may be among what is not.
            self.clock.pings.await_pong(self.policy.settings.pong_timeout, now.instant);
        }
        self.look_at_ending(now, actions);
        if is_due(self.clock.expires, now) {
            self.expire(now, actions);
        }
        if matches!(self.state, ClientState::Ended) {
            return;
        }
        if is_due(self.clock.subscription_expires, now) {
            self.expire_subscriptions(now, actions);
        }
        self.look_at_epochs(now, actions);
        self.ping_when_due(now, actions);
    }

    /// A new token for the connection.
    pub(super) fn refresh(&mut self, id: u32, token: &str, now: Now, actions: &mut Actions) {
        if self.policy.proxies.refresh.is_some() {
            // Nobody told it that the connection expires.
            return self.close(Disconnect::BAD_REQUEST, actions);
        }
        if token.is_empty() {
            return self.refuse(id, ErrorCode::BAD_REQUEST, actions);
        }
        self.budget.count_token();
        let claims = match self.policy.tokens.connection(token, now.unix_s()) {
            Ok(claims) => claims,
            // SDKs end for good on an error of a refresh that is not temporary. After this they come back with a new token.
            Err(error @ TokenError::Expired) => {
                self.policy.log_token(error);
                return self.close(Disconnect::EXPIRED, actions);
            }
            Err(error @ TokenError::NotYetValid) => {
                self.policy.log_token(error);
                return self.refuse(id, ErrorCode::TOKEN_EXPIRED.temporarily(), actions);
            }
            Err(error) => return self.refuse_command(id, self.policy.refuse_token(error), actions),
        };
        if claims.user != *self.identity.user {
            self.policy.log.write(LogCause::ConnectionToken, "another user", |_| {
                let (own, other) = (&self.identity.user, &claims.user);
                format!(
                    "token of a refresh refused: it is for user {other:?}, the connection is user {own:?}'s"
                )
            });
            return self.close(Disconnect::INVALID_TOKEN, actions);
        }
        if let Some(activity) = &mut self.activity {
            activity.set_token(claims.id.as_deref());
        }
        let expires_at = claims.expires_at;
        self.clock.expires = self.end_of_connection(expires_at, now);
        self.count_success();
        let (client, version) = (&self.identity.client, env!("CARGO_PKG_VERSION"));
        let form = self.traits.form;
        actions.reply(form, |out| {
            form.reply_refresh(id, client, version, expires_at.is_some(), ttl(expires_at, now), out);
        });
    }

    /// A backend prolongs the connection's life, or ends it. `info`: what others see of it from now on, in what it publishes and
    /// in channels that it subscribes to; empty where it stays. Presence keeps what the client entered with.
    pub(super) fn server_refresh(
        &mut self,
        expired: bool,
        expire_at: Option<u64>,
        info: &Bytes,
        now: Now,
        actions: &mut Actions,
    ) {
        if expired || has_expired(expire_at, now) {
            return self.close(Disconnect::EXPIRED, actions);
        }
        self.renew_info(info);
        self.clock.expires = self.end_of_connection(expire_at, now);
        if let Some(calls) = &mut self.calls {
            // What a backend answers to a question of before is no news any more.
            calls.refresh = None;
        }
        if matches!(self.state, ClientState::Connected) {
            let told_end = expire_at.filter(|_| self.policy.proxies.refresh.is_none());
            self.write_refreshed(told_end.is_some(), ttl(told_end, now), actions);
        }
    }
}
