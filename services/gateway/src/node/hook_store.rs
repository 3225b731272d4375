//! Opens the store of hooks, at the start or as soon as the broker is there.

use std::{sync::Arc, time::Duration};

use super::{Node, NodeError};
use crate::{
    hooks::deliver::{self, HookOpenError},
    settings::SettingsError,
};

/// Pause before the next attempt to open the store of hooks.
const OPEN_AGAIN_AFTER: Duration = Duration::from_secs(1);

impl Node {
    /// Opens the store of hooks, if an endpoint is configured. A broker that is away does not keep the node from starting.
    pub(super) async fn open_hooks(self: &Arc<Self>) -> Result<(), NodeError> {
        if self.hooks.is_none() {
            return Ok(());
        }
        match deliver::open(&*self.broker, &self.settings.hooks).await {
            Ok(()) => Ok(()),
            Err(error @ HookOpenError::Partitions { .. }) => {
                let problem = error.to_string();
                Err(SettingsError::Value { key: "hooks.partitions", problem }.into())
            }
            Err(HookOpenError::Broker(error)) => {
                tracing::warn!(%error, "the store of hooks cannot be opened yet");
                self.tasks.spawn(self.clone().open_hooks_later());
                Ok(())
            }
        }
    }

    async fn open_hooks_later(self: Arc<Self>) {
        loop {
            tokio::time::sleep(OPEN_AGAIN_AFTER).await;
            match deliver::open(&*self.broker, &self.settings.hooks).await {
                Ok(()) => return tracing::info!("the store of hooks is open"),
                Err(error @ HookOpenError::Partitions { .. }) => {
                    tracing::error!(%error, "no hooks: the store is not opened");
                    // Nobody else writes it.
                    let _ = self.hooks_refused.set(error.to_string());
                    return;
                }
                Err(HookOpenError::Broker(error)) => {
                    tracing::debug!(%error, "the store of hooks cannot be opened yet");
                }
            }
        }
    }
}
