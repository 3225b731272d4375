//! Each kind of call by the client protocol.

use gorani_tests::{
    backend::{Answer, Backend, signature},
    node::Node,
};
use serde_json::json;

use super::{ask, asking, asking_about_connects, friendly};
use crate::{connected, websocket};

#[test]
fn the_backend_decides_who_connects() {
    let backend = Backend::start(friendly);
    let node = Node::start(asking_about_connects(&backend));
    let mut socket = websocket(&node);
    let connect = json!({ "id": 1, "connect": {
        "data": { "a": 1 }, "name": "js", "version": "1.0", "headers": { "X-Tenant": "acme", "other": "b" },
    } });
    let reply = ask(&mut socket, &connect);
    assert!(reply["connect"]["client"].is_string(), "{reply}");
    assert!(reply["connect"]["subs"]["open:given"].is_object(), "{reply}");
    let request = backend.wait_for_requests(1).remove(0);
    let body = request.json();
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/connect"));
    assert_eq!(
        (&body["data"], &body["name"], &body["version"]),
        (&json!({ "a": 1 }), &json!("js"), &json!("1.0"))
    );
    assert_eq!(
        (&body["transport"], &body["protocol"], &body["encoding"]),
        (&json!("websocket"), &json!("json"), &json!("json"))
    );
    assert_eq!(body.get("user"), None);
    assert_eq!((request.header("x-tenant"), request.header("other")), (Some("acme"), None));
    assert!(request.header("x-request-id").unwrap().starts_with(body["client"].as_str().unwrap()));
    backend.answer_by(|_| Answer::error(1001, "not you"));
    let reply = ask(&mut websocket(&node), &json!({ "id": 1, "connect": {} }));
    assert_eq!((&reply["error"]["code"], &reply["error"]["message"]), (&json!(1001), &json!("not you")));
    backend.answer_by(|_| Answer::disconnect(4501, "banned"));
    let mut socket = websocket(&node);
    socket.text(r#"{"id":1,"connect":{}}"#).unwrap();
    assert_eq!(socket.read_close().unwrap(), (4501, "banned".to_owned()));
}

#[test]
fn the_backend_decides_who_subscribes_and_what_is_published() {
    let backend = Backend::start(friendly);
    let node = Node::start(asking(&backend));
    let mut socket = connected(&node);
    let reply = ask(&mut socket, &json!({ "id": 2, "subscribe": { "channel": "asked:a" } }));
    assert!(reply["subscribe"].is_object(), "{reply}");
    let request = backend.wait_for_requests(1).remove(0);
    assert_eq!((request.path.as_str(), &request.json()["channel"]), ("/subscribe", &json!("asked:a")));
    assert_eq!(request.json()["user"], "");
    assert_eq!(signature::verify(&request, signature::SECRET), Ok(()));
    backend.answer_by(|_| Answer::result(json!({ "data": { "checked": true } })));
    socket
        .text(&json!({ "id": 3, "publish": { "channel": "asked:a", "data": { "raw": 1 } } }).to_string())
        .unwrap();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let frame = socket.read_frame().unwrap();
        let lines = frame.payload.split(|byte| *byte == b'\n');
        seen.extend(lines.map(|line| serde_json::from_slice::<serde_json::Value>(line).unwrap()));
    }
    let push = seen.iter().find(|line| line["push"].is_object()).unwrap();
    assert_eq!(push["push"]["pub"]["data"], json!({ "checked": true }));
    assert_eq!(backend.wait_for_requests(2)[1].json()["data"], json!({ "raw": 1 }));
    backend.answer_by(|_| Answer::error(403, "read only"));
    let reply = ask(&mut socket, &json!({ "id": 4, "publish": { "channel": "asked:a", "data": 1 } }));
    assert_eq!(reply["error"]["code"], 403, "{reply}");
    let reply = ask(&mut socket, &json!({ "id": 5, "subscribe": { "channel": "asked:b" } }));
    assert_eq!(reply["error"]["code"], 403, "{reply}");
}

#[test]
fn the_backend_answers_methods() {
    let backend = Backend::start(friendly);
    let node = Node::start(asking(&backend));
    let mut socket = connected(&node);
    let reply = ask(&mut socket, &json!({ "id": 2, "rpc": { "method": "sum", "data": [1, 2] } }));
    assert_eq!(reply["rpc"]["data"], json!({ "method": "sum", "got": [1, 2] }), "{reply}");
    let reply = ask(&mut socket, &json!({ "id": 3, "rpc": { "method": "shop:sum" } }));
    assert_eq!(reply["error"]["code"], 104, "{reply}");
}

#[test]
fn a_call_of_a_client_that_went_away_is_given_up() {
    let backend = Backend::in_order(vec![Answer::Hang]);
    let node = Node::start(asking(&backend).set("rpc.proxy.timeout", "\"20s\""));
    let mut socket = connected(&node);
    socket.text(r#"{"id":2,"rpc":{"method":"a"}}"#).unwrap();
    backend.wait_for_requests(1);
    drop(socket);
    backend.wait_for_abandoned(1);
}

#[test]
fn subscribes_in_one_frame_are_asked_about_side_by_side_and_rpc_does_not_wait() {
    let backend = Backend::start(|request| match request.path.as_str() {
        "/subscribe" => Answer::result(json!({})).held(),
        _ => friendly(request),
    });
    let node = Node::start(asking(&backend).set("channel.proxy.subscribe.timeout", "\"20s\""));
    let mut socket = connected(&node);
    let commands: Vec<_> = (0..20)
        .map(|number| {
            json!({ "id": number + 2, "subscribe": { "channel": format!("asked:{number}") } }).to_string()
        })
        .collect();
    socket.text(&commands.join("\n")).unwrap();
    assert!(ask(&mut socket, &json!({ "id": 50, "rpc": { "method": "a" } }))["rpc"].is_object());
    backend.wait_for_requests(21);
    backend.release();
    let mut replies = 0;
    while replies < 20 {
        let frame = socket.read_frame().unwrap();
        for line in frame.payload.split(|byte| *byte == b'\n') {
            let reply: serde_json::Value = serde_json::from_slice(line).unwrap();
            assert!(reply["subscribe"].is_object(), "{reply}");
            replies += 1;
        }
    }
}
