//! Calls to backends on real sockets: what is sent, what comes of each bad backend, and what bounds the calls.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod bad_backends;
mod requests;

use std::{collections::HashMap, rc::Rc, sync::Arc};

use gorani_broker::DataKind;

use super::*;
use crate::{
    backend::test_backend::{Reply, SeenRequest, TestBackend},
    metrics::Metrics,
    proxy_call::{ProxyCaller, ProxyHeaders, ProxyPayload, ProxyRequest},
    settings::Settings,
};

/// One worker with one proxy, whose backend follows a script.
struct Asked {
    backend: TestBackend,
    clients: Rc<ProxyClients>,
    pool: Arc<ProxyPool>,
    metrics: Metrics,
}

impl Asked {
    /// `lines`: further settings of the proxy, which is the one for rpc.
    async fn new(lines: &str, script: impl Fn(&SeenRequest) -> Reply + 'static) -> Self {
        let backend = TestBackend::start(script).await;
        let (pool, metrics) = pool_of(&backend.url, lines, "");
        let clients = Rc::new(ProxyClients::default());
        clients.share(pool.clone());
        Self { backend, clients, pool, metrics }
    }

    async fn ask(&self, request: ProxyRequest) -> ProxyOutcome {
        self.clients.clone().call(call(request)).await
    }

    /// The value of a counter of calls.
    fn counted(&self, outcome: &str) -> u64 {
        let text = self.metrics.text(&Default::default()).unwrap();
        let lines = text.lines().filter(|line| line.starts_with("gorani_proxy_requests_total"));
        let lines = lines.filter(|line| line.contains(&format!("outcome=\"{outcome}\"")));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }
}

fn pool_of(url: &str, lines: &str, more: &str) -> (Arc<ProxyPool>, Metrics) {
    let text = format!("[rpc.proxy]\nendpoint = '{url}'\n{lines}\n{more}");
    let settings = Settings::from_text(&text, &HashMap::new()).unwrap();
    let metrics = Metrics::default();
    (ProxyPool::open(&settings, &metrics.proxy).unwrap(), metrics)
}

fn caller() -> ProxyCaller {
    ProxyCaller {
        client: "c-1".into(),
        user: "42".into(),
        transport: "websocket",
        protocol: "json",
        ..ProxyCaller::default()
    }
}

fn call_of(caller: ProxyCaller, request: ProxyRequest) -> ProxyCall {
    ProxyCall { proxy: ProxyId(0), caller: caller.into(), number: 7, request }
}

fn call(request: ProxyRequest) -> ProxyCall {
    call_of(caller(), request)
}

fn json(text: &str) -> ProxyPayload {
    ProxyPayload { data: text.to_owned().into(), kind: DataKind::Json }
}

fn rpc() -> ProxyRequest {
    ProxyRequest::Rpc { method: "sum".to_owned(), data: None, headers: Vec::new() }
}

fn subscribe() -> ProxyRequest {
    ProxyRequest::Subscribe { channel: "chat".into(), token: String::new(), data: None }
}

fn publish() -> ProxyRequest {
    ProxyRequest::Publish { channel: "chat".into(), data: json("1") }
}

fn good(_: &SeenRequest) -> Reply {
    Reply::with(200, "{\"result\":{}}")
}
