//! Those who use the queue: one sender, and consumers that acknowledge each message by itself.

use std::{
    io,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use gorani_tests::stomp::Stomp;

/// The queue.
const QUEUE: &str = "/queue/bench";
/// SENDs whose receipts are awaited at a time. All of them fit into the buffers of a socket, so that neither side can wait
/// for the other while both only write.
pub(crate) const UNDER_WAY: usize = 256;
/// SENDs written at once, as soon as so many receipts have come.
const BURST: usize = 64;
/// How long all messages of a run may take.
const TIME_LIMIT: Duration = Duration::from_secs(300);
/// How often somebody to whom nothing comes looks whether all is over.
const LOOK_UP_EVERY: Duration = Duration::from_millis(20);

/// Connected clients.
pub(crate) struct Workers {
    sender: Stomp,
    consumers: Vec<Stomp>,
    message_bytes: usize,
}

/// A run.
pub(crate) struct Done {
    /// From the first SEND to the receipt of the last ACK.
    pub(crate) took: Duration,
    /// Messages of the consumer that had the fewest.
    pub(crate) least: usize,
}

/// How far a run is, for all of its threads.
struct Progress {
    messages: usize,
    acknowledged: AtomicUsize,
    /// When the last one was.
    ended: Mutex<Option<Instant>>,
    has_failed: AtomicBool,
    give_up: Instant,
}

impl Progress {
    /// Consumers are done when all messages are acknowledged; the sender when it has all of its receipts, which may be later.
    fn is_all_acknowledged(&self) -> bool {
        self.acknowledged.load(Ordering::Relaxed) >= self.messages
    }

    fn is_broken(&self) -> bool {
        self.has_failed.load(Ordering::Relaxed) || Instant::now() > self.give_up
    }

    fn acknowledge(&self) {
        if self.acknowledged.fetch_add(1, Ordering::Relaxed) + 1 == self.messages {
            *self.ended.lock().expect("nobody panics with the lock") = Some(Instant::now());
        }
    }

    /// The others shall not go on where one has failed.
    fn watch<T>(&self, result: io::Result<T>) -> io::Result<T> {
        self.has_failed.fetch_or(result.is_err(), Ordering::Relaxed);
        result
    }
}

impl Workers {
    /// Subscribes the consumers.
    pub(crate) fn new(sender: Stomp, mut consumers: Vec<Stomp>, message_bytes: usize) -> Self {
        sender.wait_at_most(LOOK_UP_EVERY);
        for consumer in &mut consumers {
            consumer.subscribe("0", QUEUE, "ack:client-individual\n");
            consumer.wait_at_most(LOOK_UP_EVERY);
        }
        Self { sender, consumers, message_bytes }
    }

    /// Sends so many messages, until all of them are acknowledged.
    ///
    /// # Errors
    /// When one comes not or twice, or a connection ends.
    pub(crate) fn handle(&mut self, messages: usize) -> io::Result<Done> {
        let begun = Instant::now();
        let progress = Progress {
            messages,
            acknowledged: AtomicUsize::new(0),
            ended: Mutex::default(),
            has_failed: AtomicBool::new(false),
            give_up: begun + TIME_LIMIT,
        };
        let Self { sender, consumers, message_bytes } = self;
        let (sent, consumed) = thread::scope(|scope| {
            let consuming: Vec<_> = consumers
                .iter_mut()
                .map(|consumer| scope.spawn(|| progress.watch(consume(consumer, &progress))))
                .collect();
            let sent = progress.watch(send(sender, &progress, *message_bytes));
            let consumed: io::Result<Vec<Vec<usize>>> =
                consuming.into_iter().map(|consumer| consumer.join().expect("no consumer panics")).collect();
            (sent, consumed)
        });
        // What a consumer has to say explains what the sender misses.
        let (consumed, ()) = (consumed?, sent?);
        let mut numbers = consumed.concat();
        numbers.sort_unstable();
        let acknowledged = progress.acknowledged.load(Ordering::Relaxed);
        let ended = *progress.ended.lock().expect("nobody panics with the lock");
        match ended {
            Some(ended) if numbers.iter().copied().eq(0..messages) => {
                let least = consumed.iter().map(Vec::len).min().unwrap_or_default();
                Ok(Done { took: ended - begun, least })
            }
            _ => Err(io::Error::other(format!(
                "of {messages} messages {} came, some perhaps twice, and {acknowledged} were acknowledged",
                numbers.len()
            ))),
        }
    }
}

/// Sends all messages: the number of each, and dots.
fn send(sender: &mut Stomp, progress: &Progress, bytes: usize) -> io::Result<()> {
    let (mut sent, mut told) = (0, 0);
    while told < progress.messages {
        while sent < progress.messages && sent - told + BURST <= UNDER_WAY {
            let until = progress.messages.min(sent + BURST);
            let frames: String = (sent..until)
                .map(|number| {
                    format!(
                        "SEND\ndestination:{QUEUE}\ncontent-length:{bytes}\nreceipt:{number}\n\n{number:.<bytes$}\0"
                    )
                })
                .collect();
            sender.try_say(&frames)?;
            sent = until;
        }
        let Some((command, name, _)) = next(sender, || progress.is_broken())? else {
            return Err(io::Error::other(format!(
                "{told} of {} SENDs have their receipt",
                progress.messages
            )));
        };
        if (command.as_str(), name.parse()) != ("RECEIPT", Ok(told)) {
            return Err(io::Error::other(format!("the sender was told {command} {name} for SEND {told}")));
        }
        told += 1;
    }
    Ok(())
}

/// Handles what comes until all consumers together have handled everything; returns the numbers of its messages.
fn consume(consumer: &mut Stomp, progress: &Progress) -> io::Result<Vec<usize>> {
    let mut handled = Vec::new();
    let is_over = || progress.is_all_acknowledged() || progress.is_broken();
    while let Some((command, name, body)) = next(consumer, is_over)? {
        match command.as_str() {
            "RECEIPT" => progress.acknowledge(),
            "MESSAGE" => {
                let number = body.trim_end_matches('.').parse().map_err(io::Error::other)?;
                consumer.try_say(&format!("ACK\nid:{name}\nreceipt:{number}\n\n\0"))?;
                handled.push(number);
            }
            _ => return Err(io::Error::other(format!("a consumer was told {command} {name}"))),
        }
    }
    Ok(handled)
}

/// The next frame: its command, what it is about, and its body. None when all is over.
fn next(client: &mut Stomp, is_over: impl Fn() -> bool) -> io::Result<Option<(String, String, String)>> {
    while !is_over() {
        match client.frame_or_end() {
            Ok(Some(frame)) => {
                if frame.get("redelivered") == Some("true") {
                    return Err(io::Error::other("a message came again"));
                }
                let name = ["ack", "receipt-id", "message"].into_iter().find_map(|name| frame.get(name));
                let name = name.unwrap_or_default().to_owned();
                let body = frame.text().to_owned();
                return Ok(Some((frame.command, name, body)));
            }
            Ok(None) => return Err(io::Error::other("the node ended the connection")),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
