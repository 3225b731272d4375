//! The node and the worker, as a request on one of its threads meets them.

use std::{rc::Rc, sync::Arc};

use super::registry::HttpSessionRegistry;
use crate::{hub::worker::Worker, node::Node};

/// The node as a request on one of its workers meets it.
#[derive(Clone)]
pub struct WorkerContext {
    /// The node.
    pub node: Arc<Node>,
    /// The worker of this thread.
    pub worker: Rc<Worker>,
    /// The node's sessions over HTTP.
    pub registry: Arc<HttpSessionRegistry>,
    /// Whether the listener speaks TLS.
    pub is_secure: bool,
}
