//! Frames and commands: what is read, and what is refused.

use super::*;

fn command(command: CommandMessage) -> ClientCommandOutcome {
    decode(&command.encode_to_vec()).map(|command| (command.id, command.request))
}

type ClientCommandOutcome = Result<(u32, ClientRequest<'static>), DecodeError>;

fn request(message: CommandMessage) -> ClientRequest<'static> {
    command(message).unwrap().1
}

#[test]
fn the_request_is_told_by_presence_even_where_it_is_empty() {
    // Presence with an empty body: tag 8, length 0.
    let decoded = decode(&[8, 7, 0x42, 0]).unwrap();
    assert_eq!((decoded.id, decoded.request.kind()), (7, "presence"));
    let several = CommandMessage {
        id: 1,
        subscribe: Some(SubscribeRequest::default()),
        publish: Some(PublishRequest::default()),
        ..CommandMessage::default()
    };
    assert_eq!(request(several).kind(), "subscribe");
    assert_eq!(decode(&[]).unwrap().request.kind(), "pong");
}

#[test]
fn a_connect_and_a_subscribe_bring_all_their_fields() {
    let subscribe = SubscribeRequest {
        channel: "news".into(),
        token: "t".into(),
        recover: true,
        epoch: "e".into(),
        offset: u64::MAX,
        data: Bytes::from_static(b"{}"),
        positioned: true,
        recoverable: true,
        join_leave: true,
        delta: "fossil".into(),
        filter: Some(Empty {}),
        flag: 3,
        kind: -1,
    };
    let connect = ConnectRequest {
        token: "t".into(),
        data: Bytes::from_static(b"\xff"),
        subs: [("news".to_owned(), RecoverRequest::decode(&subscribe.encode_to_vec()[..]).unwrap())].into(),
        name: "dart".into(),
        version: "1".into(),
        headers: [("a".to_owned(), "b".to_owned())].into(),
        flag: 1,
    };
    let ClientRequest::Connect(connect) =
        request(CommandMessage { id: 1, connect: Some(connect), ..CommandMessage::default() })
    else {
        panic!("no connect");
    };
    assert_eq!((&*connect.token, &*connect.name, &*connect.version, connect.flag), ("t", "dart", "1", 1));
    assert_eq!(connect.data.unwrap().kind, PayloadKind::Binary);
    assert_eq!(connect.headers.get("a").map(|value| &**value), Some("b"));
    let recover = connect.subs.get("news").unwrap();
    assert_eq!((recover.recover, recover.offset, &*recover.epoch), (true, u64::MAX, "e"));
    let ClientRequest::Subscribe(read) =
        request(CommandMessage { id: 2, subscribe: Some(subscribe), ..CommandMessage::default() })
    else {
        panic!("no subscribe");
    };
    assert_eq!((&*read.channel, &*read.token, &*read.epoch, &*read.delta), ("news", "t", "e", "fossil"));
    assert!(read.recover && read.positioned && read.recoverable && read.join_leave && read.filter.is_some());
    assert_eq!((read.offset, read.flag, read.kind), (u64::MAX, 3, -1));
    assert!(read.rejects_unrecovered());
}

#[test]
fn a_position_with_offset_0_differs_from_none_and_a_negative_limit_stays_negative() {
    let of = |since| {
        let history = HistoryMessage { channel: "a".into(), limit: -1, since, reverse: true };
        match request(CommandMessage { id: 1, history: Some(history), ..CommandMessage::default() }) {
            ClientRequest::History(history) => history,
            other => panic!("{}", other.kind()),
        }
    };
    assert!(of(None).since.is_none());
    let history = of(Some(StreamPosition::default()));
    assert_eq!(history.since.unwrap().offset, 0);
    assert_eq!((history.limit, history.reverse), (-1, true));
}

#[test]
fn a_payload_is_json_or_text_or_bytes_by_what_it_is() {
    let published = |data: &'static [u8]| {
        let publish = PublishRequest { channel: "a".into(), data: Bytes::from_static(data), kind: 0 };
        match request(CommandMessage { id: 1, publish: Some(publish), ..CommandMessage::default() }) {
            ClientRequest::Publish(publish) => (publish.data.kind, publish.data.data.into_owned()),
            other => panic!("{}", other.kind()),
        }
    };
    assert_eq!(published(br#" {"a":1}"#), (PayloadKind::Json, br#" {"a":1}"#.to_vec()));
    assert_eq!(published("채팅".as_bytes()), (PayloadKind::Text, "채팅".as_bytes().to_vec()));
    assert_eq!(published(b"\xff\x00"), (PayloadKind::Binary, b"\xff\x00".to_vec()));
}

#[test]
fn faults_of_one_command_are_told_from_bytes_that_are_no_command() {
    let invalid = |message| match command(message) {
        Err(DecodeError::Invalid { id, reason }) => (id, reason),
        other => panic!("{other:?}"),
    };
    let publish = |kind, data| CommandMessage {
        id: 4,
        publish: Some(PublishRequest { channel: "a".into(), data, kind }),
        ..CommandMessage::default()
    };
    assert_eq!(invalid(publish(0, Bytes::new())), (4, Invalid::NoData));
    assert_eq!(invalid(publish(1, Bytes::from_static(b"1"))), (4, Invalid::NotAvailable));
    let refresh = SubRefreshRequest { kind: 1, ..SubRefreshRequest::default() };
    let tracked = CommandMessage { id: 5, sub_refresh: Some(refresh), ..CommandMessage::default() };
    assert_eq!(invalid(tracked), (5, Invalid::NotAvailable));
    let malformed = |bytes: &[u8]| match decode(bytes) {
        Err(DecodeError::Malformed(malformed)) => malformed,
        other => panic!("{bytes:?}: {other:?}"),
    };
    assert_eq!(malformed(&[8, 7]), Malformed::NoRequest);
    assert_eq!(malformed(&[0x42, 0]), Malformed::NoId);
    let unnumbered = CommandMessage { id: 0, ..publish(0, Bytes::from_static(b"1")) };
    assert_eq!(malformed(&unnumbered.encode_to_vec()), Malformed::NoId);
    // A length beyond the message, a number where a message belongs, a channel that is not UTF-8, a tag of field 0.
    for bytes in [&[0x42, 5][..], &[0x40, 5], &[8, 1, 0x42, 3, 10, 1, 0xff], &[0, 0]] {
        assert_eq!(malformed(bytes), Malformed::Protobuf, "{bytes:?}");
    }
    // A send needs no id; fields that we do not know are skipped.
    assert_eq!(decode(&[0x62, 0]).unwrap().request.kind(), "send");
    assert_eq!(decode(&[8, 7, 0xfa, 0x07, 2, 1, 2, 0x42, 0]).unwrap().request.kind(), "presence");
}

#[test]
fn messages_are_cut_from_a_frame_whatever_their_length() {
    for length in [0usize, 1, 127, 128, 16_383, 16_384, 70_000] {
        let message = vec![7; length];
        let mut frame = BytesMut::new();
        push_message(&mut frame, &message);
        push_message(&mut frame, b"next");
        let (first, rest) = first_message(&frame, 70_000).unwrap().unwrap();
        assert_eq!(first, message);
        assert_eq!(first_message(rest, 70_000).unwrap().unwrap(), (&b"next"[..], &[][..]));
        // Cut anywhere inside the first message, the rest may still come.
        let end = frame.len() - rest.len();
        for cut in [0, 1, end / 2, end - 1] {
            if cut < end {
                assert_eq!(first_message(&frame[..cut], 70_000), Ok(None), "{length} cut at {cut}");
            }
        }
    }
}

#[test]
fn a_length_that_lies_is_refused_before_anything_is_kept_for_it() {
    assert_eq!(first_message(&[0x80, 0x80, 0x04], 65_535), Err(Malformed::Protobuf));
    assert_eq!(first_message(&[0x80, 0x80, 0x04], 65_536), Ok(None));
    let endless = [0xff; 10];
    assert_eq!(first_message(&endless[..9], usize::MAX), Ok(None));
    assert_eq!(first_message(&endless, usize::MAX), Err(Malformed::Protobuf));
    let overflowing = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02];
    assert_eq!(first_message(&overflowing, usize::MAX), Err(Malformed::Protobuf));
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&bytes);
        let mut rest = &bytes[..];
        while let Ok(Some((message, behind))) = first_message(rest, 200) {
            prop_assert!(message.len() <= 200 && behind.len() < rest.len());
            rest = behind;
        }
    }

    #[test]
    fn text_of_any_kind_comes_through(channel in "\\PC{0,40}", data in prop::collection::vec(any::<u8>(), 1..200), id in 1u32..) {
        let publish = PublishRequest { channel: channel.clone(), data: Bytes::from(data.clone()), kind: 0 };
        let (read_id, request) = command(CommandMessage { id, publish: Some(publish), ..CommandMessage::default() }).unwrap();
        let ClientRequest::Publish(publish) = request else { panic!("no publish") };
        prop_assert_eq!((read_id, &*publish.channel, &*publish.data.data), (id, &*channel, &data[..]));
        prop_assert_eq!(publish.data.kind == PayloadKind::Json, crate::client::json_compact_check(&data, JSON_DEPTH).is_ok());
    }
}

#[test]
fn a_request_that_brings_commands_is_one_message_without_a_length() {
    let request = EmulationMessage {
        node: "n".to_owned(),
        session: "s".to_owned(),
        data: Bytes::from_static(b"\x02\x08\x01"),
    };
    let emulated = decode_emulation(request.encode_to_vec().into()).unwrap();
    assert_eq!((&*emulated.node, &*emulated.session, &emulated.data[..]), ("n", "s", &b"\x02\x08\x01"[..]));
    assert_eq!(decode_emulation(Bytes::new()).unwrap().session, "");
    assert!(decode_emulation(Bytes::from_static(b"\x0a\x05abc")).is_err());
}
