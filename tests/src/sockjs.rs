//! A client of SockJS (`docs/protocols/sockjs.md`) that looks at every header and every chunk.
//!
//! Blocking, a connection for each request, with a bound on every wait.

use std::{
    io,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

use crate::raw::{Head, RawSocket};

/// What is asked.
#[derive(Debug, Clone, Default)]
pub struct Request {
    method: &'static str,
    target: String,
    version: &'static str,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Request {
    /// `GET`.
    pub fn get(target: impl Into<String>) -> Self {
        Self { method: "GET", target: target.into(), version: "1.1", ..Self::default() }
    }

    /// `POST`, without a body and without its length.
    pub fn post(target: impl Into<String>) -> Self {
        Self { method: "POST", ..Self::get(target) }
    }

    /// `OPTIONS`.
    pub fn options(target: impl Into<String>) -> Self {
        Self { method: "OPTIONS", ..Self::get(target) }
    }

    /// With a header more.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a body.
    #[must_use]
    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: Some(body.into()), ..self }
    }

    /// As HTTP/1.0.
    #[must_use]
    pub fn http_1_0(self) -> Self {
        Self { version: "1.0", ..self }
    }

    fn bytes(&self, address: SocketAddr) -> Vec<u8> {
        let Self { method, target, version, headers, body } = self;
        let mut text = format!("{method} {target} HTTP/{version}\r\nHost: {address}\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = body {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        bytes.extend(body.iter().flatten());
        bytes
    }

    /// Asks, and reads all of the answer.
    ///
    /// # Panics
    /// Without an answer, or if nothing says where it ends.
    pub fn ask(&self, address: SocketAddr) -> Answer {
        let mut stream = self.stream(address);
        let mut body = Vec::new();
        if let Some(length) = stream.head.header("content-length") {
            body = stream.socket.read_bytes(length.parse().expect("a length")).expect("the whole body");
        } else if stream.is_chunked() {
            while let Some(chunk) = stream.socket.read_chunk().expect("a chunk") {
                body.extend(chunk);
            }
        } else if !matches!(stream.head.status, 204 | 304) {
            let closes = stream.head.header("connection").is_some_and(|value| value == "close");
            assert!(closes || self.version == "1.0", "nothing says where the body ends: {:?}", stream.head);
            body = stream.socket.read_to_end().expect("an end");
        }
        Answer { head: stream.head, body: String::from_utf8(body).expect("text") }
    }

    /// Asks, and reads the head of the answer.
    ///
    /// # Panics
    /// Without an answer.
    pub fn stream(&self, address: SocketAddr) -> Stream {
        let mut socket = RawSocket::connect(address);
        socket.write(&self.bytes(address)).expect("the server takes a request");
        let head = socket.read_head().expect("an answer");
        Stream { head, socket }
    }

    /// Asks, and waits for nothing.
    ///
    /// # Panics
    /// If the server takes no request.
    pub fn begin(&self, address: SocketAddr) -> RawSocket {
        let mut socket = RawSocket::connect(address);
        socket.write(&self.bytes(address)).expect("the server takes a request");
        socket
    }
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its head.
    pub head: Head,
    /// Its body.
    pub body: String,
}

impl Answer {
    /// Its status.
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }
}

/// An answer that goes on.
#[derive(Debug)]
pub struct Stream {
    /// Its head.
    pub head: Head,
    socket: RawSocket,
}

impl Stream {
    /// Whether it comes in chunks.
    pub fn is_chunked(&self) -> bool {
        self.head.header("transfer-encoding") == Some("chunked")
    }

    /// The next chunk; `None` at the end of the answer.
    ///
    /// # Panics
    /// If the connection ends before, or nothing comes in time.
    pub fn chunk(&mut self) -> Option<String> {
        let chunk = self.socket.read_chunk().expect("a chunk")?;
        Some(String::from_utf8(chunk).expect("text"))
    }

    /// What comes until the connection ends.
    ///
    /// # Errors
    /// When it stays open without a byte.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        self.socket.read_to_end()
    }
}

/// A session that no other test has: `/<endpoint>/<server>/<session>`.
pub fn session(endpoint: &str) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("/{endpoint}/000/s{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
