//! The question: a user or a client, and publications of a channel.

use std::sync::Arc;

use gorani_broker::{HistoryPage, Publication};

/// A question about a user or a client, and publications of a channel.
#[derive(Debug, Clone)]
pub struct ExplainQuery {
    /// The channel.
    pub channel: String,
    /// The user; a client must be named if none is.
    pub user: Option<String>,
    /// Only this client.
    pub client: Option<String>,
    /// The publications.
    pub publications: Selection,
}

/// The publications that a question is about.
#[derive(Debug, Clone)]
pub enum Selection {
    /// The one with this offset; of this epoch, if one is named.
    Offset(u64, Option<String>),
    /// All from this time on, in Unix milliseconds.
    Since(u64),
    /// The last ones.
    Last(u32),
}

/// The publications of a page that are meant, oldest first.
pub(super) fn selected<'a>(query: &ExplainQuery, page: &'a HistoryPage) -> Vec<&'a Arc<Publication>> {
    let mut found: Vec<_> = match &query.publications {
        Selection::Offset(offset, _) => {
            page.publications.iter().filter(|one| one.offset == *offset).collect()
        }
        Selection::Since(at) => page.publications.iter().filter(|one| one.time_ms >= *at).collect(),
        Selection::Last(_) => page.publications.iter().collect(),
    };
    found.sort_by_key(|publication| publication.offset);
    found
}
