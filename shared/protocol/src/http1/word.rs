//! A short word that comes in pieces: a method, a header's name, or a value that is one word.

/// The longest word that anything is compared with: `transfer-encoding`.
const MAX_BYTES: usize = 17;

/// The word, or that it is none of those that matter.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Word {
    bytes: [u8; MAX_BYTES],
    length: u8,
    /// A blank came after it.
    is_over: bool,
    /// It is longer, or there are two.
    is_other: bool,
}

impl Word {
    pub(super) fn push(&mut self, byte: u8) {
        match self.bytes.get_mut(usize::from(self.length)) {
            Some(place) if !self.is_over => {
                *place = byte;
                self.length += 1;
            }
            _ => self.is_other = true,
        }
    }

    /// A blank: the end of a word, if one has begun.
    pub(super) fn end(&mut self) {
        self.is_over = self.length > 0;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Longer than all words that matter.
    pub(super) fn is_too_long(&self) -> bool {
        self.is_other
    }

    pub(super) fn is(&self, word: &[u8]) -> bool {
        !self.is_other && self.so_far() == word
    }

    /// Whether `word` begins with it.
    pub(super) fn begins(&self, word: &[u8]) -> bool {
        !self.is_other && word.starts_with(self.so_far())
    }

    /// Its bytes, as far as they have come.
    pub(super) fn so_far(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}
