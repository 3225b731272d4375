//! `/close`: closes every session as soon as it is open.

use crate::{
    endpoints::embedder::Registration,
    session::handler::{HandlerResult, SessionHandle, WebSocketHandler},
    sockjs::options::SockJs,
};

/// Where it is served.
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
