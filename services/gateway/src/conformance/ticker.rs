//! `/ticker`: `tick!` each second.

use std::time::Duration;

use crate::{
    disconnect::Disconnect,
    endpoints::embedder::Registration,
    session::handler::{HandlerResult, SessionHandle, WebSocketHandler},
    sockjs::options::SockJs,
};

/// Where it is served.
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
