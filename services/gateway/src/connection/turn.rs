//! A connection's turn: how long the input of one client holds its worker before the others have theirs. Decision record 0027.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

use crate::hub::worker::Worker;

/// Length of a turn from its first input on. With the step that is under way at its end, and what that leads to, a turn stays
/// below 5 ms.
const TURN: Duration = Duration::from_millis(2);

/// A connection's turn. It begins with its first input, so that a turn that only writes never reads a clock.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    began: Option<Instant>,
    looked: Option<Look>,
}

/// The first time that a turn was looked at. From then on its length is CPU time of the thread: what others on the machine do
/// does not make it longer. Most turns are of one message, are never looked at, and need no call into the kernel.
#[derive(Debug)]
struct Look {
    /// Time from the beginning.
    after: Duration,
    cpu: Duration,
}

impl Turn {
    /// A turn that begins now with work that may take milliseconds: it is looked at from the first.
    pub(crate) fn watched() -> Self {
        let look = Look { after: Duration::ZERO, cpu: cpu_time() };
        Self { began: Some(Instant::now()), looked: Some(look) }
    }

    /// Input is there.
    pub(crate) fn begin(&mut self) {
        self.began.get_or_insert_with(Instant::now);
    }

    /// True if the rest of the input belongs to another turn.
    pub(crate) fn is_over(&mut self) -> bool {
        let Some(began) = self.began else { return false };
        let elapsed = began.elapsed();
        self.looked.get_or_insert_with(|| Look { after: elapsed, cpu: cpu_time() });
        elapsed >= TURN
    }

    /// As [`Turn::is_over`], after a read that filled the buffer or did not. After one that did not, mostly no input is left, and
    /// a system call for the CPU time of a turn that ends anyway would be in vain: the wall clock, which needs none, will do.
    pub(crate) fn is_over_after(&mut self, is_buffer_full: bool) -> bool {
        if is_buffer_full {
            return self.is_over();
        }
        self.began.is_some_and(|began| began.elapsed() >= TURN)
    }

    /// Gives the worker the length of the turn.
    pub(crate) fn end(self, worker: &Worker) {
        let Some(began) = self.began else { return };
        let held = match self.looked {
            Some(look) => look.after + cpu_time().saturating_sub(look.cpu),
            None => began.elapsed(),
        };
        worker.traffic.held(held);
    }
}

/// CPU time that this thread has used.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}
