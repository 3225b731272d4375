//! The protobuf form of the client protocol against arbitrary frames: nothing panics, a frame reads the same however it is cut,
//! a payload has the kind that it is, and a push is one message with the payload's bytes in it.
#![no_main]

use bytes::{Bytes, BytesMut};
use gorani_protocol::client::{
    ClientForm, ClientRequest, JSON_DEPTH, Payload, PayloadKind, PublicationFields, json_compact_check,
    protobuf::{decode_emulation, first_message},
};
use libfuzzer_sys::fuzz_target;

const FORM: ClientForm = ClientForm::Protobuf;

fuzz_target!(|frame: &[u8]| {
    for message in FORM.messages(frame).flatten() {
        if let Ok(command) = FORM.decode(message) {
            payload_of(&command.request).into_iter().for_each(is_what_it_is);
        }
    }
    // Without lengths too, so that mutations reach the fields.
    let _ = FORM.decode(frame);
    if let Ok(emulated) = decode_emulation(Bytes::copy_from_slice(frame)) {
        assert!(emulated.data.len() + emulated.session.len() + emulated.node.len() <= frame.len());
    }
    reads_the_same_in_pieces(frame);
    becomes_one_push(frame);
});

fn payload_of<'a>(request: &'a ClientRequest<'_>) -> Option<&'a Payload<'a>> {
    match request {
        ClientRequest::Publish(publish) => Some(&publish.data),
        ClientRequest::Rpc { data, .. } | ClientRequest::Send { data } => data.as_ref(),
        ClientRequest::Connect(connect) => connect.data.as_ref(),
        ClientRequest::Subscribe(subscribe) => subscribe.data.as_ref(),
        _ => None,
    }
}

fn is_what_it_is(payload: &Payload<'_>) {
    let kind = match (json_compact_check(&payload.data, JSON_DEPTH), std::str::from_utf8(&payload.data)) {
        (Ok(()), _) => PayloadKind::Json,
        (Err(_), Ok(_)) => PayloadKind::Text,
        (Err(_), Err(_)) => PayloadKind::Binary,
    };
    assert_eq!(payload.kind, kind);
    assert!(!payload.data.is_empty());
}

/// Of a part of the frame the first message is not known yet, or the same.
fn reads_the_same_in_pieces(frame: &[u8]) {
    let whole = first_message(frame, frame.len());
    for end in (0..frame.len()).take(64) {
        match (first_message(&frame[..end], frame.len()), &whole) {
            (Ok(None), _) => {}
            (Ok(Some((message, _))), Ok(Some((expected, _)))) => assert_eq!(message, *expected),
            (Err(_), Err(_)) => {}
            (part, whole) => panic!("{part:?} of {whole:?}"),
        }
    }
}

fn becomes_one_push(data: &[u8]) {
    let publication = PublicationFields { data, offset: 1, ..PublicationFields::default() };
    let mut out = BytesMut::new();
    FORM.push_publication("a", &publication, &mut out);
    let messages: Vec<_> = FORM.messages(&out).collect();
    let [Ok(message)] = messages[..] else { panic!("{messages:?}") };
    assert!(data.is_empty() || message.windows(data.len()).any(|window| window == data));
}
