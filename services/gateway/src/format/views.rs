//! Broker values as the client protocol shows them: the one module where the two vocabularies meet.

use bytes::BytesMut;
use gorani_broker::{ClientInfo, DataKind, Publication};
use gorani_protocol::client::{ClientInfoFields, PayloadKind, PublicationFields, escapes};

/// A publication as the client protocol shows it.
pub fn publication_view(publication: &Publication) -> PublicationFields<'_> {
    PublicationFields {
        data: &publication.data,
        kind: match publication.kind {
            DataKind::Json => PayloadKind::Json,
            DataKind::Text => PayloadKind::Text,
            DataKind::Binary => PayloadKind::Binary,
        },
        offset: publication.offset,
        tags: &publication.tags,
        info: publication.info.as_deref().map(info_view),
        time_ms: publication.time_ms,
    }
}

/// The kind of a client's payload, as the broker keeps it.
pub fn data_kind(kind: PayloadKind) -> DataKind {
    match kind {
        PayloadKind::Json => DataKind::Json,
        PayloadKind::Text => DataKind::Text,
        PayloadKind::Binary => DataKind::Binary,
    }
}

/// Bytes that a byte which JSON must escape counts for in a reply, besides itself.
const ESCAPE_BYTES: usize = 3;

/// Bytes that a publication counts for in a reply: its data, and more for text with many bytes that JSON must escape, which
/// takes as much longer to write. Decision record 0027.
pub fn reply_bytes(publication: &Publication) -> usize {
    let escapes = if publication.kind == DataKind::Text { escapes(&publication.data) } else { 0 };
    publication.data.len().saturating_add(escapes.saturating_mul(ESCAPE_BYTES))
}

/// Bytes around the data of a publication in a reply, about: keys, offset and time. As many are around the information of a
/// client.
pub const AROUND_BYTES: usize = 96;

/// Makes room for publications in a reply: growing by doubling would hold up to twice their size for as long as it waits.
pub fn reserve(publications: &[PublicationFields<'_>], out: &mut BytesMut) {
    out.reserve(publications.iter().map(|publication| publication.data.len() + AROUND_BYTES).sum());
}

/// A client's information as the client protocol shows it.
pub fn info_view(info: &ClientInfo) -> ClientInfoFields<'_> {
    ClientInfoFields {
        user: &info.user,
        client: &info.client,
        conn_info: &info.connection_info,
        chan_info: &info.channel_info,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn text_counts_for_what_its_escapes_make_of_it_and_other_data_for_what_it_is() {
        let bytes = |kind, data: &'static [u8]| {
            reply_bytes(&Publication { kind, data: Bytes::from_static(data), ..Publication::default() })
        };
        assert_eq!(bytes(DataKind::Json, br#"["a","b"]"#), 9);
        assert_eq!(bytes(DataKind::Binary, b"\x01\""), 2);
        assert_eq!(bytes(DataKind::Text, "plain 하나".as_bytes()), 12);
        assert_eq!(bytes(DataKind::Text, b"\x01\"\\x"), 4 + 3 * ESCAPE_BYTES);
        let long = reply_bytes(&Publication {
            kind: DataKind::Text,
            data: Bytes::from(vec![b'"'; 1000]),
            ..Publication::default()
        });
        assert_eq!(long, 4000);
    }
}
