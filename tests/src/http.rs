//! A backend: calls the HTTP push API (`docs/protocols/http.md` §4 to §6) and reads the node's pages.

use std::{net::SocketAddr, time::Duration};

use serde_json::Value;
use ureq::{Agent, Body, http::Response};

/// How long one request may take, all in all.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A backend of one node, with one API key. Keeps its connections alive.
#[derive(Debug, Clone)]
pub struct Api {
    agent: Agent,
    base: String,
    key: String,
}

impl Api {
    /// A backend of the node at `address`.
    pub fn new(address: SocketAddr, key: &str) -> Self {
        let agent = Agent::config_builder().http_status_as_error(false).timeout_global(Some(TIMEOUT)).build();
        Self { agent: agent.into(), base: format!("http://{address}"), key: key.to_owned() }
    }

    /// The same backend with another key.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }

    /// `POST /api/<method>`: the status and the JSON body, whatever the status.
    ///
    /// # Panics
    /// If there is no HTTP answer, or its body is not JSON.
    pub fn call(&self, method: &str, params: &Value) -> (u16, Value) {
        let (status, body) = self.post(&format!("/api/{method}"), params.to_string().as_bytes());
        let json = serde_json::from_str(&body)
            .unwrap_or_else(|error| panic!("{method}: {status} with no JSON ({error}): {body:?}"));
        (status, json)
    }

    /// As [`Api::call`] for what must succeed: the content of `result`.
    ///
    /// # Panics
    /// On any status but 200, and on an answer without a result.
    pub fn ok(&self, method: &str, params: &Value) -> Value {
        let (status, mut body) = self.call(method, params);
        assert_eq!(status, 200, "{method} {params}: {body}");
        body.get_mut("result").map(Value::take).unwrap_or_else(|| panic!("{method}: no result: {body}"))
    }

    /// Publishes `data` into `channel`, which must succeed.
    pub fn publish(&self, channel: &str, data: &Value) -> Value {
        self.ok("publish", &serde_json::json!({ "channel": channel, "data": data }))
    }

    /// `POST <path>` with these bytes as JSON: status and body.
    ///
    /// # Panics
    /// If there is no HTTP answer.
    pub fn post(&self, path: &str, body: &[u8]) -> (u16, String) {
        self.post_with(path, body, &[])
    }

    /// The same with more headers.
    ///
    /// # Panics
    /// If there is no HTTP answer.
    pub fn post_with(&self, path: &str, body: &[u8], headers: &[(&str, &str)]) -> (u16, String) {
        let request = self.agent.post(format!("{}{path}", self.base)).content_type("application/json");
        let mut request = request.header("X-API-Key", &self.key).header("X-Gorani-Error-Mode", "status");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send(body);
        read(response.unwrap_or_else(|error| panic!("POST {path}: {error}"))).expect("a readable body")
    }

    /// `GET <path>`: status and body.
    ///
    /// # Panics
    /// If there is no HTTP answer.
    pub fn get(&self, path: &str) -> (u16, String) {
        self.try_get(path).unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// As [`Api::get`], for nodes that may not be there.
    ///
    /// # Errors
    /// When there is no HTTP answer.
    pub fn try_get(&self, path: &str) -> Result<(u16, String), ureq::Error> {
        read(self.agent.get(format!("{}{path}", self.base)).call()?)
    }

    /// A read of the admin API with one of `admin.keys`: the whole answer.
    ///
    /// # Panics
    /// If the answer is not one of 200.
    pub fn admin(&self, key: &str, query: &str) -> Value {
        let request = self.agent.get(format!("{}/admin/api/{query}", self.base));
        let answered = request.header("Authorization", format!("Bearer {key}")).call().and_then(read);
        let (status, body) = answered.unwrap_or_else(|error| panic!("{query}: {error}"));
        assert_eq!(status, 200, "{query}: {body}");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{query}: {error}: {body}"))
    }
}

fn read(mut response: Response<Body>) -> Result<(u16, String), ureq::Error> {
    let body = response.body_mut().read_to_string()?;
    Ok((response.status().as_u16(), body))
}
