//! Three nodes on one Redis behind a real balancer, nginx and HAProxy with the files of `deploy/`, without sticky sessions.
//! `docs/architecture.md` §5.8: any load balancer works.

mod clients;
mod files;
mod gone;
mod once;
mod stomp;
mod streams;
mod vanished;

use std::{net::SocketAddr, time::Duration};

use gorani_tests::{
    balancer::{Balancer, Kind, NODES},
    client::Client,
    http::Api,
    node::{API_KEY, Node, Settings},
    raw::RawSocket,
    redis::Redis,
};
use serde_json::{Value, json};

use crate::eventually;

/// Clients through the balancer: the same number for each node.
const CLIENTS: usize = 4 * NODES;
/// Long enough for health checks and reconnects on a busy machine.
const SOON: Duration = Duration::from_secs(20);

const NAMESPACE: &str = r#"[{ name = "kept", history_size = 1000, history_ttl = "60s", force_recovery = true,
 allow_subscribe_for_client = true, allow_subscribe_for_anonymous = true }]"#;

/// Redis, nodes, and a balancer in front of them.
struct Cluster {
    balancer: Balancer,
    nodes: Vec<Node>,
    _redis: Redis,
}

impl Cluster {
    fn start(kind: Kind) -> Self {
        Self::with(kind, |settings| settings)
    }

    fn with(kind: Kind, change: impl Fn(Settings) -> Settings) -> Self {
        let redis = Redis::start();
        let settings = Settings::open()
            .set("channel.namespaces", NAMESPACE.replace('\n', ""))
            .set("broker.kind", "\"redis\"")
            .set("broker.redis.url", format!("\"{}\"", redis.url()));
        let nodes: Vec<Node> = (0..NODES).map(|_| Node::start(change(settings.clone()))).collect();
        let balancer = Balancer::start(kind, [nodes[0].address(), nodes[1].address(), nodes[2].address()]);
        Self { balancer, nodes, _redis: redis }
    }

    fn address(&self) -> SocketAddr {
        self.balancer.address()
    }

    /// A backend that knows only the balancer.
    fn api(&self) -> Api {
        Api::new(self.address(), API_KEY)
    }

    /// WebSockets that are open on a node.
    fn connections(&self, node: usize) -> usize {
        let (_, metrics) = self.nodes[node].api().get("/metrics");
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("gorani_connections{transport=\"websocket\"} "));
        line.map_or(0, |count| count.parse().unwrap())
    }
}

/// Publishes until it is accepted, as a backend that takes any error of the balancer or of a node for "try again". The key makes sure that it is
/// there once.
fn publish(api: &Api, number: usize) {
    let body = json!({"channel": "kept:a", "data": number, "idempotency_key": number.to_string()});
    eventually("it is accepted", SOON, || {
        let (status, answer) = api.post("/api/publish", body.to_string().as_bytes());
        assert!(matches!(status, 200 | 502..=504), "{status}: {answer}");
        status == 200
    });
}

/// The next push, which must be a publication of `kept:a` with this offset, whose data are the same number.
async fn expect(client: &mut Client, offset: usize) {
    let publication = client.push().await["pub"].take();
    assert_eq!((&publication["offset"], &publication["data"]), (&json!(offset), &json!(offset)));
}

async fn clients_land_on_all_nodes_and_all_see_one_order(kind: Kind) {
    let cluster = Cluster::start(kind);
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Client::subscribed(cluster.address(), "kept:a").await);
    }
    for node in 0..NODES {
        assert_eq!(cluster.connections(node), CLIENTS / NODES, "node {node}");
    }
    let doors = [cluster.api(), cluster.nodes[0].api(), cluster.nodes[1].api(), cluster.nodes[2].api()];
    (1..=40).for_each(|number| publish(&doors[number % doors.len()], number));
    for client in &mut clients {
        for offset in 1..=40 {
            expect(client, offset).await;
        }
    }
}

#[tokio::test]
async fn behind_nginx_clients_land_on_all_nodes_and_all_see_one_order() {
    clients_land_on_all_nodes_and_all_see_one_order(Kind::Nginx).await;
}

#[tokio::test]
async fn behind_haproxy_clients_land_on_all_nodes_and_all_see_one_order() {
    clients_land_on_all_nodes_and_all_see_one_order(Kind::Haproxy).await;
}

/// Where a client stands in the stream of `kept:a`.
fn position(subscribed: &Value, offset: usize) -> Value {
    json!({"channel": "kept:a", "recover": true, "offset": offset, "epoch": subscribed["epoch"]})
}

async fn clients_of_a_killed_node_come_back_through_others_and_recover(kind: Kind) {
    let mut cluster = Cluster::start(kind);
    let (mut clients, mut answer) = (Vec::new(), Value::Null);
    for _ in 0..NODES {
        let before = cluster.connections(0);
        let mut client = Client::connect(cluster.address()).await;
        let loses_its_node = cluster.connections(0) > before;
        answer = client.ok("subscribe", json!({"channel": "kept:a"})).await;
        clients.push((client, loses_its_node));
    }
    assert_eq!(clients.iter().filter(|(_, loses_its_node)| *loses_its_node).count(), 1);
    publish(&cluster.api(), 1);
    for (client, _) in &mut clients {
        expect(client, 1).await;
    }
    cluster.nodes[0].kill();
    (2..=10).for_each(|number| publish(&cluster.api(), number));
    for (client, loses_its_node) in &mut clients {
        if *loses_its_node {
            client.closed().await;
            *client = Client::connect(cluster.address()).await;
            let recovered = client.ok("subscribe", position(&answer, 1)).await;
            assert_eq!(recovered["recovered"], true, "{recovered}");
            let kept = recovered["publications"].as_array().unwrap().iter();
            assert!(
                kept.map(|publication| &publication["offset"])
                    .eq(&(2..=10).map(Value::from).collect::<Vec<_>>())
            );
        } else {
            for offset in 2..=10 {
                expect(client, offset).await;
            }
        }
    }
    // Nobody is ever sent to the node that is gone.
    for _ in 0..CLIENTS {
        Client::connect(cluster.address()).await.close().await;
    }
    publish(&cluster.api(), 11);
    for (client, _) in &mut clients {
        expect(client, 11).await;
    }
}

#[tokio::test]
async fn behind_nginx_clients_of_a_killed_node_come_back_through_others_and_recover() {
    clients_of_a_killed_node_come_back_through_others_and_recover(Kind::Nginx).await;
}

#[tokio::test]
async fn behind_haproxy_clients_of_a_killed_node_come_back_through_others_and_recover() {
    clients_of_a_killed_node_come_back_through_others_and_recover(Kind::Haproxy).await;
}

async fn a_draining_node_gets_no_new_clients(kind: Kind) {
    let mut cluster = Cluster::with(kind, |settings| {
        settings.set("websocket.close_timeout", "\"30s\"").set("http.shutdown_timeout", "\"30s\"")
    });
    // It will not answer the close frame, so its node drains for as long as it may.
    let mut lingering = RawSocket::websocket(cluster.nodes[0].address(), gorani_tests::client::PATH, "");
    cluster.nodes[0].terminate();
    assert_eq!(lingering.read_close().unwrap().0, 3001);
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Client::subscribed(cluster.address(), "kept:a").await);
    }
    assert_eq!(cluster.connections(1) + cluster.connections(2), CLIENTS);
    publish(&cluster.api(), 1);
    for client in &mut clients {
        expect(client, 1).await;
    }
    cluster.nodes[0].terminate();
    assert!(cluster.nodes[0].wait_exit(SOON).is_some());
}

#[tokio::test]
async fn behind_nginx_a_draining_node_gets_no_new_clients() {
    a_draining_node_gets_no_new_clients(Kind::Nginx).await;
}

#[tokio::test]
async fn behind_haproxy_a_draining_node_gets_no_new_clients() {
    a_draining_node_gets_no_new_clients(Kind::Haproxy).await;
}

#[test]
fn the_counters_are_not_shown_to_the_outside_and_the_health_is() {
    for kind in [Kind::Nginx, Kind::Haproxy] {
        let cluster = Cluster::start(kind);
        assert_eq!(cluster.api().get("/metrics").0, 404, "{kind:?}");
        assert_eq!(cluster.api().get("/health/ready").0, 200, "{kind:?}");
    }
}
