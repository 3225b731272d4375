//! The frames of SockJS: open, messages, heartbeat, close; the strings in them; and what each transport puts around a
//! frame in its response. One frame becomes one piece of bytes, and so one HTTP chunk. `docs/protocols/sockjs.md` §3.1,
//! §3.5 and §5.
//!
//! The strings are JSON, and besides what JSON must escape, the characters that browsers were found to change or drop on
//! the way are escaped.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use super::Transport;
use crate::{
    client::json::write_integer,
    escape::{self, Replacement, ReplacementRoom},
};

/// The first frame of every session.
pub const OPEN: &[u8] = b"o";

/// The heartbeat: a sign of life that clients do not answer.
pub const HEARTBEAT: &[u8] = b"h";

/// The close frame of a second receiver while one is attached: code and reason (`docs/protocols/sockjs.md` §4.2).
pub const ANOTHER_CONNECTION: (u16, &str) = (2010, "Another connection still open");

/// The close frame for a session whose receiver was lost (`docs/protocols/sockjs.md` §4.4): code and reason.
pub const INTERRUPTED: (u16, &str) = (1002, "Connection interrupted");

/// The beginning of `xhr_streaming`, since some browsers hand out the first 2 KiB late.
const XHR_PRELUDE: [u8; 2049] = {
    let mut bytes = [b'h'; 2049];
    bytes[2048] = b'\n';
    bytes
};

/// Bytes that the head of `htmlfile` is padded to, for the same reason.
const HTML_HEAD_BYTES: usize = 1024 + 1;

/// Longest name of a callback: those of sockjs-client have about 14 characters.
const CALLBACK_MAX_BYTES: usize = 32;

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

/// Appends text as a JSON string, quotes included. The text is UTF-8; where it is not, what is wrong is passed on as it
/// is.
pub fn write_string(out: &mut BytesMut, text: &[u8]) {
    out.reserve(text.len() + 2);
    out.put_u8(b'"');
    // Two, since one that a call may change is slower to fill.
    let (mut room, mut characters) = (ReplacementRoom::new(), ReplacementRoom::new());
    let mut rest = text;
    while !rest.is_empty() {
        let (plain, tail) =
            rest.split_at_checked(escape::kept_bytes(rest, is_candidate)).unwrap_or((rest, &[]));
        out.extend_from_slice(plain);
        rest = tail;
        let block = rest.get(..escape::BLOCK_BYTES).unwrap_or(rest);
        if block.iter().fold(false, |found, byte| found | is_first_of_three(*byte)) {
            rest = write_characters(rest, &mut characters);
            characters.flush(out);
        } else {
            block
                .iter()
                .filter_map(|byte| escape::JSON.get(usize::from(*byte)))
                .for_each(|same| room.push(same));
            rest = rest.get(block.len()..).unwrap_or_default();
            room.flush(out);
        }
    }
    out.put_u8(b'"');
}

/// Appends text that is JSON already as a JSON string that may stand inside `<script>`: besides quotes and backslashes,
/// `<` and `/` are escaped, so that no message can end the script (`docs/protocols/sockjs.md` §5.8).
pub fn write_script_string(out: &mut BytesMut, json: &[u8]) {
    out.reserve(json.len() + 2);
    out.put_u8(b'"');
    escape::write(out, json, &escape::SCRIPT, |byte| escape::is_escaped(byte) || matches!(byte, b'<' | b'/'));
    out.put_u8(b'"');
}

/// The form in which a transport wraps frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrapping {
    /// `websocket`: nothing around a frame, the message is the frame.
    Bare,
    /// `xhr`: a newline after the frame.
    Xhr,
    /// `xhr_streaming`: the same, after a prelude.
    XhrStreaming,
    /// `eventsource`: an event with the frame as its data.
    EventSource,
    /// `htmlfile`: a script that hands the frame to the page around it.
    HtmlFile(Callback),
    /// `jsonp`: a script that calls the callback with the frame.
    Jsonp(Callback),
}

impl Wrapping {
    /// The wrapping of a transport that receives; `None` for one that only sends, or where a callback is missing.
    #[must_use]
    pub fn of(transport: Transport, callback: Option<Callback>) -> Option<Self> {
        Some(match transport {
            Transport::WebSocket => Self::Bare,
            Transport::Xhr => Self::Xhr,
            Transport::XhrStreaming => Self::XhrStreaming,
            Transport::EventSource => Self::EventSource,
            Transport::HtmlFile => Self::HtmlFile(callback?),
            Transport::Jsonp => Self::Jsonp(callback?),
            Transport::XhrSend | Transport::JsonpSend => return None,
        })
    }

    /// The beginning of the response, a chunk of its own; empty for nothing.
    #[must_use]
    pub fn prelude(&self) -> Bytes {
        match self {
            Self::XhrStreaming => Bytes::from_static(&XHR_PRELUDE),
            Self::EventSource => Bytes::from_static(b"\r\n"),
            Self::HtmlFile(callback) => html_head(callback),
            Self::Bare | Self::Xhr | Self::Jsonp(_) => Bytes::new(),
        }
    }

    /// Appends a frame as this transport sends it.
    pub fn write(&self, frame: &[u8], out: &mut BytesMut) {
        match self {
            Self::Bare => out.extend_from_slice(frame),
            Self::Xhr | Self::XhrStreaming => {
                out.reserve(frame.len() + 1);
                out.extend_from_slice(frame);
                out.put_u8(b'\n');
            }
            Self::EventSource => {
                out.extend_from_slice(b"data: ");
                write_percent_encoded(out, frame);
                out.extend_from_slice(b"\r\n\r\n");
            }
            Self::HtmlFile(_) => {
                out.extend_from_slice(b"<script>\np(");
                write_script_string(out, frame);
                out.extend_from_slice(b");\n</script>\r\n");
            }
            Self::Jsonp(callback) => {
                // The comment keeps the answer from being taken for a Flash file that begins with the callback's name.
                out.extend_from_slice(b"/**/");
                out.extend_from_slice(callback.as_str().as_bytes());
                out.put_u8(b'(');
                write_script_string(out, frame);
                out.extend_from_slice(b");\r\n");
            }
        }
    }

    /// A frame as this transport sends it.
    #[must_use]
    pub fn wrap(&self, frame: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(frame.len() + 64);
        self.write(frame, &mut out);
        out.freeze()
    }
}

/// The name of the function that `htmlfile` and `jsonp` call: `?c=name`. It ends up inside a script, so only harmless
/// names pass. `docs/protocols/sockjs.md` §5.10.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callback(String);

/// Why there is no callback. The text is what SockJS answers with 500.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallbackError {
    /// No `c` in the query, or an empty one.
    #[error("\"callback\" parameter required")]
    Missing,
    /// Something else than letters, digits, `-`, `_` and `.`, or too long.
    #[error("invalid \"callback\" parameter")]
    Invalid,
}

impl Callback {
    /// Reads it from a query, without the `?`.
    ///
    /// # Errors
    /// [`CallbackError`].
    pub fn from_query(query: &str) -> Result<Self, CallbackError> {
        let field = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "c");
        let name =
            field.map(|(_, name)| name).filter(|name| !name.is_empty()).ok_or(CallbackError::Missing)?;
        let is_harmless = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.len() > CALLBACK_MAX_BYTES || !name.bytes().all(is_harmless) {
            return Err(CallbackError::Invalid);
        }
        Ok(Self(name.into_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Writes some of the text, character by character where they have three bytes, and returns what is left.
fn write_characters<'a>(text: &'a [u8], room: &mut ReplacementRoom) -> &'a [u8] {
    let mut rest = text;
    for _ in 0..escape::BLOCK_BYTES {
        let Some((first, tail)) = rest.split_first() else { break };
        rest = tail;
        match tail {
            [second, third, after @ ..] if is_first_of_three(*first) => {
                let code = three_byte_code(*first, *second, *third);
                room.push(&if is_changed_on_the_way(code) {
                    Replacement::code_unit(code)
                } else {
                    Replacement::three(*first, *second, *third)
                });
                rest = after;
            }
            _ => escape::JSON.get(usize::from(*first)).into_iter().for_each(|same| room.push(same)),
        }
    }
    rest
}

/// The characters above ASCII that are escaped all begin with one of two bytes.
const fn is_first_of_three(byte: u8) -> bool {
    (byte == 0xe2) | (byte == 0xef)
}

const fn is_candidate(byte: u8) -> bool {
    escape::is_escaped(byte) | is_first_of_three(byte)
}

const fn three_byte_code(first: u8, second: u8, third: u8) -> u16 {
    ((first & 0x0f) as u16) << 12 | ((second & 0x3f) as u16) << 6 | (third & 0x3f) as u16
}

/// Characters that some browser is known to change, drop or fail at.
const fn is_changed_on_the_way(code: u16) -> bool {
    matches!(code, 0x200c..=0x200f | 0x2028..=0x202f | 0x2060..=0x206f | 0xfff0..=0xffff)
}

/// sockjs-client reads events with `decodeURI`: a percent sign must be encoded for it, and what would end a line for
/// EventSource.
fn write_percent_encoded(out: &mut BytesMut, frame: &[u8]) {
    out.reserve(frame.len() + 4);
    let mut rest = frame;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'%' | b'\r' | b'\n' | 0)) {
        let Some((plain, [byte, tail @ ..])) = rest.split_at_checked(at) else { break };
        out.extend_from_slice(plain);
        out.extend_from_slice(match byte {
            b'%' => b"%25",
            b'\r' => b"%0D",
            b'\n' => b"%0A",
            _ => b"%00",
        });
        rest = tail;
    }
    out.extend_from_slice(rest);
}

fn html_head(callback: &Callback) -> Bytes {
    let mut head = format!(
        r#"<!doctype html>
<html><head>
  <meta http-equiv="X-UA-Compatible" content="IE=edge" />
  <meta http-equiv="Content-Type" content="text/html; charset=UTF-8" />
</head><body><h2>Don't panic!</h2>
  <script>
    document.domain = document.domain;
    var c = parent.{callback};
    c.start();
    function p(d) {{c.message(d);}};
    window.onload = function() {{c.stop();}};
  </script>"#
    );
    let padding = HTML_HEAD_BYTES.saturating_sub(head.len());
    head.extend(std::iter::repeat_n(' ', padding));
    head.push_str("\r\n\r\n");
    Bytes::from(head)
}

#[cfg(test)]
mod tests;
