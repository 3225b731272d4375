//! A receiver of hooks: takes batches, drops what it knows by the id, and knows from the events who is there. It says where the events
//! contradict one another.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::SocketAddr,
    sync::{Arc, Condvar, Mutex},
    time::Instant,
};

use serde_json::Value;

use super::{Answer, Backend, Request, TIME_LIMIT, signature};

/// A receiver that records.
pub struct Recorder {
    backend: Backend,
    recorded: Arc<(Mutex<Recorded>, Condvar)>,
}

/// All that was received.
#[derive(Debug, Clone, Default)]
pub struct Recorded {
    /// Every event once, in the order in which they first came with an answer of success.
    pub events: Vec<Value>,
    /// Events that came again.
    pub repeated: usize,
    /// Batches that were answered with success.
    pub taken: usize,
    /// Batches that were answered otherwise.
    pub refused: usize,
    /// The contradictions between events, and each time that a signature is not valid.
    pub faults: Vec<String>,
    /// The state by the events.
    pub present: Present,
    ids: HashSet<String>,
    sequences: BTreeMap<String, Session>,
}

/// The state as a receiver folds it from the events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Present {
    /// Connected clients with their user.
    pub clients: BTreeMap<String, String>,
    /// Occupied channels.
    pub channels: BTreeSet<String>,
    /// Members: channel and user.
    pub members: BTreeSet<(String, String)>,
    /// The partition that each entry came from.
    partitions: BTreeMap<String, u64>,
}

/// The last event of a client.
#[derive(Debug, Clone)]
struct Session {
    partition: u64,
    last: u64,
}

impl Recorder {
    /// Takes every batch.
    ///
    /// # Panics
    /// If it cannot listen.
    pub fn start() -> Self {
        Self::answering(None, |_| Answer::status(200))
    }

    /// Checks every signature, and takes every batch. A wrong one is a fault.
    ///
    /// # Panics
    /// If it cannot listen.
    pub fn signed(secret: &str) -> Self {
        Self::answering(Some(secret.to_owned()), |_| Answer::status(200))
    }

    /// Answers as `script` says; a batch is recorded if that is a success.
    ///
    /// # Panics
    /// If it cannot listen.
    pub fn answering(
        secret: Option<String>,
        script: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let recorded = Arc::<(Mutex<Recorded>, Condvar)>::default();
        let backend = Backend::start(recording(recorded.clone(), secret, script));
        Self { backend, recorded }
    }

    /// Answers in another way from now on.
    pub fn answer_by(
        &self,
        secret: Option<String>,
        script: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) {
        self.backend.answer_by(recording(self.recorded.clone(), secret, script));
    }

    /// The server behind it.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// The URL for settings.
    pub fn url(&self) -> String {
        self.backend.url("/hooks")
    }

    /// The address of its server.
    pub fn address(&self) -> SocketAddr {
        self.backend.address()
    }

    /// All that was recorded so far.
    ///
    /// # Panics
    /// If another thread has panicked meanwhile.
    pub fn recorded(&self) -> Recorded {
        self.recorded.0.lock().unwrap().clone()
    }

    /// Looks at what it has so far, without a copy.
    ///
    /// # Panics
    /// If another thread has panicked meanwhile.
    pub fn look<T>(&self, look: impl FnOnce(&Recorded) -> T) -> T {
        look(&self.recorded.0.lock().unwrap())
    }

    /// Waits until what was recorded is as expected.
    ///
    /// # Panics
    /// If it is not in time.
    pub fn wait(&self, what: &str, is_there: impl Fn(&Recorded) -> bool) -> Recorded {
        let give_up = Instant::now() + TIME_LIMIT;
        let (lock, changed) = &*self.recorded;
        let mut recorded = lock.lock().unwrap();
        while !is_there(&recorded) {
            let left = give_up.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what}: not in time; there were {:#?}", recorded.events);
            recorded = changed.wait_timeout(recorded, left).unwrap().0;
        }
        recorded.clone()
    }

    /// Waits for an event of this type.
    ///
    /// # Panics
    /// If none comes in time.
    pub fn wait_for(&self, kind: &str) -> Value {
        let recorded = self.wait(kind, |recorded| recorded.of_type(kind).next().is_some());
        recorded.of_type(kind).next().cloned().expect("it was waited for")
    }
}

/// The script that records what it takes.
fn recording(
    recorded: Arc<(Mutex<Recorded>, Condvar)>,
    secret: Option<String>,
    script: impl Fn(&Request) -> Answer + Send + Sync + 'static,
) -> impl Fn(&Request) -> Answer + Send + Sync + 'static {
    move |request| {
        let answer = script(request);
        let (lock, changed) = &*recorded;
        let mut recorded = lock.lock().unwrap();
        if let Some(Err(fault)) = secret.as_deref().map(|secret| signature::verify(request, secret)) {
            recorded.faults.push(fault);
        }
        if is_success(&answer) {
            recorded.take(&request.json());
        } else {
            recorded.refused += 1;
        }
        changed.notify_all();
        answer
    }
}

/// True if the sender may take a batch for taken. What is held or slow counts by what is said in the end.
fn is_success(answer: &Answer) -> bool {
    match answer {
        Answer::Json(body) => body.get("error").is_none_or(Value::is_null),
        Answer::Status(status, ..) => (200..300).contains(status),
        Answer::Held(whole) | Answer::After(_, whole) | Answer::ThenClose(whole) => is_success(whole),
        _ => false,
    }
}

impl Recorded {
    /// The events of a type.
    pub fn of_type<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.events.iter().filter(move |event| event["type"] == kind)
    }

    /// The types of all events about a client.
    pub fn of_client(&self, client: &str) -> Vec<&str> {
        let own = self.events.iter().filter(|event| event["client"] == client);
        own.filter_map(|event| event["type"].as_str()).collect()
    }

    /// Takes a batch.
    ///
    /// # Panics
    /// If it is none.
    pub fn take(&mut self, batch: &Value) {
        self.taken += 1;
        assert!(batch["batch"].is_string(), "a batch has an id: {batch}");
        for event in batch["events"].as_array().expect("a batch has events") {
            let id = event["id"].as_str().expect("an event has an id").to_owned();
            if self.ids.insert(id) {
                self.apply(event);
                self.events.push(event.clone());
            } else {
                self.repeated += 1;
            }
        }
    }

    fn apply(&mut self, event: &Value) {
        // What comes out of the dead letters is out of its order.
        if event["replayed"] == true {
            return;
        }
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let partition = event["partition"].as_u64().unwrap_or_default();
        let (kind, client, user, channel) = (text("type"), text("client"), text("user"), text("channel"));
        let is_resumed = event["resumed"] == true;
        if event.get("seq").is_some_and(Value::is_u64) && kind != "publication" {
            self.sequence(event, &client, partition);
        }
        let present = &mut self.present;
        let is_change = match kind.as_str() {
            "connected" => present.enter(format!("client {client}"), partition, |present| {
                present.clients.insert(client, user).is_none()
            }),
            "disconnected" => present
                .leave(&format!("client {client}"), |present| present.clients.remove(&client).is_some()),
            "occupied" => present
                .enter(format!("channel {channel}"), partition, |present| present.channels.insert(channel)),
            "vacated" => {
                present.leave(&format!("channel {channel}"), |present| present.channels.remove(&channel))
            }
            "member_added" => present.enter(format!("member {channel} {user}"), partition, |present| {
                present.members.insert((channel, user))
            }),
            "member_removed" => present.leave(&format!("member {channel} {user}"), |present| {
                present.members.remove(&(channel, user))
            }),
            "reset" => {
                let only = (event["scope"] == "partition").then_some(partition);
                self.sequences.retain(|_, session| only.is_some_and(|only| session.partition != only));
                present.forget(only);
                true
            }
            "subscribed" | "unsubscribed" if !present.clients.contains_key(&client) => false,
            "subscribed" | "unsubscribed" | "publication" | "gap" => true,
            other => {
                self.faults.push(format!("an unknown type {other}: {event}"));
                return;
            }
        };
        // The state that follows a reset, or comes after a pause, may be known already.
        if !is_change && !is_resumed {
            self.faults.push(format!("it was so already, or not at all: {event}"));
        }
    }

    /// Checks the number of a client's event: from 1 without a hole; the first that is known after a reset may be higher.
    fn sequence(&mut self, event: &Value, client: &str, partition: u64) {
        let number = event["seq"].as_u64().unwrap_or_default();
        let is_next = match self.sequences.get(client) {
            Some(known) => number == known.last + 1,
            None => number == 1 || event["resumed"] == true,
        };
        if !is_next {
            let last = self.sequences.get(client).map(|known| known.last);
            self.faults.push(format!("the number before was {last:?}: {event}"));
        }
        self.sequences.insert(client.to_owned(), Session { partition, last: number });
    }
}

impl Present {
    fn enter(&mut self, entry: String, partition: u64, change: impl FnOnce(&mut Self) -> bool) -> bool {
        self.partitions.insert(entry, partition);
        change(self)
    }

    fn leave(&mut self, entry: &str, change: impl FnOnce(&mut Self) -> bool) -> bool {
        self.partitions.remove(entry);
        change(self)
    }

    /// Forgets what events of this partition have said; `None`: all.
    fn forget(&mut self, partition: Option<u64>) {
        let Some(partition) = partition else { return *self = Self::default() };
        let partitions = std::mem::take(&mut self.partitions);
        let is_kept = |entry: &str| partitions.get(entry).is_none_or(|known| *known != partition);
        self.clients.retain(|client, _| is_kept(&format!("client {client}")));
        self.channels.retain(|channel| is_kept(&format!("channel {channel}")));
        self.members.retain(|(channel, user)| is_kept(&format!("member {channel} {user}")));
        self.partitions = partitions;
        self.partitions.retain(|_, known| *known != partition);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn took(events: &[Value]) -> Recorded {
        let mut recorded = Recorded::default();
        recorded.take(&json!({ "batch": "b", "events": events }));
        recorded
    }

    fn event(id: &str, kind: &str, seq: u64) -> Value {
        json!({ "id": id, "type": kind, "partition": 1, "client": "c", "user": "u", "channel": "ch", "seq": seq })
    }

    fn of_channel(id: &str, kind: &str) -> Value {
        json!({ "id": id, "type": kind, "partition": 2, "channel": "ch", "user": "u" })
    }

    #[test]
    fn events_that_fit_together_are_no_fault() {
        let recorded = took(&[
            event("1", "connected", 1),
            event("2", "subscribed", 2),
            event("2", "subscribed", 2),
            of_channel("3", "occupied"),
            of_channel("4", "member_added"),
            event("5", "disconnected", 3),
            of_channel("6", "vacated"),
        ]);
        assert_eq!((recorded.faults.len(), recorded.repeated), (0, 1), "{:?}", recorded.faults);
        assert_eq!(recorded.of_client("c"), ["connected", "subscribed", "disconnected"]);
        assert!(recorded.present.clients.is_empty() && recorded.present.channels.is_empty());
        assert_eq!(recorded.present.members.len(), 1);
    }

    #[test]
    fn events_that_contradict_one_another_are_faults() {
        for events in [
            vec![event("1", "disconnected", 1)],
            vec![event("1", "connected", 2)],
            vec![event("1", "connected", 1), event("2", "disconnected", 3)],
            vec![event("1", "connected", 1), event("2", "connected", 2)],
            vec![event("1", "subscribed", 1)],
            vec![of_channel("1", "vacated")],
            vec![of_channel("1", "occupied"), of_channel("2", "occupied")],
            vec![of_channel("1", "member_removed")],
            vec![of_channel("1", "unheard_of")],
        ] {
            assert_eq!(took(&events).faults.len(), 1, "{events:?}");
        }
    }

    #[test]
    fn a_reset_forgets_its_partition_or_everything() {
        let known = [event("1", "connected", 1), of_channel("2", "occupied")];
        let reset = |scope: &str| json!({ "id": "3", "type": "reset", "scope": scope, "partition": 1 });
        let mut again = event("4", "connected", 7);
        again["resumed"] = json!(true);
        let recorded = took(&[&known[..], &[reset("partition"), again.clone()]].concat());
        assert_eq!(recorded.faults, Vec::<String>::new());
        assert_eq!((recorded.present.clients.len(), recorded.present.channels.len()), (1, 1));
        let recorded = took(&[&known[..], &[reset("node"), again]].concat());
        assert_eq!(recorded.faults, Vec::<String>::new());
        assert_eq!((recorded.present.clients.len(), recorded.present.channels.len()), (1, 0));
    }
}
