//! The compressors of one worker: one for each window that its connections have agreed on.

use bytes::{Bytes, BytesMut};
use gorani_protocol::websocket::{self, Deflater, Opcode};

/// Level 1 of 9: a push server spends its time on delivery; higher levels gain a few percent on small JSON.
const DEFLATE_LEVEL: u32 = 1;

/// Larger messages are sent as they are: to compress one takes some 10 ms a MiB, and the worker's other connections wait for
/// it. Decision record 0027.
const DEFLATE_MAX_BYTES: usize = 256 * 1024;

/// The compressors of one worker.
#[derive(Default)]
pub(super) struct Deflaters {
    by_window: Vec<(u8, Deflater)>,
    /// Smaller messages are sent as they are.
    threshold_bytes: usize,
}

impl Deflaters {
    pub(super) fn new(threshold_bytes: usize) -> Self {
        Self { by_window: Vec::new(), threshold_bytes }
    }

    /// True if a message of so many bytes is to be deflated, provided that makes it smaller.
    pub(super) fn takes(&self, bytes: usize) -> bool {
        (self.threshold_bytes..=DEFLATE_MAX_BYTES).contains(&bytes)
    }

    fn of(&mut self, window_bits: u8) -> Option<&mut Deflater> {
        let known = self.by_window.iter().position(|(bits, _)| *bits == window_bits);
        let index = known.unwrap_or(self.by_window.len());
        if known.is_none() {
            self.by_window.push((window_bits, Deflater::new(window_bits, DEFLATE_LEVEL)));
        }
        self.by_window.get_mut(index).map(|(_, deflater)| deflater)
    }

    /// A WebSocket frame, deflated if that is worth it.
    pub(super) fn frame(&mut self, window_bits: u8, opcode: Opcode, message: &[u8], out: &mut BytesMut) {
        if !self.takes(message.len()) {
            return websocket::encode::frame(opcode, message, false, out);
        }
        if let Some(deflater) = self.of(window_bits) {
            deflater.frame(opcode, message, out);
        }
    }

    /// A part of a message, deflated if that is worth it.
    pub(super) fn deflate(&mut self, window_bits: u8, part: &[u8]) -> Option<Bytes> {
        if !self.takes(part.len()) {
            return None;
        }
        let mut out = BytesMut::new();
        self.of(window_bits)?.compress(part, &mut out).then(|| out.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_one_compressor_however_often_it_is_used() {
        let mut deflaters = Deflaters::new(0);
        for _ in 0..3 {
            for window_bits in [15, 9, 12] {
                assert!(deflaters.deflate(window_bits, &[b'x'; 100]).is_some());
            }
        }
        assert_eq!(deflaters.by_window.iter().map(|(bits, _)| *bits).collect::<Vec<_>>(), [15, 9, 12]);
    }

    #[test]
    fn a_part_is_deflated_from_the_threshold_up_to_the_limit() {
        let mut deflaters = Deflaters::new(600);
        let sizes = [599, 600, DEFLATE_MAX_BYTES, DEFLATE_MAX_BYTES + 1];
        let deflated = sizes.map(|bytes| deflaters.deflate(15, &vec![b'x'; bytes]).is_some());
        assert_eq!(deflated, [false, true, true, false]);
    }
}
