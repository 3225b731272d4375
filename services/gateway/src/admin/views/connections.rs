//! Connections by a filter, one connection, and all of one user. Never all connections: a list without a filter is refused.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::clock::unix_ms;
use crate::{
    admin::{
        answer::{AdminAnswer, Parameters, parts},
        error::AdminError,
        inspector::InspectQuery,
        state::Admin,
    },
    hub::scan::detail::{ChannelDetail, ConnectionDetail, ConnectionFilter},
    node::cluster::inspect::NodeAnswer,
};

/// Ends of sessions of a user that are told.
const DISCONNECTS: usize = 100;
/// Subscriptions of a connection that are told; for each the broker is asked.
const SUBSCRIPTIONS: usize = 100;

#[derive(Deserialize)]
struct ConnectionPage {
    entries: BTreeMap<String, ConnectionDetail>,
    cut_at: Option<String>,
}

/// Connections of all nodes with their node, by client id.
struct Found {
    entries: BTreeMap<String, (String, ConnectionDetail)>,
    /// Nothing is known of what comes after this one.
    end: Option<String>,
    nodes: Vec<NodeAnswer>,
    /// A node looked less far than the page is long.
    is_cut: bool,
}

async fn find(
    admin: &Admin,
    filter: ConnectionFilter,
    after: String,
    limit: usize,
) -> Result<Found, AdminError> {
    // One more than the page holds tells whether there is a next one.
    let query = InspectQuery::Connections { filter, after, limit: limit + 1 };
    let mut nodes = admin.ask(None, &query).await?;
    let pages: Vec<(String, ConnectionPage)> = parts(&mut nodes);
    let cut = pages.iter().filter_map(|(_, page)| page.cut_at.clone()).min();
    let mut entries = BTreeMap::new();
    for (node, page) in pages {
        entries.extend(page.entries.into_iter().map(|(client, detail)| (client, (node.clone(), detail))));
    }
    if let Some(cut) = &cut {
        entries.retain(|client, _| client <= cut);
    }
    let is_full = entries.len() > limit;
    let entries: BTreeMap<_, _> = entries.into_iter().take(limit).collect();
    let end = if is_full { entries.last_key_value().map(|(client, _)| client.clone()) } else { cut.clone() };
    Ok(Found { entries, end, nodes, is_cut: cut.is_some() && !is_full })
}

fn row(node: &str, detail: &ConnectionDetail) -> Value {
    json!({
        "client": detail.client,
        "user": detail.user,
        "node": node,
        "transport": detail.transport,
        "protocol": detail.protocol,
        "encoding": detail.encoding,
        "sdk": detail.sdk,
        "sdk_version": detail.sdk_version,
        "address": detail.address,
        "forwarded_by": detail.forwarded_by,
        "bytes_out": detail.bytes_out,
        "connected_at": detail.connected_at,
        "waiting_bytes": detail.waiting_bytes,
        "waiting_since": (detail.waiting_bytes > 0).then(|| unix_ms().saturating_sub(detail.waiting_ms.into())),
        "channels": detail.channel_count,
    })
}

fn subscription(channel: &ChannelDetail, top: Option<u64>) -> Value {
    json!({
        "channel": channel.channel,
        "seen": channel.seen,
        "top": top,
        "epoch": channel.epoch,
        "server_side": channel.server_side,
        "presence": channel.presence,
    })
}

pub(super) async fn connections(admin: &Admin, parameters: &Parameters) -> Result<AdminAnswer, AdminError> {
    let text = |name: &str| parameters.get(name).map(str::to_owned);
    let filter = ConnectionFilter {
        user: text("user"),
        client: text("client"),
        transport: text("transport"),
        channel: text("channel"),
        address: text("address"),
        sdk: text("sdk"),
        lagging: parameters.get("lagging").is_some_and(|value| value == "1" || value == "true"),
    };
    if filter == ConnectionFilter::default() {
        return Err(AdminError::FilterRequired);
    }
    let found = find(admin, filter, parameters.after()?, parameters.limit()?).await?;
    let rows: Vec<Value> = found.entries.values().map(|(node, detail)| row(node, detail)).collect();
    Ok(AdminAnswer::of(rows.into()).with_nodes(found.nodes).with_cursor(found.end.as_deref(), found.is_cut))
}

pub(super) async fn connection(admin: &Admin, parameters: &Parameters) -> Result<AdminAnswer, AdminError> {
    let client = parameters.need("client")?;
    let filter = ConnectionFilter { client: Some(client.to_owned()), ..ConnectionFilter::default() };
    let found = find(admin, filter, String::new(), 1).await?;
    let Some((node, detail)) = found.entries.into_values().next() else {
        let silent: Vec<_> = found
            .nodes
            .iter()
            .filter(|node| !node.asked.answered)
            .map(|node| node.asked.name.as_str())
            .collect();
        if silent.is_empty() {
            return Err(AdminError::NotFound("there is no such client".to_owned()));
        }
        let message = format!("no node that answered has this client; no answer from {}", silent.join(", "));
        return Err(AdminError::Unavailable(message));
    };
    let mut result = row(&node, &detail);
    let mut subscriptions = Vec::new();
    for channel in detail.channels.iter().take(SUBSCRIPTIONS) {
        let top = if channel.seen.is_some() { admin.top(&channel.channel).await } else { None };
        subscriptions.push(subscription(channel, top.map(|top| top.offset)));
    }
    result["subscriptions"] = subscriptions.into();
    let asked = admin.ask(None, &InspectQuery::Session { client: client.to_owned() }).await?;
    // Sessions of older nodes and of other protocols do not tell.
    if let Some(detail) = asked.iter().filter_map(|node| node.value.as_ref()?.as_object()).next() {
        for (name, value) in detail {
            result[name] = value.clone();
        }
    }
    let is_cut = detail.channel_count > result["subscriptions"].as_array().map_or(0, Vec::len);
    Ok(AdminAnswer::of(result).with_nodes(found.nodes).with_cursor(None, is_cut))
}

pub(super) async fn user(admin: &Admin, parameters: &Parameters) -> Result<AdminAnswer, AdminError> {
    let user = parameters.need("user")?;
    let filter = ConnectionFilter { user: Some(user.to_owned()), ..ConnectionFilter::default() };
    let found = find(admin, filter, parameters.after()?, parameters.limit()?).await?;
    let rows: Vec<Value> = found.entries.values().map(|(node, detail)| row(node, detail)).collect();
    let mut subscriptions = Vec::new();
    for (node, detail) in found.entries.values() {
        for channel in &detail.channels {
            let mut one = subscription(channel, None);
            one["client"] = detail.client.as_str().into();
            one["node"] = node.as_str().into();
            subscriptions.push(one);
        }
    }
    let ended = admin.node.cluster.disconnects_of_user(user, DISCONNECTS).await?.result;
    let result = json!({"connections": rows, "disconnects": ended, "subscriptions": subscriptions});
    // In a list a node tells the first channels of each connection only.
    let mut details = found.entries.values().map(|(_, detail)| detail);
    let is_cut = found.end.is_some() || details.any(|detail| detail.channel_count > detail.channels.len());
    Ok(AdminAnswer::of(result).with_nodes(found.nodes).with_cursor(found.end.as_deref(), is_cut))
}
