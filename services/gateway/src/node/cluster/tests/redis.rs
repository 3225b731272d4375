//! Two real nodes over a real redis-server.

use std::{
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
};

use gorani_broker::{ClientInfo, PresenceQuery, RedisSettings};

use super::*;
use crate::settings::{BrokerKind, BrokerSettings};

/// A redis-server of the test's own, killed when dropped.
struct Redis {
    child: Child,
    port: u16,
}

impl Redis {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("redis-server");
        command.args([
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--port",
            &port.to_string(),
        ]);
        let child = command.stdout(Stdio::null()).spawn().unwrap();
        Self { child, port }
    }

    async fn node(&self, cluster: MembershipSettings) -> Arc<Node> {
        until("redis-server accepts", || TcpStream::connect(("127.0.0.1", self.port)).is_ok()).await;
        let url = format!("redis://127.0.0.1:{}/0", self.port);
        let redis = RedisSettings { url, ..RedisSettings::default() };
        let broker = BrokerSettings { kind: BrokerKind::Redis, redis, ..BrokerSettings::default() };
        Node::start(Settings { cluster, broker, ..Settings::default() }).await.unwrap()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _: std::io::Result<()> = self.child.kill();
        let _ = self.child.wait();
    }
}

#[actix_rt::test]
async fn a_node_whose_worker_blocks_for_longer_than_the_lease_is_not_taken_for_dead_by_another() {
    let redis = Redis::start();
    let lease = Duration::from_secs(4);
    let cluster = MembershipSettings {
        heartbeat: Duration::from_millis(100),
        lease,
        answer_timeout: ANSWER_TIMEOUT,
        ..MembershipSettings::default()
    };
    let (blocked, other) = (redis.node(cluster.clone()).await, redis.node(cluster).await);
    let client = blocked.policy.get().new_client_id();
    let info = Arc::new(ClientInfo { client: client.to_string(), ..ClientInfo::default() });
    blocked.broker.presence_add("news", info, LONG, false).await.unwrap();
    until("they know each other", || {
        other.cluster.is_alive(&blocked.id) && blocked.cluster.is_alive(&other.id)
    })
    .await;
    until("leases have run long enough", || other.cluster.peers.view.lock().is_complete(Instant::now()))
        .await;
    let (release, thread) = blocked_worker(&blocked);
    let started = Instant::now();
    while started.elapsed() < 2 * lease {
        // Whoever asks for what only the worker knows gets an error; the node lives on for the other one.
        assert_eq!(
            other.cluster.channels_after(None, "", 10).await.map(drop),
            Err(ClusterError::Unanswered(vec![blocked.id.to_string()]))
        );
        assert!(other.cluster.is_alive(&blocked.id), "its lease ended");
        assert_eq!(other.cluster.nodes().await.unwrap().len(), 2);
    }
    let present = other.broker.presence("news", PresenceQuery::default()).await.unwrap();
    assert_eq!(present.clients.len(), 1, "its clients were taken out of presence");
    assert_eq!((blocked.cluster.lapses(), other.cluster.lapses()), (0, 0));
    drop(release);
    thread.join().unwrap();
}
