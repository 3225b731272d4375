//! Proxies: the calls to the backend that decide or answer clients' commands. `docs/protocols/proxy.md`.

use std::rc::Rc;

use crate::{
    disconnect::ErrorCode,
    proxy_call::{ProxyCall, ProxyFailure, ProxyOutcome},
};

/// The proxies as one worker asks them.
#[derive(Default)]
pub struct ProxyClients {}

impl ProxyClients {
    /// Asks the backend.
    pub async fn call(self: Rc<Self>, _call: ProxyCall) -> ProxyOutcome {
        Err(ProxyFailure::NotProcessed(ErrorCode::NOT_AVAILABLE))
    }
}
