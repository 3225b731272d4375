//! Guessed session ids.

use gorani_tests::{redis::Redis, sockjs::session};

use super::*;

const OWNER: &str = "192.0.2.1";
const STRANGER: &str = "192.0.2.2";

fn open(address: SocketAddr, path: &str, client: &str) {
    let (status, _, body) = ask(address, "POST", &format!("{path}/xhr"), &from(client), "");
    assert_eq!((status, body.as_str()), (200, "o\n"));
}

fn send(address: SocketAddr, path: &str, client: &str) -> u16 {
    ask(address, "POST", &format!("{path}/xhr_send"), &from(client), r#"["{\"id\":1,\"connect\":{}}"]"#).0
}

#[test]
fn a_session_takes_requests_of_the_address_alone_that_opened_it() {
    let node = Node::start(settings());
    for endpoint in ["connection/sockjs", "stomp/sockjs"] {
        let path = session(endpoint);
        open(node.address(), &path, OWNER);
        assert_eq!(send(node.address(), &path, STRANGER), 404);
        for (method, target) in [("POST", "xhr"), ("POST", "xhr_streaming"), ("GET", "eventsource")] {
            let target = format!("{path}/{target}");
            let (status, _, body) = ask(node.address(), method, &target, &from(STRANGER), "");
            assert_eq!((status, body.as_str()), (404, "no such session"), "{target}");
        }
        let of_the_page = || format!("{}Sec-Fetch-Site: same-origin\r\n", from(STRANGER));
        let form = ask(node.address(), "POST", &format!("{path}/jsonp_send"), &of_the_page(), "[]");
        assert_eq!(form.0, 404);
        // Nothing of it reached the session.
        assert_eq!(send(node.address(), &path, OWNER), 204);
    }
    assert_eq!(refused(&node, "wrong_session_id"), 10);
}

#[test]
fn a_session_takes_requests_of_every_address_where_the_settings_say_so() {
    let node = Node::start(settings().set("sockjs.bind_to_address", "false"));
    let path = session("connection/sockjs");
    open(node.address(), &path, OWNER);
    assert_eq!(send(node.address(), &path, STRANGER), 204);
}

#[test]
fn who_names_too_many_wrong_ids_names_no_more_for_a_while_and_others_do() {
    // So few that none comes back while the test goes on.
    let node = Node::start(settings().set("client.wrong_ids_per_minute", "2"));
    let own = session("connection/sockjs");
    open(node.address(), &own, OWNER);
    let guess = |number: usize| {
        let headers = format!("{}Sec-Fetch-Site: same-origin\r\n", from(STRANGER));
        let target = format!("/connection/sockjs/000/{number}/{}", ["xhr_send", "jsonp_send"][number % 2]);
        ask(node.address(), "POST", &target, &headers, "[\"x\"]")
    };
    let statuses: Vec<_> = (0..60).map(guess).map(|(status, ..)| status).collect();
    let looked_up = statuses.iter().filter(|status| **status == 404).count();
    assert!((2..10).contains(&looked_up), "{statuses:?}");
    let (_, retry, body) = guess(0);
    assert_eq!(
        (retry.as_deref(), body.as_str()),
        (Some("1"), "too many requests for sessions that do not exist")
    );
    let mut refused_once = RawSocket::connect(node.address());
    let request =
        format!("POST {own}/xhr HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n{}\r\n", from(STRANGER));
    refused_once.write(request.as_bytes()).unwrap();
    let head = refused_once.read_head().unwrap();
    assert_eq!((head.status, head.header("connection")), (429, Some("close")));
    // Whether there is such a session shows no longer, however it is asked for.
    for target in
        [format!("{own}/xhr_send"), format!("{own}/xhr"), format!("{}/xhr", session("connection/sockjs"))]
    {
        assert_eq!(ask(node.address(), "POST", &target, &from(STRANGER), "[\"x\"]").0, 429);
    }
    assert_eq!(send(node.address(), &own, OWNER), 204);
    assert!(refused(&node, "wrong_session_id_limit") > 0);
}

#[test]
fn sessions_that_are_opened_to_see_whether_somebody_has_them_count_as_wrong_ids() {
    let node = Node::start(
        settings().set("sockjs.disconnect_delay", "\"1s\"").set("client.wrong_ids_per_minute", "2"),
    );
    for number in 0..2 {
        open(node.address(), &format!("/connection/sockjs/000/guess{number}"), STRANGER);
    }
    let target = "/connection/sockjs/000/next/xhr";
    eventually("it is refused", SOON, || ask(node.address(), "POST", target, &from(STRANGER), "").0 == 429);
    assert_eq!(ask(node.address(), "POST", target, &from(OWNER), "").0, 200);
}

#[test]
fn emulated_commands_for_sessions_that_do_not_exist_are_limited_and_those_for_real_ones_are_not() {
    let node = Node::start(settings().set("client.wrong_ids_per_minute", "2"));
    let connect = json!({"id": 1, "connect": {}}).to_string();
    let mut stream = RawSocket::connect(node.address());
    let request = format!(
        "POST /connection/http_stream HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n{}\r\n{connect}",
        connect.len(),
        from(STRANGER)
    );
    stream.write(request.as_bytes()).unwrap();
    stream.read_head().unwrap();
    let reply: serde_json::Value = serde_json::from_slice(&stream.read_chunk().unwrap().unwrap()).unwrap();
    let emulate = |session: &str| {
        let body = json!({
            "session": session,
            "node": reply["connect"]["node"],
            "data": json!({"id": 2, "subscribe": {"channel": "open:a"}}).to_string(),
        });
        ask(node.address(), "POST", "/emulation", &from(STRANGER), &body.to_string()).0
    };
    let statuses: Vec<_> = (0..20).map(|number| emulate(&format!("{number:032x}"))).collect();
    assert_eq!((statuses[0], statuses[19]), (404, 429), "{statuses:?}");
    assert_eq!(emulate(reply["connect"]["session"].as_str().unwrap()), 204);
}

/// Two nodes that believe where their clients come from.
fn cluster(change: impl Fn(Settings) -> Settings) -> (Redis, [Node; 2]) {
    let redis = Redis::start();
    let settings = change(
        settings().set("broker.kind", "\"redis\"").set("broker.redis.url", format!("\"{}\"", redis.url())),
    );
    let nodes = [Node::start(settings.clone()), Node::start(settings)];
    (redis, nodes)
}

/// Ids of sessions that are claimed in Redis.
fn claims(redis: &Redis) -> usize {
    let keys = redis.ask(r#"EVAL "return table.concat(redis.call('KEYS', '*'), ' ')" 0"#);
    keys.matches("/connection/sockjs/").count()
}

#[test]
fn a_request_that_lands_on_another_node_is_bound_to_its_clients_address_and_counted_where_it_lands() {
    let (_redis, [one, other]) = cluster(|settings| settings.set("client.wrong_ids_per_minute", "10"));
    let path = session("connection/sockjs");
    open(one.address(), &path, OWNER);
    assert_eq!(send(other.address(), &path, OWNER), 204);
    assert_eq!(send(other.address(), &path, STRANGER), 404);
    let receive = ask(other.address(), "POST", &format!("{path}/xhr"), &from(STRANGER), "");
    assert_eq!(receive.0, 404);
    assert_eq!((refused(&other, "wrong_session_id"), refused(&one, "wrong_session_id")), (2, 0));
    eventually("the stranger is refused", SOON, || send(other.address(), &path, STRANGER) == 429);
    assert_eq!(refused(&one, "wrong_session_id"), 0);
    assert_eq!(send(other.address(), &path, OWNER), 204);
}

#[test]
fn nothing_is_claimed_for_a_session_that_gets_no_slot_and_a_full_node_still_reaches_those_of_others() {
    let (redis, [one, full]) = cluster(|settings| {
        settings.set("client.max_unauthenticated", "16").set("client.connect_timeout", "\"60s\"")
    });
    let path = session("connection/sockjs");
    open(one.address(), &path, OWNER);
    assert_eq!(send(one.address(), &path, OWNER), 204);
    let before = claims(&redis);
    assert_eq!(before, 1);
    let held: Vec<_> = (0..16).map(|_| shake_hands(&full, &from(STRANGER))).collect();
    assert!(held.iter().all(|(_, status, _)| *status == 101));
    for _ in 0..10 {
        let target = format!("{}/xhr", session("connection/sockjs"));
        assert_eq!(ask(full.address(), "POST", &target, &from(STRANGER), "").0, 503);
    }
    assert_eq!(claims(&redis), before);
    let (status, _, body) = ask(full.address(), "POST", &format!("{path}/xhr"), &from(OWNER), "");
    assert_eq!(status, 200);
    assert!(body.contains("connect"), "{body}");
}

#[test]
fn the_claim_of_a_session_that_is_refused_or_over_is_given_back() {
    let (redis, [one, _other]) = cluster(|settings| {
        settings.set("http.handshakes_per_second", "1").set("sockjs.disconnect_delay", "\"1s\"")
    });
    let statuses: Vec<_> = (0..10)
        .map(|_| {
            ask(one.address(), "POST", &format!("{}/xhr", session("connection/sockjs")), &from(STRANGER), "")
                .0
        })
        .collect();
    assert!(statuses.contains(&200) && statuses.contains(&429), "{statuses:?}");
    let opened = statuses.iter().filter(|status| **status == 200).count();
    eventually("those of the refused are given back", SOON, || claims(&redis) <= opened);
    eventually("the claims are given back", SOON, || claims(&redis) == 0);
}
