//! `gorani token`: makes a connection or subscription token, for trying out and for scripts.

use std::time::Duration;

use clap::Args;
use gorani_auth::{ConnectionTokenRequest, SignError, SubscriptionTokenRequest, TokenSettings};
use serde_json::value::RawValue;

use crate::session::Now;

/// Arguments of `gorani token`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  gorani token --user 42 --ttl 1h\n  gorani token --user 42 --subscribe chat:lobby --ttl 10m\n\nExit codes: 0 made, 1 not, 2 bad use, 78 bad settings."
)]
pub struct TokenArguments {
    /// User id; empty for an anonymous token.
    #[arg(long, default_value = "")]
    user: String,
    /// Lifetime of the token: 1h, 30m, …; without, it does not expire.
    #[arg(long, value_parser = humantime::parse_duration)]
    ttl: Option<Duration>,
    /// A channel that the server subscribes the client to; may be given several times.
    #[arg(long, conflicts_with = "subscribe")]
    channel: Vec<String>,
    /// Make a subscription token for this channel instead.
    #[arg(long, value_name = "CHANNEL")]
    subscribe: Option<String>,
    /// JSON that others see of the client.
    #[arg(long)]
    info: Option<String>,
}

/// Why no token was made.
#[derive(Debug, thiserror::Error)]
pub enum TokenFailed {
    /// No secret to sign with.
    #[error("token.hmac_secret is not set; name a settings file with --config")]
    NoSecret,
    /// The info is not JSON.
    #[error("--info is not JSON: {0}")]
    Info(#[from] serde_json::Error),
    /// Signing failed.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// A connection token for a command itself; `None` where the settings hold no secret to sign with.
#[cfg(feature = "admin")]
pub(super) fn connection_token(settings: &TokenSettings, user: &str, ttl: Duration) -> Option<String> {
    if settings.hmac_secret.is_empty() {
        return None;
    }
    let request = ConnectionTokenRequest {
        user: user.to_owned(),
        ttl: Some(ttl),
        channels: Vec::new(),
        info: None,
        audience: settings.audience.clone(),
        issuer: settings.issuer.clone(),
    };
    request.sign(&settings.hmac_secret, Now::read().unix_s()).ok()
}

impl TokenArguments {
    /// The token, signed with the secret of the settings.
    pub(super) fn make(self, settings: TokenSettings) -> Result<String, TokenFailed> {
        if settings.hmac_secret.is_empty() {
            return Err(TokenFailed::NoSecret);
        }
        let info = self.info.map(RawValue::from_string).transpose()?;
        let now = Now::read().unix_s();
        let (audience, issuer, secret) = (settings.audience, settings.issuer, settings.hmac_secret);
        let token = match self.subscribe {
            Some(channel) => {
                SubscriptionTokenRequest { user: self.user, channel, ttl: self.ttl, info, audience, issuer }
                    .sign(&secret, now)
            }
            None => ConnectionTokenRequest {
                user: self.user,
                ttl: self.ttl,
                channels: self.channel,
                info,
                audience,
                issuer,
            }
            .sign(&secret, now),
        };
        Ok(token?)
    }
}
