//! What is malformed yields an ERROR with a reason, which arrives before the end. `docs/protocols/stomp.md` §1 and §10.1.

use gorani_tests::stomp::Stomp;

use super::node;

#[test]
fn item_49_every_kind_of_malformed_input_is_told_and_ends_the_connection() {
    let (node, tcp) = node();
    let long = format!("SEND\ndestination:/topic/open:a\nx:{}\n\n\0", "x".repeat(16 * 1024));
    let many = format!("SEND\n{}\n\0", (0..101).map(|number| format!("h{number}:\n")).collect::<String>());
    for (input, reason) in [
        ("FOO\n\n\0", "unknown command"),
        ("SEND\ndestination\n\n\0", "a header line without a colon"),
        ("SEND\n:x\n\n\0", "a header without a name"),
        ("SEND\na:\\t\n\n\0", "an escape that this version does not have"),
        ("SEND\na:b\rc\n\n\0", "a carriage return where none may be"),
        ("SEND\ncontent-length:x\n\n\0", "content-length is not a number"),
        ("SEND\ncontent-length:65537\n\n", "a body longer than 65536 bytes"),
        ("SEND\ncontent-length:1\n\nab\0", "the body does not end where content-length says"),
        ("SEND\ndestination:a\0", "the frame ends within its headers: the empty line is missing"),
        ("SUBSCRIBE\nid:0\n\nbody\0", "a SUBSCRIBE frame has no body"),
        ("SEND\n\nbody\0", "no destination"),
        ("CONNECT\n\n\0", "the session is open already"),
        (&long, "a header line longer than 16384 bytes"),
        (&many, "more than 100 headers"),
        ("SUBSCRIBE\nid:0\ndestination:/topic/closed:a\n\n\0", "permission denied"),
        ("SUBSCRIBE\nid:0\ndestination:/topic/nowhere:a\n\n\0", "unknown channel"),
        ("COMMIT\ntransaction:t\n\n\0", "no such transaction"),
        ("ACK\nid:1\n\n\0", "ACK of an unknown message"),
    ] {
        let mut client = Stomp::connect(tcp, "");
        client.say(input);
        let frame = client.frame();
        assert_eq!((frame.command.as_str(), frame.get("message")), ("ERROR", Some(reason)), "{input:.60}");
        assert_eq!(client.frame_or_end().unwrap(), None, "{input:.60}");
    }
    let mut client = Stomp::open(tcp);
    client.say("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(client.frame().get("message"), Some("the first frame must be CONNECT or STOMP"));
    assert_eq!(node.api().get("/health/ready").0, 200);
}
