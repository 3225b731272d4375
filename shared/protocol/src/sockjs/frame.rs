//! The frames of SockJS: open, messages, heartbeat, close. `docs/protocols/sockjs.md` §3.1.

use bytes::{BufMut, Bytes, BytesMut};

use super::escape::write_string;
use crate::client::json::write_integer;

/// The first frame of every session.
pub const OPEN: &[u8] = b"o";

/// The heartbeat: a sign of life that clients do not answer.
pub const HEARTBEAT: &[u8] = b"h";

/// The close frame of a second receiver while one is attached: code and reason (`docs/protocols/sockjs.md` §4.2).
pub const ANOTHER_CONNECTION: (u16, &str) = (2010, "Another connection still open");

/// The close frame for a session whose receiver was lost (`docs/protocols/sockjs.md` §4.4): code and reason.
pub const INTERRUPTED: (u16, &str) = (1002, "Connection interrupted");

/// Appends a message to a list of messages that wait for a frame: a JSON string and a comma. The text is UTF-8.
///
/// Lists say nothing of a transport, and one after the other they are one list: so a hub makes them once for all
/// subscribers, and what came between two polls leaves in one frame.
pub fn push_message(list: &mut BytesMut, text: &[u8]) {
    write_string(list, text);
    list.put_u8(b',');
}

/// Appends `a[…]` with the messages of these lists, in order.
pub fn write_messages<'l>(out: &mut BytesMut, lists: impl IntoIterator<Item = &'l [u8]>) {
    out.extend_from_slice(b"a[");
    for list in lists {
        out.extend_from_slice(list);
    }
    if out.ends_with(b",") {
        out.truncate(out.len() - 1);
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
        let (mut first, mut second) = (BytesMut::new(), BytesMut::new());
        push_message(&mut first, b"m1");
        push_message(&mut first, b"m\n2");
        push_message(&mut second, "라,".as_bytes());
        push_message(&mut second, b"");
        let mut out = BytesMut::new();
        write_messages(&mut out, [first.as_ref(), second.as_ref()]);
        assert_eq!(out, "a[\"m1\",\"m\\n2\",\"라,\",\"\"]".as_bytes());
    }

    #[test]
    fn no_messages_are_an_empty_array() {
        let mut out = BytesMut::new();
        write_messages(&mut out, []);
        assert_eq!(out, b"a[]".as_slice());
    }

    #[test]
    fn item_14_and_15_a_close_frame_names_code_and_reason() {
        let (code, reason) = ANOTHER_CONNECTION;
        assert_eq!(close(code, reason), b"c[2010,\"Another connection still open\"]".as_slice());
        assert_eq!(close(3000, "Go away!"), b"c[3000,\"Go away!\"]".as_slice());
        assert_eq!(close(4000, "\"\u{2028}"), b"c[4000,\"\\\"\\u2028\"]".as_slice());
    }
}
