//! The node that a client is connected to, as the client's id says.

use std::collections::BTreeSet;

/// Digits of a node's id, with which the ids of its clients begin.
pub(super) const NODE_ID_BYTES: usize = 8;

/// The id of the node that a client is connected to; `None` if the id is none of ours.
pub(in crate::node) fn node_of(client: &str) -> Option<&str> {
    client.get(..NODE_ID_BYTES).filter(|node| node.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

/// True if a client is of one of these nodes.
pub(in crate::node) fn is_of(nodes: &BTreeSet<String>, client: &str) -> bool {
    node_of(client).is_some_and(|node| nodes.contains(node))
}
