//! Lines of a tail: one event as JSON. Data only where it is allowed, and cut.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use gorani_broker::{ClientInfo, DataKind, Publication};
use serde_json::{Map, Value, json};

use crate::{
    disconnect::Unsubscribed,
    event_log::event::{
        CommandEvent, RecoveryResult, SessionChange, SessionEvent, SubscriptionChange, SubscriptionEvent,
    },
};

/// Bytes of data, and of tags, in one line.
const SHOWN_BYTES: usize = 4096;
/// Bytes of binary data in one line.
const SHOWN_BINARY: usize = 64;

/// A publication. `arrived_ms`: when it came to this node; none for one of history. `matched`: subscribers by node when it came.
pub(super) fn publication(
    publication: &Publication,
    arrived_ms: Option<u64>,
    matched: Option<Map<String, Value>>,
    with_contents: bool,
) -> Value {
    let mut line = json!({
        "kind": "publication",
        "at": publication.time_ms,
        "offset": (publication.offset > 0).then_some(publication.offset),
        "age_ms": arrived_ms.map(|arrived| arrived.saturating_sub(publication.time_ms)),
        "bytes": publication.data.len(),
        "tags": tags(&publication.tags),
        "by": publication.info.as_ref().map(|info| client(info)),
        "history": arrived_ms.is_none(),
        "matched": matched,
    });
    if with_contents {
        let (data, is_cut) = data(publication);
        line["data"] = data;
        line["data_kind"] = match publication.kind {
            DataKind::Json => "json",
            DataKind::Text => "text",
            DataKind::Binary => "binary",
        }
        .into();
        line["data_cut"] = is_cut.into();
    }
    line
}

/// A join or a leave.
pub(super) fn presence(kind: &str, info: &ClientInfo, arrived_ms: u64) -> Value {
    json!({"kind": kind, "at": arrived_ms, "by": client(info)})
}

fn client(info: &ClientInfo) -> Value {
    json!({"user": info.user, "client": info.client})
}

/// Those that fit; the others are known by their number.
fn tags(tags: &[(String, String)]) -> Value {
    let mut left = SHOWN_BYTES;
    let fitting = tags.iter().take_while(|(name, value)| {
        let fits = name.len() + value.len() <= left;
        left = left.saturating_sub(name.len() + value.len());
        fits
    });
    let mut shown: Vec<Value> = fitting.map(|(name, value)| json!([name, value])).collect();
    if shown.len() < tags.len() {
        shown.push(json!(["…", format!("{} more", tags.len() - shown.len())]));
    }
    shown.into()
}

/// JSON as JSON, text as text, binary as its length and first bytes; true if it is cut. JSON that is cut is no JSON any more, and
/// stands as text.
fn data(publication: &Publication) -> (Value, bool) {
    let bytes = &publication.data;
    let is_cut = bytes.len() > SHOWN_BYTES;
    match publication.kind {
        DataKind::Binary => {
            let first = bytes.get(..SHOWN_BINARY).unwrap_or(bytes);
            (json!({"bytes": bytes.len(), "first": BASE64.encode(first)}), bytes.len() > SHOWN_BINARY)
        }
        DataKind::Json if bytes.is_empty() => (Value::Null, false),
        DataKind::Json if !is_cut => {
            let json = serde_json::from_slice(bytes);
            (json.unwrap_or_else(|_| String::from_utf8_lossy(bytes).into()), false)
        }
        DataKind::Json | DataKind::Text => {
            let text = String::from_utf8_lossy(bytes.get(..SHOWN_BYTES).unwrap_or(bytes)).into_owned();
            // Half a character at the cut is none.
            let text = if is_cut { text.trim_end_matches('\u{fffd}').to_owned() } else { text };
            (text.into(), is_cut)
        }
    }
}

/// The fields that every line of a user's sessions has.
fn of_user(kind: &str, at: u64, node: &str, user: &str, client: &str) -> Value {
    json!({"kind": kind, "at": at, "node": node, "user": user, "client": client})
}

/// The change of a session.
pub(super) fn session(event: &SessionEvent, node: &str) -> Value {
    let mut line = of_user("connect", event.at, node, &event.user, &event.client);
    line["transport"] = json!(event.transport);
    line["address"] = json!(event.address);
    match &event.change {
        SessionChange::Connected => {}
        SessionChange::Refused(code) => {
            line["kind"] = "connect_refused".into();
            line["code"] = (*code).into();
        }
        SessionChange::Ended(end) => {
            line["kind"] = "disconnect".into();
            line["code"] = end.code.into();
            line["reason"] = (*end.reason).into();
            line["connected_ms"] = end.connected_ms.into();
            line["waiting_bytes"] = end.waiting_bytes.into();
        }
    }
    line
}

/// The change of a subscription.
pub(super) fn subscription(event: &SubscriptionEvent, node: &str) -> Value {
    let mut line = of_user("subscribe", event.at, node, &event.user, &event.client);
    line["channel"] = json!(event.channel);
    match &event.change {
        SubscriptionChange::Began { top, recovery, .. } => {
            line["offset"] = top.as_ref().map(|top| top.offset).into();
            line["recovery"] = match recovery {
                RecoveryResult::NotAsked => Value::Null,
                RecoveryResult::Recovered => "recovered".into(),
                RecoveryResult::TooOld => "too_old".into(),
                RecoveryResult::WrongEpoch => "wrong_epoch".into(),
                RecoveryResult::TooMuch => "too_much".into(),
            };
        }
        SubscriptionChange::Refused(code) => {
            line["kind"] = "subscribe_refused".into();
            line["code"] = (*code).into();
        }
        SubscriptionChange::Ended { code, seen, not_permitted } => {
            line["kind"] = "unsubscribe".into();
            if *not_permitted {
                line["reason"] = Unsubscribed::NOT_PERMITTED.reason.into();
            }
            line["code"] = (*code).into();
            line["offset"] = seen.as_ref().map(|seen| seen.offset).into();
        }
    }
    line
}

/// A command of a client.
pub(super) fn command(event: &CommandEvent, node: &str) -> Value {
    let mut line = of_user("command", event.at, node, &event.user, &event.client);
    line["command"] = json!(event.command);
    line["channel"] = json!(event.channel);
    line["code"] = json!(event.code);
    if let Some(method) = &event.method {
        line["method"] = (**method).into();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(kind: DataKind, data: Vec<u8>) -> Value {
        let of = Publication { kind, data: data.into(), offset: 7, time_ms: 100, ..Publication::default() };
        publication(&of, Some(103), None, true)
    }

    #[test]
    fn data_is_told_only_where_it_is_allowed() {
        let of = Publication { data: "{\"a\":1}".into(), time_ms: 5, ..Publication::default() };
        let line = publication(&of, None, None, false);
        assert_eq!((line.get("data"), line.get("data_kind")), (None, None));
        assert_eq!(
            (&line["bytes"], &line["offset"], &line["age_ms"]),
            (&json!(7), &Value::Null, &Value::Null)
        );
        assert_eq!(publication(&of, Some(9), None, true)["data"], json!({"a": 1}));
    }

    #[test]
    fn json_is_json_and_text_is_text_and_binary_is_its_length_and_its_first_bytes() {
        let line = shown(DataKind::Json, b"[1,2]".to_vec());
        assert_eq!(
            (&line["data"], &line["data_cut"], &line["age_ms"]),
            (&json!([1, 2]), &json!(false), &json!(3))
        );
        assert_eq!(shown(DataKind::Text, b"[1,2]".to_vec())["data"], "[1,2]");
        let line = shown(DataKind::Binary, vec![0; 65]);
        assert_eq!(line["data"], json!({"bytes": 65, "first": BASE64.encode([0; 64])}));
        assert_eq!((&line["data_cut"], &line["data_kind"]), (&json!(true), &json!("binary")));
    }

    #[test]
    fn what_is_long_is_cut_between_characters() {
        let long = format!("\"{}\"", "고".repeat(3000));
        let line = shown(DataKind::Json, long.clone().into_bytes());
        let text = line["data"].as_str().unwrap_or_default();
        assert!(long.starts_with(text) && (4094..=4096).contains(&text.len()), "{}", text.len());
        assert_eq!((&line["data_cut"], &line["bytes"]), (&json!(true), &json!(9002)));
        assert_eq!(shown(DataKind::Text, vec![b'x'; 4096])["data_cut"], false);
        let many: Vec<_> = (0..100).map(|number: u32| (number.to_string(), "x".repeat(100))).collect();
        let shown = tags(&many).as_array().map_or(0, Vec::len);
        assert!((30..=41).contains(&shown), "{shown}");
    }
}
