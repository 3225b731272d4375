//! The reach of an action, in numbers by node.

use serde_json::{Value, json};

use super::{answer::AdminAnswer, error::AdminError, inspector::InspectQuery, state::Admin};
use crate::{hub::scan::detail::ConnectionFilter, node::cluster::inspect::NodeAnswer};

/// The connections by node that an action concerns, and the user of one of them.
pub(super) async fn count(
    admin: &Admin,
    filter: ConnectionFilter,
) -> Result<(AdminAnswer, Option<String>), AdminError> {
    let mut user = None;
    if let Some(client) = &filter.client {
        let filter = ConnectionFilter { client: Some(client.clone()), ..ConnectionFilter::default() };
        let query = InspectQuery::Connections { filter, after: String::new(), limit: 1 };
        let nodes = admin.ask(None, &query).await?;
        let entries = nodes.iter().filter_map(|node| node.value.as_ref()?["entries"].get(client));
        user = entries.filter_map(|entry| Some(entry["user"].as_str()?.to_owned())).next();
    }
    let nodes = admin.ask(None, &InspectQuery::CountConnections { filter }).await?;
    let number = |node: &NodeAnswer| node.value.as_ref().and_then(|value| value["count"].as_u64());
    let is_all = nodes.iter().all(|node| node.value.as_ref().is_none_or(|value| value["complete"] == true));
    Ok((by_node(nodes, number).with_cursor(None, !is_all), user))
}

/// The numbers of an action, by node. What a silent node would add is not known, and not taken for 0.
pub(super) fn by_node(nodes: Vec<NodeAnswer>, number: impl Fn(&NodeAnswer) -> Option<u64>) -> AdminAnswer {
    let numbers: Vec<Option<u64>> = nodes.iter().map(number).collect();
    let rows: Vec<Value> = nodes
        .iter()
        .zip(&numbers)
        .map(|(node, count)| {
            let error = count.is_none().then_some("no answer");
            json!({"id": node.asked.id, "name": node.asked.name, "count": count, "error": error})
        })
        .collect();
    let total: u64 = numbers.into_iter().flatten().sum();
    AdminAnswer::of(json!({"total": total, "by_node": rows})).with_nodes(nodes)
}

pub(super) async fn count_subscribers(admin: &Admin, channel: &str) -> Result<AdminAnswer, AdminError> {
    let query = InspectQuery::CountSubscribers { channel: channel.to_owned() };
    let nodes = admin.ask(None, &query).await?;
    Ok(by_node(nodes, |node| node.value.as_ref()?.as_u64()))
}

/// The id of a node that is named by its id or its name.
pub(super) async fn node_id(admin: &Admin, named: Option<&str>) -> Result<Option<String>, AdminError> {
    let Some(named) = named else { return Ok(None) };
    let nodes = admin.ask(None, &InspectQuery::Report { since: None }).await?;
    let found = nodes.into_iter().find(|node| node.asked.id == named || node.asked.name == named);
    found
        .map(|node| Some(node.asked.id))
        .ok_or_else(|| AdminError::NotFound("there is no such node".to_owned()))
}
