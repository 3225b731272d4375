//! TLS by rustls: the certificate and the key of the settings.

use std::{path::PathBuf, sync::Arc, time::Duration};

use actix_http::Protocol;
use actix_tls::accept::rustls_0_23::{Acceptor, TlsStream};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
};

use tokio::net::TcpStream;

use crate::settings::TlsSettings;

/// A TLS connection.
pub(crate) type Stream = TlsStream<TcpStream>;

/// HTTP/2 as ALPN names it.
const HTTP_2: &[u8] = b"h2";

/// Time for a TLS handshake: a few round trips on a bad mobile line.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the certificate or the key is not usable.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read as PEM.
    #[error("{0}: {1}")]
    File(PathBuf, #[source] pem::Error),
    /// They do not fit together, or are of an unknown kind.
    #[error(transparent)]
    Unusable(#[from] rustls::Error),
}

/// The configuration that the settings describe.
pub(super) fn config(settings: &TlsSettings) -> Result<ServerConfig, TlsError> {
    let bad_certificate = |error| TlsError::File(settings.certificate.clone(), error);
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&settings.certificate)
        .and_then(Iterator::collect)
        .map_err(bad_certificate)?;
    let key = PrivateKeyDer::from_pem_file(&settings.key)
        .map_err(|error| TlsError::File(settings.key.clone(), error))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    // WebSockets are opened over HTTP/1.1; clients choose it for them by themselves.
    config.alpn_protocols = vec![HTTP_2.to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Does the handshakes of TLS.
pub(super) fn acceptor(config: ServerConfig) -> Acceptor {
    let mut acceptor = Acceptor::new(config);
    acceptor.set_handshake_timeout(HANDSHAKE_TIMEOUT);
    acceptor
}

/// The HTTP version that client and server agreed on.
pub(super) fn protocol(stream: &Stream) -> Protocol {
    match stream.get_ref().1.alpn_protocol() {
        Some(HTTP_2) => Protocol::Http2,
        _ => Protocol::Http1,
    }
}
