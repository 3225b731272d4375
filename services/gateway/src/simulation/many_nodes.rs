//! A cluster of many nodes in the simulation: leases, commands to all, the secret that all claim, presence of the dead. All that
//! the broker carries out and delivers is counted by kind, so that what grows with the square of the nodes shows.
//!
//! `make test` runs [`NODES`] nodes; `make simulate NODES=1000` as many as one likes.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant as RealTime},
};

use super::{
    client::{SOCKET_BYTES, SimClient},
    network::SimNetwork,
    process::Process,
    server::MESSAGES,
    settings::settings,
};
use crate::{
    clock,
    node::cluster::{ClaimName, ClusterError},
    random,
    session_command::{SessionCommand, SessionTarget},
    settings::{BrokerKind, Settings},
};

/// Nodes in `make test`.
const NODES: usize = 100;
/// One of so many nodes dies.
const DYING_PART: usize = 10;
/// Nodes with a client that is present in [`CHANNEL`] and outlives them.
const STAYING_CLIENTS: usize = 20;
/// Keeps presence and tells of joins and leaves.
const CHANNEL: &str = "live:c";
/// Time passes in steps of so much.
const TICK: Duration = Duration::from_millis(500);
/// A lease, and a heartbeat after it.
const LEASES_RUN_OUT: Duration = Duration::from_secs(13);
/// Ends after the deaths are noticed, and before the nodes that have noticed them look again.
const CLAIMED_FOR: Duration = Duration::from_secs(15);
/// Movements after which it does not come to rest.
const ROUNDS: usize = 10_000;

/// The number of requests of each kind that were carried out, and each kind of push delivered.
type FleetCounts = BTreeMap<String, u64>;

/// A simulated cluster of many nodes.
struct Fleet {
    network: SimNetwork,
    settings: Settings,
    processes: Vec<Option<Process>>,
    clients: Vec<SimClient>,
    counts: FleetCounts,
}

/// The result of a command, once it has ended.
type FleetCommandResult = Rc<RefCell<Option<Result<(), ClusterError>>>>;

impl Drop for Fleet {
    /// The nodes hold the network and the network the nodes.
    fn drop(&mut self) {
        self.network.0.lock().links.clear();
    }
}

impl Fleet {
    fn start(nodes: usize) -> Self {
        clock::simulated::set(true);
        let mut settings = settings();
        settings.hooks.endpoints.clear();
        // The simulated broker stands in for Redis; but with it a node does all that nodes of a cluster do.
        settings.broker.kind = BrokerKind::Redis;
        let network = SimNetwork::default();
        let start = |_| Some(Process::start(&network, settings.clone(), 1));
        let processes = (0..nodes).map(start).collect();
        Self { network, settings, processes, clients: Vec::new(), counts: FleetCounts::default() }
    }

    /// Everything that is under way goes its way until nothing is.
    async fn flow(&mut self) {
        for _ in 0..ROUNDS {
            let mut has_moved = false;
            for process in self.processes.iter_mut().flatten() {
                has_moved |= process.run();
            }
            tokio::task::yield_now().await;
            for process in self.processes.iter().flatten() {
                has_moved |= carry(&self.network, process.link, &mut self.counts);
            }
            for client in self.clients.iter_mut().filter(|client| client.is_open()) {
                has_moved |= client.read(&mut self.network.0.lock().server.log);
            }
            if !has_moved {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    async fn pass(&mut self, time: Duration) {
        let mut passed = Duration::ZERO;
        while passed < time {
            tokio::time::advance(TICK).await;
            self.flow().await;
            passed += TICK;
        }
    }

    /// A client connects to a node and subscribes.
    async fn join(&mut self, process: usize) {
        let mut client = SimClient::new(format!("client of {process}"), process == 0);
        let (near, far) = tokio::io::duplex(SOCKET_BYTES);
        assert!(self.process_mut(process).accept(far, 0));
        client.connect(near, process);
        client.subscribe(&CHANNEL.into());
        self.clients.push(client);
        self.flow().await;
        let channel = Arc::from(CHANNEL);
        let client = self.clients.last_mut().unwrap();
        assert!(client.is_connected());
        client.subscribe(&channel);
        self.flow().await;
    }

    fn process_mut(&mut self, index: usize) -> &mut Process {
        self.processes.get_mut(index).unwrap().as_mut().unwrap()
    }

    /// The ids of the nodes that run.
    fn ids(&self) -> BTreeSet<String> {
        self.processes.iter().flatten().filter_map(Process::id).collect()
    }

    /// A node sends a command for a user to all others.
    fn order(&self, process: usize) -> FleetCommandResult {
        let process = self.processes.get(process).unwrap().as_ref().unwrap();
        let (node, ended) = (process.node.clone().unwrap(), FleetCommandResult::default());
        let into = ended.clone();
        let target = SessionTarget { user: "nobody".to_owned(), client: None, session: None };
        process.spawn(async move {
            let outcome = node
                .cluster
                .send_command(SessionCommand::Refresh {
                    target,
                    expired: true,
                    expire_at: None,
                    info: Default::default(),
                })
                .await;
            *into.borrow_mut() = Some(outcome);
        });
        ended
    }

    /// The counts since the last time.
    fn counted(&mut self) -> FleetCounts {
        std::mem::take(&mut self.counts)
    }

    /// True if each node that runs knows of exactly so many, itself included.
    fn all_know_of(&self, count: usize) -> bool {
        let members =
            |process: &Process| process.node.as_ref().map(|node| node.metrics.cluster.members.get());
        self.processes.iter().flatten().all(|process| members(process) == i64::try_from(count).ok())
    }

    fn present(&self) -> usize {
        self.network.0.lock().server.present(&CHANNEL.into()).len()
    }

    fn violations(&self) -> Vec<String> {
        self.network.0.lock().server.log.violations.clone()
    }
}

/// Carries out what a node asked for, and brings it its answers and what was pushed. False if there was nothing.
fn carry(network: &SimNetwork, link: usize, counts: &mut FleetCounts) -> bool {
    let (waiting, answers, pushed) = {
        let state = network.0.lock();
        let Some(link) = state.links.get(link) else { return false };
        let lines = |lines: &BTreeMap<String, _>| lines.keys().cloned().collect::<Vec<_>>();
        let pushed: Vec<Arc<str>> = link.pushed.keys().cloned().collect();
        (link.waiting.keys().cloned().collect::<Vec<_>>(), lines(&link.answers), pushed)
    };
    for line in &waiting {
        while let Some(label) = network.execute(link, line) {
            *counts.entry(kind_of(&label)).or_default() += 1;
        }
    }
    for line in &answers {
        while network.answer(link, line).is_some() {}
    }
    for channel in &pushed {
        while network.receive(link, channel).is_some() {
            let kind = if **channel == *MESSAGES { "(message to a node)" } else { "(event to a node)" };
            *counts.entry(kind.to_owned()).or_default() += 1;
        }
    }
    !(waiting.is_empty() && answers.is_empty() && pushed.is_empty())
}

/// A request without the names in it.
fn kind_of(label: &str) -> String {
    match label.split_once(' ') {
        Some(("send", "to None")) => "send to all".to_owned(),
        Some(("send", _)) => "send to one".to_owned(),
        Some(("presence", rest)) => format!("presence {}", rest.split(' ').next().unwrap_or_default()),
        Some(("claim", rest)) => format!("claim {}", rest.split(' ').next().unwrap_or_default()),
        Some((kind, _)) => kind.to_owned(),
        None => label.to_owned(),
    }
}

fn of(counts: &FleetCounts, kind: &str) -> u64 {
    counts.get(kind).copied().unwrap_or_default()
}

/// Runs the scenario with so many nodes; gives what was counted in each part.
async fn scenario(nodes: usize) -> Vec<(&'static str, FleetCounts)> {
    let dying = nodes / DYING_PART;
    let mut told = Vec::new();
    let mut fleet = Fleet::start(nodes);
    fleet.flow().await;
    fleet.pass(LEASES_RUN_OUT).await;
    assert!(fleet.all_know_of(nodes));
    told.push(("start and 13 s", fleet.counted()));

    // Clients on those who are going to die, and on some others.
    for process in (0..STAYING_CLIENTS).chain(nodes - dying..nodes) {
        fleet.join(process).await;
    }
    assert_eq!(fleet.present(), STAYING_CLIENTS + dying);
    told.push(("clients come", fleet.counted()));

    fleet.pass(Duration::from_secs(30)).await;
    told.push(("30 s of rest", fleet.counted()));

    let order = fleet.order(0);
    fleet.flow().await;
    assert_eq!(*order.borrow(), Some(Ok(())), "every node has carried it out");
    told.push(("an order to all", fleet.counted()));

    let before = fleet.ids();
    for process in nodes - dying..nodes {
        fleet.processes.get_mut(process).unwrap().take().unwrap().kill(0);
    }
    let dead: BTreeSet<String> = before.difference(&fleet.ids()).cloned().collect();
    assert_eq!(dead.len(), dying);
    // For the first of them the clients' channel is claimed, by a node that does not live to look through it.
    let claimed = ClaimName::Reaper { dead: dead.first().unwrap(), channel: CHANNEL }.to_string();
    fleet.network.0.lock().server.claim(&claimed, "claimer", CLAIMED_FOR, None);
    let order = fleet.order(0);
    fleet.pass(fleet.settings.cluster.answer_timeout + TICK).await;
    let Some(Err(ClusterError::Unanswered(silent))) = order.borrow_mut().take() else {
        panic!("an order of which nodes that may live know nothing is no success")
    };
    assert_eq!(silent.into_iter().collect::<BTreeSet<_>>(), dead);
    told.push(("an order while some are silent", fleet.counted()));

    fleet.pass(LEASES_RUN_OUT).await;
    assert!(fleet.all_know_of(nodes - dying));
    assert_eq!(
        fleet.present(),
        STAYING_CLIENTS + 1,
        "clients of the dead are out, but for the one that is claimed"
    );
    assert_eq!(fleet.violations(), [""; 0], "each left once");
    told.push(("deaths are noticed", fleet.counted()));

    for process in nodes - dying..nodes {
        let started = Process::start(&fleet.network, fleet.settings.clone(), 1);
        *fleet.processes.get_mut(process).unwrap() = Some(started);
    }
    fleet.flow().await;
    // By then all have looked again for clients of the dead.
    fleet.pass(2 * LEASES_RUN_OUT).await;
    assert_eq!(fleet.present(), STAYING_CLIENTS);
    assert!(fleet.all_know_of(nodes));
    let order = fleet.order(nodes - 1);
    fleet.flow().await;
    assert_eq!(*order.borrow(), Some(Ok(())), "those who are new give and take orders as others do");
    told.push(("as many return", fleet.counted()));

    let secret = |process: &Process| {
        let known = process.node.as_ref().map(|node| node.secrets.known());
        known.unwrap_or_default().first().map(|secret| format!("{:?}", secret.text()))
    };
    let secrets: BTreeSet<_> = fleet.processes.iter().flatten().map(secret).collect();
    assert_eq!(secrets.len(), 1, "all have claimed the same secret");
    assert!(secrets.iter().all(Option::is_some));
    assert_eq!(fleet.violations(), [""; 0]);
    told
}

/// A world of its own.
fn simulated<T>(act: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        random::simulated::seed(Some(1));
        let result = act.await;
        clock::simulated::set(false);
        random::simulated::seed(None);
        result
    })
}

/// `NODES`: how many, instead of [`NODES`].
#[test]
fn what_a_cluster_of_many_nodes_asks_of_its_broker_grows_with_the_nodes_and_not_with_their_square() {
    let nodes = std::env::var("NODES").ok().and_then(|value| value.parse().ok()).unwrap_or(NODES);
    let began = RealTime::now();
    let told = simulated(scenario(nodes));
    println!("{nodes} nodes, {:.1?}", began.elapsed());
    for (part, counts) in &told {
        println!("{part}:");
        counts.iter().for_each(|(kind, count)| println!("  {kind}: {count}"));
    }
    let part = |name: &str| &told.iter().find(|(part, _)| *part == name).unwrap().1;
    let n = nodes as u64;
    let dying = n / DYING_PART as u64;

    let rest = part("30 s of rest");
    assert_eq!(of(rest, "announce"), 10 * n, "one every three seconds");
    assert!(of(rest, "claim secret") <= 3 * n, "one every ten seconds");
    assert!(rest.values().sum::<u64>() <= 16 * n, "nothing else takes place at rest: {rest:?}");

    let order = part("an order to all");
    assert_eq!((of(order, "send to all"), of(order, "send to one")), (1, n - 1));
    assert_eq!(of(order, "members"), 1);

    // One node looks through the channel for each that died. The others that have it ask if somebody does, and once more later.
    let deaths = part("deaths are noticed");
    let having = STAYING_CLIENTS as u64;
    assert_eq!((of(deaths, "reap"), of(deaths, "claim reaper")), (dying - 1, dying * having));
    let later = part("as many return");
    assert_eq!((of(later, "reap"), of(later, "claim reaper")), (dying, dying * (having - 1) + 1));
}
