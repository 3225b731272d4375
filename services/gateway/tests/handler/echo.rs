//! `/echo`, as conformance suites use it.

use tokio_tungstenite::tungstenite::Message;

use crate::node::{Node, settings};

#[test]
fn every_message_comes_back_as_it_is_up_to_sixteen_mebibytes() {
    let mut settings = settings();
    settings.development.echo = true;
    let node = Node::start(settings, |node| node);
    let mut client = node.open("/echo");
    for length in [0, 1, 125, 126, 65_535, 65_536, 1024 * 1024, 16 * 1024 * 1024] {
        let text = Message::text("x".repeat(length));
        client.0.send(text.clone()).unwrap();
        assert!(client.0.read().unwrap() == text, "text of {length}");
        let binary = Message::binary(vec![0xFE; length]);
        client.0.send(binary.clone()).unwrap();
        assert!(client.0.read().unwrap() == binary, "binary of {length}");
    }
}

#[test]
fn it_is_not_there_unless_the_settings_say_so() {
    let node = Node::start(settings(), |node| node);
    assert_eq!(node.open_with(node.request("/echo")).err().unwrap().0, 404);
}
