//! A process of this program that holds many clients, since a process has only so many files. It is told what to do line by
//! line, and answers in the same way. Of `crowd` and `storm`.

use std::{
    fmt::Display,
    io::{self, BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc::{Receiver, sync_channel},
    time::Duration,
};

use gorani_tests::process::Process;
use nix::time::{ClockId, clock_gettime};

/// Time for which the process waits for the network before it looks for orders.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Time between two of its words on how many clients have joined.
pub(crate) const TELL_EVERY: Duration = Duration::from_millis(250);

/// The parent's end; the process is ended when this is dropped.
#[derive(Debug)]
pub(crate) struct ClientProcess {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl ClientProcess {
    /// Starts it with these arguments, and waits until all its clients are subscribed. `joined` is told how many are, now and then.
    pub(crate) fn start(arguments: &[String], mut joined: impl FnMut(u64)) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = child.stdin.take().expect("the pipe was asked for");
        let answers = BufReader::new(child.stdout.take().expect("the pipe was asked for"));
        let mut started = Self { child, orders, answers };
        loop {
            let line = started.line()?;
            match line.strip_prefix("joined ").and_then(|count| count.parse().ok()) {
                Some(count) => joined(count),
                None if line == "live" => return Ok(started),
                None => return Err(unexpected(&line, "live")),
            }
        }
    }

    /// Tells it to do something.
    pub(crate) fn order(&mut self, order: impl Display) -> io::Result<()> {
        writeln!(self.orders, "{order}")
    }

    /// The rest of its next line, which must begin with `word`.
    pub(crate) fn answer(&mut self, word: &str) -> io::Result<String> {
        let line = self.line()?;
        match line.strip_prefix(word) {
            Some(rest) => Ok(rest.trim().to_owned()),
            None => Err(unexpected(&line, word)),
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            let status = self.child.wait()?;
            return Err(io::Error::other(format!("a process of clients ended: {status}")));
        }
        Ok(line.trim().to_owned())
    }

    /// An error if the process has ended.
    pub(crate) fn check(&mut self) -> io::Result<()> {
        match self.child.try_wait()? {
            Some(status) => Err(io::Error::other(format!("a process of clients ended: {status}"))),
            None => Ok(()),
        }
    }

    /// The process as the kernel knows it.
    pub(crate) fn process(&self) -> Process {
        Process::new(self.child.id())
    }
}

impl Drop for ClientProcess {
    fn drop(&mut self) {
        // Both fail only when it is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn unexpected(line: &str, word: &str) -> io::Error {
    io::Error::other(format!("the clients said {line:?} instead of {word}"))
}

/// Answers the parent, from within the process.
pub(crate) fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// The parent's orders, within the process. It ends when the parent is gone.
pub(crate) fn orders() -> Receiver<String> {
    let (sender, orders) = sync_channel(1);
    std::thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    orders
}

/// The time on the clock that all processes of the machine share.
pub(crate) fn monotonic() -> Duration {
    Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Linux has this clock"))
}
