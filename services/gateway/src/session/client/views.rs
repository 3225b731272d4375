//! Broker values as the client protocol shows them: the one place where the two vocabularies meet.

use gorani_broker::{ClientInfo, DataKind, Publication};
use gorani_protocol::client::{ClientInfoView, PayloadKind, PublicationView};

/// A publication as the client protocol shows it.
pub fn publication_view(publication: &Publication) -> PublicationView<'_> {
    PublicationView {
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

/// A client's information as the client protocol shows it.
pub fn info_view(info: &ClientInfo) -> ClientInfoView<'_> {
    ClientInfoView {
        user: &info.user,
        client: &info.client,
        conn_info: &info.connection_info,
        chan_info: &info.channel_info,
    }
}
