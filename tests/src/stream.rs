//! A reader of HTTP responses that go on: plain requests over TCP, bodies with and without chunks, lines and events.
//! `docs/protocols/http.md` §7 to §13.

use std::{
    io::{self, ErrorKind},
    net::{SocketAddr, TcpStream},
};

use crate::raw::{Head, RawSocket};

/// A server-sent event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// The `id:` line, if it has one.
    pub id: Option<String>,
    /// The `data:` lines.
    pub data: String,
}

/// A response, read as it comes.
#[derive(Debug)]
pub struct Stream {
    socket: RawSocket,
    /// The head.
    pub head: Head,
    body: Vec<u8>,
    chunked: bool,
    left: Option<usize>,
    ended: bool,
}

/// Sends a request on a connection of its own; `extra` are header lines, each ended by CRLF.
///
/// # Panics
/// If the server does not take it.
pub fn send(address: SocketAddr, method: &str, target: &str, extra: &str, body: &str) -> RawSocket {
    let mut socket = RawSocket::connect(address);
    let length = body.len();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\n{extra}\r\n{body}"
    );
    socket.write(request.as_bytes()).expect("the server takes a request");
    socket
}

impl Stream {
    /// Sends a request and reads the head of its response.
    ///
    /// # Panics
    /// If there is none.
    pub fn open(address: SocketAddr, method: &str, target: &str, extra: &str, body: &str) -> Self {
        Self::read(send(address, method, target, extra, body)).expect("a response")
    }

    /// Reads the head of a response that was asked for.
    ///
    /// # Errors
    /// If none comes.
    pub fn read(mut socket: RawSocket) -> io::Result<Self> {
        let head = socket.read_head()?;
        let chunked = head.header("transfer-encoding") == Some("chunked");
        let left = match head.header("content-length") {
            Some(length) => Some(length.parse().map_err(io::Error::other)?),
            None if matches!(head.status, 204 | 304) => Some(0),
            None => None,
        };
        Ok(Self { socket, head, body: Vec::new(), chunked, left, ended: false })
    }

    /// The connection, for socket options.
    pub fn stream(&self) -> &TcpStream {
        self.socket.stream()
    }

    /// The next line, without its end; `None` at the end of the response.
    ///
    /// # Errors
    /// When the connection breaks, or nothing comes for the patience of [`RawSocket`].
    pub fn line(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(at) = self.body.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.body.drain(..=at).collect();
                let line = String::from_utf8(line).map_err(io::Error::other)?;
                return Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()));
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// The next event that has data; `None` at the end of the response.
    ///
    /// # Errors
    /// As [`Stream::line`].
    pub fn event(&mut self) -> io::Result<Option<Event>> {
        let mut event = Event::default();
        let mut has_data = false;
        while let Some(line) = self.line()? {
            if line.is_empty() && has_data {
                return Ok(Some(event));
            } else if let Some(id) = line.strip_prefix("id: ") {
                event.id = Some(id.to_owned());
            } else if let Some(data) = line.strip_prefix("data: ") {
                if has_data {
                    event.data.push('\n');
                }
                event.data.push_str(data);
                has_data = true;
            }
        }
        Ok(None)
    }

    /// The rest of the response.
    ///
    /// # Errors
    /// As [`Stream::line`].
    pub fn rest(&mut self) -> io::Result<String> {
        while self.fill()? {}
        String::from_utf8(std::mem::take(&mut self.body)).map_err(io::Error::other)
    }

    /// Takes in some of the body; false at its end.
    fn fill(&mut self) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        if self.chunked {
            let length = self.socket.read_until(b"\r\n")?;
            let length = std::str::from_utf8(&length).map_err(io::Error::other)?.trim();
            let length = usize::from_str_radix(length, 16).map_err(io::Error::other)?;
            let chunk = self.socket.read_exactly(length)?;
            self.socket.read_until(b"\r\n")?;
            self.ended = length == 0;
            self.body.extend_from_slice(&chunk);
        } else if let Some(left) = self.left.take() {
            let rest = self.socket.read_exactly(left)?;
            self.body.extend_from_slice(&rest);
            self.ended = true;
        } else {
            match self.socket.read_some() {
                Ok(some) => self.body.extend_from_slice(&some),
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => self.ended = true,
                Err(error) => return Err(error),
            }
        }
        Ok(!self.ended || !self.body.is_empty())
    }
}
