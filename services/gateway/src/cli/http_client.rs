//! Plain HTTP for commands: one request and its answer over a connection of its own, with an end to all waiting. HTTPS trusts what the
//! machine trusts.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::aws_lc_rs, pki_types::ServerName,
};
use tokio::time::Instant;
use url::Url;

use super::health::{Unhealthy, Until, connect_tls, reachable};
use crate::settings::ListenerAddress;

/// Bytes of an answer at most.
pub(super) const ANSWER_MAX_BYTES: u64 = 16 * 1024 * 1024;
/// Headers of an answer at most.
const HEADERS_MAX: usize = 64;

/// A connection to a server.
pub(super) enum WebStream {
    /// Without TLS.
    Plain(Until),
    /// With TLS.
    Tls(Box<StreamOwned<ClientConnection, Until>>),
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WebAnswer {
    /// The status.
    pub(super) status: u16,
    /// The body.
    pub(super) body: Vec<u8>,
}

impl WebAnswer {
    /// The body as text.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl WebStream {
    /// Connects. All waiting ends after `timeout`, unless [`WebStream::extend`] gives more.
    pub(super) fn open(url: &Url, timeout: Duration) -> io::Result<Self> {
        let host = url.host_str().ok_or_else(|| wrong("the URL has no host"))?;
        let host = host.trim_matches(['[', ']']);
        let port = url.port_or_known_default().ok_or_else(|| wrong("the URL has no port"))?;
        let mut last = wrong("the host has no address");
        let mut addresses = (host, port).to_socket_addrs()?;
        let tcp = addresses.find_map(|address| {
            TcpStream::connect_timeout(&address, timeout).map_err(|error| last = error).ok()
        });
        let Some(tcp) = tcp else { return Err(last) };
        tcp.set_write_timeout(Some(timeout))?;
        let tcp = Until { tcp, give_up: Instant::now() + timeout };
        match url.scheme() {
            "http" | "ws" => Ok(Self::Plain(tcp)),
            "https" | "wss" => Ok(Self::Tls(Box::new(over_tls(host, tcp)?))),
            _ => Err(wrong("the URL must begin with http:// or https://")),
        }
    }

    /// Connects to a listener of the node of this machine, as [`WebStream::open`] does elsewhere.
    pub(super) fn open_here(listener: ListenerAddress<'_>, timeout: Duration) -> Result<Self, Unhealthy> {
        let address = reachable(listener.address)?;
        let failed = |error| Unhealthy::NoAnswer(address, error);
        let tcp = TcpStream::connect_timeout(&address, timeout).map_err(failed)?;
        tcp.set_write_timeout(Some(timeout)).map_err(failed)?;
        let tcp = Until { tcp, give_up: Instant::now() + timeout };
        if listener.tls.is_on() {
            Ok(Self::Tls(Box::new(connect_tls(Some(&listener.tls.certificate), address.ip(), tcp)?)))
        } else {
            Ok(Self::Plain(tcp))
        }
    }

    fn until(&mut self) -> &mut Until {
        match self {
            Self::Plain(until) => until,
            Self::Tls(stream) => &mut stream.sock,
        }
    }

    /// All waiting ends so long from now.
    pub(super) fn extend(&mut self, time: Duration) {
        self.until().give_up = Instant::now() + time;
    }

    /// The own address, as the server's side of the network may see it.
    pub(super) fn local_address(&mut self) -> io::Result<SocketAddr> {
        self.until().tcp.local_addr()
    }

    /// The server's certificate, once bytes have come.
    pub(super) fn certificate(&self) -> Option<Vec<u8>> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => stream.conn.peer_certificates()?.first().map(|first| first.to_vec()),
        }
    }

    /// Sends a request that ends the connection, and reads the answer.
    pub(super) fn exchange(&mut self, request: &[u8]) -> io::Result<WebAnswer> {
        // A server that refuses a long body may answer and close before it has read it.
        let sent = self.write_all(request).and_then(|()| self.flush());
        let mut answer = Vec::new();
        match Read::by_ref(self).take(ANSWER_MAX_BYTES).read_to_end(&mut answer) {
            // What has come counts, whichever way the connection ends.
            Err(_) if !answer.is_empty() => {}
            result => drop(sent.and(result)?),
        }
        parse(&answer)
    }
}

impl Read for WebStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(until) => until.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for WebStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(until) => until.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(until) => until.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// The host of a URL as a request names it.
pub(super) fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn wrong(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text.to_owned())
}

fn over_tls(host: &str, tcp: Until) -> io::Result<StreamOwned<ClientConnection, Until>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    Ok(StreamOwned::new(connection, tcp))
}

/// The answer in what a server sent until it closed.
pub(super) fn parse(answer: &[u8]) -> io::Result<WebAnswer> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let parsed = head.parse(answer).map_err(io::Error::other)?;
    let (httparse::Status::Complete(length), Some(status)) = (parsed, head.code) else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    let body = answer.get(length..).unwrap_or_default();
    let is_chunked = head.headers.iter().any(|header| header.name.eq_ignore_ascii_case("transfer-encoding"));
    let body = if is_chunked { unchunked(body) } else { body.to_vec() };
    Ok(WebAnswer { status, body })
}

/// The body of an answer that a proxy has cut into chunks. One that breaks off ends there.
fn unchunked(mut chunks: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(httparse::Status::Complete((start, length))) = httparse::parse_chunk_size(chunks) {
        let end = usize::try_from(length).ok().and_then(|length| start.checked_add(length));
        let chunk = end.filter(|end| *end > start).and_then(|end| Some((chunks.get(start..end)?, end)));
        let Some((chunk, end)) = chunk else { break };
        body.extend_from_slice(chunk);
        chunks = chunks.get(end + 2..).unwrap_or_default();
    }
    body
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::{net::TcpListener, thread};

    use super::*;

    #[test]
    fn a_body_in_chunks_is_put_together_and_a_broken_one_ends_where_it_breaks() {
        assert_eq!(unchunked(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), b"abcde");
        assert_eq!(unchunked(b"3\r\nabc\r\nffffffffffffffff\r\nde"), b"abc");
        assert_eq!(unchunked(b"9\r\nabc"), b"");
        assert_eq!(unchunked(b"zz"), b"");
    }

    #[test]
    fn an_answer_that_breaks_off_in_its_head_is_none() {
        let whole = b"HTTP/1.1 204 No Content\r\nServer: x\r\n\r\n";
        assert_eq!(parse(whole).unwrap(), WebAnswer { status: 204, body: Vec::new() });
        for end in 0..whole.len() {
            assert!(parse(&whole[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn of_an_answer_without_end_so_much_is_read_and_no_more() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Url::parse(&format!("http://{}", server.local_addr().unwrap())).unwrap();
        let sending = thread::spawn(move || {
            let (mut socket, _) = server.accept().unwrap();
            socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            // Ends when the reader has closed.
            while socket.write_all(&[b'x'; 65536]).is_ok() {}
        });
        let mut stream = WebStream::open(&url, Duration::from_secs(60)).unwrap();
        let answer = stream.exchange(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let head = b"HTTP/1.1 200 OK\r\n\r\n".len();
        assert_eq!(answer.body.len() + head, usize::try_from(ANSWER_MAX_BYTES).unwrap());
        drop(stream);
        sending.join().unwrap();
    }

    #[test]
    fn a_host_is_named_with_its_port_where_it_is_not_the_usual_one() {
        let named = |url: &str| host(&Url::parse(url).unwrap());
        assert_eq!((named("https://a:443/x"), named("http://a:8000")), ("a".to_owned(), "a:8000".to_owned()));
        assert_eq!(named("http://[::1]:9/"), "[::1]:9");
    }
}
