//! `gorani token`: makes a connection or subscription token, for trying out and for scripts.

use std::time::Duration;

use clap::Args;
use gorani_auth::{ConnectionTokenRequest, SubscriptionTokenRequest};
use serde_json::value::RawValue;

use super::{
    error::{CliError, TokenFailed},
    serve::ConfigFile,
};
use crate::session::Now;

/// Arguments of `gorani token`.
#[derive(Debug, Args)]
pub struct TokenArguments {
    #[command(flatten)]
    file: ConfigFile,
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

impl TokenArguments {
    pub(super) fn make(self) -> Result<String, CliError> {
        let settings = self.file.load()?.token;
        if settings.hmac_secret.is_empty() {
            return Err(TokenFailed::NoSecret.into());
        }
        let info = self.info.map(RawValue::from_string).transpose().map_err(TokenFailed::from)?;
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
        Ok(token.map_err(TokenFailed::from)?)
    }
}
