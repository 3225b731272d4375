//! The correctness audit (`bench audit`): does everything that was accepted reach everybody, once and in order, whatever breaks?
//!
//! Backends publish numbered messages at any node of a cluster ([`backend`]), as fast as they are told to, and try again until
//! they know; subscribers on all nodes write down what they are given ([`subscriber`]); a [`scenario`] breaks something
//! meanwhile; the nodes' readiness is [`watch`]ed. Then everything is compared ([`mod@check`]) with what was accepted ([`ledger`]).

pub(crate) mod backend;
pub(crate) mod check;
pub(crate) mod cluster;
mod hooks;
pub(crate) mod ledger;
mod scenario;
pub(crate) mod subscriber;
mod verdict;
pub(crate) mod watch;

use std::{
    collections::HashSet,
    fs, io,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum as _};

use self::{
    check::{Counts, Readiness, check, recovery},
    cluster::{Cluster, NODES, until},
    hooks::HookScenario,
    ledger::{Ledger, channel_name},
    scenario::{Lengths, Scenario},
    subscriber::{Record, Subscriber},
    verdict::Verdict,
    watch::Watch,
};
use crate::{
    plot::{self, Panel, Windows},
    report,
};

/// Backends that publish at the same time; each waits for its answers.
const BACKENDS: u32 = 20;
/// How long everything may take to be at its place after the last publication.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
/// How often something that must come is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Seconds of a window whose percentiles are a point of the figure.
const WINDOW: f64 = 0.5;
/// Part of the load that comes before the fault.
const BEFORE: f64 = 0.3;

/// What is audited, and how much.
#[derive(Debug, Args)]
pub(crate) struct AuditFlags {
    /// What breaks; all of it, one after the other, if nothing is named
    #[arg(long, value_delimiter = ',', value_enum)]
    scenario: Vec<Scenario>,
    /// Faults while the backend is told by hooks; all of it if neither this nor a scenario is named
    #[arg(long, value_delimiter = ',', value_enum)]
    hooks: Vec<HookScenario>,
    /// Seconds for which the backend of the hooks is down in its scenario; 60, with --brief 5
    #[arg(long)]
    down_seconds: Option<u64>,
    /// Seconds of load in each scenario, beside the time that the fault takes
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    /// Subscribers, spread evenly over channels and nodes
    #[arg(long, default_value_t = 300)]
    subscribers: usize,
    /// Channels, all with history
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    channels: u16,
    /// Publications a second, over all channels
    #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Short faults and little load: about ten seconds a scenario
    #[arg(long)]
    brief: bool,
    /// Scenarios at the same time, each with a cluster of its own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    parallel: u8,
    /// The binary of another version: all nodes begin with it, are rolled to this version one by one, and back, all under load
    #[arg(long)]
    mixed: Option<PathBuf>,
    /// Write a dated file under tests/bench/results
    #[arg(long)]
    write: bool,
    /// The result file's name
    #[arg(long, default_value = "audit")]
    name: String,
}

pub(crate) fn run(flags: &AuditFlags) -> io::Result<()> {
    let load = report::load();
    let own = gorani_tests::binary::node();
    if let Some(other) = &flags.mixed
        && fs::read(other)? == fs::read(own)?
    {
        return Err(io::Error::other(
            "--mixed names the binary of this version, so two versions would not meet",
        ));
    }
    let is_all = flags.scenario.is_empty() && flags.hooks.is_empty() && flags.mixed.is_none();
    let mut scenarios = if is_all { Scenario::value_variants().to_vec() } else { flags.scenario.clone() };
    scenarios.extend(flags.mixed.as_ref().map(|_| Scenario::Mixed));
    let verdicts = in_parallel(&scenarios, flags.parallel, |scenario| {
        eprintln!("audit: {}", scenario.name());
        let verdict = Audit::new(flags, scenario).run()?;
        verdict.tell();
        Ok(verdict)
    })?;
    let scenarios = if is_all { HookScenario::value_variants() } else { &flags.hooks };
    let hooks = in_parallel(scenarios, flags.parallel, |scenario| {
        eprintln!("audit: hooks {scenario:?}");
        let verdict = hooks::run(flags, scenario)?;
        verdict.tell();
        Ok(verdict)
    })?;
    let text = format!(
        "- {NODES} nodes of 2 workers, {} subscribers on {} channels with history, {} publications a second from {BACKENDS} backends, \
         {} s of load beside the fault\n- Redis with appendonly, appendfsync always\n\n{}\n{}\n{}\n{}",
        flags.subscribers,
        flags.channels,
        flags.rate,
        flags.load().as_secs(),
        report::grid(&verdict::table(&verdicts)),
        verdict::LEGEND,
        report::grid(&hooks::table(&hooks)),
        hooks::LEGEND,
    );
    println!("{load}\n{text}");
    if flags.write {
        let path = report::write_text(&flags.name, &load, &text)?;
        plot::write_beside(&path, &[verdict::figure(&verdicts)])?;
        println!("written to {}", path.display());
    } else if !verdicts.is_empty() {
        // A figure that cannot be drawn is a fault, also where none is kept.
        verdict::figure(&verdicts).svg()?;
    }
    let failed =
        verdicts.iter().filter(|verdict| !verdict.is_good()).map(|verdict| verdict.scenario.as_str());
    let of_hooks = hooks.iter().filter(|verdict| !verdict.is_good()).map(hooks::HookVerdict::name);
    let failed: Vec<&str> = failed.chain(of_hooks).collect();
    if failed.is_empty() { Ok(()) } else { Err(io::Error::other(format!("failed: {}", failed.join(", ")))) }
}

/// Runs scenarios, some at a time, and gives their verdicts in the same order.
fn in_parallel<S: Copy + Sync, V: Send>(
    scenarios: &[S],
    at_a_time: u8,
    audit: impl Fn(S) -> io::Result<V> + Sync,
) -> io::Result<Vec<V>> {
    let mut verdicts = Vec::new();
    for together in scenarios.chunks(at_a_time.into()) {
        let ended = thread::scope(|scope| {
            let begun: Vec<_> = together.iter().map(|scenario| scope.spawn(|| audit(*scenario))).collect();
            begun.into_iter().map(thread::ScopedJoinHandle::join).collect::<Vec<_>>()
        });
        for verdict in ended {
            verdicts.push(verdict.map_err(|_| io::Error::other("an audit panicked"))??);
        }
    }
    Ok(verdicts)
}

impl AuditFlags {
    fn load(&self) -> Duration {
        Duration::from_secs(if self.brief { 5 } else { self.seconds.into() })
    }

    fn lengths(&self) -> Lengths {
        let [silence, away] = if self.brief { [6, 1] } else { [10, 3] };
        Lengths { silence: Duration::from_secs(silence), away: Duration::from_secs(away) }
    }
}

/// One scenario.
struct Audit<'a> {
    flags: &'a AuditFlags,
    scenario: Scenario,
    ledger: Arc<Ledger>,
    records: Vec<Arc<Mutex<Record>>>,
    /// The beginning of the load.
    began: Instant,
}

/// The subscribers' thread; it ends when this is dropped.
struct Listening {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl<'a> Audit<'a> {
    fn new(flags: &'a AuditFlags, scenario: Scenario) -> Self {
        let ledger = Arc::new(Ledger::new(flags.channels.into()));
        let records = (0..flags.subscribers).map(|_| Arc::default()).collect();
        Self { flags, scenario, ledger, records, began: Instant::now() }
    }

    fn run(mut self) -> io::Result<Verdict> {
        let other = self.flags.mixed.as_deref().filter(|_| self.scenario == Scenario::Mixed);
        let mut cluster = Cluster::start(self.scenario.kind(), other);
        let nodes = cluster.addresses();
        let listening = self.listen(&nodes)?;
        until("everybody is subscribed", || {
            self.records.iter().all(|record| record.lock().unwrap().is_subscribed)
        });
        let watch = Watch::start(&nodes);
        self.began = Instant::now();
        let (stop, every) =
            (Arc::new(AtomicBool::new(false)), Duration::from_secs(1) * BACKENDS / self.flags.rate);
        let backends: Vec<_> = (0..BACKENDS)
            .map(|_| {
                let (ledger, nodes, stop) = (Arc::clone(&self.ledger), nodes.clone(), Arc::clone(&stop));
                thread::spawn(move || backend::publish(&ledger, &nodes, every, &stop))
            })
            .collect();
        let load = self.flags.load();
        thread::sleep(load.mul_f64(BEFORE));
        let faults = self.scenario.inject(&mut cluster, self.flags.lengths(), other);
        thread::sleep(load.mul_f64(1.0 - BEFORE));
        stop.store(true, Ordering::Relaxed);
        for backend in backends {
            backend.join().map_err(|_| io::Error::other("a backend panicked"))?;
        }
        let mut complaints = Vec::new();
        let streams = self.settle(&cluster, &watch, &mut complaints)?;
        drop(listening);
        let mut readiness = Readiness::default();
        for node in 0..NODES {
            readiness.check(node, &watch.of(node), &faults);
        }
        drop(watch);
        let verdict = self.verdict(&streams, &faults, readiness, complaints);
        if !verdict.is_good() {
            cluster.tell_warnings();
        }
        Ok(verdict)
    }

    /// Subscribes everybody, on a thread of its own.
    fn listen(&self, nodes: &[std::net::SocketAddr]) -> io::Result<Listening> {
        let subscriber = |(index, record): (usize, &Arc<Mutex<Record>>)| Subscriber {
            channel: channel_name(self.channel_of(index)),
            nodes: nodes.to_vec(),
            // Each channel has subscribers on all nodes.
            first: index / self.ledger.channels.len(),
            record: Arc::clone(record),
        };
        let subscribers: Vec<Subscriber> = self.records.iter().enumerate().map(subscriber).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                for subscriber in subscribers {
                    tokio::spawn(subscriber.run());
                }
                while !stopped.load(Ordering::Relaxed) {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            });
        });
        Ok(Listening { stop, thread: Some(thread) })
    }

    fn channel_of(&self, subscriber: usize) -> usize {
        subscriber % self.ledger.channels.len()
    }

    /// Waits until all nodes are ready and every subscriber is at the top of its channel; gives what the histories hold.
    fn settle(
        &self,
        cluster: &Cluster,
        watch: &Watch,
        complaints: &mut Vec<String>,
    ) -> io::Result<Vec<Vec<(u32, ledger::Position)>>> {
        let settled = eventually(|| watch.all_ready());
        if !settled {
            complaints.push("not all nodes were ready in the end".to_owned());
        }
        let read = |index| backend::history(cluster.nodes[0].address(), index).map_err(io::Error::other);
        let streams = (0..self.ledger.channels.len()).map(read).collect::<io::Result<Vec<_>>>()?;
        let is_at_top = |index: usize, record: &Record| {
            let (publications, top) = &streams[self.channel_of(index)];
            // A client that stayed subscribed over a failover learns the new epoch later (record 34). Until then its last
            // publication tells that it is at the top.
            let newest = publications.last().map(|(number, _)| *number);
            let is_same =
                record.position.epoch == top.epoch || newest.is_some_and(|newest| record.had_last(newest));
            record.is_subscribed && record.position.offset == top.offset && is_same
        };
        let everybody = || {
            self.records.iter().enumerate().all(|(index, record)| is_at_top(index, &record.lock().unwrap()))
        };
        if !eventually(everybody) {
            let behind = self.records.iter().enumerate();
            let behind = behind.filter(|(index, record)| !is_at_top(*index, &record.lock().unwrap())).count();
            complaints.push(format!("{behind} subscribers did not come to the top of their channels"));
        }
        Ok(streams.into_iter().map(|(publications, _)| publications).collect())
    }

    fn verdict(
        &self,
        streams: &[Vec<(u32, ledger::Position)>],
        faults: &[scenario::Fault],
        readiness: Readiness,
        mut complaints: Vec<String>,
    ) -> Verdict {
        let accepted: Vec<_> = self.ledger.channels.iter().map(ledger::Channel::accepted).collect();
        let mut counts = Counts::default();
        let (mut recoveries, mut reconnects, mut insufficient) = (Vec::new(), 0, 0);
        let mut times = Windows::default();
        let since = |moment: Instant| moment.saturating_duration_since(self.began).as_secs_f64();
        for (index, record) in self.records.iter().enumerate() {
            let record = record.lock().unwrap();
            let accepted = &accepted[self.channel_of(index)];
            for (sent, received) in
                record.publications().filter_map(|(number, at)| Some((accepted.get(&number)?.sent, at)))
            {
                times.add(since(sent), received.saturating_duration_since(sent).as_secs_f64() * 1e3);
            }
            check(&record, accepted, &mut counts);
            recoveries.extend(faults.iter().filter_map(|fault| recovery(&record, accepted, fault.served)));
            reconnects += record.reconnects;
            insufficient += record.insufficient;
            complaints
                .extend(record.complaints.iter().map(|complaint| format!("subscriber {index}: {complaint}")));
        }
        let mut forgotten = Vec::new();
        for (index, (accepted, stream)) in accepted.iter().zip(streams).enumerate() {
            let kept: HashSet<u32> = stream.iter().map(|(number, _)| *number).collect();
            for (number, accepted) in accepted.iter().filter(|(number, _)| !kept.contains(number)) {
                let ledger::Position { epoch, offset } = &accepted.position;
                forgotten.push(format!("{number} of {} at {offset} of {epoch}", channel_name(index)));
            }
        }
        let given_up = self.ledger.given_up.load(Ordering::Relaxed);
        if given_up > 0 {
            complaints
                .push(format!("{given_up} publications were not accepted however often they were tried"));
        }
        complaints.extend(self.ledger.complaints.lock().unwrap().iter().cloned());
        complaints.extend(readiness.complaints);
        recoveries.sort_unstable();
        Verdict {
            scenario: self.scenario.name(),
            accepted: accepted.iter().map(|accepted| accepted.len() as u64).sum(),
            refused: self.ledger.refused.load(Ordering::Relaxed),
            unknown: self.ledger.unknown.load(Ordering::Relaxed),
            counts,
            forgotten,
            reconnects,
            insufficient,
            recoveries,
            down: readiness.down,
            up: readiness.up,
            complaints,
            latencies: Panel {
                title: self.scenario.name(),
                series: times.series("", WINDOW),
                faults: faults.iter().map(|fault| [since(fault.began), since(fault.ended)]).collect(),
            },
        }
    }
}

fn eventually(mut holds: impl FnMut() -> bool) -> bool {
    let give_up = Instant::now() + SETTLED_WITHIN;
    while !holds() {
        if Instant::now() > give_up {
            return false;
        }
        thread::sleep(LOOK_EVERY);
    }
    true
}
