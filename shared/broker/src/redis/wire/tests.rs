//! Everything that is written can be read again; unreadable bytes are refused.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use proptest::prelude::*;

use super::*;

fn info() -> impl Strategy<Value = ClientInfo> {
    (".*", ".*", ".*", ".*").prop_map(|(user, client, connection, channel)| ClientInfo {
        user,
        client,
        connection_info: connection.into(),
        channel_info: channel.into(),
    })
}

prop_compose! {
    fn a_trace()(
        trace_id in any::<[u8; 16]>(),
        span_id in any::<[u8; 8]>(),
        flags in 0..4_u8,
        state in "[ -~]{0,512}",
        is_of_batch in any::<bool>(),
    ) -> TraceContext {
        let (mut trace_id, mut span_id) = (trace_id, span_id);
        // Neither is all zero.
        (trace_id[0], span_id[0]) = (trace_id[0] | 1, span_id[0] | 1);
        TraceContext { trace_id, span_id, flags, state: state.into(), is_of_batch }
    }
}

prop_compose! {
    fn a_publication()(
        data in any::<Vec<u8>>(),
        kind in prop_oneof![Just(DataKind::Json), Just(DataKind::Text), Just(DataKind::Binary)],
        tags in prop::collection::vec((".*", ".*"), 0..4),
        info in prop::option::of(info()),
        time_ms in any::<u64>(),
        exclude_client in ".*",
        trace in prop::option::of(a_trace()),
    ) -> Publication {
        Publication { data: data.into(), kind, tags, info: info.map(Arc::new), time_ms, exclude_client, trace: trace.map(Arc::new), ..Default::default() }
    }
}

proptest! {
    #[test]
    fn a_publication_survives_the_trip(publication in a_publication(), offset in any::<u64>()) {
        let fields = encode_publication(&publication);
        let mut message = PUBLICATION_HEAD.to_vec();
        message.extend_from_slice(format!("{offset} epoch ").as_bytes());
        message.extend_from_slice(&fields);
        let expected = Publication { offset, epoch: "epoch".into(), ..publication.clone() };
        prop_assert_eq!(decode_message(message.into()).unwrap(), ChannelEvent::Publication(Arc::new(expected)));
        let live = decode_message(publication_message(&fields).into()).unwrap();
        prop_assert_eq!(live, ChannelEvent::Publication(Arc::new(publication)));
    }

    #[test]
    fn joins_and_leaves_survive_the_trip(info in info()) {
        let info = Arc::new(info);
        prop_assert_eq!(decode_message(join_message(&info).into()), Ok(ChannelEvent::Join(Arc::clone(&info))));
        prop_assert_eq!(decode_message(leave_message(&info).into()), Ok(ChannelEvent::Leave(info)));
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in any::<Vec<u8>>()) {
        let _ = decode_message([&PUBLICATION_HEAD[..], b"1 e ", &bytes].concat().into());
        let _ = decode_message(bytes.into());
    }

    #[test]
    fn a_message_that_was_cut_is_refused_or_lacks_whole_fields(publication in a_publication(), cut in any::<prop::sample::Index>()) {
        let whole = encode_publication(&publication);
        prop_assume!(!whole.is_empty());
        let cut = cut.index(whole.len());
        if let Ok(read) = decode_publication(Bytes::copy_from_slice(&whole[..cut]), 0, Arc::default()) {
            let again = encode_publication(&read);
            prop_assert!(whole.starts_with(&again));
        }
    }
}

#[test]
fn fields_of_a_newer_node_are_skipped() {
    let publication = Publication { data: "1".into(), time_ms: 5, ..Default::default() };
    let mut fields = Vec::new();
    put_always(&mut fields, 200, b"new");
    fields.extend(encode_publication(&publication));
    put_always(&mut fields, 201, b"");
    assert_eq!(decode_publication(fields.into(), 0, Arc::default()), Ok(publication));
}

#[test]
fn a_trace_that_cannot_be_read_is_left_out_and_the_publication_is_not() {
    let publication = Publication { data: "1".into(), ..Default::default() };
    for trace in [&b""[..], b"\x01", b"\x01\x02\0\0\0ab", b"\xff\xff\xff\xff\xff"] {
        let mut fields = encode_publication(&publication);
        put_always(&mut fields, publication::TRACE, trace);
        assert_eq!(
            decode_publication(fields.into(), 0, Arc::default()),
            Ok(publication.clone()),
            "{trace:?}"
        );
    }
}

#[test]
fn another_version_of_the_envelope_is_refused() {
    let mut message = publication_message(&encode_publication(&Publication::default()));
    message[0] = VERSION + 1;
    assert_eq!(decode_message(message.into()), Err(UnreadableMessage));
}

/// A publication of the golden files, at this position.
fn golden_publication(offset: u64, epoch: &str) -> Publication {
    Publication {
        data: r#"{"a":1}"#.into(),
        offset,
        epoch: epoch.into(),
        tags: vec![("k".to_owned(), "고라니".to_owned())],
        info: Some(Arc::new(golden_client(""))),
        time_ms: 1_800_000_000_123,
        exclude_client: "0badcafe0000000000000001".to_owned(),
        ..Publication::default()
    }
}

fn golden_client(channel_info: &'static str) -> ClientInfo {
    ClientInfo {
        user: "42".to_owned(),
        client: "c1".to_owned(),
        connection_info: r#"{"n":1}"#.into(),
        channel_info: channel_info.into(),
    }
}

/// The same with a trace. It stands last: older nodes skip the field, newer ones may put others behind it.
fn golden_traced() -> Publication {
    let trace = TraceContext::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", b"vendor=1");
    let trace = trace.map(|trace| Arc::new(TraceContext { is_of_batch: true, ..trace }));
    Publication { trace, ..golden_publication(7, "e1") }
}

/// The golden files are what nodes of released versions have written, and are never changed: a new version adds its own.
#[test]
fn golden_messages_of_released_versions_are_read() {
    let read = |message: &'static [u8]| decode_message(Bytes::from_static(message)).unwrap();
    let publication = |publication| ChannelEvent::Publication(Arc::new(publication));
    let binary =
        Publication { data: (&b"\0\xff"[..]).into(), kind: DataKind::Binary, ..Publication::default() };
    assert_eq!(read(include_bytes!("golden/publication.bin")), publication(golden_publication(7, "e1")));
    assert_eq!(read(include_bytes!("golden/publication_without_history.bin")), publication(binary));
    assert_eq!(
        read(include_bytes!("golden/join.bin")),
        ChannelEvent::Join(Arc::new(golden_client(r#"{"m":2}"#)))
    );
    let gone = ClientInfo { client: "c1".to_owned(), ..ClientInfo::default() };
    assert_eq!(read(include_bytes!("golden/leave.bin")), ChannelEvent::Leave(Arc::new(gone)));
    let entry = Bytes::from_static(include_bytes!("golden/history_entry.bin"));
    assert_eq!(decode_publication(entry, 7, "e1".into()), Ok(golden_publication(7, "e1")));
    let traced = Bytes::from_static(include_bytes!("golden/history_entry_with_trace.bin"));
    assert_eq!(decode_publication(traced, 7, "e1".into()), Ok(golden_traced()));
    let present = Bytes::from_static(include_bytes!("golden/presence.bin"));
    assert_eq!(decode_client(present), Ok(golden_client("")));
}

#[test]
fn golden_messages_are_what_this_version_writes() {
    assert_eq!(encode_publication(&golden_publication(7, "e1")), include_bytes!("golden/history_entry.bin"));
    assert_eq!(encode_publication(&golden_traced()), include_bytes!("golden/history_entry_with_trace.bin"));
    assert_eq!(join_message(&golden_client(r#"{"m":2}"#)), include_bytes!("golden/join.bin"));
}
