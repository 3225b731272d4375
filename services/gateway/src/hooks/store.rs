//! The store of hooks of a node's broker.

use gorani_broker::{Broker, BrokerError, hook_store::HookStore};

/// The store.
///
/// # Errors
/// The broker has none; all of this server have one.
pub fn store_of(broker: &dyn Broker) -> Result<&dyn HookStore, BrokerError> {
    broker.hook_store().ok_or_else(|| BrokerError::Unavailable("the broker has no store of hooks".to_owned()))
}
