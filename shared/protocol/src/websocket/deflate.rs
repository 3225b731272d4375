//! permessage-deflate: what the server answers to an offer, how it compresses, and how it reads what is compressed: a
//! message in, at most the limit of bytes out. RFC 7692 §7; `docs/protocols/websocket.md` §11 to §13.
//!
//! The server always answers `server_no_context_takeover` and `client_no_context_takeover`: no connection keeps a
//! window, so a publication is compressed once for all its subscribers, and one [`Deflater`] and one
//! [`Inflater`] serve a whole thread. Both may be answered without having been offered (RFC 7692 §7.1.1).

use std::{cell::RefCell, fmt};

use bytes::{BufMut, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::{
    ProtocolError, WebSocketMessageKind, encode, extension::DeflateOffer, frame::Opcode,
    input::checked_prefix,
};

/// The window that DEFLATE allows at most, and that is used where the client does not limit it: 32 KiB.
const MAX_WINDOW_BITS: u8 = 15;
/// The smallest window that zlib can use. One of 8 bits can be negotiated, see [`Deflater::compress`].
const MIN_ZLIB_WINDOW_BITS: u8 = 9;
/// The window of 8 bits.
const SMALLEST_WINDOW_BYTES: usize = 256;
/// The end of a sync flush, which is not sent (RFC 7692 §7.2.1).
const FLUSH_TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
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

/// The bytes put behind every message: the flush's tail that the sender left out, and an empty final block. Only a
/// message that stopped between two blocks is then read to a clean end; one that stopped inside a block is not.
const MESSAGE_END: [u8; 6] = {
    let [a, b, c, d] = FLUSH_TAIL;
    [a, b, c, d, 0x03, 0x00]
};
/// The first guess at how much a message grows: text of this kind shrinks to a third or a quarter.
const EXPECTED_GROWTH: usize = 4;
/// The least room to inflate into.
const MIN_ROOM_BYTES: usize = 128;

thread_local! {
    /// No window outlives a message, so one inflater is enough for all connections of a thread.
    static INFLATER: RefCell<Inflater> = RefCell::new(Inflater::new());
}

/// [`Inflater::inflate`] with the thread's own inflater.
///
/// # Errors
/// As there.
pub fn inflate(
    kind: WebSocketMessageKind,
    compressed: &[u8],
    max_message_bytes: usize,
) -> Result<Vec<u8>, ProtocolError> {
    INFLATER.with_borrow_mut(|inflater| inflater.inflate(kind, compressed, max_message_bytes))
}

/// Decompresses whole messages, each on its own. About 40 KB.
#[derive(Debug)]
pub struct Inflater {
    stream: Decompress,
}

impl Default for Inflater {
    fn default() -> Self {
        Self::new()
    }
}

impl Inflater {
    /// An inflater with the largest window, which reads what was made with any.
    #[must_use]
    pub fn new() -> Self {
        Self { stream: Decompress::new(false) }
    }

    /// The message behind the payload of its frames (RSV1 on the first), the flush's tail not included.
    ///
    /// At most `max_message_bytes` + 1 bytes are kept, whatever the message would grow to, and invalid text
    /// ends it where it stands.
    ///
    /// # Errors
    /// [`ProtocolError::TooBig`], [`ProtocolError::InvalidUtf8`] (text only), [`ProtocolError::InvalidDeflate`].
    pub fn inflate(
        &mut self,
        kind: WebSocketMessageKind,
        compressed: &[u8],
        max_message_bytes: usize,
    ) -> Result<Vec<u8>, ProtocolError> {
        let mut output = Output { kind, bytes: Vec::new(), checked: 0, max_message_bytes };
        if compressed.is_empty() {
            // Not what an empty message looks like (RFC 7692 §7.2.3.6), but there is one way to understand it.
            return Ok(output.bytes);
        }
        self.stream.reset(false);
        let ended = self.feed(compressed, &mut output)?;
        // A sender that ends its DEFLATE stream with the message (RFC 7692 §7.2.3.4) has nothing left to flush.
        if !ended && !self.feed(&MESSAGE_END, &mut output)? {
            return Err(ProtocolError::InvalidDeflate);
        }
        output.finish()
    }

    /// Inflates all of `input`; whether it ended together with a DEFLATE stream.
    fn feed(&mut self, mut input: &[u8], output: &mut Output) -> Result<bool, ProtocolError> {
        loop {
            output.make_room(input.len())?;
            let (read, written) = (self.stream.total_in(), output.bytes.len());
            let status = self
                .stream
                .decompress_vec(input, &mut output.bytes, FlushDecompress::Sync)
                .map_err(|_| ProtocolError::InvalidDeflate)?;
            let read = usize::try_from(self.stream.total_in() - read).unwrap_or(usize::MAX);
            input = input.get(read..).unwrap_or_default();
            output.check()?;
            if status == Status::StreamEnd {
                if input.is_empty() {
                    return Ok(true);
                }
                // The final block of a stream is not the end of the message (RFC 7692 §7.2.3.4, §7.2.3.5).
                self.stream.reset(false);
                continue;
            }
            let full = output.bytes.len() == output.bytes.capacity();
            if input.is_empty() && !full {
                return Ok(false);
            }
            if read == 0 && output.bytes.len() == written && !full {
                return Err(ProtocolError::InvalidDeflate);
            }
        }
    }
}

/// The message as far as it is inflated.
struct Output {
    kind: WebSocketMessageKind,
    bytes: Vec<u8>,
    /// Bytes that are known to be whole characters.
    checked: usize,
    max_message_bytes: usize,
}

impl Output {
    /// Room for at least one more byte, and never for more than one byte over the limit.
    fn make_room(&mut self, input_bytes: usize) -> Result<(), ProtocolError> {
        let held = self.bytes.len();
        if held < self.bytes.capacity() {
            return Ok(());
        }
        let most = self.max_message_bytes.saturating_add(1).saturating_sub(held);
        if most == 0 {
            return Err(ProtocolError::TooBig(self.max_message_bytes));
        }
        let guess = input_bytes.saturating_mul(EXPECTED_GROWTH).max(held).max(MIN_ROOM_BYTES);
        self.bytes.reserve_exact(guess.min(most));
        Ok(())
    }

    fn check(&mut self) -> Result<(), ProtocolError> {
        if self.bytes.len() > self.max_message_bytes {
            return Err(ProtocolError::TooBig(self.max_message_bytes));
        }
        if self.kind == WebSocketMessageKind::Text {
            self.checked += checked_prefix(self.bytes.get(self.checked..).unwrap_or_default())?;
        }
        Ok(())
    }

    fn finish(self) -> Result<Vec<u8>, ProtocolError> {
        match self.kind {
            WebSocketMessageKind::Text if self.checked < self.bytes.len() => Err(ProtocolError::InvalidUtf8),
            _ => Ok(self.bytes),
        }
    }
}
