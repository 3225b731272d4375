//! What a client says: a command, headers, and with SEND a body. `docs/protocols/stomp.md` §1.1, §1.12 and §1.16.

use bytes::Bytes;

use super::{command::StompCommand, headers::Headers};

/// One frame of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StompFrame {
    /// What it asks for.
    pub command: StompCommand,
    /// Unescaped, each name once.
    pub headers: Headers,
    /// Empty but for SEND; any bytes.
    pub body: Bytes,
}
