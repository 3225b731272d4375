//! A road between a node and its Redis on which everything may vanish: no reset, no end, just silence.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// Bytes passed on at a time.
const BUFFER_BYTES: usize = 16 * 1024;

/// Passes connections on to one server. Its threads end with the process.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    roads: Arc<Roads>,
}

#[derive(Debug, Default)]
struct Roads {
    /// New connections are cut off from the start.
    is_hole: AtomicBool,
    /// Whether what is sent over it vanishes, for each connection.
    cut: Mutex<Vec<Arc<AtomicBool>>>,
}

impl Proxy {
    /// Listens on a free port of the loopback.
    ///
    /// # Panics
    /// If it cannot listen.
    pub fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let roads = Arc::new(Roads::default());
        let proxy = Self { address, roads: Arc::clone(&roads) };
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                // A server that is away is shown by the end of the connection.
                let Ok(far) = TcpStream::connect(server) else { continue };
                let is_cut = Arc::new(AtomicBool::new(roads.is_hole.load(Ordering::SeqCst)));
                roads.cut.lock().unwrap().push(Arc::clone(&is_cut));
                let copy = |stream: &TcpStream| stream.try_clone().expect("a second handle of a socket");
                let (near_end, far_end) = (copy(&near), copy(&far));
                let other = Arc::clone(&is_cut);
                thread::spawn(move || pass(near, far_end, &is_cut));
                thread::spawn(move || pass(far, near_end, &other));
            }
        });
        proxy
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on everything vanishes, on the connections of now for good, on new ones until [`Proxy::lift`].
    pub fn black_hole(&self) {
        self.roads.is_hole.store(true, Ordering::SeqCst);
        self.roads.cut.lock().unwrap().iter().for_each(|cut| cut.store(true, Ordering::SeqCst));
    }

    /// New connections work again. Those made meanwhile stay cut off.
    pub fn lift(&self) {
        self.roads.is_hole.store(false, Ordering::SeqCst);
        self.roads.cut.lock().unwrap().clear();
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, is_cut: &AtomicBool) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if !is_cut.load(Ordering::SeqCst) && to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    // An end is a packet too.
    if !is_cut.load(Ordering::SeqCst) {
        let _ = to.shutdown(Shutdown::Both);
    }
}
