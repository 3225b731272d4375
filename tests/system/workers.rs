//! Several workers: whichever accepted a connection, it gets everything, in one order. `docs/architecture.md` §3.4, §4.4.

use gorani_tests::{
    client::Client,
    node::{Node, Settings},
};
use serde_json::{Value, json};

/// Connections, so that each of the workers has some.
const CLIENTS: usize = 12;
/// Publications of each publisher.
const PUBLICATIONS: usize = 200;
/// Publishers at a time.
const PUBLISHERS: usize = 4;

const NAMESPACE: &str = r#"[{ name = "kept", history_size = 1000, history_ttl = "60s", allow_subscribe_for_client = true,
 allow_subscribe_for_anonymous = true, allow_recovery = true, force_recovery = true }]"#;

fn start() -> Node {
    let settings = Settings::open()
        .set("http.workers", "4")
        .set("channel.namespaces", NAMESPACE.replace('\n', ""))
        // Clients of the tests read one after the other.
        .set("client.ping_interval", "\"300s\"");
    Node::start(settings)
}

/// The next push, which must be a publication, whole.
async fn publication(client: &mut Client) -> Value {
    client.push().await["pub"].take()
}

#[tokio::test]
async fn clients_of_all_workers_see_concurrent_publications_in_one_order_without_a_gap() {
    let node = start();
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Client::subscribed(node.address(), "kept:a").await);
    }
    let publishers = (0..PUBLISHERS).map(|publisher| {
        let api = node.api();
        std::thread::spawn(move || {
            for number in 0..PUBLICATIONS {
                api.publish("kept:a", &json!([publisher, number]));
            }
        })
    });
    let publishers: Vec<_> = publishers.collect();
    let mut orders: Vec<Vec<Value>> = Vec::new();
    for client in &mut clients {
        let mut order = Vec::new();
        for offset in 1..=PUBLISHERS * PUBLICATIONS {
            let publication = publication(client).await;
            assert_eq!(publication["offset"], offset);
            order.push(publication["data"].clone());
        }
        orders.push(order);
    }
    for publisher in publishers {
        publisher.join().unwrap();
    }
    assert!(orders.windows(2).all(|pair| pair[0] == pair[1]));
    for publisher in 0..PUBLISHERS {
        let own = orders[0].iter().filter(|data| data[0] == publisher);
        let numbers: Vec<_> = own.map(|data| data[1].as_u64().unwrap() as usize).collect();
        assert!(numbers.iter().copied().eq(0..PUBLICATIONS), "each publisher's own order is kept");
    }
}

#[tokio::test]
async fn clients_that_come_while_publications_flow_miss_nothing_from_their_position_on() {
    let node = start();
    let api = node.api();
    let publisher = std::thread::spawn(move || {
        for number in 1..=800 {
            api.publish("kept:b", &json!(number));
        }
    });
    for _ in 0..CLIENTS {
        let mut client = Client::connect(node.address()).await;
        let subscribed =
            client.ok("subscribe", json!({"channel": "kept:b", "recover": true, "recoverable": true})).await;
        let result = subscribed.get("subscribe").unwrap_or(&subscribed).clone();
        let recovered = result["publications"].as_array().cloned().unwrap_or_default();
        let mut next = match result["recovered"].as_bool() {
            Some(true) => 1 + recovered.len() as u64,
            // More was published than one recovery brings: it goes on from the top.
            _ => 1 + result["offset"].as_u64().unwrap_or(0),
        };
        for (index, publication) in recovered.iter().enumerate() {
            assert_eq!(publication["offset"], index + 1);
        }
        while next <= 800 {
            assert_eq!(publication(&mut client).await["offset"], next);
            next += 1;
        }
    }
    publisher.join().unwrap();
}
