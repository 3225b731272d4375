//! The fixtures of tests with a backend: proxies for everything, a client that it lets in, and the answers that it gives.

use actix_http::header::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use gorani_broker::DataKind;

use super::*;
use crate::{
    proxy_call::{
        ChannelProxies, ConnectGrant, ProxyAnswer, ProxyCall, ProxyError, ProxyFailure, ProxyId,
        ProxyOutcome, ProxyPayload, ProxyResult, ProxyRoutes, RpcRoutes, SubscribeGrant,
    },
    session::shared::proxied::SessionCalls,
};

/// The proxies of the tests, each with a number of its own.
pub(super) const CONNECT: ProxyId = ProxyId(1);
pub(super) const REFRESH: ProxyId = ProxyId(2);
pub(super) const SUBSCRIBE: ProxyId = ProxyId(3);
pub(super) const PUBLISH: ProxyId = ProxyId(4);
pub(super) const SUB_REFRESH: ProxyId = ProxyId(5);
pub(super) const RPC: ProxyId = ProxyId(6);

/// Connect and rpc are asked about, and the namespaces `closed`, `history` and `kept` by kind.
pub(super) fn routes() -> ProxyRoutes {
    let all = ChannelProxies { subscribe: Some(SUBSCRIBE), publish: Some(PUBLISH), sub_refresh: None };
    let refreshed = ChannelProxies { sub_refresh: Some(SUB_REFRESH), ..all };
    ProxyRoutes {
        connect: Some(CONNECT),
        namespaces: [("closed".into(), all), ("history".into(), all), ("kept".into(), refreshed)].into(),
        rpc: RpcRoutes {
            without_namespace: Some(RPC),
            namespaces: [("off".into(), None), ("on".into(), Some(RPC))].into(),
            ..RpcRoutes::default()
        },
        http_headers: vec![HeaderName::from_static("cookie")],
        emulated_headers: vec!["authorization".into()],
        ..ProxyRoutes::default()
    }
}

pub(super) fn asking_policy(settings: ClientSettings, proxies: ProxyRoutes) -> Arc<Policy> {
    let policy = Arc::into_inner(policy(settings)).unwrap();
    Arc::new(Policy { proxies, ..policy })
}

/// A backend's grant of a user.
pub(super) fn grant(user: &str) -> ConnectGrant {
    ConnectGrant { user: user.to_owned(), ..ConnectGrant::default() }
}

pub(super) fn connected_as(grant: ConnectGrant) -> ProxyOutcome {
    Ok(ProxyAnswer::Result(ProxyResult::Connect(Some(Box::new(grant)))))
}

pub(super) fn subscribed_as(grant: SubscribeGrant) -> ProxyOutcome {
    Ok(ProxyAnswer::Result(ProxyResult::Subscribe(Box::new(grant))))
}

pub(super) fn called(data: Option<&'static str>) -> ProxyOutcome {
    Ok(ProxyAnswer::Result(ProxyResult::Rpc(data.map(json_payload))))
}

pub(super) fn json_payload(json: &'static str) -> ProxyPayload {
    ProxyPayload { data: Bytes::from_static(json.as_bytes()), kind: DataKind::Json }
}

/// The three ways in which a backend gives no result, with the code that each leads to and whether it is an error or the end.
pub(super) fn refusals(unknown: u64) -> [(ProxyOutcome, u64, bool); 4] {
    let error = ProxyError { code: 1000, message: "not you".to_owned(), temporary: false };
    [
        (Ok(ProxyAnswer::Error(error)), 1000, false),
        (Ok(ProxyAnswer::Disconnect(Disconnect::new(4501, "away"))), 4501, true),
        (Err(ProxyFailure::NotProcessed(crate::disconnect::ErrorCode::TOO_MANY_REQUESTS)), 111, false),
        (Err(ProxyFailure::Unknown), unknown, false),
    ]
}

impl TestClient {
    /// A session whose commands the backend is asked about.
    pub(super) fn asking(settings: ClientSettings, proxies: ProxyRoutes) -> Self {
        Self::start(|now| {
            let policy = asking_policy(settings, proxies);
            let mut headers = HeaderMap::new();
            headers.insert(HeaderName::from_static("cookie"), HeaderValue::from_static("a=b"));
            headers.insert(HeaderName::from_static("x-other"), HeaderValue::from_static("1"));
            let calls = SessionCalls::of_request(&policy, "websocket", "json", &headers, None);
            ClientSession::new(policy, TransportTraits::default(), now).with_calls(calls)
        })
    }

    /// The same after the backend let user 42 in.
    pub(super) fn let_in(proxies: ProxyRoutes) -> Self {
        let mut client = Self::asking(settings(), proxies);
        client.let_in_as(grant("42"));
        client
    }

    pub(super) fn let_in_as(&mut self, grant: ConnectGrant) -> Value {
        assert!(self.say(json!({"id": 1, "connect": {}})).is_empty());
        let mut replies = self.answer(connected_as(grant));
        assert_eq!(replies.len(), 1, "{replies:?}");
        replies.remove(0)
    }

    pub(super) fn next_call(&mut self) -> (Ticket, Box<ProxyCall>) {
        match self.next() {
            Some(Action::Proxy(ticket, call)) => (ticket, call),
            other => panic!("{other:?} is no call"),
        }
    }

    /// Answers the next call.
    pub(super) fn answer(&mut self, outcome: ProxyOutcome) -> Vec<Value> {
        let (ticket, _) = self.next_call();
        self.answer_to(ticket, outcome)
    }

    pub(super) fn answer_to(&mut self, ticket: Ticket, outcome: ProxyOutcome) -> Vec<Value> {
        self.settle(ticket, Outcome::Proxied(Box::new(outcome)))
    }
}
