//! The HTTP push API for backends. `specs/http-api.md`.

use std::sync::Arc;

use actix_web::web::ServiceConfig;

use crate::node::Node;

/// The routes below `/api`.
pub fn routes(config: &mut ServiceConfig, node: &Arc<Node>) {
    let _ = (config, node);
}
