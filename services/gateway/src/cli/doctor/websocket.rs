//! A WebSocket as a client has it, for the look through a balancer: the opening handshake, text frames, pings answered.

use std::{
    io::{self, Read as _, Write as _},
    time::Duration,
};

use actix_codec::{Decoder as _, Encoder as _};
use actix_http::ws::{Codec, Frame, Message};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::BytesMut;
use tokio::time::Instant;
use url::Url;

use crate::cli::http_client::{WebStream, host, parse};

/// Bytes of an answer's head at most.
const HEAD_MAX_BYTES: usize = 16 * 1024;
/// Bytes of a message at most.
const MESSAGE_MAX_BYTES: usize = 1024 * 1024;
/// Bytes that are read at a time.
const READ_BYTES: usize = 4096;

/// Why there is no WebSocket.
#[derive(Debug, thiserror::Error)]
pub(super) enum WebSocketFailed {
    /// The server answers something else.
    #[error("the answer is {0}, not 101 Switching Protocols")]
    Status(u16),
    /// The connection does not stand.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It was closed.
    #[error("closed")]
    Closed,
}

/// An open one.
pub(super) struct WebSocketLink {
    stream: WebStream,
    codec: Codec,
    buffer: BytesMut,
}

impl WebSocketLink {
    /// Opens one at this path.
    pub(super) fn open(url: &Url, path: &str, timeout: Duration) -> Result<Self, WebSocketFailed> {
        let mut stream = WebStream::open(url, timeout)?;
        let key = BASE64_STANDARD.encode(rand::random::<[u8; 16]>());
        let host = host(url);
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        stream.write_all(request.as_bytes())?;
        stream.flush()?;
        let mut buffer = BytesMut::new();
        let end = loop {
            if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if buffer.len() > HEAD_MAX_BYTES {
                return Err(io::Error::from(io::ErrorKind::InvalidData).into());
            }
            read(&mut stream, &mut buffer)?;
        };
        let head = buffer.split_to(end);
        match parse(&head)?.status {
            101 => {
                let codec = Codec::new().client_mode().max_size(MESSAGE_MAX_BYTES);
                Ok(Self { stream, codec, buffer })
            }
            status => Err(WebSocketFailed::Status(status)),
        }
    }

    /// The own address.
    pub(super) fn stream(&mut self) -> &mut WebStream {
        &mut self.stream
    }

    /// Sends a text.
    pub(super) fn send(&mut self, text: &str) -> Result<(), WebSocketFailed> {
        self.write(Message::Text(text.into()))
    }

    fn write(&mut self, message: Message) -> Result<(), WebSocketFailed> {
        let mut bytes = BytesMut::new();
        self.codec.encode(message, &mut bytes).map_err(io::Error::other)?;
        self.stream.write_all(&bytes)?;
        Ok(self.stream.flush()?)
    }

    /// The next text; `None` once `give_up` has come.
    pub(super) fn receive(&mut self, give_up: Instant) -> Result<Option<String>, WebSocketFailed> {
        loop {
            match self.codec.decode(&mut self.buffer).map_err(io::Error::other)? {
                Some(Frame::Text(bytes)) => return Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
                Some(Frame::Ping(bytes)) => self.write(Message::Pong(bytes))?,
                Some(Frame::Close(_)) => return Err(WebSocketFailed::Closed),
                Some(_) => {}
                None => {
                    let left = give_up.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Ok(None);
                    }
                    self.stream.extend(left);
                    match read(&mut self.stream, &mut self.buffer) {
                        Err(error)
                            if matches!(
                                error.kind(),
                                io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
                            ) =>
                        {
                            return Ok(None);
                        }
                        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                            return Err(WebSocketFailed::Closed);
                        }
                        result => result?,
                    }
                }
            }
        }
    }
}

fn read(stream: &mut WebStream, buffer: &mut BytesMut) -> io::Result<()> {
    let mut chunk = [0; READ_BYTES];
    match stream.read(&mut chunk)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        read => {
            buffer.extend_from_slice(chunk.get(..read).unwrap_or_default());
            Ok(())
        }
    }
}
