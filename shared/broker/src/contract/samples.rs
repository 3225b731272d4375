//! The publications, options and clients that the scenarios use, and the calls in the short form in which they use them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;

use super::{ContractNode, Harness};
use crate::{
    ChannelEvent, ClientInfo, DataKind, HistoryPage, HistoryQuery, Idempotency, Position, PresenceQuery,
    Publication, PublishOptions, Published, Retention,
};

/// A retention that covers everything a scenario publishes.
pub(super) const AMPLE: Retention = Retention { size: 10_000, ttl: Duration::from_secs(300) };

/// A time that ends in no scenario.
pub(super) const LONG: Duration = Duration::from_secs(300);

/// A limit that ends no page of a scenario.
pub(super) const ALL: u32 = 10_000;

/// As many nodes as wanted, or as many as the harness has.
pub(super) async fn nodes(harness: &impl Harness, wanted: usize) -> Vec<ContractNode> {
    let mut nodes = Vec::new();
    for _ in 0..wanted.min(harness.max_nodes()) {
        nodes.push(harness.node().await);
    }
    nodes
}

/// The node that publishes and the node that receives: different ones if there are two.
pub(super) async fn two_ends(harness: &impl Harness) -> (Arc<ContractNode>, Arc<ContractNode>) {
    let mut nodes: Vec<Arc<ContractNode>> = nodes(harness, 2).await.into_iter().map(Arc::new).collect();
    let listener = nodes.pop().unwrap();
    let publisher = nodes.pop().unwrap_or_else(|| Arc::clone(&listener));
    (publisher, listener)
}

pub(super) fn text(data: impl Into<String>) -> Publication {
    Publication {
        data: Bytes::from(data.into()),
        kind: DataKind::Text,
        time_ms: 1_700_000_000_123,
        ..Default::default()
    }
}

pub(super) fn live() -> PublishOptions {
    PublishOptions::default()
}

pub(super) fn kept(retention: Retention) -> PublishOptions {
    PublishOptions { retention, ..Default::default() }
}

pub(super) fn guarded(retention: Retention, key: &str, ttl: Duration) -> PublishOptions {
    let idempotency = Some(Idempotency { key: key.to_owned(), ttl });
    PublishOptions { retention, idempotency, ..Default::default() }
}

pub(super) fn client(user: &str, client: &str) -> Arc<ClientInfo> {
    Arc::new(ClientInfo { user: user.to_owned(), client: client.to_owned(), ..Default::default() })
}

pub(super) fn everything() -> HistoryQuery {
    HistoryQuery { limit: ALL, ..Default::default() }
}

/// The data of the publications, as text.
pub(super) fn data<'a>(publications: impl IntoIterator<Item = &'a Arc<Publication>>) -> Vec<String> {
    publications
        .into_iter()
        .map(|publication| String::from_utf8(publication.data.to_vec()).unwrap())
        .collect()
}

pub(super) fn offsets<'a>(publications: impl IntoIterator<Item = &'a Arc<Publication>>) -> Vec<u64> {
    publications.into_iter().map(|publication| publication.offset).collect()
}

pub(super) fn without_position(publication: &Publication) -> Publication {
    Publication { offset: 0, epoch: Arc::default(), ..publication.clone() }
}

impl ContractNode {
    pub(super) async fn publish(
        &self,
        channel: &str,
        data: impl Into<String>,
        options: PublishOptions,
    ) -> Published {
        self.broker.publish(channel, text(data), options).await.unwrap()
    }

    pub(super) async fn subscribe(&self, channel: &str) {
        self.broker.subscribe(&[channel.into()]).await.unwrap();
    }

    pub(super) async fn unsubscribe(&self, channel: &str) {
        self.broker.unsubscribe(&[channel.into()]).await.unwrap();
    }

    pub(super) async fn read(&self, channel: &str, query: HistoryQuery, retention: Retention) -> HistoryPage {
        self.broker.history(channel, query, retention).await.unwrap()
    }

    pub(super) async fn position(&self, channel: &str, retention: Retention) -> Position {
        self.read(channel, HistoryQuery::default(), retention).await.top
    }

    /// The client ids present, sorted.
    pub(super) async fn present(&self, channel: &str) -> Vec<String> {
        let present = self.present_infos(channel).await;
        let mut clients: Vec<String> = present.iter().map(|info| info.client.clone()).collect();
        clients.sort();
        clients
    }

    /// Those present, each once.
    pub(super) async fn present_infos(&self, channel: &str) -> Vec<Arc<ClientInfo>> {
        self.present_in_pages(channel, 1000).await.0
    }

    /// Those present, each once, and the size of the largest page.
    pub(super) async fn present_in_pages(&self, channel: &str, limit: u32) -> (Vec<Arc<ClientInfo>>, usize) {
        let mut present = BTreeMap::new();
        let mut query = PresenceQuery { limit, ..PresenceQuery::default() };
        let mut largest = 0;
        loop {
            let page = self.broker.presence(channel, query.clone()).await.unwrap();
            largest = largest.max(page.clients.len());
            present.extend(page.clients.into_iter().map(|info| (info.client.clone(), info)));
            match page.cursor {
                Some(cursor) => query.cursor = cursor,
                None => return (present.into_values().collect(), largest),
            }
        }
    }

    /// The data of the channel's publications that reached the sink, once there are `count` of them.
    pub(super) async fn heard(&self, channel: &str, count: usize) -> Vec<String> {
        data(&self.sink.wait_for_publications(channel, count).await)
    }

    pub(super) async fn heard_events(&self, channel: &str, count: usize) -> Vec<ChannelEvent> {
        self.sink.wait_for(channel, count).await
    }
}
