//! One client of the storm: its connection, its position in its channel, and what was wrong with what it received.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use gorani_tests::raw;
use mio::net::TcpStream;
use serde::Deserialize;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::outcome::Counts;

/// Addresses of the loopback that clients come from: each has one of its own, as clients of the internet do, since nodes limit
/// by address. 127.1.0.0 and what follows.
const FIRST_ADDRESS: u32 = 0x7F01_0000;
/// A message of a node is at most so large.
const MESSAGE_MAX_BYTES: u64 = 4 << 20;

/// The state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// There is none.
    Closed,
    /// The handshake is not sent yet.
    Connecting,
    /// Waiting for 101.
    Upgrading,
    /// Waiting for the answer to the subscription.
    Subscribing,
    /// Subscribed.
    Live,
}

/// The result of a look at the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing that the caller must know.
    Nothing,
    /// It has become live.
    Subscribed,
    /// The connection is over.
    Ended,
    /// The subscription was refused for now.
    Refused,
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct Subscriber {
    pub(super) stream: Option<TcpStream>,
    pub(super) phase: Phase,
    /// Index of its channel.
    pub(super) channel: usize,
    epoch: String,
    pub(super) offset: u64,
    unread: Vec<u8>,
    /// Index of this client in the storm.
    index: u32,
    /// It is still, or was until its node was killed, where it began.
    pub(super) is_at_home: bool,
    /// It was recovered after its node was killed.
    pub(super) is_recovered: bool,
}

/// A message of the server, as far as it matters here.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    subscribe: Option<Subscribed<'a>>,
    push: Option<Push>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Subscribed<'a> {
    #[serde(default)]
    recovered: bool,
    #[serde(default)]
    recoverable: bool,
    #[serde(default)]
    offset: u64,
    #[serde(default, borrow)]
    epoch: &'a str,
    #[serde(default)]
    publications: Vec<Publication>,
}

#[derive(Deserialize)]
struct Push {
    #[serde(rename = "pub")]
    publication: Option<Publication>,
    unsubscribe: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
pub(super) struct Publication {
    pub(super) data: u32,
    pub(super) offset: u64,
}

#[derive(Deserialize)]
struct Refusal {
    code: u32,
    #[serde(default)]
    temporary: bool,
}

impl Subscriber {
    pub(super) fn new(index: u32, channel: usize) -> Self {
        Self {
            stream: None,
            phase: Phase::Closed,
            channel,
            epoch: String::new(),
            offset: 0,
            unread: Vec::new(),
            index,
            is_at_home: true,
            is_recovered: false,
        }
    }

    /// Begins to connect, from an address of its own.
    pub(super) fn connect(&mut self, node: SocketAddr) -> io::Result<()> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        // Reset instead of TIME_WAIT on close: tens of thousands of ports would run out.
        socket.set_linger(Some(Duration::ZERO))?;
        // 254 addresses of each /24: neither .0 nor .255.
        let address = FIRST_ADDRESS + self.index / 254 * 256 + self.index % 254 + 1;
        socket.bind(&SocketAddr::from((Ipv4Addr::from(address), 0)).into())?;
        match socket.connect(&node.into()) {
            Err(error) if error.raw_os_error() != Some(nix::libc::EINPROGRESS) => return Err(error),
            _ => {}
        }
        self.stream = Some(TcpStream::from_std(socket.into()));
        self.phase = Phase::Connecting;
        self.unread = Vec::new();
        Ok(())
    }

    /// Takes in what the socket has.
    pub(super) fn look(
        &mut self,
        handshake: &[u8],
        channel: &str,
        buffer: &mut [u8],
        counts: &mut Counts,
    ) -> Change {
        let was_live = self.phase == Phase::Live;
        match self.exchange(handshake, channel, buffer, counts) {
            Ok(Change::Nothing) if !was_live && self.phase == Phase::Live => Change::Subscribed,
            Ok(change) => change,
            Err(_) => Change::Ended,
        }
    }

    /// Asks for the subscription, at its position if it has one.
    pub(super) fn subscribe(&mut self, channel: &str) -> io::Result<()> {
        let mut subscribe = serde_json::json!({"channel": channel});
        if !self.epoch.is_empty() {
            subscribe["recover"] = true.into();
            subscribe["offset"] = self.offset.into();
            subscribe["epoch"] = self.epoch.as_str().into();
        }
        let command = serde_json::json!({"id": 2, "subscribe": subscribe}).to_string();
        self.phase = Phase::Subscribing;
        self.send(command.as_bytes())
    }

    fn send(&mut self, text: &[u8]) -> io::Result<()> {
        let frame = raw::frame(true, 0, raw::opcode::TEXT, text);
        let Some(stream) = &mut self.stream else { return Err(ErrorKind::NotConnected.into()) };
        // A socket that was read from takes a few hundred bytes whole.
        stream.write_all(&frame)
    }

    fn exchange(
        &mut self,
        handshake: &[u8],
        channel: &str,
        buffer: &mut [u8],
        counts: &mut Counts,
    ) -> io::Result<Change> {
        if self.phase == Phase::Connecting {
            let Some(stream) = &mut self.stream else { return Ok(Change::Nothing) };
            if let Some(error) = stream.take_error()? {
                return Err(error);
            }
            if SockRef::from(&*stream).peer_addr().is_err() {
                return Ok(Change::Nothing);
            }
            stream.write_all(handshake)?;
            self.phase = Phase::Upgrading;
        }
        loop {
            let Some(stream) = &mut self.stream else { return Ok(Change::Nothing) };
            let read = match stream.read(buffer) {
                Ok(0) => return Ok(Change::Ended),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Change::Nothing),
                Err(error) => return Err(error),
            };
            self.unread.extend_from_slice(&buffer[..read]);
            if self.phase == Phase::Upgrading {
                let Some(end) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") else {
                    continue;
                };
                if !self.unread.starts_with(b"HTTP/1.1 101") {
                    counts.complain(|| String::from_utf8_lossy(&self.unread).into_owned());
                    return Ok(Change::Ended);
                }
                self.unread.drain(..end + 4);
                self.send(br#"{"id":1,"connect":{}}"#)?;
                self.subscribe(channel)?;
            }
            let mut unread = std::mem::take(&mut self.unread);
            let mut taken = 0;
            let mut change = Change::Nothing;
            while let Some((opcode, payload, rest)) = frame(&unread[taken..])? {
                taken = unread.len() - rest;
                if opcode != raw::opcode::TEXT {
                    counts.complain(|| format!("a frame of opcode {opcode}: {payload:?}"));
                    return Ok(Change::Ended);
                }
                for message in payload.split(|byte| *byte == b'\n') {
                    match self.message(message, counts)? {
                        Change::Nothing => {}
                        other => change = other,
                    }
                }
            }
            unread.drain(..taken);
            // An idle client keeps no buffer.
            self.unread = if unread.is_empty() { Vec::new() } else { unread };
            if change != Change::Nothing {
                return Ok(change);
            }
        }
    }

    fn message(&mut self, bytes: &[u8], counts: &mut Counts) -> io::Result<Change> {
        if bytes == b"{}" {
            return self.send(b"{}").map(|()| Change::Nothing);
        }
        let message: Message<'_> = match serde_json::from_slice(bytes) {
            Ok(message) => message,
            Err(error) => {
                counts.complain(|| format!("{error}: {}", String::from_utf8_lossy(bytes)));
                return Ok(Change::Ended);
            }
        };
        if let Some(refusal) = message.error {
            if !refusal.temporary {
                counts.complain(|| String::from_utf8_lossy(bytes).into_owned());
            }
            counts.refuse(refusal.code);
            return Ok(Change::Refused);
        }
        if let Some(subscribed) = message.subscribe {
            self.subscribed(&subscribed, counts);
        }
        if let Some(push) = message.push {
            if let Some(publication) = push.publication {
                self.publication(&publication, counts);
            } else if push.unsubscribe.is_some() {
                // It has lost its place: it may come back at its position, and what it cannot have back is told.
                counts.unsubscribed += 1;
                return Ok(Change::Refused);
            }
        }
        Ok(Change::Nothing)
    }

    fn subscribed(&mut self, subscribed: &Subscribed<'_>, counts: &mut Counts) {
        self.phase = Phase::Live;
        if !subscribed.recoverable {
            counts.complain(|| "a subscription without recovery".to_owned());
        }
        let is_first = self.epoch.is_empty();
        if !is_first && subscribed.recovered && subscribed.epoch == self.epoch {
            counts.recovered += subscribed.publications.len() as u64;
            for publication in &subscribed.publications {
                self.publication(publication, counts);
            }
            return;
        }
        counts.told += u64::from(!is_first);
        (self.epoch, self.offset) = (subscribed.epoch.to_owned(), subscribed.offset);
    }

    /// The next of the sequence, or something is wrong.
    pub(super) fn publication(&mut self, publication: &Publication, counts: &mut Counts) {
        counts.received += 1;
        let expected = self.offset + 1;
        if publication.offset == self.offset {
            counts.doubled += 1;
            return;
        }
        if publication.offset < expected {
            counts.reordered += 1;
            return;
        }
        counts.lost += publication.offset - expected;
        self.offset = publication.offset;
        counts.content(self.channel, publication);
    }
}

/// The first frame of a server: opcode, payload, and how many bytes follow it. None if it is not whole.
fn frame(bytes: &[u8]) -> io::Result<Option<(u8, &[u8], usize)>> {
    let [first, second, ..] = bytes else { return Ok(None) };
    let (head, length) = match second {
        126 if bytes.len() < 4 => return Ok(None),
        127 if bytes.len() < 10 => return Ok(None),
        126 => (4, u64::from(u16::from_be_bytes([bytes[2], bytes[3]]))),
        127 => (10, bytes[2..10].iter().fold(0, |length, byte| length << 8 | u64::from(*byte))),
        short => (2, u64::from(*short)),
    };
    if length > MESSAGE_MAX_BYTES || first & 0xF0 != 0x80 {
        return Err(io::Error::other("no frame of a node"));
    }
    let end = head + length as usize;
    Ok(bytes.get(head..end).map(|payload| (first & 0x0F, payload, bytes.len() - end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_comes_again_or_late_is_counted() {
        let (mut subscriber, mut counts) = (Subscriber::new(0, 0), Counts::default());
        for offset in [1, 2, 5, 5, 4, 6] {
            subscriber.publication(&Publication { data: 0, offset }, &mut counts);
        }
        assert_eq!((counts.received, counts.lost, counts.doubled, counts.reordered), (6, 2, 1, 1));
        assert_eq!(subscriber.offset, 6);
    }

    #[test]
    fn a_recovery_continues_where_the_client_was_and_anything_else_is_told() {
        let (mut subscriber, mut counts) = (Subscriber::new(0, 0), Counts::default());
        let reply = |text: &str, subscriber: &mut Subscriber, counts: &mut Counts| {
            subscriber.message(text.as_bytes(), counts).unwrap();
        };
        reply(
            r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"a","offset":7}}"#,
            &mut subscriber,
            &mut counts,
        );
        let recovered = r#"{"id":2,"subscribe":{"recoverable":true,"recovered":true,"epoch":"a","offset":9,
            "publications":[{"data":8,"offset":8},{"data":9,"offset":9}]}}"#;
        reply(recovered, &mut subscriber, &mut counts);
        assert_eq!((counts.recovered, counts.told, counts.lost, subscriber.offset), (2, 0, 0, 9));
        reply(
            r#"{"id":2,"subscribe":{"recoverable":true,"epoch":"b","offset":1}}"#,
            &mut subscriber,
            &mut counts,
        );
        assert_eq!((counts.told, subscriber.offset), (1, 1));
    }

    #[test]
    fn frames_are_cut_from_what_was_read() {
        let stream = [b"\x81\x02{}".as_slice(), b"\x81\x7e\x00\x80", &[b'x'; 128], b"\x81"].concat();
        let (opcode, payload, rest) = frame(&stream).unwrap().unwrap();
        assert_eq!((opcode, payload), (1, b"{}".as_slice()));
        let (_, payload, rest) = frame(&stream[stream.len() - rest..]).unwrap().unwrap();
        assert_eq!((payload.len(), rest), (128, 1));
        assert!(frame(&stream[stream.len() - rest..]).unwrap().is_none());
    }
}
