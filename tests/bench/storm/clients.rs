//! The clients of one node, in a process of their own, and the parent's end of it.
//!
//! They speak in lines: the child says `joined <n>` while its clients subscribe and `live` once all are. From then on a client
//! whose connection ends connects at once to the next of the other nodes and recovers. Told `away`, the child says `prepared`,
//! and `back` once all its clients are recovered. Told `finish <tops>`, it waits until each client is at the top of
//! its channel, and says `outcome <counts as JSON>`.

use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::mpsc::{Receiver, TryRecvError},
    time::{Duration, Instant},
};

use clap::Args;
use gorani_tests::{client::PATH, process::Process, raw};
use mio::{Events, Interest, Poll, Token};
use rand::RngExt as _;

use super::{
    outcome::Counts,
    subscriber::{Change, Phase, Subscriber},
};
use crate::{
    audit::ledger::channel_name,
    client_process::{ClientProcess, LOOK_EVERY, TELL_EVERY, monotonic, orders, say},
};

/// Connections that are set up at the same time before the storm; in it there is no limit.
const SETTING_UP_AT_ONCE: usize = 64;
/// Pause before a client that was refused tries again, in milliseconds, at random.
const PAUSE_MS: std::ops::Range<u64> = 100..500;
/// Time for all clients to come to the top of their channels in the end.
const AT_TOP_WITHIN: Duration = Duration::from_secs(30);
const READ_BYTES: usize = 64 * 1024;
const EVENTS: usize = 1024;

/// The command line of the child.
#[derive(Debug, Args)]
pub(crate) struct ClientFlags {
    /// The node that the clients begin at
    home: SocketAddr,
    /// The nodes that they go to when their connection ends
    #[arg(value_delimiter = ',')]
    others: Vec<SocketAddr>,
    /// The number of the first client
    #[arg(long)]
    first: u32,
    #[arg(long)]
    count: u32,
    #[arg(long)]
    channels: usize,
}

/// The child's program.
pub(crate) fn run(flags: &ClientFlags) -> io::Result<()> {
    let orders = orders();
    let mut clients = Storm::new(flags)?;
    clients.join()?;
    say("live")?;
    clients.serve(&orders)
}

/// All clients of a process.
struct Storm<'a> {
    flags: &'a ClientFlags,
    poll: Poll,
    subscribers: Vec<Subscriber>,
    channels: Vec<String>,
    /// The same for all nodes: none looks at its own address.
    handshake: String,
    /// Clients that try again, and when.
    pauses: VecDeque<(Instant, usize)>,
    counts: Counts,
    live: usize,
    /// Connections so far, so that they go round the nodes.
    attempts: usize,
    /// The clients' first node is gone.
    is_away: bool,
}

impl<'a> Storm<'a> {
    fn new(flags: &'a ClientFlags) -> io::Result<Self> {
        let channel = |index: u32| (flags.first + index) as usize % flags.channels;
        Ok(Self {
            flags,
            poll: Poll::new()?,
            subscribers: (0..flags.count)
                .map(|index| Subscriber::new(flags.first + index, channel(index)))
                .collect(),
            channels: (0..flags.channels).map(channel_name).collect(),
            handshake: raw::handshake(flags.home, PATH, ""),
            pauses: VecDeque::new(),
            counts: Counts::default(),
            live: 0,
            attempts: 0,
            is_away: false,
        })
    }

    /// Subscribes all at their first node.
    fn join(&mut self) -> io::Result<()> {
        let (mut events, mut buffer) = (Events::with_capacity(EVENTS), vec![0; READ_BYTES]);
        let (mut begun, mut told) = (0, Instant::now());
        while self.live < self.subscribers.len() {
            while begun < self.subscribers.len() && begun - self.live < SETTING_UP_AT_ONCE {
                self.connect(begun, self.flags.home)?;
                begun += 1;
            }
            self.pump(&mut events, &mut buffer)?;
            if self.counts.complained + self.counts.disconnected > 0 {
                let complaints = self.counts.complaints.join("\n");
                return Err(io::Error::other(format!("a client could not subscribe: {complaints}")));
            }
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                say(&format!("joined {}", self.live))?;
            }
        }
        Ok(())
    }

    fn serve(&mut self, orders: &Receiver<String>) -> io::Result<()> {
        let (mut events, mut buffer) = (Events::with_capacity(EVENTS), vec![0; READ_BYTES]);
        let mut is_back = true;
        let mut tops: Option<(Vec<u64>, Instant)> = None;
        loop {
            match orders.try_recv() {
                Ok(order) if order == "away" => {
                    (self.is_away, is_back) = (true, false);
                    say("prepared")?;
                }
                Ok(order) => {
                    let numbers = order.strip_prefix("finish ").unwrap_or_default();
                    let numbers = numbers.split(' ').map(str::parse).collect::<Result<_, _>>();
                    tops = Some((numbers.map_err(io::Error::other)?, Instant::now() + AT_TOP_WITHIN));
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
            self.pump(&mut events, &mut buffer)?;
            if !is_back && self.counts.recovered_at.len() >= self.subscribers.len() {
                is_back = true;
                say("back")?;
            }
            if let Some((tops, until)) = &tops {
                let is_behind = |subscriber: &&Subscriber| {
                    subscriber.phase != Phase::Live
                        || tops.get(subscriber.channel) != Some(&subscriber.offset)
                };
                let behind = self.subscribers.iter().filter(is_behind).count();
                if behind == 0 || Instant::now() > *until {
                    self.counts.behind = behind as u64;
                    let counts = serde_json::to_string(&self.counts).map_err(io::Error::other)?;
                    return say(&format!("outcome {counts}"));
                }
            }
        }
    }

    /// One look at the kernel, and at those whose pause is over.
    fn pump(&mut self, events: &mut Events, buffer: &mut [u8]) -> io::Result<()> {
        if let Err(error) = self.poll.poll(events, Some(LOOK_EVERY))
            && error.kind() != io::ErrorKind::Interrupted
        {
            return Err(error);
        }
        for event in events.iter() {
            self.look(event.token().0, buffer)?;
        }
        while let Some((due, index)) = self.pauses.front().copied()
            && due <= Instant::now()
        {
            self.pauses.pop_front();
            let subscriber = &mut self.subscribers[index];
            if subscriber.phase == Phase::Closed {
                self.connect_to_another(index)?;
            } else if subscriber.subscribe(&self.channels[subscriber.channel]).is_err() {
                self.ended(index)?;
            }
        }
        Ok(())
    }

    fn look(&mut self, index: usize, buffer: &mut [u8]) -> io::Result<()> {
        let subscriber = &mut self.subscribers[index];
        let was_live = subscriber.phase == Phase::Live;
        let channel = &self.channels[subscriber.channel];
        let change = subscriber.look(self.handshake.as_bytes(), channel, buffer, &mut self.counts);
        match change {
            Change::Nothing => {}
            Change::Subscribed => {
                self.live += 1;
                if self.is_away && !subscriber.is_at_home && !subscriber.is_recovered {
                    subscriber.is_recovered = true;
                    let now = u64::try_from(monotonic().as_nanos()).unwrap_or(u64::MAX);
                    self.counts.recovered_at.push(now);
                }
            }
            Change::Refused => {
                self.live -= usize::from(was_live);
                subscriber.phase = Phase::Subscribing;
                self.pause(index);
            }
            Change::Ended => {
                self.live -= usize::from(was_live);
                // Whoever ends later, or while it connects, was sent away.
                let is_killed = was_live && self.is_away && subscriber.is_at_home;
                self.counts.disconnected += u64::from(!is_killed);
                if is_killed {
                    (subscriber.stream, subscriber.is_at_home) = (None, false);
                    self.connect_to_another(index)?;
                } else {
                    self.ended(index)?;
                }
            }
        }
        Ok(())
    }

    /// The connection is over: another one after a pause.
    fn ended(&mut self, index: usize) -> io::Result<()> {
        let subscriber = &mut self.subscribers[index];
        (subscriber.stream, subscriber.phase) = (None, Phase::Closed);
        self.pause(index);
        Ok(())
    }

    fn pause(&mut self, index: usize) {
        let pause = Duration::from_millis(rand::rng().random_range(PAUSE_MS));
        let due = Instant::now() + pause;
        let place = self.pauses.partition_point(|(other, _)| *other <= due);
        self.pauses.insert(place, (due, index));
    }

    fn connect_to_another(&mut self, index: usize) -> io::Result<()> {
        let node = self.flags.others[self.attempts % self.flags.others.len()];
        self.attempts += 1;
        self.connect(index, node)
    }

    fn connect(&mut self, index: usize, node: SocketAddr) -> io::Result<()> {
        let subscriber = &mut self.subscribers[index];
        subscriber.connect(node)?;
        if let Some(stream) = &mut subscriber.stream {
            self.poll.registry().register(stream, Token(index), Interest::READABLE | Interest::WRITABLE)?;
        }
        Ok(())
    }
}

/// The parent's end.
#[derive(Debug)]
pub(super) struct Clients(ClientProcess);

impl Clients {
    /// Starts a process whose clients are all subscribed. `joined` is told how many are, now and then.
    pub(super) fn start(
        home: SocketAddr,
        others: &[SocketAddr],
        [first, count, channels]: [u32; 3],
        joined: impl FnMut(u64),
    ) -> io::Result<Self> {
        let others: Vec<String> = others.iter().map(ToString::to_string).collect();
        let mut arguments = vec!["storm-client".to_owned(), home.to_string(), others.join(",")];
        for (name, value) in [("--first", first), ("--count", count), ("--channels", channels)] {
            arguments.extend([name.to_owned(), value.to_string()]);
        }
        ClientProcess::start(&arguments, joined).map(Self)
    }

    /// Their node is about to be killed.
    pub(super) fn send_away(&mut self) -> io::Result<()> {
        self.0.order("away")?;
        self.0.answer("prepared").map(drop)
    }

    /// Waits until all are recovered.
    pub(super) fn wait_for_return(&mut self) -> io::Result<()> {
        self.0.answer("back").map(drop)
    }

    /// Waits until all are at the tops of their channels; the counts of what they saw.
    pub(super) fn finish(&mut self, tops: &[u64]) -> io::Result<Counts> {
        let tops: Vec<String> = tops.iter().map(ToString::to_string).collect();
        self.0.order(format_args!("finish {}", tops.join(" ")))?;
        serde_json::from_str(&self.0.answer("outcome")?).map_err(io::Error::other)
    }

    pub(super) fn process(&self) -> Process {
        self.0.process()
    }
}
