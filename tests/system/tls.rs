//! TLS: `wss` and `https` with a self-signed certificate on the node's one port. Issue line "TLS by rustls".

use std::{
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
    time::Duration,
};

use gorani_tests::{
    client::PATH,
    http::Api,
    node::{API_KEY, Node, Settings},
};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName},
};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::eventually;

/// A TLS connection of a client.
pub(crate) type Stream = StreamOwned<ClientConnection, TcpStream>;

/// Settings of a new certificate for `localhost` at `section` (`http.tls`), and who trusts it.
pub(crate) fn certified(settings: Settings, section: &str, files: &Path) -> (Settings, Arc<ClientConfig>) {
    let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| files.join(name));
    let config = write_certificate(files);
    let settings = settings
        .set(&format!("{section}.certificate"), format!("{certificate:?}"))
        .set(&format!("{section}.key"), format!("{key:?}"));
    (settings, config)
}

/// Writes a new certificate for `localhost` and its key into the files that [`certified`] names, and returns who trusts it.
pub(crate) fn write_certificate(files: &Path) -> Arc<ClientConfig> {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| files.join(name));
    std::fs::write(&certificate, certified.cert.pem()).unwrap();
    std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(certified.cert.der().to_vec())).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// A node with a certificate of its own, and who trusts it.
fn start(files: &Path) -> (Node, Arc<ClientConfig>) {
    start_with(Settings::open(), files)
}

/// The same with other settings.
pub(crate) fn start_with(settings: Settings, files: &Path) -> (Node, Arc<ClientConfig>) {
    let (settings, config) = certified(settings, "http.tls", files);
    let node = Node::spawn(settings);
    let address = node.address();
    eventually("the node listens", Duration::from_secs(60), || TcpStream::connect(address).is_ok());
    (node, config)
}

fn connect(node: &Node, config: &Arc<ClientConfig>) -> Stream {
    connect_to(node.address(), config)
}

/// A connection whose handshake comes with its first bytes.
pub(crate) fn connect_to(address: SocketAddr, config: &Arc<ClientConfig>) -> Stream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(config.clone(), name).unwrap(), stream)
}

/// Sends an HTTP/1.1 request and returns the whole answer.
pub(crate) fn request(node: &Node, config: &Arc<ClientConfig>, head: &str, body: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = connect(node, config);
    let length = body.len();
    write!(stream, "{head} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {API_KEY}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}").unwrap();
    let mut answer = Vec::new();
    // The end of the connection may come without the end of TLS: what came before it is what counts.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn json_of(message: Message) -> Value {
    serde_json::from_str(message.to_text().unwrap()).unwrap()
}

#[test]
fn wss_carries_the_client_protocol_and_https_the_api() {
    let files = tempfile::TempDir::new().unwrap();
    let (node, config) = start(files.path());
    let url = format!("wss://localhost:{}{PATH}", node.address().port());
    let (mut socket, response) = tungstenite::client(url, connect(&node, &config)).unwrap();
    assert_eq!(response.status(), 101);
    let commands = [json!({"id": 1, "connect": {}}), json!({"id": 2, "subscribe": {"channel": "open:a"}})];
    for command in commands {
        socket.send(Message::text(command.to_string())).unwrap();
        assert!(json_of(socket.read().unwrap()).get("error").is_none());
    }
    let large = "x".repeat(100_000);
    for data in ["small", &large] {
        let body = json!({"channel": "open:a", "data": data}).to_string();
        let answer = request(&node, &config, "POST /api/publish", &body);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(json_of(socket.read().unwrap())["push"]["pub"]["data"], *data);
    }
    socket.close(None).unwrap();
}

#[test]
fn plain_http_on_a_tls_port_is_not_served_and_harms_nobody() {
    let files = tempfile::TempDir::new().unwrap();
    let (node, config) = start(files.path());
    assert!(Api::new(node.address(), API_KEY).try_get("/health/live").is_err());
    assert!(request(&node, &config, "GET /health/ready", "").starts_with("HTTP/1.1 200"));
}

#[test]
fn a_client_that_offers_http_2_too_streams_over_http_1() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    let files = tempfile::TempDir::new().unwrap();
    let (node, config) = start(files.path());
    let url = format!("https://localhost:{}/connection/uni_sse?channels=open:a", node.address().port());
    let mut curl = Command::new("curl")
        .args(["-skiN", "--http2", "-m", "30", &url])
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl is installed; `make test` sees to it");
    let mut lines = BufReader::new(curl.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().starts_with("HTTP/1.1 200"));
    let mut data = lines.filter_map(|line| Some(line.strip_prefix("data: ")?.to_owned()));
    assert!(data.next().unwrap().contains("connect"));
    for number in 0..3 {
        let body = json!({"channel": "open:a", "data": number}).to_string();
        assert!(request(&node, &config, "POST /api/publish", &body).starts_with("HTTP/1.1 200"));
        let object: Value = serde_json::from_str(&data.next().unwrap()).unwrap();
        assert_eq!(object["pub"]["data"], number);
    }
    curl.kill().unwrap();
    curl.wait().unwrap();
}

#[test]
fn a_client_that_offers_http_2_alone_is_told_to_use_http_1_and_one_that_offers_neither_is_refused() {
    use std::io::{ErrorKind, Read, Write};

    let files = tempfile::TempDir::new().unwrap();
    let (node, config) = start(files.path());
    let offering = |protocol: &[u8]| {
        let mut config = ClientConfig::clone(&config);
        config.alpn_protocols = vec![protocol.to_vec()];
        connect(&node, &Arc::new(config))
    };
    let mut stream = offering(b"h2");
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it closes cleanly");
    let (settings, goaway) = answer.split_at(9);
    assert_eq!(settings, [0, 0, 0, 4, 0, 0, 0, 0, 0], "an empty SETTINGS frame");
    // GOAWAY of 8 bytes on stream 0: no stream was processed, HTTP_1_1_REQUIRED.
    assert_eq!(goaway, [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xD]);
    let refused = offering(b"acme").write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidData, "no_application_protocol: {refused}");
    assert!(request(&node, &config, "GET /health/ready", "").starts_with("HTTP/1.1 200"));
}

#[test]
fn a_certificate_that_is_renewed_or_broken_on_disk_makes_no_node_unhealthy_and_gets_no_token() {
    use std::process::{Command, Output};

    let run = |node: &Node, files: &Path, arguments: &[&str]| -> Output {
        Command::new(gorani_tests::binary::node())
            .args(arguments)
            .env("GORANI__HTTP__ADDRESS", node.address().to_string())
            .env("GORANI__HTTP__TLS__CERTIFICATE", files.join("certificate.pem"))
            .env("GORANI__HTTP__TLS__KEY", files.join("key.pem"))
            .output()
            .unwrap()
    };
    let [own, others] = [(); 2].map(|()| tempfile::TempDir::new().unwrap());
    let (node, _) = start(own.path());
    let _other = start(others.path());
    let asked = ["admin", "nodes", "--key", "admin-key-of-the-tests-0123456789"];
    let answer = run(&node, own.path(), &asked);
    assert_ne!(answer.status.code(), Some(3), "the node is reached: {answer:?}");
    for files in [own.path(), others.path()] {
        let answer = run(&node, files, &["health", "live"]);
        assert!(answer.status.success(), "{answer:?}");
    }
    let answer = run(&node, others.path(), &asked);
    assert_eq!(answer.status.code(), Some(3), "{answer:?}");
    let said = String::from_utf8_lossy(&answer.stderr).into_owned();
    assert!(said.contains("shows another certificate") && said.contains("SIGHUP"), "{said}");
    std::fs::write(others.path().join("certificate.pem"), "nothing of PEM").unwrap();
    assert!(run(&node, others.path(), &["health", "live"]).status.success());
    let said = String::from_utf8_lossy(&run(&node, others.path(), &asked).stderr).into_owned();
    assert!(said.contains("certificate.pem: no certificate is in it"), "{said}");
}
