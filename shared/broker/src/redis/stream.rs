//! The history of a channel in Redis: reading it, the end of its epoch, its size. `docs/architecture.md` §4.6.

use futures_util::{FutureExt as _, future::BoxFuture};
use redis::{Cmd, cmd};

use super::{EPOCH_CHARS, RedisBroker, random_name};
use crate::{BrokerError, HistoryQuery, Retention};

impl RedisBroker {
    /// Reads a page and the position. See [`crate::Broker::history`].
    pub(super) fn history_command(&self, channel: &str, query: &HistoryQuery, retention: Retention) -> Cmd {
        // A range of entry ids; an id without its second half stands for the first (as a beginning) or last (as an end).
        let (command, from, to) = match (query.reverse, query.since) {
            (false, None) => ("XRANGE", "-".to_owned(), "+".to_owned()),
            (false, Some(since)) => ("XRANGE", since.saturating_add(1).to_string(), "+".to_owned()),
            (true, None) => ("XREVRANGE", "+".to_owned(), "-".to_owned()),
            (true, Some(since)) => ("XREVRANGE", since.saturating_sub(1).to_string(), "-".to_owned()),
        };
        let (position, history) = (self.keys.position(channel), self.keys.history(channel));
        let mut call = self.shards.scripts().history.call(&[&position, &history]);
        call.arg(random_name(EPOCH_CHARS))
            .arg(self.at_least_a_millisecond(self.settings.position_ttl))
            .arg(self.at_least_a_millisecond(retention.ttl))
            .arg(command)
            .arg(from)
            .arg(to)
            .arg(query.limit)
            .arg(query.max_bytes.map_or(0, |bytes| bytes.max(1)));
        call
    }

    /// See [`crate::Broker::renew`].
    pub(super) fn renew_epoch(
        &self,
        channel: &str,
        epoch: &str,
    ) -> BoxFuture<'static, Result<(), BrokerError>> {
        let mut call = self.shards.scripts().renew.call(&[&self.keys.position(channel)]);
        call.arg(epoch).arg(random_name(EPOCH_CHARS));
        let made = self.shards.make(call);
        async move { made.await.map(drop) }.boxed()
    }

    /// See [`crate::Broker::history_bytes`]. The server looks at a few parts of a long stream and estimates the rest.
    pub(super) fn size_of_history(
        &self,
        channel: &str,
    ) -> BoxFuture<'static, Result<Option<u64>, BrokerError>> {
        let mut usage = cmd("MEMORY");
        usage.arg("USAGE").arg(self.keys.history(channel));
        let (made, refused) = (self.shards.make(usage), self.size_refused.clone());
        async move { refused.read(made.await) }.boxed()
    }
}
