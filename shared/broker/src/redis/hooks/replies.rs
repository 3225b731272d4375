//! Readers of the answers of the scripts of the store of hooks.

use std::sync::Arc;

use ::bytes::Bytes;
use redis::Value;

use crate::{
    BrokerError,
    hook_entry::{HookEntry, decode_key},
    hook_store::{
        DeadHook, HookApplied, HookDeliveryState, HookEvent, HookEventDraft, HookEventKind, HookNodeEntries,
        HookQueueHead, HooksDue, Partition,
    },
    hook_wire,
    redis_values::{array, bytes, number, text, unreadable, values},
};

/// A number that a script gives as text; nothing is 0, and so is what is below it because another program wrote into a queue.
fn written(value: Value) -> Result<u64, BrokerError> {
    let text = text(value)?;
    if text.is_empty() {
        return Ok(0);
    }
    let number: i64 = text.parse().map_err(|_| unreadable())?;
    Ok(u64::try_from(number).unwrap_or(0))
}

/// A run; an empty one is none.
fn run(value: Value) -> Result<Option<Arc<str>>, BrokerError> {
    let run = text(value)?;
    Ok((!run.is_empty()).then(|| run.into()))
}

/// The answer of `hook_open.lua`.
pub(super) fn opened(answer: Value) -> Result<(Partition, String), BrokerError> {
    let [partitions, policy] = array(answer)?;
    Ok((text(partitions)?.parse().map_err(|_| unreadable())?, text(policy)?))
}

/// The answer of `hook_begin.lua`.
pub(super) fn begun(answer: Value) -> Result<Arc<str>, BrokerError> {
    run(answer)?.ok_or_else(unreadable)
}

/// The answer of `hook_apply.lua`.
pub(super) fn applied(answer: Value) -> Result<HookApplied, BrokerError> {
    let mut answer = values(answer)?.into_iter();
    let mut next = || answer.next().ok_or_else(unreadable);
    if number(next()?)? == 0 {
        return Ok(HookApplied::OtherRun { run: run(next()?)? });
    }
    let changed = answer.map(|each| Ok(number(each)? == 1)).collect::<Result<_, BrokerError>>()?;
    Ok(HookApplied::Done(changed))
}

/// The answer of `hook_entries.lua`.
pub(super) fn entries(answer: Value) -> Result<HookNodeEntries, BrokerError> {
    let [texts, users, cursor] = array(answer)?;
    let mut page = HookNodeEntries::default();
    for (entry, user) in values(texts)?.into_iter().zip(values(users)?) {
        match HookEntry::decode(&text(entry)?).ok_or_else(unreadable)? {
            HookEntry::Session(client) => page.sessions.push((client, text(user)?.into())),
            HookEntry::Occupancy(key) => page.occupancies.push(key),
        }
    }
    let cursor = text(cursor)?;
    page.cursor = (!cursor.is_empty()).then_some(cursor);
    Ok(page)
}

/// Texts in a list.
pub(super) fn names(answer: Value) -> Result<Vec<String>, BrokerError> {
    values(answer)?.into_iter().map(text).collect()
}

/// The answer of `hook_due.lua`.
pub(super) fn due(answer: Value) -> Result<HooksDue, BrokerError> {
    let [keys, current] = array(answer)?;
    let keys = names(keys)?.into_iter().map(|key| decode_key(&key).ok_or_else(unreadable));
    Ok(HooksDue { keys: keys.collect::<Result<_, _>>()?, run: run(current)? })
}

/// An event whose bytes cannot be read (a much newer node or another program wrote it): the receiver is told that one was lost,
/// and those behind it go on.
fn lost(id: &str) -> HookEventDraft {
    let time_ms = id.split_once('-').and_then(|(time, _)| time.parse().ok()).unwrap_or(0);
    HookEventDraft {
        kind: HookEventKind::Gap,
        time_ms,
        node: Arc::default(),
        client: Arc::default(),
        user: Arc::default(),
        channel: Arc::default(),
        details: Bytes::from(format!("\"dropped\":1,\"since_ms\":{time_ms}")),
        meta: Bytes::new(),
        endpoints: Arc::default(),
    }
}

fn draft(id: &str, content: Bytes) -> HookEventDraft {
    hook_wire::decode(content).unwrap_or_else(|_| lost(id))
}

/// `[id in the queue, event, number, sessions, id of one that came again]`.
fn event(partition: Partition, entry: Value) -> Result<HookEvent, BrokerError> {
    let [id, content, sequence, user_sessions, original] = array(entry)?;
    let (id, original) = (text(id)?, text(original)?);
    let replayed = !original.is_empty();
    let draft = draft(&id, bytes(content)?);
    let id = if replayed { original } else { id };
    Ok(HookEvent {
        id: format!("{partition}-{id}"),
        draft,
        sequence: written(sequence)?,
        user_sessions: written(user_sessions)?,
        replayed,
    })
}

/// The answer of `hook_head.lua`.
pub(super) fn head(partition: Partition, answer: Value) -> Result<HookQueueHead, BrokerError> {
    let [events, length, dead_letters, state] = array(answer)?;
    let events =
        values(events)?.into_iter().map(|entry| event(partition, entry)).collect::<Result<_, _>>()?;
    let [bytes, dropped, dropped_told, since, tries, next, suspect, dead_dropped, paused] = array(state)?;
    let dropped_mark = written(dropped)?;
    Ok(HookQueueHead {
        events,
        dropped: dropped_mark.saturating_sub(written(dropped_told)?),
        dropped_mark,
        dropped_since_ms: written(since)?,
        length: number(length)?,
        bytes: written(bytes)?,
        dead_letters: number(dead_letters)?,
        dead_letters_dropped: written(dead_dropped)?,
        state: HookDeliveryState {
            tries: u32::try_from(written(tries)?).unwrap_or(u32::MAX),
            next_ms: written(next)?,
            suspect: text(suspect)?,
            is_paused: written(paused)? == 1,
        },
    })
}

/// The answer of `hook_dead.lua`.
pub(super) fn dead_letters(partition: Partition, answer: Value) -> Result<Vec<DeadHook>, BrokerError> {
    values(answer)?.into_iter().map(|letter| dead_letter(partition, letter)).collect()
}

/// `[padded id, letter]`; a letter is `<number> <sessions> <tries> <time> <1 if replayed> <bytes of the reason> <reason><event>`.
fn dead_letter(partition: Partition, letter: Value) -> Result<DeadHook, BrokerError> {
    let [padded, letter] = array(letter)?;
    let padded = text(padded)?;
    let (milliseconds, count) = padded.split_once('-').ok_or_else(unreadable)?;
    let whole = |digits: &str| digits.parse::<u64>().map_err(|_| unreadable());
    let id = format!("{}-{}", whole(milliseconds)?, whole(count)?);
    let mut letter = bytes(letter)?;
    let mut next = || -> Result<u64, BrokerError> {
        let end = letter.iter().position(|byte| *byte == b' ').ok_or_else(unreadable)?;
        let word = letter.split_to(end);
        let _space = letter.split_to(1);
        std::str::from_utf8(&word).ok().and_then(|word| word.parse().ok()).ok_or_else(unreadable)
    };
    let (sequence, user_sessions, tries) = (next()?, next()?, next()?);
    let (died_ms, replayed, reason_bytes) = (next()?, next()? == 1, next()?);
    let reason_bytes = usize::try_from(reason_bytes).map_err(|_| unreadable())?;
    if letter.len() < reason_bytes {
        return Err(unreadable());
    }
    let reason = String::from_utf8_lossy(&letter.split_to(reason_bytes)).into_owned();
    Ok(DeadHook {
        event: HookEvent {
            draft: draft(&id, letter),
            id: format!("{partition}-{id}"),
            sequence,
            user_sessions,
            replayed,
        },
        reason,
        tries: u32::try_from(tries).unwrap_or(u32::MAX),
        died_ms,
    })
}

/// A number of things.
pub(super) fn count(answer: Value) -> Result<u64, BrokerError> {
    number(answer)
}
