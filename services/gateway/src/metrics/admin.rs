//! Metrics of the admin API.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

/// Labels of a login.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LoginLabel {
    /// `ok`, or the code with which it was refused.
    result: &'static str,
}

/// Logins to the admin page, by their results.
pub struct AdminMetrics {
    logins: Family<LoginLabel, Counter>,
}

impl AdminMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let logins = Family::<LoginLabel, Counter>::default();
        registry.register("admin_logins", "Logins to the admin page by result", logins.clone());
        // From the start on, so that the first failure is an increase.
        for result in ["ok", "login_failed", "too_many_attempts"] {
            drop(logins.get_or_create(&LoginLabel { result }));
        }
        Self { logins }
    }

    /// Counts a login.
    pub fn count_login(&self, result: &'static str) {
        self.logins.get_or_create(&LoginLabel { result }).inc();
    }
}
