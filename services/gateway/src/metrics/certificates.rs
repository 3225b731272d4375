//! Metrics of the certificates that listeners show.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

/// Labels of a listener that speaks TLS.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabel {
    /// Its section of the settings: `http`, `stomp.tcp`, `admin`.
    listener: &'static str,
}

/// The ends of certificates, by listener.
pub struct CertificateMetrics {
    expiry: Family<ListenerLabel, Gauge>,
}

impl CertificateMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let expiry = Family::<ListenerLabel, Gauge>::default();
        registry.register(
            "tls_certificate_expiry_timestamp_seconds",
            "Unix time at which the first certificate of a listener's chain ends",
            expiry.clone(),
        );
        Self { expiry }
    }

    /// Notes the end of the certificate that a listener shows from now on; `None` where it cannot be read.
    pub fn set_expiry(&self, listener: &'static str, end: Option<i64>) {
        let label = ListenerLabel { listener };
        match end {
            Some(end) => {
                self.expiry.get_or_create(&label).set(end);
            }
            None => {
                self.expiry.remove(&label);
            }
        }
    }
}
