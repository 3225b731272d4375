//! The broker's server in the simulation: what Redis is in a cluster. It carries requests out one at a time, and hands what it
//! pushes to the links of the nodes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use gorani_broker::{
    Announced, BrokerError, ChannelEvent, ClientInfo, ConnectionEntry, HistoryPage, HistoryQuery, Member,
    MemoryBroker, Position, PresencePage, PresenceQuery, Publication, PublishOptions, Published, Retention,
};
use tokio::time::Instant;

use super::{delivery_log::DeliveryLog, embedded, hook_broker::SimHooks, queues::SimQueue};

/// A push of the server to a node.
#[derive(Clone)]
pub(super) enum Push {
    Event(ChannelEvent),
    Gap,
    Message(Bytes),
}

/// The channel under which messages between nodes stand in a link's queue.
pub(super) const MESSAGES: &str = "(messages)";

#[derive(Default)]
struct SimStream {
    epoch: Arc<str>,
    top: u64,
    publications: Vec<(Arc<Publication>, Instant)>,
    /// The server's life in which the epoch began.
    life: u64,
    ancestors: Vec<Position>,
}

struct Present {
    info: Arc<ClientInfo>,
    until: Instant,
    announce: bool,
}

/// The broker's server in the simulation.
#[derive(Default)]
pub(super) struct SimServer {
    streams: BTreeMap<Arc<str>, SimStream>,
    presence: BTreeMap<Arc<str>, BTreeMap<String, Present>>,
    leases: BTreeMap<String, (Bytes, Instant)>,
    connections: BTreeMap<String, BTreeMap<String, Instant>>,
    owners: BTreeMap<String, (String, Instant)>,
    pub(super) queues: BTreeMap<Arc<str>, SimQueue>,
    /// Counts the messages of all queues.
    pub(super) next_message: u64,
    pub(super) hooks: SimHooks,
    /// Nodes that receive a channel.
    pub(super) subscribers: BTreeMap<Arc<str>, BTreeSet<usize>>,
    /// Ids by which nodes receive messages.
    pub(super) hearing: BTreeMap<usize, String>,
    epochs: u64,
    /// Another one after each failover.
    life: u64,
    /// The embedded broker of the only node, instead of all this.
    pub(super) embedded: Weak<MemoryBroker>,
    /// The positions of its streams.
    embedded_tops: BTreeMap<Arc<str>, Position>,
    /// The log of what it accepted.
    pub(super) log: DeliveryLog,
    /// Subscriptions of nodes that it has just confirmed.
    pub(super) confirmed: Vec<(usize, Arc<str>)>,
    /// Pushes on their way to the nodes.
    pub(super) pushed: Vec<(usize, Arc<str>, Push)>,
}

impl SimServer {
    pub(super) fn publish(
        &mut self,
        channel: &Arc<str>,
        mut publication: Publication,
        options: &PublishOptions,
    ) -> Published {
        let mut position = Position::default();
        if options.retention.keeps_history() && !options.skip_history {
            let stream = self.stream(channel);
            stream.top += 1;
            position = Position { offset: stream.top, epoch: stream.epoch.clone() };
            (publication.offset, publication.epoch) = (position.offset, position.epoch.clone());
            let kept = Arc::new(publication.clone());
            stream.publications.push((kept, Instant::now() + options.retention.ttl));
            let surplus = stream.publications.len().saturating_sub(options.retention.size as usize);
            stream.publications.drain(..surplus);
        }
        self.log.accepted(channel, &publication);
        self.push(channel, &ChannelEvent::Publication(Arc::new(publication)));
        Published { position, repeated: false }
    }

    pub(super) fn push(&mut self, channel: &Arc<str>, event: &ChannelEvent) {
        for node in self.subscribers.get(channel).into_iter().flatten() {
            self.pushed.push((*node, channel.clone(), Push::Event(event.clone())));
        }
    }

    fn stream(&mut self, channel: &Arc<str>) -> &mut SimStream {
        if !self.streams.contains_key(channel) {
            self.epochs += 1;
            let epoch = format!("e{}", self.epochs).into();
            self.streams
                .insert(channel.clone(), SimStream { epoch, life: self.life, ..SimStream::default() });
        }
        let stream = self.streams.entry(channel.clone()).or_default();
        if stream.life != self.life {
            self.epochs += 1;
            let before = std::mem::replace(&mut stream.epoch, format!("e{}", self.epochs).into());
            self.log.forked(&before, &stream.epoch);
            stream.ancestors.push(Position { offset: stream.top, epoch: before });
            stream.life = self.life;
        }
        stream
    }

    pub(super) fn history(
        &mut self,
        channel: &Arc<str>,
        query: &HistoryQuery,
        retention: Retention,
    ) -> Result<HistoryPage, BrokerError> {
        if !retention.keeps_history() {
            return Err(BrokerError::NoHistory);
        }
        let now = Instant::now();
        let stream = self.stream(channel);
        stream.publications.retain(|(_, until)| *until > now);
        let top = Position { offset: stream.top, epoch: stream.epoch.clone() };
        // A history keeps no epochs: what is read is of the stream's epoch of now.
        let epoch = stream.epoch.clone();
        let of_now = |(publication, _): &(Arc<Publication>, Instant)| {
            Arc::new(Publication { epoch: epoch.clone(), ..Publication::clone(publication) })
        };
        let all = stream.publications.iter().map(of_now);
        let mut publications: Vec<_> = match (query.reverse, query.since) {
            (false, since) => all.filter(|read| since.is_none_or(|since| read.offset > since)).collect(),
            (true, since) => all.rev().filter(|read| since.is_none_or(|since| read.offset < since)).collect(),
        };
        publications.truncate(query.limit as usize);
        Ok(HistoryPage { publications, top, truncated: false, ancestors: stream.ancestors.clone() })
    }

    pub(super) fn renew(&mut self, channel: &Arc<str>, epoch: &str) {
        if self.streams.get(channel).is_some_and(|stream| &*stream.epoch == epoch) {
            self.epochs += 1;
            let next: Arc<str> = format!("e{}", self.epochs).into();
            if let Some(stream) = self.streams.get_mut(channel) {
                stream.epoch = next;
                stream.ancestors.clear();
            }
        }
    }

    /// A failover to a replica that had not received the newest `count` publications of any channel. A replica has a beginning
    /// of what was done: without a publication it has no epoch that began after it either.
    pub(super) fn forget_newest(&mut self, count: u64) {
        self.life += 1;
        self.hooks.forget();
        for (channel, stream) in &mut self.streams {
            stream.top = stream.top.saturating_sub(count);
            let top = stream.top;
            stream.publications.retain(|(publication, _)| publication.offset <= top);
            while let Some(before) = stream.ancestors.pop_if(|before| before.offset > top) {
                stream.epoch = before.epoch;
            }
            self.log.went_back(channel, stream.top);
        }
    }

    /// The history of a channel expires; its position stays.
    pub(super) fn expire(&mut self, channel: &str) {
        if let Some(stream) = self.streams.get_mut(channel) {
            stream.publications.clear();
        }
    }

    /// The whole stream expires: the next use begins a new epoch.
    pub(super) fn forget_stream(&mut self, channel: &str) {
        if self.streams.remove(channel).is_some() {
            self.log.begins_anew(channel);
        }
    }

    /// Top of a stream, if there is one.
    pub(super) fn top(&self, channel: &str) -> Option<(Arc<str>, u64)> {
        let embedded = || self.embedded_tops.get(channel).map(|top| (top.epoch.clone(), top.offset));
        self.streams.get(channel).map(|stream| (stream.epoch.clone(), stream.top)).or_else(embedded)
    }

    /// The position of a stream of the embedded broker. Another epoch is another stream.
    pub(super) fn embedded_stands(&mut self, channel: &str, position: &Position) {
        let before = self.embedded_tops.insert(channel.into(), position.clone());
        if before.is_some_and(|before| before.epoch != position.epoch) {
            self.log.begins_anew(channel);
        }
    }

    /// The process of the embedded broker has ended, and all with it.
    pub(super) fn forget_embedded(&mut self) {
        self.hooks.forget();
        for channel in std::mem::take(&mut self.embedded_tops).into_keys() {
            self.log.begins_anew(&channel);
        }
    }

    pub(super) fn join(&mut self, channel: &Arc<str>, info: Arc<ClientInfo>) {
        self.log.shown(channel, &info);
        self.log.joined(channel, &info.client);
        self.push(channel, &ChannelEvent::Join(info));
    }

    pub(super) fn leave(&mut self, channel: &Arc<str>, info: Arc<ClientInfo>) {
        self.log.left(channel, &info.client);
        self.push(channel, &ChannelEvent::Leave(info));
    }

    pub(super) fn presence_add(
        &mut self,
        channel: &Arc<str>,
        info: Arc<ClientInfo>,
        ttl: Duration,
        announce: bool,
    ) {
        self.log.shown(channel, &info);
        self.present(channel);
        let present = Present { info: info.clone(), until: Instant::now() + ttl, announce };
        let before = self.presence.entry(channel.clone()).or_default().insert(info.client.clone(), present);
        if before.is_none() && announce {
            self.join(channel, info);
        }
    }

    pub(super) fn presence_remove(&mut self, channel: &Arc<str>, client: &str) {
        let removed = self.presence.get_mut(channel).and_then(|clients| clients.remove(client));
        if let Some(Present { info, announce: true, .. }) = removed {
            self.leave(channel, info);
        }
    }

    /// Clients present in a channel, by id.
    pub(super) fn present(&mut self, channel: &Arc<str>) -> Vec<Arc<ClientInfo>> {
        if self.embedded.strong_count() > 0 {
            return embedded::present(&self.embedded, channel);
        }
        let now = Instant::now();
        let clients = self.presence.entry(channel.clone()).or_default();
        let expired: Vec<String> =
            clients.iter().filter(|(_, present)| present.until <= now).map(|(id, _)| id.clone()).collect();
        for client in expired {
            self.presence_remove(channel, &client);
        }
        let clients = self.presence.entry(channel.clone()).or_default();
        clients.values().map(|present| present.info.clone()).collect()
    }

    pub(super) fn presence_page(&mut self, channel: &Arc<str>, query: &PresenceQuery) -> PresencePage {
        let after = |info: &Arc<ClientInfo>| info.client > query.cursor;
        let mut clients: Vec<_> = self.present(channel).into_iter().filter(after).collect();
        let is_last = clients.len() <= query.limit as usize;
        clients.truncate(query.limit as usize);
        let cursor = clients.last().filter(|_| !is_last).map(|info| info.client.clone());
        PresencePage { clients, cursor }
    }

    pub(super) fn presence_reap(
        &mut self,
        channel: &Arc<str>,
        node: &str,
        limit: u32,
    ) -> Vec<Arc<ClientInfo>> {
        let of_node = |info: &Arc<ClientInfo>| info.client.starts_with(node);
        let mut reaped: Vec<_> = self.present(channel).into_iter().filter(of_node).collect();
        reaped.truncate(limit as usize);
        for info in &reaped {
            self.presence_remove(channel, &info.client);
        }
        reaped
    }

    pub(super) fn send(&mut self, to: Option<&str>, message: &Bytes) {
        for (node, id) in &self.hearing {
            if to.is_none_or(|to| to == id) {
                self.pushed.push((*node, MESSAGES.into(), Push::Message(message.clone())));
            }
        }
    }

    pub(super) fn members(&mut self) -> Vec<Member> {
        let now = Instant::now();
        self.leases.retain(|_, (_, until)| *until > now);
        let member = |(node, (description, _)): (&String, &(Bytes, Instant))| Member {
            node: node.clone(),
            description: description.clone(),
        };
        self.leases.iter().map(member).collect()
    }

    pub(super) fn announce(&mut self, node: &str, description: Bytes, lease: Duration) -> Announced {
        let renewed = self.members().iter().any(|member| member.node == node);
        self.leases.insert(node.to_owned(), (description, Instant::now() + lease));
        Announced { renewed, members: self.members().into() }
    }

    pub(super) fn retire(&mut self, node: &str) {
        self.leases.remove(node);
    }

    pub(super) fn holders(&mut self, user: &str) -> Vec<String> {
        let now = Instant::now();
        let Some(clients) = self.connections.get_mut(user) else { return Vec::new() };
        clients.retain(|_, until| *until > now);
        clients.keys().cloned().collect()
    }

    pub(super) fn connection_enter(
        &mut self,
        user: &str,
        client: &str,
        ttl: Duration,
        limit: u32,
    ) -> ConnectionEntry {
        let holders = self.holders(user);
        if !holders.iter().any(|holder| holder == client) && holders.len() >= limit as usize {
            return ConnectionEntry::Full { holders };
        }
        self.connections.entry(user.to_owned()).or_default().insert(client.to_owned(), Instant::now() + ttl);
        ConnectionEntry::Entered
    }

    pub(super) fn connection_refresh(
        &mut self,
        user: &str,
        clients: &[String],
        ttl: Duration,
    ) -> Vec<String> {
        let holders = self.holders(user);
        let (entered, gone): (Vec<_>, Vec<_>) =
            clients.iter().cloned().partition(|client| holders.contains(client));
        for client in entered {
            self.connections.entry(user.to_owned()).or_default().insert(client, Instant::now() + ttl);
        }
        gone
    }

    pub(super) fn connection_leave(&mut self, user: &str, client: &str) {
        if let Some(clients) = self.connections.get_mut(user) {
            clients.remove(client);
        }
    }

    pub(super) fn claim(
        &mut self,
        name: &str,
        owner: &str,
        ttl: Duration,
        replacing: Option<&str>,
    ) -> String {
        let current = self.owner(name);
        let is_free = current.as_deref().is_none_or(|current| current == owner || Some(current) == replacing);
        if !is_free {
            return current.unwrap_or_default();
        }
        self.owners.insert(name.to_owned(), (owner.to_owned(), Instant::now() + ttl));
        owner.to_owned()
    }

    pub(super) fn owner(&mut self, name: &str) -> Option<String> {
        let now = Instant::now();
        self.owners.retain(|_, (_, until)| *until > now);
        self.owners.get(name).map(|(owner, _)| owner.clone())
    }

    pub(super) fn release(&mut self, name: &str, owner: &str) {
        if self.owner(name).as_deref() == Some(owner) {
            self.owners.remove(name);
        }
    }
}
