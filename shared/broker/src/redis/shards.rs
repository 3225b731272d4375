//! The servers behind a broker: one, or the primaries of a Redis Cluster. Requests and interest go to the one that serves
//! their slot. `docs/architecture.md` §5.3; record 11.
//!
//! - [`slots`]: which slot is whose.
//! - [`redirects`]: requests between two owners of their slot.
//! - [`servers`]: what operators see of each.
//! - [`topology`]: the task that finds out which servers there are, and follows what changes with them.

pub(super) mod redirects;
mod servers;
pub(super) mod slots;
mod topology;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, OnceLock},
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use redis::Cmd;
use tokio::{runtime::Handle, sync::watch, task::AbortHandle, time::timeout};

use self::{
    redirects::Redirects,
    slots::{Address, SLOTS, Slot, slot_of, slot_of_command},
};
use super::{
    counters::Counters,
    dialer::Dialer,
    listener::{ConnectionTask, Listener, PubSubCommands},
    pubsub::{PubSub, RedisChannels, SinkHandle, SubscriptionKind, Waiter},
    request::{Reply, Request, RequestLimits},
    requests::{Requests, SenderTask, SharedConnections},
    scripts::{Keys, Scripts},
    settings::{RedisSettings, RedisSettingsError},
};
use crate::{BrokerError, Health};

/// The name of a server that is the only one.
const ALONE: &str = "";

/// Why a request cannot be sent that belongs to no server.
const UNSERVED: &str = "no server of the cluster serves its slot";

/// All servers behind a broker, and the route of each request to the one that serves its slot.
pub(super) struct Shards {
    settings: RedisSettings,
    keys: Keys,
    node: String,
    dialer: Dialer,
    seeds: Vec<Address>,
    common: SharedConnections,
    sink: Arc<SinkHandle>,
    /// The names that are wanted from the start on.
    first_wanted: Mutex<Vec<(String, SubscriptionKind)>>,
    routes: RwLock<Routes>,
    /// Why no map of the cluster is known, if none is.
    map_trouble: watch::Sender<Option<String>>,
    runtime: OnceLock<Handle>,
    topology_task: Mutex<Option<AbortHandle>>,
}

/// The servers of now, and the slots that each serves.
#[derive(Default)]
struct Routes {
    /// The servers, by address.
    shards: BTreeMap<Address, Arc<Shard>>,
    /// The server of each slot; of a server alone, nothing.
    owners: Vec<Option<Arc<Shard>>>,
    /// All servers of the newest slot map, replicas too.
    known: BTreeSet<Address>,
}

impl Routes {
    fn owner(&self, slot: Slot) -> Option<&Arc<Shard>> {
        self.owners.get(usize::from(slot))?.as_ref()
    }
}

impl Shards {
    pub(super) fn new(settings: RedisSettings, node: String) -> Result<Self, RedisSettingsError> {
        let dialer = Dialer::new(&settings)?;
        let seeds = settings.seeds()?;
        let counters = Arc::new(Counters::new(Scripts::KINDS));
        let redirects = (!seeds.is_empty()).then(|| Arc::new(Redirects::new(Arc::clone(&counters))));
        let common = SharedConnections {
            limits: Arc::new(RequestLimits::new(&settings)),
            scripts: Arc::new(Scripts::new()),
            counters: Arc::clone(&counters),
            redirects,
        };
        let owners = if seeds.is_empty() { Vec::new() } else { vec![None; usize::from(SLOTS)] };
        Ok(Self {
            keys: Keys::new(&settings.prefix),
            node,
            dialer,
            seeds,
            common,
            sink: Arc::new(SinkHandle::new(counters)),
            first_wanted: Mutex::default(),
            routes: RwLock::new(Routes { owners, ..Routes::default() }),
            map_trouble: watch::Sender::new(Some("the broker is not started".to_owned())),
            runtime: OnceLock::new(),
            topology_task: Mutex::default(),
            settings,
        })
    }

    pub(super) fn scripts(&self) -> &Scripts {
        &self.common.scripts
    }

    pub(super) fn counters(&self) -> &Arc<Counters> {
        &self.common.counters
    }

    fn is_cluster(&self) -> bool {
        !self.seeds.is_empty()
    }

    /// The kind of pub/sub commands that the servers take.
    pub(super) fn pubsub_commands(&self) -> PubSubCommands {
        if self.is_cluster() { PubSubCommands::Sharded } else { PubSubCommands::Plain }
    }

    /// Wants these names as soon as there is a server. To be called before [`Shards::start`].
    pub(super) fn want_from_start(&self, names: Vec<(String, SubscriptionKind)>) {
        let mut first = self.first_wanted.lock();
        if first.is_empty() {
            *first = names;
        }
    }

    /// A server whose tasks do not run yet: they begin with [`Shards::run`], once the shard knows what it has to subscribe to.
    /// Otherwise its connection could be ready before it hears the names that are wanted from the start.
    fn open(&self, address: Option<&Address>, canary: &str) -> Arc<Shard> {
        let dialer = match address {
            Some((host, port)) => self.dialer.at(host, *port),
            None => self.dialer.clone(),
        };
        let (common, sink) = (self.common.clone(), Arc::clone(&self.sink));
        let dialect = self.pubsub_commands();
        Arc::new(Shard::new(&self.settings, dialect, dialer, common, sink, canary.to_owned()))
    }

    /// Runs the tasks of a server; nothing if they run.
    fn run(&self, shard: &Shard) {
        if let Some(runtime) = self.runtime.get() {
            shard.start(runtime);
        }
    }

    /// The servers of now.
    pub(super) fn shards(&self) -> Vec<Arc<Shard>> {
        self.routes.read().shards.values().cloned().collect()
    }

    /// Makes a request: it is in the queue when this returns. Dropping the future does not take it back.
    pub(super) fn make(&self, command: Cmd) -> impl Future<Output = Reply> + Send + 'static + use<> {
        self.make_request(command, false)
    }

    /// As [`Shards::make`], for a script of `stream.lua`: the life of the server becomes its last argument.
    pub(super) fn make_on_stream(
        &self,
        command: Cmd,
    ) -> impl Future<Output = Reply> + Send + 'static + use<> {
        self.make_request(command, true)
    }

    fn make_request(
        &self,
        command: Cmd,
        needs_life: bool,
    ) -> impl Future<Output = Reply> + Send + 'static + use<> {
        let made = self.common.limits.admit(command, needs_life).map(|(request, caller)| {
            self.send(request);
            caller
        });
        async move { made?.wait().await }
    }

    fn send(&self, mut request: Request) {
        // Held until the request is in line, so that the owner of its slot stays the same.
        let routes = self.routes.read();
        let Some(redirects) = &self.common.redirects else {
            return match routes.shards.values().next() {
                Some(shard) => shard.requests.put(request),
                None => request.fail("the broker is not started"),
            };
        };
        let Some(slot) = slot_of_command(&request.command) else {
            return request.fail("a request without a key");
        };
        request.redirect = Some(redirects.join(slot));
        if let Some(request) = redirects.pass(request) {
            self.put(&routes, slot, request);
        }
    }

    fn put(&self, routes: &Routes, slot: Slot, request: Request) {
        match routes.owner(slot) {
            Some(shard) => shard.requests.put(request),
            None => request.fail(&self.map_trouble.borrow().clone().unwrap_or_else(|| UNSERVED.to_owned())),
        }
    }

    /// The request is in the queue when this returns; the future resolves when the servers have confirmed.
    pub(super) fn subscribe(
        &self,
        channels: Vec<(String, Arc<str>)>,
    ) -> impl Future<Output = Result<(), BrokerError>> + Send + 'static + use<> {
        let (waiter, answer) = Waiter::new(channels.len());
        let mut parts: HashMap<Slot, Vec<(String, SubscriptionKind)>> = HashMap::new();
        for (name, channel) in channels {
            let slot = if self.is_cluster() { slot_of(name.as_bytes()) } else { 0 };
            parts.entry(slot).or_default().push((name, SubscriptionKind::Channel(channel)));
        }
        let routes = self.routes.read();
        for (slot, names) in parts {
            match self.listener_of(&routes, slot) {
                Some(shard) => shard.listener.subscribe(names, &waiter),
                None => waiter.end(Err(BrokerError::Unavailable(self.no_server()))),
            }
        }
        let time_limit = self.settings.request_timeout;
        async move {
            match timeout(time_limit, answer).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(BrokerError::Unavailable("the connection was lost".to_owned())),
                Err(_) => Err(BrokerError::UnknownOutcome("time is over".to_owned())),
            }
        }
    }

    /// Nothing reaches the sink any more as soon as this returns.
    pub(super) fn unsubscribe(&self, names: RedisChannels) {
        let mut parts: HashMap<Slot, RedisChannels> = HashMap::new();
        for name in names {
            let slot = if self.is_cluster() { slot_of(name.as_bytes()) } else { 0 };
            parts.entry(slot).or_default().push(name);
        }
        let routes = self.routes.read();
        for (slot, names) in parts {
            if let Some(shard) = self.listener_of(&routes, slot) {
                shard.listener.unsubscribe(names);
            }
        }
    }

    fn listener_of<'a>(&self, routes: &'a Routes, slot: Slot) -> Option<&'a Arc<Shard>> {
        if self.is_cluster() { routes.owner(slot) } else { routes.shards.values().next() }
    }

    fn no_server(&self) -> String {
        self.map_trouble.borrow().clone().unwrap_or_else(|| UNSERVED.to_owned())
    }

    /// Tells if this node would deliver right now.
    pub(super) fn health(&self) -> Health {
        if let Some(reason) = self.map_trouble.borrow().clone() {
            return Health::NotReady(reason);
        }
        let routes = self.routes.read();
        for (address, shard) in &routes.shards {
            if let Some(reason) = shard.trouble(self.settings.canary_timeout) {
                return Health::NotReady(if self.is_cluster() {
                    format!("server {} of the cluster: {reason}", Shard::name(address))
                } else {
                    reason
                });
            }
        }
        if routes.owners.iter().any(Option::is_none) {
            return Health::NotReady("some slots of the cluster are served by nobody".to_owned());
        }
        Health::Ready
    }
}

/// One server with its two connections.
pub(in crate::redis) struct Shard {
    pub(super) requests: Arc<Requests>,
    pub(in crate::redis) listener: Listener,
    pub(super) pubsub: Arc<PubSub>,
    host: String,
    /// Host and port.
    address: String,
    /// The tasks that `start` runs; it takes them.
    idle: Mutex<Option<(SenderTask, ConnectionTask)>>,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl Shard {
    pub(super) fn new(
        settings: &RedisSettings,
        dialect: PubSubCommands,
        dialer: Dialer,
        common: SharedConnections,
        sink: Arc<SinkHandle>,
        canary: String,
    ) -> Self {
        let pubsub = Arc::new(PubSub::new(sink, canary));
        let (host, address) = (dialer.host(), dialer.server());
        let (requests, sender) = Requests::new(settings, dialer.clone(), common.clone());
        let requests = Arc::new(requests);
        let (listener, keeper) =
            Listener::new(settings, dialect, dialer, Arc::clone(&requests), Arc::clone(&pubsub), common);
        let idle = Mutex::new(Some((sender, keeper)));
        Self { requests, listener, pubsub, host, address, idle, tasks: Mutex::default() }
    }

    /// The name that operators see.
    pub(super) fn name((host, port): &Address) -> String {
        format!("{host}:{port}")
    }

    /// The host of the server.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Runs the two tasks.
    pub(super) fn start(&self, runtime: &Handle) {
        if let Some((sender, keeper)) = self.idle.lock().take() {
            let tasks = [runtime.spawn(sender.run()), runtime.spawn(keeper.run())];
            self.tasks.lock().extend(tasks.map(|task| task.abort_handle()));
        }
    }

    /// Ends the two tasks.
    pub(super) fn stop(&self) {
        for task in self.tasks.lock().drain(..) {
            task.abort();
        }
    }

    /// Ends them when what is under way has been answered.
    pub(super) fn retire(self: &Arc<Self>, runtime: &Handle, time_limit: Duration) {
        let shard = Arc::clone(self);
        runtime.spawn(async move {
            tokio::time::sleep(time_limit).await;
            shard.stop();
        });
    }

    /// Resolves when both connections can be used.
    pub(super) async fn wait_up(&self) {
        tokio::join!(self.requests.status().wait_up(), self.listener.status().wait_up());
    }

    pub(super) fn is_up(&self) -> bool {
        self.requests.status().trouble().is_none() && self.listener.status().trouble().is_none()
    }

    /// Why the node would not deliver through it.
    pub(super) fn trouble(&self, time_limit: Duration) -> Option<String> {
        if let Some(reason) = self.requests.status().trouble().or_else(|| self.listener.status().trouble()) {
            return Some(reason);
        }
        let (refusal, silence) =
            self.pubsub.canary(|canary| (canary.refusal().map(str::to_owned), canary.silence()));
        if let Some(reason) = refusal {
            return Some(format!("Redis refuses to publish: {reason}"));
        }
        if silence.is_some_and(|silence| silence > time_limit) {
            return Some("the node does not hear itself".to_owned());
        }
        if self.pubsub.lost_for().is_some_and(|lost| lost > time_limit) {
            return Some("channels whose slots were moved are not heard".to_owned());
        }
        None
    }
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.stop();
    }
}
