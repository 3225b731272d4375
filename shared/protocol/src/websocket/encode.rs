//! The server's frames: unmasked, final, ready for the socket. RFC 6455 §5.
//!
//! A publication is framed once and the bytes are shared by all subscribers; control frames are made per connection.
//! To send a message compressed see [`super::Deflater::frame`].

use bytes::{BufMut, BytesMut};

use super::frame::{FIN, LENGTH_IN_2_BYTES, LENGTH_IN_8_BYTES, MAX_CONTROL_BYTES, Opcode, RSV1};

/// The most bytes a server's header can have: 2 and a 64-bit length.
const MAX_HEADER_BYTES: usize = 10;

/// A text message. The caller knows that `payload` is UTF-8.
pub fn text(payload: &[u8], out: &mut BytesMut) {
    frame(Opcode::Text, payload, false, out);
}

/// A binary message.
pub fn binary(payload: &[u8], out: &mut BytesMut) {
    frame(Opcode::Binary, payload, false, out);
}

/// A ping; of a payload over 125 bytes only the first 125 are sent.
pub fn ping(payload: &[u8], out: &mut BytesMut) {
    frame(Opcode::Ping, control(payload), false, out);
}

/// A pong; of a payload over 125 bytes only the first 125 are sent.
pub fn pong(payload: &[u8], out: &mut BytesMut) {
    frame(Opcode::Pong, control(payload), false, out);
}

/// A close frame with a code and a reason; the reason is cut between two characters to fit (123 bytes).
pub fn close(code: u16, reason: &str, out: &mut BytesMut) {
    let mut body = [0; MAX_CONTROL_BYTES];
    let fits = reason.floor_char_boundary(MAX_CONTROL_BYTES - size_of::<u16>());
    let reason = reason.get(..fits).unwrap_or_default().as_bytes();
    let mut rest = body.as_mut_slice();
    rest.put_u16(code);
    rest.put_slice(reason);
    let unused = rest.len();
    frame(Opcode::Close, body.get(..MAX_CONTROL_BYTES - unused).unwrap_or_default(), false, out);
}

/// A close frame without a body: the answer to one that had none.
pub fn close_empty(out: &mut BytesMut) {
    frame(Opcode::Close, &[], false, out);
}

/// One final frame. `compressed` sets RSV1 and belongs to data that went through a [`super::Deflater`].
pub fn frame(opcode: Opcode, payload: &[u8], compressed: bool, out: &mut BytesMut) {
    out.reserve(MAX_HEADER_BYTES + payload.len());
    header(opcode, payload.len(), compressed, out);
    out.put_slice(payload);
}

/// The header of a final frame whose payload, of `length` bytes, the caller puts behind it.
pub fn header(opcode: Opcode, length: usize, compressed: bool, out: &mut impl BufMut) {
    out.put_u8(FIN | if compressed { RSV1 } else { 0 } | opcode as u8);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < LENGTH_IN_2_BYTES => out.put_u8(short),
        (_, Ok(medium)) => {
            out.put_u8(LENGTH_IN_2_BYTES);
            out.put_u16(medium);
        }
        _ => {
            out.put_u8(LENGTH_IN_8_BYTES);
            out.put_u64(length as u64);
        }
    }
}

/// Bytes of the header of a frame with a payload of `length` bytes.
#[must_use]
pub fn header_bytes(length: usize) -> usize {
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < LENGTH_IN_2_BYTES => 2,
        (_, Ok(_)) => 4,
        _ => MAX_HEADER_BYTES,
    }
}

fn control(payload: &[u8]) -> &[u8] {
    payload.get(..MAX_CONTROL_BYTES).unwrap_or(payload)
}
