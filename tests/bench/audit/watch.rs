//! Watches what the nodes say of themselves on `/health/ready`, all the time.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How often each node is asked.
const EVERY: Duration = Duration::from_millis(50);
/// A node that does not answer within this time is not ready: a balancer would not wait longer either.
pub(crate) const TIME_LIMIT: Duration = Duration::from_secs(2);

/// What a node said, ready or not, at some moment between two.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) asked: Instant,
    pub(crate) answered: Instant,
    /// Why it was not ready.
    pub(crate) refusal: Option<String>,
}

impl Sample {
    pub(crate) fn is_ready(&self) -> bool {
        self.refusal.is_none()
    }
}

/// Asks all nodes until it is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    samples: Vec<Arc<Mutex<Vec<Sample>>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// Asks one node whether it is ready; the error says why not.
pub(crate) type Probe = Box<dyn Fn() -> io::Result<()> + Send>;

impl Watch {
    pub(crate) fn start(nodes: &[SocketAddr]) -> Self {
        Self::asking(nodes.iter().map(|node| plain(*node)).collect(), EVERY)
    }

    /// With a way to ask for each node, and a pause between two times.
    pub(crate) fn asking(probes: Vec<Probe>, every: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let samples: Vec<Arc<Mutex<Vec<Sample>>>> = probes.iter().map(|_| Arc::default()).collect();
        let watch_one = |(probe, samples): (Probe, &Arc<Mutex<Vec<Sample>>>)| {
            let (samples, stop) = (Arc::clone(samples), Arc::clone(&stop));
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let (asked, answer) = (Instant::now(), probe());
                    let refusal = answer.err().map(|error| error.to_string());
                    samples.lock().unwrap().push(Sample { asked, answered: Instant::now(), refusal });
                    thread::sleep(every);
                }
            })
        };
        let threads = probes.into_iter().zip(&samples).map(watch_one).collect();
        Self { samples, stop, threads }
    }

    /// What a node said so far, in the order of time.
    pub(crate) fn of(&self, node: usize) -> Vec<Sample> {
        self.samples[node].lock().unwrap().clone()
    }

    /// Whether all said at last that they are ready.
    pub(crate) fn all_ready(&self) -> bool {
        self.samples.iter().all(|samples| samples.lock().unwrap().last().is_some_and(Sample::is_ready))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Asks over plain HTTP.
fn plain(node: SocketAddr) -> Probe {
    Box::new(move || answers(&mut connect(node, TIME_LIMIT)?, READY, OK))
}

/// A request for readiness, and how its answer begins.
pub(crate) const READY: &[u8] = b"GET /health/ready HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n";
pub(crate) const OK: &[u8] = b"HTTP/1.1 200";

/// A connection on which no wait is longer than the time limit.
pub(crate) fn connect(node: SocketAddr, time_limit: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&node, time_limit)?;
    stream.set_read_timeout(Some(time_limit))?;
    Ok(stream)
}

/// An error unless the answer to this request begins so.
pub(crate) fn answers(stream: &mut (impl Read + Write), request: &[u8], begins: &[u8]) -> io::Result<()> {
    stream.write_all(request)?;
    let mut head = vec![0; begins.len()];
    stream.read_exact(&mut head)?;
    if head == begins {
        return Ok(());
    }
    Err(io::Error::other(format!("answered {:?}", String::from_utf8_lossy(&head))))
}
