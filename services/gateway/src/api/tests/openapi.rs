//! The document and the routes say the same.

use std::collections::BTreeSet;

use gorani_protocol::client::JSON_DEPTH;

use super::*;
use crate::api::{method::Method, openapi::document};

fn paths() -> BTreeSet<String> {
    document().paths.paths.keys().cloned().collect()
}

#[actix_web::test]
async fn every_route_is_in_the_document_and_every_path_of_it_is_a_route() {
    let api = Api::start().await;
    let methods = Method::ALL.map(Method::name).into_iter().chain(["batch", "openapi.json"]);
    let routes = methods.map(|name| format!("/api/{name}")).chain(["/api".to_owned()]);
    assert_eq!(paths(), routes.collect());
    for path in paths() {
        let verb = if path.ends_with(".json") { Verb::GET } else { Verb::POST };
        let request = TestRequest::default().method(verb).uri(&path).insert_header(("X-API-Key", KEY));
        let (status, answer) = api.send(request.set_payload("{}")).await;
        assert_ne!(status, 404, "{path}: {answer}");
        assert_ne!(status, 405, "{path}: {answer}");
    }
}

#[actix_web::test]
async fn the_document_needs_no_key_and_every_reference_in_it_leads_somewhere() {
    let api = Api::start().await;
    let (status, document) = api.send(TestRequest::get().uri("/api/openapi.json")).await;
    assert_eq!(status, 200);
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let mut pending = vec![&document];
    let mut references = 0;
    while let Some(value) = pending.pop() {
        match value {
            Value::Object(object) => {
                if let Some(reference) = object.get("$ref") {
                    let pointer = reference.as_str().unwrap().strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{pointer}");
                    references += 1;
                }
                pending.extend(object.values());
            }
            Value::Array(items) => pending.extend(items),
            _ => {}
        }
    }
    assert!(references > 40, "{references}");
}

#[test]
fn requests_are_described_as_they_are_decoded() {
    let request = |method: &str| {
        schema_at(&format!("/paths/~1api~1{method}/post/requestBody/content/application~1json/schema"))
    };
    for (method, good, bad) in [
        (
            "publish",
            json!({"channel": "a", "data": {"any": [1]}, "tags": {"a": "b"}}),
            json!({"chanel": "a"}),
        ),
        ("publish", json!({"channel": "a", "b64data": "AA=="}), json!({"channel": 5})),
        ("broadcast", json!({"channels": ["a"], "data": 1}), json!({"channels": "a"})),
        (
            "batch",
            json!({"commands": [{"publish": {"channel": "a", "data": 1}}]}),
            json!({"commands": [{"x": {}}]}),
        ),
        (
            "batch",
            json!({"commands": [{"info": {}}], "parallel": true}),
            json!({"commands": [{"info": {"a": 1}}]}),
        ),
        (
            "subscribe",
            json!({"user": "1", "channel": "a", "recover_since": {"offset": 1}}),
            json!({"user": "1"}),
        ),
        (
            "disconnect",
            json!({"user": "1", "code": 4000, "whitelist": ["c"]}),
            json!({"user": "1", "code": 5000}),
        ),
        ("refresh", json!({"user": "1", "expire_at": 5}), json!({"user": "1", "expire_at": -5})),
        ("history", json!({"channel": "a", "limit": 5000}), json!({"channel": "a", "limit": "1"})),
        (
            "publish",
            json!({"channel": "a", "delta": true, "version": 0}),
            json!({"channel": "a", "version": 1}),
        ),
        ("channels", json!({"pattern": "*"}), json!({"patern": "*"})),
        ("info", json!({}), json!({"a": 1})),
    ] {
        let schema = request(method);
        assert_eq!(schema.validate(&good).map_err(|error| error.to_string()), Ok(()), "{method} {good}");
        assert!(!schema.is_valid(&bad), "{method} {bad}");
    }
}

#[test]
fn results_are_described_with_all_their_fields() {
    let result = |method: &str| {
        schema_at(&format!("/paths/~1api~1{method}/post/responses/200/content/application~1json/schema"))
    };
    for (method, good, bad) in [
        ("publish", json!({"result": {"offset": 1, "epoch": "a"}}), json!({"result": {"offset": 1}})),
        ("publish", json!({"result": {"offset": 1, "epoch": "a"}}), json!({"offset": 1, "epoch": "a"})),
        (
            "batch",
            json!({"replies": [{"error": {"code": 1, "message": ""}}]}),
            json!({"replies": [{"nothing": {}}]}),
        ),
        ("info", json!({"result": {"nodes": []}}), json!({"result": {"nodes": [{}]}})),
    ] {
        let schema = result(method);
        assert_eq!(schema.validate(&good).map_err(|error| error.to_string()), Ok(()), "{method} {good}");
        assert!(!schema.is_valid(&bad), "{method} {bad}");
    }
}

#[test]
fn the_depth_that_the_document_tells_is_the_depth_that_is_taken() {
    let document: Value = serde_json::from_str(document_text()).unwrap();
    for request in ["PublishRequest", "BroadcastRequest"] {
        let data = &document["components"]["schemas"][request]["properties"]["data"];
        let told = data["description"].as_str().unwrap();
        assert!(told.contains(&format!("At most {JSON_DEPTH} levels deep")), "{told}");
    }
}
