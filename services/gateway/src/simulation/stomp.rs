//! A client of STOMP over TCP in the simulation: it subscribes to channels, recovers, consumes work queues, and notes what it
//! receives. What contradicts the log is a violation.
//!
//! - [`requests`]: what it asks for.
//! - [`transaction`]: what it asks for together.
//! - [`frame`]: frames taken apart.
//! - [`consumer`]: what it was given of queues.

mod consumer;
mod frame;
mod requests;
mod transaction;

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use serde_json::{Value, json};
use tokio::io::{AsyncRead as _, AsyncWrite as _, DuplexStream, ReadBuf};

pub(super) use self::consumer::SimAckMode;
use self::{consumer::SimConsumer, frame::SimFrame, transaction::SimTransaction};
use super::{
    client::SOCKET_BYTES,
    jobs::{Job, Jobs},
    server::SimServer,
    settings::{STOMP_PASSWORD, STOMP_USER},
    subscription::{SimSubscription, SubscriptionPhase},
};

/// The command that a receipt was asked for.
#[derive(Debug)]
enum AwaitedReceipt {
    Subscribe(Arc<str>),
    Unsubscribe(Arc<str>),
    /// The receipt for leaving the subscription with this id.
    Leave(String),
    Publish(Arc<str>, u64),
    Send(Arc<str>, u64),
    /// These were handled.
    Settle(Vec<Job>),
    /// These were sent, with true if to a queue, and these handled.
    Commit(Vec<(Arc<str>, u64, bool)>, Vec<Job>),
    Disconnect,
}

/// A channel that it is subscribed to, or wants to be.
struct StompChannel {
    subscription: SimSubscription,
    /// Id of the subscription, a new one each time.
    id: String,
    /// Messages that came before the receipt of the SUBSCRIBE.
    early: Vec<Value>,
}

/// A simulated client of STOMP over TCP.
#[derive(Default)]
pub(super) struct StompClient {
    pub(super) name: String,
    stream: Option<DuplexStream>,
    /// The process that it is connected to.
    pub(super) process: Option<usize>,
    received: Vec<u8>,
    to_send: Vec<u8>,
    /// Id of the session, once it has connected.
    pub(super) id: Option<String>,
    /// It has sent DISCONNECT.
    is_leaving: bool,
    next_receipt: u32,
    pending: BTreeMap<u32, AwaitedReceipt>,
    channels: BTreeMap<Arc<str>, StompChannel>,
    /// By id of the subscription; those that were left stay until that is confirmed.
    consumers: BTreeMap<String, SimConsumer>,
    /// The transaction that is open.
    transaction: Option<SimTransaction>,
    /// True if it has taken part at all.
    pub(super) is_used: bool,
    /// The last things that it received, for the trace.
    pub(super) told: Vec<String>,
}

impl StompClient {
    pub(super) fn new(name: String) -> Self {
        Self { name, ..Self::default() }
    }

    pub(super) fn is_open(&self) -> bool {
        self.stream.is_some()
    }

    pub(super) fn is_connected(&self) -> bool {
        self.id.is_some() && !self.is_leaving
    }

    /// Begins a connection over this end of a stream.
    pub(super) fn connect(&mut self, stream: DuplexStream, process: usize) {
        self.stream = Some(stream);
        self.process = Some(process);
        self.is_used = true;
        self.send(format!(
            "CONNECT\naccept-version:1.2\nheart-beat:0,0\nlogin:{STOMP_USER}\npasscode:{STOMP_PASSWORD}\n\n\0"
        ));
    }

    /// The connection breaks.
    pub(super) fn disconnect(&mut self, jobs: &mut Jobs) {
        for consumer in self.consumers.values() {
            jobs.connection_lost(&consumer.queue);
        }
        let Self { name, channels, is_used, next_receipt, told, .. } = std::mem::take(self);
        *self = Self { name, channels, is_used, next_receipt, told, ..Self::default() };
        for channel in self.channels.values_mut() {
            channel.subscription.lose_connection();
            channel.early.clear();
        }
    }

    fn with_phase(&self, is_it: impl Fn(&SimSubscription) -> bool) -> Vec<Arc<str>> {
        let found = self.channels.iter().filter(|(_, channel)| is_it(&channel.subscription));
        found.map(|(name, _)| name.clone()).collect()
    }

    /// Channels that are wanted and not asked for.
    pub(super) fn unasked(&self) -> Vec<Arc<str>> {
        self.with_phase(|subscription| {
            subscription.is_wanted && subscription.phase == SubscriptionPhase::Idle
        })
    }

    pub(super) fn wanted(&self) -> Vec<Arc<str>> {
        self.with_phase(|subscription| subscription.is_wanted)
    }

    fn send(&mut self, frame: String) {
        self.to_send.extend_from_slice(frame.as_bytes());
        self.flush();
    }

    fn flush(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        while !self.to_send.is_empty() {
            match Pin::new(&mut *stream).poll_write(&mut Context::from_waker(Waker::noop()), &self.to_send) {
                Poll::Ready(Ok(count @ 1..)) => drop(self.to_send.drain(..count)),
                Poll::Ready(_) | Poll::Pending => return,
            }
        }
    }

    /// Reads what its socket holds. False if there was nothing. `is_running`: its worker has written all that fits.
    pub(super) fn read(&mut self, server: &mut SimServer, is_running: bool) -> bool {
        self.flush();
        let Some(stream) = &mut self.stream else { return false };
        let mut space = [0; SOCKET_BYTES];
        let mut buffer = ReadBuf::new(&mut space);
        match Pin::new(stream).poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer) {
            Poll::Pending => {
                if is_running {
                    self.look_for_stolen(server);
                }
                return false;
            }
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                self.received.extend_from_slice(buffer.filled())
            }
            Poll::Ready(_) => {
                self.told.push("end".to_owned());
                self.disconnect(&mut server.log.jobs);
                return true;
            }
        }
        while let Some(frame) = SimFrame::take(&mut self.received) {
            self.told.push(frame.to_string());
            if let Err(wrong) = self.take(&frame, server) {
                server.log.violations.push(format!("{}: {wrong}: {frame}", self.name));
            }
            if self.stream.is_none() {
                break;
            }
        }
        true
    }

    /// All has been read, and the connection is open: nobody else may have been given what it holds, unless its node was
    /// silent.
    fn look_for_stolen(&self, server: &mut SimServer) {
        for job in self.held() {
            if server.log.jobs.was_given_back(job) {
                let (queue, id) = (&job.queue, job.id);
                let wrong = format!("{}: {queue} takes {id} back, which it holds", self.name);
                server.log.violations.push(wrong);
            }
        }
    }

    fn take(&mut self, frame: &SimFrame, server: &mut SimServer) -> Result<(), String> {
        match frame.command.as_str() {
            "CONNECTED" => {
                self.id = Some(frame.get("session")?.to_owned());
                Ok(())
            }
            "MESSAGE" => self.take_message(frame, server),
            "RECEIPT" => {
                let receipt = frame.get("receipt-id")?.parse().map_err(|_| "a receipt that is no number")?;
                let asked = self.pending.remove(&receipt).ok_or("a receipt that nobody waits for")?;
                self.take_receipt(asked, receipt, frame, server)
            }
            // The connection ends behind it.
            "ERROR" => Ok(()),
            _ => Err("an unknown frame".to_owned()),
        }
    }

    fn take_message(&mut self, frame: &SimFrame, server: &mut SimServer) -> Result<(), String> {
        let id = frame.get("subscription")?;
        if let Some(consumer) = self.consumers.get_mut(id) {
            return consumer.take(frame, &mut server.log.jobs);
        }
        let is_it = |(_, channel): &(&Arc<str>, &mut StompChannel)| channel.id == id;
        let found = self.channels.iter_mut().find(is_it);
        let (name, channel) = found.ok_or("a message of a subscription that is not there")?;
        let data: Value = serde_json::from_slice(&frame.body).map_err(|_| "a body that is not JSON")?;
        let offset: u64 = frame.number("offset")?.unwrap_or(0);
        let publication = json!({"data": data, "offset": offset});
        match channel.subscription.phase {
            SubscriptionPhase::Subscribed => channel.subscription.next(name, &publication, &server.log),
            SubscriptionPhase::Subscribing => {
                channel.early.push(publication);
                Ok(())
            }
            // Until the receipt comes the server may still send.
            SubscriptionPhase::Unsubscribing => Ok(()),
            SubscriptionPhase::Idle => Err("a message outside of a subscription".to_owned()),
        }
    }

    fn take_receipt(
        &mut self,
        asked: AwaitedReceipt,
        receipt: u32,
        frame: &SimFrame,
        server: &mut SimServer,
    ) -> Result<(), String> {
        match asked {
            AwaitedReceipt::Subscribe(name) => {
                let is_current = |found: &&mut StompChannel| {
                    found.subscription.phase == SubscriptionPhase::Subscribing
                        && found.subscription.command == receipt
                };
                match self.channels.get_mut(&name).filter(is_current) {
                    Some(channel) => channel.begin(&name, frame, server),
                    None => Ok(()),
                }
            }
            AwaitedReceipt::Unsubscribe(name) => {
                let is_current = |found: &&mut StompChannel| found.subscription.command == receipt;
                if let Some(channel) = self.channels.get_mut(&name).filter(is_current) {
                    channel.subscription.lose_connection();
                    channel.early.clear();
                    channel.id.clear();
                }
                Ok(())
            }
            AwaitedReceipt::Leave(id) => {
                self.consumers.remove(&id);
                Ok(())
            }
            AwaitedReceipt::Publish(name, number) if server.log.get(&name, number).is_none() => {
                Err(format!("{number} is confirmed and was not accepted"))
            }
            AwaitedReceipt::Send(name, number) if !server.log.jobs.is_accepted(&name, number) => {
                Err(format!("{number} is confirmed and was not accepted"))
            }
            AwaitedReceipt::Settle(jobs) if jobs.iter().any(|job| server.queue_has(job)) => {
                Err("an ACK is confirmed, and the queue has the message still".to_owned())
            }
            AwaitedReceipt::Commit(sends, jobs) => {
                let is_accepted = |(name, number, is_queue): &(Arc<str>, u64, bool)| match is_queue {
                    true => server.log.jobs.is_accepted(name, *number),
                    false => server.log.get(name, *number).is_some(),
                };
                if !sends.iter().all(is_accepted) || jobs.iter().any(|job| server.queue_has(job)) {
                    return Err("a COMMIT is confirmed, and not all of it happened".to_owned());
                }
                server.log.counts.add("transactions committed");
                Ok(())
            }
            AwaitedReceipt::Publish(..) | AwaitedReceipt::Send(..) | AwaitedReceipt::Settle(_) => Ok(()),
            AwaitedReceipt::Disconnect if !self.received.is_empty() => {
                Err("something follows the receipt of a DISCONNECT".to_owned())
            }
            AwaitedReceipt::Disconnect => {
                self.disconnect(&mut server.log.jobs);
                Ok(())
            }
        }
    }

    /// The differences from the log at the end, when nothing moves any more.
    pub(super) fn check(&self, server: &SimServer) -> Vec<String> {
        let mut wrong = Vec::new();
        for (receipt, asked) in &self.pending {
            wrong.push(format!("{}: receipt {receipt} ({asked:?}) never came", self.name));
        }
        for (name, channel) in &self.channels {
            let subscription = &channel.subscription;
            if !subscription.is_wanted {
                continue;
            }
            if subscription.phase != SubscriptionPhase::Subscribed {
                wrong.push(format!("{}: {name} is wanted and {:?}", self.name, subscription.phase));
                continue;
            }
            let is_there = |_: &str, _: &str| true;
            wrong.extend(subscription.check(&self.name, name, &server.log, server.top(name), is_there));
        }
        wrong
    }
}

impl StompChannel {
    /// The receipt of a SUBSCRIBE: what it recovered came before it, and perhaps more.
    fn begin(&mut self, name: &Arc<str>, receipt: &SimFrame, server: &SimServer) -> Result<(), String> {
        let offset = receipt.number("offset")?.unwrap_or(0);
        let epoch = receipt.get("epoch").unwrap_or_default();
        let is_recovered = receipt.get("recovered") == Ok("true");
        let of = |publication: &Value| publication.get("offset").and_then(Value::as_u64).unwrap_or(0);
        let (recovered, live): (Vec<Value>, Vec<Value>) = std::mem::take(&mut self.early)
            .into_iter()
            .partition(|publication| is_recovered && of(publication) <= offset);
        let result =
            json!({"epoch": epoch, "offset": offset, "recovered": is_recovered, "publications": recovered});
        self.subscription.begin(name, &result, &server.log)?;
        live.iter().try_for_each(|publication| self.subscription.next(name, publication, &server.log))
    }
}
