//! Wrong logins, tokens and keys.

use gorani_tests::{node::free_address, sockjs::session, stomp::Stomp};

use super::*;

/// The answer to a CONNECT with these headers over TCP: its command and message.
fn login(tcp: SocketAddr, login: &str, passcode: &str) -> (String, Option<String>) {
    let mut client = Stomp::open(tcp);
    client.say(&format!("CONNECT\naccept-version:1.2\nlogin:{login}\npasscode:{passcode}\n\n\0"));
    let frame = client.frame();
    let message = frame.get("message").map(str::to_owned);
    if frame.command == "ERROR" {
        assert_eq!(client.frame_or_end().unwrap(), None, "it is closed");
    }
    (frame.command, message)
}

fn stomp(tcp: SocketAddr) -> Settings {
    Settings::open()
        .set("stomp.users", r#"[{ name = "shop", password = "hush-hush-hush-hush" }]"#)
        .set("stomp.tcp.address", format!("\"{tcp}\""))
        .set("stomp.wrong_logins_per_minute", "5")
}

const RIGHT: &str = "hush-hush-hush-hush";

#[test]
fn wrong_stomp_logins_are_told_the_same_for_every_name_and_limited_over_tcp_websocket_and_sockjs() {
    let tcp = free_address();
    let node = Node::start(stomp(tcp));
    assert_eq!(login(tcp, "shop", RIGHT).0, "CONNECTED");
    assert_eq!(login(tcp, "shop", "wrong"), login(tcp, "nobody", "wrong"));
    eventually("logins are limited", SOON, || {
        login(tcp, "shop", "wrong").1.is_some_and(|message| message.starts_with("too many wrong logins"))
    });
    // Not even the right one is looked at, by whatever way it comes.
    assert_eq!(login(tcp, "shop", RIGHT).0, "ERROR");
    let connect = format!("CONNECT\naccept-version:1.2\nlogin:shop\npasscode:{RIGHT}\n\n\0");
    let mut websocket =
        RawSocket::websocket(node.address(), "/stomp", "Sec-WebSocket-Protocol: v12.stomp\r\n");
    websocket.text(&connect).unwrap();
    let told = String::from_utf8(websocket.read_frame().unwrap().payload).unwrap();
    assert!(told.starts_with("ERROR\nmessage:too many wrong logins"), "{told}");
    let path = session("stomp/sockjs");
    assert_eq!(ask(node.address(), "POST", &format!("{path}/xhr"), "", "").0, 200);
    ask(node.address(), "POST", &format!("{path}/xhr_send"), "", &json!([connect]).to_string());
    let (_, _, told) = ask(node.address(), "POST", &format!("{path}/xhr"), "", "");
    assert!(told.contains("too many wrong logins"), "{told}");
    assert!(refused(&node, "wrong_login") >= 5 && refused(&node, "wrong_login_limit") >= 3);
    // Clients without a name come in as before.
    Stomp::connect(tcp, "");
}

#[test]
fn a_stomp_client_that_gets_no_slot_is_told_to_come_back() {
    let tcp = free_address();
    let node = Node::start(stomp(tcp).set("client.max_unauthenticated", "16"));
    // A session begins with the first byte: a connection that says nothing takes no slot.
    let open = || {
        let mut client = Stomp::open(tcp);
        client.say("\n");
        client
    };
    let held: Vec<_> = (0..16).map(|_| open()).collect();
    let refused_client = || {
        let mut client = open();
        client.wait_at_most(Duration::from_millis(200));
        match client.frame_or_end() {
            Ok(Some(frame)) => Some((frame.command.clone(), frame.get("reconnect") == Some("true"))),
            _ => None,
        }
    };
    eventually("it is refused", SOON, || refused_client() == Some(("ERROR".to_owned(), true)));
    assert!(refused(&node, "unauthenticated") > 0);
    drop(held);
    eventually("there is room again", SOON, || refused_client().is_none());
}

#[test]
fn invalid_tokens_are_limited_by_address_on_every_transport_and_others_come_in() {
    let node = Node::start(settings().set("client.wrong_tokens_per_minute", "3"));
    let stranger = from("192.0.2.1");
    let connect = json!({"id": 1, "connect": {"token": "a.b.c"}}).to_string();
    for _ in 0..3 {
        let mut socket = RawSocket::websocket(node.address(), PATH, &stranger);
        socket.text(&connect).unwrap();
        assert_eq!(socket.read_frame().unwrap().close().0, 3500);
    }
    let mut socket = RawSocket::websocket(node.address(), PATH, &stranger);
    socket.text(&connect).unwrap();
    let told = String::from_utf8(socket.read_frame().unwrap().payload).unwrap();
    assert!(told.contains(r#""code":111"#), "{told}");
    for target in ["/connection/uni_sse", "/connection/uni_http_stream", "/connection/poll"] {
        let bearer = "Authorization: Bearer a.b.c\r\n";
        let of = |client: &str| {
            ask(node.address(), "GET", &format!("{target}?channels=open:a"), &format!("{client}{bearer}"), "")
                .0
        };
        assert_eq!((of(&stranger), of(&from("192.0.2.2"))), (429, 401), "{target}");
    }
    assert!(refused(&node, "wrong_token_limit") >= 4);
}

#[test]
fn wrong_api_keys_are_limited_by_address_and_a_right_one_never_is() {
    let node = Node::start(settings().set("api.wrong_keys_per_minute", "3"));
    let publish = |key: &str| {
        let headers = format!("X-API-Key: {key}\r\n{}", from("192.0.2.1"));
        ask(node.address(), "POST", "/api/publish", &headers, r#"{"channel":"open:a","data":1}"#).0
    };
    assert_eq!([401, 401, 401, 429], [(); 4].map(|()| publish("wrong")));
    assert_eq!(publish(gorani_tests::node::API_KEY), 200);
    assert_eq!(refused(&node, "wrong_api_key"), 3);
}
