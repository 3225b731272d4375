//! Processes that have ended, and are still in memory: a node that is gone is held by nothing, or an embedder that starts and stops
//! nodes grows for ever.

use std::{
    rc,
    sync::{self, Arc},
};

use super::process::Process;
use crate::{hub::worker::Worker, node::Node};

/// Nodes that have ended, and their workers.
#[derive(Default)]
pub(super) struct EndedNodes {
    nodes: Vec<sync::Weak<Node>>,
    workers: Vec<rc::Weak<Worker>>,
}

impl EndedNodes {
    /// A process that is about to end.
    pub(super) fn add(&mut self, process: &Process) {
        self.nodes.extend(process.node.iter().map(Arc::downgrade));
        self.workers.extend(process.workers().map(rc::Rc::downgrade));
    }

    /// Those of them that something holds still.
    pub(super) fn leaks(&self) -> Vec<String> {
        let nodes = self.nodes.iter().filter_map(sync::Weak::upgrade);
        let nodes = nodes.map(|node| format!("node {} has ended, and something holds it", node.id));
        let workers = self.workers.iter().filter_map(rc::Weak::upgrade);
        let workers =
            workers.map(|worker| format!("worker {} has ended, and something holds it", worker.index));
        nodes.chain(workers).collect()
    }
}
