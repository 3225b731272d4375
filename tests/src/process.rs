//! What the kernel says about a process: CPU time in nanoseconds, resident memory, open descriptors, signals.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    sys::signal,
    time::{ClockId, clock_getcpuclockid},
    unistd::Pid,
};

pub use nix::sys::signal::Signal;

/// How long a process may take until it stands still.
const STILL_WITHIN: Duration = Duration::from_secs(60);
/// Pause between two looks at one that does not yet.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(1);

/// A process, by its id. It does not own the process: see [`crate::node::Node`].
#[derive(Debug, Clone, Copy)]
pub struct Process {
    pid: Pid,
}

impl Process {
    /// The process with this id.
    pub fn new(pid: u32) -> Self {
        Self { pid: Pid::from_raw(i32::try_from(pid).expect("process ids fit in 31 bits")) }
    }

    /// CPU time, user and system, of all threads so far, those that ended included. Nanosecond precision: it is
    /// the process's CPU clock, not the 10 ms ticks of `/proc/<pid>/stat`.
    pub fn cpu(self) -> Duration {
        let clock: ClockId = clock_getcpuclockid(self.pid).expect("a living process has a CPU clock");
        Duration::from(clock.now().expect("a CPU clock can be read"))
    }

    /// Resident memory in bytes. From `smaps_rollup`, which walks the pages: the counters in `statm` may lag by
    /// hundreds of kilobytes per CPU.
    pub fn resident_bytes(self) -> u64 {
        let rollup =
            fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid)).expect("a living process");
        let line =
            rollup.lines().find_map(|line| line.strip_prefix("Rss:")).expect("a line for resident memory");
        let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse().expect("a number of KiB");
        kib * 1024
    }

    /// The time for which its threads could have run and had no core, of all threads together, as the kernel counts it
    /// (`schedstat`); zero where it does not.
    pub fn waited_for_cores(self) -> Duration {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid)).expect("a living process");
        threads.flatten().map(|thread| waited_for_core(&thread.path().join("schedstat"))).sum()
    }

    /// How many file descriptors are open.
    pub fn descriptors(self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid)).expect("a living process").count()
    }

    /// How many threads there are.
    pub fn threads(self) -> usize {
        fs::read_dir(format!("/proc/{}/task", self.pid)).expect("a living process").count()
    }

    /// Sends a signal: `SIGTERM` drains, `SIGKILL` is a crash, `SIGSTOP` and `SIGCONT` are a frozen host. After `SIGSTOP` it
    /// stands still when this returns: on a busy machine its threads do so one after the other.
    pub fn signal(self, signal: Signal) {
        signal::kill(self.pid, signal).expect("a signal reaches a living process");
        if signal == Signal::SIGSTOP {
            let give_up = Instant::now() + STILL_WITHIN;
            while !self.stands_still() {
                assert!(Instant::now() < give_up, "a process that was told to stop still runs");
                thread::sleep(LOOK_AGAIN_AFTER);
            }
        }
    }

    /// Whether all its threads are stopped.
    fn stands_still(self) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", self.pid)).expect("a living process");
        threads.flatten().all(|thread| {
            // `<id> (<name>) <state> …`, where the name may be anything. A thread that has ended meanwhile has no file.
            let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
        })
    }
}

/// The same of the calling thread alone.
pub fn thread_waited_for_core() -> Duration {
    waited_for_core(Path::new("/proc/thread-self/schedstat"))
}

/// The second number of the file, in nanoseconds. A thread that has ended has no file.
fn waited_for_core(schedstat: &Path) -> Duration {
    let numbers = fs::read_to_string(schedstat).unwrap_or_default();
    let waited = numbers.split_whitespace().nth(1).and_then(|waited| waited.parse().ok());
    Duration::from_nanos(waited.unwrap_or_default())
}

/// Binds the calling thread, and what it spawns from now on, to one core; returns what it was bound to before.
/// `None`, and nothing is changed, where there is no such core.
pub fn pin_to_core(core: usize) -> Option<CpuSet> {
    let before = sched_getaffinity(Pid::from_raw(0)).ok()?;
    let mut only = CpuSet::new();
    only.set(core).ok()?;
    if !before.is_set(core).ok()? {
        return None;
    }
    sched_setaffinity(Pid::from_raw(0), &only).ok()?;
    Some(before)
}

/// Undoes [`pin_to_core`] for the calling thread.
pub fn unpin(before: &CpuSet) {
    sched_setaffinity(Pid::from_raw(0), before).expect("cores that were allowed before are allowed again");
}
