//! The subscribers of one node, in a process of their own, and the parent's end of it.
//!
//! They speak in lines: the child says `joined <n>` while they subscribe and `live` once all are; the parent says
//! `expect <n>`, the child `expecting`; once every subscriber has so many more, the child says `all <nanoseconds of the
//! monotonic clock>`.

use std::{
    io,
    net::SocketAddr,
    sync::mpsc::TryRecvError,
    time::{Duration, Instant},
};

use clap::Args;
use gorani_tests::process::Process;

use crate::{
    client_process::{ClientProcess, LOOK_EVERY, TELL_EVERY, monotonic, orders, say},
    swarm::{Swarm, Target},
};

/// The command line of the child.
#[derive(Debug, Args)]
pub(crate) struct ClientFlags {
    address: SocketAddr,
    channel: String,
    count: u32,
}

/// The child's program.
pub(crate) fn run(flags: &ClientFlags) -> io::Result<()> {
    let target = Target::channel(flags.address, &flags.channel);
    let mut told = Instant::now();
    let mut swarm = Swarm::subscribe(&target, flags.count as usize, |joined| {
        if told.elapsed() < TELL_EVERY {
            return Ok(());
        }
        told = Instant::now();
        say(&format!("joined {joined}"))
    })?;
    say("live")?;
    let orders = orders();
    let mut waiting = false;
    loop {
        match orders.try_recv() {
            Ok(order) => {
                let count = order.strip_prefix("expect ").and_then(|count| count.parse().ok());
                swarm.expect(count.ok_or_else(|| io::Error::other(format!("what is {order:?}?")))?);
                waiting = true;
                say("expecting")?;
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return Ok(()),
        }
        swarm.pump(Some(LOOK_EVERY), |_, _| {})?;
        if waiting && swarm.all_have_all() {
            waiting = false;
            say(&format!("all {}", monotonic().as_nanos()))?;
        }
    }
}

/// The parent's end.
#[derive(Debug)]
pub(crate) struct Clients(ClientProcess);

impl Clients {
    /// Starts a process whose clients are all subscribed. `joined` is told how many are, now and then.
    pub(crate) fn start(
        address: SocketAddr,
        channel: &str,
        count: u32,
        joined: impl FnMut(u64),
    ) -> io::Result<Self> {
        let arguments = ["crowd-client", &address.to_string(), channel, &count.to_string()];
        ClientProcess::start(&arguments.map(str::to_owned), joined).map(Self)
    }

    /// Every subscriber shall receive `more` publications from now on.
    pub(crate) fn expect(&mut self, more: u64) -> io::Result<()> {
        self.0.order(format_args!("expect {more}"))?;
        self.0.answer("expecting").map(drop)
    }

    /// Waits until they have; the time of that.
    pub(crate) fn wait_for_all(&mut self) -> io::Result<Duration> {
        let nanoseconds = self.0.answer("all")?;
        nanoseconds.parse().map(Duration::from_nanos).map_err(io::Error::other)
    }

    /// An error if its process has ended, which it does when a subscriber loses its connection.
    pub(crate) fn check(&mut self) -> io::Result<()> {
        self.0.check()
    }

    /// The process as the kernel knows it.
    pub(crate) fn process(&self) -> Process {
        self.0.process()
    }
}
