//! Thousands of subscribers on one thread: raw non-blocking sockets and a count of what each received.
//!
//! The load client shares the machine with the server it measures, so it does as little as it can: one read
//! per wake-up into one shared buffer, and frame headers instead of messages ([`crate::frames`]).

use std::{
    io::{self, ErrorKind, Read, Write},
    net::SocketAddr,
    time::{Duration, Instant},
};

use gorani_tests::{client, raw};
use mio::{Events, Interest, Poll, Token, net::TcpStream};
use socket2::SockRef;

use crate::frames::{FrameCounter, ONE_EACH};

/// Connections that are being set up at the same time: enough to keep the server busy, below any backlog.
const SETTING_UP_AT_ONCE: usize = 64;
/// One read takes at most this; the buffer is shared by all connections.
const READ_BYTES: usize = 64 * 1024;
/// How many sockets one look at the kernel may bring.
const EVENTS: usize = 1024;
/// Without any progress for this long the run is broken.
const TIME_LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug)]
enum Phase {
    /// The request is not written yet.
    Connecting,
    /// Waiting for 101 and, if subscribing takes commands, for the last reply: what came so far.
    Joining { received: Vec<u8>, asked: bool },
    /// Publications are counted.
    Live(FrameCounter),
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    phase: Phase,
    publications: u64,
}

/// Where subscribers connect, and how.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) path: &'static str,
    /// What a subscriber sends once it is connected: the messages, and what the last reply contains.
    pub(crate) subscribing: Option<(Vec<String>, &'static [u8])>,
    /// Whether each message is one publication, of no fixed size.
    pub(crate) one_each: bool,
}

impl Target {
    /// A channel of a node, for a client without a token.
    pub(crate) fn channel(address: SocketAddr, channel: &str) -> Self {
        let subscribe = format!(r#"{{"id":2,"subscribe":{{"channel":"{channel}"}}}}"#);
        let commands = vec![r#"{"id":1,"connect":{}}"#.to_owned(), subscribe];
        Self { address, path: client::PATH, subscribing: Some((commands, br#""id":2"#)), one_each: false }
    }

    /// The same for a client of STOMP.
    pub(crate) fn topic(address: SocketAddr, channel: &str) -> Self {
        let subscribe = format!("SUBSCRIBE\nid:0\ndestination:/topic/{channel}\nreceipt:live\n\n\0");
        let frames = vec!["CONNECT\naccept-version:1.2\n\n\0".to_owned(), subscribe];
        Self { address, path: "/stomp", subscribing: Some((frames, b"receipt-id:live")), one_each: true }
    }
}

/// All subscribers of one server.
#[derive(Debug)]
pub(crate) struct Swarm {
    address: SocketAddr,
    poll: Poll,
    events: Events,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
    handshake: Vec<u8>,
    commands: Option<(Vec<u8>, &'static [u8])>,
    live: usize,
    /// Payload size of one publication, learnt from the first.
    unit: u64,
    /// What every connection shall have received, and how many have.
    goal: u64,
    at_goal: usize,
}

impl Swarm {
    /// Connects and subscribes `count` times. `joined` is told how many are subscribed whenever there are more.
    pub(crate) fn subscribe(
        target: &Target,
        count: usize,
        mut joined: impl FnMut(usize) -> io::Result<()>,
    ) -> io::Result<Self> {
        let frame = |text: &String| raw::frame(true, 0, raw::opcode::TEXT, text.as_bytes());
        let mut swarm = Self {
            address: target.address,
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS),
            connections: Vec::with_capacity(count),
            buffer: vec![0; READ_BYTES],
            handshake: raw::handshake(target.address, target.path, "").into_bytes(),
            commands: target
                .subscribing
                .as_ref()
                .map(|(texts, last)| (texts.iter().flat_map(frame).collect(), *last)),
            live: 0,
            unit: if target.one_each { ONE_EACH } else { 0 },
            goal: 0,
            at_goal: 0,
        };
        let mut last_progress = Instant::now();
        while swarm.live < count {
            while swarm.connections.len() < count && swarm.connections.len() - swarm.live < SETTING_UP_AT_ONCE
            {
                swarm.open()?;
            }
            let before = swarm.live;
            swarm.pump(Some(Duration::from_millis(100)), |_, _| {})?;
            if swarm.live > before {
                last_progress = Instant::now();
                joined(swarm.live)?;
            } else if last_progress.elapsed() > TIME_LIMIT {
                return Err(stalled(&format!("{} of {count} subscribed", swarm.live)));
            }
        }
        Ok(swarm)
    }

    /// How many subscribers there are.
    pub(crate) fn len(&self) -> usize {
        self.connections.len()
    }

    /// Forgets the payload size: the next publications are of another.
    pub(crate) fn expect_another_size(&mut self) {
        if self.unit != ONE_EACH {
            self.unit = 0;
        }
    }

    /// From now on every subscriber shall receive `more` publications.
    pub(crate) fn expect(&mut self, more: u64) {
        self.goal += more;
        self.at_goal = 0;
    }

    /// Takes in what comes until every subscriber has what [`Swarm::expect`] announced.
    pub(crate) fn wait_for_all(&mut self) -> io::Result<()> {
        let mut last_progress = Instant::now();
        while !self.all_have_all() {
            if self.pump(Some(Duration::from_millis(100)), |_, _| {})? {
                last_progress = Instant::now();
            } else if last_progress.elapsed() > TIME_LIMIT {
                return Err(stalled(&format!("{} of {} have it all", self.at_goal, self.len())));
            }
        }
        Ok(())
    }

    /// Whether every subscriber has what was announced.
    pub(crate) fn all_have_all(&self) -> bool {
        self.at_goal == self.len()
    }

    /// Takes in what waits and no more. For a swarm whose turn it is not: heartbeats want their answer in 8 s, so
    /// that no turn of the other may be longer.
    pub(crate) fn rest(&mut self) -> io::Result<()> {
        while self.pump(Some(Duration::ZERO), |_, _| {})? {}
        Ok(())
    }

    /// One look at the kernel. `received` is called with the range of publications, by number since the first
    /// one, that a subscriber got in one read. True when anything came.
    pub(crate) fn pump(
        &mut self,
        wait: Option<Duration>,
        mut received: impl FnMut(u64, u64),
    ) -> io::Result<bool> {
        if let Err(error) = self.poll.poll(&mut self.events, wait) {
            return if error.kind() == ErrorKind::Interrupted { Ok(false) } else { Err(error) };
        }
        let Self { events, connections, buffer, .. } = self;
        let any = !events.is_empty();
        for event in events.iter() {
            let connection = &mut connections[event.token().0];
            if matches!(connection.phase, Phase::Connecting) {
                if !event.is_writable() {
                    continue;
                }
                if let Some(error) = connection.stream.take_error()? {
                    return Err(error);
                }
                // A fresh socket's buffer takes a request of a few hundred bytes whole.
                connection.stream.write_all(&self.handshake)?;
                connection.phase = Phase::Joining { received: Vec::new(), asked: false };
            }
            loop {
                let read = match connection.stream.read(buffer) {
                    Ok(0) => return Err(io::Error::other("the server closed a subscriber")),
                    Ok(read) => read,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                };
                let before = connection.publications;
                let joined = connection.take(&buffer[..read], self.commands.as_ref(), &mut self.unit)?;
                self.live += usize::from(joined);
                if connection.publications > before {
                    received(before, connection.publications);
                    if connection.publications > self.goal {
                        return Err(io::Error::other("a subscriber received more than was published"));
                    }
                    self.at_goal += usize::from(connection.publications == self.goal);
                }
                // Edge-triggered: a short read has emptied the socket, what comes later is a new edge.
                if read < buffer.len() {
                    break;
                }
            }
        }
        Ok(any)
    }

    fn open(&mut self) -> io::Result<()> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        // Reset instead of TIME_WAIT on close: tens of thousands of ports would run out.
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        let token = Token(self.connections.len());
        self.poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        self.connections.push(Connection { stream, phase: Phase::Connecting, publications: 0 });
        Ok(())
    }
}

impl Connection {
    /// Takes in what was read; true when this made it a live subscriber.
    fn take(
        &mut self,
        bytes: &[u8],
        commands: Option<&(Vec<u8>, &'static [u8])>,
        unit: &mut u64,
    ) -> io::Result<bool> {
        match &mut self.phase {
            Phase::Connecting => Err(io::Error::other("an answer before the question")),
            Phase::Joining { received, asked } => {
                received.extend_from_slice(bytes);
                if !*asked && ends_head(received) {
                    if !received.starts_with(b"HTTP/1.1 101") {
                        return Err(io::Error::other(String::from_utf8_lossy(received).into_owned()));
                    }
                    received.clear();
                    *asked = true;
                    if let Some((commands, _)) = commands {
                        self.stream.write_all(commands)?;
                    }
                }
                let joined = *asked && commands.is_none_or(|(_, last)| contains(received, last));
                if !joined {
                    return Ok(false);
                }
                if contains(received, b"\"error\"") {
                    return Err(io::Error::other(String::from_utf8_lossy(received).into_owned()));
                }
                self.phase = Phase::Live(FrameCounter::default());
                Ok(true)
            }
            Phase::Live(counter) => {
                let tally = counter.take(bytes, unit).map_err(io::Error::other)?;
                self.publications += tally.publications;
                for _ in 0..tally.pings {
                    self.stream.write_all(&raw::frame(true, 0, raw::opcode::TEXT, b"{}"))?;
                }
                Ok(false)
            }
        }
    }
}

fn ends_head(bytes: &[u8]) -> bool {
    bytes.ends_with(b"\r\n\r\n")
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn stalled(how_far: &str) -> io::Error {
    io::Error::new(ErrorKind::TimedOut, format!("no progress for {} s: {how_far}", TIME_LIMIT.as_secs()))
}
