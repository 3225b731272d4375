//! Asking other nodes and answering them. What is asked has succeeded when every node that lives has answered.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use tokio::{
    sync::Semaphore,
    time::{Instant as Deadline, timeout_at},
};

use super::{
    ClusterError, Mail, Peers,
    envelope::{Answer, Ask, Body, Envelope},
};
use crate::node::Node;

/// Questions of others that are looked into at the same time; orders are carried out one after the other.
const ANSWERS_AT_A_TIME: usize = 64;

/// Who is asked.
#[derive(Debug, Clone, Copy)]
pub(in crate::node) enum Audience<'a> {
    /// Every other node.
    Others,
    /// One other node; it need not be there.
    Node(&'a str),
}

/// A message that is under way.
pub(in crate::node) struct Correspondence {
    node: Arc<Node>,
    /// Whose answer is missing, and where it will come; none if there is nobody to ask.
    open: Option<(BTreeSet<String>, super::waiting::Question)>,
    deadline: Deadline,
}

impl Node {
    /// Writes to other nodes. When this resolves the message is with the broker; then its answers can be waited for.
    pub(in crate::node) async fn write(
        self: &Arc<Self>,
        audience: Audience<'_>,
        body: Body,
    ) -> Result<Correspondence, ClusterError> {
        let deadline = Deadline::now() + self.settings.cluster.answer_timeout;
        let mut missing = self.others().await?;
        let to = match audience {
            Audience::Others => None,
            Audience::Node(id) => {
                missing.retain(|node| node == id);
                Some(id)
            }
        };
        if missing.is_empty() {
            return Ok(Correspondence { node: self.clone(), open: None, deadline });
        }
        let question = self.peers.waiting.begin(missing.len()).ok_or(ClusterError::Busy)?;
        self.send(to, question.id, body).await?;
        Ok(Correspondence { node: self.clone(), open: Some((missing, question)), deadline })
    }

    /// Reads anew who lives.
    pub(in crate::node) async fn look_around(&self) -> Result<(), ClusterError> {
        self.others().await.map(drop)
    }

    /// How often this node's lease has run out, or the broker has lost it: then other things may be lost there too.
    pub fn lapses(&self) -> u64 {
        self.peers.lapses.load(Ordering::Relaxed)
    }

    /// Whether this is a node that lives, as far as is known.
    pub fn is_alive(&self, node: &str) -> bool {
        self.peers.view.lock().knows(node)
    }

    /// The other nodes that live. Read anew: one that has just begun may hold what is asked for.
    async fn others(&self) -> Result<BTreeSet<String>, ClusterError> {
        let members = self.broker.cluster().members().await?;
        Ok(self.peers.view.lock().others(&members, Instant::now()))
    }

    async fn send(&self, to: Option<&str>, id: u64, body: Body) -> Result<(), ClusterError> {
        match Envelope::new(&self.id, id, body).encode() {
            Ok(message) => {
                self.metrics.cluster.sent.inc();
                Ok(self.broker.cluster().send(to, message).await?)
            }
            Err(error) => {
                // Nothing that is written has a reason to fail.
                tracing::error!(%error, "a message to other nodes cannot be written");
                Err(ClusterError::Unanswered(vec![self.id.to_string()]))
            }
        }
    }

    /// Reads what other nodes write, for ever.
    pub(in crate::node) async fn read_mail(self: Arc<Self>, mut mail: Mail) {
        let permits = Arc::new(Semaphore::new(ANSWERS_AT_A_TIME));
        while let Some(message) = mail.next().await {
            let Envelope { from, id, body, .. } = match Envelope::decode(&message) {
                Ok(envelope) if *envelope.from == *self.id => continue,
                Ok(envelope) => envelope,
                Err(error) => {
                    self.metrics.cluster.unknown.inc();
                    tracing::debug!(%error, "a message of another node is not understood");
                    continue;
                }
            };
            self.metrics.cluster.received.inc();
            match body {
                Body::Answer(answer) => self.peers.waiting.settle(id, from, answer),
                Body::Order(order) => {
                    self.control(order.into()).await;
                    self.reply(&from, id, Answer::Done).await;
                }
                Body::Ask(ask) => {
                    let Ok(permit) = permits.clone().acquire_owned().await else { return };
                    let node = self.clone();
                    actix_rt::spawn(async move {
                        let answer = node.answer(ask).await;
                        node.reply(&from, id, answer).await;
                        drop(permit);
                    });
                }
            }
        }
    }

    async fn answer(&self, ask: Ask) -> Answer {
        match ask {
            Ask::Connections { user, after, limit } => {
                Answer::Connections(self.own_connections(user.as_deref(), &after, limit).await)
            }
            Ask::Channels { pattern, after, limit } => {
                Answer::Channels(self.own_channels(pattern.as_deref(), &after, limit).await)
            }
            Ask::Counts => Answer::Counts(self.counts().await),
        }
    }

    async fn reply(&self, to: &str, id: u64, answer: Answer) {
        if let Err(error) = self.send(Some(to), id, Body::Answer(answer)).await {
            tracing::warn!(node = to, %error, "another node could not be answered");
        }
    }
}

impl Correspondence {
    /// Waits for the answers of all. A node whose lease ended meanwhile owes none.
    pub(in crate::node) async fn answers(self) -> Result<Vec<(String, Answer)>, ClusterError> {
        let (answers, missing) = self.answers_in_time().await;
        if missing.is_empty() { Ok(answers) } else { Err(ClusterError::Unanswered(missing)) }
    }

    /// The answers that came in time, and the nodes that live and gave none.
    pub(in crate::node) async fn answers_in_time(self) -> (Vec<(String, Answer)>, Vec<String>) {
        let mut answers = Vec::new();
        let Some((mut missing, mut question)) = self.open else { return (answers, Vec::new()) };
        while !missing.is_empty() {
            let Ok((from, answer)) = timeout_at(self.deadline, question.answer()).await else { break };
            if missing.remove(&from) {
                answers.push((from, answer));
            }
        }
        if !missing.is_empty() {
            self.node.metrics.cluster.timeouts.inc();
            // If the broker cannot tell, they may live.
            if let Ok(live) = self.node.others().await {
                missing.retain(|node| live.contains(node));
            }
        }
        (answers, missing.into_iter().collect())
    }
}

impl Peers {
    /// What a node said of itself.
    pub(in crate::node) fn description(&self, node: &str) -> super::description::Description {
        self.view.lock().description(node).cloned().unwrap_or_default()
    }
}
