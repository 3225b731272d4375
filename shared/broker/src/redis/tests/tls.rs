//! Reaching the server by TLS.

use std::fs;

use super::{
    super::{RedisSettings, TlsSettings},
    fixture::{RedisFixture, SinkCall, quick},
    server::{Server, free_port},
};
use crate::{Broker as _, Health};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_is_reached_by_tls_and_only_when_its_certificate_is_believed() {
    let files = tempfile::tempdir().unwrap();
    let (cert, key) = (files.path().join("cert.pem"), files.path().join("key.pem"));
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let port = free_port();
    let (cert_text, key_text) = (cert.display().to_string(), key.display().to_string());
    let _server = Server::start_with(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &cert_text,
        "--tls-key-file",
        &key_text,
        "--tls-ca-cert-file",
        &cert_text,
        "--tls-auth-clients",
        "no",
    ]);
    let url = format!("rediss://localhost:{port}/0");
    let tls = TlsSettings { ca_file: Some(cert), ..TlsSettings::default() };
    let mut node = RedisFixture::start(RedisSettings { tls, ..quick(url.clone()) }).await;
    node.until_ready().await;
    node.subscribe(&["news"]).await;
    node.publish("news", "x").await.unwrap();
    assert_eq!(node.next().await, SinkCall::Event("news".into(), "x".to_owned()));
    let doubting = RedisFixture::start(quick(url)).await;
    assert!(matches!(doubting.broker.health(), Health::NotReady(_)));
}
