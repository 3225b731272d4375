//! A connection to the server: dialling, pausing between attempts, and what is known of its state. `docs/architecture.md` §5.5.
//!
//! A broker has two to each server, one for requests and one that listens.

use std::{sync::Arc, time::Duration};

use redis::{AsyncConnectionConfig, PushInfo, PushKind, aio::MultiplexedConnection};
use tokio::sync::{Notify, watch};

use super::{
    server_addr::{ServerAddr, check_role},
    settings::{RedisSettings, RedisSettingsError},
};

/// Requests that the library takes before it makes the next one wait: they are then written together.
const WRITE_BUFFER_REQUESTS: usize = 1024;

/// Doublings after which the pause grows no more; far beyond every sensible upper limit.
const MAX_DOUBLINGS: u32 = 20;

/// Opens connections.
#[derive(Debug, Clone)]
pub(super) struct Dialer {
    place: ServerAddr,
    connect_timeout: Duration,
}

impl Dialer {
    pub(super) fn new(settings: &RedisSettings) -> Result<Self, RedisSettingsError> {
        Ok(Self { place: ServerAddr::new(settings)?, connect_timeout: settings.connect_timeout })
    }

    /// One for the server at this host and port, reached in the same way.
    pub(super) fn at(&self, host: &str, port: u16) -> Self {
        Self { place: self.place.at(host, port), connect_timeout: self.connect_timeout }
    }

    /// The host of the server.
    pub(super) fn host(&self) -> String {
        self.place.host()
    }

    /// The server's address, for operators.
    pub(super) fn server(&self) -> String {
        self.place.server()
    }

    /// Opens a connection that hands the server's pushes to `on_push`, in order, and notifies `lost` when it ends. The error is
    /// for operators.
    pub(super) async fn dial(
        &self,
        lost: Arc<Notify>,
        on_push: impl Fn(PushInfo) + Send + Sync + 'static,
    ) -> Result<MultiplexedConnection, String> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(WRITE_BUFFER_REQUESTS)
            .set_push_sender(move |info: PushInfo| -> Result<(), std::convert::Infallible> {
                if info.kind == PushKind::Disconnection {
                    lost.notify_one();
                } else {
                    on_push(info);
                }
                Ok(())
            });
        let client = self.place.find(self.connect_timeout).await?;
        let dialled = async {
            let mut connection = client
                .get_multiplexed_async_connection_with_config(&config)
                .await
                .map_err(|error| format!("cannot connect: {error}"))?;
            if self.place.is_named_by_others() {
                check_role(&mut connection).await?;
            }
            Ok(connection)
        };
        match tokio::time::timeout(self.connect_timeout, dialled).await {
            Ok(dialled) => dialled,
            Err(_) => Err(format!("cannot connect within {:?}", self.connect_timeout)),
        }
    }
}

/// The pauses between attempts: random between zero and a limit that doubles (full jitter).
#[derive(Debug)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    attempts: u32,
}

impl Backoff {
    pub(super) fn new(settings: &RedisSettings) -> Self {
        Self { min: settings.reconnect_min, max: settings.reconnect_max, attempts: 0 }
    }

    /// A connection lasted so long. One that ends at once counts like an attempt that failed, or a server that closes every
    /// connection would be dialled without a pause.
    pub(super) fn lasted(&mut self, time: Duration) {
        if time >= self.max {
            self.attempts = 0;
        }
    }

    /// The pause before the next attempt.
    pub(super) fn pause(&mut self) -> Duration {
        let limit = self.min.saturating_mul(1 << self.attempts.min(MAX_DOUBLINGS)).min(self.max);
        self.attempts += 1;
        limit.mul_f64(rand::random())
    }
}

/// The state of a connection: it is usable, or the reason why it is not.
#[derive(Debug)]
pub(super) struct ConnectionStatus(watch::Sender<Option<String>>);

impl ConnectionStatus {
    pub(super) fn down(reason: &str) -> Self {
        Self(watch::Sender::new(Some(reason.to_owned())))
    }

    pub(super) fn set_up(&self) {
        self.0.send_replace(None);
    }

    pub(super) fn set_down(&self, reason: String) {
        self.0.send_replace(Some(reason));
    }

    /// Why it cannot be used; `None` when it can.
    pub(super) fn trouble(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    /// Resolves when it can be used.
    pub(super) async fn wait_up(&self) {
        // The sender lives as long as `self`.
        let _ = self.0.subscribe().wait_for(Option::is_none).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_limit_and_begin_again() {
        let settings = RedisSettings::default();
        let mut backoff = Backoff::new(&settings);
        for attempt in 0..100_u32 {
            let limit = settings.reconnect_min * 2_u32.pow(attempt.min(10));
            assert!(backoff.pause() <= limit.min(settings.reconnect_max));
        }
        backoff.lasted(Duration::from_millis(1));
        assert!(backoff.attempts > 0);
        backoff.lasted(settings.reconnect_max);
        assert!(backoff.pause() <= settings.reconnect_min);
    }
}
