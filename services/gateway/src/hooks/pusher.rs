//! Events in the form of the webhooks of Pusher Channels. <https://pusher.com/docs/channels/server_api/webhooks/>

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use gorani_broker::hook_store::{HookEvent, HookEventKind};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::event_json::write_text;

/// The name that publications of clients get: those of this server have none.
const CLIENT_EVENT: &str = "client-publication";

/// The part of a publication's details that goes to the backend.
#[derive(Deserialize)]
struct PublicationDetails<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    b64data: Option<String>,
}

/// Appends the JSON of an event; false, and nothing is appended, where this form has no words for it.
pub(super) fn write_event(event: &HookEvent, out: &mut Vec<u8>) -> bool {
    let draft = &event.draft;
    let name = match draft.kind {
        HookEventKind::Occupied => "channel_occupied",
        HookEventKind::Vacated => "channel_vacated",
        HookEventKind::MemberAdded => "member_added",
        HookEventKind::MemberRemoved => "member_removed",
        HookEventKind::Publication => "client_event",
        _ => return false,
    };
    out.extend_from_slice(format!("{{\"name\":\"{name}\",\"channel\":").as_bytes());
    write_text(&draft.channel, out);
    if draft.kind == HookEventKind::Publication {
        out.extend_from_slice(format!(",\"event\":\"{CLIENT_EVENT}\",\"data\":").as_bytes());
        write_text(&payload(&draft.details), out);
        out.extend_from_slice(b",\"socket_id\":");
        write_text(&draft.client, out);
    }
    if !draft.user.is_empty() {
        out.extend_from_slice(b",\"user_id\":");
        write_text(&draft.user, out);
    }
    out.push(b'}');
    true
}

/// The payload as a text: there `data` is always one. Bytes are given as base64 where they are no text.
fn payload(details: &[u8]) -> String {
    let object = [b"{", details, b"}"].concat();
    let Ok(details) = serde_json::from_slice::<PublicationDetails<'_>>(&object) else { return String::new() };
    match (details.b64data, details.data) {
        (Some(encoded), _) => match BASE64.decode(&encoded).map(String::from_utf8) {
            Ok(Ok(text)) => text,
            _ => encoded,
        },
        (None, data) => data.map(|data| data.get().to_owned()).unwrap_or_default(),
    }
}

/// The signature of a body: HMAC-SHA256 in hexadecimal digits.
pub(super) fn signature(secret: &hmac::Key, body: &[u8]) -> String {
    hmac::sign(secret, body).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use bytes::Bytes;
    use serde_json::{Value, json};

    use super::*;
    use crate::hooks::tests::event;

    fn written(event: &HookEvent) -> Option<Value> {
        let mut out = Vec::new();
        write_event(event, &mut out).then(|| serde_json::from_slice(&out).unwrap())
    }

    #[test]
    fn channels_and_members_have_pushers_names() {
        for (kind, name) in [("occupied", "channel_occupied"), ("vacated", "channel_vacated")] {
            let mut event = event("0-1-1", kind);
            event.draft.channel = "lobby".into();
            assert_eq!(written(&event), Some(json!({"name": name, "channel": "lobby"})));
        }
        for kind in ["member_added", "member_removed"] {
            let mut event = event("0-1-1", kind);
            (event.draft.channel, event.draft.user) = ("lobby".into(), "42".into());
            assert_eq!(written(&event), Some(json!({"name": kind, "channel": "lobby", "user_id": "42"})));
        }
        for kind in ["connected", "reset", "gap", "subscribed"] {
            assert_eq!(written(&event("0-1-1", kind)), None);
        }
    }

    #[test]
    fn the_data_of_a_publication_is_a_text() {
        let mut event = event("0-1-1", "publication");
        (event.draft.channel, event.draft.client) = ("lobby".into(), "c1".into());
        for (details, data) in [
            (r#""offset":1,"data":{"a": 1}"#, r#"{"a": 1}"#),
            (r#""b64data":"aGk=""#, "hi"),
            (r#""b64data":"/w==""#, "/w=="),
            ("broken", ""),
        ] {
            event.draft.details = Bytes::from_static(details.as_bytes());
            let expected = json!({
                "name": "client_event", "channel": "lobby", "event": "client-publication", "data": data,
                "socket_id": "c1"
            });
            assert_eq!(written(&event), Some(expected));
        }
    }

    #[test]
    fn the_signature_is_pushers() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"7ad3773142a6692b25b8");
        // openssl dgst -sha256 -hmac 7ad3773142a6692b25b8
        let expected = "3f3c8f57f3f51ae5342932b798313a0be49e6bcd6a0927f578554ab48a799fb8";
        assert_eq!(signature(&key, b"{\"time_ms\":1}"), expected);
    }
}
