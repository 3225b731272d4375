//! Handshakes: subprotocols, origins, guards, and what guards hand to the session.

use std::io::{Read as _, Write as _};

use gorani::{
    Admission, Gorani, HandlerResult, Handshake, Refusal, Registration, RunError, SessionHandle,
    WebSocketHandler,
};

use crate::node::{Node, settings};

/// Says what it knows of its session.
struct Team;

impl WebSocketHandler for Team {
    fn subprotocols() -> &'static [&'static str] {
        &["my-team-custom", "my-team-old"]
    }

    fn handshake(request: &Handshake, admission: &mut Admission) -> Result<(), Refusal> {
        if request.header("x-tired").is_some() {
            return Err(Refusal::new(503, "come back tomorrow"));
        }
        assert!(request.header("x-panic").is_none(), "as the test wants it");
        admission.attributes().set("colour", "red".to_owned());
        Ok(())
    }

    fn opened(&mut self, session: &SessionHandle) -> HandlerResult {
        let colour = session.attributes().get::<String>("colour").ok_or("no colour")?;
        session.send_text(format!(
            "{:?} {:?} {colour} {} {} {}",
            session.subprotocol(),
            session.principal(),
            session.uri(),
            session.peer_addr().is_some_and(|peer| peer.ip().is_loopback()),
            session.local_addr().ok_or("no address")?.port(),
        ))?;
        Ok(())
    }
}

/// Knows who may come in; `?user=…` says who it is.
fn guard(request: &Handshake, admission: &mut Admission) -> Result<Team, Refusal> {
    match request.query.strip_prefix("user=") {
        Some("") => return Err(Refusal::new(401, "who are you?")),
        Some(user) => admission.set_principal(user),
        None => {}
    }
    Ok(Team)
}

fn node() -> Node {
    Node::start(settings(), |node: Gorani| {
        node.handler("/team", Registration::guarded(guard))
            .handler("/app", Registration::new(|| Team).origins(["http://localhost:8080"]))
            .handler("/all", Registration::new(|| Team).origins(["*"]))
    })
}

#[test]
fn a_handshake_agrees_on_the_teams_own_subprotocol() {
    let node = node();
    let mut stream = node.tcp();
    stream
        .write_all(
            b"GET /app HTTP/1.1\r\nHost: server.gorany.org\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://localhost:8080\r\n\
              Sec-WebSocket-Protocol: v10.stomp, v11.stomp, my-team-custom\r\nSec-WebSocket-Version: 13\r\n\r\n",
        )
        .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert_eq!(
        String::from_utf8(head).unwrap(),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: my-team-custom\r\n\r\n"
    );
}

#[test]
fn a_session_knows_who_came_from_where_with_what() {
    let node = node();
    let request = node.request("/team?user=ada").with_sub_protocol("my-team-old");
    let (mut client, response) = node.open_with(request).unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "my-team-old");
    let port = node.address.port();
    assert_eq!(client.text(), format!("Some(\"my-team-old\") Some(\"ada\") red /team?user=ada true {port}"));
    let (mut client, response) = node.open_with(node.request("/team")).unwrap();
    assert!(!response.headers().contains_key("sec-websocket-protocol"));
    assert_eq!(client.text(), format!("None None red /team true {port}"));
}

#[test]
fn a_guard_refuses_with_its_own_status_and_sentence() {
    let node = node();
    let refused = node.open_with(node.request("/team?user=")).err().unwrap();
    assert_eq!(refused, (401, "who are you?".to_owned()));
    let tired = node.request("/team").with_header("X-Tired", "yes");
    assert_eq!(node.open_with(tired).err().unwrap(), (503, "come back tomorrow".to_owned()));
}

#[test]
fn a_guard_that_panics_refuses_one_client_only() {
    let node = node();
    for _ in 0..3 {
        let panics = node.request("/team").with_header("X-Panic", "yes");
        assert_eq!(node.open_with(panics).err().unwrap(), (500, "internal error".to_owned()));
        assert!(node.open("/team").text().starts_with("None"));
    }
}

#[test]
fn subprotocols_of_which_none_is_known_are_refused_unless_the_settings_are_lenient() {
    let strict = node();
    let request = |node: &Node| node.request("/team").with_sub_protocol("v10.stomp");
    assert_eq!(strict.open_with(request(&strict)).err().unwrap().0, 400);
    let mut settings = settings();
    settings.websocket.subprotocols = gorani::settings::SubprotocolChoice::Lenient;
    let lenient = Node::start(settings, |node: Gorani| node.handler("/team", Registration::guarded(guard)));
    let upgraded = std::thread::scope(|scope| {
        // Not this client library: it takes a missing subprotocol for an error, as browsers do.
        let mut stream = lenient.tcp();
        scope
            .spawn(move || {
                stream
                    .write_all(
                        b"GET /team HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                          Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
                          Sec-WebSocket-Protocol: v10.stomp\r\n\r\n",
                    )
                    .unwrap();
                let mut status = [0; 12];
                stream.read_exact(&mut status).unwrap();
                status
            })
            .join()
            .unwrap()
    });
    assert_eq!(&upgraded, b"HTTP/1.1 101");
}

#[test]
fn browsers_come_from_the_same_origin_unless_the_registration_says_otherwise() {
    let node = node();
    let open = |path: &str, origin: &str| {
        let request = node.request(path).with_header("Origin", origin);
        node.open_with(request).map_or_else(|(status, _)| status, |_| 101)
    };
    let own = format!("http://{}", node.address);
    assert_eq!(open("/team", &own), 101);
    assert_eq!(open("/team", "http://localhost:8080"), 403);
    assert_eq!(open("/app", "http://localhost:8080"), 101);
    assert_eq!(open("/app", &own), 403);
    assert_eq!(open("/all", "https://anywhere.example"), 101);
    assert_eq!(open("/all", "null"), 101);
}

#[test]
fn a_node_does_not_start_with_handlers_that_cannot_be_served() {
    let run = |node: Gorani| {
        actix_rt::System::new().block_on(node.run(async {}, |_, _| panic!("it started"))).unwrap_err()
    };
    let twice = Gorani::new(settings()).handler("/a", || Team).handler("/a", || Team);
    assert!(matches!(run(twice), RunError::Path(path, _) if path == "/a"));
    let slash = Gorani::new(settings()).handler("a", || Team);
    assert!(matches!(run(slash), RunError::Path(..)));
    let origins = Gorani::new(settings()).handler("/a", Registration::new(|| Team).origins(["example.com/"]));
    assert!(matches!(run(origins), RunError::Origins(..)));
}
