//! ActionRunner: the actions of a session that the worker or the node carries out, and that come back with an outcome.
//! The same for every transport.

use std::{future::Future, pin::Pin, rc::Rc, sync::Arc, time::Duration};

use futures_util::FutureExt;
use gorani_broker::{Publication, PublishOptions};

use crate::{
    disconnect::{Disconnect, ErrorCode, Refused, Unsubscribed},
    event_log::event::{ChannelShare, SubscriptionChange},
    hooks::event::TrackedClient,
    hub::{history_reads::ReadSource, registry::SessionKey, worker::Worker},
    node::{Node, cluster::presence::Presence, publish::PublishSource},
    outbox::Outbox,
    proxy_call::ProxyRequest,
    session::{Action, Outcome, Ticket},
};

/// The outcome of an action, to come; mostly it is there at the first look.
pub type PendingAction = Pin<Box<dyn Future<Output = Outcome>>>;

/// Runs a session's actions.
#[derive(Clone)]
pub struct ActionRunner {
    /// The node.
    pub node: Arc<Node>,
    /// The worker of the session.
    pub worker: Rc<Worker>,
    /// The session.
    pub key: SessionKey,
}

/// The rest of an action after it was looked at.
pub enum Effect {
    /// It is done.
    Done,
    /// Its outcome will come.
    Pending(Ticket, PendingAction),
    /// The transport is to ping the peer.
    Ping,
    /// The transport is to answer that the session does not begin.
    Refuse(Refused),
    /// The transport is to end the connection.
    Close(Disconnect),
}

impl ActionRunner {
    /// Carries out an action, or begins to.
    pub fn run(&self, action: Action) -> Effect {
        match action {
            Action::Identify { user, client } => {
                // A client whose first connect failed comes again, under a new id.
                self.worker.user_limit.release(self.key);
                self.worker.hub_mut().registry_mut().identify(self.key, user, client);
                Effect::Done
            }
            Action::KeepMeta(meta) => {
                self.worker.hub_mut().registry_mut().keep_meta(self.key, meta);
                if let Some(hooks) = &self.node.hooks
                    && let Some(of) = self.tracked()
                {
                    hooks.tracker.keep_meta(of);
                }
                Effect::Done
            }
            Action::Describe(description) => {
                self.worker.hub_mut().registry_mut().describe(self.key, *description);
                Effect::Done
            }
            Action::Enter(ticket, limit) => {
                let (user, client) = match self.worker.hub().registry().get(self.key) {
                    Some(session) => (session.user.clone(), session.client.clone()),
                    None => Default::default(),
                };
                self.worker.user_limit.hold(self.key, limit);
                let entered = self.node.user_connections.enter(user, client, limit);
                Effect::Pending(ticket, entered.map(Outcome::Entered).boxed_local())
            }
            Action::Release(channel) => {
                self.note_subscribed(&channel);
                self.worker.hub_mut().release(self.key, &channel);
                Effect::Done
            }
            Action::SetFormat(channel, format) => {
                self.worker.hub_mut().set_format(self.key, &channel, &format);
                Effect::Done
            }
            Action::SetGrant(channel, by) => {
                self.worker.hub_mut().registry_mut().set_grant(self.key, &channel, by);
                Effect::Done
            }
            Action::Replay(channel, publications, permit) => {
                self.note_subscribed(&channel);
                self.worker.replay(self.key, channel, publications, permit);
                Effect::Done
            }
            Action::Unsubscribe(channel) => {
                self.note_unsubscribed(&channel, Unsubscribed::CLIENT);
                self.worker.subscriptions.unsubscribe(self.key, &channel, Unsubscribed::CLIENT);
                Effect::Done
            }
            Action::EndSubscription(channel, why) => {
                self.note_unsubscribed(&channel, why);
                self.worker.subscriptions.unsubscribe(self.key, &channel, why);
                Effect::Done
            }
            Action::Interrupt(channel) => {
                self.note_unsubscribed(&channel, Unsubscribed::INSUFFICIENT_STATE);
                self.worker.subscriptions.interrupt(self.key, &channel);
                Effect::Done
            }
            Action::NoteRefused(channel, code) => {
                let refused = SubscriptionChange::Refused(code);
                self.worker.hub_mut().note_subscription(self.key, &channel, refused);
                Effect::Done
            }
            Action::Subscribe(ticket, request) => {
                let subscribed = self.worker.subscriptions.clone().subscribe(self.key, request);
                Effect::Pending(ticket, subscribed.map(Outcome::Subscribed).boxed_local())
            }
            Action::Publish(ticket, channel, publication, options) => {
                if let Some(published) = self.publish_with_hook(&channel, &publication, &options) {
                    return Effect::Pending(ticket, published);
                }
                let published =
                    self.node.publisher.publish_with(PublishSource::Client, channel, publication, options);
                Effect::Pending(ticket, published.map(Outcome::Published).boxed_local())
            }
            Action::PushToQueue(ticket, queue, publication) => {
                let pushed = self.node.publisher.push_to_queue(&queue, publication);
                Effect::Pending(ticket, pushed.map(Outcome::Published).boxed_local())
            }
            Action::Fetch(ticket, queue, count) => {
                let request = self.node.publisher.fetch_request(queue, count);
                let taken = self.worker.consumers.clone().fetch(self.key, ticket, request);
                Effect::Pending(ticket, taken.map(Outcome::Fetched).boxed_local())
            }
            Action::StopFetching(ticket) => {
                self.worker.consumers.stop_fetching(self.key, ticket);
                Effect::Done
            }
            Action::Acknowledge(ticket, queue, ids, is_handled) => {
                let settled = self.worker.consumers.clone().acknowledge(queue, ids, is_handled);
                Effect::Pending(ticket, settled.map(Outcome::Acknowledged).boxed_local())
            }
            Action::Proxy(ticket, call) => {
                if matches!(call.request, ProxyRequest::Connect { .. }) {
                    self.worker.hub_mut().registry_mut().pending_connects.begin(self.key);
                }
                let answered = self.worker.proxies.clone().call(*call);
                Effect::Pending(
                    ticket,
                    answered.map(|outcome| Outcome::Proxied(Box::new(outcome))).boxed_local(),
                )
            }
            Action::History(ticket, channel, query, retention) => {
                let read = self.worker.reads.clone().history(self.key, channel, query, retention);
                Effect::Pending(ticket, read.map(Outcome::History).boxed_local())
            }
            Action::Presence(ticket, channel) => {
                let (worker, node, key) = (self.worker.clone(), self.node.clone(), self.key);
                let read = async move {
                    let _turn = worker.reads.turn(key).await;
                    let most_bytes = node.policy.get().settings.reply_max_bytes as u64;
                    let clients = node.presence.clients(ReadSource::Client, &channel, most_bytes).await;
                    Outcome::Presence(clients.and_then(|clients| {
                        let permit = worker.reads.reserve_reply(Presence::bytes(&clients))?;
                        Ok((clients, permit))
                    }))
                };
                Effect::Pending(ticket, read.boxed_local())
            }
            Action::PresenceStats(ticket, channel) => {
                let (worker, node, key) = (self.worker.clone(), self.node.clone(), self.key);
                let read = async move {
                    let _turn = worker.reads.turn(key).await;
                    let counts = node.presence.stats(ReadSource::Client, &channel).await;
                    Outcome::PresenceStats(counts.map_err(ErrorCode::from))
                };
                Effect::Pending(ticket, read.boxed_local())
            }
            Action::Ping => Effect::Ping,
            Action::Refuse(refused) => Effect::Refuse(refused),
            Action::Close(disconnect) => Effect::Close(disconnect),
        }
    }
}

/// Chunks of a full outbox that are looked at, to tell which channels they are of.
const SAMPLE_CHUNKS: usize = 64;
/// Bytes at the beginning of such a chunk, where the channel's name is.
const SAMPLE_BYTES: usize = 512;
/// Channels that are told of a client that was too slow.
const SAMPLE_CHANNELS: usize = 32;

impl ActionRunner {
    /// The channels of what waits in the session's full outbox, the largest part first. An estimate: the newest chunks are looked
    /// through for the names of the session's channels, which uncompressed frames hold as they are.
    pub(super) fn channels_of_waiting(&self, outbox: &Outbox) -> Vec<ChannelShare> {
        let hub = self.worker.hub();
        let mut names =
            hub.registry().get(self.key).map(|session| session.channel_names()).unwrap_or_default();
        names.truncate(SAMPLE_CHANNELS);
        let mut bytes = vec![0_usize; names.len()];
        outbox.each_newest(SAMPLE_CHUNKS, |chunk| {
            let head = chunk.get(..SAMPLE_BYTES).unwrap_or(chunk);
            let holds = |name: &Arc<str>| head.windows(name.len().max(1)).any(|part| part == name.as_bytes());
            // Of two names of which one holds the other, the longer one is meant.
            let found = names.iter().zip(&mut bytes).filter(|(name, _)| holds(name));
            if let Some((_, bytes)) = found.max_by_key(|(name, _)| name.len()) {
                *bytes += chunk.len();
            }
        });
        let all: usize = bytes.iter().sum();
        let mut shares: Vec<(usize, ChannelShare)> = names
            .iter()
            .zip(bytes)
            .map(|(name, bytes)| {
                let part = (all > 0).then(|| bytes as f64 / all as f64);
                (bytes, ChannelShare { channel: name.to_string(), part })
            })
            .collect();
        shares.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        shares.into_iter().map(|(_, share)| share).collect()
    }
}

/// Tells the backend by hooks. Nothing of it costs more than a branch where no endpoint is configured.
impl ActionRunner {
    /// The session as hooks name it.
    fn tracked(&self) -> Option<TrackedClient> {
        let hub = self.worker.hub();
        let entry = hub.registry().get(self.key)?;
        Some(TrackedClient {
            client: entry.client.clone(),
            user: entry.user.clone(),
            transport: entry.transport,
            protocol: entry.protocol,
            meta: entry.meta.clone(),
        })
    }

    /// The session's client has connected, so long after the connection was opened.
    pub(super) fn note_connected(&self, opened_for: Duration) {
        self.node.metrics.handshake_seconds.observe(opened_for);
        if let Some(hooks) = &self.node.hooks
            && let Some(of) = self.tracked()
        {
            hooks.tracker.connected(of);
        }
    }

    /// The session has ended.
    pub(super) fn note_disconnected(&self, reason: &Disconnect) {
        if let Some(hooks) = &self.node.hooks
            && let Some(of) = self.tracked()
        {
            hooks.tracker.disconnected(&of.user, &of.client, reason.code.into(), &reason.reason);
        }
    }

    /// The reply of a subscribe is written.
    fn note_subscribed(&self, channel: &Arc<str>) {
        let Some(hooks) = &self.node.hooks else { return };
        let Some(of) = self.tracked() else { return };
        let subscription =
            self.worker.hub().registry().get(self.key).and_then(|entry| entry.subscription(channel));
        if let Some((is_server_side, is_present)) = subscription {
            hooks.tracker.subscribed(of, channel, is_server_side, is_present);
        }
    }

    fn note_unsubscribed(&self, channel: &Arc<str>, why: Unsubscribed) {
        if let Some(hooks) = &self.node.hooks
            && let Some(of) = self.tracked()
        {
            hooks.tracker.unsubscribed(&of.user, &of.client, channel, why.code, why.reason);
        }
    }

    /// Publishes, and tells it before the client has its reply; `None` where nobody is to be told.
    fn publish_with_hook(
        &self,
        channel: &Arc<str>,
        publication: &Publication,
        options: &PublishOptions,
    ) -> Option<PendingAction> {
        let hooks = self.node.hooks.as_ref().filter(|hooks| hooks.tracker.wants_publication(channel))?;
        let of = self.tracked()?;
        let (data, kind) = (publication.data.clone(), publication.kind);
        let tracker = hooks.tracker.clone();
        let published = self.node.publisher.publish_with(
            PublishSource::Client,
            channel.clone(),
            publication.clone(),
            options.clone(),
        );
        let channel = channel.clone();
        Some(Box::pin(async move {
            let published = match published.await {
                Ok(published) => published,
                Err(error) => return Outcome::Published(Err(error)),
            };
            let is_taken = tracker.publication(&of, &channel, (&data, kind), &published).await;
            // The subscribers have it; the backend may not.
            Outcome::Published(if is_taken { Ok(published) } else { Err(ErrorCode::UNKNOWN_OUTCOME) })
        }))
    }
}
