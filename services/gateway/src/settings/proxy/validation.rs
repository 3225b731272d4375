//! The checks of the settings of proxies, before the node starts.

use std::{collections::HashSet, str::FromStr, time::Duration};

use actix_http::header::{HeaderName, HeaderValue};
use gorani_auth::ProxyName;
use url::Url;

use super::{ConfiguredProxy, ProxyEvent, ProxySettings, StatusTransformSettings};
use crate::settings::{Settings, SettingsError, backend::decode_secret};

/// Longest time of a call.
const TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// Calls at a time, or waiting, at most.
const CALLS_MAX: usize = 1_000_000;
/// Bytes of an answer.
const RESPONSE_BYTES: std::ops::RangeInclusive<usize> = 1024..=64 * 1024 * 1024;
/// Calls of one session at a time at most: a session has no more pending.
const RPC_CONCURRENCY: std::ops::RangeInclusive<usize> = 1..=64;

/// Headers that belong to the one connection that they came on, and never go to a backend.
const OF_THE_CONNECTION: [&str; 11] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "proxy-connection",
    "upgrade",
    "keep-alive",
    "te",
    "trailer",
    "expect",
    "content-encoding",
];

impl Settings {
    /// Checks every proxy and every use of one.
    pub(in crate::settings) fn validate_proxies(&self) -> Result<(), SettingsError> {
        for event in [ProxyEvent::Connect, ProxyEvent::Refresh] {
            let written = match event {
                ProxyEvent::Connect => &self.client.proxy.connect,
                _ => &self.client.proxy.refresh,
            };
            if written.as_ref().is_some_and(|proxy| proxy.enabled.is_none()) {
                return Err(SettingsError::value(event.key(), "enabled must be true or false"));
            }
        }
        let mut names = HashSet::new();
        for proxy in self.configured_proxies() {
            let refuse = |problem: String| Err(SettingsError::value(proxy.key, problem));
            let settings = proxy.settings;
            if proxy.key == "proxies" {
                if let Err(problem) = check_name(proxy.label) {
                    return refuse(format!("{:?}: {problem}", proxy.label));
                }
                if !names.insert(proxy.label) {
                    return refuse(format!("{:?} is there twice", proxy.label));
                }
            } else if settings.name.is_some() {
                return refuse("name is for the entries of proxies alone".to_owned());
            }
            let is_of_client = ["client.proxy.connect", "client.proxy.refresh"].contains(&proxy.key);
            if settings.enabled.is_some() && !is_of_client {
                return refuse(named(
                    &proxy,
                    "enabled is for client.proxy alone: namespaces switch the others on",
                ));
            }
            if let Err(problem) = check(settings) {
                return refuse(named(&proxy, &problem));
            }
            settings.http.tls.validate(proxy.key)?;
        }
        let mut namespaces = HashSet::new();
        for namespace in &self.rpc.namespaces {
            if namespace.name.is_empty()
                || namespace.name.contains(':')
                || !namespaces.insert(&namespace.name)
            {
                return Err(SettingsError::value(
                    "rpc.namespaces",
                    format!("{:?}: a name is not empty, has no `:` and is there once", namespace.name),
                ));
            }
        }
        if !RPC_CONCURRENCY.contains(&self.rpc.concurrency) {
            return Err(SettingsError::value("rpc.concurrency", "must be between 1 and 64"));
        }
        self.validate_proxy_names()
    }
}

/// The problem, with the proxy's name where several stand under one key.
fn named(proxy: &ConfiguredProxy<'_>, problem: &str) -> String {
    if proxy.key == "proxies" { format!("{:?}: {problem}", proxy.label) } else { problem.to_owned() }
}

fn check_name(name: &str) -> Result<(), &'static str> {
    let is_character = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.len() < 2 || !name.chars().all(is_character) {
        return Err("a name has two or more of letters, digits, `-`, `_` and `.`");
    }
    if name == ProxyName::DEFAULT || ProxyEvent::ALL.iter().any(|event| event.key() == name) {
        return Err("this name stands for a proxy of channel.proxy, client.proxy or rpc.proxy");
    }
    Ok(())
}

fn check(proxy: &ProxySettings) -> Result<(), String> {
    check_endpoint(&proxy.endpoint)?;
    if proxy.timeout < Duration::from_millis(10) || proxy.timeout > TIMEOUT_MAX {
        return Err("timeout must be between 10ms and 60s".to_owned());
    }
    for (list, names) in
        [("http_headers", &proxy.http_headers), ("emulated_headers", &proxy.emulated_headers)]
    {
        for name in names {
            check_header(name).map_err(|problem| format!("{list}: {name:?} {problem}"))?;
        }
    }
    for (name, value) in &proxy.http.static_headers {
        check_header(name).map_err(|problem| format!("http.static_headers: {name:?} {problem}"))?;
        if HeaderValue::from_str(value).is_err() {
            return Err(format!("http.static_headers: the value of {name:?} is no value of a header"));
        }
    }
    for transform in &proxy.http.status_to_code_transforms {
        check_transform(transform)?;
    }
    if !(1..=CALLS_MAX).contains(&proxy.max_in_flight) {
        return Err(format!("max_in_flight must be between 1 and {CALLS_MAX}"));
    }
    if proxy.max_waiting > CALLS_MAX {
        return Err(format!("max_waiting must be at most {CALLS_MAX}"));
    }
    if !RESPONSE_BYTES.contains(&proxy.response_max_bytes) {
        return Err("response_max_bytes must be between 1024 and 67108864".to_owned());
    }
    if !proxy.secrets.0.is_empty() && !proxy.secrets_file.as_os_str().is_empty() {
        return Err("secrets and secrets_file are both set".to_owned());
    }
    for (index, secret) in proxy.secrets.0.iter().enumerate() {
        let number = index + 1;
        decode_secret(secret).map_err(|problem| format!("secrets: number {number} {problem}"))?;
    }
    let breaker = &proxy.breaker;
    if breaker.failures == 0 || breaker.min_calls == 0 || !(1..=100).contains(&breaker.failure_percent) {
        return Err(
            "breaker: failures and min_calls must be above 0, failure_percent between 1 and 100".to_owned()
        );
    }
    if breaker.max_open < Duration::from_secs(1) {
        return Err("breaker.max_open must be at least 1s".to_owned());
    }
    Ok(())
}

fn check_endpoint(endpoint: &str) -> Result<(), String> {
    if endpoint.is_empty() {
        return Err("endpoint is not set".to_owned());
    }
    if endpoint.starts_with("grpc://") || endpoint.starts_with("grpcs://") {
        return Err("endpoint: proxies over gRPC are not supported; the backend must speak HTTP".to_owned());
    }
    let url = Url::parse(endpoint).map_err(|error| format!("endpoint: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("endpoint must begin with http:// or https://".to_owned());
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("endpoint has no host".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("endpoint holds a user; put the credentials in http.static_headers".to_owned());
    }
    if url.fragment().is_some() {
        return Err("endpoint has a fragment, which no server gets".to_owned());
    }
    Ok(())
}

fn check_header(name: &str) -> Result<(), &'static str> {
    let Ok(header) = HeaderName::from_str(name) else {
        return Err("is no name of a header");
    };
    let header = header.as_str();
    if OF_THE_CONNECTION.contains(&header) || header.starts_with("sec-websocket-") {
        return Err("belongs to the client's connection and is never forwarded");
    }
    Ok(())
}

fn check_transform(transform: &StatusTransformSettings) -> Result<(), String> {
    let status = transform.status_code;
    let problem = match (&transform.to_error, &transform.to_disconnect) {
        _ if !(100..=599).contains(&status) => "status_code must be between 100 and 599",
        (Some(error), None) if error.code == 0 => "to_error.code must be above 0",
        (None, Some(end)) if !(3000..=4999).contains(&end.code) => {
            "to_disconnect.code must be between 3000 and 4999"
        }
        (Some(_), None) | (None, Some(_)) => return Ok(()),
        _ => "needs one of to_error and to_disconnect",
    };
    Err(format!("http.status_to_code_transforms: {status}: {problem}"))
}
