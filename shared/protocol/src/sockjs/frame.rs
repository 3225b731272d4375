//! The frames of SockJS: open, messages, heartbeat, close. `specs/sockjs.md` item 12.

use bytes::{BufMut, Bytes, BytesMut};

use super::escape::write_string;
use crate::client::json::write_integer;

/// The first frame of every session.
pub const OPEN: &[u8] = b"o";

/// The heartbeat: a sign of life that clients do not answer.
pub const HEARTBEAT: &[u8] = b"h";

/// The close frame of a second receiver while one is attached: code and reason (item 14).
pub const ANOTHER_CONNECTION: (u16, &str) = (2010, "Another connection still open");

/// The close frame for a session whose receiver was lost (item 16): code and reason.
pub const INTERRUPTED: (u16, &str) = (1002, "Connection interrupted");

/// Messages that wait for a frame: JSON strings, separated by commas. What a hub encodes once for all subscribers.
///
/// Lists are joined by commas into one `a[…]`.
#[derive(Debug, Default)]
pub struct MessageList(BytesMut);

impl MessageList {
    /// An empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a message: text in UTF-8.
    pub fn push(&mut self, text: &[u8]) {
        push_message(&mut self.0, text);
    }

    /// The list, ready to be shared.
    #[must_use]
    pub fn freeze(self) -> Bytes {
        self.0.freeze()
    }
}

/// Appends a message to a list; a comma stands between two.
pub fn push_message(list: &mut BytesMut, text: &[u8]) {
    push_list(list, |list| write_string(list, text));
}

/// Appends a list to a list.
pub fn join(list: &mut BytesMut, more: &[u8]) {
    push_list(list, |list| list.extend_from_slice(more));
}

fn push_list(list: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    if !list.is_empty() {
        list.put_u8(b',');
    }
    write(list);
}

/// Appends `a[…]` with the messages of these lists, in order.
pub fn write_messages<'l>(out: &mut BytesMut, lists: impl IntoIterator<Item = &'l [u8]>) {
    out.extend_from_slice(b"a[");
    for (index, list) in lists.into_iter().enumerate() {
        if index > 0 {
            out.put_u8(b',');
        }
        out.extend_from_slice(list);
    }
    out.put_u8(b']');
}

/// Appends `a["…"]` with one message.
pub fn write_message(out: &mut BytesMut, text: &[u8]) {
    out.extend_from_slice(b"a[");
    write_string(out, text);
    out.put_u8(b']');
}

/// Appends `c[code,"reason"]`.
pub fn write_close(out: &mut BytesMut, code: u16, reason: &str) {
    out.extend_from_slice(b"c[");
    write_integer(out, code);
    out.put_u8(b',');
    write_string(out, reason.as_bytes());
    out.put_u8(b']');
}

/// `c[code,"reason"]`.
#[must_use]
pub fn close(code: u16, reason: &str) -> Bytes {
    let mut out = BytesMut::with_capacity(reason.len() + 16);
    write_close(&mut out, code, reason);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn item_12_messages_travel_as_one_array_of_strings_in_order() {
        let mut first = MessageList::new();
        first.push(b"m1");
        first.push("m\n2".as_bytes());
        let mut second = MessageList::new();
        second.push("라".as_bytes());
        let mut out = BytesMut::new();
        write_messages(&mut out, [first.freeze().as_ref(), second.freeze().as_ref()]);
        assert_eq!(out, "a[\"m1\",\"m\\n2\",\"라\"]".as_bytes());
    }

    #[test]
    fn lists_are_joined_by_commas_and_an_empty_message_is_a_message() {
        let mut list = BytesMut::new();
        push_message(&mut list, b"");
        join(&mut list, b"\"a\",\"b\"");
        push_message(&mut list, b"c");
        assert_eq!(list, b"\"\",\"a\",\"b\",\"c\"".as_slice());
    }

    #[test]
    fn item_14_and_15_a_close_frame_names_code_and_reason() {
        let (code, reason) = ANOTHER_CONNECTION;
        assert_eq!(close(code, reason), b"c[2010,\"Another connection still open\"]".as_slice());
        assert_eq!(close(3000, "Go away!"), b"c[3000,\"Go away!\"]".as_slice());
        assert_eq!(close(4000, "\"\u{2028}"), b"c[4000,\"\\\"\\u2028\"]".as_slice());
    }
}
