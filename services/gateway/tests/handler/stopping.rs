//! Nodes that ran in this process and have stopped: nothing of them goes on.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use gorani::{
    Gorani, RunError,
    node::{Node, cluster::ClusterMember, workers::Workers},
    settings::{BrokerKind, Settings},
};
use tokio::{sync::oneshot, task::JoinHandle};

use crate::node::{TIME_LIMIT, settings};

/// A redis-server of the test's own, killed when dropped.
struct Redis {
    child: Child,
    address: SocketAddr,
}

impl Redis {
    async fn start() -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let port = address.port().to_string();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port]);
        let child = command.stdout(Stdio::null()).spawn().unwrap();
        let redis = Self { child, address };
        until("redis-server accepts", || TcpStream::connect(address).is_ok()).await;
        redis
    }

    /// Connections that it has, without the one that asks.
    fn connections(&self) -> usize {
        let mut stream = BufReader::new(TcpStream::connect(self.address).unwrap());
        stream.get_mut().write_all(b"CLIENT LIST\r\n").unwrap();
        let mut head = String::new();
        stream.read_line(&mut head).unwrap();
        let mut list = vec![0; head.trim().trim_start_matches('$').parse().unwrap()];
        stream.read_exact(&mut list).unwrap();
        String::from_utf8(list).unwrap().lines().count() - 1
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _: std::io::Result<()> = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A node that runs in this thread.
struct Running {
    address: SocketAddr,
    node: Weak<Node>,
    cluster: Weak<ClusterMember>,
    workers: Weak<Workers>,
    stop: oneshot::Sender<()>,
    run: JoinHandle<Result<(), RunError>>,
}

impl Running {
    async fn start(settings: Settings) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = oneshot::channel();
        let shutdown = async {
            let _ = stopped.await;
        };
        let started = |address, node: Arc<Node>| {
            assert!(tell.send((address, node)).is_ok());
        };
        let run = actix_rt::spawn(Gorani::new(settings).run(shutdown, started));
        let (address, node) = told.await.unwrap();
        let (cluster, workers) = (Arc::downgrade(&node.cluster), Arc::downgrade(&node.workers));
        Self { address, node: Arc::downgrade(&node), cluster, workers, stop, run }
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let give_up = Instant::now() + TIME_LIMIT;
    while !holds() {
        assert!(Instant::now() < give_up, "it never became true: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Two nodes side by side, twice, in a process that goes on.
async fn come_and_go(settings: impl Fn() -> Settings, is_quiet: impl Fn() -> bool) {
    for _ in 0..2 {
        let nodes = [Running::start(settings()).await, Running::start(settings()).await];
        let clients = nodes.each_ref().map(|node| TcpStream::connect(node.address).unwrap());
        for Running { address, node, cluster, workers, stop, run } in nodes {
            stop.send(()).unwrap();
            run.await.unwrap().unwrap();
            // Whatever ran for it, or kept it, had a hold on it.
            until("the node is gone", || node.upgrade().is_none()).await;
            until("its cluster is gone", || cluster.upgrade().is_none()).await;
            until("its workers are gone", || workers.upgrade().is_none()).await;
            until("its port is free", || TcpListener::bind(address).is_ok()).await;
        }
        drop(clients);
        until("nothing is connected to Redis", &is_quiet).await;
    }
}

#[actix_rt::test]
async fn nodes_on_redis_that_have_stopped_leave_no_task_no_listener_and_no_connection() {
    let redis = Redis::start().await;
    let on_redis = || {
        let mut settings = settings();
        settings.broker.kind = BrokerKind::Redis;
        settings.broker.redis.url = format!("redis://{}/0", redis.address);
        settings
    };
    come_and_go(on_redis, || redis.connections() == 0).await;
}

#[actix_rt::test]
async fn nodes_on_the_memory_broker_that_have_stopped_leave_no_task_and_no_listener() {
    come_and_go(settings, || true).await;
}
