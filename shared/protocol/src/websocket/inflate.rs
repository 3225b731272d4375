//! permessage-deflate, inwards: a compressed message in, at most the limit of bytes out. RFC 7692 §7.2.2;
//! `docs/protocols/websocket.md` §12.

use std::cell::RefCell;

use flate2::{Decompress, FlushDecompress, Status};

use super::{deflate::FLUSH_TAIL, error::ProtocolError, event::WebSocketMessageKind, input::checked_prefix};

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
