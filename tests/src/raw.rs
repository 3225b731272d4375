//! A peer that does as it likes: bytes over TCP, and WebSocket frames that no library would send.
//!
//! Blocking, with a bound on every wait, so that a test reads like the conversation that it is about.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};

/// How long one read may wait for bytes.
pub const TIME_LIMIT: Duration = Duration::from_secs(15);

/// Opcodes of RFC 6455, section 5.2.
pub mod opcode {
    #![allow(missing_docs, reason = "the names are the RFC's")]
    pub const CONTINUATION: u8 = 0x0;
    pub const TEXT: u8 = 0x1;
    pub const BINARY: u8 = 0x2;
    pub const CLOSE: u8 = 0x8;
    pub const PING: u8 = 0x9;
    pub const PONG: u8 = 0xA;
}

/// The handshake of the example of RFC 6455 §1.3: its key and its accept.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// What a server answers to [`KEY`].
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A frame as it came over the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The last frame of its message.
    pub fin: bool,
    /// The three reserved bits, RSV1 the highest.
    pub reserved: u8,
    /// See [`opcode`].
    pub opcode: u8,
    /// Whether a mask came with it (a server must send none).
    pub masked: bool,
    /// The payload, as it is on the wire.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The code and reason of a close frame; 1005 when it has none.
    ///
    /// # Panics
    /// If it is no close frame, or its payload is malformed.
    pub fn close(&self) -> (u16, String) {
        assert_eq!(self.opcode, opcode::CLOSE, "not a close frame: {self:?}");
        match self.payload.split_first_chunk() {
            Some((code, reason)) => {
                (u16::from_be_bytes(*code), String::from_utf8(reason.to_vec()).expect("a reason is UTF-8"))
            }
            None => (1005, String::new()),
        }
    }
}

/// An HTTP answer's head, and what followed it in the same bytes.
#[derive(Debug, Clone)]
pub struct Head {
    /// For example 101.
    pub status: u16,
    /// Names in lower case, in order.
    pub headers: Vec<(String, String)>,
}

impl Head {
    /// The value of the first header with this (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// One TCP connection, and what was read from it beyond what was asked for.
#[derive(Debug)]
pub struct RawSocket {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl RawSocket {
    /// Connects.
    ///
    /// # Panics
    /// If the server does not accept.
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).expect("the server accepts")
    }

    /// As [`RawSocket::connect`], to a server that may refuse.
    ///
    /// # Errors
    /// If the server does not accept within [`TIME_LIMIT`].
    pub fn try_connect(address: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect_timeout(&address, TIME_LIMIT)?)
    }

    /// Connects from an address of the loopback of its own: 127.0.0.2 is another client than 127.0.0.1.
    ///
    /// # Panics
    /// If the server does not accept.
    pub fn connect_from(source: Ipv4Addr, address: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).expect("a socket");
        socket.bind(&SocketAddr::from((source, 0)).into()).expect("an address of the loopback");
        socket.connect(&address.into()).expect("the server accepts");
        Self::over(socket.into()).expect("socket options")
    }

    fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIME_LIMIT))?;
        stream.set_write_timeout(Some(TIME_LIMIT))?;
        Ok(Self { stream, unread: Vec::new() })
    }

    /// Connects and shakes hands on `path`, with `extra` header lines (each ended by CRLF).
    ///
    /// # Panics
    /// If the answer is not 101.
    pub fn websocket(address: SocketAddr, path: &str, extra: &str) -> Self {
        let mut socket = Self::connect(address);
        socket.write(handshake(address, path, extra).as_bytes()).expect("the server takes a handshake");
        let head = socket.read_head().expect("an answer to the handshake");
        assert_eq!(head.status, 101, "{head:?}");
        socket
    }

    /// The stream itself, for socket options.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Writes bytes.
    ///
    /// # Errors
    /// If the server has closed, or takes nothing for [`TIME_LIMIT`].
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Writes one masked text message.
    ///
    /// # Errors
    /// As [`RawSocket::write`].
    pub fn text(&mut self, text: &str) -> io::Result<()> {
        self.write(&frame(true, 0, opcode::TEXT, text.as_bytes()))
    }

    /// Reads an HTTP answer's head.
    ///
    /// # Errors
    /// When the server closes or is silent before its end, or sends something else.
    pub fn read_head(&mut self) -> io::Result<Head> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut response = httparse::Response::new(&mut headers);
            let parsed = response.parse(&self.unread).map_err(io::Error::other)?;
            if let httparse::Status::Complete(length) = parsed {
                let headers = response.headers.iter().map(|header| {
                    (header.name.to_ascii_lowercase(), String::from_utf8_lossy(header.value).into_owned())
                });
                let head = Head { status: response.code.unwrap_or_default(), headers: headers.collect() };
                self.unread.drain(..length);
                return Ok(head);
            }
            self.fill()?;
        }
    }

    /// Reads so many bytes.
    ///
    /// # Errors
    /// When the server closes or is silent before their end.
    pub fn read_bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.unread.len() < count {
            self.fill()?;
        }
        Ok(self.unread.drain(..count).collect())
    }

    /// Reads one chunk of an answer that comes in chunks; `None` for the last, empty one.
    ///
    /// # Errors
    /// When the server closes or is silent before its end, or sends something else.
    pub fn read_chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let httparse::Status::Complete((head, length)) = httparse::parse_chunk_size(&self.unread)
                .map_err(|error| io::Error::other(error.to_string()))?
            {
                let length = usize::try_from(length).map_err(io::Error::other)?;
                while self.unread.len() < head + length + 2 {
                    self.fill()?;
                }
                let chunk = self.unread.drain(..head + length + 2).skip(head).take(length).collect();
                return Ok((length > 0).then_some(chunk));
            }
            self.fill()?;
        }
    }

    /// Reads the body of an answer whose head was read.
    ///
    /// # Errors
    /// As [`RawSocket::read_chunk`].
    pub fn read_body(&mut self, head: &Head) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        if head.header("transfer-encoding").is_some() {
            while let Some(chunk) = self.read_chunk()? {
                body.extend(chunk);
            }
        } else if let Some(length) = head.header("content-length") {
            let length = length.parse().map_err(io::Error::other)?;
            body = self.read_bytes(length)?;
        }
        Ok(body)
    }

    /// Reads one frame.
    ///
    /// # Errors
    /// When the server closes or is silent before its end.
    pub fn read_frame(&mut self) -> io::Result<Frame> {
        let [first, second] = self.take::<2>()?;
        let length = match second & 0x7F {
            126 => u64::from(u16::from_be_bytes(self.take()?)),
            127 => u64::from_be_bytes(self.take()?),
            short => u64::from(short),
        };
        let masked = second & 0x80 != 0;
        if masked {
            self.take::<4>()?;
        }
        let length = usize::try_from(length).map_err(io::Error::other)?;
        while self.unread.len() < length {
            self.fill()?;
        }
        let payload = self.unread.drain(..length).collect();
        Ok(Frame { fin: first & 0x80 != 0, reserved: first >> 4 & 7, opcode: first & 0xF, masked, payload })
    }

    /// Reads frames until a close frame, and gives its code and reason.
    ///
    /// # Errors
    /// As [`RawSocket::read_frame`].
    pub fn read_close(&mut self) -> io::Result<(u16, String)> {
        loop {
            let frame = self.read_frame()?;
            if frame.opcode == opcode::CLOSE {
                return Ok(frame.close());
            }
        }
    }

    /// Reads until the server closes the connection; what it still sent. A reset counts as a close.
    ///
    /// # Errors
    /// If it stays open for [`TIME_LIMIT`] without a byte.
    pub fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match self.fill() {
                Ok(()) => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) =>
                {
                    return Ok(std::mem::take(&mut self.unread));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads up to `end`, and gives what came before it.
    ///
    /// # Errors
    /// When the server closes or is silent before it.
    pub fn read_until(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = self.unread.windows(end.len()).position(|window| window == end) {
                let before = self.unread.drain(..at).collect();
                self.unread.drain(..end.len());
                return Ok(before);
            }
            self.fill()?;
        }
    }

    /// Reads so many bytes.
    ///
    /// # Errors
    /// When the server closes or is silent before they are here.
    pub fn read_exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.unread.len() < count {
            self.fill()?;
        }
        Ok(self.unread.drain(..count).collect())
    }

    /// Reads what there is, at least one byte.
    ///
    /// # Errors
    /// When the server closes or is silent.
    pub fn read_some(&mut self) -> io::Result<Vec<u8>> {
        if self.unread.is_empty() {
            self.fill()?;
        }
        Ok(std::mem::take(&mut self.unread))
    }

    /// Ends the writing half: the server sees the end of the stream.
    pub fn finish(&self) {
        self.stream.shutdown(Shutdown::Write).expect("an open connection can be half-closed");
    }

    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        loop {
            if let Some((taken, _)) = self.unread.split_first_chunk() {
                let taken = *taken;
                self.unread.drain(..N);
                return Ok(taken);
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            read => {
                self.unread.extend_from_slice(&buffer[..read]);
                Ok(())
            }
        }
    }
}

/// A correct handshake request for `path`, with `extra` header lines (each ended by CRLF).
pub fn handshake(address: SocketAddr, path: &str, extra: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{extra}\r\n"
    )
}

/// A client's frame: masked, its length in the minimal form. `reserved` are the three bits, RSV1 the highest.
pub fn frame(fin: bool, reserved: u8, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(fin, reserved, opcode, payload.len() as u64);
    let mask = [0x37, 0xFA, 0x21, 0x3D];
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// The start of a client's frame, up to the mask, announcing `length` whatever follows.
pub fn header(fin: bool, reserved: u8, opcode: u8, length: u64) -> Vec<u8> {
    let mut header = vec![u8::from(fin) << 7 | reserved << 4 | opcode];
    match length {
        0..126 => header.push(0x80 | length as u8),
        126..0x1_0000 => {
            header.push(0x80 | 126);
            header.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            header.push(0x80 | 127);
            header.extend_from_slice(&length.to_be_bytes());
        }
    }
    header
}
