//! A client that receives without an SDK, over server-sent events or over lines. It comes back with the id of the last
//! event, as browsers do, or with the positions that it has worked out from the objects.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use actix_web::test::TestRequest;
use rand::{RngExt as _, seq::IndexedRandom as _};
use serde_json::{Map, Value, json};

use super::{Choices, Receiver, StreamTop, TEMPORARY, WorkerTarget};
use crate::{
    format::position::Positions,
    simulation::{
        delivery_log::DeliveryLog,
        process::{AnswerPart, Exchange},
        schedule::ScheduleStep,
        subscription::{SimSubscription, SubscriptionPhase},
        world::{PROCESSES, WORKERS},
    },
};

/// A simulated client that receives without an SDK.
#[derive(Default)]
pub(super) struct StreamReader {
    name: String,
    /// Lines instead of events.
    is_lines: bool,
    exchange: Option<Exchange>,
    received: Vec<u8>,
    /// Client id, once it is known.
    id: Option<String>,
    /// It received the end of the stream.
    is_told_end: bool,
    last_event_id: String,
    known: BTreeMap<Arc<str>, SimSubscription>,
    told: Vec<String>,
}

impl StreamReader {
    pub(super) fn new(name: String, is_lines: bool) -> Self {
        Self { name, is_lines, ..Self::default() }
    }

    fn wanted(&self) -> impl Iterator<Item = (&Arc<str>, &SimSubscription)> {
        self.known.iter().filter(|(_, known)| known.is_wanted)
    }

    fn request(&self) -> TestRequest {
        if self.is_lines {
            let sub = |(channel, known): (&Arc<str>, &SimSubscription)| {
                let sub = match &known.position {
                    Some((epoch, offset)) => json!({"recover": true, "epoch": epoch, "offset": offset}),
                    None => json!({}),
                };
                (channel.to_string(), sub)
            };
            let subs: Map<String, Value> = self.wanted().map(sub).collect();
            let body = json!({ "subs": subs }).to_string();
            return TestRequest::post().uri("/connection/uni_http_stream").set_payload(body);
        }
        let channels: Vec<&str> = self.wanted().map(|(channel, _)| &**channel).collect();
        let request = TestRequest::get()
            .uri(&format!("/connection/uni_sse?channels={}", channels.join(",")))
            .insert_header(("accept", "text/event-stream"));
        if self.last_event_id.is_empty() {
            return request;
        }
        request.insert_header(("last-event-id", self.last_event_id.as_str()))
    }

    /// Takes what has come as a whole: events, or lines.
    fn take_received(&mut self, log: &DeliveryLog) -> Result<(), String> {
        let end: &[u8] = if self.is_lines { b"\n" } else { b"\n\n" };
        while let Some(at) = self.received.windows(end.len()).position(|window| window == end) {
            let whole: Vec<u8> = self.received.drain(..at + end.len()).take(at).collect();
            let whole = String::from_utf8(whole).map_err(|_| "no UTF-8")?;
            if self.is_lines {
                self.take_object(&whole, log)?;
            } else {
                self.take_event(&whole, log)?;
            }
        }
        Ok(())
    }

    fn take_event(&mut self, event: &str, log: &DeliveryLog) -> Result<(), String> {
        let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
        if let Some(data) = field("data: ") {
            self.take_object(data, log)?;
        }
        let Some(id) = field("id: ") else {
            let brings_further = event.contains("\"pub\"") && event.contains("\"offset\"");
            return if brings_further { Err("a publication without an id".to_owned()) } else { Ok(()) };
        };
        id.clone_into(&mut self.last_event_id);
        let positions = Positions::parse(id).map_err(|error| error.to_string())?;
        for (channel, known) in
            self.known.iter().filter(|(_, known)| known.phase == SubscriptionPhase::Subscribed)
        {
            let said = positions.get(channel).map(|said| (said.epoch.to_string(), said.offset));
            if said != known.position {
                return Err(format!(
                    "{channel}: the id says {said:?}, and it stands at {:?}",
                    known.position
                ));
            }
        }
        Ok(())
    }

    fn take_object(&mut self, text: &str, log: &DeliveryLog) -> Result<(), String> {
        if text == "{}" {
            return Ok(());
        }
        self.told.push(text.to_owned());
        if self.is_told_end {
            return Err("an object after the last one".to_owned());
        }
        let object: Value = serde_json::from_str(text).map_err(|_| "no JSON")?;
        if let Some(connect) = object.get("connect") {
            return self.take_connect(connect, log);
        }
        if self.id.is_none() {
            return Err(format!("the first object is {text}"));
        }
        if object.get("disconnect").is_some() {
            self.is_told_end = true;
            return Ok(());
        }
        let channel = object.get("channel").and_then(Value::as_str).ok_or("no channel")?;
        let is_subscribed = |known: &&mut SimSubscription| known.phase == SubscriptionPhase::Subscribed;
        let known = self.known.get_mut(channel).filter(is_subscribed).ok_or("outside of a subscription")?;
        if let Some(publication) = object.get("pub") {
            return known.next(channel, publication, log);
        }
        if object.get("unsubscribe").is_some() {
            known.lose_connection();
            known.is_wanted = false;
            return Ok(());
        }
        for (kind, is_there) in [("join", true), ("leave", false)] {
            if let Some(client) = object.get(kind).and_then(|event| event.pointer("/info/client")) {
                let client = client.as_str().unwrap_or_default().to_owned();
                return match known.members.insert(client, is_there) {
                    Some(before) if before == is_there => Err(format!("a second {kind} of the same client")),
                    _ => Ok(()),
                };
            }
        }
        Err("an unknown object".to_owned())
    }

    fn take_connect(&mut self, connect: &Value, log: &DeliveryLog) -> Result<(), String> {
        if self.id.is_some() {
            return Err("it connects twice".to_owned());
        }
        self.id = connect.get("client").and_then(Value::as_str).map(str::to_owned);
        let subs = connect.get("subs").and_then(Value::as_object);
        let asked: BTreeSet<&str> = self.wanted().map(|(channel, _)| &**channel).collect();
        let given: BTreeSet<&str> = subs.into_iter().flat_map(Map::keys).map(String::as_str).collect();
        if asked != given {
            return Err(format!("{given:?} in place of {asked:?}"));
        }
        for (channel, result) in subs.into_iter().flatten() {
            let known = self.known.get_mut(channel.as_str()).ok_or("a channel that is not known")?;
            known.begin(channel, result, log)?;
        }
        Ok(())
    }
}

impl Receiver for StreamReader {
    fn is_open(&self) -> bool {
        self.exchange.is_some()
    }

    fn is_used(&self) -> bool {
        self.wanted().next().is_some()
    }

    fn connect(&mut self, target: WorkerTarget<'_>) -> bool {
        if self.is_open() || !self.is_used() {
            return false;
        }
        self.exchange = target.ask(self.request());
        self.is_open()
    }

    fn read(&mut self, log: &mut DeliveryLog) -> bool {
        let Some(exchange) = &mut self.exchange else { return false };
        let Some(part) = exchange.next() else { return false };
        let taken = match part {
            AnswerPart::Head(200, _) => Ok(()),
            AnswerPart::Head(status, _) => {
                self.told.push(status.to_string());
                self.disconnect();
                if TEMPORARY.contains(&status) { Ok(()) } else { Err(format!("status {status}")) }
            }
            AnswerPart::Chunk(chunk) => {
                self.received.extend_from_slice(&chunk);
                self.take_received(log)
            }
            AnswerPart::End => {
                let is_told = self.is_told_end;
                self.told.push("end".to_owned());
                self.disconnect();
                if is_told { Ok(()) } else { Err("it ended without a word".to_owned()) }
            }
            AnswerPart::Broken => {
                self.told.push("broken".to_owned());
                self.disconnect();
                Ok(())
            }
        };
        if let Err(wrong) = taken {
            log.violations.push(format!("{}: {wrong}: {}", self.name, self.told.join(" ")));
        }
        true
    }

    fn take_told(&mut self) -> String {
        std::mem::take(&mut self.told).join(" ")
    }

    fn disconnect(&mut self) {
        (self.exchange, self.id, self.is_told_end) = (None, None, false);
        self.received.clear();
        self.known.values_mut().for_each(SimSubscription::lose_connection);
    }

    /// The address of a stream says what it brings, so that only one that is closed can have another.
    fn subscribe(&mut self, channel: &Arc<str>) -> bool {
        if self.is_open() {
            return false;
        }
        let known = self.known.entry(channel.clone()).or_insert_with(|| SimSubscription::new(true));
        !std::mem::replace(&mut known.is_wanted, true)
    }

    fn unsubscribe(&mut self, channel: &Arc<str>) -> bool {
        let is_open = self.is_open();
        let known = self.known.get_mut(channel).filter(|_| !is_open);
        known.is_some_and(|known| std::mem::replace(&mut known.is_wanted, false))
    }

    fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    fn present_in(&self) -> Vec<Arc<str>> {
        self.wanted().map(|(channel, _)| channel.clone()).collect()
    }

    fn choose(&self, index: usize, choices: &mut Choices<'_>) {
        let channel: Arc<str> = choices.channels.choose(choices.random).copied().unwrap_or("kept:a").into();
        let process = choices.random.random_range(0..PROCESSES);
        if self.is_open() {
            choices.steps.push((4, ScheduleStep::Disconnect(index)));
            return choices.steps.push((1, ScheduleStep::ApiUnsubscribe(process, index, channel)));
        }
        choices.steps.push((1, ScheduleStep::Unsubscribe(index, channel.clone())));
        choices.steps.push((if self.is_used() { 2 } else { 10 }, ScheduleStep::Subscribe(index, channel)));
        let worker = choices.random.random_range(0..WORKERS);
        choices.steps.push((24, ScheduleStep::Connect(index, process, worker)));
    }

    fn settle(&self, index: usize) -> Vec<ScheduleStep> {
        vec![ScheduleStep::Connect(index, index % PROCESSES, index)]
    }

    fn check(
        &self,
        log: &DeliveryLog,
        top: &StreamTop<'_>,
        is_there: &dyn Fn(&str, &str) -> bool,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        for (channel, known) in self.wanted() {
            if known.phase != SubscriptionPhase::Subscribed {
                wrong.push(format!("{}: {channel} is wanted and {:?}", self.name, known.phase));
                continue;
            }
            wrong.extend(known.check(&self.name, channel, log, top(channel), is_there));
        }
        wrong
    }
}
