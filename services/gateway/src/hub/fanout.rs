//! Fan-out: a channel's run of events goes into the outboxes of its subscribers, encoded once for each distinct encoding.
//!
//! Between a channel's events and the outboxes. `docs/architecture.md` §3.4.

use std::sync::Arc;

use gorani_broker::{ChannelEvent, Publication};

use crate::{
    format::encoder::{Encoder, EncodingId},
    outbox::Outbox,
};

/// A run of events that belong together: publications that follow each other without a gap and exclude nobody, one
/// publication that excludes somebody, or joins and leaves.
pub(super) struct EventBatch<'a> {
    /// Offsets of the first and the last publication and their epoch; absent where there are no offsets.
    pub(super) offsets: Option<(u64, u64, &'a Arc<str>)>,
    /// Client that must not get it; empty for nobody.
    pub(super) excluded: &'a str,
    /// Whether it is joins and leaves.
    pub(super) is_presence: bool,
}

impl<'a> EventBatch<'a> {
    /// Describes a run, as cut by [`EventBatch::length`].
    pub(super) fn of(run: &'a [ChannelEvent]) -> Self {
        match (run.first(), run.last()) {
            (Some(ChannelEvent::Publication(first)), Some(ChannelEvent::Publication(last))) => Self {
                offsets: (first.offset > 0).then_some((first.offset, last.offset, &first.epoch)),
                excluded: &first.exclude_client,
                is_presence: false,
            },
            _ => Self { offsets: None, excluded: "", is_presence: true },
        }
    }

    /// Length of the run at the head of `events`, at least 1.
    pub(super) fn length(events: &[ChannelEvent]) -> usize {
        let joined = |pair: &[ChannelEvent]| match pair {
            [ChannelEvent::Publication(one), ChannelEvent::Publication(two)] => {
                one.exclude_client.is_empty() && two.exclude_client.is_empty() && follows(one, two)
            }
            [ChannelEvent::Publication(_), _] | [_, ChannelEvent::Publication(_)] => false,
            _ => true,
        };
        1 + events.windows(2).take_while(|pair| joined(pair)).count()
    }
}

/// Puts the current run into an outbox; its bytes in this encoding are made on first use. An overflow wakes the connection's
/// actor, which ends it as a slow consumer.
#[inline]
pub(super) fn deliver(
    encoder: &mut Encoder,
    id: EncodingId,
    channel: &str,
    run: &[ChannelEvent],
    outbox: &Outbox,
) {
    match encoder.ready(id) {
        Some(bytes) => _ = outbox.push(bytes.clone()),
        None => encoder.encode_run(id, channel, run, |head, rest| outbox.push_pair(head, rest).is_ok()),
    }
}

/// Epochs are mostly the same allocation, so that the text is rarely looked at.
pub(super) fn is_same_epoch(one: &Arc<str>, other: &Arc<str>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

/// Whether a publication stands directly after another one in the stream.
pub(super) fn follows(before: &Publication, after: &Publication) -> bool {
    match before.offset {
        0 => after.offset == 0,
        offset => after.offset == offset + 1 && is_same_epoch(&before.epoch, &after.epoch),
    }
}
