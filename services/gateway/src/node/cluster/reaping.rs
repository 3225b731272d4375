//! Clients of dead nodes that are being taken out of presence: a second request for the same waits for the first.

use std::{collections::HashMap, sync::Arc};

use futures_util::future::{FutureExt as _, Shared};
use gorani_broker::BrokerError;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::tasks::Tasks;

/// Clients of dead nodes are being taken out of a channel: reports when they are out, or why they are not.
pub(in crate::node) type Reaping = Shared<oneshot::Receiver<Result<(), BrokerError>>>;

/// A channel and a dead node; without a node, all dead ones.
pub(super) type ReapingKey = (Arc<str>, Option<String>);

/// The reaping that is under way: a second request for the same waits for it.
#[derive(Default)]
pub(super) struct ReapInProgress(Arc<Mutex<HashMap<ReapingKey, Reaping>>>);

impl ReapInProgress {
    /// Begins, unless the same is under way. It goes on where nobody waits for it.
    pub(super) fn begin(
        &self,
        tasks: &Tasks,
        key: ReapingKey,
        reap: impl Future<Output = Result<(), BrokerError>> + 'static,
    ) -> Reaping {
        let mut under_way = self.0.lock();
        if let Some(reaping) = under_way.get(&key) {
            return reaping.clone();
        }
        let (done, reaping) = oneshot::channel();
        let reaping = reaping.shared();
        under_way.insert(key.clone(), reaping.clone());
        let table = self.0.clone();
        tasks.spawn(async move {
            let are_out = reap.await;
            table.lock().remove(&key);
            // Nobody may wait for it.
            let _ = done.send(are_out);
        });
        reaping
    }
}
