//! `hooks_dead_letters`, `hooks_replay` and `hooks_discard`: events that an endpoint of the backend did not take.

use gorani_broker::{
    BrokerError,
    hook_store::{DeadHook, HookEventKind, Partition},
};
use serde::{Deserialize, Serialize, Serializer, ser::Error};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    api::{
        call::CallContext,
        error::ApiError,
        overview::{PAGE_DEFAULT, PAGE_MAX},
        value::{ListField, TextField},
    },
    disconnect::ErrorCode,
    hooks::{event_json::write_event, store::store_of},
};

/// Dead letters that one call looks at, at most; `next_cursor` goes on behind them.
const SCAN_MAX: usize = 10_000;
/// Dead letters that are read at once.
const READ_MAX: u32 = 100;

/// Asks for dead letters of an endpoint, or what is to become of them.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeadLettersRequest<'a> {
    /// The endpoint's name, as in `hooks.endpoints`.
    #[serde(borrow)]
    #[schema(value_type = String, min_length = 1)]
    pub endpoint: TextField<'a>,
    /// Only events of this type.
    #[serde(borrow, default, rename = "type")]
    #[schema(value_type = String, example = "connected")]
    pub kind: TextField<'a>,
    /// Only those that were given up at this time or later, in Unix milliseconds.
    #[serde(default)]
    #[schema(value_type = u64)]
    pub since: Option<u64>,
    /// Only events with one of these ids; absent or empty: all.
    #[serde(borrow, default)]
    #[schema(value_type = Vec<String>, max_items = 1000)]
    pub ids: ListField<TextField<'a>, 1000>,
    /// Dead letters at most; absent or 0: 100.
    #[serde(default)]
    #[schema(value_type = u32, maximum = 1000)]
    pub limit: Option<u32>,
    /// `next_cursor` of the answer before.
    #[serde(borrow, default)]
    #[schema(value_type = String)]
    pub cursor: TextField<'a>,
}

impl DeadLettersRequest<'_> {
    fn limit(&self) -> Result<usize, ApiError> {
        match self.limit.unwrap_or_default() {
            0 => Ok(PAGE_DEFAULT as usize),
            limit if limit <= PAGE_MAX => Ok(limit as usize),
            _ => Err(ApiError::bad_request(format!("limit: at most {PAGE_MAX} a call; go on with cursor"))),
        }
    }

    fn kind(&self) -> Result<Option<HookEventKind>, ApiError> {
        let Some(name) = self.kind.given() else { return Ok(None) };
        let kind = serde_json::from_value(name.into());
        kind.map(Some).map_err(|_| ApiError::bad_request("type: no type of events of hooks"))
    }

    /// The partition and the event to begin behind.
    fn start(&self) -> Result<(Partition, String), ApiError> {
        let Some(cursor) = self.cursor.given() else { return Ok((0, String::new())) };
        let wrong = || ApiError::bad_request("cursor: not one that this API gave");
        let (partition, after) = cursor.split_once(':').ok_or_else(wrong)?;
        let is_id = after.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        let partition = partition.parse().ok().filter(|_| is_id && after.len() <= 64);
        Ok((partition.ok_or_else(wrong)?, after.to_owned()))
    }
}

/// The result of `hooks_dead_letters`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DeadLettersResult {
    /// Dead letters, partition by partition, in the order of their events.
    pub dead_letters: Vec<DeadLetterView>,
    /// Cursor of the next page; absent on the last one. A page may be short of `limit` though there are more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String)]
    pub next_cursor: Option<String>,
}

/// One dead letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = DeadLetter)]
pub struct DeadLetterView {
    /// The event as it was sent.
    #[schema(value_type = Object)]
    pub event: EventObject,
    /// Why it was given up: the last answer.
    pub reason: String,
    /// Attempts to send it.
    pub tries: u32,
    /// Unix milliseconds at which it was given up.
    pub died_ms: u64,
}

/// JSON as it is sent to the backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventObject(String);

impl Serialize for EventObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::from_str::<&RawValue>(&self.0).map_err(S::Error::custom)?.serialize(serializer)
    }
}

/// The result of `hooks_replay` and `hooks_discard`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DeadLettersTakenResult {
    /// So many are no dead letters any more.
    pub count: u64,
    /// There may be more: call again with it as `cursor`. Absent where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String)]
    pub next_cursor: Option<String>,
}

pub(super) async fn dead_letters(
    request: DeadLettersRequest<'_>,
    call: &CallContext<'_>,
) -> Result<DeadLettersResult, ApiError> {
    let turn = call.reads.begin().await?;
    let (found, next_cursor) = find(&request, call, turn.left_bytes()).await?;
    let mut letters = Vec::with_capacity(found.len());
    for (partition, letter) in found {
        let mut event = Vec::new();
        write_event(&letter.event, partition, true, &mut event);
        turn.spend(event.len() as u64);
        let DeadHook { reason, tries, died_ms, .. } = letter;
        let event = EventObject(String::from_utf8(event).map_err(|_| ErrorCode::INTERNAL)?);
        letters.push(DeadLetterView { event, reason, tries, died_ms });
    }
    Ok(DeadLettersResult { dead_letters: letters, next_cursor })
}

pub(super) async fn replay(
    request: DeadLettersRequest<'_>,
    call: &CallContext<'_>,
) -> Result<DeadLettersTakenResult, ApiError> {
    take(&request, call, true).await
}

pub(super) async fn discard(
    request: DeadLettersRequest<'_>,
    call: &CallContext<'_>,
) -> Result<DeadLettersTakenResult, ApiError> {
    take(&request, call, false).await
}

async fn take(
    request: &DeadLettersRequest<'_>,
    call: &CallContext<'_>,
    is_replay: bool,
) -> Result<DeadLettersTakenResult, ApiError> {
    let _turn = call.reads.begin().await?;
    let (found, next_cursor) = find(request, call, u64::MAX).await?;
    let mut count = 0;
    for of_partition in found.chunk_by(|(one, _), (other, _)| one == other) {
        let ids: Vec<_> = of_partition.iter().map(|(_, letter)| letter.event.id.clone()).collect();
        if let Some((partition, _)) = of_partition.first() {
            let store = store_of(&**call.node.broker()).map_err(failed)?;
            let taken = store.take_dead_letters(*partition, &request.endpoint, &ids, is_replay);
            count += taken.await.map_err(failed)?;
        }
    }
    Ok(DeadLettersTakenResult { count, next_cursor })
}

/// The dead letters that are meant, and the cursor behind them if there may be more.
async fn find(
    request: &DeadLettersRequest<'_>,
    call: &CallContext<'_>,
    max_bytes: u64,
) -> Result<(Vec<(Partition, DeadHook)>, Option<String>), ApiError> {
    let settings = &call.node.settings.hooks;
    if settings.endpoints.iter().all(|endpoint| endpoint.name != *request.endpoint) {
        return Err(ApiError::bad_request("endpoint: not in hooks.endpoints"));
    }
    let (limit, kind, (mut partition, mut after)) = (request.limit()?, request.kind()?, request.start()?);
    let is_meant = |letter: &DeadHook| {
        kind.is_none_or(|kind| letter.event.draft.kind == kind)
            && request.since.is_none_or(|since| letter.died_ms >= since)
            && (request.ids.is_empty() || request.ids.iter().any(|id| **id == *letter.event.id))
    };
    let (mut found, mut seen, mut bytes) = (Vec::new(), 0, 0);
    while partition < settings.partitions {
        let store = store_of(&**call.node.broker()).map_err(failed)?;
        let page =
            store.dead_letters(partition, &request.endpoint, &after, READ_MAX).await.map_err(failed)?;
        let is_last = page.len() < READ_MAX as usize;
        for letter in page {
            if found.len() == limit || seen == SCAN_MAX || bytes >= max_bytes {
                return Ok((found, Some(format!("{partition}:{after}"))));
            }
            after.clone_from(&letter.event.id);
            seen += 1;
            if is_meant(&letter) {
                bytes += letter.event.draft.content_bytes();
                found.push((partition, letter));
            }
        }
        if is_last {
            partition += 1;
            after.clear();
        }
    }
    Ok((found, None))
}

fn failed(error: BrokerError) -> ApiError {
    ErrorCode::from(error).into()
}
