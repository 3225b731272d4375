//! Any bytes, in any pieces, into the STOMP decoder: no panic, bounded memory, the same read however the stream is cut,
//! and what is read can be written and read again. The first three bytes choose the version and the pieces.
#![no_main]

use bytes::BytesMut;
use gorani_protocol::stomp::{
    HeartBeat, StompCommand, StompDecodeError, StompDecoder, StompFrame, StompLimits, VERSIONS, Version,
    encode,
};
use libfuzzer_sys::fuzz_target;

const LIMITS: StompLimits = StompLimits { headers: 10, header_bytes: 80, head_bytes: 300, body_bytes: 200 };
/// Twice the largest line, the headers and the body, as vectors grow, and a few places of headers.
const MOST_BYTES: usize = 2 * (80 + 300 + 200) + 10 * 2 * 32 + 64;

fuzz_target!(|data: &[u8]| {
    let Some((&[choice, one, two], stream)) = data.split_first_chunk::<3>() else { return };
    let version = VERSIONS.get(usize::from(choice % 4)).copied();
    let whole = read(version, stream, stream.len(), 1);
    for (one, two) in [(1, 1), (one.into(), two.into())] {
        assert_eq!(read(version, stream, one, two), whole, "pieces of {one} and {two} bytes");
    }
    for frame in &whole.0 {
        if let Some(version) = version {
            reads_the_same(frame, version);
        }
        if let Ok(offer) = HeartBeat::parse(frame.headers.get("heart-beat")) {
            let _ = offer.agree(HeartBeat { sends_ms: 25_000, wants_ms: 25_000 });
        }
        let _ = Version::negotiate(frame.headers.get("accept-version"));
    }
});

/// Without a version, the first frame chooses it.
fn read(
    version: Option<Version>,
    mut stream: &[u8],
    one: usize,
    two: usize,
) -> (Vec<StompFrame>, Option<StompDecodeError>) {
    let mut decoder = StompDecoder::new(LIMITS);
    if let Some(version) = version {
        decoder.set_version(version);
    }
    let mut frames = Vec::new();
    for size in [one.max(1), two.max(1)].into_iter().cycle() {
        if stream.is_empty() {
            break;
        }
        let (mut piece, rest) = stream.split_at(size.min(stream.len()));
        stream = rest;
        loop {
            match decoder.next(&mut piece) {
                Ok(Some(frame)) => {
                    assert!(frame.body.len() <= LIMITS.body_bytes && frame.headers.len() <= LIMITS.headers);
                    assert!(frame.body.is_empty() || frame.command == StompCommand::Send);
                    if version.is_none() && frames.is_empty() {
                        assert!(frame.command.opens());
                        decoder.set_version(
                            Version::negotiate(frame.headers.get("accept-version")).unwrap_or(Version::V1_0),
                        );
                    }
                    frames.push(frame);
                }
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
        assert!(piece.is_empty());
        assert!(decoder.held_bytes() <= MOST_BYTES, "{} bytes held", decoder.held_bytes());
    }
    (frames, None)
}

fn reads_the_same(frame: &StompFrame, version: Version) {
    let mut out = BytesMut::new();
    let mut writer = encode::client_frame(frame.command, version, &mut out);
    // The length is written anew.
    for (name, value) in frame.headers.iter().filter(|(name, _)| *name != "content-length") {
        writer = writer.header(name, value);
    }
    writer.body(&frame.body);
    // Escapes take more room than what they stand for, and a body brings its length.
    let wide = StompLimits { headers: 11, header_bytes: 200, head_bytes: 1000, ..LIMITS };
    let mut decoder = StompDecoder::new(wide);
    decoder.set_version(version);
    let again = decoder.next(&mut &out[..]).expect("what is written can be read").expect("a whole frame");
    assert_eq!((again.command, &again.body), (frame.command, &frame.body));
    for (name, value) in frame.headers.iter().filter(|(name, _)| *name != "content-length") {
        assert_eq!(again.headers.get(name), Some(value));
    }
}
