//! The certificates of the listeners: read from their files at the start, and again at a reload, when new handshakes get the new
//! one and connections stay as they are. TLS by rustls. Records 22 and 46.

use std::{path::PathBuf, sync::Arc};

use aws_lc_rs::digest::{SHA256, digest};
use parking_lot::RwLock;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs as provider,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
};
use tokio_rustls::TlsAcceptor;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::{
    metrics::certificates::CertificateMetrics,
    settings::{HttpTlsSettings, Settings},
};

/// The name of HTTP/2 in ALPN.
pub(super) const HTTP2_ALPN: &[u8] = b"h2";

/// Why the certificate or the key is not usable.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read as PEM.
    #[error("{0}: {1}")]
    File(PathBuf, #[source] pem::Error),
    /// The file of certificates holds none.
    #[error("{0}: no certificate is in it")]
    Empty(PathBuf),
    /// They do not fit together, or are of an unknown kind.
    #[error("{0} with its key: {1}")]
    Unusable(PathBuf, #[source] rustls::Error),
}

/// The listeners that may speak TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TlsListener {
    /// `http.tls`.
    Http,
    /// `stomp.tcp.tls`.
    Stomp,
    /// `admin.tls`.
    Admin,
}

impl TlsListener {
    const ALL: [Self; 3] = [Self::Http, Self::Stomp, Self::Admin];

    /// The section of the settings that names the files.
    fn section(self) -> &'static str {
        match self {
            Self::Http => "http.tls",
            Self::Stomp => "stomp.tcp.tls",
            Self::Admin => "admin.tls",
        }
    }

    /// The listener in metrics.
    fn label(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Stomp => "stomp.tcp",
            Self::Admin => "admin",
        }
    }

    fn settings(self, settings: &Settings) -> &HttpTlsSettings {
        match self {
            Self::Http => &settings.http.tls,
            Self::Stomp => &settings.stomp.tcp.tls,
            Self::Admin => &settings.admin.tls,
        }
    }

    fn protocols(self) -> Vec<Vec<u8>> {
        match self {
            // Chosen in this order; HTTP/2 only where a client offers nothing else, to tell it so (`refuse_http2`).
            Self::Http | Self::Admin => vec![b"http/1.1".to_vec(), HTTP2_ALPN.to_vec()],
            // Nothing is negotiated on top: one protocol is spoken there.
            Self::Stomp => Vec::new(),
        }
    }
}

/// A certificate with its key, as files held them.
#[derive(Clone)]
struct LoadedCertificate {
    chain: Vec<CertificateDer<'static>>,
    acceptor: TlsAcceptor,
}

impl LoadedCertificate {
    fn read(listener: TlsListener, settings: &HttpTlsSettings) -> Result<Self, TlsError> {
        let bad_certificate = |error| TlsError::File(settings.certificate.clone(), error);
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&settings.certificate)
            .and_then(Iterator::collect)
            .map_err(bad_certificate)?;
        if chain.is_empty() {
            return Err(TlsError::Empty(settings.certificate.clone()));
        }
        let key = PrivateKeyDer::from_pem_file(&settings.key)
            .map_err(|error| TlsError::File(settings.key.clone(), error))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain.clone(), key))
            .map_err(|error| TlsError::Unusable(settings.certificate.clone(), error))?;
        config.alpn_protocols = listener.protocols();
        Ok(Self { chain, acceptor: TlsAcceptor::from(Arc::new(config)) })
    }

    /// The Unix time at which the first certificate of the chain ends; clients refuse the chain from then on. `None` if one cannot be
    /// read.
    fn end(&self) -> Option<i64> {
        let ends = self.chain.iter().map(|certificate| {
            let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
            Some(certificate.validity().not_after.timestamp())
        });
        ends.collect::<Option<Vec<i64>>>()?.into_iter().min()
    }

    /// SHA-256 of the server's own certificate, as `openssl x509 -noout -fingerprint -sha256` writes it.
    fn fingerprint(&self) -> String {
        let hash = digest(&SHA256, self.chain.first().map_or(&[][..], |certificate| certificate));
        let pairs: Vec<String> = hash.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        pairs.join(":")
    }
}

/// The certificate of one listener. Shared by its workers; a handshake takes the one that is there when it begins.
pub(super) struct ListenerCertificate {
    listener: TlsListener,
    current: RwLock<LoadedCertificate>,
}

impl ListenerCertificate {
    /// For the next handshake.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.current.read().acceptor.clone()
    }
}

/// The certificates of all listeners that speak TLS.
#[derive(Clone, Default)]
pub struct Certificates(Vec<Arc<ListenerCertificate>>);

impl Certificates {
    /// Reads the files that the settings name.
    ///
    /// # Errors
    /// One of them is not usable.
    pub(super) fn open(settings: &Settings) -> Result<Self, TlsError> {
        let mut certificates = Vec::new();
        for listener in TlsListener::ALL {
            let files = listener.settings(settings);
            if files.is_on() {
                let current = RwLock::new(LoadedCertificate::read(listener, files)?);
                certificates.push(Arc::new(ListenerCertificate { listener, current }));
            }
        }
        Ok(Self(certificates))
    }

    /// The certificate of a listener; `None` where it speaks without TLS.
    pub(super) fn of(&self, listener: TlsListener) -> Option<Arc<ListenerCertificate>> {
        self.0.iter().find(|certificate| certificate.listener == listener).cloned()
    }

    /// Writes the ends of the certificates into the metrics.
    pub(super) fn show_ends(&self, metrics: &CertificateMetrics) {
        for certificate in &self.0 {
            let (listener, end) = (certificate.listener, certificate.current.read().end());
            if end.is_none() {
                tracing::warn!(listener = listener.section(), "the end of the certificate cannot be read");
            }
            metrics.set_expiry(listener.label(), end);
        }
    }

    /// The sections of the settings whose certificate those others would replace, each with the fingerprint of the other one.
    pub(super) fn differing_from(&self, read: &Self) -> Vec<(&'static str, String)> {
        let differing = self.0.iter().filter_map(|certificate| {
            let next = read.of(certificate.listener)?;
            let next = next.current.read();
            let differs = certificate.current.read().chain != next.chain;
            differs.then(|| (certificate.listener.section(), next.fingerprint()))
        });
        differing.collect()
    }

    /// Puts certificates that were read anew in the place of those of the same listeners, for handshakes from now on. Returns the
    /// sections of the settings whose certificate is another one, with its fingerprint. A listener that the others lack keeps
    /// its own: it goes on with TLS until the node starts anew.
    pub(super) fn replace_by(&self, read: &Self) -> Vec<(&'static str, String)> {
        let mut changed = Vec::new();
        for certificate in &self.0 {
            let Some(next) = read.of(certificate.listener) else { continue };
            let next = next.current.read().clone();
            let is_another = certificate.current.read().chain != next.chain;
            if is_another {
                changed.push((certificate.listener.section(), next.fingerprint()));
            }
            *certificate.current.write() = next;
        }
        changed
    }
}
