//! `/amplify`: answers a number with so many doublings of a letter.

use crate::{
    endpoints::embedder::Registration,
    session::handler::{HandlerResult, SessionHandle, WebSocketHandler},
    sockjs::options::SockJs,
};

/// Where it is served.
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
