//! `channels`, `connections` and `info`: questions to all nodes, in pages.

use std::sync::Arc;

use crate::{
    api::{
        answer::{ChannelView, ChannelsResult, ConnectionView, ConnectionsResult, InfoResult, NodeView},
        error::ApiError,
        request::{ChannelsRequest, ConnectionsRequest, cursor_after},
    },
    node::Node,
};

pub(super) async fn channels(
    node: &Arc<Node>,
    request: ChannelsRequest<'_>,
) -> Result<ChannelsResult, ApiError> {
    let (after, limit) = request.page()?;
    // One more than the page holds tells whether there is a next one.
    let mut page: Vec<_> =
        node.channels_after(request.pattern()?, &after, limit + 1).await?.into_iter().collect();
    let next_cursor = turn(&mut page, limit, |(name, _)| name);
    let channels = page.into_iter().map(|(name, count)| (name, ChannelView { num_clients: count as u64 }));
    Ok(ChannelsResult { channels: channels.collect(), next_cursor })
}

pub(super) async fn connections(
    node: &Arc<Node>,
    request: ConnectionsRequest<'_>,
) -> Result<ConnectionsResult, ApiError> {
    let (after, limit) = request.page()?;
    let found = node.connections_after(request.user.given(), &after, limit + 1).await?;
    let mut page: Vec<_> = found.entries.into_iter().collect();
    let complete = page.len() > limit || !found.is_cut;
    let mut next_cursor = turn(&mut page, limit, |(client, _)| client);
    if !complete {
        next_cursor = page.last().map(|(client, _)| cursor_after(client));
    }
    let connections = page.into_iter().map(|(client, (node, view))| (client, ConnectionView::of(view, node)));
    Ok(ConnectionsResult { connections: connections.collect(), next_cursor, complete })
}

/// Cuts a page to its size; the cursor of the next one, if there is more.
fn turn<T>(page: &mut Vec<T>, limit: usize, name: impl Fn(&T) -> &str) -> Option<String> {
    let more = page.len() > limit;
    page.truncate(limit);
    page.last().filter(|_| more).map(|last| cursor_after(name(last)))
}

pub(super) async fn info(node: &Arc<Node>) -> Result<InfoResult, ApiError> {
    Ok(InfoResult { nodes: node.nodes().await?.into_iter().map(NodeView::from).collect() })
}
