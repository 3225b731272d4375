//! Bodies of the HTTP API against its decoder: nothing panics, what is accepted is within its limits, and what is refused
//! is refused in a short sentence. The first byte chooses the method: `a` is the first of the table, `n` the batch, `o` the
//! commands in lines.
#![no_main]

use bytes::Bytes;
use gorani::api::{
    batch::{self, BatchRequest},
    channels::HISTORY_PAGE_MAX,
    error::ApiError,
    lines,
    method::{ApiCommand, Method},
    overview::{PAGE_MAX, cursor_after},
    publish::{IDEMPOTENCY_KEY_MAX_BYTES, RequestPayload},
    sessions::target,
    value::{Json, TagsField, TextField},
};
use gorani::session::shared::{TAGS_MAX, TAGS_MAX_BYTES};
use gorani_protocol::client::{JSON_DEPTH, json_compact_check};
use libfuzzer_sys::fuzz_target;

/// Bytes of a refusal's sentence, with a little room for the sign that it was cut.
const SENTENCE_BYTES: usize = 520;

fuzz_target!(|data: &[u8]| {
    let Some((first, body)) = data.split_first() else { return };
    let body = Bytes::copy_from_slice(body);
    let index = usize::from(first.wrapping_sub(b'a')) % (Method::ALL.len() + 2);
    match Method::ALL.get(index) {
        Some(method) => check(ApiCommand::decode(*method, &body), &body),
        None if index == Method::ALL.len() => check_all(batch::decode(&body), &body),
        None => check_all(lines::decode(&body), &body),
    }
});

fn check_all(batch: Result<BatchRequest<'_>, ApiError>, body: &Bytes) {
    match batch {
        Ok(batch) => batch.commands.iter().for_each(|named| check(batch::decode_named(named), body)),
        Err(error) => short(&error),
    }
}

fn short(error: &ApiError) {
    assert!(error.message().len() <= SENTENCE_BYTES, "{}", error.message().len());
    assert!([104, 107].contains(&error.code().code), "{error}");
}

/// The value, if it is not refused.
fn accepted<T>(result: Result<T, ApiError>) -> Option<T> {
    result.inspect_err(short).ok()
}

fn check(command: Result<ApiCommand<'_>, ApiError>, body: &Bytes) {
    let Some(command) = accepted(command) else { return };
    match command {
        ApiCommand::Publish(request) => {
            message(request.data, &request.b64data, body);
            accepted(request.address());
            bounded(accepted(request.key()).flatten(), request.tags);
        }
        ApiCommand::Broadcast(request) => {
            message(request.data, &request.b64data, body);
            for address in accepted(request.addresses()).into_iter().flatten() {
                accepted(address);
            }
            bounded(accepted(request.key()).flatten(), request.tags);
        }
        ApiCommand::Subscribe(request) => drop(accepted(target(&request.user, &request.client))),
        ApiCommand::Unsubscribe(request) => drop(accepted(target(&request.user, &request.client))),
        ApiCommand::Refresh(request) => drop(accepted(target(&request.user, &request.client))),
        ApiCommand::Disconnect(request) => {
            accepted(target(&request.user, &request.client));
            if let Some(disconnect) = accepted(request.disconnect()) {
                assert!((3000..=4999).contains(&disconnect.code));
                assert!(disconnect.reason.len() <= 123);
            }
        }
        ApiCommand::History(request) => {
            assert!(request.query().limit <= HISTORY_PAGE_MAX);
        }
        ApiCommand::Channels(request) => {
            accepted(request.pattern());
            page(accepted(request.page()));
        }
        ApiCommand::Connections(request) => page(accepted(request.page())),
        ApiCommand::Explain(request) => drop(accepted(request.query())),
        ApiCommand::Presence(_)
        | ApiCommand::PresenceStats(_)
        | ApiCommand::HistoryRemove(_)
        | ApiCommand::HooksDeadLetters(_)
        | ApiCommand::HooksReplay(_)
        | ApiCommand::HooksDiscard(_)
        | ApiCommand::Info(_) => {}
    }
}

fn message(data: Json<'_>, b64data: &TextField<'_>, body: &Bytes) {
    let Some(payload) = accepted(RequestPayload::of(data, b64data)) else { return };
    let is_json = matches!(payload, RequestPayload::Json(_));
    let (_, data) = payload.into_data(body);
    assert!(data.len() <= body.len());
    if is_json {
        assert_eq!(json_compact_check(&data, JSON_DEPTH), Ok(()));
    }
}

fn bounded(key: Option<String>, tags: TagsField) {
    assert!(key.is_none_or(|key| (1..=IDEMPOTENCY_KEY_MAX_BYTES).contains(&key.len())));
    let tags = tags.into_pairs();
    assert!(tags.len() <= TAGS_MAX);
    assert!(tags.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() <= TAGS_MAX_BYTES);
}

fn page(page: Option<(String, usize)>) {
    let Some((after, limit)) = page else { return };
    assert!((1..=PAGE_MAX as usize).contains(&limit));
    // The cursor that we would give for this name is read as the same name.
    let body = format!(r#"{{"cursor":"{}"}}"#, cursor_after(&after));
    let Ok(ApiCommand::Channels(request)) = ApiCommand::decode(Method::Channels, body.as_bytes()) else {
        panic!("our own cursor is refused")
    };
    assert_eq!(request.page().expect("our own cursor").0, after);
}
