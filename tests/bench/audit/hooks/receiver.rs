//! The backend that is told: it takes batches of events over HTTP, folds what it took, and can be made to fail.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use serde_json::Value;

use super::fold::Fold;

/// A batch and its head are smaller than this.
const REQUEST_MAX_BYTES: usize = 4 * 1024 * 1024;
const HEADERS: usize = 64;
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(5);

/// How the backend behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behaviour {
    /// It takes everything.
    Good,
    /// 503.
    Down,
    /// 400 to every batch with the first `connected` of the user [`POISONED`].
    Poisoned,
    /// It takes a batch, and does not answer as long as this holds.
    Silent,
}

/// The user whose first event is refused where the backend is [`Behaviour::Poisoned`].
pub(super) const POISONED: &str = "user-0";

/// What its threads share.
#[derive(Debug)]
struct Shared {
    behaviour: Mutex<Behaviour>,
    fold: Mutex<Fold>,
    /// Id and client of the event that is refused, once it was seen.
    poison: Mutex<Option<(String, String)>>,
}

/// The backend. Its threads end with the process.
#[derive(Debug)]
pub(super) struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Receiver {
    pub(super) fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            behaviour: Mutex::new(Behaviour::Good),
            fold: Mutex::default(),
            poison: Mutex::default(),
        });
        let threads = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&threads);
                // A node that goes away in the middle ends its connection alone.
                thread::spawn(move || serve(stream, &shared).ok());
            }
        });
        Ok(Self { address, shared })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/hooks", self.address)
    }

    pub(super) fn behave(&self, behaviour: Behaviour) {
        *self.shared.behaviour.lock().unwrap() = behaviour;
    }

    /// Looks at what it knows.
    pub(super) fn with<T>(&self, look: impl FnOnce(&Fold) -> T) -> T {
        look(&self.shared.fold.lock().unwrap())
    }

    /// Id and client of the event that it refused.
    pub(super) fn poison(&self) -> Option<(String, String)> {
        self.shared.poison.lock().unwrap().clone()
    }

    /// The client whose events have a hole for that.
    pub(super) fn poisoned_client(&self) -> Option<String> {
        self.poison().map(|(_, client)| client)
    }
}

/// Answers the requests of one connection.
fn serve(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut bytes = Vec::new();
    while let Some(body) = read_request(&mut stream, &mut bytes)? {
        let batch: Value = serde_json::from_slice(&body).map_err(io::Error::other)?;
        let events = batch["events"].as_array().cloned().unwrap_or_default();
        let behaviour = *shared.behaviour.lock().unwrap();
        let status = match behaviour {
            Behaviour::Down => "503 Service Unavailable",
            Behaviour::Poisoned if shared.refuses(&events) => "400 Bad Request",
            _ => {
                shared.fold.lock().unwrap().take(&events);
                "200 OK"
            }
        };
        while behaviour == Behaviour::Silent && *shared.behaviour.lock().unwrap() == Behaviour::Silent {
            thread::sleep(LOOK_AGAIN_AFTER);
        }
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\n{{}}")?;
    }
    Ok(())
}

impl Shared {
    /// True if the poisoned event is among these.
    fn refuses(&self, events: &[Value]) -> bool {
        let mut poison = self.poison.lock().unwrap();
        if poison.is_none() {
            let found = events.iter().find(|event| event["type"] == "connected" && event["user"] == POISONED);
            let text = |event: &Value, name: &str| event[name].as_str().unwrap_or_default().to_owned();
            *poison = found.map(|event| (text(event, "id"), text(event, "client")));
            if let Some((_, client)) = &*poison {
                self.fold.lock().unwrap().excused = Some(client.clone());
            }
        }
        events.iter().any(|event| poison.as_ref().is_some_and(|(poison, _)| event["id"] == **poison))
    }
}

/// The body of the next request; `None` at the end of the connection.
fn read_request(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    loop {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        if let httparse::Status::Complete(head) = request.parse(bytes).map_err(io::Error::other)? {
            let length =
                request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
            let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok());
            let length: usize = length.ok_or_else(|| io::Error::other("a batch without its length"))?;
            if bytes.len() >= head + length {
                let body = bytes[head..head + length].to_vec();
                bytes.drain(..head + length);
                return Ok(Some(body));
            }
        }
        if bytes.len() > REQUEST_MAX_BYTES {
            return Err(io::Error::other("a batch is too large"));
        }
        let mut piece = [0; 64 * 1024];
        match stream.read(&mut piece)? {
            0 => return Ok(None),
            count => bytes.extend_from_slice(&piece[..count]),
        }
    }
}
