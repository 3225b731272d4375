//! A node of the simulated cluster: the real [`Node`] with real workers, whose tasks run only when a step says so.

mod http;

use std::{
    cell::RefCell,
    future::Future as _,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
};

use actix_http::header::{CONNECTION, HOST, HeaderValue, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use bytes::Bytes;
use gorani_broker::Broker;
use tokio::{io::DuplexStream, task::LocalSet};

use super::{broker::SimBroker, embedded::EmbeddedBroker, network::SimNetwork};
use crate::{
    CLIENT_PATH,
    endpoints::{
        Endpoints, Upgrades,
        client::ClientEndpoint,
        stomp::{StompEndpoint, accept},
    },
    http_session::{WorkerContext, registry::HttpSessionRegistry},
    node::Node,
    settings::Settings,
};

pub(super) use self::http::{AnswerPart, Exchange};

/// Polls of one thread's tasks without a step between them, after which they are taken for a loop without an end.
const POLLS: usize = 10_000;

/// Notes that there is something to run.
struct ProcessWoken(AtomicBool);

impl Wake for ProcessWoken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The tasks of one thread of a node.
struct Thread {
    tasks: LocalSet,
    woken: Arc<ProcessWoken>,
    waker: Waker,
    is_frozen: bool,
    /// Its tasks wake one another without an end.
    is_spinning: bool,
}

impl Thread {
    fn new() -> Self {
        let woken = Arc::new(ProcessWoken(AtomicBool::new(true)));
        Self {
            tasks: LocalSet::new(),
            waker: woken.clone().into(),
            woken,
            is_frozen: false,
            is_spinning: false,
        }
    }

    /// Runs what can run. False if there was nothing.
    fn run(&mut self) -> bool {
        let mut polls = 0;
        while !self.is_frozen && self.woken.0.swap(false, Ordering::Relaxed) {
            let _ = Pin::new(&mut self.tasks).poll(&mut Context::from_waker(&self.waker));
            polls += 1;
            if polls == POLLS {
                self.is_spinning = true;
                self.is_frozen = true;
            }
        }
        polls > 0
    }
}

/// A node of the simulated cluster.
pub(super) struct Process {
    pub(super) link: usize,
    network: SimNetwork,
    id: Arc<parking_lot::Mutex<Option<String>>>,
    /// The node's own tasks first, then those of each worker.
    threads: Vec<Thread>,
    starting: Rc<RefCell<Option<Arc<Node>>>>,
    pub(super) node: Option<Arc<Node>>,
    workers: usize,
    upgrades: Vec<Upgrades>,
    /// Routes for requests over HTTP, from the first request on.
    routes: Vec<Rc<http::ProcessRoutes>>,
}

impl Process {
    /// Begins to start a node. It is there when [`Process::run`] has started its workers.
    pub(super) fn start(network: &SimNetwork, settings: Settings, workers: usize) -> Self {
        let link = network.add_link();
        let id = Arc::default();
        let broker = Arc::new(SimBroker {
            network: network.clone(),
            link,
            id: Arc::clone(&id),
            hook_plan: Arc::default(),
        });
        Self::start_with(network, settings, workers, (link, id, broker))
    }

    /// The same, with an embedded broker that ends with it.
    pub(super) fn start_embedded(network: &SimNetwork, settings: Settings, workers: usize) -> Self {
        let link = network.add_link();
        let broker = Arc::new(EmbeddedBroker::start(network));
        Self::start_with(network, settings, workers, (link, Arc::default(), broker))
    }

    fn start_with(
        network: &SimNetwork,
        settings: Settings,
        workers: usize,
        (link, id, broker): (usize, Arc<parking_lot::Mutex<Option<String>>>, Arc<dyn Broker>),
    ) -> Self {
        let thread = Thread::new();
        let starting = Rc::new(RefCell::new(None));
        let started = Rc::clone(&starting);
        thread.tasks.spawn_local(async move {
            // A broker that is away: a supervisor starts the process again.
            loop {
                if let Ok(node) = Node::start_with(settings.clone(), broker.clone()).await {
                    *started.borrow_mut() = Some(node);
                    return;
                }
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        });
        Self {
            link,
            network: network.clone(),
            id,
            threads: vec![thread],
            starting,
            node: None,
            workers,
            upgrades: Vec::new(),
            routes: Vec::new(),
        }
    }

    /// Runs what can run on its threads. False if there was nothing.
    pub(super) fn run(&mut self) -> bool {
        let mut has_run = false;
        for thread in &mut self.threads {
            has_run |= thread.run();
        }
        let started = self.starting.borrow_mut().take();
        if let Some(node) = started {
            self.start_workers(&node);
            self.node = Some(node);
            has_run = true;
        }
        has_run
    }

    fn start_workers(&mut self, node: &Arc<Node>) {
        let registry = Arc::new(HttpSessionRegistry::new(node.id.clone()));
        let mut endpoints = Endpoints::default();
        endpoints.insert(CLIENT_PATH, Arc::new(ClientEndpoint::new(node.clone())));
        let endpoints = Arc::new(endpoints);
        for _ in 0..self.workers {
            let thread = Thread::new();
            let entered = thread.tasks.enter();
            let local = WorkerContext {
                worker: node.workers.start(),
                registry: registry.clone(),
                node: node.clone(),
                is_secure: false,
            };
            drop(entered);
            self.upgrades.push(Upgrades::new(local, endpoints.clone(), &node.settings));
            self.threads.push(thread);
        }
    }

    /// Accepts a WebSocket of the client protocol on a worker. False while the node is not there.
    pub(super) fn accept(&mut self, stream: DuplexStream, worker: usize) -> bool {
        if self.upgrades.is_empty() {
            return false;
        }
        let worker = worker % self.upgrades.len();
        let (Some(upgrades), Some(thread)) =
            (self.upgrades.get(worker).cloned(), self.threads.get(worker + 1))
        else {
            return false;
        };
        let mut request = actix_http::Request::new();
        let head = request.head_mut();
        // Heads are pooled, and keep what a request before it had.
        head.method = actix_http::Method::GET;
        head.uri = actix_http::Uri::from_static(CLIENT_PATH);
        for (name, value) in [
            (HOST, "simulation"),
            (UPGRADE, "websocket"),
            (CONNECTION, "upgrade"),
            (SEC_WEBSOCKET_VERSION, "13"),
            (SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            head.headers.insert(name, HeaderValue::from_static(value));
        }
        thread.tasks.spawn_local(upgrades.take(request, stream, Bytes::new()));
        true
    }

    /// Accepts a connection of STOMP over TCP on a worker. False while the node is not there.
    pub(super) fn accept_stomp(&mut self, stream: DuplexStream, worker: usize) -> bool {
        let (Some(node), false) = (self.node.clone(), self.upgrades.is_empty()) else { return false };
        let worker = worker % self.upgrades.len();
        let (Some(upgrades), Some(thread)) = (self.upgrades.get(worker), self.threads.get(worker + 1)) else {
            return false;
        };
        let of_worker = upgrades.local.worker.clone();
        thread.tasks.spawn_local(async move {
            accept(&node, &of_worker, &StompEndpoint::new(node.clone(), &node.settings), stream, None);
        });
        true
    }

    /// True if one of its threads stands still.
    pub(super) fn is_frozen(&self) -> bool {
        self.threads.iter().any(|thread| thread.is_frozen)
    }

    /// Runs something of the backend's on the node's own thread.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        if let Some(thread) = self.threads.first() {
            thread.tasks.spawn_local(task);
        }
    }

    /// A thread stands still, or goes on. False if there is no such thread or nothing changes.
    pub(super) fn freeze(&mut self, worker: usize, is_frozen: bool) -> bool {
        match self.threads.get_mut(worker + 1) {
            Some(thread) if thread.is_frozen != is_frozen => {
                thread.is_frozen = is_frozen;
                true
            }
            _ => false,
        }
    }

    /// All threads go on.
    pub(super) fn thaw(&mut self) {
        self.threads.iter_mut().for_each(|thread| thread.is_frozen = false);
    }

    /// True if tasks of one of its threads wake one another without an end.
    pub(super) fn is_spinning(&self) -> bool {
        self.threads.iter().any(|thread| thread.is_spinning)
    }

    /// The id by which the node receives messages.
    pub(super) fn id(&self) -> Option<String> {
        self.id.lock().clone()
    }

    /// The node's workers.
    pub(super) fn workers(&self) -> impl Iterator<Item = &Rc<crate::hub::worker::Worker>> {
        self.upgrades.iter().map(|upgrades| &upgrades.local.worker)
    }

    /// The process ends at once, as by `kill -9`. Of each line of requests the server carried out so many more.
    pub(super) fn kill(self, executed: usize) {
        self.network.kill(self.link, executed);
    }
}
