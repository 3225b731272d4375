//! The links between the nodes and the broker's server: requests in lines, answers, what is pushed. Nothing of it moves by
//! itself; every movement is a step of the schedule.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use gorani_broker::{BrokerError, Sink};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::server::{MESSAGES, Push, SimServer};

/// A request on its way to the server, or its answer on the way back.
pub(super) trait SimRequest: Send {
    /// The server carries it out.
    fn execute(&mut self, server: &mut SimServer);
    /// The answer arrives.
    fn answer(self: Box<Self>);
    /// It ends with an error.
    fn fail(self: Box<Self>, error: BrokerError, server: &mut SimServer);
    /// The label for the trace.
    fn label(&self) -> &str;
}

/// Runs when a request is lost.
pub(super) type OnLoss = Box<dyn FnOnce(&mut SimServer) + Send>;

/// A request with an answer of its own.
pub(super) struct Typed<T, F> {
    pub(super) label: String,
    pub(super) run: Option<F>,
    pub(super) result: Option<Result<T, BrokerError>>,
    pub(super) sender: oneshot::Sender<Result<T, BrokerError>>,
    /// Called if its outcome is unknown to the node and it was not carried out.
    pub(super) on_loss: Option<OnLoss>,
}

impl<T, F> SimRequest for Typed<T, F>
where
    T: Send + 'static,
    F: FnOnce(&mut SimServer) -> Result<T, BrokerError> + Send,
{
    fn execute(&mut self, server: &mut SimServer) {
        if let Some(run) = self.run.take() {
            self.result = Some(run(server));
        }
    }

    fn answer(self: Box<Self>) {
        if let Some(result) = self.result {
            // The caller may no longer wait.
            let _ = self.sender.send(result);
        }
    }

    fn fail(self: Box<Self>, error: BrokerError, server: &mut SimServer) {
        if self.run.is_some()
            && error.is_unknown_outcome()
            && let Some(on_loss) = self.on_loss
        {
            on_loss(server);
        }
        let _ = self.sender.send(Err(error));
    }

    fn label(&self) -> &str {
        &self.label
    }
}

/// A node's link to the server.
#[derive(Default)]
pub(super) struct SimLink {
    pub(super) sink: Option<Arc<dyn Sink>>,
    pub(super) is_up: bool,
    /// The node's process is gone.
    pub(super) is_dead: bool,
    /// Channels that the node wants.
    pub(super) wanted: BTreeSet<Arc<str>>,
    /// Those of them whose subscription the server has confirmed: of others nothing that is pushed counts.
    pub(super) confirmed: BTreeSet<Arc<str>>,
    /// Requests that the server has not carried out, in lines.
    pub(super) waiting: BTreeMap<String, VecDeque<Box<dyn SimRequest>>>,
    /// Those it has, whose answer is on the way.
    pub(super) answers: BTreeMap<String, VecDeque<Box<dyn SimRequest>>>,
    /// Pushes of the server that the node has not received.
    pub(super) pushed: BTreeMap<Arc<str>, VecDeque<Push>>,
}

/// The server and all links.
#[derive(Default)]
pub(super) struct NetworkState {
    pub(super) server: SimServer,
    pub(super) links: Vec<SimLink>,
}

/// Shared by all nodes.
#[derive(Clone, Default)]
pub(super) struct SimNetwork(pub(super) Arc<Mutex<NetworkState>>);

impl SimNetwork {
    /// A link for another process; its number.
    pub(super) fn add_link(&self) -> usize {
        let mut state = self.0.lock();
        state.links.push(SimLink { is_up: true, ..SimLink::default() });
        state.links.len() - 1
    }

    /// The server carries out the first request of a line. False if there is none.
    pub(super) fn execute(&self, link: usize, line: &str) -> Option<String> {
        let mut state = self.0.lock();
        let state = &mut *state;
        let mut request = take_first(&mut state.links.get_mut(link)?.waiting, line)?;
        request.execute(&mut state.server);
        let label = request.label().to_owned();
        state.links.get_mut(link)?.answers.entry(line.to_owned()).or_default().push_back(request);
        state.spread();
        Some(label)
    }

    /// The first answer of a line arrives.
    pub(super) fn answer(&self, link: usize, line: &str) -> Option<String> {
        let request = take_first(&mut self.0.lock().links.get_mut(link)?.answers, line)?;
        let label = request.label().to_owned();
        request.answer();
        Some(label)
    }

    /// The first of what was pushed for a channel arrives.
    pub(super) fn receive(&self, link: usize, channel: &str) -> Option<&'static str> {
        let (sink, channel, push) = {
            let mut state = self.0.lock();
            let state = &mut *state;
            let link = state.links.get_mut(link)?;
            let channel = link.pushed.keys().find(|name| ***name == *channel)?.clone();
            let queue = link.pushed.get_mut(&channel)?;
            let push = queue.pop_front()?;
            state.server.log.counts.add(match push {
                Push::Event(_) => "events received by nodes",
                Push::Gap => "gaps told to nodes",
                Push::Message(_) => "messages between nodes",
            });
            if queue.is_empty() {
                link.pushed.remove(&channel);
            }
            (link.sink.clone()?, channel, push)
        };
        Some(match push {
            Push::Event(event) => {
                sink.on_event(&channel, event);
                "event"
            }
            Push::Gap => {
                sink.on_gap(&channel);
                "gap"
            }
            Push::Message(message) => {
                sink.on_message(message);
                "message"
            }
        })
    }

    /// Loses the pushes for a channel on the way; the link notices.
    pub(super) fn lose(&self, link: usize, channel: &str) -> bool {
        let mut state = self.0.lock();
        let Some(link) = state.links.get_mut(link) else { return false };
        let Some((name, queue)) = link.pushed.iter_mut().find(|(name, _)| ***name == *channel) else {
            return false;
        };
        queue.clear();
        if **name != *MESSAGES {
            queue.push_back(Push::Gap);
        }
        if queue.is_empty() {
            let name = name.clone();
            link.pushed.remove(&name);
        }
        true
    }

    /// The link breaks. The server carried out this number of requests more of each line; the node does not know of which.
    pub(super) fn cut(&self, link: usize, executed: usize) -> bool {
        let mut state = self.0.lock();
        let state = &mut *state;
        let Some(link_state) = state.links.get_mut(link).filter(|link| link.is_up) else { return false };
        link_state.is_up = false;
        link_state.pushed.clear();
        link_state.confirmed.clear();
        let waiting = std::mem::take(&mut link_state.waiting);
        let answers = std::mem::take(&mut link_state.answers);
        for request in answers.into_values().flatten() {
            request.fail(BrokerError::UnknownOutcome("the connection broke".to_owned()), &mut state.server);
        }
        for line in waiting.into_values() {
            for (index, mut request) in line.into_iter().enumerate() {
                if index < executed {
                    request.execute(&mut state.server);
                }
                let error = match index {
                    // One more than was carried out had left the node.
                    index if index <= executed => {
                        BrokerError::UnknownOutcome("the connection broke".to_owned())
                    }
                    _ => BrokerError::Unavailable("the connection broke".to_owned()),
                };
                request.fail(error, &mut state.server);
            }
        }
        for subscribers in state.server.subscribers.values_mut() {
            subscribers.remove(&link);
        }
        state.server.hearing.remove(&link);
        state.spread();
        true
    }

    /// The process of a link ends: what it had not received is gone, and what it had sent may have been carried out.
    pub(super) fn kill(&self, link: usize, executed: usize) {
        self.cut(link, executed);
        let mut state = self.0.lock();
        if let Some(link) = state.links.get_mut(link) {
            link.is_up = false;
            link.is_dead = true;
            link.sink = None;
            link.waiting.clear();
            link.answers.clear();
            link.pushed.clear();
        }
    }

    /// The link is there again: the server is asked for all that is wanted, and the node learns that something may be missing.
    pub(super) fn heal(&self, link: usize, id: Option<String>) -> bool {
        let mut state = self.0.lock();
        let state = &mut *state;
        let Some(up) = state.links.get_mut(link).filter(|link| !link.is_up && !link.is_dead) else {
            return false;
        };
        up.is_up = true;
        for channel in &up.wanted {
            state.server.subscribers.entry(channel.clone()).or_default().insert(link);
            up.confirmed.insert(channel.clone());
            up.pushed.entry(channel.clone()).or_default().push_back(Push::Gap);
        }
        if let Some(id) = id {
            state.server.hearing.insert(link, id);
        }
        true
    }
}

fn take_first(
    lines: &mut BTreeMap<String, VecDeque<Box<dyn SimRequest>>>,
    line: &str,
) -> Option<Box<dyn SimRequest>> {
    let queue = lines.get_mut(line)?;
    let first = queue.pop_front();
    if queue.is_empty() {
        lines.remove(line);
    }
    first
}

impl NetworkState {
    /// Puts what the server pushed into the links' queues.
    pub(super) fn spread(&mut self) {
        for (link, channel) in self.server.confirmed.drain(..) {
            if let Some(link) =
                self.links.get_mut(link).filter(|link| link.is_up && link.wanted.contains(&channel))
            {
                link.confirmed.insert(channel);
            }
        }
        for (link, channel, push) in self.server.pushed.drain(..) {
            let hears = |link: &&mut SimLink| {
                link.is_up && (*channel == *MESSAGES || link.confirmed.contains(&channel))
            };
            if let Some(link) = self.links.get_mut(link).filter(hears) {
                link.pushed.entry(channel).or_default().push_back(push);
            }
        }
    }
}
