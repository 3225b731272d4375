//! The line of an `Upgrade` header.

use memchr::memchr;

/// Bytes of a header line with an `Upgrade` list, at most. A longer one stays as it is, whole or in pieces.
pub const UPGRADE_LINE_MAX_BYTES: usize = 256;
pub(super) const UPGRADE: &[u8] = b"upgrade";
pub(super) const WEBSOCKET: &[u8] = b"websocket";

/// True if all of a line is there.
#[derive(PartialEq)]
pub(super) enum Whole {
    Yes,
    NotYet,
    /// It is longer than this looks at.
    TooLong,
}

/// Puts `websocket` in the place of a list that holds it, in an `Upgrade` header's line at the beginning of `bytes`.
pub(super) fn make_plain(bytes: &mut [u8]) -> Whole {
    let length = bytes.len().min(UPGRADE_LINE_MAX_BYTES);
    let Some(within) = bytes.get_mut(..length) else { return Whole::TooLong };
    let Some(end) = memchr(b'\n', within) else {
        return if length < UPGRADE_LINE_MAX_BYTES { Whole::NotYet } else { Whole::TooLong };
    };
    let Some(value) = within.get_mut(UPGRADE.len() + 1..end) else { return Whole::Yes };
    let lists_it = value.contains(&b',')
        && value.split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(WEBSOCKET));
    if let Some((word, rest)) = value.split_at_mut_checked(WEBSOCKET.len())
        && lists_it
    {
        word.copy_from_slice(WEBSOCKET);
        // The carriage return at the end of the line stays.
        rest.iter_mut().filter(|byte| **byte != b'\r').for_each(|byte| *byte = b' ');
    }
    Whole::Yes
}
