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
const TIME_LIMIT: Duration = Duration::from_secs(2);

/// What a node said, ready or not, at some moment between two.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) asked: Instant,
    pub(crate) answered: Instant,
    pub(crate) ready: bool,
}

/// Asks all nodes until it is dropped.
#[derive(Debug)]
pub(crate) struct Watch {
    samples: Vec<Arc<Mutex<Vec<Sample>>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// Asks one node whether it is ready.
pub(crate) type Probe = Box<dyn Fn() -> bool + Send>;

impl Watch {
    pub(crate) fn start(nodes: &[SocketAddr]) -> Self {
        Self::asking(nodes.iter().map(|node| plain(*node)).collect(), EVERY)
    }

    /// With a way to ask for each node, and a pause between two times.
    pub(crate) fn asking(probes: Vec<Probe>, every: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let samples: Vec<Arc<Mutex<Vec<Sample>>>> = probes.iter().map(|_| Arc::default()).collect();
        let watch_one = |(is_ready, samples): (Probe, &Arc<Mutex<Vec<Sample>>>)| {
            let (samples, stop) = (Arc::clone(samples), Arc::clone(&stop));
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let (asked, ready) = (Instant::now(), is_ready());
                    samples.lock().unwrap().push(Sample { asked, answered: Instant::now(), ready });
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
        self.samples.iter().all(|samples| samples.lock().unwrap().last().is_some_and(|last| last.ready))
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
    Box::new(move || connect(node).is_ok_and(|mut stream| answers(&mut stream, READY, OK).unwrap_or(false)))
}

/// A request for readiness, and how its answer begins.
pub(crate) const READY: &[u8] = b"GET /health/ready HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n";
pub(crate) const OK: &[u8] = b"HTTP/1.1 200";

/// A connection on which no wait is longer than [`TIME_LIMIT`].
pub(crate) fn connect(node: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&node, TIME_LIMIT)?;
    stream.set_read_timeout(Some(TIME_LIMIT))?;
    Ok(stream)
}

/// Whether the answer to this request begins so.
pub(crate) fn answers(stream: &mut (impl Read + Write), request: &[u8], begins: &[u8]) -> io::Result<bool> {
    stream.write_all(request)?;
    let mut head = vec![0; begins.len()];
    stream.read_exact(&mut head)?;
    Ok(head == begins)
}
