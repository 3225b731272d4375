//! Server-sent events: what an `EventSource` reads. WHATWG HTML §9.2; `docs/protocols/http.md` §10.

use std::time::Duration;

use bytes::{BufMut, BytesMut};

/// A heartbeat: a comment, which fires no event.
pub const COMMENT: &[u8] = b":\n\n";

/// Begins the line that names an event.
pub const ID: &[u8] = b"id: ";

/// Appends an event with this data. A reader gets `\n` for every line break in it.
pub fn event(data: &[u8], out: &mut BytesMut) {
    out.reserve(data.len() + 8);
    let mut rest = data;
    loop {
        let at = memchr::memchr2(b'\n', b'\r', rest);
        let (line, behind) = rest.split_at(at.unwrap_or(rest.len()));
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line);
        out.put_u8(b'\n');
        if at.is_none() {
            break;
        }
        rest = behind.strip_prefix(b"\r\n").or_else(|| behind.get(1..)).unwrap_or_default();
    }
    out.put_u8(b'\n');
}

/// Appends the line that names the event which follows: a browser sends it back when it returns. A line break or a zero
/// byte would make it no id; ours have none.
pub fn id(id: &str, out: &mut BytesMut) {
    out.extend_from_slice(ID);
    out.extend_from_slice(id.as_bytes());
    out.put_u8(b'\n');
}

/// Appends the time after which a browser that lost the stream comes back.
pub fn retry(pause: Duration, out: &mut BytesMut) {
    let mut digits = itoa::Buffer::new();
    out.extend_from_slice(b"retry: ");
    out.extend_from_slice(digits.format(pause.as_millis()).as_bytes());
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn written(write: impl FnOnce(&mut BytesMut)) -> String {
        let mut out = BytesMut::new();
        write(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn an_event_is_a_data_line_and_an_empty_line() {
        assert_eq!(written(|out| event(b"{}", out)), "data: {}\n\n");
        assert_eq!(written(|out| event(b"", out)), "data: \n\n");
    }

    #[test]
    fn every_line_break_begins_a_data_line() {
        let lines = written(|out| event(b"a\nb\r\nc\rd\n", out));
        assert_eq!(lines, "data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n");
    }

    #[test]
    fn id_and_retry_are_lines_of_their_own() {
        assert_eq!(written(|out| id("a.7.x", out)), "id: a.7.x\n");
        assert_eq!(written(|out| retry(Duration::from_millis(1500), out)), "retry: 1500\n\n");
    }
}
