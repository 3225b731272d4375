//! The size of a history, where a server does not tell it.

use super::{
    fixture::{RedisFixture, quick},
    server::Server,
};
use crate::{Broker as _, Health};

#[tokio::test]
async fn a_user_who_may_not_ask_for_the_size_of_a_history_is_told_none_and_the_node_stays_ready() {
    let server = Server::start();
    let node = RedisFixture::start(quick(server.url())).await;
    node.until_ready().await;
    node.publish("news", "kept").await.unwrap();
    let told = node.broker.history_bytes("news").await.unwrap();
    assert!(told.is_some_and(|bytes| bytes > 0), "{told:?}");
    server.command(&["ACL", "SETUSER", "default", "-memory"]).await;
    for _ in 0..2 {
        assert_eq!(node.broker.history_bytes("news").await, Ok(None));
    }
    assert_eq!(node.broker.health(), Health::Ready);
    assert_eq!(node.broker.stats().request_connections_lost, 0);
    server.command(&["ACL", "SETUSER", "default", "+memory|usage"]).await;
    assert_eq!(node.broker.history_bytes("news").await, Ok(told));
}

#[tokio::test]
async fn a_server_without_the_command_tells_none() {
    let server = Server::start_with(&["--rename-command", "MEMORY", ""]);
    let node = RedisFixture::start(quick(server.url())).await;
    node.until_ready().await;
    node.publish("news", "kept").await.unwrap();
    assert_eq!(node.broker.history_bytes("news").await, Ok(None));
    assert_eq!(node.broker.health(), Health::Ready);
}
