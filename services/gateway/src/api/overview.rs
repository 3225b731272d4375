//! `channels`, `connections` and `info`: queries to all nodes, the first two in pages.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    api::{call::CallContext, error::ApiError, value::TextField},
    hub::scan::{ConnectionInfo, ScanPage},
    node::cluster::NodeOverview,
};

/// Entries of one page of channels, connections or presence at most.
pub const PAGE_MAX: u32 = 1000;
/// Entries of a page where the request says nothing.
pub(super) const PAGE_DEFAULT: u32 = 100;
/// Bytes of a pattern at most: longer than any channel's name it would find nothing.
const PATTERN_MAX_BYTES: usize = 255;

/// Asks for channels with subscribers, by name.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChannelsRequest<'a> {
    /// Only names like this: `*` stands for any characters, `?` for one.
    #[serde(borrow, default)]
    #[schema(value_type = String, max_length = 255, example = "chat:*")]
    pub pattern: TextField<'a>,
    /// Entries of the page at most; absent or 0: 100.
    #[serde(default)]
    #[schema(value_type = u32, maximum = 1000)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(borrow, default)]
    #[schema(value_type = String)]
    pub cursor: TextField<'a>,
}

impl ChannelsRequest<'_> {
    /// The pattern, if there is one.
    pub fn pattern(&self) -> Result<Option<&str>, ApiError> {
        if self.pattern.len() > PATTERN_MAX_BYTES {
            return Err(ApiError::bad_request(format!("pattern: longer than {PATTERN_MAX_BYTES} bytes")));
        }
        Ok(self.pattern.given())
    }

    /// The page that is asked for.
    pub fn page(&self) -> Result<(String, usize), ApiError> {
        page(&self.cursor, self.limit)
    }
}

/// Asks for connected clients, by client id.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectionsRequest<'a> {
    /// Only this user's.
    #[serde(borrow, default)]
    #[schema(value_type = String)]
    pub user: TextField<'a>,
    /// Some libraries always send it. There are no expressions: it must be empty.
    #[serde(borrow, default)]
    #[schema(value_type = String, max_length = 0)]
    pub expression: TextField<'a>,
    /// Entries of the page at most; absent or 0: 100.
    #[serde(default)]
    #[schema(value_type = u32, maximum = 1000)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[serde(borrow, default)]
    #[schema(value_type = String)]
    pub cursor: TextField<'a>,
}

/// Asks for the nodes: no fields.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InfoRequest {}

impl ConnectionsRequest<'_> {
    /// The page that is asked for.
    pub fn page(&self) -> Result<(String, usize), ApiError> {
        if !self.expression.is_empty() {
            return Err(ApiError::bad_request("expression: not supported, leave it empty"));
        }
        page(&self.cursor, self.limit)
    }
}

/// The result of `channels`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ChannelsResult {
    /// Channels with subscribers, by name.
    pub channels: BTreeMap<String, ChannelView>,
    /// Cursor of the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String)]
    pub next_cursor: Option<String>,
    /// False where the page is shorter than `limit`, or empty, because few of very many names match the pattern: go on with
    /// `next_cursor`. Absent otherwise.
    #[serde(skip_serializing_if = "is_true")]
    #[schema(required = false)]
    pub complete: bool,
}

/// One channel with subscribers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Channel)]
pub struct ChannelView {
    /// Its subscribers.
    pub num_clients: u64,
}

/// The result of `connections`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ConnectionsResult {
    /// Clients, by client id.
    pub connections: BTreeMap<String, ConnectionView>,
    /// Cursor of the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String)]
    pub next_cursor: Option<String>,
    /// False where the page is shorter than `limit` because more did not fit into 5 MiB: go on with `next_cursor`. Absent
    /// otherwise.
    #[serde(skip_serializing_if = "is_true")]
    #[schema(required = false)]
    pub complete: bool,
}

/// The result of `info`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct InfoResult {
    /// The nodes of the cluster.
    pub nodes: Vec<NodeView>,
}

/// A client that is connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Connection)]
pub struct ConnectionView {
    /// User id; empty for an anonymous user.
    pub user: String,
    /// `websocket`, …
    pub transport: String,
    /// `json`, …
    pub protocol: String,
    /// Id of the node that it is connected to.
    pub node: String,
    /// Milliseconds since the Unix epoch.
    pub connected_at: u64,
    /// The channels that it is subscribed to.
    pub channels: Vec<String>,
}

impl ConnectionView {
    /// A connection of this node of the cluster.
    fn of(view: ConnectionInfo, node: String) -> Self {
        let ConnectionInfo { user, transport, protocol, connected_at, channels } = view;
        Self { user, transport, protocol, node, connected_at, channels }
    }
}

/// A node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Node)]
pub struct NodeView {
    /// Random id of this run of the node.
    pub id: String,
    /// The same, by the name under which some libraries look for it.
    pub uid: String,
    /// Its name: `node.name`, by default that of its host. Several nodes may share one.
    pub name: String,
    /// Version of the server.
    pub version: String,
    /// Seconds since the start.
    pub uptime: u64,
    /// Clients that are connected.
    pub num_clients: u64,
    /// Distinct users among them.
    pub num_users: u64,
    /// Subscriptions of all clients.
    pub num_subs: u64,
    /// Channels with subscribers.
    pub num_channels: u64,
}

impl From<NodeOverview> for NodeView {
    fn from(view: NodeOverview) -> Self {
        Self {
            uid: view.id.clone(),
            name: view.name,
            id: view.id,
            version: view.version,
            uptime: view.uptime_s,
            num_clients: view.counts.clients as u64,
            num_users: view.counts.users as u64,
            num_subs: view.counts.subscriptions as u64,
            num_channels: view.counts.channels as u64,
        }
    }
}

pub(super) async fn channels(
    request: ChannelsRequest<'_>,
    call: &CallContext<'_>,
) -> Result<ChannelsResult, ApiError> {
    let (after, limit) = request.page()?;
    // One more than the page holds tells whether there is a next one.
    let found = call.node.cluster.channels_after(request.pattern()?, &after, limit + 1).await?;
    let (page, next_cursor, complete) = to_page(found, limit);
    let channels = page.into_iter().map(|(name, count)| (name, ChannelView { num_clients: count as u64 }));
    Ok(ChannelsResult { channels: channels.collect(), next_cursor, complete })
}

pub(super) async fn connections(
    request: ConnectionsRequest<'_>,
    call: &CallContext<'_>,
) -> Result<ConnectionsResult, ApiError> {
    let (after, limit) = request.page()?;
    let found = call.node.cluster.connections_after(request.user.given(), &after, limit + 1).await?;
    let (page, next_cursor, complete) = to_page(found, limit);
    let connections = page.into_iter().map(|(client, (node, view))| (client, ConnectionView::of(view, node)));
    Ok(ConnectionsResult { connections: connections.collect(), next_cursor, complete })
}

pub(super) async fn info(_request: InfoRequest, call: &CallContext<'_>) -> Result<InfoResult, ApiError> {
    Ok(InfoResult { nodes: call.node.cluster.nodes().await?.into_iter().map(NodeView::from).collect() })
}

/// The name after which a page begins, and how many it holds.
fn page(cursor: &TextField<'_>, limit: Option<u32>) -> Result<(String, usize), ApiError> {
    let limit = match limit.unwrap_or_default() {
        0 => PAGE_DEFAULT,
        limit if limit <= PAGE_MAX => limit,
        _ => {
            return Err(ApiError::bad_request(format!(
                "limit: at most {PAGE_MAX} a page; go on with cursor"
            )));
        }
    };
    let after = BASE64.decode(&**cursor).ok().and_then(|name| String::from_utf8(name).ok());
    let after = after.ok_or_else(|| ApiError::bad_request("cursor: not one that this API gave"))?;
    Ok((after, limit as usize))
}

/// The cursor of the page after this name.
pub fn cursor_after(name: &str) -> String {
    BASE64.encode(name)
}

/// Cuts a page to its size; with the cursor of the next one, if there may be more, and false if it is shorter than it might be.
fn to_page<T>(found: ScanPage<T>, limit: usize) -> (Vec<(String, T)>, Option<String>, bool) {
    let mut page: Vec<_> = found.entries.into_iter().collect();
    let is_full = page.len() > limit;
    page.truncate(limit);
    let next = if is_full { page.last().map(|(name, _)| name) } else { found.cut_at.as_ref() };
    let next = next.map(|name| cursor_after(name));
    (page, next, is_full || found.cut_at.is_none())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
/// True for `complete` where it says nothing.
fn is_true(value: &bool) -> bool {
    *value
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
            let (page, cursor, is_complete) = to_page(found, 2);
            assert_eq!((page.len(), is_complete), (listed, complete));
            assert_eq!(cursor, next.map(cursor_after));
        }
    }
}
