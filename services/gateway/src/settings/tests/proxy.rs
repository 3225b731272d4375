//! Settings of proxies: the example that shows them, what is refused, and how the error names it.

use std::time::Duration;

use super::*;
use crate::settings::{ProxyEvent, ProxySettings};

const ENDPOINT: &str = "endpoint = 'http://backend.test/'";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A proxy for connects with these lines.
fn connect_with(lines: &str) -> Result<Settings, String> {
    load(&format!("[client.proxy.connect]\nenabled = true\n{ENDPOINT}\n{lines}"))
}

#[test]
fn the_file_shows_every_setting_of_a_proxy_with_its_default() {
    let shown = SHOWN.lines().skip_while(|line| *line != "#   [client.proxy.connect]");
    let shown = shown.map_while(|line| line.strip_prefix("#   "));
    let shown = shown.collect::<Vec<_>>().join("\n");
    let settings = load(&shown).unwrap();
    let written = settings.client.proxy.connect.unwrap();
    let expected = ProxySettings {
        enabled: Some(true),
        endpoint: "https://backend.example.com/gorani/connect".to_owned(),
        ..ProxySettings::default()
    };
    assert_eq!(*written, expected);
    let file: Value = config::Config::builder()
        .add_source(config::File::from_str(&shown, config::FileFormat::Toml))
        .build()
        .and_then(config::Config::try_deserialize)
        .unwrap();
    let (mut in_file, mut in_code) = (Vec::new(), Vec::new());
    keys(&file["client"]["proxy"]["connect"], "", &mut in_file);
    keys(&serde_json::to_value(expected).unwrap(), "", &mut in_code);
    // The key is a secret, so it is never written.
    in_code.push(".http.tls.key_pem".to_owned());
    in_file.sort();
    in_code.sort();
    assert_eq!(in_file, in_code);
}

#[test]
fn without_proxies_none_is_configured() {
    assert!(Settings::default().configured_proxies().is_empty());
    let off = load(&format!("[client.proxy.connect]\nenabled = false\n{ENDPOINT}")).unwrap();
    assert!(off.configured_proxies().is_empty());
}

#[test]
fn what_is_wrong_in_a_proxy_is_refused_and_named() {
    for (lines, named) in [
        ("timeout = '0s'", "timeout"),
        ("timeout = '61s'", "timeout"),
        ("http_headers = ['Host']", "http_headers: \"Host\" belongs to the client's connection"),
        ("http_headers = ['Sec-WebSocket-Key']", "http_headers"),
        ("http_headers = ['a b']", "is no name of a header"),
        ("emulated_headers = ['TE']", "emulated_headers"),
        ("http = { static_headers = { Expect = 'x' } }", "http.static_headers"),
        ("http = { static_headers = { X-A = \"a\\nb\" } }", "http.static_headers: the value of"),
        ("http = { status_to_code_transforms = [{ status_code = 404 }] }", "needs one of to_error"),
        (
            "http = { status_to_code_transforms = [{ status_code = 404, to_error = { code = 1 }, to_disconnect = { code = 4500 } }] }",
            "needs one of to_error",
        ),
        (
            "http = { status_to_code_transforms = [{ status_code = 404, to_error = { code = 0 } }] }",
            "code must be",
        ),
        (
            "http = { status_to_code_transforms = [{ status_code = 4, to_error = { code = 1 } }] }",
            "status_code",
        ),
        ("max_in_flight = 0", "max_in_flight"),
        ("max_waiting = 10000000", "max_waiting"),
        ("response_max_bytes = 10", "response_max_bytes"),
        ("secrets = ['secret']", "secrets: number 1 must begin with whsec_"),
        ("secrets = ['whsec_c2hvcnQ=']", "holds 5 bytes"),
        ("name = 'orders'", "name is for the entries of proxies"),
        ("breaker = { failures = 0 }", "breaker"),
        ("breaker = { max_open = '1ms' }", "breaker.max_open"),
        ("http2 = 'on'", "http2"),
        ("http = { tls = { cert_pem_file = 'a.pem' } }", "a certificate needs its key"),
        ("http = { tls = { ca_pem = 'a', ca_pem_file = 'a.pem' } }", "ca_pem and ca_pem_file"),
        ("colour = 'blue'", "colour"),
    ] {
        let error = connect_with(lines).unwrap_err();
        assert!(error.contains(named) && error.contains("client.proxy.connect"), "{lines} gave {error}");
        assert_eq!(error.trim().lines().count(), 1, "{error:?}");
    }
    let both = format!("secrets = ['{SECRET}']\nsecrets_file = 'a'");
    assert!(connect_with(&both).unwrap_err().contains("secrets and secrets_file"));
    let undecided = load(&format!("[client.proxy.connect]\n{ENDPOINT}")).unwrap_err();
    assert!(undecided.contains("client.proxy.connect: enabled must be"), "{undecided}");
}

#[test]
fn an_endpoint_is_an_address_of_http_with_a_host_and_without_a_user() {
    for (endpoint, named) in [
        ("", "endpoint is not set"),
        ("grpc://backend.test:9000", "gRPC"),
        ("ftp://backend.test", "http://"),
        ("backend.test/x", "endpoint"),
        ("unix:///tmp/socket", "http://"),
        ("http://user:topsecret@backend.test/", "http.static_headers"),
        ("http://backend.test/#a", "fragment"),
    ] {
        let error = load(&format!("[channel.proxy.subscribe]\nendpoint = '{endpoint}'")).unwrap_err();
        assert!(error.contains("channel.proxy.subscribe") && error.contains(named), "{endpoint}: {error}");
        assert!(!error.contains("topsecret"), "{error}");
    }
}

#[test]
fn a_name_means_a_proxy_that_is_there() {
    let named = format!("[[proxies]]\nname = 'orders'\n{ENDPOINT}\n");
    for (text, problem) in [
        (
            "[channel.defaults]\nsubscribe_proxy_enabled = true",
            "channel.proxy.subscribe: channel.defaults switches",
        ),
        (
            "[[channel.namespaces]]\nname = 'a'\npublish_proxy_enabled = true",
            "channel.proxy.publish: namespace \"a\"",
        ),
        ("[[channel.namespaces]]\nname = 'a'\nsub_refresh_proxy_enabled = true", "channel.proxy.sub_refresh"),
        (
            "[[channel.namespaces]]\nname = 'a'\nsubscribe_proxy_enabled = true\nsubscribe_proxy_name = 'nobody'",
            "names the proxy \"nobody\"",
        ),
        ("[rpc.without_namespace]\nproxy_enabled = true", "rpc.proxy: rpc.without_namespace"),
        ("[[rpc.namespaces]]\nname = 'a'\nproxy_enabled = true\nproxy_name = 'x'", "rpc namespace \"a\""),
        ("[[rpc.namespaces]]\nname = 'a'\n[[rpc.namespaces]]\nname = 'a'", "rpc.namespaces"),
        ("[[rpc.namespaces]]\nname = ''", "rpc.namespaces"),
        ("[rpc]\nconcurrency = 0", "rpc.concurrency"),
        ("[[proxies]]\nname = 'orders'\nendpoint = 'http://a.test'", "\"orders\" is there twice"),
        ("[[proxies]]\nname = 'default'\nendpoint = 'http://a.test'", "proxies: \"default\""),
        ("[[proxies]]\nname = 'rpc.proxy'\nendpoint = 'http://a.test'", "proxies: \"rpc.proxy\""),
        ("[[proxies]]\nname = 'a b'\nendpoint = 'http://a.test'", "proxies: \"a b\""),
        ("[[proxies]]\nendpoint = 'http://a.test'", "proxies: \"\""),
        (
            "[[proxies]]\nname = 'other'\nenabled = true\nendpoint = 'http://a.test'",
            "enabled is for client.proxy",
        ),
    ] {
        let error = load(&format!("{named}{text}")).unwrap_err();
        assert!(error.contains(problem), "{text} gave {error}");
    }
    let text = format!(
        "{named}[channel.proxy.subscribe]\n{ENDPOINT}\n[[channel.namespaces]]\nname = 'a'\nsubscribe_proxy_enabled = true\n\
         subscribe_proxy_name = 'orders'\n[channel.defaults]\nsubscribe_proxy_enabled = true",
    );
    let settings = load(&text).unwrap();
    let name_in = |proxies| ProxyEvent::Subscribe.name_in(proxies);
    let index = |proxies| settings.proxy_index(ProxyEvent::Subscribe, name_in(proxies));
    assert_eq!(index(&settings.channel.default_proxies), Some(0));
    assert_eq!(index(&settings.channel.namespaces[0].proxies), Some(1));
    let labels: Vec<_> = settings.configured_proxies().iter().map(|proxy| proxy.label).collect();
    assert_eq!(labels, ["channel.proxy.subscribe", "orders"]);
}

#[test]
fn the_environment_sets_a_proxy_too() {
    let variables = [
        ("GORANI__CLIENT__PROXY__CONNECT__ENABLED", "true"),
        ("GORANI__CLIENT__PROXY__CONNECT__ENDPOINT", "http://backend.test"),
        ("GORANI__CLIENT__PROXY__CONNECT__TIMEOUT", "3s"),
        ("GORANI__CHANNEL__DEFAULTS__SUBSCRIBE_PROXY_ENABLED", "false"),
    ];
    let settings = Settings::from_text("", &environment(&variables)).unwrap();
    assert_eq!(settings.client.proxy.connect.unwrap().timeout, Duration::from_secs(3));
}

#[test]
fn debug_shows_no_secret_of_a_proxy() {
    let lines = format!(
        "secrets = ['{SECRET}']\nhttp = {{ static_headers = {{ Authorization = 'topsecret' }}, tls = {{ key_pem = 'topsecret', cert_pem = 'a' }} }}"
    );
    let settings = connect_with(&lines).unwrap();
    let shown = format!("{settings:?}");
    assert!(!shown.contains("topsecret") && !shown.contains("whsec_"), "{shown}");
    assert!(shown.contains("1 set"), "{shown}");
    let written = serde_json::to_string(&settings.client.proxy).unwrap();
    assert!(!written.contains("whsec_") && !written.contains("key_pem\":"), "{written}");
}
