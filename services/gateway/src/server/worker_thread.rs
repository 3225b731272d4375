//! The things that the listeners of one worker thread share: its worker, and the slots of its connections.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use super::{limits::ConnectionLimits, slots::Slots};
use crate::{hub::worker::Worker, node::Node};

thread_local! {
    /// The worker of this thread, made by its first listener.
    static WORKER: RefCell<Option<Rc<Worker>>> = const { RefCell::new(None) };
    /// The slots of its connections.
    static SLOTS: RefCell<Option<Rc<Slots>>> = const { RefCell::new(None) };
}

/// The worker of this thread.
pub(super) fn own_worker(node: &Arc<Node>) -> Rc<Worker> {
    WORKER.with_borrow_mut(|worker| worker.get_or_insert_with(|| node.workers.start()).clone())
}

/// The slots of this thread's connections, of all its listeners.
pub(super) fn own_slots(node: &Arc<Node>, limits: ConnectionLimits) -> Rc<Slots> {
    SLOTS.with_borrow_mut(|slots| slots.get_or_insert_with(|| Slots::new(node, limits)).clone())
}
