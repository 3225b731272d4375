//! A client that polls: it names its channels and the position of the answer before, at any worker of any process, and
//! knows nothing else of the server.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
};

use actix_web::test::TestRequest;
use gorani_auth::ConnectionTokenRequest;
use rand::{RngExt as _, seq::IndexedRandom as _};
use serde_json::Value;

use super::{Choices, Receiver, StreamTop, TEMPORARY, WITH_HISTORY, WorkerTarget};
use crate::{
    clock,
    format::position::Positions,
    simulation::{
        delivery_log::{DeliveryLog, number_of},
        process::{AnswerPart, Exchange},
        schedule::ScheduleStep,
        settings::{POLLING_USER, TOKEN_SECRET},
        subscription::SimSubscription,
        world::{PROCESSES, WORKERS},
    },
};

/// A request that is under way.
struct PollExchange {
    exchange: Exchange,
    channels: BTreeSet<Arc<str>>,
    /// The position that it named.
    position: String,
    status: u16,
    tag: Option<String>,
    body: Vec<u8>,
}

/// A simulated client that polls.
#[derive(Default)]
pub(super) struct Poller {
    name: String,
    asked: Option<PollExchange>,
    wanted: BTreeSet<Arc<str>>,
    known: BTreeMap<Arc<str>, SimSubscription>,
    /// The position that it goes on from: opaque to it, as to any client.
    position: String,
    requests: usize,
    told: Vec<String>,
}

impl Poller {
    pub(super) fn new(name: String) -> Self {
        Self { name, ..Self::default() }
    }

    fn request(&self, seconds: usize) -> TestRequest {
        let channels: Vec<&str> = self.wanted.iter().map(|channel| &**channel).collect();
        let mut uri = format!("/connection/poll?channels={}&wait={seconds}", channels.join(","));
        if self.requests % 4 > 1 {
            uri.push_str("&limit=1");
        }
        let token = ConnectionTokenRequest {
            user: POLLING_USER.to_owned(),
            ttl: None,
            channels: Vec::new(),
            info: None,
            audience: String::new(),
            issuer: String::new(),
        };
        let token = token.sign(TOKEN_SECRET, clock::unix_ms() / 1000).unwrap();
        let request = TestRequest::get().insert_header(("authorization", format!("Bearer {token}")));
        // Either says from where it asks on.
        if self.requests.is_multiple_of(2) || self.position.is_empty() {
            let _ = write!(uri, "&position={}", self.position);
            return request.uri(&uri);
        }
        request.uri(&uri).insert_header(("if-none-match", format!("\"{}\"", self.position)))
    }

    /// The answer is whole.
    fn end(&mut self, log: &mut DeliveryLog) {
        let Some(asked) = self.asked.take() else { return };
        let body = String::from_utf8_lossy(&asked.body);
        self.told.push(format!("{} {body}", asked.status));
        if let Err(wrong) = self.take_answer(&asked, log) {
            let (name, from, status) = (&self.name, &asked.position, asked.status);
            log.violations.push(format!("{name}: poll from {from}: {wrong}: {status} {body}"));
        }
    }

    fn take_answer(&mut self, asked: &PollExchange, log: &DeliveryLog) -> Result<(), String> {
        match asked.status {
            200 => {}
            304 => {
                let is_known = asked.tag.as_ref() == Some(&asked.position) && !asked.position.is_empty();
                let is_empty = asked.body.is_empty();
                return if is_known && is_empty {
                    Ok(())
                } else {
                    Err("nothing is new since where?".to_owned())
                };
            }
            status if TEMPORARY.contains(&status) => return Ok(()),
            status => return Err(format!("status {status}")),
        }
        let answer: Value = serde_json::from_slice(&asked.body).map_err(|_| "the answer is no JSON")?;
        let list = |name: &str| answer.get(name).and_then(Value::as_array).into_iter().flatten();
        let position = answer.get("position").and_then(Value::as_str).ok_or("no position")?;
        if asked.tag.as_deref() != Some(position) {
            return Err(format!("the tag {:?} is not the position", asked.tag));
        }
        let before = Positions::parse(&asked.position).map_err(|error| error.to_string())?;
        let after = Positions::parse(position).map_err(|error| error.to_string())?;
        for channel in &asked.channels {
            let known = self.known.entry(channel.clone()).or_insert_with(|| SimSubscription::new(false));
            let is_lost = list("unrecovered").any(|lost| lost.as_str() == Some(channel));
            if is_lost && before.get(channel).is_none() {
                return Err(format!("{channel}: lost what it never had"));
            }
            if is_lost || before.get(channel).is_none() {
                // It learns of the loss, or it begins.
                (known.position, known.last) = (None, None);
                known.accepted_before = log.count(channel);
            }
        }
        for publication in list("publications") {
            let channel = publication.get("channel").and_then(Value::as_str).ok_or("no channel")?;
            if !asked.channels.contains(channel) {
                return Err(format!("{channel} was not asked for"));
            }
            let known = self.known.get_mut(channel).ok_or("a channel that is not known")?;
            let publication = publication.get("pub").ok_or("no publication")?;
            if known.position.is_none() {
                // The latest: the first of them may be any.
                let data = publication.get("data").map(Value::to_string).unwrap_or_default();
                let accepted = number_of(data.as_bytes()).and_then(|number| log.get(channel, number));
                let accepted = accepted.ok_or("a publication that was never accepted")?;
                known.position = Some((accepted.epoch.to_string(), accepted.offset.saturating_sub(1)));
            }
            known.next(channel, publication, log)?;
        }
        for channel in &asked.channels {
            let reached = after.get(channel).ok_or("a channel without a position")?;
            let known = self.known.get_mut(channel).ok_or("a channel that is not known")?;
            if let Some((epoch, offset)) = &known.position {
                if !log.is_related(epoch, &reached.epoch) {
                    return Err(format!("{channel}: from epoch {epoch} to {}, untold", reached.epoch));
                }
                if *offset != reached.offset {
                    return Err(format!("{channel}: {} follows what reached {offset}", reached.offset));
                }
            }
            known.position = Some((reached.epoch.to_string(), reached.offset));
        }
        position.clone_into(&mut self.position);
        Ok(())
    }
}

impl Receiver for Poller {
    fn is_open(&self) -> bool {
        self.asked.is_some()
    }

    fn is_used(&self) -> bool {
        !self.wanted.is_empty()
    }

    fn poll(&mut self, target: WorkerTarget<'_>, seconds: usize) -> bool {
        if self.asked.is_some() || self.wanted.is_empty() {
            return false;
        }
        let Some(exchange) = target.ask(self.request(seconds)) else { return false };
        self.requests += 1;
        let (channels, position) = (self.wanted.clone(), self.position.clone());
        self.asked =
            Some(PollExchange { exchange, channels, position, status: 0, tag: None, body: Vec::new() });
        true
    }

    fn read(&mut self, log: &mut DeliveryLog) -> bool {
        let mut has_read = false;
        while let Some(asked) = &mut self.asked
            && let Some(part) = asked.exchange.next()
        {
            has_read = true;
            match part {
                AnswerPart::Head(status, tag) => (asked.status, asked.tag) = (status, tag),
                AnswerPart::Chunk(chunk) => asked.body.extend_from_slice(&chunk),
                AnswerPart::Broken => {
                    self.told.push("broken".to_owned());
                    self.asked = None;
                }
                AnswerPart::End => self.end(log),
            }
        }
        has_read
    }

    fn take_told(&mut self) -> String {
        std::mem::take(&mut self.told).join(" ")
    }

    fn disconnect(&mut self) {
        self.asked = None;
    }

    fn subscribe(&mut self, channel: &Arc<str>) -> bool {
        WITH_HISTORY.contains(&&**channel) && self.wanted.insert(channel.clone())
    }

    fn unsubscribe(&mut self, channel: &Arc<str>) -> bool {
        self.wanted.remove(channel)
    }

    fn choose(&self, index: usize, choices: &mut Choices<'_>) {
        // Those of the run as a rule; a run without any has one all the same.
        let is_of_run = |channel: &&str| choices.channels.contains(channel);
        let of_run: Vec<&str> = WITH_HISTORY.into_iter().filter(is_of_run).collect();
        let channel = of_run.choose(choices.random).copied().unwrap_or(WITH_HISTORY[0]);
        if self.asked.is_some() {
            return choices.steps.push((2, ScheduleStep::Disconnect(index)));
        }
        choices.steps.push((1, ScheduleStep::Unsubscribe(index, channel.into())));
        choices
            .steps
            .push((if self.is_used() { 4 } else { 10 }, ScheduleStep::Subscribe(index, channel.into())));
        if self.is_used() {
            let (process, worker) =
                (choices.random.random_range(0..PROCESSES), choices.random.random_range(0..WORKERS));
            let seconds = *[0, 0, 5, 25].choose(choices.random).unwrap_or(&0);
            choices.steps.push((24, ScheduleStep::Poll(index, process, worker, seconds)));
        }
    }

    fn settle(&self, index: usize) -> Vec<ScheduleStep> {
        vec![ScheduleStep::Poll(index, index % PROCESSES, index, 0)]
    }

    fn check(
        &self,
        log: &DeliveryLog,
        top: &StreamTop<'_>,
        _is_there: &dyn Fn(&str, &str) -> bool,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.asked.is_some() {
            wrong.push(format!("{}: a poll was never answered", self.name));
        }
        for channel in &self.wanted {
            match self.known.get(channel) {
                Some(known) => {
                    wrong.extend(known.check(&self.name, channel, log, top(channel), |_, _| true));
                }
                None => wrong.push(format!("{}: {channel} was never read", self.name)),
            }
        }
        wrong
    }
}
