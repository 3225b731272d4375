//! The JSON client protocol against arbitrary frames: nothing panics, what decodes is written so that it decodes the
//! same, and a payload that passes the check keeps every object it is put into one line of valid JSON.
#![no_main]

use bytes::BytesMut;
use gorani_protocol::client::push::push_publication;
use gorani_protocol::client::{
    ClientCommand, JSON_DEPTH, PayloadKind, PublicationFields, ReceiverConnect, decode, json_compact_check,
    lines,
};
use libfuzzer_sys::fuzz_target;

/// Levels of `{"push":{"pub":{"data":…}}}` around a payload.
const PUSH_LEVELS: usize = 3;

fuzz_target!(|frame: &[u8]| {
    for line in lines(frame) {
        if let Ok(command) = decode(line, JSON_DEPTH) {
            reads_the_same(&command);
        }
    }
    // The connect object of a receiver is read or refused.
    let _ = ReceiverConnect::decode(frame, JSON_DEPTH);
    for kind in [PayloadKind::Json, PayloadKind::Text, PayloadKind::Binary] {
        if kind != PayloadKind::Json || json_compact_check(frame, JSON_DEPTH).is_ok() {
            stays_one_line(frame, kind);
        }
    }
});

fn written(command: &ClientCommand<'_>) -> BytesMut {
    let mut out = BytesMut::new();
    command.encode(&mut out);
    out
}

fn reads_the_same(command: &ClientCommand<'_>) {
    let once = written(command);
    let again = decode(&once, JSON_DEPTH).expect("what we wrote decodes");
    // Every field is written (the unit tests see to that), so equal bytes are equal commands.
    assert_eq!(once, written(&again));
    assert_eq!(command.request.kind(), again.request.kind());
}

fn stays_one_line(data: &[u8], kind: PayloadKind) {
    let tags = [(String::from_utf8_lossy(data).into_owned(), "\u{0}".to_owned())];
    let publication =
        PublicationFields { data, kind, offset: 1, tags: &tags, ..PublicationFields::default() };
    let mut out = BytesMut::new();
    push_publication("a", &publication, &mut out);
    assert_eq!(json_compact_check(&out, JSON_DEPTH + PUSH_LEVELS), Ok(()));
    assert!(!out.contains(&b'\n'));
    if kind == PayloadKind::Json {
        let stripped = data.iter().copied().filter(|byte| !matches!(byte, b'\n' | b'\r')).collect::<Vec<_>>();
        assert_eq!(json_compact_check(&stripped, JSON_DEPTH), Ok(()));
    }
}
