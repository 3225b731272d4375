//! `explain`: why a user got a publication of a channel, or did not. `docs/explain.md`.

use serde::Deserialize;
use utoipa::ToSchema;

use crate::{
    api::{call::CallContext, error::ApiError, value::TextField},
    disconnect::ErrorCode,
    explain::{
        ExplainError,
        answer::Explanation,
        query::{ExplainQuery, Selection},
    },
};

/// Publications that are looked at where the request names none.
const LAST_DEFAULT: u32 = 10;

/// Asks why a user got publications of a channel, or did not. One of `offset`, `since` and `last` at most.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest<'a> {
    /// The channel.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, example = "chat:lobby")]
    pub channel: TextField<'a>,
    /// The user; a client must be named if none is.
    #[serde(borrow, default)]
    #[schema(value_type = String, example = "42")]
    pub user: TextField<'a>,
    /// Only this client.
    #[serde(borrow, default)]
    #[schema(value_type = String)]
    pub client: TextField<'a>,
    /// The publication with this offset.
    #[serde(default)]
    #[schema(value_type = u64, minimum = 1)]
    pub offset: Option<u64>,
    /// The epoch of the offset; absent: that of now.
    #[serde(borrow, default)]
    #[schema(value_type = String)]
    pub epoch: TextField<'a>,
    /// All publications from this time on, in Unix milliseconds, the newest 100 of them.
    #[serde(default)]
    #[schema(value_type = u64)]
    pub since: Option<u64>,
    /// The last publications; absent: 10.
    #[serde(default)]
    #[schema(value_type = u32, minimum = 1, maximum = 100)]
    pub last: Option<u32>,
}

impl ExplainRequest<'_> {
    /// The question, if it is one.
    pub fn query(&self) -> Result<ExplainQuery, ApiError> {
        let publications = match (self.offset, self.since, self.last) {
            (Some(offset), None, None) => Selection::Offset(offset, self.epoch.given().map(str::to_owned)),
            (None, Some(since), None) => Selection::Since(since),
            (None, None, last) => Selection::Last(last.unwrap_or(LAST_DEFAULT)),
            _ => return Err(ApiError::bad_request("offset, since, last: one of them at most")),
        };
        if self.channel.is_empty() {
            return Err(ApiError::bad_request("channel: missing"));
        }
        Ok(ExplainQuery {
            channel: (*self.channel).to_owned(),
            user: self.user.given().map(str::to_owned),
            client: self.client.given().map(str::to_owned),
            publications,
        })
    }
}

pub(super) async fn explain(
    request: ExplainRequest<'_>,
    call: &CallContext<'_>,
) -> Result<Explanation, ApiError> {
    // One at a time of a call: each asks every worker of every node.
    let _turn = call.reads.begin().await?;
    crate::explain::explain(call.node, &request.query()?).await.map_err(|error| match error {
        ExplainError::Request(problem) => ApiError::bad_request(problem),
        ExplainError::Cluster(error) => error.into(),
        ExplainError::Broker(error) => {
            tracing::warn!(%error, "reading history for explain failed");
            ErrorCode::from(error).into()
        }
    })
}
