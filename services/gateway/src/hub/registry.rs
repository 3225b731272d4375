//! The sessions of one worker, by key, by client id and by user, and the channels of each.

mod absent;
mod key;

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use actix::{Recipient, dev::SendError};
use bytes::Bytes;
use gorani_auth::GrantedBy;
use gorani_broker::ClientInfo;

pub use self::key::{Generation, SessionKey, SessionMap};

use self::absent::AbsentClients;
use crate::{
    format::encoding::Encoding,
    metrics::clients::SessionCounts,
    outbox::Outbox,
    session::{ClientDescription, EndedEpoch, Signal, SubscribeParams},
    session_command::{
        SessionTarget,
        pending_connects::{AskedConnect, PendingConnects},
    },
};

/// The description of a session with which a transport registers it.
pub struct SessionRegistration {
    /// Mailbox of the connection's actor.
    pub mailbox: Recipient<Signal>,
    /// Its bytes wait here.
    pub outbox: Outbox,
    /// The encoding of its messages.
    pub encoding: Encoding,
    /// `websocket`, `sse`, …
    pub transport: &'static str,
    /// `json`, `stomp`, …
    pub protocol: &'static str,
    /// Milliseconds since the Unix epoch.
    pub connected_at_ms: u64,
}

/// A session as its worker knows it.
pub struct SessionEntry {
    mailbox: Recipient<Signal>,
    pub(super) outbox: Outbox,
    pub(super) encoding: Encoding,
    /// Client id; empty until the session has identified itself.
    pub client: Arc<str>,
    /// User id; empty for an anonymous user.
    pub user: Arc<str>,
    /// `websocket`, `sse`, …
    pub transport: &'static str,
    /// `json`, `stomp`, …
    pub protocol: &'static str,
    /// Milliseconds since the Unix epoch.
    pub connected_at_ms: u64,
    /// The meta that the backend keeps with the connection, where hooks send it.
    pub meta: Option<Arc<Bytes>>,
    /// The description of the client for operators; absent where no admin page is served.
    pub description: Option<Box<ClientDescription>>,
    /// The limit under which it holds a slot among its user's connections.
    pub(super) user_slot: Option<u32>,
    pub(super) channels: Vec<ChannelMembership>,
}

/// A channel of a session, with what is to be done when it leaves.
pub(super) struct ChannelMembership {
    pub(super) channel: Arc<str>,
    pub(super) info: Arc<ClientInfo>,
    pub(super) presence: bool,
    pub(super) announce: bool,
    is_server_side: bool,
    /// The step of the check that allowed it.
    pub(super) by: GrantedBy,
    /// Tells it from earlier and later ones of the same session in the same channel.
    pub(super) generation: Generation,
    /// The broker was asked to enter it into presence, or to publish its join: it is taken back when it leaves.
    pub(super) is_entered: bool,
}

impl SessionEntry {
    /// The channels it is in.
    pub fn channel_names(&self) -> Vec<Arc<str>> {
        self.channels.iter().map(|membership| membership.channel.clone()).collect()
    }

    /// Sends a signal to the session's actor. One that does not empty its mailbox is ended as slow, and its client comes back.
    pub fn signal(&self, signal: Signal) {
        if let Err(SendError::Full(_)) = self.mailbox.try_send(signal)
            && self.outbox.close_as_slow()
        {
            tracing::warn!(client = &*self.client, "mailbox full; ending the session as slow");
        }
    }

    /// Its subscription to a channel: true if the server made it, and true if it stands in presence. `None`: it has none.
    pub fn subscription(&self, channel: &str) -> Option<(bool, bool)> {
        self.membership(channel).map(|membership| (membership.is_server_side, membership.presence))
    }

    fn membership_mut(&mut self, name: &str) -> Option<&mut ChannelMembership> {
        self.channels.iter_mut().find(|membership| *membership.channel == *name)
    }

    pub(super) fn membership(&self, name: &str) -> Option<&ChannelMembership> {
        self.channels.iter().find(|membership| *membership.channel == *name)
    }

    pub(super) fn is_in(&self, name: &str) -> bool {
        self.membership(name).is_some()
    }

    pub(super) fn remove_channel(&mut self, name: &str) -> Option<ChannelMembership> {
        let index = self.channels.iter().position(|membership| &*membership.channel == name)?;
        Some(self.channels.swap_remove(index))
    }

    /// Channels in whose presence it stands.
    pub(super) fn present_in(&self) -> impl Iterator<Item = &ChannelMembership> {
        self.channels.iter().filter(|membership| membership.presence && membership.is_entered)
    }
}

/// All sessions of a worker.
#[derive(Default)]
pub struct SessionRegistry {
    next_key: SessionKey,
    pub(super) sessions: SessionMap<SessionEntry>,
    /// By client id, in the order in which [`super::scan`] lists them.
    pub(super) clients: BTreeMap<Arc<str>, SessionKey>,
    /// By user and client id: those of one user stand together, in the same order. One tree for all users, since most of them
    /// have one session. Anonymous sessions are not in it: nobody addresses them together.
    users: BTreeMap<(Arc<str>, Arc<str>), SessionKey>,
    counts: Arc<SessionCounts>,
    next_generation: u64,
    /// Clients that were asked to come back to channels.
    pub(super) absent: AbsentClients<SessionKey>,
    /// Connects about which the backend is asked.
    pub pending_connects: PendingConnects<SessionKey>,
}

impl SessionRegistry {
    /// An empty registry that keeps these counts.
    pub(super) fn counting(counts: Arc<SessionCounts>) -> Self {
        Self { counts, ..Self::default() }
    }

    /// Enters a session.
    pub fn register(&mut self, registration: SessionRegistration) -> SessionKey {
        let SessionRegistration { mailbox, outbox, encoding, transport, protocol, connected_at_ms } =
            registration;
        let key = self.next_key;
        self.next_key = key.next();
        let nobody: Arc<str> = Arc::default();
        self.sessions.insert(
            key,
            SessionEntry {
                mailbox,
                outbox,
                encoding,
                client: nobody.clone(),
                user: nobody,
                transport,
                protocol,
                connected_at_ms,
                meta: None,
                description: None,
                user_slot: None,
                channels: Vec::new(),
            },
        );
        key
    }

    /// Gives a session its user and its client id, and hands it what was done to that user while the backend was asked.
    pub fn identify(&mut self, key: SessionKey, user: Arc<str>, client: Arc<str>) {
        // A client whose first connect failed comes again, under a new id.
        self.forget_identity(key);
        let Some(session) = self.sessions.get_mut(&key) else { return };
        session.user = user.clone();
        session.client = client.clone();
        session.meta = None;
        let missed = self.pending_connects.finish(key, &user, &client);
        Signal::of_missed(missed).for_each(|signal| session.signal(signal));
        self.counts.enter(&user);
        if !user.is_empty() {
            self.users.insert((user, client.clone()), key);
        }
        self.clients.insert(client, key);
    }

    /// Gives a session what the backend keeps with it.
    pub fn keep_meta(&mut self, key: SessionKey, meta: Arc<Bytes>) {
        if let Some(session) = self.sessions.get_mut(&key) {
            session.meta = Some(meta);
        }
    }

    /// Adds to what operators see of a client. Its addresses stay.
    pub fn describe(&mut self, key: SessionKey, description: ClientDescription) {
        if let Some(session) = self.sessions.get_mut(&key) {
            let before = session.description.take().unwrap_or_default();
            let address = description.address.or(before.address);
            let forwarded_by = description.forwarded_by.or(before.forwarded_by);
            session.description = Some(Box::new(ClientDescription { address, forwarded_by, ..description }));
        }
    }

    /// One session.
    pub fn get(&self, key: SessionKey) -> Option<&SessionEntry> {
        self.sessions.get(&key)
    }

    pub(super) fn get_mut(&mut self, key: SessionKey) -> Option<&mut SessionEntry> {
        self.sessions.get_mut(&key)
    }

    /// Enters a session into a channel. `None` if it is gone, or in the channel already.
    pub(super) fn join(&mut self, key: SessionKey, request: &SubscribeParams) -> Option<Generation> {
        let session = self.sessions.get_mut(&key).filter(|session| !session.is_in(&request.channel))?;
        let generation = Generation(self.next_generation);
        self.next_generation += 1;
        if session.channels.is_empty() {
            // Most sessions are in one channel.
            session.channels.reserve_exact(1);
        }
        session.channels.push(ChannelMembership {
            channel: request.channel.clone(),
            info: request.info.clone(),
            presence: request.presence,
            announce: request.announce,
            is_server_side: request.server_side,
            by: request.by,
            generation,
            is_entered: self.absent.take(key, &request.channel),
        });
        Some(generation)
    }

    /// The broker is about to be asked to enter a subscription. False if it is over.
    pub(super) fn enter(&mut self, key: SessionKey, name: &str, generation: Generation) -> bool {
        let session = self.sessions.get_mut(&key);
        match session.and_then(|session| session.membership_mut(name)) {
            Some(membership) if membership.generation == generation => {
                membership.is_entered = true;
                true
            }
            _ => false,
        }
    }

    /// Another step of the check allows a subscription from now on.
    pub fn set_grant(&mut self, key: SessionKey, name: &str, by: GrantedBy) {
        if let Some(membership) = self.sessions.get_mut(&key).and_then(|session| session.membership_mut(name))
        {
            membership.by = by;
        }
    }

    /// The broker certainly did not enter a subscription.
    pub(super) fn not_entered(&mut self, key: SessionKey, name: &str, generation: Generation) {
        let session = self.sessions.get_mut(&key);
        if let Some(membership) = session.and_then(|session| session.membership_mut(name))
            && membership.generation == generation
        {
            membership.is_entered = false;
        }
    }

    /// Forgets a session.
    pub(super) fn remove(&mut self, key: SessionKey) {
        self.forget_identity(key);
        self.pending_connects.forget(&AskedConnect::Session(key));
        self.sessions.swap_remove(&key);
    }

    fn forget_identity(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.get(&key).filter(|session| !session.client.is_empty()) else {
            return;
        };
        if self.clients.remove(&session.client).is_some() {
            self.counts.leave(&session.user);
        }
        if !session.user.is_empty() {
            self.users.remove(&(session.user.clone(), session.client.clone()));
        }
    }

    /// Sessions that have identified themselves, of one user and, if named, one client.
    pub fn of(&self, user: Option<&str>, client: Option<&str>) -> Vec<&SessionEntry> {
        if let Some(client) = client {
            let session = self.clients.get(client).and_then(|key| self.sessions.get(key));
            return session
                .into_iter()
                .filter(|session| user.is_none_or(|user| &*session.user == user))
                .collect();
        }
        match user {
            Some(user) => {
                let own = self.of_user(&user.into(), Bound::Unbounded);
                own.filter_map(|(_, key)| self.sessions.get(&key)).collect()
            }
            None => self.identified().collect(),
        }
    }

    /// Keys of the sessions of one user and, if named, one client.
    pub(super) fn keys_of(&self, SessionTarget { user, client, .. }: &SessionTarget) -> Vec<SessionKey> {
        if let Some(client) = client {
            let key = self.clients.get(client.as_str()).copied();
            let is_of_user = |key: &SessionKey| self.get(*key).is_some_and(|session| *session.user == **user);
            return key.filter(is_of_user).into_iter().collect();
        }
        self.of_user(&user.as_str().into(), Bound::Unbounded).map(|(_, key)| key).collect()
    }

    /// Client ids and keys of a user's sessions, by client id.
    fn of_user<'a>(
        &'a self,
        user: &Arc<str>,
        from: Bound<&str>,
    ) -> impl Iterator<Item = (&'a Arc<str>, SessionKey)> + use<'a> {
        let from = match from {
            Bound::Unbounded => Bound::Included((user.clone(), Arc::default())),
            bound => bound.map(|client| (user.clone(), Arc::from(client))),
        };
        let user = user.clone();
        let entries = self.users.range((from, Bound::Unbounded)).take_while(move |((of, _), _)| *of == user);
        entries.map(|((_, client), key)| (client, *key))
    }

    /// Client ids of all sessions that have identified themselves, in order.
    pub(super) fn client_ids<'a>(
        &'a self,
        from: Bound<&str>,
    ) -> impl Iterator<Item = &'a Arc<str>> + use<'a> {
        self.clients.range::<str, _>((from, Bound::Unbounded)).map(|(client, _)| client)
    }

    /// Client ids of a user's sessions, in order.
    pub(super) fn client_ids_of<'a>(
        &'a self,
        user: &Arc<str>,
        from: Bound<&str>,
    ) -> impl Iterator<Item = &'a Arc<str>> + use<'a> {
        self.of_user(user, from).map(|(client, _)| client)
    }

    /// Sessions that have identified themselves.
    pub fn identified(&self) -> impl Iterator<Item = &SessionEntry> {
        self.sessions.values().filter(|session| !session.client.is_empty())
    }

    /// All sessions with their keys.
    pub(super) fn entries(&self) -> impl Iterator<Item = (SessionKey, &SessionEntry)> {
        self.sessions.iter().map(|(key, session)| (*key, session))
    }

    /// All sessions.
    pub fn all(&self) -> impl Iterator<Item = &SessionEntry> {
        self.sessions.values()
    }

    /// The keys of all sessions.
    pub(super) fn keys(&self) -> impl Iterator<Item = SessionKey> {
        self.sessions.keys().copied()
    }

    /// Tells sessions that the epoch of a channel ended, and that they go on in the next one.
    pub(super) fn signal_epoch_ended(&self, ended: &EndedEpoch, keys: &[SessionKey]) {
        for session in keys.iter().filter_map(|key| self.sessions.get(key)) {
            session.signal(Signal::EpochEnded(Box::new(ended.clone())));
        }
    }

    /// Notifies sessions that lost their position in a channel.
    pub(super) fn signal_insufficient_state(&self, channel: &str, keys: &[SessionKey]) {
        for session in keys.iter().filter_map(|key| self.sessions.get(key)) {
            session.signal(Signal::Insufficient(Arc::from(channel)));
        }
    }
}
