//! A client of STOMP (`docs/protocols/stomp.md`) over TCP, with or without TLS, for tests: it says what it is told to, and takes frames apart by itself.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// How long an answer may take before a test gives up.
pub const TIME_LIMIT: Duration = Duration::from_secs(20);

/// A frame of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// CONNECTED, MESSAGE, RECEIPT or ERROR.
    pub command: String,
    /// As they stand there, unescaped as 1.2 has it.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Frame {
    /// The first header of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    ///
    /// # Panics
    /// If it is none.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body of text")
    }
}

/// One connection.
#[derive(Debug)]
pub struct Stomp<S = TcpStream> {
    stream: S,
    read: Vec<u8>,
}

impl Stomp {
    /// Opens the socket; nothing is sent yet.
    ///
    /// # Panics
    /// If nobody listens.
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the node accepts");
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(TIME_LIMIT)).expect("a socket option");
        Self::over(stream)
    }

    /// Connects with these header lines beside `accept-version:1.2`.
    ///
    /// # Panics
    /// If it is refused.
    pub fn connect(address: SocketAddr, headers: &str) -> Self {
        let mut client = Self::open(address);
        client.begin(headers);
        client
    }

    /// Sets how long [`Stomp::frame_or_end`] waits.
    ///
    /// # Panics
    /// If the socket does not take it.
    pub fn wait_at_most(&self, time_limit: Duration) {
        self.stream.set_read_timeout(Some(time_limit)).expect("a socket option");
    }
}

impl<S: Read + Write> Stomp<S> {
    /// A client on an open stream, whose reads have a timeout; nothing is sent yet.
    pub fn over(stream: S) -> Self {
        Self { stream, read: Vec::new() }
    }

    /// Sends a CONNECT with these header lines beside `accept-version:1.2`, and waits for its answer.
    ///
    /// # Panics
    /// If it is refused.
    pub fn begin(&mut self, headers: &str) {
        self.say(&format!("CONNECT\naccept-version:1.2\n{headers}\n\0"));
        let frame = self.frame();
        assert_eq!(frame.command, "CONNECTED", "{frame:?}");
    }

    /// Subscribes, and waits until it is live.
    ///
    /// # Panics
    /// If it is refused.
    pub fn subscribe(&mut self, id: &str, destination: &str, headers: &str) -> Frame {
        self.say(&format!("SUBSCRIBE\nid:{id}\ndestination:{destination}\nreceipt:sub-{id}\n{headers}\n\0"));
        self.receipt(&format!("sub-{id}"))
    }

    /// Sends text as it is.
    ///
    /// # Panics
    /// If the connection is gone.
    pub fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).expect("the connection takes bytes");
    }

    /// Sends text as it is, to a node that may be gone.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn try_say(&mut self, text: &str) -> io::Result<()> {
        self.stream.write_all(text.as_bytes())
    }

    /// Sends a body with its length.
    ///
    /// # Panics
    /// If the connection is gone.
    pub fn send(&mut self, destination: &str, headers: &str, body: &[u8]) {
        let head = format!("SEND\ndestination:{destination}\ncontent-length:{}\n{headers}\n", body.len());
        let frame = [head.as_bytes(), body, b"\0"].concat();
        self.stream.write_all(&frame).expect("the connection takes bytes");
    }

    /// The next frame.
    ///
    /// # Panics
    /// If the connection ends first, or nothing comes in time.
    pub fn frame(&mut self) -> Frame {
        self.frame_or_end().expect("something comes in time").expect("a frame before the end")
    }

    /// The receipt of this id, which must be the next frame.
    ///
    /// # Panics
    /// If another frame comes.
    pub fn receipt(&mut self, id: &str) -> Frame {
        let frame = self.frame();
        assert_eq!((frame.command.as_str(), frame.get("receipt-id")), ("RECEIPT", Some(id)), "{frame:?}");
        frame
    }

    /// The next message.
    ///
    /// # Panics
    /// If another frame comes.
    pub fn message(&mut self) -> Frame {
        let frame = self.frame();
        assert_eq!(frame.command, "MESSAGE", "{frame:?}");
        frame
    }

    /// The next frame; `None` when the server has closed.
    ///
    /// # Errors
    /// When nothing comes in time, or the connection breaks.
    pub fn frame_or_end(&mut self) -> io::Result<Option<Frame>> {
        loop {
            let beats = self.read.iter().take_while(|byte| **byte == b'\n').count();
            self.read.drain(..beats);
            if let Some((frame, bytes)) = take_apart(&self.read) {
                self.read.drain(..bytes);
                return Ok(Some(frame));
            }
            let mut buffer = [0; 16 * 1024];
            match self.stream.read(&mut buffer)? {
                0 => return Ok(None),
                count => self.read.extend_from_slice(&buffer[..count]),
            }
        }
    }
}

/// The frame at the front, and how many bytes it takes.
fn take_apart(bytes: &[u8]) -> Option<(Frame, usize)> {
    let head = bytes.windows(2).position(|pair| pair == b"\n\n")?;
    let text = std::str::from_utf8(&bytes[..head]).expect("headers of text");
    let mut lines = text.split('\n');
    let command = lines.next().unwrap_or_default().to_owned();
    let headers: Vec<(String, String)> = lines
        .map(|line| line.split_once(':').expect("a colon"))
        .map(|(name, value)| (unescaped(name), unescaped(value)))
        .collect();
    let start = head + 2;
    let told =
        headers.iter().find(|(name, _)| name == "content-length").map(|(_, value)| value.parse::<usize>());
    let length = match told {
        Some(length) => length.expect("a number"),
        None => bytes[start..].iter().position(|byte| *byte == 0)?,
    };
    let end = start + length;
    (bytes.len() > end).then(|| {
        assert_eq!(bytes[end], 0, "a frame ends with NUL");
        (Frame { command, headers, body: bytes[start..end].to_vec() }, end + 1)
    })
}

fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut signs = text.chars();
    while let Some(sign) = signs.next() {
        match (sign, sign == '\\') {
            (_, true) => out.push(match signs.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some('c') => ':',
                Some('\\') => '\\',
                other => panic!("an unknown escape: {other:?}"),
            }),
            (sign, false) => out.push(sign),
        }
    }
    out
}
