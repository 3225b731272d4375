//! Carries out the commands of other nodes: those for one user in order of arrival, those for different users side by side,
//! so that neither an answer nor a command waits behind that of another user.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use tokio::sync::mpsc;

use super::{ClusterMember, envelope::ClusterAnswer};
use crate::session_command::SessionCommand;

/// Queues that are worked off side by side; each user has one of them.
const QUEUES: usize = 16;
/// Commands that wait in one of them. One that does not fit is not carried out, and its sender's time-out reports it.
const ORDERS_PER_QUEUE: usize = 256;

/// A command, and the node that waits for its acknowledgement.
struct ReceivedCommand {
    from: String,
    id: u64,
    command: SessionCommand,
}

/// The queues of commands.
pub(super) struct CommandQueues {
    hasher: RandomState,
    queues: Vec<mpsc::Sender<ReceivedCommand>>,
}

impl CommandQueues {
    /// Starts the tasks that carry the commands out.
    pub(super) fn start(cluster: &Arc<ClusterMember>) -> Self {
        let queue = |_| {
            let (sender, orders) = mpsc::channel(ORDERS_PER_QUEUE);
            cluster.tasks.spawn(run(cluster.clone(), orders));
            sender
        };
        Self { hasher: RandomState::new(), queues: (0..QUEUES).map(queue).collect() }
    }

    /// Takes a command in without waiting; false if there is no room for it.
    pub(super) fn take(&self, from: String, id: u64, command: SessionCommand) -> bool {
        let index = self.hasher.hash_one(command.subject()) % QUEUES as u64;
        let queue = usize::try_from(index).ok().and_then(|index| self.queues.get(index));
        queue.is_some_and(|queue| queue.try_send(ReceivedCommand { from, id, command }).is_ok())
    }
}

async fn run(cluster: Arc<ClusterMember>, mut orders: mpsc::Receiver<ReceivedCommand>) {
    while let Some(ReceivedCommand { from, id, command }) = orders.recv().await {
        if cluster.workers.dispatch_command_in_time(command).await {
            cluster.reply(&from, id, ClusterAnswer::Done).await;
        } else {
            tracing::warn!(node = from, "worker did not take a command of another node in time");
        }
    }
}
