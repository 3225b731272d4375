//! A backend over HTTP that answers what a test wants: it records every request, and answers in order, or as bad backends do.
//!
//! Nothing here knows the gateway's code. [`recorder`] receives events of hooks, [`collector`] spans, [`signature`] checks requests as Standard Webhooks
//! have it.

mod answer;
pub mod collector;
mod connection;
pub mod recorder;
pub mod signature;

use std::{
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

pub use self::answer::Answer;
use self::connection::Connection;

/// Longest wait for what a test expects.
pub const TIME_LIMIT: Duration = Duration::from_secs(60);

/// A request, as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// The number of its connection, from 0.
    pub connection: usize,
    /// `POST`, by rights.
    pub method: String,
    /// Path with query.
    pub path: String,
    /// In the order in which they came; names as they came.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// The time at which it was here whole.
    pub at: Instant,
}

impl Request {
    /// The first header of this name, in any case of letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// All headers of this name, in any case of letters.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let is_it = move |(known, _): &&(String, String)| known.eq_ignore_ascii_case(name);
        self.headers.iter().filter(is_it).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }
}

type Script = dyn Fn(&Request) -> Answer + Send + Sync;

/// A running backend. Its threads end with it.
pub struct Backend {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    script: Mutex<Arc<Script>>,
    state: Mutex<State>,
    changed: Condvar,
    accepted: AtomicUsize,
    is_over: AtomicBool,
}

#[derive(Default)]
struct State {
    requests: Vec<Request>,
    /// Requests whose client went away before their answer.
    abandoned: usize,
    /// Answers that were written whole.
    answered: usize,
    /// Number of times that held answers were released.
    released: usize,
    /// Open connections, to close them at the end.
    open: Vec<(usize, TcpStream)>,
}

impl Backend {
    /// Listens on a free port of the loopback and answers every request by `script`.
    ///
    /// # Panics
    /// If it cannot listen.
    pub fn start(script: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        Self::listen(listener, script)
    }

    /// As [`Backend::start`], at a known address: a backend that comes back.
    ///
    /// # Panics
    /// If it cannot listen there.
    pub fn start_at(
        address: SocketAddr,
        script: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let give_up = Instant::now() + TIME_LIMIT;
        loop {
            match TcpListener::bind(address) {
                Ok(listener) => return Self::listen(listener, script),
                Err(error) => assert!(Instant::now() < give_up, "{address}: {error}"),
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn listen(listener: TcpListener, script: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            script: Mutex::new(Arc::new(script)),
            state: Mutex::default(),
            changed: Condvar::new(),
            accepted: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
        });
        let backend = Self { address, shared: Arc::clone(&shared) };
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.is_over.load(Ordering::SeqCst) {
                    return;
                }
                let number = shared.accepted.fetch_add(1, Ordering::SeqCst);
                let copy = stream.try_clone().expect("a second handle of a socket");
                shared.state.lock().unwrap().open.push((number, copy));
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    // A connection that breaks is nothing special here.
                    let _ = Connection::new(stream, number, &shared).serve();
                    shared.state.lock().unwrap().open.retain(|(known, _)| *known != number);
                    shared.changed.notify_all();
                });
            }
        });
        backend
    }

    /// Gives these answers one after the other, the last one again and again.
    ///
    /// # Panics
    /// As [`Backend::start`], and without an answer.
    pub fn in_order(answers: Vec<Answer>) -> Self {
        assert!(!answers.is_empty(), "an answer is needed");
        let next = AtomicUsize::new(0);
        Self::start(move |_| {
            let index = next.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
            answers[index].clone()
        })
    }

    /// Answers by another script from now on.
    ///
    /// # Panics
    /// If another thread has panicked meanwhile.
    pub fn answer_by(&self, script: impl Fn(&Request) -> Answer + Send + Sync + 'static) {
        *self.shared.script.lock().unwrap() = Arc::new(script);
    }

    /// The address of its listener.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// An address of it for settings.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Connections that it has accepted so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// All requests so far.
    ///
    /// # Panics
    /// If another thread has panicked meanwhile.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.state.lock().unwrap().requests.clone()
    }

    /// Waits until so many requests are here, and returns all.
    ///
    /// # Panics
    /// If they do not come in time.
    pub fn wait_for_requests(&self, count: usize) -> Vec<Request> {
        self.wait(&format!("{count} requests"), |state| {
            (state.requests.len() >= count).then(|| state.requests.clone())
        })
    }

    /// Waits until so many requests were given up by their client, and returns how many.
    ///
    /// # Panics
    /// If it does not happen in time.
    pub fn wait_for_abandoned(&self, count: usize) -> usize {
        self.wait(&format!("{count} requests given up"), |state| {
            (state.abandoned >= count).then_some(state.abandoned)
        })
    }

    /// Waits until no connection is open.
    ///
    /// # Panics
    /// If it does not happen in time.
    pub fn wait_until_alone(&self) {
        self.wait("no open connection", |state| state.open.is_empty().then_some(()));
    }

    /// Answers that it has written whole.
    ///
    /// # Panics
    /// If another thread has panicked meanwhile.
    pub fn answered(&self) -> usize {
        self.shared.state.lock().unwrap().answered
    }

    /// Connections that are open now.
    ///
    /// # Panics
    /// If another thread has panicked meanwhile.
    pub fn open_connections(&self) -> usize {
        self.shared.state.lock().unwrap().open.len()
    }

    /// Lets all answers go that are held now.
    ///
    /// # Panics
    /// If another thread has panicked meanwhile.
    pub fn release(&self) {
        self.shared.state.lock().unwrap().released += 1;
        self.shared.changed.notify_all();
    }

    /// Closes all open connections, as a server does that restarts.
    ///
    /// # Panics
    /// If another thread has panicked meanwhile.
    pub fn close_connections(&self) {
        for (_, stream) in &self.shared.state.lock().unwrap().open {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn wait<T>(&self, what: &str, found: impl Fn(&State) -> Option<T>) -> T {
        let give_up = Instant::now() + TIME_LIMIT;
        let mut state = self.shared.state.lock().unwrap();
        loop {
            if let Some(found) = found(&state) {
                return found;
            }
            let left = give_up.saturating_duration_since(Instant::now());
            let paths: Vec<&str> = state.requests.iter().map(|request| request.path.as_str()).collect();
            assert!(!left.is_zero(), "{what} do not come in time; there were {paths:?}");
            state = self.shared.changed.wait_timeout(state, left).unwrap().0;
        }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.shared.changed.notify_all();
        if let Ok(state) = self.shared.state.lock() {
            state.open.iter().for_each(|(_, stream)| drop(stream.shutdown(Shutdown::Both)));
        }
        // Wakes the listener, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read, Write};

    use super::*;

    const REQUEST: &[u8] = b"POST /a HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 2\r\n\r\n{}";

    fn client(backend: &Backend) -> TcpStream {
        let mut stream = TcpStream::connect(backend.address()).unwrap();
        stream.set_read_timeout(Some(TIME_LIMIT)).unwrap();
        stream.write_all(REQUEST).unwrap();
        stream
    }

    fn read_to_end(mut stream: TcpStream) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).map(|_| bytes)
    }

    #[test]
    fn requests_of_one_connection_are_recorded_and_answered_in_order() {
        let last = Answer::ThenClose(Box::new(Answer::status(503)));
        let backend = Backend::in_order(vec![Answer::Json(serde_json::json!({})), last]);
        let mut stream = client(&backend);
        stream.write_all(REQUEST).unwrap();
        let text = String::from_utf8(read_to_end(stream).unwrap()).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 ") && text.contains("HTTP/1.1 503 "), "{text}");
        let requests = backend.wait_for_requests(2);
        assert_eq!(requests[0].all("x-a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!((requests[1].path.as_str(), &requests[1].body[..]), ("/a", &b"{}"[..]));
        assert_eq!(backend.accepted(), 1);
        backend.wait_until_alone();
    }

    #[test]
    fn bad_backends_are_as_bad_as_they_are_told_to_be() {
        let good = Answer::Json(serde_json::json!({}));
        let backend = Backend::in_order(vec![Answer::Reset]);
        let reset = read_to_end(client(&backend)).unwrap_err();
        assert_eq!(reset.kind(), io::ErrorKind::ConnectionReset);
        let backend = Backend::in_order(vec![Answer::Close]);
        assert_eq!(read_to_end(client(&backend)).unwrap(), b"");
        let backend = Backend::in_order(vec![good.clone().cut(7)]);
        assert_eq!(read_to_end(client(&backend)).unwrap(), b"HTTP/1.");
        let backend = Backend::in_order(vec![Answer::Hang]);
        let stream = client(&backend);
        backend.wait_for_requests(1);
        drop(stream);
        backend.wait_for_abandoned(1);
        let backend = Backend::in_order(vec![Answer::ThenClose(Box::new(good.held()))]);
        let stream = client(&backend);
        backend.wait_for_requests(1);
        assert_eq!(backend.answered(), 0);
        backend.release();
        assert!(!read_to_end(stream).unwrap().is_empty());
    }
}
