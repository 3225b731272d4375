//! A client of the client protocol, as its libraries are. What contradicts the delivery log is a violation.

mod frame;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use serde_json::Value;
use tokio::io::{AsyncRead as _, AsyncWrite as _, DuplexStream, ReadBuf};

use super::{
    backend::SimBackend,
    delivery_log::{DeliveryLog, number_of},
    subscription::{SimSubscription, SubscriptionPhase},
};

/// Bytes that the client's socket holds on either side.
pub(super) const SOCKET_BYTES: usize = 1024;

#[derive(Debug)]
enum SimCommand {
    Connect,
    Subscribe(Arc<str>),
    Unsubscribe(Arc<str>),
    Publish(Arc<str>, u64),
    Presence,
    History,
    /// With the number in its data.
    Rpc(u64),
}

/// A simulated client of the client protocol.
#[derive(Default)]
pub(super) struct SimClient {
    pub(super) name: String,
    /// Channels and numbers of its publications that a node acknowledged.
    pub(super) published: Vec<(Arc<str>, u64)>,
    /// It asks for the joins and leaves of others.
    watches: bool,
    stream: Option<DuplexStream>,
    /// The commands that it has to send, where something else than a WebSocket carries them.
    pub(super) carried: Option<Vec<String>>,
    /// The process that it is connected to.
    pub(super) process: Option<usize>,
    received: Vec<u8>,
    to_send: Vec<u8>,
    is_upgraded: bool,
    /// Client id, once it has connected.
    pub(super) id: Option<String>,
    next_command: u32,
    pending: BTreeMap<u32, SimCommand>,
    subscriptions: BTreeMap<Arc<str>, SimSubscription>,
    /// The backend that decides on what it does, where one is asked.
    backend: Option<SimBackend>,
    /// The number of the last call of a method that was answered on this connection.
    last_answered: u64,
    /// The last things that it received, for the trace.
    pub(super) told: Vec<String>,
}

impl SimClient {
    pub(super) fn new(name: String, watches: bool) -> Self {
        Self { name, watches, ..Self::default() }
    }

    /// The same where a backend is asked.
    pub(super) fn asking(self, backend: Option<SimBackend>) -> Self {
        Self { backend, ..self }
    }

    pub(super) fn is_open(&self) -> bool {
        self.stream.is_some() || self.carried.is_some()
    }

    pub(super) fn is_connected(&self) -> bool {
        self.id.is_some()
    }

    /// Begins a connection over this end of a stream.
    pub(super) fn connect(&mut self, stream: DuplexStream, process: usize) {
        self.stream = Some(stream);
        self.process = Some(process);
        self.send(SimCommand::Connect, "\"connect\":{}");
    }

    /// Begins a connection that something else carries.
    pub(super) fn connect_carried(&mut self, process: usize) {
        (self.carried, self.process) = (Some(Vec::new()), Some(process));
        self.send(SimCommand::Connect, "\"connect\":{}");
    }

    /// The connection breaks.
    pub(super) fn disconnect(&mut self) {
        (self.stream, self.carried) = (None, None);
        self.process = None;
        self.received.clear();
        self.to_send.clear();
        self.is_upgraded = false;
        self.id = None;
        self.last_answered = 0;
        self.pending.clear();
        for subscription in self.subscriptions.values_mut() {
            subscription.lose_connection();
        }
    }

    /// Channels that are wanted and not asked for.
    pub(super) fn unasked(&self) -> Vec<Arc<str>> {
        self.names(|subscription| subscription.is_wanted && subscription.phase == SubscriptionPhase::Idle)
    }

    pub(super) fn wanted(&self) -> Vec<Arc<str>> {
        self.names(|subscription| subscription.is_wanted)
    }

    fn names(&self, which: impl Fn(&SimSubscription) -> bool) -> Vec<Arc<str>> {
        let chosen = self.subscriptions.iter().filter(|(_, subscription)| which(subscription));
        chosen.map(|(name, _)| name.clone()).collect()
    }

    /// Asks for a channel; from where it stands, if it has stood somewhere. False if that makes no sense now.
    pub(super) fn subscribe(&mut self, channel: &Arc<str>) -> bool {
        let watches = self.watches;
        let subscription =
            self.subscriptions.entry(channel.clone()).or_insert_with(|| SimSubscription::new(watches));
        if subscription.phase != SubscriptionPhase::Idle {
            return false;
        }
        let was_wanted = std::mem::replace(&mut subscription.is_wanted, true);
        if self.id.is_none() {
            return !was_wanted;
        }
        subscription.phase = SubscriptionPhase::Subscribing;
        subscription.command = self.next_command + 1;
        let mut body = format!("\"subscribe\":{{\"channel\":\"{channel}\",\"join_leave\":{watches}");
        if let Some((epoch, offset)) = &subscription.position {
            let _ = write!(body, ",\"recover\":true,\"epoch\":\"{epoch}\",\"offset\":{offset}");
        }
        body.push('}');
        self.send(SimCommand::Subscribe(channel.clone()), &body);
        true
    }

    /// Leaves a channel for good. False if it is not in it.
    pub(super) fn unsubscribe(&mut self, channel: &Arc<str>) -> bool {
        let Some(subscription) = self.subscriptions.get_mut(channel).filter(|found| found.is_wanted) else {
            return false;
        };
        subscription.is_wanted = false;
        (subscription.position, subscription.last) = (None, None);
        if matches!(subscription.phase, SubscriptionPhase::Subscribing | SubscriptionPhase::Subscribed) {
            subscription.phase = SubscriptionPhase::Unsubscribing;
            subscription.command = self.next_command + 1;
            self.send(
                SimCommand::Unsubscribe(channel.clone()),
                &format!("\"unsubscribe\":{{\"channel\":\"{channel}\"}}"),
            );
        }
        true
    }

    pub(super) fn publish(&mut self, channel: &str, data: &str) -> bool {
        let command = SimCommand::Publish(channel.into(), number_of(data.as_bytes()).unwrap_or_default());
        self.send_connected(command, &format!("\"publish\":{{\"channel\":\"{channel}\",\"data\":{data}}}"))
    }

    pub(super) fn presence(&mut self, channel: &str) -> bool {
        self.send_connected(SimCommand::Presence, &format!("\"presence\":{{\"channel\":\"{channel}\"}}"))
    }

    pub(super) fn history(&mut self, channel: &str) -> bool {
        let body = format!("\"history\":{{\"channel\":\"{channel}\",\"limit\":10}}");
        self.send_connected(SimCommand::History, &body)
    }

    /// False if it has not connected.
    fn send_connected(&mut self, command: SimCommand, body: &str) -> bool {
        if self.is_connected() {
            self.send(command, body);
        }
        self.is_connected()
    }

    /// Calls a method with a number of its own.
    pub(super) fn call(&mut self, number: u64, data: &str) -> bool {
        if self.id.is_none() {
            return false;
        }
        self.send(SimCommand::Rpc(number), &format!("\"rpc\":{{\"method\":\"m\",\"data\":{data}}}"));
        true
    }

    fn send(&mut self, command: SimCommand, body: &str) {
        self.next_command += 1;
        let id = self.next_command;
        self.pending.insert(id, command);
        self.frame(1, format!("{{\"id\":{id},{body}}}").as_bytes());
    }

    /// Writes a masked frame; the mask is zero.
    fn frame(&mut self, opcode: u8, payload: &[u8]) {
        if let Some(carried) = &mut self.carried {
            return carried.push(String::from_utf8_lossy(payload).into_owned());
        }
        frame::write(&mut self.to_send, opcode, payload);
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

    /// Reads what its socket holds. False if there was nothing.
    pub(super) fn read(&mut self, log: &mut DeliveryLog) -> bool {
        self.flush();
        let Some(stream) = &mut self.stream else { return false };
        let mut space = [0; SOCKET_BYTES];
        let mut buffer = ReadBuf::new(&mut space);
        match Pin::new(stream).poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer) {
            Poll::Pending => return false,
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                self.received.extend_from_slice(buffer.filled())
            }
            Poll::Ready(_) => {
                self.told.push("end".to_owned());
                self.disconnect();
                return true;
            }
        }
        if !self.is_upgraded {
            let Some(end) = self.received.windows(4).position(|window| window == b"\r\n\r\n") else {
                return true;
            };
            if !self.received.starts_with(b"HTTP/1.1 101") {
                log.violations.push(format!("{}: the handshake was refused", self.name));
            }
            self.received.drain(..end + 4);
            self.is_upgraded = true;
        }
        while let Some((opcode, payload)) = frame::take(&mut self.received) {
            match opcode {
                1 => {
                    for line in payload.split(|byte| *byte == b'\n') {
                        self.told.push(String::from_utf8_lossy(line).into_owned());
                        self.take(line, log);
                    }
                }
                8 => {
                    self.frame(8, payload.get(..2).unwrap_or_default());
                    let reason = String::from_utf8_lossy(payload.get(2..).unwrap_or_default());
                    self.told.push(format!("close {reason}"));
                    self.disconnect();
                    return true;
                }
                _ => {}
            }
        }
        true
    }

    /// Takes a line of the client protocol.
    pub(super) fn take(&mut self, line: &[u8], log: &mut DeliveryLog) {
        let Ok(message) = serde_json::from_slice::<Value>(line) else {
            log.violations.push(format!("{}: not JSON: {}", self.name, String::from_utf8_lossy(line)));
            return;
        };
        if message.as_object().is_some_and(serde_json::Map::is_empty) {
            return self.frame(1, b"{}");
        }
        let wrong = match message.get("push") {
            Some(push) => self.take_push(push, log),
            None => self.take_reply(&message, log),
        };
        if let Err(wrong) = wrong {
            log.violations.push(format!("{}: {wrong}: {message}", self.name));
        }
    }

    fn take_reply(&mut self, reply: &Value, log: &DeliveryLog) -> Result<(), String> {
        let id = reply.get("id").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok()).unwrap_or(0);
        let command = self.pending.remove(&id).ok_or("a reply to no command")?;
        let error = reply.get("error");
        match command {
            SimCommand::Connect => match reply.pointer("/connect/client").and_then(Value::as_str) {
                Some(client) => self.id = Some(client.to_owned()),
                None => self.disconnect(),
            },
            SimCommand::Subscribe(channel) => {
                // The reply of an earlier subscribe, which the server ended meanwhile, says nothing of this one.
                let is_current = |found: &&mut SimSubscription| found.is_asked_by(id);
                let Some(subscription) = self.subscriptions.get_mut(&channel).filter(is_current) else {
                    return Ok(());
                };
                match reply.get("subscribe") {
                    Some(result) => {
                        if let (Some(backend), Some(id)) = (&self.backend, &self.id) {
                            backend.check_subscribed(id, &channel)?;
                        }
                        subscription.begin(&channel, result, log)?;
                    }
                    None => subscription.phase = SubscriptionPhase::Idle,
                }
            }
            SimCommand::Unsubscribe(channel) => {
                if error.is_some() {
                    return Err("an unsubscribe failed".to_owned());
                }
                let is_current = |found: &&mut SimSubscription| found.command == id;
                if let Some(subscription) = self.subscriptions.get_mut(&channel).filter(is_current) {
                    subscription.phase = SubscriptionPhase::Idle;
                    subscription.members.clear();
                }
            }
            SimCommand::Publish(channel, number) if error.is_none() => self.published.push((channel, number)),
            SimCommand::Rpc(number) => {
                let Some(backend) = &self.backend else { return Ok(()) };
                backend.check_rpc(number, reply, &mut self.last_answered)?;
            }
            SimCommand::Publish(..) | SimCommand::Presence | SimCommand::History => {}
        }
        Ok(())
    }

    fn take_push(&mut self, push: &Value, log: &DeliveryLog) -> Result<(), String> {
        if push.get("disconnect").is_some() {
            log.counts.add("connections closed by nodes");
            return Ok(());
        }
        let channel = push.get("channel").and_then(Value::as_str).ok_or("a push without a channel")?;
        let subscription =
            self.subscriptions.get_mut(channel).ok_or("a push of a channel that was never wanted")?;
        if let Some(unsubscribe) = push.get("unsubscribe") {
            log.counts.add("subscriptions ended by nodes");
            subscription.phase = SubscriptionPhase::Idle;
            subscription.members.clear();
            if unsubscribe.get("code").and_then(Value::as_u64).is_none_or(|code| code < 2500) {
                subscription.is_wanted = false;
                (subscription.position, subscription.last) = (None, None);
            }
            return Ok(());
        }
        match subscription.phase {
            SubscriptionPhase::Subscribed => {}
            // Until the answer comes the server may still send.
            SubscriptionPhase::Unsubscribing => return Ok(()),
            SubscriptionPhase::Idle | SubscriptionPhase::Subscribing => {
                return Err("a push outside of a subscription".to_owned());
            }
        }
        if let Some(publication) = push.get("pub") {
            return subscription.next(channel, publication, log);
        }
        for (kind, is_there) in [("join", true), ("leave", false)] {
            if let Some(client) =
                push.get(kind).and_then(|event| event.pointer("/info/client")).and_then(Value::as_str)
            {
                let before = subscription.members.insert(client.to_owned(), is_there);
                if before == Some(is_there) {
                    return Err(format!("a second {kind} of the same client"));
                }
                return Ok(());
            }
        }
        Err("an unknown push".to_owned())
    }

    /// The differences from the log at the end, when nothing moves any more.
    pub(super) fn check(
        &self,
        log: &DeliveryLog,
        top: impl Fn(&str) -> Option<(Arc<str>, u64)>,
        is_there: impl Fn(&str, &str) -> bool,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        for (id, command) in &self.pending {
            wrong.push(format!("{}: command {id} ({command:?}) was never answered", self.name));
        }
        for (channel, subscription) in
            self.subscriptions.iter().filter(|(_, subscription)| subscription.is_wanted)
        {
            if subscription.phase != SubscriptionPhase::Subscribed {
                wrong.push(format!("{}: {channel} is wanted and {:?}", self.name, subscription.phase));
                continue;
            }
            wrong.extend(subscription.check(&self.name, channel, log, top(channel), &is_there));
        }
        wrong
    }
}
