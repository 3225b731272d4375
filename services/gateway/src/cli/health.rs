//! `gorani health`: asks the node of this machine how it is. For the health checks of containers, which hold no HTTP client.
//!
//! It reads the same settings as `gorani serve`, so it knows the address and the certificate. `docs/protocols/http.md` §6.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::{Args, ValueEnum};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem, pem::PemObject},
};
use tokio::time::Instant;

use crate::settings::ListenerAddress;

/// Bytes of an answer at most: a status, some headers, and a sentence for each part that is not ready.
const ANSWER_MAX_BYTES: u64 = 16 * 1024;

/// Arguments of `gorani health`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  gorani health\n  gorani health live --timeout 5s\n\nExit codes: 0 yes, 1 no or no answer, 2 bad use, 78 bad settings."
)]
pub struct HealthArguments {
    /// The question to the node.
    #[arg(value_enum, default_value_t = HealthQuery::Ready)]
    question: HealthQuery,
    /// Longest time to wait for the answer.
    #[arg(long, default_value = "3s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

/// A question to the node about its health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum HealthQuery {
    /// Does the process run? If not, restart it.
    Live,
    /// Would it deliver right now? If not, send it no clients.
    Ready,
}

impl HealthQuery {
    const fn path(self) -> &'static str {
        match self {
            Self::Live => "/health/live",
            Self::Ready => "/health/ready",
        }
    }
}

impl HealthArguments {
    /// Asks; the answer's body, when it is yes.
    pub(super) fn ask(&self, listener: ListenerAddress<'_>) -> Result<String, Unhealthy> {
        ask(listener, self.question, self.timeout)
    }
}

/// Why the answer was not yes.
#[derive(Debug, thiserror::Error)]
pub enum Unhealthy {
    /// The node takes a free port, which no other process can know.
    #[error("the address in the settings has port 0, so it is not known where the node listens")]
    PortUnknown,
    /// No answer.
    #[error("no answer from {0}: {1}")]
    NoAnswer(SocketAddr, #[source] io::Error),
    /// The certificate cannot be read, or the node shows another one.
    #[error("tls: {0}")]
    Tls(#[from] PinError),
    /// The node says no.
    #[error("{0}")]
    Answered(String),
}

/// Why there is no TLS connection to the node.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The file cannot be read as PEM.
    #[error("{0}: {1}")]
    File(PathBuf, #[source] pem::Error),
    /// The file of certificates holds none.
    #[error("{0}: no certificate is in it")]
    Empty(PathBuf),
    /// rustls does not take it.
    #[error(transparent)]
    Unusable(#[from] rustls::Error),
}

/// The certificates that a command takes from the node of its machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TrustedCertificate {
    /// Any. Nothing secret is sent, and a file that was renewed, or is broken, is no reason to restart a node that runs with the one before.
    Any,
    /// The first one of the file in the settings: a token must not go to another process.
    OfSettings,
}

fn ask(listener: ListenerAddress<'_>, question: HealthQuery, timeout: Duration) -> Result<String, Unhealthy> {
    let request = format!("GET {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", question.path());
    let trusted = TrustedCertificate::Any;
    match exchange(listener, trusted, request.as_bytes(), timeout, ANSWER_MAX_BYTES)? {
        (200, body) => Ok(body),
        (status, body) => Err(Unhealthy::Answered(format!("{status} {body}"))),
    }
}

/// Sends a request that ends the connection to a listener of the node of this machine; the status and the body of the answer.
pub(super) fn exchange(
    listener: ListenerAddress<'_>,
    trusted: TrustedCertificate,
    request: &[u8],
    timeout: Duration,
    max_bytes: u64,
) -> Result<(u16, String), Unhealthy> {
    let address = reachable(listener.address)?;
    let give_up = Instant::now() + timeout;
    let failed = |error| Unhealthy::NoAnswer(address, error);
    let tcp = TcpStream::connect_timeout(&address, timeout).map_err(failed)?;
    tcp.set_write_timeout(Some(timeout)).map_err(failed)?;
    let tcp = Until { tcp, give_up };
    let answer = if listener.tls.is_on() {
        let pinned = (trusted == TrustedCertificate::OfSettings).then_some(&*listener.tls.certificate);
        transfer(connect_tls(pinned, address.ip(), tcp)?, request, max_bytes)
    } else {
        transfer(tcp, request, max_bytes)
    };
    let answer = answer.map_err(failed)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    match head.split(' ').nth(1).and_then(|status| status.parse().ok()) {
        Some(status) => Ok((status, body.to_owned())),
        None => Err(failed(io::ErrorKind::UnexpectedEof.into())),
    }
}

/// The address at which a node that listens on this one is reached from its own machine.
pub(super) fn reachable(mut address: SocketAddr) -> Result<SocketAddr, Unhealthy> {
    if address.port() == 0 {
        return Err(Unhealthy::PortUnknown);
    }
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    Ok(address)
}

/// One request, and all that is answered until the node closes.
fn transfer(mut io: impl Read + Write, request: &[u8], max_bytes: u64) -> io::Result<String> {
    io.write_all(request)?;
    io.flush()?;
    let mut answer = Vec::new();
    match io.take(max_bytes).read_to_end(&mut answer) {
        // What has come counts, whichever way the connection ends.
        Err(_) if !answer.is_empty() => {}
        result => drop(result?),
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A stream whose reads all end at one moment: a time-out for each would let a trickle go on for ever.
pub(super) struct Until {
    /// The connection.
    pub(super) tcp: TcpStream,
    /// The moment.
    pub(super) give_up: Instant,
}

impl Read for Until {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.give_up.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.tcp.set_read_timeout(Some(left))?;
        self.tcp.read(buffer)
    }
}

impl Write for Until {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.tcp.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}

/// Speaks TLS over `io` with a server whose certificate may have any name, but must be the first one of the file if one is pinned. No
/// byte is sent yet.
pub(super) fn connect_tls<T: Read + Write>(
    pinned: Option<&Path>,
    ip: IpAddr,
    io: T,
) -> Result<StreamOwned<ClientConnection, T>, PinError> {
    let certificate = pinned.map(certificate_of).transpose()?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned { certificate, provider }))
        .with_no_client_auth();
    let connection = ClientConnection::new(Arc::new(config), ServerName::from(ip))?;
    Ok(StreamOwned::new(connection, io))
}

fn certificate_of(file: &Path) -> Result<CertificateDer<'static>, PinError> {
    CertificateDer::from_pem_file(file).map_err(|error| match error {
        pem::Error::NoItemsFound => PinError::Empty(file.to_owned()),
        error => PinError::File(file.to_owned(), error),
    })
}

/// Trusts one certificate, by its bytes, or any: the address asked is the loopback, which no certificate names.
#[derive(Debug)]
struct Pinned {
    certificate: Option<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.certificate.as_ref().is_none_or(|certificate| end_entity == certificate) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::General(
                "the node shows another certificate than the file of its settings; if that was renewed, SIGHUP lets the node read it".to_owned(),
            ))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::{net::TcpListener, thread};

    use super::*;
    use crate::settings::HttpSettings;

    const SOON: Duration = Duration::from_secs(10);

    /// Asks a server that answers this, once.
    fn asked(answer: &'static str) -> Result<String, Unhealthy> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(request.get(..read).unwrap()).into_owned()
        });
        let settings = HttpSettings { address, ..HttpSettings::default() };
        let result = ask(settings.listener(), HealthQuery::Live, SOON);
        assert!(server.join().unwrap().starts_with("GET /health/live HTTP/1.1\r\n"));
        result
    }

    #[test]
    fn only_the_status_200_is_a_yes() {
        assert_eq!(asked("HTTP/1.1 200 OK\r\n\r\nfine").unwrap(), "fine");
        let no = asked("HTTP/1.1 503 Service Unavailable\r\n\r\ndraining").unwrap_err();
        assert_eq!(no.to_string(), "503 draining");
        assert!(matches!(asked("HTTP/1.1"), Err(Unhealthy::NoAnswer(..))));
        assert!(matches!(asked(""), Err(Unhealthy::NoAnswer(..))));
    }

    #[test]
    fn a_node_that_never_answers_is_given_up_in_time() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let settings = HttpSettings { address: listener.local_addr().unwrap(), ..HttpSettings::default() };
        let started = Instant::now();
        let result = ask(settings.listener(), HealthQuery::Ready, Duration::from_millis(100));
        assert!(matches!(result, Err(Unhealthy::NoAnswer(..))));
        assert!(started.elapsed() < SOON);
    }

    #[test]
    fn a_node_that_listens_everywhere_is_asked_on_the_loopback() {
        let reached = |address: &str| reachable(address.parse().unwrap()).map(|address| address.to_string());
        assert_eq!(reached("0.0.0.0:8000").unwrap(), "127.0.0.1:8000");
        assert_eq!(reached("[::]:8000").unwrap(), "[::1]:8000");
        assert_eq!(reached("192.0.2.7:8000").unwrap(), "192.0.2.7:8000");
        assert!(matches!(reached("127.0.0.1:0"), Err(Unhealthy::PortUnknown)));
    }
}
