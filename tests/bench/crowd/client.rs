//! The subscribers of one node, in a process of their own, and the parent's end of it.
//!
//! They speak in lines: the child says `joined <n>` while they subscribe and `live` once all are; the parent says
//! `expect <n>`, the child `expecting`; once every subscriber has so many more, the child says `all <nanoseconds of the
//! monotonic clock>`.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc::{TryRecvError, sync_channel},
    time::{Duration, Instant},
};

use clap::Args;
use gorani_tests::process::Process;
use nix::time::{ClockId, clock_gettime};

use crate::swarm::{Swarm, Target};

/// How long the child waits for the network before it looks whether the parent says something.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How often the child says how far it is.
const TELL_EVERY: Duration = Duration::from_millis(250);

/// What the child is told on its command line.
#[derive(Debug, Args)]
pub(crate) struct ClientFlags {
    address: SocketAddr,
    channel: String,
    count: u32,
}

/// The time on the clock that all processes of the machine share.
pub(crate) fn monotonic() -> Duration {
    Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Linux has this clock"))
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
    let (sender, orders) = sync_channel(1);
    std::thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
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

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// The parent's end; the child is ended when this is dropped.
#[derive(Debug)]
pub(crate) struct Clients {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Clients {
    /// Starts a child and waits until all its subscribers are subscribed. `joined` is told how many are, now and then.
    pub(crate) fn start(
        address: SocketAddr,
        channel: &str,
        count: u32,
        mut joined: impl FnMut(u64),
    ) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["crowd-client", &address.to_string(), channel, &count.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = child.stdin.take().expect("the pipe was asked for");
        let answers = BufReader::new(child.stdout.take().expect("the pipe was asked for"));
        let mut clients = Self { child, orders, answers };
        loop {
            let line = clients.line()?;
            match line.strip_prefix("joined ").and_then(|count| count.parse().ok()) {
                Some(count) => joined(count),
                None if line == "live" => return Ok(clients),
                None => {
                    return Err(io::Error::other(format!("the subscribers said {line:?} instead of live")));
                }
            }
        }
    }

    /// Every subscriber shall receive `more` publications from now on.
    pub(crate) fn expect(&mut self, more: u64) -> io::Result<()> {
        writeln!(self.orders, "expect {more}")?;
        self.answer("expecting").map(drop)
    }

    /// Waits until they have; when that was.
    pub(crate) fn wait_for_all(&mut self) -> io::Result<Duration> {
        let nanoseconds = self.answer("all")?;
        nanoseconds.parse().map(Duration::from_nanos).map_err(io::Error::other)
    }

    /// What follows `word` on the child's next line.
    fn answer(&mut self, word: &str) -> io::Result<String> {
        let line = self.line()?;
        match line.strip_prefix(word) {
            Some(rest) => Ok(rest.trim().to_owned()),
            None => Err(io::Error::other(format!("the subscribers said {line:?} instead of {word}"))),
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    /// What the kernel knows of the child.
    pub(crate) fn process(&self) -> Process {
        Process::new(self.child.id())
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        // Both fail only when it is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
