//! A client of the client protocol over SockJS, as `sockjs-client` is: one poll after the other brings it what waits, and one
//! request at a time takes what it has to say to its session, whose owner is the process that opened it.

use std::sync::Arc;

use actix_web::test::TestRequest;
use rand::{RngExt as _, seq::IndexedRandom as _};
use serde_json::json;

use super::{Choices, Receiver, StreamTop, TEMPORARY, WorkerTarget};
use crate::{
    CLIENT_SOCKJS_PATH,
    simulation::{
        client::SimClient,
        delivery_log::DeliveryLog,
        process::{AnswerPart, Exchange},
        schedule::ScheduleStep,
        world::{PROCESSES, WORKERS},
    },
};

/// A request that is under way.
struct SockJsExchange {
    exchange: Exchange,
    status: u16,
    body: Vec<u8>,
}

impl SockJsExchange {
    /// Its status and body once it is over; of one that broke, no status. `None` if nothing has come.
    fn read(asked: &mut Option<Self>) -> Option<Option<(u16, Vec<u8>)>> {
        let under_way = asked.as_mut()?;
        let mut part = Some(under_way.exchange.next()?);
        while let Some(read) = part {
            match read {
                AnswerPart::Head(status, _) => under_way.status = status,
                AnswerPart::Chunk(chunk) => under_way.body.extend_from_slice(&chunk),
                AnswerPart::End => return Some(asked.take().map(|over| (over.status, over.body))),
                AnswerPart::Broken => return Some(asked.take().map(|_| (0, Vec::new()))),
            }
            part = under_way.exchange.next();
        }
        Some(None)
    }
}

/// A simulated client of the client protocol over SockJS.
pub(super) struct SockJsClient {
    client: SimClient,
    /// Sessions so far; that of now has this number.
    sessions: usize,
    /// Its process.
    owner: Option<usize>,
    requests: usize,
    poll: Option<SockJsExchange>,
    post: Option<SockJsExchange>,
    told: Vec<String>,
    is_used: bool,
    /// A poll of its session broke off.
    is_interrupted: bool,
}

impl SockJsClient {
    pub(super) fn new(name: String) -> Self {
        Self {
            client: SimClient::new(name, false),
            sessions: 0,
            owner: None,
            requests: 0,
            poll: None,
            post: None,
            told: Vec::new(),
            is_used: false,
            is_interrupted: false,
        }
    }

    fn ask(&mut self, target: WorkerTarget<'_>, what: &str, body: String) -> Option<SockJsExchange> {
        self.requests += 1;
        let number = self.client.name.split(' ').next_back().unwrap_or_default();
        let uri = format!("{CLIENT_SOCKJS_PATH}/000/session-{number}-{}/{what}", self.sessions);
        let exchange = target.ask(TestRequest::post().uri(&uri).set_payload(body))?;
        Some(SockJsExchange { exchange, status: 0, body: Vec::new() })
    }

    /// A frame of its session.
    fn take_frame(&mut self, frame: &[u8], log: &mut DeliveryLog) -> Result<(), String> {
        self.told.push(String::from_utf8_lossy(frame).trim_end().to_owned());
        let is_opened = self.client.is_open();
        match frame {
            // It waited for too long, and this is a new session of the same name.
            b"o\n" if is_opened => self.disconnect(),
            b"o\n" => self.client.connect_carried(self.owner.unwrap_or_default()),
            [b'a' | b'h', ..] if self.is_interrupted => {
                return Err("it goes on after a poll that broke off".to_owned());
            }
            b"h\n" if is_opened => {}
            [b'a', list @ ..] if is_opened => {
                let messages: Vec<String> = serde_json::from_slice(list).map_err(|_| "no list")?;
                for line in messages.iter().flat_map(|message| message.lines()) {
                    self.client.take(line.as_bytes(), log);
                }
                // Its connect was refused: it comes back with another session.
                if !self.client.is_open() {
                    self.disconnect();
                }
            }
            [b'c', reason @ ..] => {
                serde_json::from_slice::<(u16, String)>(reason).map_err(|_| "no reason")?;
                self.disconnect();
            }
            _ => return Err("a frame that cannot come now".to_owned()),
        }
        Ok(())
    }

    fn take_poll(&mut self, status: u16, body: &[u8], log: &mut DeliveryLog) -> Result<(), String> {
        match status {
            200 => return self.take_frame(body, log),
            // The connection broke: whatever was on its way is lost, and the session with it.
            0 => {}
            status if TEMPORARY.contains(&status) => {}
            status => return Err(format!("poll: status {status}")),
        }
        self.told.push(format!("poll {status}"));
        self.disconnect();
        Ok(())
    }

    fn take_post(&mut self, status: u16) -> Result<(), String> {
        match status {
            204 => return Ok(()),
            // The session is over.
            0 | 404 => {}
            status if TEMPORARY.contains(&status) => {}
            status => return Err(format!("send: status {status}")),
        }
        self.told.push(format!("send {status}"));
        self.disconnect();
        Ok(())
    }
}

impl Receiver for SockJsClient {
    fn is_open(&self) -> bool {
        self.owner.is_some()
    }

    fn is_used(&self) -> bool {
        self.is_used
    }

    fn connect(&mut self, target: WorkerTarget<'_>) -> bool {
        if self.is_open() {
            return false;
        }
        self.sessions += 1;
        let owner = target.index;
        self.poll = self.ask(target, "xhr", String::new());
        self.owner = self.poll.is_some().then_some(owner);
        self.is_used |= self.is_open();
        self.is_open()
    }

    fn poll(&mut self, target: WorkerTarget<'_>, _seconds: usize) -> bool {
        if self.poll.is_some() || !self.is_open() {
            return false;
        }
        self.poll = self.ask(target, "xhr", String::new());
        if self.poll.is_none() {
            self.disconnect();
        }
        true
    }

    fn post(&mut self, target: WorkerTarget<'_>) -> bool {
        let waiting = self.client.carried.as_mut().filter(|waiting| !waiting.is_empty());
        let Some(waiting) = waiting.filter(|_| self.post.is_none()) else { return false };
        let batch = json!(std::mem::take(waiting)).to_string();
        self.post = self.ask(target, "xhr_send", batch);
        if self.post.is_none() {
            self.disconnect();
        }
        true
    }

    fn owner(&self) -> Option<usize> {
        self.owner
    }

    fn read(&mut self, log: &mut DeliveryLog) -> bool {
        let poll = SockJsExchange::read(&mut self.poll);
        let mut taken = Ok(());
        if let Some(Some((status, body))) = &poll {
            taken = self.take_poll(*status, body, log);
        }
        let post = SockJsExchange::read(&mut self.post);
        if let Some(Some((status, _))) = &post {
            taken = taken.and(self.take_post(*status));
        }
        if let Err(wrong) = taken {
            log.violations.push(format!("{}: {wrong}: {}", self.client.name, self.told.join(" ")));
        }
        poll.is_some() || post.is_some()
    }

    fn take_told(&mut self) -> String {
        std::mem::take(&mut self.told).join(" ")
    }

    fn disconnect(&mut self) {
        self.client.disconnect();
        (self.owner, self.poll, self.post, self.is_interrupted) = (None, None, None, false);
    }

    /// A poll that breaks off before it was answered is made again, and must learn that the session is over. Where an
    /// answer may have been on its way nobody can know what was lost, so that this client gives its session up, as its
    /// library always does.
    fn lose_connections(&mut self, is_running: bool) {
        let is_silent = self.poll.as_ref().is_some_and(|poll| poll.status == 0 && poll.exchange.is_silent());
        if !is_running || !is_silent || self.post.is_some() || !self.client.is_open() {
            return self.disconnect();
        }
        (self.poll, self.is_interrupted) = (None, true);
    }

    fn subscribe(&mut self, channel: &Arc<str>) -> bool {
        self.client.subscribe(channel)
    }

    fn unsubscribe(&mut self, channel: &Arc<str>) -> bool {
        self.client.unsubscribe(channel)
    }

    fn publish(&mut self, channel: &str, data: &str) -> bool {
        self.client.publish(channel, data)
    }

    fn presence(&mut self, channel: &str) -> bool {
        self.client.presence(channel)
    }

    fn history(&mut self, channel: &str) -> bool {
        self.client.history(channel)
    }

    fn id(&self) -> Option<&str> {
        self.client.id.as_deref()
    }

    fn present_in(&self) -> Vec<Arc<str>> {
        self.client.wanted()
    }

    fn movements(&self, index: usize) -> Vec<ScheduleStep> {
        let Some(owner) = self.owner else { return Vec::new() };
        let mut steps = vec![ScheduleStep::Read(index)];
        if self.poll.is_none() {
            steps.push(ScheduleStep::Poll(index, owner, self.requests % WORKERS, 0));
        }
        let has_messages = self.client.carried.as_ref().is_some_and(|waiting| !waiting.is_empty());
        if has_messages && self.post.is_none() {
            steps.push(ScheduleStep::Post(index, (self.requests + 1) % WORKERS));
        }
        steps
    }

    fn choose(&self, index: usize, choices: &mut Choices<'_>) {
        let process = choices.random.random_range(0..PROCESSES);
        if !self.is_open() {
            let worker = choices.random.random_range(0..WORKERS);
            return choices.steps.push((10, ScheduleStep::Connect(index, process, worker)));
        }
        choices.steps.push((2, ScheduleStep::Disconnect(index)));
        if !self.client.is_connected() {
            return;
        }
        choices.steps.extend(
            self.client.unasked().into_iter().map(|channel| (6, ScheduleStep::Subscribe(index, channel))),
        );
        let mut channel =
            || -> Arc<str> { choices.channels.choose(choices.random).copied().unwrap_or("kept:a").into() };
        choices.steps.extend([
            (4, ScheduleStep::Subscribe(index, channel())),
            (2, ScheduleStep::Unsubscribe(index, channel())),
            (2, ScheduleStep::Publish(index, channel())),
            (1, ScheduleStep::Presence(index, channel())),
            (1, ScheduleStep::History(index, channel())),
            (1, ScheduleStep::ApiUnsubscribe(process, index, channel())),
        ]);
    }

    fn settle(&self, index: usize) -> Vec<ScheduleStep> {
        let mut steps = vec![ScheduleStep::Connect(index, index % PROCESSES, index)];
        steps
            .extend(self.client.unasked().into_iter().map(|channel| ScheduleStep::Subscribe(index, channel)));
        steps
    }

    fn check(
        &self,
        log: &DeliveryLog,
        top: &StreamTop<'_>,
        is_there: &dyn Fn(&str, &str) -> bool,
    ) -> Vec<String> {
        let mut wrong = self.client.check(log, top, is_there);
        if self.post.is_some() {
            wrong.push(format!("{}: a request with messages was never answered", self.client.name));
        }
        wrong
    }
}
