//! A connection of a scripted backend: reads requests of HTTP/1.1, and answers as it is told to.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{Answer, Request, Shared};

/// Pause between two bytes of an answer that trickles.
const TRICKLE_PAUSE: Duration = Duration::from_secs(1);
/// Headers of a request at most.
const HEADERS_MAX: usize = 128;

/// The fate of a connection after an answer.
enum Then {
    Keep,
    Close,
    Reset,
}

/// One connection of a client.
pub(super) struct Connection<'a> {
    stream: TcpStream,
    number: usize,
    shared: &'a Shared,
    read: Vec<u8>,
}

impl<'a> Connection<'a> {
    pub(super) fn new(stream: TcpStream, number: usize, shared: &'a Shared) -> Self {
        Self { stream, number, shared, read: Vec::new() }
    }

    /// Answers requests until one of both ends it.
    pub(super) fn serve(mut self) -> io::Result<()> {
        self.stream.set_nodelay(true)?;
        while let Some(request) = self.request()? {
            let script = Arc::clone(&self.shared.script.lock().unwrap());
            let answer = script(&request);
            let released = {
                let mut state = self.shared.state.lock().unwrap();
                state.requests.push(request);
                state.released
            };
            self.shared.changed.notify_all();
            match self.answer(&answer, released) {
                Ok(then) => {
                    self.shared.state.lock().unwrap().answered += 1;
                    self.shared.changed.notify_all();
                    match then {
                        Then::Keep => {}
                        Then::Close => break,
                        // A linger of zero resets the connection once nobody holds it, if it was not shut down before.
                        Then::Reset => {
                            return socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
                        }
                    }
                }
                Err(error) => {
                    self.shared.state.lock().unwrap().abandoned += 1;
                    return Err(error);
                }
            }
        }
        let _ = self.stream.shutdown(Shutdown::Both);
        Ok(())
    }

    /// The next request; `None` at the end of the connection.
    fn request(&mut self) -> io::Result<Option<Request>> {
        loop {
            if let Some((mut request, head, body)) = head(&self.read) {
                while self.read.len() < head + body {
                    if !self.more()? {
                        return Ok(None);
                    }
                }
                request.connection = self.number;
                request.body = self.read.drain(..head + body).skip(head).collect();
                request.at = Instant::now();
                return Ok(Some(request));
            }
            if !self.more()? {
                return Ok(None);
            }
        }
    }

    fn more(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        let count = self.stream.read(&mut buffer)?;
        self.read.extend_from_slice(&buffer[..count]);
        Ok(count > 0)
    }

    /// Writes an answer.
    fn answer(&mut self, answer: &Answer, released: usize) -> io::Result<Then> {
        match answer {
            Answer::Json(_) | Answer::Status(..) => {
                self.stream.write_all(&answer.bytes()).map(|()| Then::Keep)
            }
            Answer::Raw(bytes) => self.stream.write_all(bytes).map(|()| Then::Close),
            Answer::Huge(bytes) => self.huge(*bytes).map(|()| Then::Keep),
            Answer::Hang => {
                // Returns when the client gives up.
                while self.more()? {}
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Answer::Reset => Ok(Then::Reset),
            Answer::Close => Ok(Then::Close),
            Answer::Trickle(whole) => {
                for byte in whole.bytes() {
                    self.stream.write_all(&[byte])?;
                    self.pause(TRICKLE_PAUSE)?;
                }
                Ok(Then::Keep)
            }
            Answer::Cut(count, whole) => {
                let bytes = whole.bytes();
                self.stream.write_all(&bytes[..bytes.len().min(*count)]).map(|()| Then::Close)
            }
            Answer::ThenClose(whole) => self.answer(whole, released).map(|_| Then::Close),
            Answer::Held(whole) => {
                self.wait_release(released)?;
                self.answer(whole, released)
            }
            Answer::After(pause, whole) => {
                self.pause(*pause)?;
                self.answer(whole, released)
            }
        }
    }

    fn huge(&mut self, bytes: usize) -> io::Result<()> {
        const PIECE: [u8; 16 * 1024] = [b'x'; 16 * 1024];
        let (start, end) = (br#"{"result":{"data":""#, br#""}}"#);
        let length = start.len() + bytes + end.len();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        self.stream.write_all(&[head.as_bytes(), start].concat())?;
        let mut left = bytes;
        while left > 0 {
            let piece = left.min(PIECE.len());
            self.stream.write_all(&PIECE[..piece])?;
            left -= piece;
        }
        self.stream.write_all(end)
    }

    /// Waits; an error if the client goes away meanwhile.
    fn pause(&mut self, pause: Duration) -> io::Result<()> {
        let until = Instant::now() + pause;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return self.stream.set_read_timeout(None);
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.more() {
                Ok(true) => {}
                Ok(false) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until what is held is let go; an error if the client goes away meanwhile.
    fn wait_release(&mut self, released: usize) -> io::Result<()> {
        const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(5);
        loop {
            if self.shared.is_over.load(Ordering::SeqCst) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if self.shared.state.lock().unwrap().released > released {
                return Ok(());
            }
            self.pause(LOOK_AGAIN_AFTER)?;
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// A request without its body, the length of its head, and that of its body.
fn head(bytes: &[u8]) -> Option<(Request, usize, usize)> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(length) = parsed.parse(bytes).expect("a request of HTTP/1.1") else {
        return None;
    };
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let request = Request {
        connection: 0,
        method: parsed.method.unwrap_or_default().to_owned(),
        path: parsed.path.unwrap_or_default().to_owned(),
        headers: parsed.headers.iter().map(|line| (line.name.to_owned(), text(line.value))).collect(),
        body: Vec::new(),
        at: Instant::now(),
    };
    let body = request.header("content-length").map_or(Ok(0), str::parse).expect("a number");
    Some((request, length, body))
}
