//! A client that minds its own business on the same worker while something bad happens beside it.

use std::{
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use gorani_tests::{node::Node, process::thread_waited_for_core};
use serde_json::json;

use crate::{json, subscribed};

/// Pause between two messages of the neighbour's own channel.
const PACE: Duration = Duration::from_millis(5);
/// A message that takes longer than this from publish to reception was held up by somebody. Far above what a
/// debug build on a busy machine takes, far below any timeout that a blocked worker would wait for. The time for which the kernel had no
/// core for the node or the neighbour does not count: nobody but the machine held it up.
const HELD_UP: Duration = Duration::from_millis(750);
/// What an attack may add to the node's resident memory while it goes on: some buffers, one full outbox, what
/// the allocator keeps. The attacks would be worth hundreds of megabytes.
const GROWTH_BYTES: u64 = 12 * 1024 * 1024;
/// What the neighbour does before it starts to judge.
const WARM_UP: u32 = 20;

/// Runs `attack` beside a neighbour, and checks that the neighbour received every message in order and in time,
/// and that the node's memory stayed flat all the while.
///
/// The node must be of one worker, or the neighbour may live on another thread.
pub(crate) fn beside_a_neighbour<T>(node: &Node, attack: impl FnOnce() -> T) -> T {
    let neighbour = Neighbour::start(node);
    let before = node.process().resident_bytes();
    let outcome = attack();
    let seen = neighbour.finish();
    assert!(seen.messages > 0, "the neighbour was not there");
    assert!(
        seen.worst < HELD_UP,
        "the neighbour waited {:?} for one of {} messages",
        seen.worst,
        seen.messages
    );
    let grown = seen.peak_bytes.saturating_sub(before);
    assert!(grown < GROWTH_BYTES, "resident memory went from {before} up by {grown} bytes");
    outcome
}

struct Neighbour {
    stop: Sender<()>,
    thread: JoinHandle<Seen>,
}

#[derive(Default)]
struct Seen {
    messages: u32,
    worst: Duration,
    peak_bytes: u64,
}

impl Neighbour {
    fn start(node: &Node) -> Self {
        let mut socket = subscribed(node, "open:neighbour");
        let (api, process) = (node.api(), node.process());
        let (stop, stopped) = mpsc::channel();
        let (warm, warmed) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut seen = Seen::default();
            for number in 0.. {
                let waited = process.waited_for_cores() + thread_waited_for_core();
                let published = Instant::now();
                api.publish("open:neighbour", &json!(number));
                let push = loop {
                    let message = json(&mut socket);
                    if message != json!({}) {
                        break message;
                    }
                    socket.text("{}").unwrap();
                };
                assert_eq!(push["push"]["pub"]["data"], number, "{push}");
                if number >= WARM_UP {
                    seen.messages += 1;
                    let took = published.elapsed();
                    let without_core = process.waited_for_cores() + thread_waited_for_core();
                    let held_up = took.saturating_sub(without_core.saturating_sub(waited));
                    seen.worst = seen.worst.max(held_up);
                    seen.peak_bytes = seen.peak_bytes.max(process.resident_bytes());
                }
                if number == WARM_UP {
                    warm.send(()).unwrap();
                }
                if stopped.recv_timeout(PACE) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
            }
            seen
        });
        warmed.recv().expect("the neighbour receives its first messages");
        Self { stop, thread }
    }

    fn finish(self) -> Seen {
        // It fails when the thread has panicked, and then joining says why.
        let _ = self.stop.send(());
        self.thread.join().expect("the neighbour went on receiving")
    }
}
