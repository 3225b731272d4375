//! A road between a node and its Redis on which everything may vanish: no reset, no end, just silence.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// Bytes passed on at a time.
const BUFFER_BYTES: usize = 16 * 1024;

/// The name of the command by which a node listens, and of the one for sharded channels.
const LISTENS: &[u8] = b"SUBSCRIBE\r\n";

/// Passes connections on to one server. Its threads end with the process.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    roads: Arc<Roads>,
}

#[derive(Debug)]
struct Roads {
    /// The address to which new connections lead.
    server: Mutex<SocketAddr>,
    /// The way to the server and the way back of new connections.
    of_new: Ways,
    /// The same of each connection.
    cut: Mutex<Vec<Ways>>,
    /// The connections whose answers wait.
    held: Mutex<Option<HeldConnections>>,
    released: Condvar,
}

/// Connections of a node whose answers wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldConnections {
    /// Those on which it listens to channels.
    Listening,
    /// Those on which it asks.
    Asking,
}

impl Roads {
    fn wait_while_held(&self, listens: &AtomicBool) {
        let kind = || match listens.load(Ordering::SeqCst) {
            true => HeldConnections::Listening,
            false => HeldConnections::Asking,
        };
        let held = self.held.lock().unwrap();
        drop(self.released.wait_while(held, |held| *held == Some(kind())).unwrap());
    }
}

/// Whether what is sent to the server vanishes, and whether what it answers does.
#[derive(Debug, Clone, Default)]
struct Ways {
    there: Arc<AtomicBool>,
    back: Arc<AtomicBool>,
}

impl Ways {
    fn set(&self, there: bool, back: bool) {
        self.there.store(there, Ordering::SeqCst);
        self.back.store(back, Ordering::SeqCst);
    }
}

impl Proxy {
    /// Listens on a free port of the loopback.
    ///
    /// # Panics
    /// If it cannot listen.
    pub fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let roads = Arc::new(Roads {
            server: Mutex::new(server),
            of_new: Ways::default(),
            cut: Mutex::default(),
            held: Mutex::default(),
            released: Condvar::new(),
        });
        let proxy = Self { address, roads: Arc::clone(&roads) };
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                // A server that is away is shown by the end of the connection.
                let server = *roads.server.lock().unwrap();
                let Ok(far) = TcpStream::connect(server) else { continue };
                let ways = Ways::default();
                {
                    // Held meanwhile, so that a cut finds each connection either among those that are there or among the new ones.
                    let mut known = roads.cut.lock().unwrap();
                    let of_new = &roads.of_new;
                    ways.set(of_new.there.load(Ordering::SeqCst), of_new.back.load(Ordering::SeqCst));
                    known.push(ways.clone());
                }
                let copy = |stream: &TcpStream| stream.try_clone().expect("a second handle of a socket");
                let (near_end, far_end) = (copy(&near), copy(&far));
                let listens = Arc::new(AtomicBool::new(false));
                let (noted, roads) = (Arc::clone(&listens), Arc::clone(&roads));
                thread::spawn(move || {
                    pass(near, far_end, &ways.there, |sent| {
                        if sent.windows(LISTENS.len()).any(|window| window == LISTENS) {
                            noted.store(true, Ordering::SeqCst);
                        }
                    });
                });
                thread::spawn(move || pass(far, near_end, &ways.back, |_| roads.wait_while_held(&listens)));
            }
        });
        proxy
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// New connections lead to another server.
    ///
    /// # Panics
    /// If another thread has panicked meanwhile.
    pub fn lead_to(&self, server: SocketAddr) {
        *self.roads.server.lock().unwrap() = server;
    }

    /// From now on everything vanishes, on the connections of now for good, on new ones until [`Proxy::lift`].
    pub fn black_hole(&self) {
        self.cut(true, true);
    }

    /// The same, but the server still hears what it is told: only its answers vanish.
    pub fn swallow_answers(&self) {
        self.cut(false, true);
    }

    /// Answers on these connections wait until [`Proxy::release`].
    ///
    /// # Panics
    /// If another thread has panicked meanwhile.
    pub fn hold(&self, connections: HeldConnections) {
        *self.roads.held.lock().unwrap() = Some(connections);
    }

    /// The answers that wait go on, and so do all others.
    ///
    /// # Panics
    /// If another thread has panicked meanwhile.
    pub fn release(&self) {
        *self.roads.held.lock().unwrap() = None;
        self.roads.released.notify_all();
    }

    fn cut(&self, there: bool, back: bool) {
        let known = self.roads.cut.lock().unwrap();
        self.roads.of_new.set(there, back);
        known.iter().for_each(|ways| ways.set(there, back));
    }

    /// New connections work again. Those made meanwhile stay cut off.
    pub fn lift(&self) {
        let mut known = self.roads.cut.lock().unwrap();
        self.roads.of_new.set(false, false);
        known.clear();
    }
}

/// `look`: sees all that is passed on, and may wait.
fn pass(mut from: TcpStream, mut to: TcpStream, is_cut: &AtomicBool, look: impl Fn(&[u8])) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        look(&buffer[..read]);
        if !is_cut.load(Ordering::SeqCst) && to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    // An end is a packet too.
    if !is_cut.load(Ordering::SeqCst) {
        let _ = to.shutdown(Shutdown::Both);
    }
}
