//! A client's end of the wire.

use crate::stomp::{StompCommand, StompDecodeError, StompDecoder, StompFrame, StompLimits, Version};

pub(super) const LIMITS: StompLimits =
    StompLimits { headers: 8, header_bytes: 64, head_bytes: 200, body_bytes: 100 };

/// A decoder whose session has this version.
pub(super) fn decoder(version: Version) -> StompDecoder {
    let mut decoder = StompDecoder::new(LIMITS);
    decoder.set_version(version);
    decoder
}

/// All frames of a stream that arrives in these pieces, and the error that ended it.
pub(super) fn hear<'a>(
    decoder: &mut StompDecoder,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<StompFrame>, Option<StompDecodeError>) {
    let mut frames = Vec::new();
    for mut piece in pieces {
        loop {
            match decoder.next(&mut piece) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
        assert!(piece.is_empty());
    }
    (frames, None)
}

/// The frames of a stream without an error.
pub(super) fn frames(version: Version, stream: impl AsRef<[u8]>) -> Vec<StompFrame> {
    let (frames, error) = hear(&mut decoder(version), [stream.as_ref()]);
    assert_eq!(error, None);
    frames
}

/// The one frame of a stream.
pub(super) fn frame(version: Version, stream: impl AsRef<[u8]>) -> StompFrame {
    let mut frames = frames(version, stream);
    assert_eq!(frames.len(), 1);
    frames.remove(0)
}

/// The error of a stream, which must not end before it.
pub(super) fn error(version: Version, stream: impl AsRef<[u8]>) -> StompDecodeError {
    let (frames, error) = hear(&mut decoder(version), [stream.as_ref()]);
    error.unwrap_or_else(|| panic!("no error, but {frames:?}"))
}

/// The first frame of a connection.
pub(super) fn opening(stream: impl AsRef<[u8]>) -> Result<StompFrame, StompDecodeError> {
    let (mut frames, error) = hear(&mut StompDecoder::new(LIMITS), [stream.as_ref()]);
    error.map_or_else(|| Ok(frames.remove(0)), Err)
}

pub(super) fn commands(frames: &[StompFrame]) -> Vec<StompCommand> {
    frames.iter().map(|frame| frame.command).collect()
}
