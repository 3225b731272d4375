//! TLS by rustls: the certificate and the key of the settings, and the handshakes.
//!
//! HTTP/2 is not served; a client that speaks nothing else gets a refusal in HTTP/2. Record 22.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

use super::accepted::{AcceptedConnection, TlsConnection};
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
    // Chosen in this order; HTTP/2 only where a client offers nothing else, to tell it so ([`refuse_http2`]).
    config.alpn_protocols = vec![b"http/1.1".to_vec(), HTTP2_ALPN.to_vec()];
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
    if stream.get_ref().1.alpn_protocol() == Some(HTTP2_ALPN) {
        refuse_http2(stream).await;
        return Err("HTTP/2".to_owned());
    }
    Ok(stream)
}

/// The name of HTTP/2 in ALPN.
const HTTP2_ALPN: &[u8] = b"h2";

/// An empty SETTINGS frame, with which a server begins (RFC 9113 §3.4), and GOAWAY for all streams with `HTTP_1_1_REQUIRED`
/// (§6.8, §7).
const HTTP2_ANSWER: [u8; 26] =
    [0, 0, 0, 4, 0, 0, 0, 0, 0, /* GOAWAY */ 0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xD];

/// Time for which the client's input is read meanwhile: closing before would reset the connection and take the answer with it.
const HTTP2_LINGER: Duration = Duration::from_secs(1);
/// And so many bytes of it.
const HTTP2_LINGER_BYTES: u64 = 64 * 1024;

/// Tells the client to use HTTP/1.1, and closes.
async fn refuse_http2(mut stream: TlsConnection) {
    let told = tokio::time::timeout(HTTP2_LINGER, async {
        stream.write_all(&HTTP2_ANSWER).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(HTTP2_LINGER_BYTES), &mut tokio::io::sink()).await?;
        Ok::<_, io::Error>(())
    });
    match told.await {
        Ok(Err(error)) => {
            tracing::debug!(%error, "HTTP/2 client left before it was told to use HTTP/1.1")
        }
        Ok(Ok(())) | Err(_) => tracing::debug!("HTTP/2 client told to use HTTP/1.1"),
    }
}
