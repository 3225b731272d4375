//! TLS by rustls: the certificate and the key of the settings.

use std::{path::PathBuf, sync::Arc};

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
};

use crate::settings::TlsSettings;

/// A TLS connection.
pub(crate) type Stream = actix_tls::accept::rustls_0_23::TlsStream<tokio::net::TcpStream>;

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
    Ok(ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?)
}
