//! `connections` and `info`: queries to all nodes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    api::{
        call::CallContext,
        error::ApiError,
        paging::{is_true, page, to_page},
        value::TextField,
    },
    hub::scan::ConnectionInfo,
    node::cluster::NodeOverview,
};

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
    /// Its name: the id.
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
            name: view.id.clone(),
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
