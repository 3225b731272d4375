//! A body in chunks (RFC 9112 §7.1), to find its end. Data is skipped by its length.

use memchr::memchr;

/// Not a body in chunks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MalformedChunk;

/// The place in the body.
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
