//! Tokens whose keys come from an address: fetched at the start, and again when a token names a key that is new.
//! `docs/protocols/client.md` §10.2 and §10.11.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use gorani_tests::{
    client::Client,
    node::{Node, Settings},
    process::Signal,
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData};
use serde_json::{Value, json};

use crate::eventually;

/// Long enough for a fetch that was put off by the limit of one in ten seconds.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// Somebody who signs tokens.
struct Issuer {
    name: &'static str,
    key: KeyPair,
}

impl Issuer {
    fn new(name: &'static str) -> Self {
        Self { name, key: KeyPair::generate_for(&PKCS_ED25519).unwrap() }
    }

    fn public(&self) -> Value {
        let x = BASE64_URL_SAFE_NO_PAD.encode(self.key.der_bytes());
        json!({"kty": "OKP", "crv": "Ed25519", "kid": self.name, "x": x, "use": "sig", "alg": "EdDSA"})
    }

    fn token(&self, user: &str) -> String {
        let header = Header { kid: Some(self.name.to_owned()), ..Header::new(Algorithm::EdDSA) };
        let expires = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 600;
        let key = EncodingKey::from_ed_der(&self.key.serialize_der());
        jsonwebtoken::encode(&header, &json!({"sub": user, "exp": expires}), &key).unwrap()
    }
}

/// Serves what `keys` holds to whoever asks.
fn serve(keys: Arc<Mutex<Value>>) -> SocketAddr {
    serve_with(move |_| {
        let body = keys.lock().unwrap().to_string();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
    })
}

/// Answers each request, of which it is told the first line.
fn serve_with(mut answer: impl FnMut(&str) -> String + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().and_then(Result::ok).unwrap_or_default();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            // A node that has gone does not wait for the answer.
            let _ = stream.write_all(answer(&first).as_bytes());
        }
    });
    address
}

/// A redirect to `location`.
fn redirect(location: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

async fn connect(node: &Node, token: &str) -> Value {
    Client::open(node.address()).await.command("connect", json!({ "token": token })).await
}

/// Connects again and again, as SDKs do after a temporary error, until it is let in.
async fn eventually_connect(node: &Node, token: &str) -> Value {
    let give_up = std::time::Instant::now() + TIME_LIMIT;
    loop {
        let reply = connect(node, token).await;
        if reply.get("error").is_none() {
            return reply;
        }
        assert_eq!(reply["error"]["temporary"], true, "{reply}");
        assert!(std::time::Instant::now() < give_up, "{reply}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn keys_are_fetched_from_their_address_and_again_when_a_token_names_a_new_one() {
    let [first, second] = [Issuer::new("first"), Issuer::new("second")];
    let keys = Arc::new(Mutex::new(json!({"keys": [first.public()]})));
    let address = serve(keys.clone());
    let node = Node::start(
        Settings::open()
            .set("client.allow_anonymous", "false")
            .set("token.jwks_url", format!("\"http://{address}/keys.json\"")),
    );
    assert!(eventually_connect(&node, &first.token("42")).await["connect"]["client"].is_string());

    *keys.lock().unwrap() = json!({"keys": [first.public(), second.public()]});
    assert!(eventually_connect(&node, &second.token("43")).await["connect"]["client"].is_string());
    assert!(connect(&node, &first.token("42")).await.get("error").is_none());
}

#[tokio::test]
async fn a_redirect_is_followed_on_the_same_host_and_never_to_another() {
    let issuer = Issuer::new("only");
    let keys = json!({"keys": [issuer.public()]});
    let elsewhere = serve(Arc::new(Mutex::new(keys.clone())));
    let start = |address: SocketAddr| {
        let url = format!("\"http://{address}/keys.json\"");
        Node::spawn(Settings::open().set("client.allow_anonymous", "false").set("token.jwks_url", url))
    };

    // Another port is another host.
    let (asked, was_asked) = std::sync::mpsc::sync_channel(16);
    let stranger = serve_with(move |_| {
        let _ = asked.try_send(());
        redirect(&format!("http://{elsewhere}/keys.json"))
    });
    let node = start(stranger);
    was_asked.recv_timeout(TIME_LIMIT).unwrap();
    eventually("the refusal is in the log", TIME_LIMIT, || node.output().contains("is not followed"));
    assert!(node.output().contains(&elsewhere.to_string()), "{}", node.output());
    // It may ask for keys before it listens.
    eventually("it lives", TIME_LIMIT, || matches!(node.api().try_get("/health/live"), Ok((200, _))));
    assert!(connect(&node, &issuer.token("42")).await["error"]["code"].is_number());
    // Without keys every client would be refused.
    let (status, answer) = node.api().get("/health/ready");
    assert!(status == 503 && answer.contains("token.jwks_url"), "{status} {answer}");
    assert_eq!(node.api().get("/health/live").0, 200);

    let body = keys.to_string();
    let moved = serve_with(move |first| match first.contains("/keys.json") {
        true => redirect("/moved.json"),
        false => {
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
        }
    });
    let mut node = start(moved);
    node.wait_ready();
    assert!(eventually_connect(&node, &issuer.token("42")).await["connect"]["client"].is_string());
}

#[tokio::test]
async fn keys_that_cannot_be_fetched_at_the_start_are_tried_again_without_a_client_that_asks() {
    let issuer = Issuer::new("late");
    let keys = Arc::new(Mutex::new(Value::Null));
    let address = serve(keys.clone());
    let mut node = Node::spawn(
        Settings::open()
            .set("client.allow_anonymous", "false")
            .set("token.jwks_url", format!("\"http://{address}/keys.json\"")),
    );
    eventually("the failure is in the log", TIME_LIMIT, || {
        node.output().contains("fetching token keys failed")
    });
    *keys.lock().unwrap() = json!({"keys": [issuer.public()]});
    node.wait_ready();
    assert!(eventually_connect(&node, &issuer.token("42")).await["connect"]["client"].is_string());
}

#[tokio::test]
async fn an_address_that_a_reload_brings_is_asked_at_once_and_another_one_takes_its_place() {
    let [first, second] = [Issuer::new("first"), Issuer::new("second")];
    let [at_first, at_second] =
        [&first, &second].map(|issuer| serve(Arc::new(Mutex::new(json!({"keys": [issuer.public()]})))));
    let settings = Settings::open().set("client.allow_anonymous", "false");
    let node = Node::start(settings.clone().set("token.hmac_secret", "\"a secret for the time before\""));
    for (number, address) in [at_first, at_second].into_iter().enumerate() {
        node.write_settings(
            &settings.clone().set("token.jwks_url", format!("\"http://{address}/keys.json\"")),
        );
        node.process().signal(Signal::SIGHUP);
        eventually("the keys are fetched", TIME_LIMIT, || {
            node.output().matches("token keys fetched").count() > number
        });
        let issuer = [&first, &second][number];
        assert!(eventually_connect(&node, &issuer.token("42")).await["connect"]["client"].is_string());
    }
    // A key that is gone is an unknown one.
    assert_eq!(connect(&node, &first.token("42")).await["error"]["code"], 100);
}
