//! A well-behaved client of the client protocol (`docs/protocols/client.md`) over WebSocket, for tests.
//!
//! It answers the server's pings, matches replies to commands by their id, and keeps pushes in the order in
//! which they came.

use std::{collections::VecDeque, net::SocketAddr, time::Duration};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Map, Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest},
};

/// Where the gateway serves the client protocol.
pub const PATH: &str = "/connection/websocket";
/// How long an answer may take before a test gives up.
pub const TIME_LIMIT: Duration = Duration::from_secs(30);

/// One connection that speaks the client protocol.
#[derive(Debug)]
pub struct Client {
    socket: WebSocketStream<TcpStream>,
    last_id: u32,
    replies: VecDeque<Value>,
    pushes: VecDeque<Value>,
    closed: Option<(u16, String)>,
}

impl Client {
    /// Opens the WebSocket; no command is sent yet.
    ///
    /// # Panics
    /// If the handshake fails.
    pub async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the node accepts");
        stream.set_nodelay(true).expect("a socket option");
        let request = format!("ws://{address}{PATH}").into_client_request().expect("a valid request");
        let (socket, _) = client_async(request, stream).await.expect("a WebSocket handshake");
        Self { socket, last_id: 0, replies: VecDeque::new(), pushes: VecDeque::new(), closed: None }
    }

    /// Opens the WebSocket and connects without a token.
    ///
    /// # Panics
    /// If either fails.
    pub async fn connect(address: SocketAddr) -> Self {
        let mut client = Self::open(address).await;
        client.ok("connect", json!({})).await;
        client
    }

    /// Connects and subscribes to one channel.
    ///
    /// # Panics
    /// If any of it fails.
    pub async fn subscribed(address: SocketAddr, channel: &str) -> Self {
        let mut client = Self::connect(address).await;
        client.ok("subscribe", json!({ "channel": channel })).await;
        client
    }

    /// Sends a command and waits for its reply: the whole reply object.
    ///
    /// # Panics
    /// If the connection closes first, or nothing comes in time.
    pub async fn command(&mut self, name: &str, params: Value) -> Value {
        let id = self.post(name, params).await;
        loop {
            if let Some(at) = self.replies.iter().position(|reply| reply["id"] == id) {
                return self.replies.remove(at).expect("it was found there");
            }
            assert!(self.turn().await, "closed instead of a reply to {name}: {:?}", self.closed);
        }
    }

    /// As [`Client::command`] for what may be answered with a close: its code and reason.
    ///
    /// # Errors
    /// When the connection closes first.
    ///
    /// # Panics
    /// If nothing comes in time.
    pub async fn attempt(&mut self, name: &str, params: Value) -> Result<Value, (u16, String)> {
        let id = self.post(name, params).await;
        loop {
            if let Some(at) = self.replies.iter().position(|reply| reply["id"] == id) {
                return Ok(self.replies.remove(at).expect("it was found there"));
            }
            if !self.turn().await {
                return Err(self.closed.clone().expect("the end was noted"));
            }
        }
    }

    /// As [`Client::command`] for what must succeed: the content of the reply's result.
    ///
    /// # Panics
    /// If the reply is an error or has no result.
    pub async fn ok(&mut self, name: &str, params: Value) -> Value {
        let mut reply = self.command(name, params).await;
        reply.get_mut(name).map(Value::take).unwrap_or_else(|| panic!("{name} failed: {reply}"))
    }

    /// As [`Client::command`] for what must fail: the error's code.
    ///
    /// # Panics
    /// If the reply is no error.
    pub async fn error(&mut self, name: &str, params: Value) -> u64 {
        let reply = self.command(name, params).await;
        reply["error"]["code"].as_u64().unwrap_or_else(|| panic!("{name} did not fail: {reply}"))
    }

    /// Sends a command without waiting; returns its id.
    ///
    /// # Panics
    /// If the connection is gone.
    pub async fn post(&mut self, name: &str, params: Value) -> u32 {
        self.last_id += 1;
        let mut command = Map::from_iter([("id".to_owned(), self.last_id.into())]);
        command.insert(name.to_owned(), params);
        self.send_text(Value::from(command).to_string()).await;
        self.last_id
    }

    /// Sends one text message as it is.
    ///
    /// # Panics
    /// If the connection is gone.
    pub async fn send_text(&mut self, text: String) {
        self.socket.send(Message::text(text)).await.expect("the connection takes a message");
    }

    /// The next push, in order.
    ///
    /// # Panics
    /// If the connection closes first, or nothing comes in time.
    pub async fn push(&mut self) -> Value {
        loop {
            if let Some(push) = self.pushes.pop_front() {
                return push;
            }
            assert!(self.turn().await, "closed instead of a push: {:?}", self.closed);
        }
    }

    /// The next push, in order; `None` once the connection is over.
    ///
    /// # Panics
    /// If nothing comes in time.
    pub async fn push_or_end(&mut self) -> Option<Value> {
        loop {
            if let Some(push) = self.pushes.pop_front() {
                return Some(push);
            }
            if !self.turn().await {
                return None;
            }
        }
    }

    /// The data of the next push, which must be a publication.
    ///
    /// # Panics
    /// As [`Client::push`], and on any other push.
    pub async fn publication(&mut self) -> Value {
        let mut push = self.push().await;
        push["pub"].get_mut("data").map(Value::take).unwrap_or_else(|| panic!("no publication: {push}"))
    }

    /// Waits until the server has closed; its code (1005 for none, 1006 for a lost socket) and reason.
    ///
    /// # Panics
    /// If it stays open.
    pub async fn closed(&mut self) -> (u16, String) {
        while self.turn().await {}
        self.closed.clone().expect("the end was noted")
    }

    /// Closes with 1000 and waits for the server's echo.
    ///
    /// # Panics
    /// If the server does not answer the close.
    pub async fn close(mut self) {
        let _ = self.socket.close(None).await;
        while self.turn().await {}
    }

    /// Takes in one message; false when the connection is over.
    async fn turn(&mut self) -> bool {
        if self.closed.is_some() {
            return false;
        }
        let message = timeout(TIME_LIMIT, self.socket.next()).await.expect("something comes in time");
        let text = match message {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Close(Some(close)))) => {
                self.closed = Some((close.code.into(), close.reason.to_string()));
                // Reading on sends the echo, so that the server sees a clean close.
                let _ = timeout(TIME_LIMIT, self.socket.next()).await;
                return false;
            }
            Some(Ok(Message::Close(None))) => {
                self.closed = Some((1005, String::new()));
                return false;
            }
            Some(Ok(_)) => return true,
            Some(Err(Error::ConnectionClosed)) | None => {
                self.closed = Some((1006, String::new()));
                return false;
            }
            Some(Err(error)) => {
                self.closed = Some((1006, error.to_string()));
                return false;
            }
        };
        for line in text.as_str().split('\n') {
            let mut object: Value = serde_json::from_str(line).expect("the server sends JSON objects");
            if object == json!({}) {
                // The server may have closed since its ping: what it still sent, and its close, are read all the same.
                let _ = self.socket.send(Message::text("{}".to_owned())).await;
            } else if let Some(push) = object.get_mut("push") {
                self.pushes.push_back(push.take());
            } else {
                self.replies.push_back(object);
            }
        }
        true
    }
}
