//! STOMP over TCP with TLS. `docs/protocols/stomp.md` §11.4.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use gorani_tests::{
    node::{Node, free_address},
    raw::RawSocket,
    stomp::Stomp,
};
use rustls::ClientConfig;

use super::{BACKEND, settings};
use crate::tls::{Stream, certified, connect_to};

/// Exit code for bad settings.
const BAD_SETTINGS: i32 = 78;

/// A node whose STOMP port speaks TLS, where that is, and who trusts it.
fn start(files: &Path) -> (Node, SocketAddr, Arc<ClientConfig>) {
    let tcp = free_address();
    let (settings, config) = certified(settings(tcp), "stomp.tcp.tls", files);
    (Node::start(settings), tcp, config)
}

fn connect(tcp: SocketAddr, config: &Arc<ClientConfig>) -> Stomp<Stream> {
    let mut client = Stomp::over(connect_to(tcp, config));
    client.begin(BACKEND);
    client
}

#[test]
fn item_58_a_backend_subscribes_receives_and_leaves_over_tls() {
    let files = tempfile::TempDir::new().unwrap();
    let (node, tcp, config) = start(files.path());
    let mut client = connect(tcp, &config);
    client.subscribe("0", "/topic/closed:a", "");
    // The second is of more than one TLS record.
    for data in ["small".to_owned(), "x".repeat(50_000)] {
        node.api().publish("closed:a", &data.clone().into());
        assert_eq!(client.message().text(), serde_json::to_string(&data).unwrap());
    }
    let body = "y".repeat(50_000);
    client.send("/topic/closed:a", "", body.as_bytes());
    assert_eq!(client.message().text(), body);
    client.say("DISCONNECT\nreceipt:bye\n\n\0");
    client.receipt("bye");
    assert_eq!(client.frame_or_end().unwrap(), None);
}

#[test]
fn a_client_without_tls_is_refused_and_harms_nobody() {
    let files = tempfile::TempDir::new().unwrap();
    let (node, tcp, config) = start(files.path());
    let mut client = connect(tcp, &config);
    client.subscribe("0", "/topic/closed:a", "");
    for number in 0..3 {
        let mut plain = RawSocket::connect(tcp);
        plain.write(b"CONNECT\naccept-version:1.2\n\n\0").unwrap();
        let answer = plain.read_to_end().unwrap();
        assert!(!String::from_utf8_lossy(&answer).contains("CONNECTED"), "{answer:?}");
        node.api().publish("closed:a", &number.into());
        assert_eq!(client.message().text(), number.to_string());
    }
    connect(tcp, &config);
}

#[test]
fn a_certificate_that_cannot_be_used_stops_the_start_as_bad_settings() {
    let [own, others] = [(); 2].map(|()| tempfile::TempDir::new().unwrap());
    let (good, _) = certified(settings(free_address()), "stomp.tcp.tls", own.path());
    certified(settings(free_address()), "stomp.tcp.tls", others.path());
    let (missing, strange) = (own.path().join("missing.pem"), others.path().join("key.pem"));
    let bad = [
        ("a file that is not there", good.clone().set("stomp.tcp.tls.certificate", format!("{missing:?}"))),
        ("a key of another certificate", good.clone().set("stomp.tcp.tls.key", format!("{strange:?}"))),
        ("a certificate without its key", good.set("stomp.tcp.tls.key", "\"\"")),
    ];
    let check = |settings: &str| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), settings).unwrap();
        let mut gorani = std::process::Command::new(gorani_tests::binary::node());
        gorani.args(["check", "--config"]).arg(file.path()).output().unwrap().status.code()
    };
    for section in ["http.tls", "stomp.tcp.tls"] {
        let (fine, _) = certified(settings(free_address()), section, own.path());
        assert_eq!(check(&fine.text()), Some(0), "{section}");
        let strange = fine.set(&format!("{section}.key"), format!("{strange:?}"));
        assert_eq!(check(&strange.text()), Some(BAD_SETTINGS), "{section}");
    }
    for (what, settings) in bad {
        assert_eq!(check(&settings.text()), Some(BAD_SETTINGS), "check of {what}");
        let mut node = Node::spawn(settings);
        let status = node.wait_exit(Duration::from_secs(15)).expect(what);
        assert_eq!(status.code(), Some(BAD_SETTINGS), "{what}: {}", node.output());
    }
}
