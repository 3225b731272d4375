//! TLS of requests to a backend: whom they trust, and the certificate that they show. Read from files at the start and at a
//! reload.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use parking_lot::RwLock;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs as provider},
    pki_types::{
        CertificateDer, PrivateKeyDer, ServerName, UnixTime,
        pem::{self, PemObject},
    },
};

use crate::settings::BackendTlsSettings;

/// Why the files are not usable.
#[derive(Debug, thiserror::Error)]
pub enum BackendTlsError {
    /// The file cannot be read as PEM.
    #[error("{name}_file ({file}): {error}", file = .file.display())]
    File {
        /// The setting.
        name: &'static str,
        /// The file.
        file: PathBuf,
        /// Why.
        error: pem::Error,
    },
    /// The setting is no PEM.
    #[error("{name}: {error}")]
    Text {
        /// The setting.
        name: &'static str,
        /// Why.
        error: pem::Error,
    },
    /// Nothing is in it.
    #[error("{0}: no certificate is in it")]
    Empty(&'static str),
    /// The system's certificates cannot be read.
    #[error("no certificate of the system can be read; set ca_pem_file")]
    NoRoots,
    /// The name is no host.
    #[error("server_name is no name of a host")]
    ServerName,
    /// They do not fit together, or are of an unknown kind.
    #[error("{0}")]
    Unusable(#[from] rustls::Error),
}

/// TLS of one target. Its clients take what is there when they connect, so a reload puts new files in its place.
pub struct BackendTls {
    current: RwLock<Arc<ClientConfig>>,
    /// Counts the replacements, so that a client sees one without comparing.
    generation: AtomicU64,
    /// The name in the backend's certificate, if it is another one than the endpoint's host.
    server_name: Option<Box<str>>,
}

impl BackendTls {
    /// Reads the files. HTTP/2 is offered only if `http2`.
    ///
    /// # Errors
    /// One of them is not usable.
    pub fn open(settings: &BackendTlsSettings, http2: bool) -> Result<Self, BackendTlsError> {
        let provider = Arc::new(provider::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
        let builder = if settings.insecure_skip_verify {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptAny(provider)))
        } else {
            builder.with_root_certificates(roots(settings)?)
        };
        let chain = certificates("cert_pem", &settings.cert_pem, &settings.cert_pem_file)?;
        let key = &settings.key_pem_file;
        let mut config = match chain {
            Some(chain) => {
                let key = if settings.key_pem.is_empty() {
                    PrivateKeyDer::from_pem_file(key).map_err(|error| BackendTlsError::File {
                        name: "key_pem",
                        file: key.clone(),
                        error,
                    })?
                } else {
                    PrivateKeyDer::from_pem_slice(settings.key_pem.as_bytes())
                        .map_err(|error| BackendTlsError::Text { name: "key_pem", error })?
                };
                builder.with_client_auth_cert(chain, key)?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols =
            if http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
        let server_name = Some(settings.server_name.as_str()).filter(|name| !name.is_empty());
        if server_name.is_some_and(|name| ServerName::try_from(name).is_err()) {
            return Err(BackendTlsError::ServerName);
        }
        Ok(Self {
            current: RwLock::new(Arc::new(config)),
            generation: AtomicU64::new(0),
            server_name: server_name.map(Into::into),
        })
    }

    /// For an endpoint without TLS: it trusts nobody, and needs no file.
    ///
    /// # Errors
    /// The provider of cryptography offers no version of TLS.
    pub fn unused() -> Result<Self, BackendTlsError> {
        let config = ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        Ok(Self { current: RwLock::new(Arc::new(config)), generation: AtomicU64::new(0), server_name: None })
    }

    /// Puts what was read anew in its place, for connections from now on. The name stays.
    pub fn replace_by(&self, read: &Self) {
        let next = read.current.read().clone();
        *self.current.write() = next;
        self.generation.fetch_add(1, Relaxed);
    }

    /// For connections from now on.
    pub fn config(&self) -> Arc<ClientConfig> {
        self.current.read().clone()
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Relaxed)
    }

    pub(super) fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }
}

impl fmt::Debug for BackendTls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("BackendTls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

/// The certificates that sign the backend's.
fn roots(settings: &BackendTlsSettings) -> Result<RootCertStore, BackendTlsError> {
    let mut roots = RootCertStore::empty();
    match certificates("ca_pem", &settings.ca_pem, &settings.ca_pem_file)? {
        Some(chain) => {
            for certificate in chain {
                roots.add(certificate)?;
            }
        }
        None => {
            // One file of the system that cannot be read does not make the others useless.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(BackendTlsError::NoRoots);
            }
        }
    }
    Ok(roots)
}

/// The certificates of a setting or of its file; `None` where neither is set.
fn certificates(
    name: &'static str,
    text: &str,
    file: &Path,
) -> Result<Option<Vec<CertificateDer<'static>>>, BackendTlsError> {
    let found: Result<Vec<_>, BackendTlsError> = if !text.is_empty() {
        CertificateDer::pem_slice_iter(text.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|error| BackendTlsError::Text { name, error })
    } else if !file.as_os_str().is_empty() {
        CertificateDer::pem_file_iter(file)
            .and_then(Iterator::collect)
            .map_err(|error| BackendTlsError::File { name, file: file.to_owned(), error })
    } else {
        return Ok(None);
    };
    let found = found?;
    if found.is_empty() { Err(BackendTlsError::Empty(name)) } else { Ok(Some(found)) }
}

/// `insecure_skip_verify`: whoever answers is believed. Signatures of the handshake are still checked.
#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
