//! Clients that receive over HTTP: by polls, by streams and by SockJS. Their requests are answered by the real routes
//! ([`super::process::http`]), and what they get is checked against the same log as with every other client.
//!
//! - [`poller`]: clients that poll.
//! - [`stream`]: server-sent events and lines.
//! - [`sockjs`]: the client protocol over SockJS.

mod poller;
mod sockjs;
mod stream;

use std::sync::Arc;

use actix_web::test::TestRequest;
use rand::rngs::StdRng;

use self::{poller::Poller, sockjs::SockJsClient, stream::StreamReader};
use super::{
    delivery_log::DeliveryLog,
    process::{Exchange, Process},
    schedule::ScheduleStep,
    world::{CLIENTS, STOMP_CLIENTS},
};

/// The number of the first; those of other kinds are before it.
pub(super) const FIRST: usize = CLIENTS + STOMP_CLIENTS;
/// Channels that keep history: only those can be polled.
const WITH_HISTORY: [&str; 2] = ["kept:a", "short:b"];
/// Statuses of a request that may be made again a moment later.
const TEMPORARY: [u16; 2] = [429, 503];

/// All of them.
pub(super) fn receivers() -> Vec<Box<dyn Receiver>> {
    let name = |index: usize| format!("client {}", FIRST + index);
    vec![
        Box::new(Poller::new(name(0))),
        Box::new(Poller::new(name(1))),
        Box::new(StreamReader::new(name(2), false)),
        Box::new(StreamReader::new(name(3), true)),
        Box::new(SockJsClient::new(name(4))),
        Box::new(SockJsClient::new(name(5))),
    ]
}

/// A worker of a process that is asked.
pub(super) struct WorkerTarget<'p> {
    pub(super) process: &'p mut Process,
    pub(super) index: usize,
    pub(super) worker: usize,
}

impl WorkerTarget<'_> {
    fn ask(self, request: TestRequest) -> Option<Exchange> {
        self.process.ask(request, self.worker)
    }
}

/// The choices of the drawing of steps.
pub(super) struct Choices<'d> {
    pub(super) random: &'d mut StdRng,
    /// Channels of this run.
    pub(super) channels: &'d [&'static str],
    /// Each with how likely it is to be drawn, against the others.
    pub(super) steps: &'d mut Vec<(u32, ScheduleStep)>,
}

/// The end of a channel's stream: epoch and offset.
pub(super) type StreamTop<'t> = dyn Fn(&str) -> Option<(Arc<str>, u64)> + 't;

/// A client that receives over HTTP. A step that makes no sense to it does nothing, and says so.
pub(super) trait Receiver {
    /// True if it has a request under way, or a session that lasts.
    fn is_open(&self) -> bool;

    /// True if it has taken part at all.
    fn is_used(&self) -> bool;

    /// Opens a stream or a session.
    fn connect(&mut self, _target: WorkerTarget<'_>) -> bool {
        false
    }

    /// Asks for what is new, and waits for so many seconds at most.
    fn poll(&mut self, _target: WorkerTarget<'_>, _seconds: usize) -> bool {
        false
    }

    /// Sends what it has to say.
    fn post(&mut self, _target: WorkerTarget<'_>) -> bool {
        false
    }

    /// The process that its requests must go to, because nothing in the simulated world takes them from one to another.
    fn owner(&self) -> Option<usize> {
        None
    }

    /// Reads what its responses hold. False if there was nothing.
    fn read(&mut self, log: &mut DeliveryLog) -> bool;

    /// The last things that it received, for the trace.
    fn take_told(&mut self) -> String;

    /// It goes, and its connections break.
    fn disconnect(&mut self);

    /// Its connections break. It may come back as if nothing had happened. `is_running`: its process sees that at once.
    fn lose_connections(&mut self, _is_running: bool) {
        self.disconnect();
    }

    fn subscribe(&mut self, channel: &Arc<str>) -> bool;

    fn unsubscribe(&mut self, channel: &Arc<str>) -> bool;

    fn publish(&mut self, _channel: &str, _data: &str) -> bool {
        false
    }

    fn presence(&mut self, _channel: &str) -> bool {
        false
    }

    fn history(&mut self, _channel: &str) -> bool {
        false
    }

    /// Client id, while it has one.
    fn id(&self) -> Option<&str> {
        None
    }

    /// Channels in which it is present, at rest.
    fn present_in(&self) -> Vec<Arc<str>> {
        Vec::new()
    }

    /// The steps that are under way, and go on by themselves.
    fn movements(&self, index: usize) -> Vec<ScheduleStep> {
        if self.is_open() { vec![ScheduleStep::Read(index)] } else { Vec::new() }
    }

    /// The steps that it may take next.
    fn choose(&self, index: usize, choices: &mut Choices<'_>);

    /// Its part at the end of a run, when everything is to come to rest.
    fn settle(&self, index: usize) -> Vec<ScheduleStep>;

    /// The differences from the log at the end, when nothing moves any more.
    fn check(
        &self,
        log: &DeliveryLog,
        top: &StreamTop<'_>,
        is_there: &dyn Fn(&str, &str) -> bool,
    ) -> Vec<String>;
}
