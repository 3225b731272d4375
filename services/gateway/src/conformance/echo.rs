//! `/echo`: answers every message with itself, text as text and binary as binary.

use crate::{
    endpoints::embedder::Registration,
    session::handler::{HandlerResult, SessionHandle, WebSocketHandler},
};

/// Where it is served.
pub const ECHO_PATH: &str = "/echo";
/// Where it is served without WebSocket.
pub const DISABLED_WEBSOCKET_PATH: &str = "/disabled_websocket_echo";
/// Where it is served with a cookie.
pub const COOKIE_NEEDED_PATH: &str = "/cookie_needed_echo";

/// Bytes after which a streaming response of `/echo` ends: the suites look for it.
pub const RESPONSE_MAX_BYTES: usize = 4096;

/// The largest messages of the conformance suites have 16 MiB; this leaves room above.
const MESSAGE_MAX_BYTES: usize = 32 * 1024 * 1024;
/// A few of the largest messages may wait while the client still sends.
const OUTBOX_MAX_BYTES: usize = 4 * MESSAGE_MAX_BYTES;

/// Answers every message with itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Echo;

impl Echo {
    /// As it is served: for clients from anywhere, with messages of any size that the suites send.
    pub fn registration() -> Registration<Self> {
        Registration::new(Self::default)
            .name("echo")
            .message_max_bytes(MESSAGE_MAX_BYTES)
            .outbox_max_bytes(OUTBOX_MAX_BYTES)
    }
}

impl WebSocketHandler for Echo {
    fn origins() -> &'static [&'static str] {
        &["*"]
    }

    fn text(&mut self, session: &SessionHandle, text: &str) -> HandlerResult {
        Ok(session.send_text(text)?)
    }

    fn binary(&mut self, session: &SessionHandle, data: &[u8]) -> HandlerResult {
        Ok(session.send_binary(data.to_vec())?)
    }
}
