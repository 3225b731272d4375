//! A backend of tests on a real socket: a script says what each request gets.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::Instant,
};

/// A request that came.
#[derive(Debug, Clone)]
pub(crate) struct SeenRequest {
    /// The number of its connection, from 0.
    pub(crate) connection: usize,
    /// Its number on this connection, from 0.
    pub(crate) number: usize,
    /// Its head, in lower case but for values.
    pub(crate) head: String,
    /// Its body.
    pub(crate) body: String,
}

impl SeenRequest {
    /// The values of a header, in their order.
    pub(crate) fn header(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }
}

/// The answer to a request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// These bytes.
    Bytes(Vec<u8>),
    /// These bytes, and the end of the connection.
    Last(Vec<u8>),
    /// A reset.
    Reset,
    /// These bytes, and then nothing for ever.
    Hang(Vec<u8>),
}

impl Reply {
    /// A whole answer.
    pub(crate) fn with(status: u16, body: &str) -> Self {
        Self::Bytes(answer(status, "", body.as_bytes()))
    }
}

/// The bytes of an answer with its length. `headers`: further lines.
pub(crate) fn answer(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status} Any\r\n{headers}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// The backend. It ends with the test.
pub(crate) struct TestBackend {
    pub(crate) url: String,
    pub(crate) seen: Rc<RefCell<Vec<SeenRequest>>>,
    /// Connections that are open.
    pub(crate) open: Rc<Cell<usize>>,
}

impl TestBackend {
    pub(crate) async fn start(script: impl Fn(&SeenRequest) -> Reply + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (seen, open): (Rc<RefCell<Vec<SeenRequest>>>, Rc<Cell<usize>>) = Default::default();
        let (log, count, script) = (seen.clone(), open.clone(), Rc::new(script));
        actix_rt::spawn(async move {
            for connection in 0.. {
                let (socket, _) = listener.accept().await.unwrap();
                count.set(count.get() + 1);
                let (log, count, script) = (log.clone(), count.clone(), script.clone());
                actix_rt::spawn(async move {
                    serve(socket, connection, &log, &*script).await;
                    count.set(count.get() - 1);
                });
            }
        });
        Self { url, seen, open }
    }

    /// The last request that came.
    pub(crate) fn last(&self) -> SeenRequest {
        self.seen.borrow().last().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.borrow().len()
    }
}

/// Runs other tasks until it holds.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    let give_up = std::time::Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(std::time::Instant::now() < give_up, "it does not come true");
        tokio::task::yield_now().await;
    }
}

/// Time enough for a call that is answered.
pub(crate) fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

async fn serve(
    mut socket: TcpStream,
    connection: usize,
    seen: &RefCell<Vec<SeenRequest>>,
    script: &dyn Fn(&SeenRequest) -> Reply,
) {
    let mut bytes = Vec::new();
    for number in 0.. {
        let Some(request) = read(&mut socket, &mut bytes, connection, number).await else { return };
        let reply = script(&request);
        seen.borrow_mut().push(request);
        // A client that is gone shows at the next read.
        match reply {
            Reply::Bytes(bytes) => drop(socket.write_all(&bytes).await),
            Reply::Last(bytes) => {
                drop(socket.write_all(&bytes).await);
                drop(socket.shutdown().await);
                return;
            }
            Reply::Reset => {
                socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
                return;
            }
            Reply::Hang(bytes) => {
                drop(socket.write_all(&bytes).await);
                let mut rest = [0; 64];
                while matches!(socket.read(&mut rest).await, Ok(1..)) {}
                return;
            }
        }
    }
}

async fn read(
    socket: &mut TcpStream,
    bytes: &mut Vec<u8>,
    connection: usize,
    number: usize,
) -> Option<SeenRequest> {
    loop {
        let text = String::from_utf8_lossy(bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().filter_map(|line| line.split_once(':'));
            let mut length = length.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
            let length: usize = length.next_back().map_or(0, |(_, value)| value.trim().parse().unwrap());
            if body.len() >= length {
                bytes.drain(..head.len() + 4 + length);
                let (head, body) = (head.to_owned(), body[..length].to_owned());
                return Some(SeenRequest { connection, number, head, body });
            }
        }
        let mut more = [0; 4096];
        match socket.read(&mut more).await {
            Ok(count @ 1..) => bytes.extend_from_slice(&more[..count]),
            _ => return None,
        }
    }
}
