//! The calls of the scripts of the store of hooks: keys and arguments in the order that the scripts want.

use std::{sync::Arc, time::Duration};

use redis::Cmd;

use crate::{
    hook_entry::{encode_key, parse_event_id},
    hook_store::{
        HookChange, HookDelivered, HookEventDraft, HookQueuePlan, HookStorePlan, OccupancyKey, Partition,
    },
    hook_wire,
};

/// Nothing at this argument.
const NONE: &[u8] = b"";

/// Whole milliseconds, rounded up.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// Names of all endpoints.
pub(super) fn endpoints(plan: &HookStorePlan) -> impl Iterator<Item = &str> {
    plan.endpoints.iter().map(|endpoint| &*endpoint.name)
}

/// Name and bounds of queues.
pub(super) fn add_queues(call: &mut Cmd, queues: &[HookQueuePlan]) {
    for queue in queues {
        call.arg(&*queue.name).arg(queue.max_events).arg(queue.max_bytes);
    }
}

/// The eight arguments of a change.
fn add_change(call: &mut Cmd, endpoints: usize, change: &HookChange) {
    let mut add = |what, event, key, time| add(call, endpoints, what, event, key, time);
    match change {
        HookChange::Connect { event } => add("connect", event, None, 0),
        HookChange::Disconnect { event, keep_sequence } => {
            add("disconnect", event, None, u64::from(*keep_sequence));
        }
        HookChange::Note { event } => add("note", event, None, 0),
        HookChange::Enter { key, event } => add("enter", event, Some(key), 0),
        HookChange::Leave { key, grace, event } => add("leave", event, Some(key), millis(*grace)),
        HookChange::EndDue { key, event } => add("end_due", event, Some(key), 0),
        HookChange::Append { event } => add("append", event, None, 0),
    }
}

/// An index beyond the last endpoint, of a plan of before, is left out.
fn add(
    call: &mut Cmd,
    endpoints: usize,
    what: &str,
    event: &HookEventDraft,
    key: Option<&OccupancyKey>,
    time: u64,
) {
    let key = key.map(encode_key).unwrap_or_default();
    let known = event.endpoints.iter().map(|index| usize::from(*index)).filter(|index| *index < endpoints);
    // The scripts count from 1.
    let into: Vec<String> = known.map(|index| (index + 1).to_string()).collect();
    call.arg(what).arg(&*event.node).arg(&*event.client).arg(&*event.user).arg(key).arg(time);
    call.arg(hook_wire::encode(event)).arg(into.join(" "));
}

/// The id of an event within its queue, and the same with a fixed length, so that the order of texts is that of the events. `None`: it is
/// no id of this partition.
pub(super) fn ids_in_queue(partition: Partition, id: &str) -> Option<(String, String)> {
    let (of, milliseconds, number) = parse_event_id(id)?;
    let padded = || format!("{milliseconds:020}-{number:020}");
    (of == partition).then(|| (format!("{milliseconds}-{number}"), padded()))
}

/// The arguments of `hook_complete.lua`.
pub(super) fn add_delivered(
    call: &mut Cmd,
    partition: Partition,
    plan: &HookQueuePlan,
    delivered: &HookDelivered,
) {
    let state = &delivered.state;
    call.arg(plan.max_dead_letters).arg(plan.max_bytes).arg(delivered.dropped_told);
    call.arg(state.tries).arg(state.next_ms).arg(&*state.suspect).arg(u8::from(state.is_paused));
    let taken: Vec<String> =
        delivered.taken.iter().filter_map(|id| Some(ids_in_queue(partition, id)?.0)).collect();
    call.arg(taken.len()).arg(taken);
    for (id, reason, tries) in &delivered.dead {
        if let Some((id, padded)) = ids_in_queue(partition, id) {
            call.arg(id).arg(padded).arg(&**reason).arg(*tries);
        }
    }
}

/// The plan of an endpoint, by its name.
pub(super) fn find<'p>(plan: &'p Arc<HookStorePlan>, endpoint: &str) -> Option<&'p HookQueuePlan> {
    plan.endpoints.iter().find(|queue| *queue.name == *endpoint)
}

/// The arguments of `hook_seen.lua` and `hook_forget.lua`.
pub(super) fn add_names<'e>(call: &mut Cmd, kept: Duration, names: impl IntoIterator<Item = &'e str>) {
    call.arg(millis(kept));
    for name in names {
        call.arg(name);
    }
}

/// The arguments of `hook_apply.lua`.
pub(super) fn add_changes(call: &mut Cmd, plan: &HookStorePlan, run: &str, changes: &[HookChange]) {
    call.arg(run).arg(millis(plan.sequence_ttl)).arg(plan.endpoints.len());
    add_queues(call, &plan.endpoints);
    changes.iter().for_each(|change| add_change(call, plan.endpoints.len(), change));
}

/// The arguments of `hook_begin.lua`.
pub(super) fn add_begin(
    call: &mut Cmd,
    plan: &HookStorePlan,
    previous: Option<&str>,
    run: &str,
    first_number: u64,
    event: &HookEventDraft,
) {
    call.arg(previous.map_or(NONE, str::as_bytes)).arg(run).arg(first_number).arg(plan.partitions);
    call.arg(hook_wire::encode(event));
    add_queues(call, &plan.endpoints);
}
