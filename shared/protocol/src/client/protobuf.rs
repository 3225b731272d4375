//! The protobuf form of the client protocol: the same commands, replies and pushes as in JSON, for the SDKs of phones.
//! `docs/protocols/client.md` §14.
//!
//! Between a transport, which has a frame of bytes, and a session, which thinks in commands:
//!
//! - [`first_message`]: a frame is messages one behind the other, each after its length.
//! - [`decode()`]: reads a command of one message; [`decode_emulation`]: a request that brings commands.
//! - [`reply`]: the answers to commands.
//! - [`push`]: the pushes of the server.
//!
//! A ping and a pong are messages of length 0. Numbers of fields are those of the `client.proto` that the SDKs are made from.

mod decode;
mod messages;
pub mod push;
pub mod reply;
#[cfg(test)]
mod tests;
mod writer;

use bytes::{BufMut as _, BytesMut};

pub use self::decode::{Emulated, decode, decode_emulation};
use super::Malformed;

/// The server's ping; the client's pong looks the same.
pub const PING: &[u8] = &[0];

/// Bytes of the longest length. A command is much shorter than the four that the first five can tell.
const LENGTH_BYTES: usize = 10;

/// A message of a frame, and the rest of the frame behind it.
pub type FirstMessage<'a> = (&'a [u8], &'a [u8]);

/// The first message of a frame, and what follows it. `None` if the frame ends inside the message: on a stream of bytes the
/// rest may still come.
///
/// # Errors
/// [`Malformed::Protobuf`] if what stands before the message is no length, or one over `max_bytes`.
pub fn first_message(frame: &[u8], max_bytes: usize) -> Result<Option<FirstMessage<'_>>, Malformed> {
    let mut length = 0u64;
    for (index, &byte) in frame.iter().enumerate() {
        if index == LENGTH_BYTES {
            return Err(Malformed::Protobuf);
        }
        let shift = 7 * index as u32;
        let bits = u64::from(byte & 0x7f);
        // The tenth byte has one bit of a 64-bit number.
        if shift == 63 && bits > 1 {
            return Err(Malformed::Protobuf);
        }
        length |= bits << shift;
        if byte & 0x80 == 0 {
            let rest = frame.get(index + 1..).unwrap_or_default();
            return match usize::try_from(length) {
                Ok(bytes) if bytes <= max_bytes => Ok(rest.split_at_checked(bytes)),
                _ => Err(Malformed::Protobuf),
            };
        }
    }
    if frame.len() >= LENGTH_BYTES { Err(Malformed::Protobuf) } else { Ok(None) }
}

/// Appends a message to a frame, with its length before it.
pub fn push_message(frame: &mut BytesMut, message: &[u8]) {
    let mut length = message.len() as u64;
    while length >= 0x80 {
        frame.put_u8(length as u8 | 0x80);
        length >>= 7;
    }
    frame.put_u8(length as u8);
    frame.extend_from_slice(message);
}
