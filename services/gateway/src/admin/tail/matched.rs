//! The subscribers that a publication meets, by node: asked of the cluster at most once a second, and only while something comes.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt as _, future::LocalBoxFuture};
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::{
    admin::{inspector::InspectQuery, state::Admin},
    node::cluster::inspect::NodeAnswer,
};

/// Subscribers are counted at most once in so long.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// A line waits so long for the count; nodes that answer later are in the next one.
const COUNT_WAIT: Duration = Duration::from_millis(300);

/// Subscribers of the channel by node.
pub(super) struct MatchedSubscribers {
    admin: Arc<Admin>,
    channel: Arc<str>,
    counts: Map<String, Value>,
    counted: Option<Instant>,
    pending: Option<LocalBoxFuture<'static, Option<Map<String, Value>>>>,
}

impl MatchedSubscribers {
    /// Not counted yet.
    pub(super) fn new(admin: &Arc<Admin>, channel: &Arc<str>) -> Self {
        let (admin, channel) = (admin.clone(), channel.clone());
        Self { admin, channel, counts: Map::new(), counted: None, pending: None }
    }

    /// The subscribers of now, as far as they are known; nothing of a node that did not answer.
    pub(super) async fn now(&mut self) -> &Map<String, Value> {
        if self.counted.is_none_or(|counted| counted.elapsed() >= COUNT_EVERY) {
            let (admin, channel) = (&self.admin, &self.channel);
            let pending =
                self.pending.get_or_insert_with(|| count(admin.clone(), channel.to_string()).boxed_local());
            if let Ok(counts) = tokio::time::timeout(COUNT_WAIT, pending).await {
                self.pending = None;
                self.counts = counts.unwrap_or_default();
            }
            self.counted = Some(Instant::now());
        }
        &self.counts
    }
}

async fn count(admin: Arc<Admin>, channel: String) -> Option<Map<String, Value>> {
    let nodes = admin.ask(None, &InspectQuery::CountSubscribers { channel }).await;
    let nodes =
        nodes.inspect_err(|error| tracing::debug!(%error, "subscribers not counted for a tail")).ok()?;
    Some(by_name(nodes))
}

/// Several nodes of one host may have the same name: their ids tell them apart.
fn by_name(nodes: Vec<NodeAnswer>) -> Map<String, Value> {
    let names: Vec<String> = nodes.iter().map(|node| node.asked.name.clone()).collect();
    let is_shared = |name: &String| names.iter().filter(|other| *other == name).count() > 1;
    let named = nodes.into_iter().map(|node| {
        let name = if is_shared(&node.asked.name) {
            format!("{}/{}", node.asked.name, node.asked.id)
        } else {
            node.asked.name
        };
        (name, node.value.unwrap_or_default())
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::node::cluster::event_queries::AskedNode;

    #[test]
    fn nodes_of_one_name_are_told_apart_and_a_silent_one_is_not_0() {
        let node = |id: &str, name: &str, value: Value| NodeAnswer {
            asked: AskedNode {
                id: id.to_owned(),
                name: name.to_owned(),
                version: String::new(),
                answered: value != Value::Null,
                unsupported: false,
                ms: 0,
            },
            value: Some(value).filter(|value| !value.is_null()),
        };
        let nodes = vec![node("1", "a", json!(2)), node("2", "a", json!(3)), node("3", "b", Value::Null)];
        assert_eq!(Value::from(by_name(nodes)), json!({"a/1": 2, "a/2": 3, "b": null}));
    }
}
