//! Any bytes, in any pieces, through the follower of requests: no panic, a bounded rest, the same out of any pieces, and
//! the same requests as actix-http decodes from what comes out. The first two bytes choose the pieces.
#![no_main]

use actix_codec::Decoder;
use actix_http::{
    ServiceConfig,
    h1::{Codec, Message, MessageType},
};
use bytes::BytesMut;
use gorani_protocol::http1::{RequestPhase, RequestStream, UPGRADE_LINE_MAX_BYTES};
use libfuzzer_sys::fuzz_target;

thread_local! {
    /// It starts a task of its clock, for which there has to be a runtime.
    static CONFIG: ServiceConfig = actix_rt::System::new().block_on(async { ServiceConfig::default() });
}

fuzz_target!(|data: &[u8]| {
    let Some((&[one, two], stream)) = data.split_first_chunk::<2>() else { return };
    let (whole, phase, heads) = follow(stream, stream.len(), stream.len());
    assert_eq!(whole.len(), stream.len());
    for (one, two) in [(1, 1), (one.into(), two.into())] {
        assert_eq!(
            follow(stream, one, two),
            (whole.clone(), phase, heads),
            "pieces of {one} and {two} bytes"
        );
    }
    if whole != stream {
        let lower = stream.to_ascii_lowercase();
        let has_list = lower.windows(9).any(|window| window == b"websocket");
        assert!(has_list || stream.windows(5).any(|window| window == b"HEAD "));
    }
    agrees_with_actix(&whole, phase, heads);
});

fn follow(mut stream: &[u8], one: usize, two: usize) -> (Vec<u8>, RequestPhase, u64) {
    let mut requests = RequestStream::default();
    let (mut passed, mut held) = (Vec::new(), Vec::new());
    for size in [one.max(1), two.max(1)].into_iter().cycle() {
        if stream.is_empty() {
            break;
        }
        let (piece, rest) = stream.split_at(size.min(stream.len()));
        stream = rest;
        held.extend_from_slice(piece);
        let count = requests.advance(&mut held, true);
        passed.extend(held.drain(..count));
        assert!(held.len() < UPGRADE_LINE_MAX_BYTES);
    }
    requests.advance(&mut held, false);
    passed.append(&mut held);
    (passed, requests.phase(), requests.complete_heads())
}

/// Where actix-http answers 400 the connection ends, and nothing needs to agree.
fn agrees_with_actix(stream: &[u8], phase: RequestPhase, heads: u64) {
    let mut codec = Codec::new(CONFIG.with(ServiceConfig::clone));
    let mut buffer = BytesMut::from(stream);
    let (mut decoded, mut is_in_body) = (0, false);
    loop {
        match codec.decode(&mut buffer) {
            Err(_) => return,
            Ok(None) => break,
            Ok(Some(Message::Item(_))) => {
                decoded += 1;
                match codec.message_type() {
                    MessageType::Stream => {
                        return assert_eq!((phase, heads), (RequestPhase::Opaque, decoded));
                    }
                    MessageType::Payload => is_in_body = true,
                    MessageType::None => is_in_body = false,
                }
            }
            Ok(Some(Message::Chunk(chunk))) => is_in_body = chunk.is_some(),
        }
    }
    assert_eq!(heads, decoded, "{phase:?}");
    match phase {
        RequestPhase::Between => {
            assert!(!is_in_body && buffer.iter().all(|byte| matches!(byte, b'\r' | b'\n')))
        }
        RequestPhase::EmptyLines => assert!(!is_in_body),
        RequestPhase::Head => assert!(!is_in_body && !buffer.is_empty()),
        RequestPhase::Body => assert!(is_in_body),
        RequestPhase::Opaque => panic!("nothing was refused and nothing upgrades"),
    }
}
