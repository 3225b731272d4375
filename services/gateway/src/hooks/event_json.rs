//! An event as the backend reads it. `docs/protocols/hooks.md`.

use gorani_broker::hook_store::{HookEvent, HookEventKind, HookQueueHead, Partition};

/// Appends the JSON of an event. `with_meta`: with what the backend keeps with the connection.
pub fn write_event(event: &HookEvent, partition: Partition, with_meta: bool, out: &mut Vec<u8>) {
    let draft = &event.draft;
    out.extend_from_slice(b"{\"id\":");
    write_text(&event.id, out);
    out.extend_from_slice(
        format!(",\"type\":\"{}\",\"time_ms\":{}", draft.kind.name(), draft.time_ms).as_bytes(),
    );
    out.extend_from_slice(b",\"node\":");
    write_text(&draft.node, out);
    out.extend_from_slice(format!(",\"partition\":{partition}").as_bytes());
    let (is_of_session, is_of_user) = match draft.kind {
        HookEventKind::Connected
        | HookEventKind::Disconnected
        | HookEventKind::Subscribed
        | HookEventKind::Unsubscribed => (true, true),
        HookEventKind::Publication | HookEventKind::MemberAdded | HookEventKind::MemberRemoved => {
            (false, true)
        }
        _ => (false, false),
    };
    if !draft.client.is_empty() {
        out.extend_from_slice(b",\"client\":");
        write_text(&draft.client, out);
    }
    if is_of_user {
        out.extend_from_slice(b",\"user\":");
        write_text(&draft.user, out);
    }
    if !draft.channel.is_empty() {
        out.extend_from_slice(b",\"channel\":");
        write_text(&draft.channel, out);
    }
    if is_of_session {
        let numbers = format!(",\"seq\":{},\"user_sessions\":{}", event.sequence, event.user_sessions);
        out.extend_from_slice(numbers.as_bytes());
    }
    if !draft.details.is_empty() {
        out.push(b',');
        out.extend_from_slice(&draft.details);
    }
    if with_meta && !draft.meta.is_empty() {
        out.extend_from_slice(b",\"meta\":");
        out.extend_from_slice(&draft.meta);
    }
    if event.replayed {
        out.extend_from_slice(b",\"replayed\":true");
    }
    out.push(b'}');
}

/// The id of the event that tells of the dropped events of a head: the same until more are dropped.
pub(super) fn gap_id(head: &HookQueueHead, partition: Partition) -> String {
    format!("{partition}-gap-{}", head.dropped_mark)
}

/// Appends the event that tells of the dropped events of a head. It lies in no queue.
pub(super) fn write_gap(
    head: &HookQueueHead,
    partition: Partition,
    node: &str,
    now_ms: u64,
    out: &mut Vec<u8>,
) {
    let (dropped, since_ms) = (head.dropped, head.dropped_since_ms);
    out.extend_from_slice(b"{\"id\":");
    write_text(&gap_id(head, partition), out);
    out.extend_from_slice(format!(",\"type\":\"gap\",\"time_ms\":{now_ms},\"node\":").as_bytes());
    write_text(node, out);
    out.extend_from_slice(
        format!(",\"partition\":{partition},\"dropped\":{dropped},\"since_ms\":{since_ms}}}").as_bytes(),
    );
}

/// Appends a text as JSON.
pub(super) fn write_text(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
}
