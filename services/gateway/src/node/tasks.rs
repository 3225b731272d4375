//! The tasks of a node that last as long as it does, and their end: an embedder whose node has stopped keeps nothing of it.

use actix_rt::task::JoinHandle;
use parking_lot::Mutex;

use crate::node::Node;

/// Tasks that run; none any more once the node has stopped.
pub(super) struct Tasks(Mutex<Option<Vec<JoinHandle<()>>>>);

impl Default for Tasks {
    fn default() -> Self {
        Self(Mutex::new(Some(Vec::new())))
    }
}

impl Node {
    /// Runs a task on this thread until it is done or the node stops. To be called within the thread's runtime.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let mut tasks = self.tasks.0.lock();
        let Some(running) = &mut *tasks else { return };
        running.retain(|task| !task.is_finished());
        running.push(actix_rt::spawn(task));
    }

    /// Ends the node's tasks where they stand. With them and its connections everything of the node goes, its connections to the
    /// broker included. Whoever wants to leave in order drains and retires it before.
    pub fn stop(&self) {
        for task in self.tasks.0.lock().take().into_iter().flatten() {
            task.abort();
        }
    }
}
