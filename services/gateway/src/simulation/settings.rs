//! The settings of the simulated nodes: everybody may do everything, and outboxes are small.

use std::time::Duration;

use gorani_auth::{ChannelOptions, ChannelSettings, NamespaceSettings};
use gorani_broker::hook_store::Partition;
use serde_json::json;

use crate::settings::{BreakerSettings, ProxySettings, Settings};

use super::jobs::{ATTEMPTS, MOST_MESSAGES};

/// The backend as which clients of STOMP come.
pub(super) const STOMP_USER: &str = "shop";
pub(super) const STOMP_PASSWORD: &str = "hush";
/// The user that polls, and nothing else.
pub(super) const POLLING_USER: &str = "poller";
/// Signs its tokens.
pub(super) const TOKEN_SECRET: &str = "secret-of-the-simulation-long-enough-for-hs256";

/// Partitions of the store of hooks.
pub(super) const HOOK_PARTITIONS: Partition = 2;
/// The endpoint of hooks.
pub(super) const HOOK_ENDPOINT: &str = "backend";
/// All kinds.
const HOOK_EVENTS: [&str; 9] = [
    "connected",
    "disconnected",
    "subscribed",
    "unsubscribed",
    "occupied",
    "vacated",
    "member_added",
    "member_removed",
    "publication",
];

/// The same where a backend decides on connects, on two of the channels, and answers methods.
pub(super) fn asking_settings() -> Settings {
    let mut settings = settings();
    let proxy = |kind: &str| {
        Some(Box::new(ProxySettings {
            endpoint: format!("http://backend/{kind}"),
            breaker: BreakerSettings { enabled: false, ..BreakerSettings::default() },
            ..ProxySettings::default()
        }))
    };
    settings.client.proxy.connect = proxy("connect");
    if let Some(connect) = &mut settings.client.proxy.connect {
        connect.enabled = Some(true);
    }
    settings.channel.proxy.subscribe = proxy("subscribe");
    settings.channel.proxy.publish = proxy("publish");
    settings.rpc.proxy = proxy("rpc");
    settings.rpc.without_namespace.proxy_enabled = true;
    for namespace in settings.channel.namespaces.iter_mut().filter(|namespace| namespace.name != "short") {
        namespace.proxies.subscribe_proxy_enabled = true;
        namespace.proxies.publish_proxy_enabled = true;
    }
    settings
}

/// The settings of the simulated nodes.
pub(super) fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.http.address.set_port(0);
    settings.client.allow_anonymous = true;
    settings.token.hmac_secret = TOKEN_SECRET.to_owned();
    settings.client.outbox_max_bytes = 16 * 1024;
    settings.stomp.users =
        serde_json::from_value(json!([{"name": STOMP_USER, "password": STOMP_PASSWORD}])).unwrap();
    settings.stomp.queue.max_attempts = ATTEMPTS;
    settings.stomp.queue.max_messages = MOST_MESSAGES;
    settings.hooks.partitions = HOOK_PARTITIONS;
    settings.hooks.endpoints = serde_json::from_value(
        json!([{"name": HOOK_ENDPOINT, "url": "http://backend/", "events": HOOK_EVENTS}]),
    )
    .unwrap();
    let open = ChannelOptions {
        presence: true,
        join_leave: true,
        allow_subscribe_for_client: true,
        allow_subscribe_for_anonymous: true,
        allow_publish_for_subscriber: true,
        allow_publish_for_anonymous: true,
        allow_presence_for_subscriber: true,
        allow_presence_for_anonymous: true,
        ..ChannelOptions::default()
    };
    let kept = ChannelOptions {
        history_size: 10,
        history_ttl: Duration::from_secs(300),
        force_recovery: true,
        force_positioning: true,
        allow_recovery: true,
        allow_positioning: true,
        allow_history_for_subscriber: true,
        allow_history_for_anonymous: true,
        ..open
    };
    let short = ChannelOptions { history_size: 2, ..kept };
    let namespace = |name: &str, options| NamespaceSettings {
        name: name.to_owned(),
        options,
        ..NamespaceSettings::default()
    };
    settings.channel = ChannelSettings {
        namespaces: vec![namespace("kept", kept), namespace("short", short), namespace("live", open)],
        ..ChannelSettings::default()
    };
    settings
}
