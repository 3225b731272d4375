//! A node in a thread of this process, and a plain client of it.

use std::{
    net::{SocketAddr, TcpStream},
    sync::mpsc::sync_channel,
    thread::JoinHandle,
    time::Duration,
};

use gorani::{Gorani, RunError, settings::Settings};
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::{
    self, ClientRequestBuilder, Message, WebSocket,
    handshake::client::Response,
    protocol::{WebSocketConfig, frame::CloseFrame},
};

/// Nothing in these tests takes so long unless it is broken.
pub(crate) const TIME_LIMIT: Duration = Duration::from_secs(20);

/// A running node, stopped when dropped.
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), RunError>>>,
}

/// One worker, short farewells, a free port.
pub(crate) fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.http.address = SocketAddr::from(([127, 0, 0, 1], 0));
    settings.http.workers = 1;
    settings.http.shutdown_timeout = Duration::from_secs(2);
    settings.websocket.close_timeout = Duration::from_millis(300);
    settings
}

impl Node {
    /// Starts a node with what `register` adds to it.
    pub(crate) fn start(
        settings: Settings,
        register: impl FnOnce(Gorani) -> Gorani + Send + 'static,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (started, address) = sync_channel(1);
        let thread = std::thread::spawn(move || {
            let shutdown = async {
                let _ = stopped.await;
            };
            let node = register(Gorani::new(settings));
            let system = actix_rt::System::new();
            system.block_on(node.run(shutdown, |address, _| started.send(address).unwrap()))
        });
        let address = address.recv_timeout(TIME_LIMIT).expect("the node starts");
        Self { address, stop: Some(stop), thread: Some(thread) }
    }

    /// Tells it to stop, without waiting.
    pub(crate) fn begin_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// Stops it, and waits until it has stopped.
    pub(crate) fn stop(&mut self) {
        self.begin_stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }

    pub(crate) fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(TIME_LIMIT)).unwrap();
        stream.set_write_timeout(Some(TIME_LIMIT)).unwrap();
        stream
    }

    pub(crate) fn request(&self, path: &str) -> ClientRequestBuilder {
        ClientRequestBuilder::new(format!("ws://{}{path}", self.address).parse().unwrap())
    }

    /// Opens a WebSocket.
    pub(crate) fn open(&self, path: &str) -> Client {
        self.open_with(self.request(path)).unwrap().0
    }

    /// Opens a WebSocket, or gives the status and the body of the refusal.
    pub(crate) fn open_with(
        &self,
        request: ClientRequestBuilder,
    ) -> Result<(Client, Response), (u16, String)> {
        let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        match tungstenite::client::client_with_config(request, self.tcp(), Some(config)) {
            Ok((socket, response)) => Ok((Client(socket), response)),
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response))) => {
                let body = response.body().clone().unwrap_or_default();
                Err((response.status().as_u16(), String::from_utf8(body).unwrap()))
            }
            Err(error) => panic!("{error}"),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.begin_stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A client.
pub(crate) struct Client(pub(crate) WebSocket<TcpStream>);

impl Client {
    pub(crate) fn send(&mut self, text: &str) {
        self.0.send(Message::text(text)).unwrap();
    }

    /// The next message, which is text.
    pub(crate) fn text(&mut self) -> String {
        match self.0.read().unwrap() {
            Message::Text(text) => text.to_string(),
            other => panic!("{other:?}"),
        }
    }

    /// The server's close frame, past whatever comes before it.
    pub(crate) fn closed(&mut self) -> (u16, String) {
        loop {
            if let Message::Close(frame) = self.0.read().unwrap() {
                let CloseFrame { code, reason } = frame.unwrap();
                return (code.into(), reason.to_string());
            }
        }
    }
}
