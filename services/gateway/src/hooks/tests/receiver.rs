//! A receiver of events on a real socket, which answers as a test says.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use rustls::ServerConfig;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    sync::watch,
};
use tokio_rustls::TlsAcceptor;

/// A request as it came.
#[derive(Debug, Clone)]
pub(super) struct ReceivedRequest {
    pub(super) headers: HashMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl ReceivedRequest {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The channels of its events, in their order.
    pub(super) fn channels(&self) -> Vec<String> {
        let text = |event: &Value| event["channel"].as_str().unwrap_or("-").to_owned();
        self.json()["events"].as_array().unwrap().iter().map(text).collect()
    }
}

/// The answer: status line and headers, such as `503 Busy\r\nRetry-After: 7`, and a body. `None`: nothing, ever.
pub(super) type Answer = Option<(String, String)>;
/// TLS of a receiver, which a test changes.
pub(super) type ChangingTls = Arc<Mutex<Arc<ServerConfig>>>;
type Script = Arc<dyn Fn(usize, &ReceivedRequest) -> Answer + Send + Sync>;

pub(super) struct Receiver {
    pub(super) url: String,
    requests: Arc<Mutex<Vec<ReceivedRequest>>>,
    count: watch::Receiver<usize>,
}

/// An answer with a status alone.
pub(super) fn status(status: &str) -> Answer {
    Some((status.to_owned(), String::new()))
}

impl Receiver {
    /// Receives from now on; the script gets the number of the request, from 0.
    pub(super) async fn start(
        script: impl Fn(usize, &ReceivedRequest) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::start_over(None, script).await
    }

    /// The same over TLS, with the settings that are there when a client connects.
    pub(super) async fn start_over(
        tls: Option<ChangingTls>,
        script: impl Fn(usize, &ReceivedRequest) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = if tls.is_some() { "https://localhost" } else { "http://127.0.0.1" };
        let url = format!("{origin}:{}/hooks", listener.local_addr().unwrap().port());
        let requests = Arc::<Mutex<Vec<ReceivedRequest>>>::default();
        let (counted, count) = watch::channel(0);
        let (counted, script, all): (_, Script, _) = (Arc::new(counted), Arc::new(script), requests.clone());
        actix_rt::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (script, all, counted) = (script.clone(), all.clone(), counted.clone());
                let Some(tls) = &tls else {
                    actix_rt::spawn(serve(stream, script, all, counted));
                    continue;
                };
                let accepted = TlsAcceptor::from(tls.lock().clone()).accept(stream);
                actix_rt::spawn(async move {
                    if let Ok(stream) = accepted.await {
                        serve(stream, script, all, counted).await;
                    }
                });
            }
        });
        Self { url, requests, count }
    }

    /// All requests, once there are so many.
    pub(super) async fn wait(&self, count: usize) -> Vec<ReceivedRequest> {
        self.count.clone().wait_for(|received| *received >= count).await.unwrap();
        self.requests.lock().clone()
    }

    pub(super) fn requests(&self) -> Vec<ReceivedRequest> {
        self.requests.lock().clone()
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    script: Script,
    requests: Arc<Mutex<Vec<ReceivedRequest>>>,
    counted: Arc<watch::Sender<usize>>,
) {
    let mut bytes = Vec::new();
    while let Some(request) = read(&mut stream, &mut bytes).await {
        let number = requests.lock().len();
        let answer = script(number, &request);
        requests.lock().push(request);
        counted.send_replace(number + 1);
        let Some((status, body)) = answer else { return std::future::pending().await };
        let length = body.len();
        let text = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// One request; `bytes` keeps what came of the next one. `None`: the connection is over.
async fn read(stream: &mut (impl AsyncRead + Unpin), bytes: &mut Vec<u8>) -> Option<ReceivedRequest> {
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let headers: HashMap<_, _> = head
                .lines()
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect();
            let length: usize = headers["content-length"].parse().unwrap();
            if bytes.len() >= end + 4 + length {
                let rest = bytes.split_off(end + 4 + length);
                let body = std::mem::replace(bytes, rest).split_off(end + 4);
                return Some(ReceivedRequest { headers, body });
            }
        }
        if stream.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    }
}
