//! Admission of a client where its user's connections are limited, on all nodes together. `client.max_connections_per_user`.

use std::sync::Arc;

use gorani_broker::{Broker, BrokerError, ConnectionEntry};

use crate::{
    disconnect::Disconnect,
    hub::removals::USER_SLOT_TTL,
    node::cluster::{ClusterMember, is_of},
};

/// Number of times that entries of dead nodes are cleared away for one client before it is refused.
const ATTEMPTS: usize = 3;

/// The connections of each user, over all nodes.
pub struct UserConnectionLimit {
    broker: Arc<dyn Broker>,
    cluster: Arc<ClusterMember>,
}

impl UserConnectionLimit {
    pub(super) fn new(broker: Arc<dyn Broker>, cluster: Arc<ClusterMember>) -> Self {
        Self { broker, cluster }
    }

    /// Takes a slot among the user's connections. The broker is asked in the call.
    ///
    /// The error ends the client's session: 3504 if there is no slot, 3004 (come back) if the broker
    /// does not answer: a limit that opens whenever the broker is away is none.
    pub fn enter(
        &self,
        user: Arc<str>,
        client: Arc<str>,
        limit: u32,
    ) -> impl Future<Output = Result<(), Disconnect>> + Send + 'static + use<> {
        let (broker, cluster) = (self.broker.clone(), self.cluster.clone());
        let mut asked = self.broker.cluster().connection_enter(&user, &client, USER_SLOT_TTL, limit);
        let failed = |error: BrokerError| {
            tracing::warn!(%error, "client disconnected: counting its user's connections failed");
            Disconnect::INTERNAL
        };
        async move {
            for _ in 0..ATTEMPTS {
                let holders = match asked.await.map_err(failed)? {
                    ConnectionEntry::Entered => return Ok(()),
                    ConnectionEntry::Full { holders } => holders,
                };
                let dead =
                    cluster.dead_among(holders.iter().map(String::as_str), true).await.map_err(failed)?;
                let gone: Vec<&String> = holders.iter().filter(|holder| is_of(&dead, holder)).collect();
                if gone.is_empty() {
                    break;
                }
                // In line before the next attempt.
                for holder in gone {
                    drop(broker.cluster().connection_leave(&user, holder));
                }
                asked = broker.cluster().connection_enter(&user, &client, USER_SLOT_TTL, limit);
            }
            Err(Disconnect::CONNECTION_LIMIT)
        }
    }
}
