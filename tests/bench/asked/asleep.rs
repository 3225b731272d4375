//! The latency of a fan-out beside a backend that sleeps for nine seconds over every call and every batch of events.

use std::{
    io,
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use gorani_tests::{
    node::{Node, Settings},
    redis::Redis,
};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{
    replies, send,
    server::{Answers, Server},
};
use crate::audit::subscriber::{Socket, open};

/// The time that the backend sleeps; less than the time-out of a call.
const SLEEP: Duration = Duration::from_secs(9);
/// Calls that wait for it meanwhile.
const CALLS: usize = 100;
/// Subscribers of the fan-out, one of which looks at the clock.
const SUBSCRIBERS: usize = 200;
const PUBLICATIONS: usize = 500;
const PAUSE: Duration = Duration::from_millis(8);

/// Percentiles of the latency, in milliseconds.
pub(super) struct Latency {
    pub(super) half: f64,
    pub(super) most: f64,
}

/// Measures it; `asleep`: beside calls and events that wait for the backend.
pub(super) fn run(asleep: bool) -> io::Result<Latency> {
    let (server, redis) = (Server::start(Answers::After(SLEEP))?, Redis::without_file());
    let mut settings = Settings::open()
        .set("broker.kind", "\"redis\"")
        .set("broker.redis.url", format!("\"{}\"", redis.url()));
    if asleep {
        let endpoint = format!(
            r#"[{{ name = "bench", url = "{}", events = ["connected", "subscribed", "unsubscribed"] }}]"#,
            server.url()
        );
        settings = settings
            .set("rpc.without_namespace.proxy_enabled", "true")
            .set("rpc.proxy.endpoint", format!("\"{}\"", server.url()))
            .set("rpc.proxy.timeout", "\"12s\"")
            .set("hooks.endpoints", endpoint);
    }
    let node = Node::start(settings);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut sockets = Vec::new();
        for _ in 0..SUBSCRIBERS {
            sockets.push(connect(&node, "open:fanout").await?);
        }
        let mut waiting = Vec::new();
        if asleep {
            for _ in 0..CALLS {
                let mut socket = connect(&node, "open:other").await?;
                send(&mut socket, json!({"id": 3, "rpc": {"method": "sleep"}}).to_string()).await?;
                waiting.push(socket);
            }
        }
        let mut clock = sockets.pop().ok_or_else(|| io::Error::other("no subscriber"))?;
        for mut socket in sockets {
            tokio::spawn(async move { while socket.next().await.is_some() {} });
        }
        let api = node.api();
        let mut latencies = Vec::with_capacity(PUBLICATIONS);
        for number in 0..PUBLICATIONS {
            let (began, api) = (Instant::now(), api.clone());
            let publishing = tokio::task::spawn_blocking(move || {
                api.publish("open:fanout", &json!(number));
            });
            publication(&mut clock).await?;
            latencies.push(began.elapsed().as_secs_f64() * 1e3);
            publishing.await.map_err(io::Error::other)?;
            tokio::time::sleep(PAUSE).await;
        }
        latencies.sort_by(f64::total_cmp);
        let at = |hundredths: usize| {
            latencies.get(latencies.len() * hundredths / 100).copied().unwrap_or_default()
        };
        Ok(Latency { half: at(50), most: at(99) })
    })
}

async fn connect(node: &Node, channel: &str) -> io::Result<Socket> {
    let mut socket = open(node.address()).await.ok_or_else(|| io::Error::other("not let in"))?;
    let subscribe = json!({"id": 2, "subscribe": {"channel": channel}});
    send(&mut socket, format!("{}\n{subscribe}", json!({"id": 1, "connect": {}}))).await?;
    replies(&mut socket, 2).await?;
    Ok(socket)
}

/// Waits for a publication.
async fn publication(socket: &mut Socket) -> io::Result<()> {
    loop {
        let message = socket.next().await.ok_or_else(|| io::Error::other("the connection ended"))?;
        let Message::Text(text) = message.map_err(io::Error::other)? else { continue };
        let object: Value = serde_json::from_str(text.as_str()).map_err(io::Error::other)?;
        if object["push"]["pub"].is_object() {
            return Ok(());
        }
    }
}
