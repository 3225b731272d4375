//! Thousands of subscribers by any [`Way`], on one thread: non-blocking sockets and a count of marks. What
//! [`crate::swarm`] is for WebSocket alone.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::SocketAddr,
    time::{Duration, Instant},
};

use gorani_tests::raw::{self, RawSocket};
use mio::{Events, Interest, Poll, Token, net::TcpStream};
use socket2::SockRef;

use super::{
    marks::Marks,
    way::{Way, poll_on},
};
use crate::publisher::answer_length;

/// Connections that are being set up at the same time.
const SETTING_UP_AT_ONCE: usize = 64;
/// One read takes at most this; the buffer is shared by all connections.
const READ_BYTES: usize = 64 * 1024;
/// How many sockets one look at the kernel may bring.
const EVENTS: usize = 1024;
/// How long one look waits.
const LOOK: Duration = Duration::from_millis(100);
/// Without any progress for this long the run is broken.
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// The end of a body in chunks. No text that is sent has a carriage return of its own.
const LAST_CHUNK: &[u8; 7] = b"\r\n0\r\n\r\n";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The opening request is not written yet.
    Connecting,
    /// It is; the commands are not, where they are separate.
    Opening,
    /// The replies are missing.
    Joining,
    /// Publications are counted.
    Live,
}

#[derive(Debug)]
struct Subscriber {
    number: usize,
    stream: TcpStream,
    phase: Phase,
    /// What came while setting up; of a poll always what is not complete.
    received: Vec<u8>,
    marks: Marks,
    /// The last bytes that came.
    tail: [u8; LAST_CHUNK.len()],
    publications: u64,
}

/// All subscribers of one node.
pub(crate) struct Subscribers {
    address: SocketAddr,
    way: Way,
    poll: Poll,
    events: Events,
    all: Vec<Subscriber>,
    buffer: Vec<u8>,
    /// For what a session of SockJS sends.
    sending: RawSocket,
    live: usize,
    /// What every subscriber shall have received, and how many have.
    goal: u64,
    at_goal: usize,
}

impl Subscribers {
    /// Subscribes `count` times.
    pub(crate) fn subscribe(address: SocketAddr, way: Way, count: usize) -> io::Result<Self> {
        let mut subscribers = Self {
            address,
            way,
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS),
            all: Vec::with_capacity(count),
            buffer: vec![0; READ_BYTES],
            sending: RawSocket::connect(address),
            live: 0,
            goal: 0,
            at_goal: 0,
        };
        let mut last_progress = Instant::now();
        while subscribers.live < count {
            while subscribers.all.len() < count
                && subscribers.all.len() - subscribers.live < SETTING_UP_AT_ONCE
            {
                subscribers.open()?;
            }
            let before = subscribers.live;
            subscribers.look()?;
            if subscribers.live > before {
                last_progress = Instant::now();
            } else if last_progress.elapsed() > TIME_LIMIT {
                return Err(stalled(&format!("{} of {count} subscribed", subscribers.live)));
            }
        }
        Ok(subscribers)
    }

    /// From now on every subscriber shall receive `more` publications.
    pub(crate) fn expect(&mut self, more: u64) {
        self.goal += more;
        self.at_goal = 0;
    }

    /// Takes in what comes until every subscriber has what [`Subscribers::expect`] announced.
    pub(crate) fn wait_for_all(&mut self) -> io::Result<()> {
        let mut last_progress = Instant::now();
        while self.at_goal < self.all.len() {
            if self.look()? {
                last_progress = Instant::now();
            } else if last_progress.elapsed() > TIME_LIMIT {
                return Err(stalled(&format!("{} of {} have it all", self.at_goal, self.all.len())));
            }
        }
        Ok(())
    }

    /// Takes in what comes for so long.
    pub(crate) fn rest(&mut self, lasting: Duration) -> io::Result<()> {
        let until = Instant::now() + lasting;
        while Instant::now() < until {
            self.look()?;
        }
        Ok(())
    }

    fn open(&mut self) -> io::Result<()> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        // Reset instead of TIME_WAIT on close: tens of thousands of ports would run out.
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        let number = self.all.len();
        self.poll.registry().register(&mut stream, Token(number), Interest::READABLE | Interest::WRITABLE)?;
        self.all.push(Subscriber {
            number,
            stream,
            phase: Phase::Connecting,
            received: Vec::new(),
            marks: Marks::default(),
            tail: [0; LAST_CHUNK.len()],
            publications: 0,
        });
        Ok(())
    }

    /// One look at the kernel; true when anything came.
    fn look(&mut self) -> io::Result<bool> {
        if let Err(error) = self.poll.poll(&mut self.events, Some(LOOK)) {
            return if error.kind() == ErrorKind::Interrupted { Ok(false) } else { Err(error) };
        }
        let any = !self.events.is_empty();
        for event in self.events.iter() {
            let subscriber = &mut self.all[event.token().0];
            if subscriber.phase == Phase::Connecting {
                if !event.is_writable() {
                    continue;
                }
                if let Some(error) = subscriber.stream.take_error()? {
                    return Err(error);
                }
                // A fresh socket's buffer takes a request of a few hundred bytes whole.
                subscriber.stream.write_all(&self.way.opening(self.address, subscriber.number))?;
                subscriber.phase = if self.way.opened().is_some() { Phase::Opening } else { Phase::Joining };
            }
            loop {
                let read = match subscriber.stream.read(&mut self.buffer) {
                    Ok(0) => return Err(io::Error::other("the node closed a subscriber")),
                    Ok(read) => read,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                };
                let bytes = &self.buffer[..read];
                let before = subscriber.publications;
                if subscriber.phase == Phase::Live {
                    subscriber.receive(self.way, self.address, bytes)?;
                } else {
                    let joined = subscriber.join(self.way, self.address, &mut self.sending, bytes)?;
                    self.live += usize::from(joined);
                }
                if subscriber.publications > self.goal {
                    return Err(io::Error::other("a subscriber received more than was published"));
                }
                if subscriber.publications > before && subscriber.publications == self.goal {
                    self.at_goal += 1;
                }
                // Edge-triggered: a short read has emptied the socket, what comes later is a new edge.
                if read < self.buffer.len() {
                    break;
                }
            }
        }
        Ok(any)
    }
}

impl Subscriber {
    /// Takes in what was read before it is subscribed; true when this made it so.
    fn join(
        &mut self,
        way: Way,
        address: SocketAddr,
        sending: &mut RawSocket,
        bytes: &[u8],
    ) -> io::Result<bool> {
        self.received.extend_from_slice(bytes);
        let received = &self.received;
        let is_served = |status: &[u8]| received.starts_with(status);
        if self.phase == Phase::Joining && way.is_websocket() {
            // Its answer was looked at.
        } else if received.len() >= 12 && !is_served(b"HTTP/1.1 200") && !is_served(b"HTTP/1.1 101") {
            return Err(unexpected(received));
        }
        if self.phase == Phase::Opening && way.opened().is_some_and(|part| contains(received, part)) {
            match way {
                Way::WebSocket | Way::Protobuf | Way::Stomp => {
                    let frame = raw::frame(true, 0, way.opcode(), way.commands().as_bytes());
                    self.stream.write_all(&frame)?;
                    self.received.clear();
                }
                _ => {
                    sending.write(&way.sending(address, self.number))?;
                    let head = sending.read_head()?;
                    if head.status != 204 {
                        return Err(io::Error::other(format!("xhr_send was answered {}", head.status)));
                    }
                }
            }
            self.phase = Phase::Joining;
            return Ok(false);
        }
        if contains(&self.received, b"error") {
            return Err(unexpected(&self.received));
        }
        let joined = match way.subscribed() {
            Some(part) => self.phase == Phase::Joining && contains(&self.received, part),
            None => self.polled(address)?,
        };
        if joined {
            self.phase = Phase::Live;
            self.received = Vec::new();
        }
        Ok(joined)
    }

    /// Takes in what was read since.
    fn receive(&mut self, way: Way, address: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        if way == Way::Poll {
            self.received.extend_from_slice(bytes);
            while self.polled(address)? {}
            return Ok(());
        }
        self.publications += self.marks.count(bytes);
        if way.is_websocket() {
            return Ok(());
        }
        let kept = self.tail.len().saturating_sub(bytes.len());
        self.tail.rotate_right(kept);
        let new = &bytes[bytes.len().saturating_sub(self.tail.len())..];
        self.tail[kept..].copy_from_slice(new);
        if self.tail == *LAST_CHUNK {
            if way != Way::XhrStreaming {
                return Err(io::Error::other("the node ended a stream"));
            }
            // Nothing else is on its way here until this is asked.
            self.tail = Default::default();
            self.stream.write_all(&way.opening(address, self.number))?;
        }
        Ok(())
    }

    /// Takes the answer to a poll, if all of it is there, and asks for what follows.
    fn polled(&mut self, address: SocketAddr) -> io::Result<bool> {
        let Some(length) = answer_length(&self.received)? else { return Ok(false) };
        let answer = &self.received[..length];
        self.publications += Marks::default().count(answer);
        let position = position(answer).ok_or_else(|| unexpected(answer))?;
        self.stream.write_all(&poll_on(address, position))?;
        self.received.drain(..length);
        Ok(true)
    }
}

/// From where an answer says to ask on. It comes last, so it is looked for from the end.
fn position(answer: &[u8]) -> Option<&str> {
    const NAME: &[u8] = br#""position":""#;
    let start = answer.windows(NAME.len()).rposition(|part| part == NAME)? + NAME.len();
    let rest = &answer[start..];
    let end = rest.iter().position(|byte| *byte == b'"')?;
    std::str::from_utf8(&rest[..end]).ok()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn unexpected(bytes: &[u8]) -> io::Error {
    io::Error::other(format!("unexpected: {}", String::from_utf8_lossy(bytes)))
}

fn stalled(how_far: &str) -> io::Error {
    io::Error::new(ErrorKind::TimedOut, format!("no progress for {} s: {how_far}", TIME_LIMIT.as_secs()))
}
