//! The audit of lifecycle hooks: is the backend told of every session, channel and member, in order and without a hole, whatever
//! breaks?
//!
//! Clients come and go on all nodes of a cluster ([`client`]); a backend takes the events and folds them into what
//! it knows ([`receiver`]); a [`scenario`] breaks something meanwhile. Once things are quiet, what it knows is compared with what the
//! API says, and in the end with the sessions that the clients had.

mod client;
mod receiver;
mod scenario;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    io,
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use gorani_tests::backend::recorder::{Present, Recorded};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;

pub(crate) use self::scenario::HookScenario;
use self::{
    client::{Client, SessionRecords, Stop},
    receiver::Receiver,
    scenario::{HookFault, Lengths},
};
use super::{AuditFlags, BEFORE, cluster::Cluster, eventually};

/// Users, each with several clients.
const USERS: usize = 12;
/// Clients; every third stays.
const CLIENTS: usize = 48;
const SECRET: &str = "a secret of the audit of hooks, for tokens";
const NAMESPACES: &str = r#"[{ name = "room", presence = true, allow_subscribe_for_client = true }]"#;
const TOKEN_TTL_S: u64 = 24 * 3600;
/// A session that began so shortly before its node was killed may be one that the node had told nobody of.
const UNTOLD_WITHIN: Duration = Duration::from_secs(2);
/// Redis may have forgotten events of sessions that ended so long before the fault…
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(10);
/// … and a reset tells of that within this time after it: it stands for all sessions that ended until then.
const RESET_WITHIN: Duration = Duration::from_secs(5);

/// The outcome of one scenario.
#[derive(Debug)]
pub(super) struct HookVerdict {
    scenario: String,
    sessions: usize,
    events: usize,
    repeated: usize,
    resets: usize,
    lost: usize,
    pub(super) complaints: Vec<String>,
}

impl HookVerdict {
    pub(super) fn is_good(&self) -> bool {
        self.lost == 0 && self.complaints.is_empty() && self.sessions > 0 && self.events > 0
    }

    pub(super) fn name(&self) -> &str {
        &self.scenario
    }

    pub(super) fn tell(&self) {
        for complaint in self.complaints.iter().take(super::cluster::WARNINGS_TOLD) {
            eprintln!("audit: hooks {}: {complaint}", self.scenario);
        }
    }

    fn cells(&self) -> Vec<String> {
        let verdict =
            if self.is_good() { "good".to_owned() } else { format!("FAILED ({})", self.complaints.len()) };
        let numbers = [self.sessions, self.events, self.repeated, self.resets, self.lost];
        [vec![self.scenario.clone()], numbers.map(|number| number.to_string()).to_vec(), vec![verdict]]
            .concat()
    }
}

/// The verdicts, a head and a line for each.
pub(super) fn table(verdicts: &[HookVerdict]) -> Vec<Vec<String>> {
    let head = ["hooks", "sessions", "events", "sent again", "resets", "lost", "verdict"];
    let head = head.map(str::to_owned).to_vec();
    std::iter::once(head).chain(verdicts.iter().map(HookVerdict::cells)).collect()
}

/// The meaning of the columns.
pub(super) const LEGEND: &str = "\
sessions: let in by the nodes; events: told, without those sent again; lost: sessions whose connected or disconnected never came, and that neither a
killed node took with it within 2 s nor a reset stands for (Redis forgot). Complaints: holes in a session's numbers, connected and disconnected, occupied and vacated,
member_added and member_removed out of turn, a gap, and what is known at rest that is not what connections, channels and presence say.\n";

/// Runs one scenario.
pub(super) fn run(flags: &AuditFlags, scenario: HookScenario) -> io::Result<HookVerdict> {
    let receiver = Receiver::start();
    let endpoint = format!(
        r#"[{{ name = "audit", url = "{}", events = ["connected", "disconnected", "subscribed", "unsubscribed", "occupied", "vacated", "member_added", "member_removed"], timeout = "5s" }}]"#,
        receiver.url()
    );
    let mut cluster = Cluster::start_with(scenario.kind(), |_, settings| {
        settings
            .set("channel.namespaces", NAMESPACES)
            .set("token.hmac_secret", format!("{SECRET:?}"))
            .set("hooks.collapse", "false")
            .set("hooks.grace", "\"1s\"")
            .set("hooks.endpoints", endpoint.clone())
    });
    let (records, stop) = (SessionRecords::default(), Arc::<Stop>::default());
    let clients = start_clients(&cluster, &records, &stop)?;
    let load = flags.load();
    thread::sleep(load.mul_f64(BEFORE));
    let fault = scenario.inject(&mut cluster, &receiver, lengths(flags));
    thread::sleep(load.mul_f64(1.0 - BEFORE));
    stop.is_quiet.store(true, Ordering::Relaxed);
    let mut complaints = Vec::new();
    compare(&cluster, &receiver, "at rest", &mut complaints);
    stop.is_over.store(true, Ordering::Relaxed);
    clients.join().map_err(|_| io::Error::other("a client panicked"))?;
    compare(&cluster, &receiver, "when all have gone", &mut complaints);
    let remains = receiver.look(|recorded| {
        let present = &recorded.present;
        present.clients.len() + present.channels.len() + present.members.len()
    });
    if remains > usize::from(receiver.poison().is_some()) {
        complaints.push(format!("{remains} sessions, channels and members are known when all have gone"));
    }
    if scenario == HookScenario::PoisonEvent {
        expect_dead_letter(&cluster, &receiver, &mut complaints);
    }
    let lost = lost(&records, &receiver, fault);
    complaints.extend(lost.iter().map(|lost| format!("lost: {lost}")));
    let poisoned = receiver.poison().map(|poison| poison.client);
    let verdict = receiver.look(|recorded| {
        let faults = recorded.faults.iter();
        complaints.extend(
            faults.filter(|fault| poisoned.as_ref().is_none_or(|client| !fault.contains(&**client))).cloned(),
        );
        complaints.extend(recorded.of_type("gap").map(|gap| format!("a gap: {gap}")));
        HookVerdict {
            scenario: scenario.name(),
            sessions: records.lock().unwrap().len(),
            events: recorded.events.len(),
            repeated: recorded.repeated,
            resets: recorded.of_type("reset").count(),
            lost: lost.len(),
            complaints,
        }
    });
    if !verdict.is_good() {
        cluster.tell_warnings();
    }
    Ok(verdict)
}

fn lengths(flags: &AuditFlags) -> Lengths {
    let [pause, away, down] = if flags.brief { [12, 1, 5] } else { [15, 3, 60] };
    let seconds = Duration::from_secs;
    Lengths { pause: seconds(pause), away: seconds(away), down: seconds(flags.down_seconds.unwrap_or(down)) }
}

/// Starts the clients, on a thread of their own that ends with the last of them.
fn start_clients(
    cluster: &Cluster,
    records: &SessionRecords,
    stop: &Arc<Stop>,
) -> io::Result<thread::JoinHandle<()>> {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_err(io::Error::other)?;
    let clients = (0..CLIENTS).map(|index| {
        let user = format!("user-{}", index % USERS);
        let claims = json!({"sub": user, "exp": now.as_secs() + TOKEN_TTL_S});
        let token = jsonwebtoken::encode(&Header::default(), &claims, &key).map_err(io::Error::other)?;
        Ok(Client {
            nodes: cluster.addresses(),
            user,
            token,
            stays: index % 3 == 0,
            records: Arc::clone(records),
            stop: Arc::clone(stop),
        })
    });
    let clients = clients.collect::<io::Result<Vec<_>>>()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(thread::spawn(move || {
        runtime.block_on(async {
            let running: Vec<_> = clients.into_iter().map(|client| tokio::spawn(client.run())).collect();
            for client in running {
                client.await.expect("a client runs to its end");
            }
        });
    }))
}

/// The state of the cluster: sessions with their users, occupied channels, members.
#[derive(Debug, Default, PartialEq, Eq)]
struct Known {
    sessions: BTreeMap<String, String>,
    occupied: BTreeSet<String>,
    members: BTreeSet<(String, String)>,
}

impl Known {
    /// The state as the receiver knows it.
    fn of_events(recorded: &Recorded) -> Self {
        let Present { clients, channels, members, .. } = recorded.present.clone();
        Self { sessions: clients, occupied: channels, members }
    }

    /// The state as the API tells it.
    fn of_api(cluster: &Cluster) -> Option<Self> {
        let api = cluster.nodes[1].api();
        let ask = |method: &str, params| {
            let (status, body) = api.call(method, &params);
            (status == 200 && body["result"].is_object()).then(|| body["result"].clone())
        };
        let mut known = Self::default();
        for (client, view) in ask("connections", json!({"limit": 1000}))?["connections"].as_object()? {
            known.sessions.insert(client.clone(), view["user"].as_str()?.to_owned());
        }
        for channel in ask("channels", json!({"limit": 1000}))?["channels"].as_object()?.keys() {
            known.occupied.insert(channel.clone());
            let presence = ask("presence", json!({"channel": channel}))?;
            for info in presence["presence"].as_object()?.values() {
                known.members.insert((channel.clone(), info["user"].as_str()?.to_owned()));
            }
        }
        Some(known)
    }
}

/// Waits until the receiver knows what the API says; complains if that does not come.
fn compare(cluster: &Cluster, receiver: &Receiver, when: &str, complaints: &mut Vec<String>) {
    let poisoned = receiver.poison().map(|poison| poison.client);
    let mut difference = String::new();
    let is_same = eventually(|| {
        let Some(mut api) = Known::of_api(cluster) else { return false };
        let mut told = receiver.look(Known::of_events);
        if let Some(poisoned) = &poisoned {
            api.sessions.remove(poisoned);
            told.sessions.remove(poisoned);
        }
        let sessions = |known: &Known| known.sessions.keys().cloned().collect::<BTreeSet<_>>();
        difference = format!(
            "sessions {:?}, channels {:?}, members {:?}",
            sessions(&api).symmetric_difference(&sessions(&told)).collect::<Vec<_>>(),
            api.occupied.symmetric_difference(&told.occupied).collect::<Vec<_>>(),
            api.members.symmetric_difference(&told.members).collect::<Vec<_>>(),
        );
        api == told
    });
    if !is_same {
        complaints
            .push(format!("{when} the receiver does not know what the API says; different: {difference}"));
    }
}

/// The poisoned event is a dead letter, and the only one.
fn expect_dead_letter(cluster: &Cluster, receiver: &Receiver, complaints: &mut Vec<String>) {
    let mut found = Vec::new();
    let poison = receiver.poison().map(|poison| poison.id);
    let is_there = eventually(|| {
        let letters = cluster.nodes[1].api().ok("hooks_dead_letters", &json!({"endpoint": "audit"}));
        let ids = letters["dead_letters"].as_array().into_iter().flatten();
        found = ids.filter_map(|letter| letter["event"]["id"].as_str().map(str::to_owned)).collect();
        found.iter().any(|id| Some(id) == poison.as_ref())
    });
    if !is_there || found.len() != 1 {
        complaints.push(format!("dead letters are {found:?}, and the poisoned event is {poison:?}"));
    }
}

/// Sessions that the backend was not told of.
fn lost(records: &SessionRecords, receiver: &Receiver, fault: HookFault) -> Vec<String> {
    let poisoned = receiver.poison().map(|poison| poison.client);
    let ids = |kind: &str| -> HashSet<String> {
        receiver.look(|recorded| {
            recorded.of_type(kind).filter_map(|event| event["client"].as_str().map(str::to_owned)).collect()
        })
    };
    let (connected, disconnected) = (ids("connected"), ids("disconnected"));
    let records = records.lock().unwrap();
    let lost = records.iter().filter(|record| {
        let before = |within: Duration| record.began <= fault.at && record.began + within >= fault.at;
        let died = fault.killed == Some(record.node) && before(UNTOLD_WITHIN);
        let forgotten = fault.forgot
            && record.ended.is_some_and(|ended| {
                ended + FORGOTTEN_WITHIN >= fault.at && ended <= fault.over + RESET_WITHIN
            });
        let is_told = connected.contains(&record.client) && disconnected.contains(&record.client);
        !is_told && !died && !forgotten && poisoned.as_ref() != Some(&record.client)
    });
    lost.map(|record| format!("{} of {} on node {}", record.client, record.user, record.node)).collect()
}
