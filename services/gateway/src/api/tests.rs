//! The API from outside: every method, every error, through the routes, against a node with the memory broker. Each answer
//! is held against the OpenAPI document as it comes in.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod batch;
mod broker;
mod channel;
mod error_mode;
mod hooks;
mod hostile;
mod lines;
mod openapi;
mod overview;
mod pace;
mod publish;
mod sessions;
mod transport_errors;

use std::{rc::Rc, sync::Arc};

use actix_web::{
    App,
    http::{Method as Verb, StatusCode},
    test::{TestRequest, call_service, init_service, read_body},
    web,
};
use serde_json::{Value, json};

use super::{openapi::document_text, routes};
use crate::{
    api::error::ApiError,
    disconnect::ErrorCode,
    hub::worker::Worker,
    node::Node,
    settings::{ErrorMode, Settings},
};

const KEY: &str = "first-key";
const SECOND_KEY: &str = "second-key";

/// Channels without a namespace keep nothing; `kept` keeps history, `seen` presence.
fn settings() -> Settings {
    let text = r#"
        [api]
        keys = ["first-key", "second-key"]
        body_max_bytes = 1048576
        [[channel.namespaces]]
        name = "kept"
        history_size = 2000
        history_ttl = "60s"
        [[channel.namespaces]]
        name = "seen"
        presence = true
    "#;
    Settings::from_text(text, &Default::default()).unwrap()
}

/// A node with a worker, and its API.
struct Api {
    node: Arc<Node>,
    worker: Rc<Worker>,
}

impl Api {
    async fn start() -> Self {
        Self::of(Node::start(settings()).await.unwrap())
    }

    fn of(node: Arc<Node>) -> Self {
        let worker = node.workers.start();
        Self { node, worker }
    }

    /// Any request; the answer must be what the document says of this path, verb and status.
    async fn send(&self, request: TestRequest) -> (StatusCode, Value) {
        let (response, _) = self.send_whole(request).await;
        response
    }

    /// The same with the headers.
    async fn send_whole(
        &self,
        request: TestRequest,
    ) -> ((StatusCode, Value), actix_web::http::header::HeaderMap) {
        let node = self.node.clone();
        let app = init_service(
            App::new()
                .service(web::scope("/api").configure(|scope| routes(scope, &node, &node.settings.api))),
        )
        .await;
        let request = request.to_request();
        let (path, verb) = (request.path().to_owned(), request.method().as_str().to_lowercase());
        let response = call_service(&app, request).await;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = read_body(response).await;
        let body: Value =
            serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{status} {body:?}: {error}"));
        hold_against_document(&path, &verb, status, &body);
        ((status, body), headers)
    }

    /// A call with a key and this body.
    async fn raw(&self, method: &str, body: impl Into<web::Bytes>) -> (StatusCode, Value) {
        let request =
            post(method).insert_header(("X-API-Key", KEY)).insert_header(("X-Gorani-Error-Mode", "status"));
        self.send(request.set_payload(body)).await
    }

    /// A call that succeeds: its result.
    async fn ok(&self, method: &str, body: Value) -> Value {
        let (status, mut answer) = self.raw(method, body.to_string()).await;
        assert_eq!(status, StatusCode::OK, "{body} -> {answer}");
        if method == "batch" { answer["replies"].take() } else { answer["result"].take() }
    }

    /// A call that fails: status, code and sentence.
    async fn refused(&self, method: &str, body: impl ToString) -> (u16, u64, String) {
        let body = body.to_string();
        let (status, answer) = self.raw(method, body.clone()).await;
        let error = &answer["error"];
        assert!(error.is_object(), "{body} -> {status} {answer}");
        (status.as_u16(), error["code"].as_u64().unwrap(), error["message"].as_str().unwrap().to_owned())
    }

    /// The history of a channel.
    async fn kept(&self, channel: &str) -> Vec<Value> {
        let page = self.ok("history", json!({"channel": channel, "limit": -1})).await;
        page["publications"].as_array().unwrap().clone()
    }
}

fn post(method: &str) -> TestRequest {
    TestRequest::default().method(Verb::POST).uri(&format!("/api/{method}"))
}

/// The document with a root of one schema inside it.
fn schema_at(pointer: &str) -> jsonschema::Validator {
    let mut document: Value = serde_json::from_str(document_text()).unwrap();
    assert!(document.pointer(pointer).is_some(), "the document has no {pointer}");
    document["$ref"] = format!("#{pointer}").into();
    jsonschema::validator_for(&document).unwrap()
}

fn hold_against_document(path: &str, verb: &str, status: StatusCode, body: &Value) {
    let document: Value = serde_json::from_str(document_text()).unwrap();
    let path = path.replace('/', "~1");
    let known = document.pointer(&format!("/paths/{path}/{verb}")).is_some();
    let pointer = if known {
        format!("/paths/{path}/{verb}/responses/{}/content/application~1json/schema", status.as_u16())
    } else {
        // Another verb, or no such path: the error that every method may answer.
        assert!(status.is_client_error(), "{path} {verb} {status}");
        "/components/schemas/ErrorAnswer".to_owned()
    };
    if let Err(error) = schema_at(&pointer).validate(body) {
        panic!("{verb} {path} {status}: {body}: {error}");
    }
}
