//! The body of a request: the events of one batch, in the form that the endpoint reads.

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use gorani_broker::hook_store::{HookQueueHead, Partition};

use super::{
    event_json::{gap_id, write_event, write_gap},
    pusher,
};
use crate::settings::HookFormat;

/// Digits of a batch's id: 128 bits.
const ID_DIGITS: usize = 32;

/// The bounds of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchBounds {
    /// Events, of which a gap is one.
    pub(super) max_events: usize,
    /// Bytes of the body; a single event may be more.
    pub(super) max_bytes: usize,
}

/// Events that are sent in one request.
#[derive(Debug, Clone)]
pub(super) struct HookBatch {
    /// Follows from the ids of its events: the same events have the same id, whichever node sends them, and others have another one.
    pub(super) id: String,
    /// The body; `None`: the form has no words for any of these events, so that there is nothing to send.
    pub(super) body: Option<Bytes>,
    /// So many events of the head, from its first, are in it.
    pub(super) events: usize,
    /// True if it begins with a gap.
    pub(super) has_gap: bool,
}

/// The surroundings of all batches of a queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchContext<'a> {
    pub(super) partition: Partition,
    pub(super) endpoint: &'a str,
    /// The node that delivers, which is where a gap is noticed.
    pub(super) node: &'a str,
    pub(super) format: HookFormat,
    /// With what the backend keeps with connections.
    pub(super) with_meta: bool,
    pub(super) now_ms: u64,
}

impl HookBatch {
    /// The first events of a head, as many as the bounds let in. The gap comes first, unless it is not `with_gap`.
    pub(super) fn of(
        head: &HookQueueHead,
        with_gap: bool,
        bounds: BatchBounds,
        context: BatchContext<'_>,
    ) -> Self {
        let BatchContext { partition, endpoint, node, format, with_meta, now_ms } = context;
        let mut digest = Context::new(&SHA256);
        digest.update(endpoint.as_bytes());
        let has_gap = with_gap && head.dropped > 0;
        let mut list: Vec<u8> = Vec::new();
        if has_gap {
            digest.update(b" ");
            digest.update(gap_id(head, partition).as_bytes());
            if format == HookFormat::Gorani {
                write_gap(head, partition, node, now_ms, &mut list);
            }
        }
        let mut events = 0;
        let most = bounds.max_events.saturating_sub(has_gap.into());
        for event in head.events.iter().take(most) {
            let before = list.len();
            if before > 0 {
                list.push(b',');
            }
            let is_written = match format {
                HookFormat::Gorani => {
                    write_event(event, partition, with_meta, &mut list);
                    true
                }
                HookFormat::Pusher => pusher::write_event(event, &mut list),
            };
            if !is_written {
                list.truncate(before);
            }
            if before > 0 && list.len() > bounds.max_bytes {
                list.truncate(before);
                break;
            }
            digest.update(b" ");
            digest.update(event.id.as_bytes());
            events += 1;
        }
        let hash = digest.finish();
        let mut id: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        id.truncate(ID_DIGITS);
        let body = (!list.is_empty()).then(|| {
            let start = match format {
                HookFormat::Gorani => format!("{{\"batch\":\"{id}\",\"events\":["),
                HookFormat::Pusher => format!("{{\"time_ms\":{now_ms},\"events\":["),
            };
            [start.as_bytes(), &list, b"]}"].concat().into()
        });
        Self { id, body, events, has_gap }
    }

    /// Events and the gap.
    pub(super) fn len(&self) -> usize {
        self.events + usize::from(self.has_gap)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::{Value, json};

    use super::*;
    use crate::hooks::tests::{event, head};

    const CONTEXT: BatchContext<'_> = BatchContext {
        partition: 3,
        endpoint: "shop",
        node: "n1",
        format: HookFormat::Gorani,
        with_meta: false,
        now_ms: 99,
    };
    const BOUNDS: BatchBounds = BatchBounds { max_events: 100, max_bytes: 256 * 1024 };

    fn body(batch: &HookBatch) -> Value {
        serde_json::from_slice(batch.body.as_ref().unwrap()).unwrap()
    }

    #[test]
    fn meta_is_in_the_events_of_an_endpoint_that_wants_it() {
        let mut connected = event("3-5-1", "connected");
        connected.draft.meta = Bytes::from_static(b"{\"tier\":1}");
        let head = head(vec![connected, event("3-5-2", "connected")]);
        for (with_meta, expected) in [(true, json!({"tier": 1})), (false, Value::Null)] {
            let context = BatchContext { with_meta, ..CONTEXT };
            let body = body(&HookBatch::of(&head, true, BOUNDS, context));
            assert_eq!(body["events"][0]["meta"], expected);
            assert!(body["events"][1].get("meta").is_none(), "none is kept with it");
        }
    }

    #[test]
    fn an_event_has_the_fields_of_its_kind() {
        let mut connected = event("3-5-1", "connected");
        connected.draft.client = "c1".into();
        connected.draft.details = Bytes::from_static(b"\"transport\":\"websocket\"");
        connected.sequence = 1;
        connected.user_sessions = 2;
        let mut occupied = event("3-5-2", "occupied");
        occupied.draft.channel = "채팅:\"a\"".into();
        occupied.replayed = true;
        let batch = HookBatch::of(&head(vec![connected, occupied]), true, BOUNDS, CONTEXT);
        let body = body(&batch);
        assert_eq!(body["batch"], json!(batch.id));
        assert_eq!(
            body["events"],
            json!([
                {
                    "id": "3-5-1", "type": "connected", "time_ms": 5, "node": "n1", "partition": 3, "client": "c1",
                    "user": "", "seq": 1, "user_sessions": 2, "transport": "websocket"
                },
                {
                    "id": "3-5-2", "type": "occupied", "time_ms": 5, "node": "n1", "partition": 3,
                    "channel": "채팅:\"a\"", "replayed": true
                }
            ])
        );
    }

    #[test]
    fn a_gap_stands_first_and_counts_as_an_event() {
        let mut head = head(vec![event("3-5-1", "vacated"), event("3-5-2", "vacated")]);
        (head.dropped, head.dropped_mark, head.dropped_since_ms) = (7, 9, 4);
        let batch = HookBatch::of(&head, true, BatchBounds { max_events: 2, ..BOUNDS }, CONTEXT);
        assert_eq!((batch.len(), batch.events), (2, 1));
        let gap = json!({
            "id": "3-gap-9", "type": "gap", "time_ms": 99, "node": "n1", "partition": 3, "dropped": 7, "since_ms": 4
        });
        assert_eq!(body(&batch)["events"][0], gap);
        let without = HookBatch::of(&head, false, BOUNDS, CONTEXT);
        assert_eq!((without.len(), without.events), (2, 2));
        head.events.clear();
        assert_eq!(HookBatch::of(&head, true, BOUNDS, CONTEXT).len(), 1);
    }

    #[test]
    fn a_batch_ends_before_the_event_that_is_too_many_bytes_but_has_one() {
        let events: Vec<_> = (0..9).map(|number| event(&format!("3-5-{number}"), "occupied")).collect();
        let head = head(events);
        let of = |max_bytes| HookBatch::of(&head, true, BatchBounds { max_events: 5, max_bytes }, CONTEXT);
        assert_eq!(of(1).events, 1);
        assert_eq!(of(200).events, 2);
        assert_eq!(of(100_000).events, 5);
        let two = of(200);
        assert_eq!(body(&two)["events"].as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn the_same_events_have_the_same_id_and_others_another() {
        let (one, other) = (event("3-5-1", "vacated"), event("3-5-2", "vacated"));
        let id = |events: &[_], context| HookBatch::of(&head(events.to_vec()), true, BOUNDS, context).id;
        let both = id(&[one.clone(), other.clone()], CONTEXT);
        assert_eq!(both, id(&[one.clone(), other], BatchContext { node: "n2", now_ms: 1, ..CONTEXT }));
        let alone = id(std::slice::from_ref(&one), CONTEXT);
        assert_ne!(both, alone);
        assert_ne!(alone, id(&[one], BatchContext { endpoint: "other", ..CONTEXT }));
    }
}
