//! Clients with a user id, on the nodes of a cluster.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gorani_tests::{
    client::Client,
    node::{Node, Settings},
    redis::Redis,
};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;

/// The keys and the algorithm of tokens.
const SECRET: &str = "a secret of thirty-two bytes and more";

/// The lease of [`settings`]: a node that only waits for a core is not taken for dead.
pub(super) const LEASE: Duration = Duration::from_secs(6);

/// The settings of a cluster whose nodes know tokens, and notice a death soon.
pub(super) fn settings(redis: &Redis) -> Settings {
    super::settings(redis)
        .set("token.hmac_secret", format!("\"{SECRET}\""))
        .set("client.personal_channels", "[\"orders\"]")
        .set("cluster.heartbeat", "\"500ms\"")
        .set("cluster.lease", format!("\"{}s\"", LEASE.as_secs()))
        .set("cluster.answer_timeout", "\"4s\"")
}

/// Nodes with these settings.
pub(super) fn start(settings: &Settings) -> Vec<Node> {
    (0..super::NODES).map(|_| Node::start(settings.clone())).collect()
}

pub(super) fn token(user: &str) -> String {
    let expires = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 600;
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&Header::default(), &json!({"sub": user, "exp": expires}), &key).unwrap()
}

/// A client of this user, and its id.
pub(super) async fn connect(node: &Node, user: &str) -> (Client, String) {
    let mut client = Client::open(node.address()).await;
    let reply = client.ok("connect", json!({"token": token(user)})).await;
    (client, reply["client"].as_str().unwrap().to_owned())
}
