//! Escapes of header names and values: none in 1.0, `\n \c \\` in 1.1, `\r` too in 1.2. `docs/protocols/stomp.md` §1.7 to §1.9.

use bytes::{BufMut, BytesMut};
use memchr::memchr;

use super::{error::StompDecodeError, version::Version};

/// Appends `raw` without its escapes. `None`: as it is, for 1.0 and for the frames that open a session.
///
/// # Errors
/// [`StompDecodeError::BadEscape`].
pub fn unescape(raw: &str, version: Option<Version>, out: &mut String) -> Result<(), StompDecodeError> {
    let Some(version) = version.filter(|version| *version > Version::V1_0) else {
        out.push_str(raw);
        return Ok(());
    };
    let mut rest = raw;
    while let Some(at) = memchr(b'\\', rest.as_bytes()) {
        let (plain, escape) = rest.split_at(at);
        out.push_str(plain);
        let mut signs = escape.chars();
        signs.next();
        out.push(match signs.next() {
            Some('n') => '\n',
            Some('c') => ':',
            Some('\\') => '\\',
            Some('r') if version == Version::V1_2 => '\r',
            _ => return Err(StompDecodeError::BadEscape),
        });
        rest = signs.as_str();
    }
    out.push_str(rest);
    Ok(())
}

/// Which of the two halves of a header is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EscapePart {
    /// Before the colon.
    Name,
    /// Behind it.
    Value,
}

/// Whether a reader of `version` can be told this header name in full. `None`: a CONNECTED frame, which is not escaped.
#[must_use]
pub fn is_sayable_name(name: &str, version: Option<Version>) -> bool {
    let version = version.unwrap_or(Version::V1_0);
    name.bytes().all(|byte| match byte {
        b'\0' => false,
        b'\r' => version == Version::V1_2,
        b'\n' | b':' => version > Version::V1_0,
        _ => true,
    })
}

/// Appends `text` as a part of a header that a reader of `version` takes back. `None`: a CONNECTED frame, which is not
/// escaped. What cannot be said is left out, so that no header ever begins a second one: CR, LF, and a colon in a name
/// where there are no escapes, CR in 1.1, NUL anywhere.
pub fn escape(text: &str, part: EscapePart, version: Option<Version>, out: &mut BytesMut) {
    let version = version.unwrap_or(Version::V1_0);
    let escapes = version > Version::V1_0;
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\\' | b':' | b'\n' | b'\r' | b'\0')) {
        let (plain, special) = rest.split_at(at);
        out.put_slice(plain);
        let Some((&byte, behind)) = special.split_first() else { break };
        rest = behind;
        match byte {
            b'\\' if escapes => out.put_slice(b"\\\\"),
            b'\\' => out.put_u8(byte),
            b':' if escapes => out.put_slice(b"\\c"),
            b':' if part == EscapePart::Value => out.put_u8(byte),
            b'\n' if escapes => out.put_slice(b"\\n"),
            b'\r' if version == Version::V1_2 => out.put_slice(b"\\r"),
            _ => {}
        }
    }
    out.put_slice(rest);
}
