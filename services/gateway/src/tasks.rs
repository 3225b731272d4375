//! Tasks that end together: those of a node, and below them those of each of its workers. An embedder whose node has stopped
//! keeps nothing of it.

use std::sync::Arc;

use actix_rt::task::JoinHandle;
use parking_lot::Mutex;

/// Finished tasks are taken off the list when it has so many entries, and then when it has doubled.
const PRUNE_AT: usize = 64;

/// Tasks that run until they are done or stopped. Clones share them.
#[derive(Clone, Default)]
pub struct Tasks(Arc<Mutex<TaskList>>);

#[derive(Default)]
struct TaskList {
    is_stopped: bool,
    running: Vec<JoinHandle<()>>,
    prune_at: usize,
    children: Vec<Tasks>,
}

impl Tasks {
    /// Runs a task on this thread until it is done or the tasks are stopped; not at all once they are. To be called within the
    /// thread's runtime.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let mut list = self.0.lock();
        if list.is_stopped {
            return;
        }
        if list.running.len() >= list.prune_at {
            list.running.retain(|task| !task.is_finished());
            list.prune_at = (2 * list.running.len()).max(PRUNE_AT);
        }
        list.running.push(actix_rt::spawn(task));
    }

    /// Stops other tasks with these.
    pub fn add_child(&self, child: Self) {
        let mut list = self.0.lock();
        if list.is_stopped {
            drop(list);
            child.stop();
        } else {
            list.children.push(child);
        }
    }

    /// Ends all of them where they stand, for good.
    pub fn stop(&self) {
        let TaskList { running, children, .. } =
            std::mem::replace(&mut *self.0.lock(), TaskList { is_stopped: true, ..TaskList::default() });
        running.iter().for_each(JoinHandle::abort);
        children.iter().for_each(Self::stop);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A task without an end that holds something.
    fn hold(tasks: &Tasks, held: &Arc<()>) {
        let held = held.clone();
        tasks.spawn(async move {
            std::future::pending::<()>().await;
            drop(held);
        });
    }

    #[actix_rt::test]
    async fn tasks_and_those_of_their_children_end_when_they_are_stopped_and_none_begins_after() {
        let (tasks, child, late, held) = (Tasks::default(), Tasks::default(), Tasks::default(), Arc::new(()));
        tasks.add_child(child.clone());
        [&tasks, &child, &late].into_iter().for_each(|tasks| hold(tasks, &held));
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&held), 4);
        tasks.stop();
        tasks.add_child(late);
        hold(&tasks, &held);
        hold(&child, &held);
        while Arc::strong_count(&held) > 1 {
            tokio::task::yield_now().await;
        }
    }

    #[actix_rt::test]
    async fn tasks_that_are_done_are_not_kept() {
        let tasks = Tasks::default();
        for _ in 0..100 * PRUNE_AT {
            tasks.spawn(async {});
            tokio::task::yield_now().await;
        }
        assert!(tasks.0.lock().running.len() <= PRUNE_AT);
    }
}
