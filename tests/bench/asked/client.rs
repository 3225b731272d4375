//! A process of clients that connect all at once and try again as the SDKs do, until each is connected. It says `joined <n>` while
//! they connect, and `live` once all are.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use clap::Args;
use futures_util::{SinkExt as _, StreamExt as _};
use rand::RngExt as _;
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    audit::subscriber::{COMMAND_TIMEOUT, Socket, open},
    client_process::{TELL_EVERY, say},
};

/// The SDKs' bounds of the pause before they connect again.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(20);

/// The command line of the process.
#[derive(Debug, Args)]
pub(crate) struct ClientFlags {
    node: SocketAddr,
    count: usize,
}

/// The counters of the clients.
#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    connected: usize,
    attempts: usize,
}

/// The process's program. It ends when the parent ends it.
pub(crate) fn run(flags: &ClientFlags) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (counts, mut watched) = watch::channel(Counts::default());
        let counts = Arc::new(counts);
        for _ in 0..flags.count {
            tokio::spawn(client(flags.node, Arc::clone(&counts)));
        }
        loop {
            sleep(TELL_EVERY).await;
            let Counts { connected, attempts } = *watched.borrow_and_update();
            say(&format!("joined {connected}"))?;
            if connected == flags.count {
                say("live")?;
                say(&format!("attempts {attempts}"))?;
                // The connections stay until the parent has looked at the node.
                std::future::pending::<()>().await;
            }
        }
    })
}

/// One client, for ever.
async fn client(node: SocketAddr, counts: Arc<watch::Sender<Counts>>) {
    let mut attempt = 0;
    loop {
        counts.send_modify(|counts| counts.attempts += 1);
        if let Some(mut socket) = connect(node).await {
            counts.send_modify(|counts| counts.connected += 1);
            attempt = 0;
            stay(&mut socket).await;
            counts.send_modify(|counts| counts.connected -= 1);
        }
        let most = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(attempt)).min(LAST_PAUSE);
        attempt = (attempt + 1).min(16);
        let pause = (FIRST_PAUSE + most.mul_f64(rand::rng().random())).min(LAST_PAUSE);
        sleep(pause).await;
    }
}

/// Connects, as an SDK: it gives up after five seconds, and on any error.
async fn connect(node: SocketAddr) -> Option<Socket> {
    let by = Instant::now() + COMMAND_TIMEOUT;
    let mut socket = timeout(COMMAND_TIMEOUT, open(node)).await.ok()??;
    socket.send(Message::text(json!({"id": 1, "connect": {}}).to_string())).await.ok()?;
    loop {
        let message =
            timeout(by.saturating_duration_since(Instant::now()), socket.next()).await.ok()??.ok()?;
        let Message::Text(text) = message else { continue };
        let reply: Value = serde_json::from_str(text.as_str()).ok()?;
        if reply["id"] == 1 {
            return reply["connect"].is_object().then_some(socket);
        }
    }
}

/// Answers pings until the connection ends.
async fn stay(socket: &mut Socket) {
    while let Some(Ok(message)) = socket.next().await {
        if message == Message::text("{}") && socket.send(Message::text("{}")).await.is_err() {
            return;
        }
    }
}
