//! An answer without an end, read line by line: what `gorani tail` prints. It comes in chunks, or until the connection ends.

use std::{
    io::{self, Read as _, Write as _},
    time::Duration,
};

use super::http_client::WebStream;

/// Bytes of the head of an answer, and of one line, at most.
const LINE_MAX_BYTES: usize = 1024 * 1024;
/// Bytes of one read.
const READ_BYTES: usize = 16 * 1024;
/// Headers of an answer at most.
const HEADERS_MAX: usize = 64;

/// The lines of an answer.
pub(super) struct StreamedLines {
    stream: WebStream,
    body: StreamedBody,
}

/// The body as it comes.
#[derive(Debug, Default)]
struct StreamedBody {
    is_chunked: bool,
    /// Bytes that are not looked at yet.
    raw: Vec<u8>,
    /// Bytes of the chunk that are still to come, with the end of its line.
    left: usize,
    is_over: bool,
    /// Text that is not taken yet.
    text: Vec<u8>,
}

impl StreamedLines {
    /// Sends a request and reads the head of the answer: its status, and what follows.
    pub(super) fn begin(mut stream: WebStream, request: &[u8]) -> io::Result<(u16, Self)> {
        stream.write_all(request)?;
        stream.flush()?;
        let mut raw = Vec::new();
        loop {
            if read_into(&mut stream, &mut raw)? == 0 || raw.len() > LINE_MAX_BYTES {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some((status, body)) = head(&raw)? {
                return Ok((status, Self { stream, body }));
            }
        }
    }

    /// The next line, waiting so long for each part of it; `None` at the end.
    pub(super) fn next(&mut self, wait: Duration) -> io::Result<Option<String>> {
        loop {
            self.body.decode()?;
            if let Some(line) = self.body.take_line()? {
                return Ok(Some(line));
            }
            self.stream.extend(wait);
            if self.body.is_over || read_into(&mut self.stream, &mut self.body.raw)? == 0 {
                return Ok(None);
            }
        }
    }

    /// All that follows, as far as it is one answer.
    pub(super) fn rest(&mut self, wait: Duration) -> String {
        let mut all = String::new();
        while let Ok(Some(line)) = self.next(wait) {
            all.push_str(&line);
            if all.len() > LINE_MAX_BYTES {
                break;
            }
        }
        all.push_str(&String::from_utf8_lossy(&self.body.text));
        all
    }
}

fn read_into(stream: &mut WebStream, bytes: &mut Vec<u8>) -> io::Result<usize> {
    let mut buffer = [0; READ_BYTES];
    let read = loop {
        match stream.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => break result?,
        }
    };
    bytes.extend_from_slice(buffer.get(..read).unwrap_or_default());
    Ok(read)
}

/// The status, and the body as far as it is there; `None` while the head is not whole.
fn head(answer: &[u8]) -> io::Result<Option<(u16, StreamedBody)>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(answer).map_err(io::Error::other)? else {
        return Ok(None);
    };
    let is_chunked = head.headers.iter().any(|header| header.name.eq_ignore_ascii_case("transfer-encoding"));
    let raw = answer.get(length..).unwrap_or_default().to_vec();
    Ok(head.code.map(|status| (status, StreamedBody { is_chunked, raw, ..StreamedBody::default() })))
}

impl StreamedBody {
    /// Takes the text out of the chunks that are there.
    fn decode(&mut self) -> io::Result<()> {
        if !self.is_chunked {
            self.text.append(&mut self.raw);
            return Ok(());
        }
        while !self.is_over {
            if self.left > 0 {
                let length = self.left.min(self.raw.len());
                // The last two bytes end the chunk's line.
                let of_text = self.left.saturating_sub(2).min(length);
                self.text.extend_from_slice(self.raw.get(..of_text).unwrap_or_default());
                self.raw.drain(..length);
                self.left -= length;
                if self.left > 0 {
                    return Ok(());
                }
            }
            let size = httparse::parse_chunk_size(&self.raw);
            match size.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))? {
                httparse::Status::Partial => return Ok(()),
                httparse::Status::Complete((_, 0)) => self.is_over = true,
                httparse::Status::Complete((start, length)) => {
                    self.raw.drain(..start);
                    let length = usize::try_from(length).unwrap_or(usize::MAX);
                    self.left = length.saturating_add(2);
                }
            }
        }
        Ok(())
    }

    fn take_line(&mut self) -> io::Result<Option<String>> {
        let Some(end) = memchr::memchr(b'\n', &self.text) else {
            if self.text.len() > LINE_MAX_BYTES {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a line of the answer has no end"));
            }
            return Ok(None);
        };
        let rest = self.text.split_off(end + 1);
        let line = std::mem::replace(&mut self.text, rest);
        Ok(Some(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// The lines of an answer of which so many bytes come at a time.
    fn lines(answer: &[u8], at_a_time: usize) -> Vec<String> {
        let (mut all, mut body, mut before) = (Vec::new(), None, Vec::new());
        for part in answer.chunks(at_a_time) {
            let Some(body) = &mut body else {
                before.extend_from_slice(part);
                body = head(&before).unwrap().map(|(_, body)| body);
                continue;
            };
            let body: &mut StreamedBody = body;
            body.raw.extend_from_slice(part);
            body.decode().unwrap();
            while let Some(line) = body.take_line().unwrap() {
                all.push(line);
            }
        }
        let mut body = body.unwrap();
        body.decode().unwrap();
        while let Some(line) = body.take_line().unwrap() {
            all.push(line);
        }
        all
    }

    #[test]
    fn lines_are_the_same_however_the_bytes_come() {
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n9;x=y\r\n\":1}\n\n{\"b\r\n4\r\n\":2}\r\n1\r\n\n\r\n0\r\n\r\n";
        let plain = b"HTTP/1.1 200 OK\r\n\r\n{\"a\":1}\n\n{\"b\":2}\n";
        for at_a_time in [1, 2, 3, 7, 1000] {
            assert_eq!(lines(chunked, at_a_time), ["{\"a\":1}", "", "{\"b\":2}"], "{at_a_time}");
            assert_eq!(lines(plain, at_a_time), ["{\"a\":1}", "", "{\"b\":2}"], "{at_a_time}");
        }
    }

    #[test]
    fn what_is_no_chunk_and_a_line_without_an_end_are_refused() {
        let mut body = StreamedBody { is_chunked: true, raw: b"zz\r\n".to_vec(), ..StreamedBody::default() };
        assert!(body.decode().is_err());
        let mut body = StreamedBody { raw: vec![b'x'; LINE_MAX_BYTES + 1], ..StreamedBody::default() };
        body.decode().unwrap();
        assert!(body.take_line().is_err());
        let mut body = StreamedBody { is_chunked: true, raw: b"fffffffffffffff\r\nabc".to_vec(), ..body };
        body.decode().unwrap();
        assert_eq!(body.raw.len(), 0, "it takes what comes of a chunk, however long it says to be");
    }
}
