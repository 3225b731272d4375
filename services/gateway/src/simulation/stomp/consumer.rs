//! A subscription of a work queue, as its client sees it: what it was given and has to acknowledge.

use std::sync::Arc;

use super::frame::SimFrame;
use crate::simulation::{
    delivery_log::number_of,
    jobs::{Job, Jobs, is_automatic},
};

/// Messages that are not acknowledged at most.
pub(super) const PREFETCH: usize = 2;

/// The mode of acknowledging.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::simulation) enum SimAckMode {
    Auto,
    Client,
    Individual,
}

impl SimAckMode {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Client => "client",
            Self::Individual => "client-individual",
        }
    }
}

/// One subscription.
pub(super) struct SimConsumer {
    pub(super) queue: Arc<str>,
    pub(super) mode: SimAckMode,
    /// An UNSUBSCRIBE is under way: what still comes is not kept.
    pub(super) is_left: bool,
    /// The messages that it holds, each with the id for its ACK, in the order in which they came.
    held: Vec<(Job, String)>,
    /// The newest message that came for the first time.
    newest: u64,
}

impl SimConsumer {
    /// Messages of a queue that is one without acknowledgements need none, whatever is asked.
    pub(super) fn new(queue: Arc<str>, mode: SimAckMode) -> Self {
        let mode = match (is_automatic(&queue), mode) {
            (true, _) => SimAckMode::Auto,
            (false, SimAckMode::Client) => SimAckMode::Client,
            (false, _) => SimAckMode::Individual,
        };
        Self { queue, mode, is_left: false, held: Vec::new(), newest: 0 }
    }

    pub(super) fn held(&self) -> impl Iterator<Item = &Job> {
        self.held.iter().map(|(job, _)| job)
    }

    /// It ends; what it holds is for others.
    pub(super) fn leave(&mut self) {
        self.is_left = true;
        self.held.clear();
    }

    /// A message came.
    pub(super) fn take(&mut self, frame: &SimFrame, jobs: &mut Jobs) -> Result<(), String> {
        let (queue, id) = frame.get("message-id")?.rsplit_once(':').ok_or("an unknown kind of message-id")?;
        if *queue != *self.queue {
            return Err(format!("a message of {queue} in place of {}", self.queue));
        }
        let job = Job { queue: self.queue.clone(), id: id.parse().map_err(|_| "an id that is no number")? };
        let number = number_of(&frame.body).ok_or("a message without a number")?;
        let is_redelivered = frame.get("redelivered") == Ok("true");
        jobs.shown(&job, number, is_redelivered)?;
        if !is_redelivered && job.id <= std::mem::replace(&mut self.newest, job.id) {
            return Err("a message before an older one".to_owned());
        }
        if self.mode == SimAckMode::Auto || self.is_left {
            return Ok(());
        }
        self.held.push((job, frame.get("ack")?.to_owned()));
        if self.held.len() > PREFETCH {
            return Err(format!("{} messages in place of {PREFETCH}", self.held.len()));
        }
        Ok(())
    }

    /// These are not acknowledged after all.
    pub(super) fn hold_again(&mut self, jobs: Vec<(Job, String)>) {
        self.held.splice(0..0, jobs);
    }

    /// Takes a message out, and with mode `client` all before it: what its ACK says, and what that acknowledges.
    pub(super) fn settle(&mut self, job: &Job) -> Option<(String, Vec<(Job, String)>)> {
        let index = self.held.iter().position(|(held, _)| held == job)?;
        let ack = self.held.get(index)?.1.clone();
        let first = if self.mode == SimAckMode::Client { 0 } else { index };
        Some((ack, self.held.drain(first..=index).collect()))
    }
}
