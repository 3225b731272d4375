//! A backend that costs little: it answers every request with the same bytes, at once or so many a second.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Mutex,
    time::sleep,
};

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{\"result\":{}}";
const HEADERS: usize = 64;
/// An event's type, as it stands in a batch.
const EVENT: &[u8] = b"\"type\":\"subscribed\"";

/// The time of its answers.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answers {
    AtOnce,
    /// One after the other, each after this time; those that nobody waits for any more take their time too.
    Every(Duration),
    /// Each after this time, all side by side.
    After(Duration),
}

/// The backend. Its thread ends with the process.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    pub(super) requests: Arc<AtomicUsize>,
    /// Events of hooks that came in them.
    pub(super) events: Arc<AtomicUsize>,
}

impl Server {
    pub(super) fn start(answers: Answers) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (requests, events) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let counters = (Arc::clone(&requests), Arc::clone(&events));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        thread::spawn(move || {
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener of this process");
                let turn = Arc::new(Mutex::new(()));
                loop {
                    let Ok((stream, _)) = listener.accept().await else { continue };
                    let ((requests, events), turn) = (counters.clone(), Arc::clone(&turn));
                    tokio::spawn(async move {
                        // It ends when the node closes the connection.
                        let _ = serve(stream, answers, &turn, &requests, &events).await;
                    });
                }
            });
        });
        Ok(Self { address, requests, events })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

async fn serve(
    mut stream: TcpStream,
    answers: Answers,
    turn: &Mutex<()>,
    requests: &AtomicUsize,
    events: &AtomicUsize,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut bytes = Vec::with_capacity(64 * 1024);
    loop {
        while let Some(end) = end_of_request(&bytes)? {
            let came =
                bytes.get(..end).unwrap_or_default().windows(EVENT.len()).filter(|part| *part == EVENT);
            let came = came.count();
            bytes.drain(..end);
            match answers {
                Answers::AtOnce => {}
                Answers::After(pause) => sleep(pause).await,
                Answers::Every(pause) => {
                    let _mine = turn.lock().await;
                    sleep(pause).await;
                }
            }
            requests.fetch_add(1, Ordering::Relaxed);
            stream.write_all(ANSWER).await?;
            events.fetch_add(came, Ordering::Relaxed);
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
    }
}

/// Length of the first request, if it is whole.
fn end_of_request(bytes: &[u8]) -> io::Result<Option<usize>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head) = request.parse(bytes).map_err(io::Error::other)? else {
        return Ok(None);
    };
    let length = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.parse::<usize>().ok());
    let end = head + length.ok_or_else(|| io::Error::other("a request without its length"))?;
    Ok((bytes.len() >= end).then_some(end))
}
