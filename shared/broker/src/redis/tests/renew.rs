//! A stream that has gone back gets a new epoch, once.

use std::time::Duration;

use super::{
    fixture::{RedisFixture, quick},
    server::Server,
};
use crate::{Broker as _, HistoryPage, HistoryQuery, Retention};

async fn read(node: &RedisFixture) -> HistoryPage {
    let query = HistoryQuery { limit: 10, since: Some(0), ..HistoryQuery::default() };
    let retention = Retention { size: 1000, ttl: Duration::from_secs(60) };
    node.broker.history("news", query, retention).await.unwrap()
}

#[tokio::test]
async fn of_all_who_notice_that_a_stream_went_back_one_begins_a_new_epoch_and_nothing_more_is_lost() {
    let server = Server::start();
    let node = RedisFixture::start(quick(server.url())).await;
    let first = node.publish("news", "one").await.unwrap().position;
    node.broker.renew("news", &first.epoch).await.unwrap();
    let renewed = read(&node).await;
    assert_ne!(renewed.top.epoch, first.epoch);
    assert_eq!((renewed.top.offset, renewed.publications.len()), (1, 1));
    node.broker.renew("news", &first.epoch).await.unwrap();
    assert_eq!(read(&node).await.top, renewed.top);
    let next = node.publish("news", "two").await.unwrap().position;
    assert_eq!((next.offset, next.epoch), (2, renewed.top.epoch));
}
