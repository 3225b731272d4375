//! Positions as text: those of a receiver without commands in each of its channels. A stream's `id:` lines, a
//! poll's `position` and its `ETag` are made of it. `docs/protocols/http.md` §7.6, §8, §10.
//!
//! `chat~3alobby.12.x7Qm.news.5.x7Qm`: channel, offset and epoch of each channel, separated by dots. What is neither a
//! letter, a digit, `-` nor `_` is `~` and two hexadecimal digits, so the text goes unchanged through URLs, headers and
//! shells.
//!
//! A name longer than [`NAME_MAX_BYTES`] stands there as `~h` and a hash: a receiver names its channels when it comes
//! back, so the position only has to tell them apart. So 128 channels of any names fit into headers that every proxy takes
//! (decision record 23). The whole name, which earlier versions wrote, is still understood.

use std::{collections::BTreeMap, fmt};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::{BufMut, BytesMut};
use gorani_broker::Position;

/// Bytes of a channel's name, escaped, that a position repeats; as many as the hash of a longer one takes.
pub const NAME_MAX_BYTES: usize = HASH_MARK.len() + HASH_BYTES * 4 / 3;
/// Begins a hash: no escape, since `h` is no hexadecimal digit.
const HASH_MARK: &str = "~h";
/// Bytes of SHA-256 that tell the channels of one receiver apart: two of 128 are alike once in 10^17 receivers.
const HASH_BYTES: usize = 9;

/// Why a text is no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a position")]
pub struct BadPosition;

/// The reason why a client does not go on from the position that it named. The reasons are stable: clients get them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unrecovered {
    /// The text is not a position.
    BadPosition,
    /// The channel keeps no history, or for reading only (`allow_recovery = false`).
    NotAllowed,
    /// The stream has begun anew since, or its history does not go back that far.
    Lost,
}

impl Unrecovered {
    /// The reason's name for clients.
    pub fn reason(self) -> &'static str {
        match self {
            Self::BadPosition => "bad_position",
            Self::NotAllowed => "recovery_not_allowed",
            Self::Lost => "position_lost",
        }
    }
}

/// The positions of a receiver, by what stands for the channel in the text: its name escaped, or a hash.
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
            positions.0.insert(known(channel)?, position);
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

    /// Of two texts of one receiver, the position further on in each channel. Where a stream has begun anew in between, that of
    /// the second.
    #[must_use]
    pub fn furthest(mut self, second: Self) -> Self {
        for (channel, position) in second.0 {
            let is_further =
                |known: &Position| known.epoch == position.epoch && known.offset > position.offset;
            if !self.0.get(&channel).is_some_and(is_further) {
                self.0.insert(channel, position);
            }
        }
        self
    }

    /// Notes the position of one channel.
    pub fn set(&mut self, channel: &str, position: Position) {
        self.0.insert(short(channel), position);
    }

    /// The position of one channel.
    pub fn get(&self, channel: &str) -> Option<&Position> {
        self.0.get(&short(channel))
    }
}

impl fmt::Display for Positions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = BytesMut::new();
        for (channel, position) in &self.0 {
            if !out.is_empty() {
                out.put_u8(b'.');
            }
            write_entry(channel, position.offset, &position.epoch, &mut out);
        }
        formatter.write_str(&String::from_utf8_lossy(&out))
    }
}

/// Appends one channel's position.
pub fn write(channel: &str, offset: u64, epoch: &str, out: &mut BytesMut) {
    write_entry(&short(channel), offset, epoch, out);
}

/// The objects of a tracked session's message or chunk, each with the position that it brings its reader to (empty: no
/// further): it stands in a line of its own before the object.
pub fn objects(chunk: &[u8]) -> impl Iterator<Item = (&str, &[u8])> {
    let mut lines = chunk.split(|byte| *byte == b'\n');
    std::iter::from_fn(move || {
        let position = lines.next()?;
        let object = lines.next()?;
        Some((std::str::from_utf8(position).unwrap_or_default(), object))
    })
}

fn write_entry(short: &str, offset: u64, epoch: &str, out: &mut BytesMut) {
    out.extend_from_slice(short.as_bytes());
    out.put_u8(b'.');
    out.extend_from_slice(offset.to_string().as_bytes());
    out.put_u8(b'.');
    escape(epoch, out);
}

/// The short form of a channel's name: escaped, or hashed if it is too long.
fn short(channel: &str) -> String {
    let mut escaped = BytesMut::with_capacity(channel.len());
    escape(channel, &mut escaped);
    if escaped.len() <= NAME_MAX_BYTES {
        return String::from_utf8_lossy(&escaped).into_owned();
    }
    let hash = digest(&SHA256, channel.as_bytes());
    let hash = hash.as_ref().get(..HASH_BYTES).unwrap_or_default();
    format!("{HASH_MARK}{}", URL_SAFE_NO_PAD.encode(hash))
}

/// The short form of a channel's name, read from a text.
fn known(text: &str) -> Result<String, BadPosition> {
    let Some(hash) = text.strip_prefix(HASH_MARK) else {
        return unescape(text).map(|channel| short(&channel));
    };
    match URL_SAFE_NO_PAD.decode(hash) {
        Ok(bytes) if bytes.len() == HASH_BYTES => Ok(text.to_owned()),
        _ => Err(BadPosition),
    }
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
    fn positions_in_128_channels_of_the_longest_names_fit_into_4_kib() {
        let channel = |index: usize| format!("ns:{index:03}{}", "~".repeat(249));
        let mut positions = Positions::default();
        for index in 0..128 {
            assert_eq!(channel(index).len(), 255);
            positions.set(
                &channel(index),
                Position { offset: 1_000_000 + index as u64, epoch: "x7Qm12ab".into() },
            );
        }
        let text = positions.to_string();
        assert!(text.len() <= 4096, "{} bytes", text.len());
        let read = Positions::parse(&text).unwrap();
        for index in 0..128 {
            assert_eq!(read.get(&channel(index)).unwrap().offset, 1_000_000 + index as u64);
        }
        assert_eq!(read.to_string(), text);
    }

    #[test]
    fn a_long_name_that_an_earlier_version_wrote_whole_is_understood() {
        let name = "chat:a-room-with-a-long-name";
        let old = Positions::parse("chat~3aa-room-with-a-long-name.7.x").unwrap();
        assert_eq!(old.get(name).unwrap().offset, 7);
        let mut newer = BytesMut::new();
        write(name, 8, "x", &mut newer);
        let mut moved = old;
        moved.advance(std::str::from_utf8(&newer).unwrap());
        assert_eq!(moved.to_string().as_bytes(), newer);
    }

    #[test]
    fn the_longest_name_written_whole_is_as_long_as_a_hash() {
        assert_eq!(short(&"a".repeat(NAME_MAX_BYTES)), "a".repeat(NAME_MAX_BYTES));
        assert_eq!(short(&"a".repeat(NAME_MAX_BYTES + 1)).len(), NAME_MAX_BYTES);
        for hash in ["~h", "~hAAAA", "~hAAAAAAAAAAAAA", "~hAAAAAAAAAAA="] {
            assert_eq!(Positions::parse(&format!("{hash}.1.e")), Err(BadPosition), "{hash}");
        }
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
