//! The broker of a simulated node: every call becomes a request on the node's link.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt as _, join_all, pending, ready};
use gorani_broker::{
    Announced, Broker, BrokerError, ClientInfo, Cluster, ConnectionEntry, Health, HistoryPage, HistoryQuery,
    Member, PresencePage, PresenceQuery, Publication, PublishOptions, Published, Retention, Sink,
    hook_store::HookStore, queue::Queues,
};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{
    hook_broker::HookPlan,
    network::{OnLoss, SimNetwork, Typed},
    server::SimServer,
};

/// The line of what is not about a channel.
const CLUSTER: &str = "(cluster)";

/// The broker of one node.
#[derive(Clone)]
pub(super) struct SimBroker {
    pub(super) network: SimNetwork,
    pub(super) link: usize,
    /// The id by which the node receives messages.
    pub(super) id: Arc<Mutex<Option<String>>>,
    pub(super) hook_plan: HookPlan,
}

pub(super) type SimAnswer<T> = BoxFuture<'static, Result<T, BrokerError>>;

impl SimBroker {
    fn request<T: Send + 'static>(
        &self,
        line: &str,
        label: String,
        run: impl FnOnce(&mut SimServer) -> T + Send + 'static,
    ) -> SimAnswer<T> {
        self.fallible(line, label, None, move |server| Ok(run(server)))
    }

    pub(super) fn fallible<T: Send + 'static>(
        &self,
        line: &str,
        label: String,
        on_loss: Option<OnLoss>,
        run: impl FnOnce(&mut SimServer) -> Result<T, BrokerError> + Send + 'static,
    ) -> SimAnswer<T> {
        let mut state = self.network.0.lock();
        let Some(link) = state.links.get_mut(self.link).filter(|link| !link.is_dead) else {
            return pending().boxed();
        };
        if !link.is_up {
            return ready(Err(BrokerError::Unavailable("there is no connection".to_owned()))).boxed();
        }
        let (sender, receiver) = oneshot::channel();
        let request = Typed { label, run: Some(run), result: None, sender, on_loss };
        let queue: &mut VecDeque<_> = link.waiting.entry(line.to_owned()).or_default();
        queue.push_back(Box::new(request));
        // Without an answer the process is gone, and nobody is there to get it.
        receiver
            .then(|answer| async move { if let Ok(answer) = answer { answer } else { pending().await } })
            .boxed()
    }
}

impl Broker for SimBroker {
    fn start(&self, sink: Arc<dyn Sink>) -> SimAnswer<()> {
        if let Some(link) = self.network.0.lock().links.get_mut(self.link) {
            link.sink = Some(sink);
        }
        let (link, id) = (self.link, self.id.lock().clone());
        self.request(CLUSTER, "start".to_owned(), move |server| {
            if let Some(id) = id {
                server.hearing.insert(link, id);
            }
        })
    }

    fn publish(
        &self,
        channel: &str,
        publication: Publication,
        options: PublishOptions,
    ) -> SimAnswer<Published> {
        let name: Arc<str> = channel.into();
        let label = format!("publish {channel} {}", String::from_utf8_lossy(&publication.data));
        self.request(channel, label, move |server| server.publish(&name, publication, &options))
    }

    fn publish_join(&self, channel: &str, info: Arc<ClientInfo>) -> SimAnswer<()> {
        let name: Arc<str> = channel.into();
        let (lost_name, client) = (name.clone(), info.client.clone());
        let on_loss: OnLoss = Box::new(move |server| server.log.join_lost(&lost_name, &client));
        let label = format!("join {channel} {}", info.client);
        self.fallible(channel, label, Some(on_loss), move |server| {
            server.join(&name, info);
            Ok(())
        })
    }

    fn publish_leave(&self, channel: &str, info: Arc<ClientInfo>) -> SimAnswer<()> {
        let name: Arc<str> = channel.into();
        self.request(channel, format!("leave {channel} {}", info.client), move |server| {
            server.leave(&name, info)
        })
    }

    fn subscribe(&self, channels: &[Arc<str>]) -> SimAnswer<()> {
        let link = self.link;
        let mut asked = Vec::new();
        for channel in channels {
            if let Some(link) = self.network.0.lock().links.get_mut(link) {
                link.wanted.insert(channel.clone());
            }
            let name = channel.clone();
            asked.push(self.request(
                &format!("(pubsub){channel}"),
                format!("subscribe {channel}"),
                move |server| {
                    server.subscribers.entry(name.clone()).or_default().insert(link);
                    server.confirmed.push((link, name));
                },
            ));
        }
        join_all(asked).map(|answers| answers.into_iter().collect()).boxed()
    }

    fn unsubscribe(&self, channels: &[Arc<str>]) -> SimAnswer<()> {
        let link = self.link;
        let mut asked = Vec::new();
        for channel in channels {
            if let Some(link) = self.network.0.lock().links.get_mut(link) {
                link.wanted.remove(channel);
                link.confirmed.remove(channel);
                link.pushed.remove(channel);
            }
            let name = channel.clone();
            asked.push(self.request(
                &format!("(pubsub){channel}"),
                format!("unsubscribe {channel}"),
                move |server| {
                    if let Some(subscribers) = server.subscribers.get_mut(&name) {
                        subscribers.remove(&link);
                    }
                },
            ));
        }
        join_all(asked).map(|answers| answers.into_iter().collect()).boxed()
    }

    fn history(&self, channel: &str, query: HistoryQuery, retention: Retention) -> SimAnswer<HistoryPage> {
        let name: Arc<str> = channel.into();
        let label = format!("history {channel} since {:?} limit {}", query.since, query.limit);
        self.fallible(channel, label, None, move |server| server.history(&name, &query, retention))
    }

    fn renew(&self, channel: &str, epoch: &str) -> SimAnswer<()> {
        let (name, epoch): (Arc<str>, _) = (channel.into(), epoch.to_owned());
        self.request(channel, format!("renew {channel} {epoch}"), move |server| server.renew(&name, &epoch))
    }

    fn remove_history(&self, channel: &str) -> SimAnswer<()> {
        let name = channel.to_owned();
        self.request(channel, format!("remove history {channel}"), move |server| server.expire(&name))
    }

    fn presence_add(
        &self,
        channel: &str,
        info: Arc<ClientInfo>,
        ttl: Duration,
        announce: bool,
    ) -> SimAnswer<()> {
        let name: Arc<str> = channel.into();
        let label = format!("presence add {channel} {}", info.client);
        self.request(channel, label, move |server| server.presence_add(&name, info, ttl, announce))
    }

    fn presence_remove(&self, channel: &str, client: &str) -> SimAnswer<()> {
        let (name, client): (Arc<str>, _) = (channel.into(), client.to_owned());
        let label = format!("presence remove {channel} {client}");
        self.request(channel, label, move |server| server.presence_remove(&name, &client))
    }

    fn presence(&self, channel: &str, query: PresenceQuery) -> SimAnswer<PresencePage> {
        let name: Arc<str> = channel.into();
        self.request(channel, format!("presence {channel}"), move |server| {
            server.presence_page(&name, &query)
        })
    }

    fn presence_stats(&self, channel: &str) -> SimAnswer<(u64, u64)> {
        let name: Arc<str> = channel.into();
        self.request(channel, format!("presence stats {channel}"), move |server| {
            let present = server.present(&name);
            let users: BTreeSet<&str> = present.iter().map(|info| info.user.as_str()).collect();
            (present.len() as u64, users.len() as u64)
        })
    }

    fn presence_nodes(&self, channel: &str, id_bytes: usize) -> SimAnswer<BTreeSet<String>> {
        let name: Arc<str> = channel.into();
        self.request(channel, format!("presence nodes {channel}"), move |server| {
            let present = server.present(&name);
            present.iter().filter_map(|info| info.client.get(..id_bytes).map(str::to_owned)).collect()
        })
    }

    fn presence_reap(&self, channel: &str, node: &str, limit: u32) -> SimAnswer<Vec<Arc<ClientInfo>>> {
        let (name, node): (Arc<str>, _) = (channel.into(), node.to_owned());
        let label = format!("reap {channel} {node}");
        self.request(channel, label, move |server| server.presence_reap(&name, &node, limit))
    }

    fn queues(&self) -> Option<&dyn Queues> {
        Some(self)
    }

    fn hook_store(&self) -> Option<&dyn HookStore> {
        Some(self)
    }

    fn cluster(&self) -> &dyn Cluster {
        self
    }

    fn health(&self) -> Health {
        let is_up = self.network.0.lock().links.get(self.link).is_some_and(|link| link.is_up);
        if is_up { Health::Ready } else { Health::NotReady("there is no connection".to_owned()) }
    }
}

impl Cluster for SimBroker {
    fn listen(&self, node: &str) {
        *self.id.lock() = Some(node.to_owned());
    }

    fn send(&self, to: Option<&str>, message: Bytes) -> SimAnswer<()> {
        let to = to.map(str::to_owned);
        self.request(CLUSTER, format!("send to {to:?}"), move |server| server.send(to.as_deref(), &message))
    }

    fn announce(&self, node: &str, description: Bytes, lease: Duration) -> SimAnswer<Announced> {
        let node = node.to_owned();
        self.request(CLUSTER, format!("announce {node}"), move |server| {
            server.announce(&node, description, lease)
        })
    }

    fn retire(&self, node: &str) -> SimAnswer<()> {
        let node = node.to_owned();
        self.request(CLUSTER, format!("retire {node}"), move |server| server.retire(&node))
    }

    fn members(&self) -> SimAnswer<Vec<Member>> {
        self.request(CLUSTER, "members".to_owned(), SimServer::members)
    }

    fn connection_enter(
        &self,
        user: &str,
        client: &str,
        ttl: Duration,
        limit: u32,
    ) -> SimAnswer<ConnectionEntry> {
        let (user, client) = (user.to_owned(), client.to_owned());
        let label = format!("connection enter {user} {client}");
        self.request(CLUSTER, label, move |server| server.connection_enter(&user, &client, ttl, limit))
    }

    fn connection_refresh(&self, user: &str, clients: &[&str], ttl: Duration) -> SimAnswer<Vec<String>> {
        let user = user.to_owned();
        let clients: Vec<String> = clients.iter().map(ToString::to_string).collect();
        let label = format!("connection refresh {user}");
        self.request(CLUSTER, label, move |server| server.connection_refresh(&user, &clients, ttl))
    }

    fn connection_leave(&self, user: &str, client: &str) -> SimAnswer<()> {
        let (user, client) = (user.to_owned(), client.to_owned());
        let label = format!("connection leave {user} {client}");
        self.request(CLUSTER, label, move |server| server.connection_leave(&user, &client))
    }

    fn connection_holders(&self, user: &str) -> SimAnswer<Vec<String>> {
        let user = user.to_owned();
        self.request(CLUSTER, format!("connection holders {user}"), move |server| server.holders(&user))
    }

    fn claim(&self, name: &str, owner: &str, ttl: Duration, replacing: Option<&str>) -> SimAnswer<String> {
        let (name, owner) = (name.to_owned(), owner.to_owned());
        let replacing = replacing.map(str::to_owned);
        let label = format!("claim {name}");
        self.request(CLUSTER, label, move |server| server.claim(&name, &owner, ttl, replacing.as_deref()))
    }

    fn owner(&self, name: &str) -> SimAnswer<Option<String>> {
        let name = name.to_owned();
        self.request(CLUSTER, format!("owner {name}"), move |server| server.owner(&name))
    }

    fn release(&self, name: &str, owner: &str) -> SimAnswer<()> {
        let (name, owner) = (name.to_owned(), owner.to_owned());
        self.request(CLUSTER, format!("release {name}"), move |server| server.release(&name, &owner))
    }
}
