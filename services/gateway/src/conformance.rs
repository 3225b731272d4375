//! Endpoints for conformance runs: `/echo` with `development.echo`, and over SockJS all of them with
//! `development.sockjs_conformance`. They are written with the trait that embedders use, so they double as its examples.
//! `docs/protocols/sockjs.md` §9.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytestring::ByteString;
use parking_lot::Mutex;

use crate::{
    disconnect::Disconnect,
    endpoints::embedder::Registration,
    session::handler::{HandlerResult, SessionHandle, WebSocketHandler},
    settings::SockJsSettings,
    sockjs::options::SockJs,
};

/// The client library's address in the page for hidden frames if the settings name none. Nothing is served there, but
/// the page is.
const CLIENT_URL: &str = "/sockjs.js";

/// The SockJS options of the endpoints.
pub fn sockjs(settings: &SockJsSettings) -> SockJs {
    let options = SockJs::new();
    if settings.client_url.is_empty() { options.client_url(CLIENT_URL) } else { options }
}

/// Path of the echo.
pub const ECHO_PATH: &str = "/echo";
/// Path of the echo without WebSocket.
pub const DISABLED_WEBSOCKET_PATH: &str = "/disabled_websocket_echo";
/// Path of the echo with a cookie.
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

/// Path of the amplifier.
pub const AMPLIFY_PATH: &str = "/amplify";

/// The most doublings: half a megabyte is too much, a quarter is served.
const DOUBLINGS_MAX: u32 = 18;

/// Answers `n` with 2ⁿ letters.
#[derive(Debug, Clone, Copy, Default)]
pub struct Amplify;

impl Amplify {
    /// As it is served.
    pub fn registration(sockjs: SockJs) -> Registration<Self> {
        Registration::new(Self::default).name("amplify").sockjs(sockjs)
    }
}

impl WebSocketHandler for Amplify {
    fn origins() -> &'static [&'static str] {
        &["*"]
    }

    fn text(&mut self, session: &SessionHandle, text: &str) -> HandlerResult {
        let doublings = text.trim().parse().ok().filter(|asked| (1..=DOUBLINGS_MAX).contains(asked));
        Ok(session.send_text("x".repeat(1 << doublings.unwrap_or(1)))?)
    }
}

/// Path of the broadcaster.
pub const BROADCAST_PATH: &str = "/broadcast";

/// All sessions by id, on any worker. Bounded by the node's connection slots.
type BroadcastRoom = Arc<Mutex<HashMap<String, SessionHandle>>>;

/// One session of the room.
pub struct Broadcast {
    room: BroadcastRoom,
}

impl Broadcast {
    /// As it is served.
    pub fn registration(sockjs: SockJs) -> Registration<Self> {
        let room = BroadcastRoom::default();
        Registration::new(move || Self { room: room.clone() }).name("broadcast").sockjs(sockjs)
    }
}

impl WebSocketHandler for Broadcast {
    fn origins() -> &'static [&'static str] {
        &["*"]
    }

    fn opened(&mut self, session: &SessionHandle) -> HandlerResult {
        self.room.lock().insert(session.id().to_owned(), session.clone());
        Ok(())
    }

    fn text(&mut self, _session: &SessionHandle, text: &str) -> HandlerResult {
        let text = ByteString::from(text);
        for member in self.room.lock().values() {
            // Who is too slow or gone is being closed.
            let _ = member.send_text(text.clone());
        }
        Ok(())
    }

    fn closed(&mut self, session: &SessionHandle, _status: &Disconnect) {
        self.room.lock().remove(session.id());
    }
}

/// Path of the closer.
pub const CLOSE_PATH: &str = "/close";

/// Closes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Close;

impl Close {
    /// As it is served.
    pub fn registration(sockjs: SockJs) -> Registration<Self> {
        Registration::new(Self::default).name("close").sockjs(sockjs)
    }
}

impl WebSocketHandler for Close {
    fn origins() -> &'static [&'static str] {
        &["*"]
    }

    fn opened(&mut self, session: &SessionHandle) -> HandlerResult {
        Ok(session.close(3000, "Go away!")?)
    }
}

/// Path of the ticker.
pub const TICKER_PATH: &str = "/ticker";

const INTERVAL: Duration = Duration::from_secs(1);

/// Ticks.
#[derive(Default)]
pub struct Ticker {
    task: Option<actix_rt::task::JoinHandle<()>>,
}

impl Ticker {
    /// As it is served.
    pub fn registration(sockjs: SockJs) -> Registration<Self> {
        Registration::new(Self::default).name("ticker").sockjs(sockjs)
    }
}

impl WebSocketHandler for Ticker {
    fn origins() -> &'static [&'static str] {
        &["*"]
    }

    fn opened(&mut self, session: &SessionHandle) -> HandlerResult {
        let session = session.clone();
        self.task = Some(actix_rt::spawn(async move {
            while session.send_text("tick!").is_ok() {
                actix_rt::time::sleep(INTERVAL).await;
            }
        }));
        Ok(())
    }

    fn closed(&mut self, _session: &SessionHandle, _status: &Disconnect) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}
