//! The admin API in the table of routes. A build without the feature `admin` has none.

#[cfg(feature = "admin")]
pub(super) use crate::admin::AdminRoutes;
#[cfg(not(feature = "admin"))]
pub(super) use NoRoutes as AdminRoutes;

/// In place of the routes of the admin API.
#[cfg(not(feature = "admin"))]
#[derive(Clone)]
pub(super) struct NoRoutes;

#[cfg(not(feature = "admin"))]
impl NoRoutes {
    pub(super) fn start(_: &std::sync::Arc<crate::node::Node>) -> Option<Self> {
        None
    }

    pub(super) fn configure(&self, _: &mut actix_web::web::ServiceConfig, _is_tls: bool) {}
}
