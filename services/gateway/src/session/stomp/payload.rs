//! A SEND's body and headers as a publication: its kind by the content type, and the publisher's own headers as tags.
//! `docs/protocols/stomp.md` §6.2 to §6.4; `docs/architecture.md` §4.1.

use bytes::Bytes;
use gorani_broker::{DataKind, Publication};
use gorani_protocol::{
    client::{JSON_DEPTH, json_compact_check},
    stomp::Headers,
};

use crate::{
    format::message_headers::{CONTENT_TYPE, content_type, is_reserved},
    session::shared::tags::{TAGS_MAX, TAGS_MAX_BYTES},
};

/// Headers that are for the server alone, beside those that it writes itself.
const NOT_PASSED_ON: [&str; 4] = ["host", "login", "passcode", "Authorization"];

/// More headers than a publication may carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {TAGS_MAX} headers of your own, or more than {TAGS_MAX_BYTES} bytes of them")]
pub(super) struct TooManyTags;

/// The publication of a SEND.
pub(super) fn publication(headers: &Headers, body: Bytes, time_ms: u64) -> Result<Publication, TooManyTags> {
    let told = headers.get(CONTENT_TYPE);
    let kind = kind_of(told, &body);
    let mut tags: Vec<(String, String)> = Vec::new();
    // What the kind says already is not said twice: publishers of other protocols see no such tag either.
    if let Some(told) = told.filter(|told| !is_plain(told, kind)) {
        tags.push((CONTENT_TYPE.to_owned(), told.to_owned()));
    }
    let own = headers.iter().filter(|(name, _)| !is_reserved(name) && !NOT_PASSED_ON.contains(name));
    tags.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let bytes: usize = tags.iter().map(|(name, value)| name.len() + value.len()).sum();
    if tags.len() > TAGS_MAX || bytes > TAGS_MAX_BYTES {
        return Err(TooManyTags);
    }
    Ok(Publication { data: body, kind, tags, time_ms, ..Publication::default() })
}

/// The kind of a body for the other protocols. A body that is called JSON and is not is kept as text: its bytes are passed on as
/// they are.
fn kind_of(told: Option<&str>, body: &[u8]) -> DataKind {
    let media =
        told.unwrap_or("text/plain").split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_json = media == "application/json" || media.ends_with("+json");
    if is_json && json_compact_check(body, JSON_DEPTH).is_ok() {
        return DataKind::Json;
    }
    let is_text =
        is_json || media.starts_with("text/") || media == "application/xml" || media.ends_with("+xml");
    if is_text && std::str::from_utf8(body).is_ok() { DataKind::Text } else { DataKind::Binary }
}

/// True if a content type says no more than the kind does.
fn is_plain(told: &str, kind: DataKind) -> bool {
    let plain: String = told.to_ascii_lowercase().split_whitespace().collect();
    match kind {
        DataKind::Text => plain == "text/plain" || plain == content_type(kind),
        DataKind::Json => plain == "application/json" || plain == "application/json;charset=utf-8",
        DataKind::Binary => plain == content_type(kind),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    #[test]
    fn item_57_the_content_type_decides_what_other_protocols_see() {
        for (told, body, kind) in [
            (Some("application/json"), "{\"a\":1}", DataKind::Json),
            (Some("application/json;charset=UTF-8"), "[1]", DataKind::Json),
            (Some("application/vnd.a+json"), "1", DataKind::Json),
            (Some("application/json"), "{broken", DataKind::Text),
            (Some("text/html"), "<b>", DataKind::Text),
            (None, "{\"a\":1}", DataKind::Text),
            (Some("application/xml"), "<a/>", DataKind::Text),
            (Some("application/octet-stream"), "abc", DataKind::Binary),
            (Some("image/png"), "abc", DataKind::Binary),
        ] {
            assert_eq!(kind_of(told, body.as_bytes()), kind, "{told:?} {body}");
        }
        assert_eq!(kind_of(None, b"\xff"), DataKind::Binary);
        assert_eq!(kind_of(Some("text/plain"), b"\xff"), DataKind::Binary);
    }

    #[test]
    fn a_content_type_that_says_more_than_the_kind_is_kept() {
        assert!(is_plain("application/json", DataKind::Json));
        assert!(is_plain("text/plain; charset=UTF-8", DataKind::Text));
        assert!(!is_plain("application/json", DataKind::Text));
        assert!(!is_plain("text/html", DataKind::Text));
        assert!(!is_plain("image/png", DataKind::Binary));
    }
}
