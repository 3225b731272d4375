//! Ends requests that wait for a node whose lease has ended: a machine that lost its power closes no connection.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc, time::Duration};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::node::Node;

/// Time between two checks that the awaited nodes are alive.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The nodes that requests of this worker wait for.
pub(super) struct PeerLiveness {
    node: Arc<Node>,
    awaited: Rc<RefCell<HashMap<String, CancellationToken>>>,
}

impl PeerLiveness {
    pub(super) fn new(node: Arc<Node>) -> Self {
        Self { node, awaited: Rc::default() }
    }

    /// Ready when the node is known to be dead.
    pub(super) fn gone(&self, node: &str) -> WaitForCancellationFutureOwned {
        let mut awaited = self.awaited.borrow_mut();
        if let Some(token) = awaited.get(node) {
            return token.clone().cancelled_owned();
        }
        if awaited.is_empty() {
            actix_rt::spawn(watch(self.node.clone(), self.awaited.clone()));
        }
        let token = CancellationToken::new();
        awaited.insert(node.to_owned(), token.clone());
        token.cancelled_owned()
    }
}

/// Looks until all are dead: as long as a node lives it stays awaited.
async fn watch(node: Arc<Node>, awaited: Rc<RefCell<HashMap<String, CancellationToken>>>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let mut awaited = awaited.borrow_mut();
        awaited.retain(|other, token| {
            let lives = node.cluster.is_alive(other);
            if !lives {
                token.cancel();
            }
            lives
        });
        if awaited.is_empty() {
            return;
        }
    }
}
