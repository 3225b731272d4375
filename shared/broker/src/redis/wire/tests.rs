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
    fn a_publication()(
        data in any::<Vec<u8>>(),
        kind in prop_oneof![Just(DataKind::Json), Just(DataKind::Text), Just(DataKind::Binary)],
        tags in prop::collection::vec((".*", ".*"), 0..4),
        info in prop::option::of(info()),
        time_ms in any::<u64>(),
        exclude_client in ".*",
    ) -> Publication {
        Publication { data: data.into(), kind, tags, info: info.map(Arc::new), time_ms, exclude_client, ..Default::default() }
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
fn another_version_of_the_envelope_is_refused() {
    let mut message = publication_message(&encode_publication(&Publication::default()));
    message[0] = VERSION + 1;
    assert_eq!(decode_message(message.into()), Err(UnreadableMessage));
}
