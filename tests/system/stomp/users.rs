//! SEND to `/user/{id}/queue/…`: it reaches the user of that id and nobody else, however the id is written.

use std::time::{SystemTime, UNIX_EPOCH};

use gorani_tests::{
    node::{Node, free_address},
    stomp::Stomp,
};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;

use super::{BACKEND, settings};

const SECRET: &str = "secret-of-the-tests-long-enough-for-hs256";

/// Ids of users, and how they are written in a destination. Each, decoded too often or too seldom, is another one's.
const USERS: [(&str, &str); 7] = [
    ("a/b", "a%2Fb"),
    ("a%2Fb", "a%252Fb"),
    ("a%252Fb", "a%25252Fb"),
    ("queue", "%71ueue"),
    ("42", "42"),
    ("4%32", "4%2532"),
    ("me@there", "me%40there"),
];

fn token(user: &str) -> String {
    let expires = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 600;
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&Header::default(), &json!({"sub": user, "exp": expires}), &key).unwrap()
}

#[test]
fn item_55_what_is_sent_to_a_user_reaches_that_user_and_nobody_else() {
    let tcp = free_address();
    let settings = settings(tcp)
        .set("token.hmac_secret", format!("\"{SECRET}\""))
        .set("channel.namespaces", r#"[{ name = "own", allow_user_limited_channels = true }]"#);
    let _node = Node::start(settings);
    let mut clients = USERS.map(|(user, _)| {
        let mut client = Stomp::connect(tcp, &format!("passcode:{}\n", token(user)));
        client.subscribe("0", "/user/queue/own:orders", "");
        client
    });
    let mut backend = Stomp::connect(tcp, BACKEND);
    for (user, written) in USERS {
        backend.send(&format!("/user/{written}/queue/own:orders"), "receipt:r\n", user.as_bytes());
        backend.receipt("r");
    }
    // Whatever else came would come before this one.
    for (_, written) in USERS {
        backend.send(&format!("/user/{written}/queue/own:orders"), "", b"last");
    }
    for (client, (user, _)) in clients.iter_mut().zip(USERS) {
        assert_eq!((client.message().text(), client.message().text()), (user, "last"));
    }
}

#[test]
fn item_55_an_id_that_could_be_somebody_elses_is_an_error() {
    let tcp = free_address();
    let _node = Node::start(settings(tcp));
    for user in ["50%", "%zz", "%FF", "43%2C42", "43%2342", "", "queue/queue"] {
        let mut backend = Stomp::connect(tcp, BACKEND);
        backend.send(&format!("/user/{user}/queue/open:orders"), "receipt:r\n", b"x");
        let frame = backend.frame();
        assert_eq!((frame.command.as_str(), frame.get("receipt-id")), ("ERROR", Some("r")), "{user}");
        assert_eq!(frame.get("code"), Some("107"), "{user}");
    }
}
