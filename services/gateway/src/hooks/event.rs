//! Drafts of events: what each kind says, and which endpoints of the backend it is for.

use std::{collections::HashMap, fmt::Write as _, sync::Arc};

use bytes::Bytes;
use gorani_broker::{
    DataKind, Published,
    hook_store::{HookEventDraft, HookEventKind, OccupancyKey},
};
use serde_json::value::RawValue;

use crate::{clock, settings::HookEndpointSettings};

/// The kinds that are about a session.
pub(super) const OF_SESSIONS: [HookEventKind; 4] = [
    HookEventKind::Connected,
    HookEventKind::Disconnected,
    HookEventKind::Subscribed,
    HookEventKind::Unsubscribed,
];

/// The kinds that concern a subscription of a session to a channel.
const OF_SUBSCRIPTIONS: [HookEventKind; 6] = [
    HookEventKind::Subscribed,
    HookEventKind::Unsubscribed,
    HookEventKind::Occupied,
    HookEventKind::Vacated,
    HookEventKind::MemberAdded,
    HookEventKind::MemberRemoved,
];

/// A client whose session is tracked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackedClient {
    /// Client id.
    pub client: Arc<str>,
    /// User id; empty for an anonymous user.
    pub user: Arc<str>,
    /// `websocket`, `sse`, …
    pub transport: &'static str,
    /// `json`, `stomp`, …
    pub protocol: &'static str,
    /// The meta that the backend keeps with the connection, where an endpoint is sent it.
    pub meta: Option<Arc<Bytes>>,
}

/// The endpoints that want a kind of event.
#[derive(Debug, Default)]
struct KindEndpoints {
    /// Whatever the namespace: for events without a channel.
    any: Arc<[u16]>,
    /// For channels of namespaces that no endpoint names.
    other: Arc<[u16]>,
    /// For channels of the namespaces that some endpoint names.
    named: HashMap<Box<str>, Arc<[u16]>>,
}

/// Makes the drafts of a node.
#[derive(Debug)]
pub struct HookDrafts {
    node: Arc<str>,
    kinds: HashMap<HookEventKind, KindEndpoints>,
}

impl HookDrafts {
    /// Of a node with these endpoints.
    pub fn new(node: Arc<str>, endpoints: &[HookEndpointSettings]) -> Self {
        let select = |wants: &dyn Fn(&HookEndpointSettings) -> bool| {
            (0_u16..).zip(endpoints).filter(|(_, endpoint)| wants(endpoint)).map(|(index, _)| index).collect()
        };
        let namespaces = || endpoints.iter().flat_map(|endpoint| &endpoint.namespaces);
        let of_kind = |kind| KindEndpoints {
            any: select(&|endpoint| endpoint.wants(kind, None)),
            // No namespace has this name: only those that want all want it.
            other: select(&|endpoint| endpoint.wants(kind, Some(":"))),
            named: namespaces()
                .map(|name| (name.as_str().into(), select(&|endpoint| endpoint.wants(kind, Some(name)))))
                .collect(),
        };
        Self { node, kinds: HookEventKind::ALL.into_iter().map(|kind| (kind, of_kind(kind))).collect() }
    }

    /// The same drafts, of events that happened on another node.
    pub(super) fn of_node(&self, node: &str, draft: HookEventDraft) -> HookEventDraft {
        HookEventDraft { node: node.into(), ..draft }
    }

    /// The endpoints that want a kind, of a channel if it is about one.
    fn endpoints(&self, kind: HookEventKind, channel: Option<&str>) -> Arc<[u16]> {
        let Some(kind) = self.kinds.get(&kind) else { return Arc::default() };
        let Some(channel) = channel else { return kind.any.clone() };
        let namespace = channel.split_once(':').map_or("", |(namespace, _)| namespace);
        kind.named.get(namespace).unwrap_or(&kind.other).clone()
    }

    /// True if some endpoint wants a kind, of a channel if it is about one.
    pub fn wants(&self, kind: HookEventKind, channel: Option<&str>) -> bool {
        !self.endpoints(kind, channel).is_empty()
    }

    /// True if some endpoint wants events of sessions.
    pub(super) fn wants_sessions(&self) -> bool {
        OF_SESSIONS.iter().any(|kind| self.wants(*kind, None))
    }

    /// True if some endpoint wants to know of subscriptions to a channel.
    pub(super) fn wants_subscriptions(&self, channel: &str) -> bool {
        OF_SUBSCRIPTIONS.iter().any(|kind| self.wants(*kind, Some(channel)))
    }

    fn draft(&self, kind: HookEventKind, channel: Option<&Arc<str>>, details: String) -> HookEventDraft {
        HookEventDraft {
            kind,
            time_ms: clock::unix_ms(),
            node: self.node.clone(),
            client: Arc::default(),
            user: Arc::default(),
            endpoints: self.endpoints(kind, channel.map(|channel| &**channel)),
            channel: channel.cloned().unwrap_or_default(),
            details: details.into(),
            meta: Bytes::new(),
        }
    }

    fn of_session(
        &self,
        kind: HookEventKind,
        of: &TrackedClient,
        channel: Option<&Arc<str>>,
        details: String,
    ) -> HookEventDraft {
        let draft = self.draft(kind, channel, details);
        let meta = of.meta.as_deref().cloned().unwrap_or_default();
        HookEventDraft { client: of.client.clone(), user: of.user.clone(), meta, ..draft }
    }

    pub(super) fn connected(
        &self,
        of: &TrackedClient,
        is_resumed: bool,
        replaces: Option<&str>,
    ) -> HookEventDraft {
        let mut details = transport(of);
        let _ = write!(details, ",\"protocol\":\"{}\"", of.protocol);
        if is_resumed {
            details.push_str(RESUMED);
        }
        if let Some(replaced) = replaces {
            let _ = write!(details, ",\"replaces\":{}", text(replaced));
        }
        self.of_session(HookEventKind::Connected, of, None, details)
    }

    pub(super) fn disconnected(&self, of: &TrackedClient, code: u32, reason: &str) -> HookEventDraft {
        let mut details = transport(of);
        let _ = write!(details, ",\"code\":{code},\"reason\":{}", text(reason));
        self.of_session(HookEventKind::Disconnected, of, None, details)
    }

    /// The end of a session of whose end nobody has told.
    pub(super) fn lost(&self, client: &Arc<str>, user: &Arc<str>) -> HookEventDraft {
        let details = r#""code":0,"reason":"","lost":true"#.to_owned();
        let draft = self.draft(HookEventKind::Disconnected, None, details);
        HookEventDraft { client: client.clone(), user: user.clone(), ..draft }
    }

    pub(super) fn subscribed(
        &self,
        of: &TrackedClient,
        channel: &Arc<str>,
        is_server_side: bool,
        is_resumed: bool,
    ) -> HookEventDraft {
        let mut details = transport(of);
        if is_server_side {
            details.push_str(",\"server_side\":true");
        }
        if is_resumed {
            details.push_str(RESUMED);
        }
        self.of_session(HookEventKind::Subscribed, of, Some(channel), details)
    }

    pub(super) fn unsubscribed(
        &self,
        of: &TrackedClient,
        channel: &Arc<str>,
        code: u32,
        reason: &str,
    ) -> HookEventDraft {
        let mut details = transport(of);
        let _ = write!(details, ",\"code\":{code},\"reason\":{}", text(reason));
        self.of_session(HookEventKind::Unsubscribed, of, Some(channel), details)
    }

    /// The beginning of an occupancy.
    pub(super) fn began(&self, key: &OccupancyKey, is_resumed: bool) -> HookEventDraft {
        let kind = if key.user.is_some() { HookEventKind::MemberAdded } else { HookEventKind::Occupied };
        let details = if is_resumed { RESUMED.trim_start_matches(',') } else { "" };
        self.of_key(kind, key, details)
    }

    /// The end of an occupancy.
    pub(super) fn ended(&self, key: &OccupancyKey) -> HookEventDraft {
        let kind = if key.user.is_some() { HookEventKind::MemberRemoved } else { HookEventKind::Vacated };
        self.of_key(kind, key, "")
    }

    fn of_key(&self, kind: HookEventKind, key: &OccupancyKey, details: &str) -> HookEventDraft {
        let draft = self.draft(kind, Some(&key.channel), details.to_owned());
        HookEventDraft { user: key.user.clone().unwrap_or_default(), ..draft }
    }

    /// A partition begins anew.
    pub(super) fn reset(&self) -> HookEventDraft {
        self.draft(HookEventKind::Reset, None, r#""scope":"partition""#.to_owned())
    }

    /// A client's publication, at the position that the broker gave it.
    pub(super) fn publication(
        &self,
        of: &TrackedClient,
        channel: &Arc<str>,
        (data, kind): (&Bytes, DataKind),
        published: &Published,
    ) -> HookEventDraft {
        let position = &published.position;
        let mut details = format!("\"offset\":{},\"epoch\":{}", position.offset, text(&position.epoch));
        // What is no JSON after all goes as bytes: it must not break the batch that it is in.
        let json = std::str::from_utf8(data)
            .ok()
            .filter(|data| kind == DataKind::Json && serde_json::from_str::<&RawValue>(data).is_ok());
        match (json, std::str::from_utf8(data)) {
            (Some(json), _) => drop(write!(details, ",\"data\":{json}")),
            (None, Ok(plain)) if kind == DataKind::Text => {
                let _ = write!(details, ",\"data\":{}", text(plain));
            }
            _ => {
                let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, data);
                let _ = write!(details, ",\"b64data\":\"{encoded}\"");
            }
        }
        self.of_session(HookEventKind::Publication, of, Some(channel), details)
    }
}

const RESUMED: &str = ",\"resumed\":true";

fn transport(of: &TrackedClient) -> String {
    format!("\"transport\":\"{}\"", of.transport)
}

/// A text as JSON.
fn text(text: &str) -> String {
    // A text has no reason to fail.
    serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned())
}
