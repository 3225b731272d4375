//! `channels`, `connections` and `info`: questions to all nodes, in pages.

use std::sync::Arc;

use crate::{
    api::{
        answer::{ChannelView, ChannelsResult, ConnectionView, ConnectionsResult, InfoResult, NodeView},
        error::ApiError,
        request::{ChannelsRequest, ConnectionsRequest, cursor_after},
    },
    hub::scan::ScanPage,
    node::Node,
};

pub(super) async fn channels(
    node: &Arc<Node>,
    request: ChannelsRequest<'_>,
) -> Result<ChannelsResult, ApiError> {
    let (after, limit) = request.page()?;
    // One more than the page holds tells whether there is a next one.
    let found = node.cluster.channels_after(request.pattern()?, &after, limit + 1).await?;
    let (page, next_cursor, complete) = turn(found, limit);
    let channels = page.into_iter().map(|(name, count)| (name, ChannelView { num_clients: count as u64 }));
    Ok(ChannelsResult { channels: channels.collect(), next_cursor, complete })
}

pub(super) async fn connections(
    node: &Arc<Node>,
    request: ConnectionsRequest<'_>,
) -> Result<ConnectionsResult, ApiError> {
    let (after, limit) = request.page()?;
    let found = node.cluster.connections_after(request.user.given(), &after, limit + 1).await?;
    let (page, next_cursor, complete) = turn(found, limit);
    let connections = page.into_iter().map(|(client, (node, view))| (client, ConnectionView::of(view, node)));
    Ok(ConnectionsResult { connections: connections.collect(), next_cursor, complete })
}

/// Cuts a page to its size; with the cursor of the next one, if there may be more, and false if it is shorter than it might be.
fn turn<T>(found: ScanPage<T>, limit: usize) -> (Vec<(String, T)>, Option<String>, bool) {
    let mut page: Vec<_> = found.entries.into_iter().collect();
    let is_full = page.len() > limit;
    page.truncate(limit);
    let next = if is_full { page.last().map(|(name, _)| name) } else { found.cut_at.as_ref() };
    let next = next.map(|name| cursor_after(name));
    (page, next, is_full || found.cut_at.is_none())
}

pub(super) async fn info(node: &Arc<Node>) -> Result<InfoResult, ApiError> {
    Ok(InfoResult { nodes: node.cluster.nodes().await?.into_iter().map(NodeView::from).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(names: &[&str], cut_at: Option<&str>) -> ScanPage<()> {
        let entries = names.iter().map(|name| ((*name).to_owned(), ())).collect();
        ScanPage { entries, cut_at: cut_at.map(str::to_owned) }
    }

    #[test]
    fn a_page_that_was_cut_says_so_and_goes_on_where_it_was() {
        for (found, listed, next, complete) in [
            (found(&["a", "b"], None), 2, None, true),
            (found(&["a", "b", "c"], None), 2, Some("b"), true),
            (found(&["a", "b", "c"], Some("x")), 2, Some("b"), true),
            (found(&["a"], Some("x")), 1, Some("x"), false),
            (found(&[], Some("x")), 0, Some("x"), false),
            (found(&[], None), 0, None, true),
        ] {
            let (page, cursor, is_complete) = turn(found, 2);
            assert_eq!((page.len(), is_complete), (listed, complete));
            assert_eq!(cursor, next.map(cursor_after));
        }
    }
}
