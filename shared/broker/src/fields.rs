//! Fields of bytes, as what goes into Redis has them: one byte name, four bytes length (little endian), the bytes. Fields with an unknown
//! name can be skipped, so that nodes of two versions can run side by side.

use bytes::{Buf as _, BufMut as _, Bytes};

/// Bytes of a field before its content.
pub(crate) const FIELD_HEAD_BYTES: usize = 5;

/// A received message that cannot be read: another program wrote it, or a much newer node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message of unknown format")]
pub struct UnreadableMessage;

pub(crate) fn put(out: &mut Vec<u8>, name: u8, content: &[u8]) {
    if !content.is_empty() {
        put_always(out, name, content);
    }
}

pub(crate) fn put_always(out: &mut Vec<u8>, name: u8, content: &[u8]) {
    out.put_u8(name);
    // Contents are bounded far below 4 GiB by the limits of messages (`docs/limits.md`) and by Redis's own 512 MiB.
    out.put_u32_le(u32::try_from(content.len()).unwrap_or(u32::MAX));
    out.put_slice(content);
}

/// Takes the next field off; `None` at the end.
pub(crate) fn field(fields: &mut Bytes) -> Result<Option<(u8, Bytes)>, UnreadableMessage> {
    if fields.is_empty() {
        return Ok(None);
    }
    let name = fields.try_get_u8().map_err(|_| UnreadableMessage)?;
    let length = fields.try_get_u32_le().map_err(|_| UnreadableMessage)?;
    let length = usize::try_from(length).map_err(|_| UnreadableMessage)?;
    if fields.len() < length {
        return Err(UnreadableMessage);
    }
    Ok(Some((name, fields.split_to(length))))
}

pub(crate) fn text(content: &[u8]) -> Result<String, UnreadableMessage> {
    std::str::from_utf8(content).map(str::to_owned).map_err(|_| UnreadableMessage)
}
