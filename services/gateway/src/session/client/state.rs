//! The state of a client session, in parts that do not know the session: how far it is, its requests to the node that are
//! pending, its deadlines (`docs/protocols/client.md` §4 and §10.12), its ended epochs, and its subscriptions (§5) with what a
//! reply says of them.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use gorani_auth::{ChannelOptions, GrantedBy};
use gorani_broker::{ClientInfo, Position};
use gorani_protocol::client::{PublicationFields, Recover, SubscribeResult};
use tokio::time::Instant;

use super::receive_query::ReceiveQuery;
use crate::{
    disconnect::{Disconnect, ErrorCode},
    format::{encoding::SubscriptionFormat, position::Unrecovered, views::publication_view},
    metrics::commands::CommandKind,
    proxy_call::{ProxyId, ProxyPayload},
    session::{
        Action, EndedEpoch, Now, SubscribeParams, Subscribed, Ticket,
        shared::{
            deadlines::{AskedPing, Pings, ttl},
            proxied::SessionCalls,
            recovery::{RequestedFeatures, retention},
        },
    },
};

/// The state of a session.
pub(super) enum ClientState {
    /// Only a connect is accepted.
    New,
    /// The backend is asked about the connect.
    Asked,
    /// The connect is under way.
    Connecting(Box<Connecting>),
    /// Open.
    Connected,
    /// The session is over.
    Ended,
}

/// A connect that waits for its server-side subscriptions.
pub(super) struct Connecting {
    pub(super) id: u32,
    pub(super) expires_at: Option<u64>,
    /// Data of the backend for the client; empty for none.
    pub(super) data: Bytes,
    /// A position that cannot be recovered ends it.
    pub(super) reject: bool,
    /// Outcomes by channel, as they come.
    pub(super) subscribed: BTreeMap<Arc<str>, Subscribed>,
    pub(super) failed: Option<ErrorCode>,
    pub(super) under_way: usize,
    /// Subscriptions that begin when the client has one of its user's connection slots.
    pub(super) held: Vec<Action>,
}

/// A command, or a step of one, that waits for the node.
#[derive(Debug)]
pub(super) enum PendingRequest {
    Enter,
    ConnectSubscribe {
        channel: Arc<str>,
    },
    ServerSubscribe {
        channel: Arc<str>,
    },
    Subscribe {
        id: u32,
        channel: Arc<str>,
        reject: bool,
    },
    Publish {
        id: u32,
    },
    History {
        id: u32,
        since: Option<Position>,
    },
    Presence {
        id: u32,
    },
    /// The backend is asked.
    Proxied(Box<ProxiedRequest>),
}

/// A client that is admitted: its server-side subscriptions, and what the backend gave it.
pub(super) struct AdmittedClient {
    pub(super) subscriptions: Vec<ClientSubscription>,
    /// End of the connection unless refreshed, in Unix seconds.
    pub(super) expires_at: Option<u64>,
    /// Data for the client; empty for none.
    pub(super) data: Bytes,
    /// The meta that the backend keeps with the connection; empty for none.
    pub(super) meta: Bytes,
}

/// Subscriptions that a backend granted, by channel.
pub(super) type GrantedChannels = HashMap<Arc<str>, ClientSubscription>;

/// A receiver that waits for the backend's word on its channels.
pub(super) struct AskedChannels {
    pub(super) receive_query: ReceiveQuery,
    pub(super) client: AdmittedClient,
    /// Channels to ask about next.
    pub(super) left: VecDeque<(ProxyId, Arc<str>)>,
    pub(super) under_way: usize,
    pub(super) granted: GrantedChannels,
}

/// The calls of a client to its backend.
#[derive(Default)]
pub(super) struct ClientCalls {
    pub(super) session: SessionCalls,
    /// Bytes of the payloads of calls under way.
    pub(super) bytes: u32,
    /// The end that waits for the calls under way, and the time until which it waits.
    pub(super) ending: Option<(Disconnect, Instant)>,
    /// The call that asks if the connection goes on.
    pub(super) refresh: Option<Ticket>,
    /// Those that ask if subscriptions go on.
    pub(super) sub_refreshes: Vec<(Arc<str>, Ticket)>,
    /// The receiver whose channels the backend is asked about.
    pub(super) channels: Option<Box<AskedChannels>>,
}

impl ClientCalls {
    /// The time at which the session ends although calls are under way.
    pub(super) fn ends_by(&self) -> Option<Instant> {
        self.ending.as_ref().map(|(_, by)| *by)
    }

    /// The answer to this call is what a subscription waits for; then it waits no more.
    pub(super) fn take_sub_refresh(&mut self, channel: &str, ticket: Ticket) -> bool {
        let index = self.sub_refreshes.iter().position(|(of, known)| **of == *channel && *known == ticket);
        index.map(|index| self.sub_refreshes.swap_remove(index)).is_some()
    }
}

/// A request to the backend.
#[derive(Debug)]
pub(super) struct ProxiedRequest {
    pub(super) command: ProxiedCommand,
    /// Bytes of its payload.
    pub(super) bytes: u32,
}

/// The subject of the call to the backend.
#[derive(Debug)]
pub(super) enum ProxiedCommand {
    /// The connect of a client, which had these subscriptions of the server before.
    Connect {
        id: u32,
        returning: ReturningSubs,
    },
    /// The connect of a receiver.
    Receiver(Box<ReceiveQuery>),
    /// A channel that a receiver names.
    ReceiverChannel {
        channel: Arc<str>,
    },
    Subscribe {
        id: u32,
        wanted: WantedSubscription,
    },
    Publish {
        id: u32,
        channel: Arc<str>,
        data: ProxyPayload,
    },
    Rpc {
        id: u32,
    },
    Refresh,
    SubRefresh {
        channel: Arc<str>,
    },
}

/// Server-side subscriptions that a client had, with its positions.
pub(super) type ReturningSubs = BTreeMap<Cow<'static, str>, Recover<'static>>;

/// A subscription that a client asks for.
#[derive(Debug, Clone)]
pub(super) struct WantedSubscription {
    pub(super) channel: Arc<str>,
    pub(super) requested: RequestedFeatures,
    pub(super) recover: Option<Position>,
    /// A position that cannot be recovered is an error.
    pub(super) reject: bool,
}

impl PendingRequest {
    /// The command that it belongs to, for the counters of errors.
    pub(super) fn command(&self) -> CommandKind {
        match self {
            Self::Enter | Self::ConnectSubscribe { .. } => CommandKind::Connect,
            Self::ServerSubscribe { .. } | Self::Subscribe { .. } => CommandKind::Subscribe,
            Self::Publish { .. } => CommandKind::Publish,
            Self::History { .. } => CommandKind::History,
            Self::Presence { .. } => CommandKind::Presence,
            Self::Proxied(request) => match &request.command {
                ProxiedCommand::Connect { .. } | ProxiedCommand::Receiver(_) => CommandKind::Connect,
                ProxiedCommand::Subscribe { .. } | ProxiedCommand::ReceiverChannel { .. } => {
                    CommandKind::Subscribe
                }
                ProxiedCommand::Publish { .. } => CommandKind::Publish,
                ProxiedCommand::Rpc { .. } => CommandKind::Rpc,
                ProxiedCommand::Refresh => CommandKind::Refresh,
                ProxiedCommand::SubRefresh { .. } => CommandKind::SubRefresh,
            },
        }
    }

    /// The call to the backend, if there is one.
    pub(super) fn proxied(&self) -> Option<&ProxiedCommand> {
        match self {
            Self::Proxied(request) => Some(&request.command),
            _ => None,
        }
    }

    /// True if it may bring much: such requests wait for one another.
    pub(super) fn is_heavy_read(&self) -> bool {
        matches!(self, Self::History { .. } | Self::Presence { .. })
    }
}

/// The times of a session: the first command, pings, and the expiry of its token and its subscriptions.
pub(super) struct ClientDeadlines {
    /// The time by which the client must be connected; absent once it is.
    pub(super) connect_by: Option<Instant>,
    pub(super) pings: Pings,
    /// Operators who wait for the pong.
    pub(super) pinged: Option<Box<AskedPing>>,
    /// The time at which the connection ends unless refreshed, grace included.
    pub(super) expires: Option<Instant>,
    /// The time at which the earliest subscription ends unless refreshed, grace included.
    pub(super) subscription_expires: Option<Instant>,
    /// Epochs that ended, and the time at which the client is asked to subscribe anew.
    pub(super) epochs: Option<Box<Epochs>>,
}

impl ClientDeadlines {
    pub(super) fn new(connect_by: Instant) -> Self {
        Self {
            connect_by: Some(connect_by),
            pings: Pings::default(),
            pinged: None,
            expires: None,
            subscription_expires: None,
            epochs: None,
        }
    }

    /// The client is connected.
    pub(super) fn start(&mut self, interval: Duration, now: Instant) {
        self.connect_by = None;
        self.pings.start(interval, now);
    }

    /// Looks for the earliest expiry among the subscriptions.
    pub(super) fn set_subscription_expiry(&mut self, subscriptions: &[ClientSubscription]) {
        self.subscription_expires =
            subscriptions.iter().filter_map(|subscription| subscription.expires).min();
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let all = [self.connect_by, self.pings.deadline(), self.expires, self.subscription_expires];
        let of_epochs = self.epochs.as_ref().and_then(|epochs| epochs.by);
        all.into_iter().chain([of_epochs]).flatten().min()
    }
}

/// Epochs that ended while the client stayed (record 34). Most sessions have none. At most one entry of each subscription.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    /// Subscriptions whose client knows an epoch that has ended.
    pub(super) stale: Vec<EndedEpoch>,
    /// The time at which the client is asked to subscribe anew.
    pub(super) by: Option<Instant>,
    /// Subscriptions that were ended for this, and may return with the ended epoch: their position holds in the current one.
    pub(super) returning: Vec<EndedEpoch>,
}

/// A channel that the session is in, or is about to be.
#[derive(Clone)]
pub(super) struct ClientSubscription {
    pub(super) channel: Arc<str>,
    pub(super) server_side: bool,
    pub(super) by: GrantedBy,
    /// The ticket of its pending request to the node, if there is one.
    pub(super) under_way: Option<Ticket>,
    pub(super) recoverable: bool,
    pub(super) recover: Option<Position>,
    /// The reason why the position that its client named is not used for recovery.
    pub(super) unrecovered: Option<Unrecovered>,
    /// The time at which it ends unless refreshed, grace included.
    pub(super) expires: Option<Instant>,
    pub(super) expires_at: Option<u64>,
    /// The backend is asked when it expires; the client is not told that it does.
    pub(super) asks_backend: bool,
    pub(super) positioned: bool,
    pub(super) join_leave: bool,
    /// Its joins and leaves are not published, and it gets none of others.
    pub(super) unseen: bool,
    /// The client as this channel knows it.
    pub(super) info: Arc<ClientInfo>,
    pub(super) data: Bytes,
    /// The options of its channel.
    pub(super) options: ChannelOptions,
}

impl ClientSubscription {
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Recovers from this position of the client, if the channel allows recovery.
    pub(super) fn recover_from(&mut self, position: Position) {
        if self.recoverable {
            self.recover = Some(position);
        } else {
            self.unrecovered = Some(Unrecovered::NotAllowed);
        }
    }

    /// The reason why the client does not go on from its position, if it named one.
    pub(super) fn unrecovered(&self, subscribed: &Subscribed) -> Option<Unrecovered> {
        let is_lost = subscribed.was_recovering && !subscribed.recovered;
        self.unrecovered.or(is_lost.then_some(Unrecovered::Lost))
    }

    /// For one that comes and goes too often to be present: its joins and leaves are not published, and it gets none of others.
    pub(super) fn hide(&mut self) {
        self.unseen = true;
        self.join_leave = false;
    }

    /// The request to the node.
    pub(super) fn request(&self, recover_max_bytes: usize) -> SubscribeParams {
        SubscribeParams {
            channel: self.channel.clone(),
            info: self.info.clone(),
            retention: retention(&self.options),
            positioned: self.positioned,
            recover: self.recover.clone(),
            recover_max_bytes,
            presence: self.options.presence && !self.unseen,
            announce: self.options.join_leave && !self.unseen,
            join_leave: self.join_leave,
            server_side: self.server_side,
            by: self.by,
            format: SubscriptionFormat::OfSession,
        }
    }

    /// The subscribe result for the client.
    pub(super) fn result<'a>(
        &'a self,
        subscribed: &'a Subscribed,
        publications: &'a [PublicationFields<'a>],
        now: Now,
    ) -> SubscribeResult<'a> {
        let requested = self.recover.as_ref().filter(|_| subscribed.recovered);
        // Only of an end that its client can do something about.
        let told_end = self.expires_at.filter(|_| !self.asks_backend && !self.server_side);
        SubscribeResult {
            expires: told_end.is_some(),
            ttl: ttl(told_end, now),
            recoverable: self.recoverable,
            epoch: subscribed.top.as_ref().map_or("", |top| &top.epoch),
            publications,
            recovered: subscribed.recovered,
            offset: requested.or(subscribed.top.as_ref()).map_or(0, |position| position.offset),
            positioned: self.positioned,
            data: non_empty(&self.data),
            was_recovering: subscribed.was_recovering || self.unrecovered.is_some(),
            unrecovered_reason: "",
        }
    }
}

/// Recovered publications as a reply shows them, without those that exclude this client.
pub(super) fn views<'a>(subscribed: &'a Subscribed, client: &str) -> Vec<PublicationFields<'a>> {
    let seen = subscribed.publications.iter().filter(|publication| publication.is_for(client));
    seen.map(|publication| publication_view(publication)).collect()
}

/// Bytes of a backend's JSON that a client is to see.
pub(super) fn non_empty(bytes: &Bytes) -> Option<&[u8]> {
    (!bytes.is_empty()).then_some(&bytes[..])
}
