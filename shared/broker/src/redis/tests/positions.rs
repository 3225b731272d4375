//! An unused position is forgotten: `broker.redis.position_ttl`.

use std::time::Duration;

use super::{
    fixture::{RedisFixture, quick},
    server::Server,
};
use crate::RedisSettings;

#[tokio::test]
async fn a_position_unused_for_its_time_is_forgotten_and_the_next_life_has_another_epoch() {
    let server = Server::start();
    let ttl = Duration::from_secs(4);
    let node = RedisFixture::start(RedisSettings { position_ttl: ttl, ..quick(server.url()) }).await;
    let first = node.publish("news", "one").await.unwrap().position;
    let second = node.publish("news", "two").await.unwrap().position;
    assert_eq!((second.offset, &second.epoch), (2, &first.epoch));
    tokio::time::sleep(ttl + Duration::from_millis(500)).await;
    let next = node.publish("news", "three").await.unwrap().position;
    assert_eq!(next.offset, 1);
    assert_ne!(next.epoch, first.epoch);
}
