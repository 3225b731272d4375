//! TLS to the node of this machine for [`super::health`]: its certificate may have any name, but must be the one of the settings.

use std::{
    io::{Read, Write},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem, pem::PemObject},
};

/// Why there is no such connection.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The file cannot be read as PEM.
    #[error("{0}: {1}")]
    File(PathBuf, #[source] pem::Error),
    /// rustls does not take it.
    #[error(transparent)]
    Unusable(#[from] Error),
}

/// Speaks TLS over `io` with a server that must show the first certificate of the file. No byte is sent yet.
pub(super) fn connect<T: Read + Write>(
    file: &Path,
    ip: IpAddr,
    io: T,
) -> Result<StreamOwned<ClientConnection, T>, PinError> {
    let certificate =
        CertificateDer::from_pem_file(file).map_err(|error| PinError::File(file.to_owned(), error))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned { certificate, provider }))
        .with_no_client_auth();
    let connection = ClientConnection::new(Arc::new(config), ServerName::from(ip))?;
    Ok(StreamOwned::new(connection, io))
}

/// Trusts one certificate, by its bytes: the address asked is the loopback, which no certificate names.
#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
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
    ) -> Result<ServerCertVerified, Error> {
        if *end_entity == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::General("the node shows another certificate than that of http.tls".to_owned()))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
