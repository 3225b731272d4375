//! Answers of the admin API: the result, the part of each node in it, and a cursor where there is more. And reading what is asked.

use std::{borrow::Cow, collections::HashMap};

use actix_web::{HttpResponse, http::header::HeaderValue};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::error::{AdminError, DATA_HEADERS};
use crate::node::cluster::{event_reports::EventReport, inspect::NodeAnswer};

/// Entries of a page where the request says nothing.
const PAGE_DEFAULT: usize = 100;
/// Entries of a page at most.
const PAGE_MAX: usize = 1000;
/// Bytes of one parameter at most.
const PARAMETER_MAX_BYTES: usize = 1024;

/// An answer.
#[derive(Debug, Serialize)]
pub struct AdminAnswer {
    result: Value,
    nodes: Vec<NodeAnswer>,
    complete: bool,
    cursor: Option<String>,
}

impl AdminAnswer {
    /// One of this node alone.
    pub fn of(result: Value) -> Self {
        Self { result, nodes: Vec::new(), complete: true, cursor: None }
    }

    /// A report of what happened on the nodes.
    ///
    /// # Errors
    /// JSON cannot be written.
    pub fn reported<T: Serialize>(report: EventReport<T>) -> Result<Self, AdminError> {
        let nodes = report.nodes.iter().map(NodeAnswer::from).collect();
        let result = serde_json::to_value(report.result).map_err(|_| AdminError::Internal)?;
        Ok(Self { complete: report.complete, ..Self::of(result).with_nodes(nodes) })
    }

    /// A field of the result.
    pub(super) fn field(&self, name: &str) -> &Value {
        &self.result[name]
    }

    /// One with another field, where there is a value.
    #[must_use]
    pub fn with_result(mut self, name: &str, value: Option<Value>) -> Self {
        if let (Some(fields), Some(value)) = (self.result.as_object_mut(), value) {
            fields.insert(name.to_owned(), value);
        }
        self
    }

    /// One that nodes have given together. It is complete if all of them answered.
    #[must_use]
    pub fn with_nodes(mut self, nodes: Vec<NodeAnswer>) -> Self {
        self.complete &= nodes.iter().all(|node| node.asked.answered);
        self.nodes = nodes;
        self
    }

    /// One after which there is more, from the last name that was looked at.
    #[must_use]
    pub fn with_cursor(mut self, last: Option<&str>, is_cut: bool) -> Self {
        self.cursor = last.map(|name| BASE64.encode(name));
        self.complete &= !is_cut;
        self
    }

    /// True if all nodes answered and nothing was cut.
    #[cfg(test)]
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// The response, which no browser and no proxy keeps.
    pub fn response(&self) -> HttpResponse {
        let mut response = HttpResponse::Ok().json(self);
        for (name, value) in DATA_HEADERS {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// Reads the body of a change.
///
/// # Errors
/// It is no JSON, or has other fields.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, AdminError> {
    serde_json::from_slice(body).map_err(|error| AdminError::BadRequest(format!("body: {error}")))
}

/// The parameters of a read.
#[derive(Debug, Default)]
pub struct Parameters(HashMap<String, String>);

impl Parameters {
    /// Reads the query of a path.
    ///
    /// # Errors
    /// A parameter comes twice, or is too long.
    pub fn parse(query: &str) -> Result<Self, AdminError> {
        let mut parameters = HashMap::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let is_long = value.len() > PARAMETER_MAX_BYTES || name.len() > PARAMETER_MAX_BYTES;
            let name: Cow<'_, str> = name;
            if is_long || parameters.insert(name.clone().into_owned(), value.into_owned()).is_some() {
                let name: String = name.chars().take(32).collect();
                return Err(AdminError::BadRequest(format!("{name}: is too long, or comes twice")));
            }
        }
        Ok(Self(parameters))
    }

    /// The value of a parameter, unless it is empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The value of a parameter that must be there.
    ///
    /// # Errors
    /// It is not there.
    pub fn need(&self, name: &str) -> Result<&str, AdminError> {
        self.get(name).ok_or_else(|| AdminError::BadRequest(format!("{name}: is missing")))
    }

    /// A parameter that is a number.
    ///
    /// # Errors
    /// It is none.
    pub fn number(&self, name: &str) -> Result<Option<u64>, AdminError> {
        let number = self.get(name).map(str::parse).transpose();
        number.map_err(|_| AdminError::BadRequest(format!("{name}: must be a number")))
    }

    /// The size of the page.
    ///
    /// # Errors
    /// It is too large.
    pub fn limit(&self) -> Result<usize, AdminError> {
        let limit = self.number("limit")?.map_or(Ok(PAGE_DEFAULT), usize::try_from);
        match limit {
            Ok(limit @ 1..=PAGE_MAX) => Ok(limit),
            _ => Err(AdminError::BadRequest(format!("limit: must be between 1 and {PAGE_MAX}"))),
        }
    }

    /// The name after which the page begins; empty for the first one.
    ///
    /// # Errors
    /// The cursor is not one that this API gave.
    pub fn after(&self) -> Result<String, AdminError> {
        let cursor = BASE64.decode(self.get("cursor").unwrap_or_default()).ok();
        let after = cursor.and_then(|bytes| String::from_utf8(bytes).ok());
        after.ok_or_else(|| AdminError::BadRequest("cursor: not one that this API gave".to_owned()))
    }
}

/// The parts of the nodes that answered, each with its node.
pub(super) fn parts<T: DeserializeOwned>(nodes: &mut [NodeAnswer]) -> Vec<(String, T)> {
    let mut parts = Vec::new();
    for node in nodes {
        let Some(value) = node.value.take() else { continue };
        match serde_json::from_value(value) {
            Ok(part) => parts.push((node.asked.name.clone(), part)),
            Err(error) => {
                tracing::debug!(node = node.asked.name, %error, "answer of another node not understood");
                node.asked.answered = false;
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_page_has_its_bounds_and_goes_on_at_its_cursor() {
        let parse = |query: &str| Parameters::parse(query).unwrap();
        assert_eq!(parse("").limit().unwrap(), PAGE_DEFAULT);
        assert_eq!(parse("limit=1000").limit().unwrap(), PAGE_MAX);
        for query in ["limit=0", "limit=1001", "limit=-1", "limit=x", "limit=99999999999999999999"] {
            assert!(matches!(parse(query).limit(), Err(AdminError::BadRequest(_))), "{query}");
        }
        let answer = AdminAnswer::of(Value::Null).with_cursor(Some("고:라니"), true);
        assert!(!answer.is_complete());
        let cursor = answer.cursor.unwrap();
        assert_eq!(parse(&format!("cursor={cursor}")).after().unwrap(), "고:라니");
        assert!(parse("cursor=*").after().is_err());
        assert_eq!(parse("cursor=").after().unwrap(), "");
    }

    #[test]
    fn a_parameter_comes_once_and_is_not_endless() {
        assert!(Parameters::parse("a=1&a=2").is_err());
        assert!(Parameters::parse(&format!("a={}", "x".repeat(1025))).is_err());
        assert_eq!(Parameters::parse("user=%EA%B3%A0%00%3C").unwrap().get("user"), Some("고\0<"));
    }
}
