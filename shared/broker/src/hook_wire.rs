//! The format of an event of the store of hooks in Redis, beside its numbers: one byte version, then [`fields`](crate::fields).

use std::sync::Arc;

use bytes::{Buf as _, Bytes};

use crate::{
    fields::{UnreadableMessage, field, put, put_always, text},
    hook_store::{HookEventDraft, HookEventKind},
};

/// A new one is for changes that older nodes could not skip.
const VERSION: u8 = 1;

/// Names of the fields.
mod name {
    pub(super) const KIND: u8 = 1;
    pub(super) const TIME: u8 = 2;
    pub(super) const NODE: u8 = 3;
    pub(super) const CLIENT: u8 = 4;
    pub(super) const USER: u8 = 5;
    pub(super) const CHANNEL: u8 = 6;
    pub(super) const DETAILS: u8 = 7;
    pub(super) const META: u8 = 8;
}

/// The kinds by their number, which is a promise to other versions.
const KINDS: [HookEventKind; 11] = [
    HookEventKind::Connected,
    HookEventKind::Disconnected,
    HookEventKind::Subscribed,
    HookEventKind::Unsubscribed,
    HookEventKind::Occupied,
    HookEventKind::Vacated,
    HookEventKind::MemberAdded,
    HookEventKind::MemberRemoved,
    HookEventKind::Publication,
    HookEventKind::Gap,
    HookEventKind::Reset,
];

fn number(kind: HookEventKind) -> u8 {
    match kind {
        HookEventKind::Connected => 0,
        HookEventKind::Disconnected => 1,
        HookEventKind::Subscribed => 2,
        HookEventKind::Unsubscribed => 3,
        HookEventKind::Occupied => 4,
        HookEventKind::Vacated => 5,
        HookEventKind::MemberAdded => 6,
        HookEventKind::MemberRemoved => 7,
        HookEventKind::Publication => 8,
        HookEventKind::Gap => 9,
        HookEventKind::Reset => 10,
    }
}

/// The event, without the endpoints that it is for.
pub fn encode(draft: &HookEventDraft) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + usize::try_from(draft.content_bytes()).unwrap_or(0));
    out.push(VERSION);
    put_always(&mut out, name::KIND, &[number(draft.kind)]);
    put_always(&mut out, name::TIME, &draft.time_ms.to_le_bytes());
    put(&mut out, name::NODE, draft.node.as_bytes());
    put(&mut out, name::CLIENT, draft.client.as_bytes());
    put(&mut out, name::USER, draft.user.as_bytes());
    put(&mut out, name::CHANNEL, draft.channel.as_bytes());
    put(&mut out, name::DETAILS, &draft.details);
    put(&mut out, name::META, &draft.meta);
    out
}

/// The event of these bytes.
///
/// # Errors
/// They are none, or one of a version to come.
pub fn decode(mut bytes: Bytes) -> Result<HookEventDraft, UnreadableMessage> {
    if bytes.try_get_u8() != Ok(VERSION) {
        return Err(UnreadableMessage);
    }
    let mut kind = None;
    let mut draft = HookEventDraft {
        kind: HookEventKind::Gap,
        time_ms: 0,
        node: Arc::default(),
        client: Arc::default(),
        user: Arc::default(),
        channel: Arc::default(),
        details: Bytes::new(),
        meta: Bytes::new(),
        endpoints: Arc::default(),
    };
    while let Some((name, content)) = field(&mut bytes)? {
        match name {
            name::KIND => {
                kind = content.first().and_then(|kind| KINDS.get(usize::from(*kind)));
            }
            name::TIME => {
                draft.time_ms = u64::from_le_bytes(content[..].try_into().map_err(|_| UnreadableMessage)?);
            }
            name::NODE => draft.node = text(&content)?.into(),
            name::CLIENT => draft.client = text(&content)?.into(),
            name::USER => draft.user = text(&content)?.into(),
            name::CHANNEL => draft.channel = text(&content)?.into(),
            name::DETAILS => draft.details = content,
            name::META => draft.meta = content,
            _ => {}
        }
    }
    draft.kind = *kind.ok_or(UnreadableMessage)?;
    Ok(draft)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    fn draft() -> impl Strategy<Value = HookEventDraft> {
        let texts = (".{0,9}", ".{0,9}", ".{0,9}", ".{0,9}");
        (0..KINDS.len(), any::<u64>(), texts, any::<[Vec<u8>; 2]>()).prop_map(
            |(kind, time_ms, (node, client, user, channel), [details, meta])| HookEventDraft {
                kind: KINDS[kind],
                time_ms,
                node: node.into(),
                client: client.into(),
                user: user.into(),
                channel: channel.into(),
                details: details.into(),
                meta: meta.into(),
                endpoints: Arc::default(),
            },
        )
    }

    proptest! {
        #[test]
        fn every_event_survives(draft in draft()) {
            prop_assert_eq!(decode(encode(&draft).into()).unwrap(), draft);
        }

        #[test]
        fn an_unknown_field_is_skipped(draft in draft(), content in any::<Vec<u8>>()) {
            let mut bytes = encode(&draft);
            put_always(&mut bytes, 200, &content);
            prop_assert_eq!(decode(bytes.into()).unwrap(), draft);
        }

        #[test]
        fn no_bytes_are_too_odd(bytes in any::<Vec<u8>>()) {
            let _ = decode(bytes.into());
        }

        #[test]
        fn what_is_cut_off_is_no_other_event(draft in draft(), cut in 0..100_usize) {
            let mut bytes = encode(&draft);
            let left = bytes.len().saturating_sub(cut + 1);
            bytes.truncate(left);
            if let Ok(read) = decode(bytes.into()) {
                prop_assert_eq!(read.kind, draft.kind);
            }
        }
    }

    #[test]
    fn every_kind_has_a_number_of_its_own() {
        for (at, kind) in KINDS.into_iter().enumerate() {
            assert_eq!(usize::from(number(kind)), at);
        }
    }
}
