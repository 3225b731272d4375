//! One keep-alive HTTP connection that publishes: requests are written as they are given, answers are counted.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// How long an answer may take.
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// Room for answers in one read.
const READ_BYTES: usize = 64 * 1024;

/// A backend's connection.
#[derive(Debug)]
pub(crate) struct Publisher {
    stream: TcpStream,
    unread: Vec<u8>,
    buffer: Vec<u8>,
}

impl Publisher {
    pub(crate) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIME_LIMIT))?;
        stream.set_write_timeout(Some(TIME_LIMIT))?;
        Ok(Self { stream, unread: Vec::new(), buffer: vec![0; READ_BYTES] })
    }

    /// Writes requests, one or several behind each other, in one go.
    pub(crate) fn send(&mut self, requests: &[u8]) -> io::Result<()> {
        self.stream.write_all(requests)
    }

    /// Waits until `count` answers are in; every one must be 200.
    pub(crate) fn finish(&mut self, count: usize) -> io::Result<()> {
        let mut seen = 0;
        while seen < count {
            seen += self.receive()?;
        }
        Ok(())
    }

    /// Sends `total` times the same request with at most `depth` unanswered, one batch of writes per read.
    pub(crate) fn pump(&mut self, request: &[u8], total: usize, depth: usize) -> io::Result<()> {
        let window = request.repeat(depth);
        let mut sent = depth.min(total);
        let mut answered = 0;
        self.send(&window[..sent * request.len()])?;
        while answered < total {
            let seen = self.receive()?;
            answered += seen;
            let next = seen.min(total - sent);
            self.send(&window[..next * request.len()])?;
            sent += next;
        }
        Ok(())
    }

    /// Reads once and counts the answers that are complete by now (perhaps none).
    fn receive(&mut self) -> io::Result<usize> {
        let read = self.stream.read(&mut self.buffer)?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.unread.extend_from_slice(&self.buffer[..read]);
        let (mut seen, mut start) = (0, 0);
        while let Some(length) = answer_length(&self.unread[start..])? {
            start += length;
            seen += 1;
        }
        self.unread.drain(..start);
        Ok(seen)
    }
}

/// The length of the first answer, head and body, if all of it is there.
pub(crate) fn answer_length(bytes: &[u8]) -> io::Result<Option<usize>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(bytes).map_err(io::Error::other)? else {
        return Ok(None);
    };
    let length = response
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse::<usize>().ok())
        .ok_or_else(|| io::Error::other("an answer without a length"))?;
    let end = head + length;
    if bytes.len() < end {
        return Ok(None);
    }
    if response.code != Some(200) {
        let body = String::from_utf8_lossy(&bytes[head..end]);
        return Err(io::Error::other(format!("answer {:?}: {body}", response.code)));
    }
    Ok(Some(end))
}
