//! A body in chunks (RFC 9112 §7.1), to find its end. Data is skipped by its length.
//!
//! A short word that comes in pieces: a method, a header's name, or a value that is one word.
//!
//! The line of an `Upgrade` header.

use memchr::memchr;

/// Not a body in chunks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MalformedChunk;

/// The position in the body.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Chunks {
    /// The first digit of a chunk's size.
    #[default]
    Size,
    MoreSize(u64),
    BlankAfterSize(u64),
    Extension(u64),
    SizeLf(u64),
    Data(u64),
    DataCr,
    DataLf,
    /// The beginning of a line of the trailer, or of the last, empty line.
    TrailerLine,
    Trailer,
    TrailerLf,
    LastLf,
    End,
    Malformed,
}

impl Chunks {
    /// Follows the body into `bytes`, to its end at most; returns how many bytes are its own.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let (None, Some(rest)) = (self.end(), bytes.get(at..))
            && let Some(first) = rest.first()
        {
            at += match self {
                Self::Data(left) => {
                    let used = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= used as u64;
                    if *left == 0 {
                        *self = Self::DataCr;
                    }
                    used
                }
                Self::Trailer => match memchr(b'\r', rest) {
                    Some(end) => {
                        *self = Self::TrailerLf;
                        end + 1
                    }
                    None => rest.len(),
                },
                _ => {
                    *self = self.after(*first);
                    1
                }
            };
        }
        at
    }

    /// The body's end, once it is there.
    pub(super) fn end(self) -> Option<Result<(), MalformedChunk>> {
        match self {
            Self::End => Some(Ok(())),
            Self::Malformed => Some(Err(MalformedChunk)),
            _ => None,
        }
    }

    fn after(self, byte: u8) -> Self {
        let digit = char::from(byte).to_digit(16).map(u64::from);
        match (self, byte) {
            (Self::Size, _) => digit.map_or(Self::Malformed, Self::MoreSize),
            (Self::MoreSize(size) | Self::BlankAfterSize(size), b' ' | b'\t') => Self::BlankAfterSize(size),
            (Self::MoreSize(size) | Self::BlankAfterSize(size), b';') => Self::Extension(size),
            (Self::MoreSize(size) | Self::BlankAfterSize(size) | Self::Extension(size), b'\r') => {
                Self::SizeLf(size)
            }
            (Self::MoreSize(size), _) => {
                let more = |digit| size.checked_mul(16).map(|size| Self::MoreSize(size + digit));
                digit.and_then(more).unwrap_or(Self::Malformed)
            }
            (Self::Extension(size), b'\t' | b' '..=b'~' | 0x80..) => Self::Extension(size),
            (Self::SizeLf(0), b'\n') => Self::TrailerLine,
            (Self::SizeLf(size), b'\n') => Self::Data(size),
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::Size,
            (Self::TrailerLine, b'\r') => Self::LastLf,
            (Self::TrailerLine, _) => Self::Trailer,
            (Self::TrailerLf, b'\n') => Self::TrailerLine,
            (Self::LastLf, b'\n') => Self::End,
            _ => Self::Malformed,
        }
    }
}

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

    /// True if `word` begins with it.
    pub(super) fn begins(&self, word: &[u8]) -> bool {
        !self.is_other && word.starts_with(self.so_far())
    }

    /// Its bytes, as far as they have come.
    pub(super) fn so_far(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

/// Bytes of a header line with an `Upgrade` list, at most. A longer one stays as it is, whole or in pieces.
pub const UPGRADE_LINE_MAX_BYTES: usize = 256;
pub(super) const UPGRADE: &[u8] = b"upgrade";
pub(super) const WEBSOCKET: &[u8] = b"websocket";

/// True if all of a line is there.
#[derive(PartialEq)]
pub(super) enum Whole {
    Yes,
    NotYet,
    /// It is longer than this looks at.
    TooLong,
}

/// Puts `websocket` instead of a list that holds it, in an `Upgrade` header's line at the beginning of `bytes`.
pub(super) fn make_plain(bytes: &mut [u8]) -> Whole {
    let length = bytes.len().min(UPGRADE_LINE_MAX_BYTES);
    let Some(within) = bytes.get_mut(..length) else { return Whole::TooLong };
    let Some(end) = memchr(b'\n', within) else {
        return if length < UPGRADE_LINE_MAX_BYTES { Whole::NotYet } else { Whole::TooLong };
    };
    let Some(value) = within.get_mut(UPGRADE.len() + 1..end) else { return Whole::Yes };
    let lists_it = value.contains(&b',')
        && value.split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(WEBSOCKET));
    if let Some((word, rest)) = value.split_at_mut_checked(WEBSOCKET.len())
        && lists_it
    {
        word.copy_from_slice(WEBSOCKET);
        // The carriage return at the end of the line stays.
        rest.iter_mut().filter(|byte| **byte != b'\r').for_each(|byte| *byte = b' ');
    }
    Whole::Yes
}
