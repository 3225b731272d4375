//! Positions as text: how far a receiver without commands has come in each of its channels. A stream's `id:` lines, a
//! poll's `position` and its `ETag` are made of it. `specs/http-transports.md`, items 1, 2 and 4.
//!
//! `chat~3alobby.12.x7Qm.news.5.x7Qm`: channel, offset and epoch of each channel, separated by dots. What is neither a
//! letter, a digit, `-` nor `_` is `~` and two hexadecimal digits, so the text goes unchanged through URLs, headers and
//! shells.

use std::{collections::BTreeMap, fmt};

use bytes::{BufMut, BytesMut};
use gorani_broker::Position;

/// Why a text is no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a position")]
pub struct BadPosition;

/// The positions of a receiver, by channel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Positions(BTreeMap<String, Position>);

impl Positions {
    /// Reads what [`write()`] wrote.
    ///
    /// # Errors
    /// If it is anything else. The empty text is no position in any channel.
    pub fn parse(text: &str) -> Result<Self, BadPosition> {
        let mut positions = Self::default();
        if text.is_empty() {
            return Ok(positions);
        }
        let mut parts = text.split('.');
        while let Some(channel) = parts.next() {
            let (Some(offset), Some(epoch)) = (parts.next(), parts.next()) else { return Err(BadPosition) };
            let offset = offset.parse().map_err(|_| BadPosition)?;
            let position = Position { offset, epoch: unescape(epoch)?.into() };
            positions.0.insert(unescape(channel)?, position);
        }
        Ok(positions)
    }

    /// Moves on by what a text says of some channels.
    pub fn advance(&mut self, text: &str) {
        // It is our own text: nothing in it can be bad.
        if let Ok(newer) = Self::parse(text) {
            self.0.extend(newer.0);
        }
    }

    /// Notes one channel's.
    pub fn set(&mut self, channel: &str, position: Position) {
        self.0.insert(channel.to_owned(), position);
    }

    /// One channel's.
    pub fn get(&self, channel: &str) -> Option<&Position> {
        self.0.get(channel)
    }
}

impl fmt::Display for Positions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = BytesMut::new();
        for (channel, position) in &self.0 {
            if !out.is_empty() {
                out.put_u8(b'.');
            }
            write(channel, position.offset, &position.epoch, &mut out);
        }
        formatter.write_str(&String::from_utf8_lossy(&out))
    }
}

/// Appends one channel's position.
pub fn write(channel: &str, offset: u64, epoch: &str, out: &mut BytesMut) {
    escape(channel, out);
    out.put_u8(b'.');
    out.extend_from_slice(offset.to_string().as_bytes());
    out.put_u8(b'.');
    escape(epoch, out);
}

fn escape(text: &str, out: &mut BytesMut) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            out.put_u8(byte);
        } else {
            let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or(b'0');
            out.put_slice(&[b'~', digit(byte >> 4), digit(byte & 0x0f)]);
        }
    }
}

fn unescape(text: &str) -> Result<String, BadPosition> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'~' => match (rest.next().and_then(hex), rest.next().and_then(hex)) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => return Err(BadPosition),
            },
            b'-' | b'_' => byte,
            byte if byte.is_ascii_alphanumeric() => byte,
            _ => return Err(BadPosition),
        });
    }
    String::from_utf8(bytes).map_err(|_| BadPosition)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_position_survives_its_text_whatever_the_channel_is_called() {
        let mut positions = Positions::default();
        for (index, channel) in ["a", "chat:lobby", "odd.na~me,=/?", "$private#42"].into_iter().enumerate() {
            positions.set(channel, Position { offset: index as u64 + 1, epoch: "aB1.".into() });
        }
        positions.set("none", Position { offset: 0, epoch: "".into() });
        let text = positions.to_string();
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"~.-_".contains(&byte)), "{text}");
        assert_eq!(Positions::parse(&text), Ok(positions));
    }

    #[test]
    fn the_text_is_readable() {
        let mut positions = Positions::default();
        positions.set("chat:lobby", Position { offset: 12, epoch: "x7".into() });
        positions.set("news", Position { offset: 5, epoch: "x7".into() });
        assert_eq!(positions.to_string(), "chat~3alobby.12.x7.news.5.x7");
        positions.advance("news.6.x7");
        assert_eq!(positions.get("news").unwrap().offset, 6);
    }

    #[test]
    fn anything_else_is_refused() {
        assert_eq!(Positions::parse(""), Ok(Positions::default()));
        for text in
            ["a", "a.1", "a.x.e", "a.1.e.", "a.-1.e", "a~2.1.e", "a~zz.1.e", "a b.1.e", "~ff.1.e", "\n"]
        {
            assert_eq!(Positions::parse(text), Err(BadPosition), "{text:?}");
        }
    }
}
