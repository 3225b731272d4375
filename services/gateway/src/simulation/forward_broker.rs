//! The methods of a test's broker that go on to the broker within it: `forward_broker!(inner: history, cluster)`.

/// Writes the named methods of [`gorani_broker::Broker`]; each calls the same one of the field.
macro_rules! forward_broker {
    (@answer $result:ty) => {
        ::futures_util::future::BoxFuture<'static, Result<$result, ::gorani_broker::BrokerError>>
    };
    (@start $inner:ident) => {
        fn start(&self, sink: ::std::sync::Arc<dyn ::gorani_broker::Sink>) -> forward_broker!(@answer ()) {
            self.$inner.start(sink)
        }
    };
    (@publish_join $inner:ident) => {
        fn publish_join(
            &self,
            channel: &str,
            info: ::std::sync::Arc<::gorani_broker::ClientInfo>,
        ) -> forward_broker!(@answer ()) {
            self.$inner.publish_join(channel, info)
        }
    };
    (@publish_leave $inner:ident) => {
        fn publish_leave(
            &self,
            channel: &str,
            info: ::std::sync::Arc<::gorani_broker::ClientInfo>,
        ) -> forward_broker!(@answer ()) {
            self.$inner.publish_leave(channel, info)
        }
    };
    (@subscribe $inner:ident) => {
        fn subscribe(&self, channels: &[::std::sync::Arc<str>]) -> forward_broker!(@answer ()) {
            self.$inner.subscribe(channels)
        }
    };
    (@unsubscribe $inner:ident) => {
        fn unsubscribe(&self, channels: &[::std::sync::Arc<str>]) -> forward_broker!(@answer ()) {
            self.$inner.unsubscribe(channels)
        }
    };
    (@renew $inner:ident) => {
        fn renew(&self, channel: &str, epoch: &str) -> forward_broker!(@answer ()) {
            self.$inner.renew(channel, epoch)
        }
    };
    (@remove_history $inner:ident) => {
        fn remove_history(&self, channel: &str) -> forward_broker!(@answer ()) {
            self.$inner.remove_history(channel)
        }
    };
    (@presence_add $inner:ident) => {
        fn presence_add(
            &self,
            channel: &str,
            info: ::std::sync::Arc<::gorani_broker::ClientInfo>,
            ttl: ::std::time::Duration,
            announce: bool,
        ) -> forward_broker!(@answer ()) {
            self.$inner.presence_add(channel, info, ttl, announce)
        }
    };
    (@presence_remove $inner:ident) => {
        fn presence_remove(&self, channel: &str, client: &str) -> forward_broker!(@answer ()) {
            self.$inner.presence_remove(channel, client)
        }
    };
    (@presence $inner:ident) => {
        fn presence(
            &self,
            channel: &str,
            query: ::gorani_broker::PresenceQuery,
        ) -> forward_broker!(@answer ::gorani_broker::PresencePage) {
            self.$inner.presence(channel, query)
        }
    };
    (@presence_stats $inner:ident) => {
        fn presence_stats(&self, channel: &str) -> forward_broker!(@answer (u64, u64)) {
            self.$inner.presence_stats(channel)
        }
    };
    (@presence_nodes $inner:ident) => {
        fn presence_nodes(
            &self,
            channel: &str,
            id_bytes: usize,
        ) -> forward_broker!(@answer ::std::collections::BTreeSet<String>) {
            self.$inner.presence_nodes(channel, id_bytes)
        }
    };
    (@presence_reap $inner:ident) => {
        fn presence_reap(
            &self,
            channel: &str,
            node: &str,
            limit: u32,
        ) -> forward_broker!(@answer Vec<::std::sync::Arc<::gorani_broker::ClientInfo>>) {
            self.$inner.presence_reap(channel, node, limit)
        }
    };
    (@cluster $inner:ident) => {
        fn cluster(&self) -> &dyn ::gorani_broker::Cluster {
            self.$inner.cluster()
        }
    };
    (@queues $inner:ident) => {
        fn queues(&self) -> Option<&dyn ::gorani_broker::queue::Queues> {
            self.$inner.queues()
        }
    };
    (@hook_store $inner:ident) => {
        fn hook_store(&self) -> Option<&dyn ::gorani_broker::hook_store::HookStore> {
            self.$inner.hook_store()
        }
    };
    (@health $inner:ident) => {
        fn health(&self) -> ::gorani_broker::Health {
            self.$inner.health()
        }
    };
    (@stats $inner:ident) => {
        fn stats(&self) -> ::gorani_broker::BrokerStats {
            self.$inner.stats()
        }
    };
    ($inner:ident: $($method:ident),+ $(,)?) => {
        $(forward_broker!(@$method $inner);)+
    };
}
