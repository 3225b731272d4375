//! `POST /api`: commands in lines, `{"method","params"}`, and a line of reply for each. `docs/protocols/http.md` §5.18.
//!
//! The form in which gocent, the Go library of the Centrifuge world, sends everything. It is a batch in other clothes, and keeps
//! the order, the bounds and the errors of one.

use actix_web::{
    HttpResponse,
    http::header::{CONTENT_TYPE, HeaderValue},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::api::{
    batch::{BATCH_MAX, BatchRequest, NamedCommand},
    error::{ApiError, ok},
    method::MethodAnswer,
    value::{Json, ListField, TextField, object},
};

/// The media type of lines of JSON.
pub(super) const NDJSON: &str = "application/x-ndjson";

/// One command: a line of the request.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandLine<'a> {
    /// The method's name.
    #[serde(borrow)]
    #[schema(value_type = String, example = "publish")]
    pub method: TextField<'a>,
    /// The method's request.
    #[serde(borrow, default)]
    #[schema(value_type = Object)]
    pub params: Json<'a>,
}

/// Decodes the lines of a body; null or no parameters are those of an empty object. JSON may go over several lines, as a stream
/// of values does. Nothing is done where one of them is no command.
pub fn decode(body: &[u8]) -> Result<BatchRequest<'_>, ApiError> {
    let mut commands = Vec::new();
    let values = serde_json::Deserializer::from_slice(body).into_iter::<&RawValue>();
    for (index, value) in values.enumerate() {
        let in_line = |error: &dyn std::fmt::Display| {
            ApiError::bad_request(format!("command {}: {error}", index.saturating_add(1)))
        };
        if index == BATCH_MAX {
            return Err(ApiError::bad_request(format!("more than {BATCH_MAX} commands")));
        }
        let value = value.map_err(|error| in_line(&error))?;
        let line: CommandLine<'_> =
            object(value.get().as_bytes()).map_err(|error| in_line(&error.message()))?;
        let params = line.params.not_null().unwrap_or("{}");
        commands.push(NamedCommand { method: line.method, params });
    }
    if commands.is_empty() {
        return Err(ApiError::bad_request("no command: a line is {\"method\":…,\"params\":{…}}"));
    }
    Ok(BatchRequest { commands: ListField::of(commands), parallel: None })
}

/// 200 with the replies, a line each.
pub(super) fn answer(replies: Vec<MethodAnswer>) -> Result<HttpResponse, ApiError> {
    let mut lines = Vec::new();
    for reply in replies {
        lines.extend(reply.into_line()?);
        lines.push(b'\n');
    }
    let mut response = ok(lines);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    Ok(response)
}
