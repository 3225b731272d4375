//! The format of events in Redis: the envelope of a message, and the fields of a publication or a client.
//!
//! A message is: one byte version, one byte kind of event, `<offset> <epoch> ` in ASCII (written by the publish script, `0  `
//! without history), then the fields. A history entry has the fields alone; offset and epoch are beside it. A field is:
//! one byte name, four bytes length (little endian), the bytes. Fields with their default value are left out, fields
//! with an unknown name are skipped, so that nodes of two versions can run side by side; what cannot be read at all is
//! delivered as a gap.

use std::sync::Arc;

use bytes::{Buf as _, Bytes};

use crate::{
    ChannelEvent, ClientInfo, DataKind, Publication, TraceContext,
    fields::{FIELD_HEAD_BYTES, UnreadableMessage, field, put, put_always, text},
    trace_context::TRACEPARENT_BYTES,
};

/// The version of the envelope. A new one is for changes that older nodes could not skip.
const VERSION: u8 = 1;

/// The kinds of event.
const PUBLICATION: u8 = b'P';
const JOIN: u8 = b'J';
const LEAVE: u8 = b'L';

/// The first bytes of a message, before the position.
pub(super) const PUBLICATION_HEAD: [u8; 2] = [VERSION, PUBLICATION];
/// The position of what has none.
const NO_POSITION: &[u8] = b"0  ";

/// Names of the fields of a publication.
mod publication {
    pub(super) const DATA: u8 = 1;
    pub(super) const KIND: u8 = 2;
    pub(super) const TIME: u8 = 3;
    pub(super) const EXCLUDE: u8 = 4;
    pub(super) const TAG: u8 = 5;
    pub(super) const INFO: u8 = 6;
    pub(super) const TRACE: u8 = 7;
    /// Within a tag.
    pub(super) const TAG_KEY: u8 = 1;
    pub(super) const TAG_VALUE: u8 = 2;
    /// Within a trace.
    pub(super) const TRACE_PARENT: u8 = 1;
    pub(super) const TRACE_STATE: u8 = 2;
    pub(super) const TRACE_OF_BATCH: u8 = 3;
}

/// Names of the fields of a client.
mod client {
    pub(super) const USER: u8 = 1;
    pub(super) const CLIENT: u8 = 2;
    pub(super) const CONNECTION_INFO: u8 = 3;
    pub(super) const CHANNEL_INFO: u8 = 4;
}

/// Ends the fields of a client whose join and leave are published: a field without content, which readers skip. The same stands
/// in `presence_set.lua`.
pub(super) const ANNOUNCED: [u8; FIELD_HEAD_BYTES] = [5, 0, 0, 0, 0];

/// The fields of a publication, without offset and epoch.
pub(super) fn encode_publication(publication: &Publication) -> Vec<u8> {
    let mut out = Vec::with_capacity(publication.data.len() + 128);
    put(&mut out, publication::DATA, &publication.data);
    let kind = match publication.kind {
        DataKind::Json => 0,
        DataKind::Text => 1,
        DataKind::Binary => 2,
    };
    if kind != 0 {
        put_always(&mut out, publication::KIND, &[kind]);
    }
    if publication.time_ms != 0 {
        put_always(&mut out, publication::TIME, &publication.time_ms.to_le_bytes());
    }
    put(&mut out, publication::EXCLUDE, publication.exclude_client.as_bytes());
    for (key, value) in &publication.tags {
        let mut tag = Vec::with_capacity(key.len() + value.len() + 2 * FIELD_HEAD_BYTES);
        put(&mut tag, publication::TAG_KEY, key.as_bytes());
        put(&mut tag, publication::TAG_VALUE, value.as_bytes());
        put_always(&mut out, publication::TAG, &tag);
    }
    if let Some(info) = &publication.info {
        put_always(&mut out, publication::INFO, &encode_client(info));
    }
    if let Some(trace) = &publication.trace {
        put_always(&mut out, publication::TRACE, &encode_trace(trace));
    }
    out
}

fn encode_trace(trace: &TraceContext) -> Vec<u8> {
    let mut out = Vec::with_capacity(TRACEPARENT_BYTES + trace.state.len() + 3 * FIELD_HEAD_BYTES + 1);
    put(&mut out, publication::TRACE_PARENT, trace.to_string().as_bytes());
    put(&mut out, publication::TRACE_STATE, trace.state.as_bytes());
    if trace.is_of_batch {
        put_always(&mut out, publication::TRACE_OF_BATCH, &[1]);
    }
    out
}

/// The fields of a client.
pub(super) fn encode_client(info: &ClientInfo) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    put(&mut out, client::USER, info.user.as_bytes());
    put(&mut out, client::CLIENT, info.client.as_bytes());
    put(&mut out, client::CONNECTION_INFO, &info.connection_info);
    put(&mut out, client::CHANNEL_INFO, &info.channel_info);
    out
}

/// The message of a publication without a position.
pub(super) fn publication_message(fields: &[u8]) -> Vec<u8> {
    message(PUBLICATION, fields)
}

/// The message of a join.
pub(super) fn join_message(info: &ClientInfo) -> Vec<u8> {
    message(JOIN, &encode_client(info))
}

/// The message of a leave.
pub(super) fn leave_message(info: &ClientInfo) -> Vec<u8> {
    message(LEAVE, &encode_client(info))
}

fn message(kind: u8, fields: &[u8]) -> Vec<u8> {
    [&[VERSION, kind], NO_POSITION, fields].concat()
}

/// The event of a message. What it carries are slices of the message.
pub(super) fn decode_message(mut message: Bytes) -> Result<ChannelEvent, UnreadableMessage> {
    if message.try_get_u8() != Ok(VERSION) {
        return Err(UnreadableMessage);
    }
    let kind = message.try_get_u8().map_err(|_| UnreadableMessage)?;
    let offset = word(&mut message)?.parse().map_err(|_| UnreadableMessage)?;
    let epoch = word(&mut message)?;
    match kind {
        PUBLICATION => {
            let publication = decode_publication(message, offset, epoch.into())?;
            Ok(ChannelEvent::Publication(Arc::new(publication)))
        }
        JOIN => Ok(ChannelEvent::Join(Arc::new(decode_client(message)?))),
        LEAVE => Ok(ChannelEvent::Leave(Arc::new(decode_client(message)?))),
        _ => Err(UnreadableMessage),
    }
}

/// The publication of these fields.
pub(super) fn decode_publication(
    mut fields: Bytes,
    offset: u64,
    epoch: Arc<str>,
) -> Result<Publication, UnreadableMessage> {
    let mut publication = Publication { offset, epoch, ..Publication::default() };
    while let Some((name, content)) = field(&mut fields)? {
        match name {
            publication::DATA => publication.data = content,
            publication::KIND => publication.kind = decode_kind(&content)?,
            publication::TIME => {
                publication.time_ms =
                    u64::from_le_bytes(content[..].try_into().map_err(|_| UnreadableMessage)?);
            }
            publication::EXCLUDE => publication.exclude_client = text(&content)?,
            publication::TAG => publication.tags.push(decode_tag(content)?),
            publication::INFO => publication.info = Some(Arc::new(decode_client(content)?)),
            publication::TRACE => publication.trace = decode_trace(content).map(Arc::new),
            _ => {}
        }
    }
    Ok(publication)
}

/// The client of these fields.
pub(super) fn decode_client(mut fields: Bytes) -> Result<ClientInfo, UnreadableMessage> {
    let mut info = ClientInfo::default();
    while let Some((name, content)) = field(&mut fields)? {
        match name {
            client::USER => info.user = text(&content)?,
            client::CLIENT => info.client = text(&content)?,
            client::CONNECTION_INFO => info.connection_info = content,
            client::CHANNEL_INFO => info.channel_info = content,
            _ => {}
        }
    }
    Ok(info)
}

fn decode_kind(content: &[u8]) -> Result<DataKind, UnreadableMessage> {
    match content {
        [0] => Ok(DataKind::Json),
        [1] => Ok(DataKind::Text),
        [2] => Ok(DataKind::Binary),
        _ => Err(UnreadableMessage),
    }
}

/// A trace that cannot be read is left out: the publication is delivered all the same.
fn decode_trace(mut fields: Bytes) -> Option<TraceContext> {
    let (mut parent, mut state, mut is_of_batch) = (Bytes::new(), Bytes::new(), false);
    while let Some((name, content)) = field(&mut fields).ok()? {
        match name {
            publication::TRACE_PARENT => parent = content,
            publication::TRACE_STATE => state = content,
            publication::TRACE_OF_BATCH => is_of_batch = true,
            _ => {}
        }
    }
    Some(TraceContext { is_of_batch, ..TraceContext::parse(&parent, &state)? })
}

fn decode_tag(mut fields: Bytes) -> Result<(String, String), UnreadableMessage> {
    let mut tag = (String::new(), String::new());
    while let Some((name, content)) = field(&mut fields)? {
        match name {
            publication::TAG_KEY => tag.0 = text(&content)?,
            publication::TAG_VALUE => tag.1 = text(&content)?,
            _ => {}
        }
    }
    Ok(tag)
}

/// Takes the text up to the next space off, and the space.
fn word(message: &mut Bytes) -> Result<String, UnreadableMessage> {
    let end = message.iter().position(|byte| *byte == b' ').ok_or(UnreadableMessage)?;
    let word = text(&message.split_to(end))?;
    message.advance(1);
    Ok(word)
}

#[cfg(test)]
mod tests;
