//! TLS by rustls: the certificate and the key of the settings, and the handshakes.

use std::{path::PathBuf, sync::Arc, time::Duration};

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
};
use tokio_rustls::TlsAcceptor;

use super::{
    accepted::{AcceptedConnection, TlsConnection},
    http2,
};
use crate::settings::HttpTlsSettings;

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
pub(super) fn config(settings: &HttpTlsSettings) -> Result<ServerConfig, TlsError> {
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
    // Chosen in this order; HTTP/2 only where a client offers nothing else, to tell it so ([`http2`]).
    config.alpn_protocols = vec![b"http/1.1".to_vec(), http2::ALPN.to_vec()];
    Ok(config)
}

/// Does the handshake.
///
/// # Errors
/// It fails or takes too long, or the connection has to make room for others: then it is over.
pub(super) async fn accept(
    acceptor: &TlsAcceptor,
    stream: AcceptedConnection,
) -> Result<TlsConnection, String> {
    let result = match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("it took too long".to_owned()),
    };
    result.inspect_err(|reason| tracing::debug!(reason, "TLS handshake failed"))
}

/// The same for HTTP: refuses clients that speak HTTP/2 alone.
pub(super) async fn accept_http(
    acceptor: &TlsAcceptor,
    stream: AcceptedConnection,
) -> Result<TlsConnection, String> {
    let stream = accept(acceptor, stream).await?;
    if stream.get_ref().1.alpn_protocol() == Some(http2::ALPN) {
        http2::refuse(stream).await;
        return Err("HTTP/2".to_owned());
    }
    Ok(stream)
}
