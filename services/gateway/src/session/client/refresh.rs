//! The connection's life is prolonged: by its client with a new token, or by a backend. `docs/protocols/client.md` §10.

use gorani_auth::TokenError;
use gorani_protocol::client::reply;

use super::{ClientSession, ClientState};
use crate::{
    disconnect::{Disconnect, ErrorCode},
    session::{
        Actions, Now,
        shared::expiry::{has_expired, ttl},
    },
    version::VERSION,
};

impl ClientSession {
    /// A new token for the connection.
    pub(super) fn refresh(&mut self, id: u32, token: &str, now: Now, actions: &mut Actions) {
        if token.is_empty() {
            return self.refuse(id, ErrorCode::BAD_REQUEST, actions);
        }
        self.budget.count_token();
        let claims = match self.policy.tokens.connection(token, now.unix_s()) {
            Ok(claims) => claims,
            // SDKs end for good on an error of a refresh that is not temporary. After this they come back with a new token.
            Err(TokenError::Expired) => return self.close(Disconnect::EXPIRED, actions),
            Err(TokenError::NotYetValid) => {
                return self.refuse(id, ErrorCode::TOKEN_EXPIRED.temporarily(), actions);
            }
            Err(error) => return self.refuse_command(id, self.policy.refuse_token(error), actions),
        };
        if claims.user != *self.identity.user {
            return self.close(Disconnect::INVALID_TOKEN, actions);
        }
        let expires_at = claims.expires_at;
        self.clock.set_expiry(self.end_of(expires_at, now));
        self.count_success();
        let client = &self.identity.client;
        actions.line(|out| {
            reply::reply_refresh(id, client, VERSION, expires_at.is_some(), ttl(expires_at, now), out);
        });
    }

    /// A backend prolongs the connection's life, or ends it.
    pub(super) fn server_refresh(
        &mut self,
        expired: bool,
        expire_at: Option<u64>,
        now: Now,
        actions: &mut Actions,
    ) {
        if expired || has_expired(expire_at, now) {
            return self.close(Disconnect::EXPIRED, actions);
        }
        self.clock.set_expiry(self.end_of(expire_at, now));
        if matches!(self.state, ClientState::Connected) {
            self.write_refreshed(expire_at.is_some(), ttl(expire_at, now), actions);
        }
    }
}
