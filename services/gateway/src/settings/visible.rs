//! The settings that operators may see: those that are named here, so that a new one is hidden until somebody has thought about it. Of a
//! secret they see that it is set, and how long it is. Each with where its value comes from. `docs/admin.md`.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Settings,
    error::{environment, setting_of},
};

/// Settings whose value may be seen.
const VISIBLE: &[&str] = &[
    "admin.address",
    "admin.enabled",
    "admin.oidc.ca_pem_file",
    "admin.oidc.client_id",
    "admin.oidc.issuer",
    "admin.oidc.name",
    "admin.oidc.name_claim",
    "admin.oidc.redirect_url",
    "admin.oidc.roles_claim",
    "admin.oidc.scopes",
    "admin.oidc.timeout",
    "admin.password_contents",
    "admin.password_role",
    "admin.path",
    "admin.session_idle",
    "admin.session_max",
    "admin.tls.certificate",
    "admin.tls.key",
    "api.allow_trace",
    "api.body_max_bytes",
    "api.error_mode",
    "api.reply_max_bytes",
    "api.wrong_keys_per_minute",
    "broker.kind",
    "broker.memory.max_bytes",
    "broker.memory.max_channels",
    "broker.memory.max_idempotency_bytes",
    "broker.memory.max_idempotency_keys",
    "broker.memory.max_presence",
    "broker.memory.position_ttl",
    "broker.redis.canary_interval",
    "broker.redis.canary_timeout",
    "broker.redis.connect_timeout",
    "broker.redis.max_pending",
    "broker.redis.max_pending_bytes",
    "broker.redis.position_ttl",
    "broker.redis.prefix",
    "broker.redis.reconnect_max",
    "broker.redis.reconnect_min",
    "broker.redis.request_timeout",
    "broker.redis.require_at_start",
    "channel.defaults.allow_history_for_anonymous",
    "channel.defaults.allow_history_for_client",
    "channel.defaults.allow_history_for_subscriber",
    "channel.defaults.allow_presence_for_anonymous",
    "channel.defaults.allow_presence_for_client",
    "channel.defaults.allow_presence_for_subscriber",
    "channel.defaults.allow_publish_for_anonymous",
    "channel.defaults.allow_publish_for_client",
    "channel.defaults.allow_publish_for_subscriber",
    "channel.defaults.allow_subscribe_for_anonymous",
    "channel.defaults.allow_subscribe_for_client",
    "channel.defaults.allow_user_limited_channels",
    "channel.defaults.force_push_join_leave",
    "channel.defaults.history_size",
    "channel.defaults.history_ttl",
    "channel.defaults.join_leave",
    "channel.defaults.presence",
    "channel.defaults.publish_proxy_enabled",
    "channel.defaults.publish_proxy_name",
    "channel.defaults.sub_refresh_proxy_enabled",
    "channel.defaults.sub_refresh_proxy_name",
    "channel.defaults.subscribe_proxy_enabled",
    "channel.defaults.subscribe_proxy_name",
    "channel.defaults.trace_context",
    "channel.defaults.trace_sampled",
    "channel.namespaces",
    "client.allow_anonymous",
    "client.allowed_origins",
    "client.channel_max_bytes",
    "client.connect_code_to_http_response.enabled",
    "client.connect_code_to_http_response.transforms",
    "client.connect_code_to_unidirectional_disconnect.enabled",
    "client.connect_code_to_unidirectional_disconnect.transforms",
    "client.connect_timeout",
    "client.expiry_grace",
    "client.history_max",
    "client.max_connections_per_user",
    "client.max_errors",
    "client.max_reads",
    "client.max_subscriptions",
    "client.max_unauthenticated",
    "client.max_unauthenticated_per_connection",
    "client.message_max_bytes",
    "client.outbox_max_bytes",
    "client.personal_channels",
    "client.ping_interval",
    "client.pong_timeout",
    "client.proxy.legacy_errors",
    "client.proxy.traceparent",
    "client.reply_max_bytes",
    "client.wrong_ids_per_minute",
    "client.wrong_tokens_per_minute",
    "cluster.advertise",
    "cluster.answer_timeout",
    "cluster.heartbeat",
    "cluster.lease",
    "cluster.max_forwarded",
    "development.admin",
    "development.echo",
    "development.page",
    "development.page_api_key",
    "development.sockjs_conformance",
    "drain.grace",
    "drain.seconds",
    "event_log.failed_publishes",
    "event_log.gaps",
    "event_log.max_bytes",
    "event_log.sessions",
    "event_log.subscriptions",
    "hooks.collapse",
    "hooks.grace",
    "hooks.partitions",
    "hooks.session_grace",
    "http.address",
    "http.backlog",
    "http.handshakes_per_second",
    "http.header_max_bytes",
    "http.keep_alive",
    "http.max_connections",
    "http.max_handshakes",
    "http.max_handshakes_per_address",
    "http.request_timeout",
    "http.shutdown_timeout",
    "http.tcp_keepalive",
    "http.tcp_user_timeout",
    "http.tls.certificate",
    "http.tls.key",
    "http.trusted_proxies",
    "http.workers",
    "log.format",
    "log.level",
    "memory.max_bytes",
    "memory.replies_max_bytes",
    "metrics.clients",
    "metrics.namespaces",
    "node.name",
    "poll.limit",
    "poll.max_wait",
    "poll.max_waiting",
    "reads.api",
    "reads.catch_up",
    "reads.clients",
    "reads.large",
    "reads.max_wait",
    "rpc.concurrency",
    "rpc.namespaces",
    "rpc.without_namespace.proxy_enabled",
    "rpc.without_namespace.proxy_name",
    "settings.certificates",
    "settings.watch",
    "sockjs.base_url",
    "sockjs.batch_max_bytes",
    "sockjs.batch_max_messages",
    "sockjs.bind_to_address",
    "sockjs.client_url",
    "sockjs.cookie_needed",
    "sockjs.disconnect_delay",
    "sockjs.heartbeat",
    "sockjs.max_waiting",
    "sockjs.response_max_bytes",
    "sockjs.websocket",
    "stomp.body_max_bytes",
    "stomp.connect_timeout",
    "stomp.head_max_bytes",
    "stomp.header_max_bytes",
    "stomp.heart_beat_receive",
    "stomp.heart_beat_send",
    "stomp.linger",
    "stomp.max_headers",
    "stomp.max_transactions",
    "stomp.queue.allow_clients",
    "stomp.queue.max_attempts",
    "stomp.queue.max_bytes",
    "stomp.queue.max_messages",
    "stomp.queue.prefetch",
    "stomp.queue.ttl",
    "stomp.tcp.address",
    "stomp.tcp.tls.certificate",
    "stomp.tcp.tls.key",
    "stomp.transaction_max_bytes",
    "stomp.transaction_max_messages",
    "stomp.wrong_logins_per_minute",
    "telemetry.channel_names",
    "telemetry.otlp.ca_pem_file",
    "telemetry.otlp.endpoint",
    "telemetry.otlp.service_name",
    "telemetry.otlp.timeout",
    "telemetry.otlp.traces_endpoint",
    "telemetry.sample",
    "token.audience",
    "token.ed25519_public_key",
    "token.issuer",
    "token.jwks_refresh",
    "token.leeway",
    "websocket.close_timeout",
    "websocket.compression",
    "websocket.compression_threshold_bytes",
    "websocket.subprotocols",
];

/// Settings of which it may be seen whether they are set.
const SECRET: &[&str] = &[
    "broker.redis.url",
    "admin.oidc.client_secret",
    "admin.password_hash",
    "api.keys",
    "cluster.secret",
    "token.hmac_secret",
    "token.hmac_secret_previous",
];

/// A setting as an operator sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VisibleSetting {
    /// Its key, with dots.
    pub name: String,
    /// Its value; of a secret how long it is.
    pub value: Value,
    /// `default`, `file` or `environment`.
    pub source: String,
}

/// The settings that may be seen, by name.
pub fn visible(settings: &Settings) -> Vec<VisibleSetting> {
    let set_by_environment = set_by_environment();
    let (values, defaults) = (flat(settings), flat(&Settings::default()));
    let source = |name: &str, value: &Value| {
        if set_by_environment.iter().any(|key| key == name) {
            "environment"
        } else if defaults.get(name) == Some(value) {
            "default"
        } else {
            "file"
        }
    };
    let seen = VISIBLE.iter().filter_map(|name| {
        let value = values.get(*name)?;
        Some(VisibleSetting {
            name: (*name).to_owned(),
            value: value.clone(),
            source: source(name, value).to_owned(),
        })
    });
    let secret = SECRET.iter().filter_map(|name| {
        let value = values.get(*name)?;
        let source = source(name, value).to_owned();
        Some(VisibleSetting { name: (*name).to_owned(), value: Value::from(outline(value)), source })
    });
    let mut all: Vec<_> = seen.chain(secret).collect();
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all
}

/// The keys of the settings that variables of this process have set.
pub fn set_by_environment() -> Vec<String> {
    environment().unwrap_or_default().keys().filter_map(|name| setting_of(name)).collect()
}

/// The text that is shown for a secret.
fn outline(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "not set".to_owned(),
        Value::String(text) => format!("set, {} characters", text.chars().count()),
        Value::Array(list) if list.is_empty() => "not set".to_owned(),
        Value::Array(list) => format!("{} set", list.len()),
        Value::Null => "not set".to_owned(),
        _ => "set".to_owned(),
    }
}

/// All settings by their keys. Settings that are no JSON there are none.
fn flat(settings: &Settings) -> HashMap<String, Value> {
    let mut all = HashMap::new();
    flatten(&serde_json::to_value(settings).unwrap_or_default(), "", &mut all);
    all
}

fn flatten(value: &Value, prefix: &str, into: &mut HashMap<String, Value>) {
    match value {
        Value::Object(table) => table.iter().for_each(|(key, value)| {
            let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            flatten(value, &key, into);
        }),
        value => {
            into.insert(prefix.to_owned(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const MARK: &str = "NEVER-TO-BE-SEEN-0123456789";

    #[test]
    fn every_name_of_the_lists_is_a_setting() {
        let all = flat(&Settings::default());
        for name in VISIBLE.iter().chain(SECRET) {
            assert!(all.contains_key(*name), "{name}");
        }
    }

    #[test]
    fn of_a_secret_only_its_length_is_seen() {
        let text = format!(
            "[api]\nkeys = ['{MARK}']\n[token]\nhmac_secret = '{MARK}'\nhmac_secret_previous = '{MARK}'\n[cluster]\nsecret = '{MARK}'\n\
             [broker.redis]\nuser = 'u'\npassword = '{MARK}'\n[[stomp.users]]\nname = 'a'\npassword = '{MARK}'\n\
             [[admin.keys]]\nname = 'a'\nkey = '{MARK}'\n\
             [admin.oidc]\nissuer = 'https://id.test'\nclient_id = 'a'\nclient_secret = '{MARK}'\n\
             [[admin.oidc.roles]]\nvalue = 'a'\n"
        );
        let settings = Settings::from_text(&text, &HashMap::new()).unwrap();
        let seen = visible(&settings);
        assert!(!serde_json::to_string(&seen).unwrap().contains(MARK));
        let value = |name: &str| seen.iter().find(|one| one.name == name).unwrap();
        assert_eq!(value("token.hmac_secret").value, "set, 27 characters");
        assert_eq!(
            (&value("api.keys").value, value("api.keys").source.as_str()),
            (&Value::from("1 set"), "file")
        );
        assert_eq!(
            (value("http.address").source.as_str(), value("cluster.secret").source.as_str()),
            ("default", "file")
        );
    }
}
