//! Asking other nodes and answering them. What is asked has succeeded when every node that lives has answered.
//!
//! The commands of other nodes for one user are carried out in order of arrival, those for different users side by side, so that
//! neither an answer nor a command waits behind that of another user.

use std::{
    collections::BTreeSet,
    hash::{BuildHasher, RandomState},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, timeout_at},
};

use super::{
    ClusterError, ClusterMember,
    envelope::{ClusterAnswer, ClusterQuery, Envelope, EnvelopeBody, EnvelopeError},
    peers::{ClusterInbox, MembersRead, PendingQuery},
};
use crate::{hub::scan::ScanPage, session_command::SessionCommand};

/// Queries of others that run at the same time. One more is not answered: its sender learns it by the time-out.
const ANSWERS_AT_A_TIME: usize = 64;

/// Queues of commands that are worked off side by side; each user has one of them.
const QUEUES: usize = 16;
/// Commands that wait in one of them. One that does not fit is not carried out, and its sender's time-out reports it.
const COMMANDS_PER_QUEUE: usize = 256;

/// The nodes that a query goes to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Recipients<'a> {
    /// Every other node.
    Others,
    /// One other node; it need not be there.
    Node(&'a str),
}

/// A message that is under way.
pub(super) struct PendingMessage {
    cluster: Arc<ClusterMember>,
    /// The nodes whose answer is missing, and the receiver of the answers; none if there is nobody to ask.
    open: Option<(BTreeSet<String>, PendingQuery)>,
    /// Nodes that do not know this kind of query, and were not asked.
    unable: Vec<String>,
    is_order: bool,
    deadline: Instant,
}

impl ClusterMember {
    /// Writes to other nodes. When this resolves the message is with the broker; then its answers can be waited for. A command
    /// that one of them does not know is sent to none.
    pub(super) async fn write(
        self: &Arc<Self>,
        recipients: Recipients<'_>,
        body: EnvelopeBody,
    ) -> Result<PendingMessage, ClusterError> {
        let deadline = Instant::now() + self.settings.answer_timeout;
        let mut missing = self.others().await?;
        let to = match recipients {
            Recipients::Others => None,
            Recipients::Node(id) => {
                missing.retain(|node| node == id);
                Some(id)
            }
        };
        let is_order = matches!(body, EnvelopeBody::Order(_));
        let understands = |node: &String| body.is_understood_by(self.peers.description(node).understands);
        let (asked, unable): (BTreeSet<String>, BTreeSet<String>) =
            missing.into_iter().partition(understands);
        let unable: Vec<String> = unable.into_iter().collect();
        if is_order && !unable.is_empty() {
            return Err(self.unsupported(&unable, false));
        }
        if asked.is_empty() {
            return Ok(PendingMessage { cluster: self.clone(), open: None, unable, is_order, deadline });
        }
        let question = self.peers.waiting.begin(asked.len()).ok_or(ClusterError::Busy)?;
        if unable.is_empty() {
            self.send(to, question.id, body).await?;
        } else {
            for node in &asked {
                self.send(Some(node), question.id, body.clone()).await?;
            }
        }
        Ok(PendingMessage {
            cluster: self.clone(),
            open: Some((asked, question)),
            unable,
            is_order,
            deadline,
        })
    }

    /// The error that names nodes of another version.
    fn unsupported(&self, nodes: &[String], is_partly_done: bool) -> ClusterError {
        let named = |node: &String| match &*self.peers.description(node).version {
            "" => node.clone(),
            version => format!("{node} (version {version})"),
        };
        ClusterError::Unsupported { nodes: nodes.iter().map(named).collect(), is_partly_done }
    }

    /// Reads the members again.
    pub(super) async fn refresh_members(&self) -> Result<(), ClusterError> {
        self.others().await.map(drop)
    }

    /// Number of times that this node's lease has run out or the broker has lost it: then other things may be lost there too.
    pub fn lapses(&self) -> u64 {
        self.peers.lapses.load(Ordering::Relaxed)
    }

    /// True if nothing is left in the broker of nodes that died.
    pub(super) fn is_quiet(&self) -> bool {
        self.peers.view.lock().is_quiet(Instant::now())
    }

    /// True if this node is alive, as far as is known.
    pub fn is_alive(&self, node: &str) -> bool {
        self.peers.view.lock().knows(node)
    }

    /// The other nodes that live, from a read that began after this call: one that has just started may hold what is asked
    /// for. Calls that come while a read is under way share the next one.
    async fn others(&self) -> Result<BTreeSet<String>, ClusterError> {
        let called = Instant::now();
        let mut last = self.peers.last_read.lock().await;
        if let Some(read) = &*last
            && read.began > called
        {
            return read.others.clone();
        }
        let began = Instant::now();
        let members = self.broker.cluster().members().await;
        let others = match members {
            Ok(members) => Ok(self.peers.view.lock().others(&members, Instant::now())),
            Err(error) => Err(ClusterError::Broker(error)),
        };
        *last = Some(MembersRead { began, others: others.clone() });
        others
    }

    async fn send(&self, to: Option<&str>, id: u64, body: EnvelopeBody) -> Result<(), ClusterError> {
        match Envelope::new(&self.id, id, body).encode() {
            Ok(message) => {
                self.metrics.cluster.sent.inc();
                Ok(self.broker.cluster().send(to, message).await?)
            }
            Err(error) => {
                // Nothing that is written has a reason to fail.
                tracing::error!(%error, "message to other nodes not encoded");
                Err(ClusterError::Unanswered(vec![self.id.to_string()]))
            }
        }
    }

    /// Reads what other nodes write, for ever.
    pub(in crate::node) async fn read_inbox(self: Arc<Self>, mut mail: ClusterInbox) {
        let commands = CommandQueues::start(&self);
        let permits = Arc::new(Semaphore::new(ANSWERS_AT_A_TIME));
        while let Some(message) = mail.next().await {
            let Envelope { from, id, body, .. } = match Envelope::decode(&message) {
                Ok(envelope) if *envelope.from == *self.id => continue,
                Ok(envelope) => envelope,
                Err(EnvelopeError::Body { from, .. }) if *from == *self.id => continue,
                Err(EnvelopeError::Body { from, id, is_answer, error }) => {
                    self.metrics.cluster.unknown.inc();
                    tracing::debug!(node = from, %error, "message of another node not understood");
                    if is_answer {
                        self.peers.waiting.resolve(id, from, ClusterAnswer::Unsupported);
                    } else if let Ok(permit) = permits.clone().try_acquire_owned() {
                        let cluster = self.clone();
                        self.tasks.spawn(async move {
                            cluster.reply(&from, id, ClusterAnswer::Unsupported).await;
                            drop(permit);
                        });
                    }
                    continue;
                }
                Err(error) => {
                    self.metrics.cluster.unknown.inc();
                    tracing::debug!(%error, "message of another node not understood");
                    continue;
                }
            };
            self.metrics.cluster.received.inc();
            match body {
                EnvelopeBody::Answer(answer) => self.peers.waiting.resolve(id, from, answer),
                EnvelopeBody::Order(command) => {
                    if !commands.take(from, id, command) {
                        self.metrics.cluster.dropped.inc();
                    }
                }
                EnvelopeBody::Ask(ask) => {
                    // Answers that others wait for may stand behind this query: it must not wait here.
                    let Ok(permit) = permits.clone().try_acquire_owned() else {
                        self.metrics.cluster.dropped.inc();
                        continue;
                    };
                    let cluster = self.clone();
                    self.tasks.spawn(async move {
                        // A worker that does not answer in time leaves the query open: the sender's time-out reports it.
                        if let Some(answer) = cluster.answer(ask).await {
                            cluster.reply(&from, id, answer).await;
                        }
                        drop(permit);
                    });
                }
            }
        }
    }

    async fn answer(&self, ask: ClusterQuery) -> Option<ClusterAnswer> {
        let answer = match ask {
            ClusterQuery::Connections { user, after, limit } => {
                let page = self.local_connections(user.as_deref(), &after, limit).await;
                page.map(|page| match page.cut_at {
                    None => ClusterAnswer::Connections(page.entries),
                    // Every connection that was looked at is an entry: the last one tells where.
                    Some(_) => ClusterAnswer::ConnectionsCut(page.entries),
                })
            }
            ClusterQuery::Channels { pattern, after, limit } => {
                let page = self.local_channels(pattern.as_deref(), &after, limit).await;
                page.map(|ScanPage { entries: channels, cut_at }| match cut_at {
                    None => ClusterAnswer::Channels(channels),
                    Some(until) => ClusterAnswer::ChannelsCut { channels, until },
                })
            }
            ClusterQuery::Counts => Ok(ClusterAnswer::Counts(self.local_counts())),
            ClusterQuery::Subscribers { channel } => {
                self.local_subscribers(&channel).await.map(ClusterAnswer::Subscribers)
            }
            ClusterQuery::Inspect(query) => {
                let answer = self.inspect_own(query).await;
                Ok(answer.map_or(ClusterAnswer::Unsupported, ClusterAnswer::Inspected))
            }
            ClusterQuery::Events(query) => self.local_events(query).await.map(ClusterAnswer::Events),
        };
        match answer {
            Ok(answer) => Some(answer),
            Err(ClusterError::Busy) => Some(ClusterAnswer::Busy),
            Err(error) => {
                tracing::warn!(%error, "query of another node not answered");
                None
            }
        }
    }

    pub(super) async fn reply(&self, to: &str, id: u64, answer: ClusterAnswer) {
        if let Err(error) = self.send(Some(to), id, EnvelopeBody::Answer(answer)).await {
            tracing::warn!(node = to, %error, "answering another node failed");
        }
    }
}

impl PendingMessage {
    /// Waits for the answers of all. A node whose lease ended meanwhile owes none.
    pub(super) async fn answers(self) -> Result<Vec<(String, ClusterAnswer)>, ClusterError> {
        let (cluster, is_order) = (self.cluster.clone(), self.is_order);
        if !self.unable.is_empty() {
            return Err(cluster.unsupported(&self.unable, false));
        }
        let (answers, missing) = self.answers_in_time().await;
        let is_unsupported =
            |(_, answer): &&(String, ClusterAnswer)| matches!(answer, ClusterAnswer::Unsupported);
        let unable: Vec<String> =
            answers.iter().filter(is_unsupported).map(|(from, _)| from.clone()).collect();
        if !unable.is_empty() {
            return Err(cluster.unsupported(&unable, is_order));
        }
        if missing.is_empty() { Ok(answers) } else { Err(ClusterError::Unanswered(missing)) }
    }

    /// The answers that came in time, and the nodes that live and gave none or could give none.
    pub(super) async fn answers_in_time(self) -> (Vec<(String, ClusterAnswer)>, Vec<String>) {
        let (answers, missing) = self.timed_answers().await;
        (answers.into_iter().map(|(from, answer, _)| (from, answer)).collect(), missing)
    }

    /// The same, each answer with the time that it took.
    pub(super) async fn timed_answers(self) -> (Vec<(String, ClusterAnswer, Duration)>, Vec<String>) {
        let asked_at = self.deadline - self.cluster.settings.answer_timeout;
        let mut answers = Vec::new();
        let Some((mut missing, mut question)) = self.open else { return (answers, self.unable) };
        while !missing.is_empty() {
            let Ok((from, answer)) = timeout_at(self.deadline, question.answer()).await else { break };
            if missing.remove(&from) {
                answers.push((from, answer, asked_at.elapsed()));
            }
        }
        if !missing.is_empty() {
            self.cluster.metrics.cluster.timeouts.inc();
            // If the broker cannot tell, they may live.
            if let Ok(live) = self.cluster.others().await {
                missing.retain(|node| live.contains(node));
            }
        }
        (answers, missing.into_iter().chain(self.unable).collect())
    }
}

/// A command, and the node that waits for its acknowledgement.
struct ReceivedCommand {
    from: String,
    id: u64,
    command: SessionCommand,
}

/// The queues of commands.
pub(super) struct CommandQueues {
    hasher: RandomState,
    queues: Vec<mpsc::Sender<ReceivedCommand>>,
}

impl CommandQueues {
    /// Starts the tasks that carry the commands out.
    pub(super) fn start(cluster: &Arc<ClusterMember>) -> Self {
        let queue = |_| {
            let (sender, commands) = mpsc::channel(COMMANDS_PER_QUEUE);
            cluster.tasks.spawn(run(cluster.clone(), commands));
            sender
        };
        Self { hasher: RandomState::new(), queues: (0..QUEUES).map(queue).collect() }
    }

    /// Takes a command in without waiting; false if there is no room for it.
    pub(super) fn take(&self, from: String, id: u64, command: SessionCommand) -> bool {
        let index = self.hasher.hash_one(command.subject()) % QUEUES as u64;
        let queue = usize::try_from(index).ok().and_then(|index| self.queues.get(index));
        queue.is_some_and(|queue| queue.try_send(ReceivedCommand { from, id, command }).is_ok())
    }
}

async fn run(cluster: Arc<ClusterMember>, mut commands: mpsc::Receiver<ReceivedCommand>) {
    while let Some(ReceivedCommand { from, id, command }) = commands.recv().await {
        if cluster.workers.dispatch_command_in_time(command).await {
            cluster.reply(&from, id, ClusterAnswer::Done).await;
        } else {
            tracing::warn!(node = from, "worker did not take a command of another node in time");
        }
    }
}
