//! Questions: about a channel, about all channels, connections and nodes.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use gorani_broker::{HistoryQuery, Position, PresenceQuery};
use serde::Deserialize;
use utoipa::ToSchema;

use super::value::TextField;
use crate::api::error::ApiError;

/// Publications of one page of history at most.
pub const HISTORY_PAGE_MAX: u32 = 1000;
/// Entries of one page of channels or connections at most.
pub const PAGE_MAX: u32 = 1000;
/// Entries of a page where the request says nothing.
const PAGE_DEFAULT: u32 = 100;
/// Bytes of a pattern at most: longer than any channel's name it would find nothing.
const PATTERN_MAX_BYTES: usize = 255;
/// Bytes of a cursor of presence at most: longer than any client id.
const CURSOR_MAX_BYTES: usize = 255;

/// Names a channel.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChannelRequest<'a> {
    /// The channel.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 255)]
    pub channel: TextField<'a>,
}

/// A place in a channel's stream.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Position)]
pub struct PositionRequest<'a> {
    /// Offset of a publication; 0 is before the first.
    #[serde(default)]
    #[schema(value_type = u64)]
    pub offset: Option<u64>,
    /// The stream's epoch; empty is any.
    #[serde(borrow, default)]
    #[schema(value_type = String)]
    pub epoch: TextField<'a>,
}

impl PositionRequest<'_> {
    /// As the broker has it.
    pub fn position(&self) -> Position {
        Position { offset: self.offset.unwrap_or_default(), epoch: (&*self.epoch).into() }
    }
}

/// Asks who is in a channel: all, or a page.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PresenceRequest<'a> {
    /// The channel.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 255)]
    pub channel: TextField<'a>,
    /// About so many clients, up to 1000: a page may have a few more or fewer. Absent or 0 without a cursor: all clients.
    #[serde(default)]
    #[schema(value_type = u32, maximum = 1000)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(borrow, default)]
    #[schema(value_type = String)]
    pub cursor: TextField<'a>,
}

impl PresenceRequest<'_> {
    /// The page that is asked for; `None`: all.
    pub fn query(&self) -> Result<Option<PresenceQuery>, ApiError> {
        let limit = match self.limit.unwrap_or_default() {
            0 if self.cursor.is_empty() => return Ok(None),
            0 => PAGE_DEFAULT,
            limit if limit > PAGE_MAX => {
                return Err(ApiError::bad_request(format!("limit: must be at most {PAGE_MAX}")));
            }
            limit => limit,
        };
        if self.cursor.len() > CURSOR_MAX_BYTES {
            return Err(ApiError::bad_request("cursor: must be next_cursor of the page before"));
        }
        Ok(Some(PresenceQuery { cursor: (*self.cursor).to_owned(), limit, ..PresenceQuery::default() }))
    }
}

/// Asks for a page of a channel's history.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HistoryRequest<'a> {
    /// The channel.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1, max_length = 255)]
    pub channel: TextField<'a>,
    /// Publications at most, up to 1000. 0 or absent: the position alone; -1: as many as a page holds.
    #[serde(default)]
    #[schema(value_type = i64, minimum = -1, maximum = 1000)]
    pub limit: Option<i64>,
    /// Publications after this position; before it, when `reverse`. A position of another epoch is error 112.
    #[serde(borrow, default)]
    #[schema(value_type = PositionRequest<'static>)]
    pub since: Option<PositionRequest<'a>>,
    /// Newest first.
    #[serde(default)]
    #[schema(value_type = bool)]
    pub reverse: Option<bool>,
}

impl HistoryRequest<'_> {
    /// What to read.
    pub fn query(&self) -> Result<HistoryQuery, ApiError> {
        let limit = match self.limit.unwrap_or_default() {
            -1 => HISTORY_PAGE_MAX,
            limit => {
                u32::try_from(limit).ok().filter(|limit| *limit <= HISTORY_PAGE_MAX).ok_or_else(|| {
                    let sentence =
                        format!("limit: must be between -1 and {HISTORY_PAGE_MAX}; go on with since");
                    ApiError::bad_request(sentence)
                })?
            }
        };
        let since = self.since.as_ref().map(|since| since.offset.unwrap_or_default());
        Ok(HistoryQuery { limit, since, reverse: self.reverse.unwrap_or_default(), max_bytes: None })
    }
}

/// Asks for channels with subscribers, by name.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChannelsRequest<'a> {
    /// Only names like this: `*` stands for any characters, `?` for one.
    #[serde(borrow, default)]
    #[schema(value_type = String, max_length = 255, example = "chat:*")]
    pub pattern: TextField<'a>,
    /// Entries of the page at most; absent or 0: 100.
    #[serde(default)]
    #[schema(value_type = u32, maximum = 1000)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(borrow, default)]
    #[schema(value_type = String)]
    pub cursor: TextField<'a>,
}

/// Asks for connected clients, by client id.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectionsRequest<'a> {
    /// Only this user's.
    #[serde(borrow, default)]
    #[schema(value_type = String)]
    pub user: TextField<'a>,
    /// Some libraries always send it. There are no expressions: it must be empty.
    #[serde(borrow, default)]
    #[schema(value_type = String, max_length = 0)]
    pub expression: TextField<'a>,
    /// Entries of the page at most; absent or 0: 100.
    #[serde(default)]
    #[schema(value_type = u32, maximum = 1000)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(borrow, default)]
    #[schema(value_type = String)]
    pub cursor: TextField<'a>,
}

/// Asks for the nodes: no fields.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InfoRequest {}

impl ChannelsRequest<'_> {
    /// The pattern, if there is one.
    pub fn pattern(&self) -> Result<Option<&str>, ApiError> {
        if self.pattern.len() > PATTERN_MAX_BYTES {
            return Err(ApiError::bad_request(format!("pattern: longer than {PATTERN_MAX_BYTES} bytes")));
        }
        Ok(self.pattern.given())
    }

    /// Which page.
    pub fn page(&self) -> Result<(String, usize), ApiError> {
        page(&self.cursor, self.limit)
    }
}

impl ConnectionsRequest<'_> {
    /// Which page.
    pub fn page(&self) -> Result<(String, usize), ApiError> {
        if !self.expression.is_empty() {
            return Err(ApiError::bad_request("expression: not supported, leave it empty"));
        }
        page(&self.cursor, self.limit)
    }
}

/// The name after which a page begins, and how many it holds.
fn page(cursor: &TextField<'_>, limit: Option<u32>) -> Result<(String, usize), ApiError> {
    let limit = match limit.unwrap_or_default() {
        0 => PAGE_DEFAULT,
        limit if limit <= PAGE_MAX => limit,
        _ => {
            return Err(ApiError::bad_request(format!(
                "limit: at most {PAGE_MAX} a page; go on with cursor"
            )));
        }
    };
    let after = BASE64.decode(&**cursor).ok().and_then(|name| String::from_utf8(name).ok());
    let after = after.ok_or_else(|| ApiError::bad_request("cursor: not one that this API gave"))?;
    Ok((after, limit as usize))
}

/// The cursor of the page after this name.
pub fn cursor_after(name: &str) -> String {
    BASE64.encode(name)
}
