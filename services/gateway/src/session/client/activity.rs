//! The description of a client for operators, which its session does not need itself. It is kept only where the node serves the
//! admin page. `docs/admin.md`.

use std::time::Duration;

use tokio::time::Instant;

use crate::{metrics::commands::CommandKind, session::Now};

/// Bytes of a token's id that are kept.
const TOKEN_ID_MAX_BYTES: usize = 64;

/// The token, the input and the last signs of life of a client. Times are milliseconds since the Unix epoch.
#[derive(Debug, Default)]
pub(super) struct ClientActivity {
    /// Id of its token (`jti`); empty where it has none.
    pub(super) token_id: Box<str>,
    /// Bytes of the messages that it sent.
    pub(super) bytes_in: u64,
    /// Its last command.
    pub(super) last_command: CommandKind,
    /// Time of the last command.
    pub(super) last_command_at: Option<u64>,
    /// Time of the last pong.
    pub(super) last_pong_at: Option<u64>,
    /// The ping whose pong is awaited.
    pub(super) pinged_at: Option<Instant>,
    /// The time from a ping to its pong, of the last one.
    pub(super) round_trip: Option<Duration>,
}

impl ClientActivity {
    /// Notes the token that counts from now on.
    pub(super) fn set_token(&mut self, id: Option<&str>) {
        let id = id.unwrap_or_default();
        self.token_id = id.get(..id.floor_char_boundary(TOKEN_ID_MAX_BYTES)).unwrap_or_default().into();
    }

    /// Notes a message of so many bytes.
    pub(super) fn add_input(&mut self, bytes: usize) {
        self.bytes_in = self.bytes_in.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// Notes a pong.
    pub(super) fn set_pong(&mut self, now: Now) {
        self.last_pong_at = Some(now.unix_ms);
        if let Some(pinged_at) = self.pinged_at.take() {
            self.round_trip = Some(now.instant.saturating_duration_since(pinged_at));
        }
    }

    /// Notes a command.
    pub(super) fn set_command(&mut self, command: CommandKind, at_ms: u64) {
        (self.last_command, self.last_command_at) = (command, Some(at_ms));
    }
}
