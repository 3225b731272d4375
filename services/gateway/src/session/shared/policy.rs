//! What decides on a client's commands: channel rules, tokens, limits. Shared by all sessions of a node.

use std::sync::Arc;

use gorani_auth::{ChannelRules, Denied, TokenError, TokenVerifier};
use rand::Rng;
use tokio::sync::Notify;

use crate::{
    disconnect::{Disconnect, ErrorCode, Refused},
    settings::ClientSettings,
};

/// What decides on a client's commands.
pub struct Policy {
    /// Permissions and options by namespace.
    pub rules: ChannelRules,
    /// Keys of tokens.
    pub tokens: TokenVerifier,
    /// Limits and times.
    pub settings: ClientSettings,
    /// The node's id, 8 hexadecimal digits.
    pub node_id: Arc<str>,
    /// Told when a token names a key that is not known yet.
    pub key_wanted: Notify,
}

impl Policy {
    /// A client id that no other connection of the cluster has: the node's id, then 64 random bits.
    pub fn new_client_id(&self) -> Arc<str> {
        let random = crate::random::rng().next_u64();
        format!("{}{random:016x}", self.node_id).into()
    }

    /// What a bad token means for its bearer.
    pub(in crate::session) fn refuse_token(&self, error: TokenError) -> Refused {
        match error {
            TokenError::Expired | TokenError::NotYetValid => ErrorCode::TOKEN_EXPIRED.into(),
            TokenError::UnknownKey => self.await_key(),
            TokenError::Invalid(reason) => {
                // Summarised by the node, which counts them: strangers can send as many as they like.
                tracing::debug!(%reason, "token refused");
                Refused::Disconnect(Disconnect::INVALID_TOKEN)
            }
        }
    }

    /// What a denial means for who asked.
    pub(in crate::session) fn refuse_denied(&self, denied: Denied) -> Refused {
        match denied {
            Denied::UnknownChannel => ErrorCode::UNKNOWN_CHANNEL.into(),
            Denied::PermissionDenied => ErrorCode::PERMISSION_DENIED.into(),
            Denied::BadRequest => ErrorCode::BAD_REQUEST.into(),
            Denied::NotAvailable => ErrorCode::NOT_AVAILABLE.into(),
            Denied::TokenExpired => ErrorCode::TOKEN_EXPIRED.into(),
            Denied::UnknownKey => self.await_key(),
            // The connection has a token of its own and stays, as with every other denied subscription.
            Denied::InvalidToken(reason) => {
                tracing::debug!(%reason, "subscription token refused");
                ErrorCode::PERMISSION_DENIED.into()
            }
        }
    }

    /// The key may come with the next fetch of the key set: the client is to try again a little later.
    fn await_key(&self) -> Refused {
        self.key_wanted.notify_one();
        ErrorCode::INTERNAL.into()
    }
}
