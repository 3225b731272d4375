//! One call as its methods see it: the node that carries it out, the body that it came in, and what it may still read.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    api::{call::ApiCall, reading::ReadAllowance},
    node::Node,
};

/// The surroundings of one call, of one method or of a batch.
pub(super) struct CallContext<'a> {
    /// The node that carries it out.
    pub(super) node: &'a Arc<Node>,
    /// The whole body, in which the requests stand.
    pub(super) body: &'a Bytes,
    /// What all its reads together may bring.
    pub(super) reads: ReadAllowance,
}

impl<'a> CallContext<'a> {
    pub(super) fn new(call: &'a ApiCall) -> Self {
        let ApiCall { node, body, settings, .. } = call;
        Self { node, body, reads: ReadAllowance::new(settings) }
    }
}
