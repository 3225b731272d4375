//! permessage-deflate, outwards: what the server answers to an offer, and how it compresses. RFC 7692 §7;
//! `docs/protocols/websocket.md` §11 to §13.
//!
//! The server always answers `server_no_context_takeover` and `client_no_context_takeover`: no connection keeps a
//! window, so a publication is compressed once for all its subscribers, and one [`Deflater`] and one
//! [`super::Inflater`] serve a whole thread. Both may be answered without having been offered (RFC 7692 §7.1.1).

use std::fmt;

use bytes::{BufMut, BytesMut};
use flate2::{Compress, Compression, FlushCompress, Status};

use super::{encode, extension::DeflateOffer, frame::Opcode};

/// The window that DEFLATE allows at most, and that is used where the client does not limit it: 32 KiB.
const MAX_WINDOW_BITS: u8 = 15;
/// The smallest window that zlib can use. One of 8 bits can be negotiated, see [`Deflater::compress`].
const MIN_ZLIB_WINDOW_BITS: u8 = 9;
/// The window of 8 bits.
const SMALLEST_WINDOW_BYTES: usize = 256;
/// The end of a sync flush, which is not sent (RFC 7692 §7.2.1).
pub(super) const FLUSH_TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
/// Bytes of a stored block beside what it stores.
pub const STORED_BLOCK_BYTES: usize = 5;
/// Room for the headers and the flush of the smallest messages.
const SMALL_OVERHEAD_BYTES: usize = 64;
/// A scratch buffer that one message made larger than this is given back.
const KEPT_SCRATCH_BYTES: usize = 64 * 1024;

/// The parameters agreed with the client. `Display` is the value of the response's `Sec-WebSocket-Extensions`.
///
/// The client's own window is never limited: nothing is kept of it after a message, so nothing would be saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeflateParams {
    /// The window to compress with, 8 to 15 bits: part of what distinguishes one ready frame from another.
    pub server_max_window_bits: u8,
    /// The client asked for the limit, so the response must repeat it.
    answer_window_bits: bool,
}

impl DeflateParams {
    /// The answer that meets `offer`.
    #[must_use]
    pub fn answer(offer: &DeflateOffer) -> Self {
        Self {
            server_max_window_bits: offer.server_max_window_bits.unwrap_or(MAX_WINDOW_BITS),
            answer_window_bits: offer.server_max_window_bits.is_some(),
        }
    }
}

impl fmt::Display for DeflateParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("permessage-deflate; server_no_context_takeover; client_no_context_takeover")?;
        if self.answer_window_bits {
            write!(f, "; server_max_window_bits={}", self.server_max_window_bits)?;
        }
        Ok(())
    }
}

/// Compresses whole messages, each on its own. About 300 KB: one per thread and window size, not per connection.
#[derive(Debug)]
pub struct Deflater {
    stream: Compress,
    window_bits: u8,
    scratch: Vec<u8>,
}

impl Deflater {
    /// For a window of 8 to 15 bits (others are brought into the range) and a level of 0 (store) to 9 (smallest).
    #[must_use]
    pub fn new(window_bits: u8, level: u32) -> Self {
        let window = window_bits.clamp(MIN_ZLIB_WINDOW_BITS, MAX_WINDOW_BITS);
        let level = Compression::new(level.min(Compression::best().level()));
        Self {
            stream: Compress::new_with_window_bits(level, false, window),
            window_bits,
            scratch: Vec::new(),
        }
    }

    /// Appends the compressed `payload` to `out`, without the flush's tail: the payload of frames with RSV1 on the
    /// first. False, and nothing appended, where the message should be sent as it is: it would not become smaller,
    /// or the window is of 8 bits, which zlib cannot use, and the message longer than that window.
    pub fn compress(&mut self, payload: &[u8], out: &mut BytesMut) -> bool {
        let smaller = self.compress_to_scratch(payload);
        if let Some(compressed) = smaller.and_then(|length| self.scratch.get(..length)) {
            out.put_slice(compressed);
        }
        self.scratch.shrink_to(KEPT_SCRATCH_BYTES);
        smaller.is_some()
    }

    /// Appends one final frame with `payload`, compressed if that makes it smaller.
    pub fn frame(&mut self, opcode: Opcode, payload: &[u8], out: &mut BytesMut) {
        let smaller = self.compress_to_scratch(payload);
        match smaller.and_then(|length| self.scratch.get(..length)) {
            Some(compressed) => encode::frame(opcode, compressed, true, out),
            None => encode::frame(opcode, payload, false, out),
        }
        self.scratch.shrink_to(KEPT_SCRATCH_BYTES);
    }

    /// Appends a block of up to 65,535 bytes that is stored as it is. What [`Deflater::compress`] makes may follow it in one
    /// message: the block ends with a whole byte, and what follows refers to nothing before itself. So a part that many
    /// messages share is compressed once.
    pub fn stored_block(bytes: &[u8], out: &mut impl BufMut) {
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        out.put_u8(0);
        out.put_u16_le(length);
        out.put_u16_le(!length);
        out.put_slice(bytes.get(..usize::from(length)).unwrap_or(bytes));
    }

    /// The length of the compressed message at the front of the scratch buffer, if it is smaller.
    fn compress_to_scratch(&mut self, payload: &[u8]) -> Option<usize> {
        // Nothing in a message can refer back over more than the message: up to 256 bytes zlib's smallest window
        // makes nothing that one of 8 bits could not read.
        if self.window_bits < MIN_ZLIB_WINDOW_BITS && payload.len() > SMALLEST_WINDOW_BYTES {
            return None;
        }
        self.stream.reset();
        self.scratch.clear();
        // Room for the worst case, so that one call does it: a flush that must be called again flushes again.
        self.scratch.reserve(payload.len() + payload.len() / 8 + payload.len() / 64 + SMALL_OVERHEAD_BYTES);
        let status = self.stream.compress_vec(payload, &mut self.scratch, FlushCompress::Sync);
        if !matches!(status, Ok(Status::Ok)) || self.stream.total_in() != payload.len() as u64 {
            return None;
        }
        let compressed = self.scratch.strip_suffix(&FLUSH_TAIL)?;
        (compressed.len() < payload.len()).then_some(compressed.len())
    }
}
