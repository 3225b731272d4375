//! Any bytes into the inflater: no panic, never more than the limit, text always valid; and what the deflater makes
//! of them comes back the same. The first two bytes choose the kind, the window and the limit.
#![no_main]

use bytes::BytesMut;
use gorani_protocol::websocket::{Deflater, Inflater, ProtocolError, WebSocketMessageKind};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&[choice, limit], data)) = data.split_first_chunk::<2>() else { return };
    let kind = if choice & 1 == 0 { WebSocketMessageKind::Binary } else { WebSocketMessageKind::Text };
    let limit = usize::from(limit) * 64;
    let mut inflater = Inflater::new();

    let first = inflater.inflate(kind, data, limit);
    match &first {
        Ok(message) => {
            assert!(message.len() <= limit && message.capacity() <= limit + 1);
            assert!(kind == WebSocketMessageKind::Binary || str::from_utf8(message).is_ok());
        }
        Err(ProtocolError::TooBig(most)) => assert_eq!(*most, limit),
        Err(ProtocolError::InvalidUtf8) => assert_eq!(kind, WebSocketMessageKind::Text),
        Err(error) => assert_eq!(*error, ProtocolError::InvalidDeflate),
    }
    // Nothing is left of one message for the next.
    assert_eq!(inflater.inflate(kind, data, limit), first);

    let window_bits = 8 + (choice >> 1) % 8;
    let level = u32::from(choice >> 4) % 10;
    let mut compressed = BytesMut::new();
    if Deflater::new(window_bits, level).compress(data, &mut compressed) {
        assert!(compressed.len() < data.len());
        let back = inflater.inflate(WebSocketMessageKind::Binary, &compressed, data.len());
        assert_eq!(back.as_deref(), Ok(data));
    } else {
        assert!(compressed.is_empty());
    }
});
