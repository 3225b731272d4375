//! The queries of operators to a worker: connections by a filter with all that is known of each, the subscribers of a channel with their
//! positions, and the channels with the most subscribers. In the same slices as all scans.

use std::{
    cell::RefCell, cmp::Reverse, collections::BinaryHeap, net::IpAddr, ops::Bound, sync::Arc, time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{sync::oneshot, time::Instant};

use super::page::{ENTRIES_PER_LOOK, ENTRY_BYTES, SLICE, Scan, ScanNames, ScanPage, ScanSource, as_str};
use crate::{
    hub::{Hub, registry::SessionKey},
    metrics::TrafficCounters,
    session::{ClientDescription, SessionAnswer, SessionDetail, Signal},
};

/// Time of a worker that a look at all its channels may take. Those after it are not counted in.
const TOP_TIME: Duration = Duration::from_millis(250);
/// Channels of a connection that are told in a list; the whole is told of one connection.
const CHANNELS_IN_LIST: usize = 16;

/// Which connections an operator asks for. Absent: any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectionFilter {
    /// Of this user.
    pub user: Option<String>,
    /// Only this one, by its client id.
    pub client: Option<String>,
    /// Of this transport.
    pub transport: Option<String>,
    /// In this channel.
    pub channel: Option<String>,
    /// From this address.
    pub address: Option<String>,
    /// Of this SDK.
    pub sdk: Option<String>,
    /// With bytes that wait.
    pub lagging: bool,
}

/// A channel of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelDetail {
    /// Its name.
    pub channel: String,
    /// Offset up to which the client has everything; absent where it is not tracked.
    pub seen: Option<u64>,
    /// The stream's epoch.
    pub epoch: Option<String>,
    /// The server made the subscription.
    pub server_side: bool,
    /// It stands in presence.
    pub presence: bool,
}

/// All that a worker knows of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionDetail {
    /// Client id.
    pub client: String,
    /// User id; empty for anonymous.
    pub user: String,
    /// `websocket`, …
    pub transport: String,
    /// `json`, …
    pub protocol: String,
    /// `permessage-deflate`, `identity`.
    #[serde(default)]
    pub encoding: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub connected_at: u64,
    /// Bytes in its outbox.
    pub waiting_bytes: usize,
    /// The oldest of them is at most so many milliseconds old.
    pub waiting_ms: u32,
    /// Its address, as far as forwarded addresses are trusted.
    #[serde(default)]
    pub address: Option<String>,
    /// The trusted proxy through which it came.
    #[serde(default)]
    pub forwarded_by: Option<String>,
    /// Name of its SDK, as it says.
    #[serde(default)]
    pub sdk: Option<String>,
    /// Version of its SDK, as it says.
    #[serde(default)]
    pub sdk_version: Option<String>,
    /// Bytes that were written to it.
    #[serde(default)]
    pub bytes_out: u64,
    /// Number of its channels.
    pub channel_count: usize,
    /// Its channels; in a list the first ones.
    pub channels: Vec<ChannelDetail>,
}

/// A subscriber of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriberDetail {
    /// User id; empty for anonymous.
    pub user: String,
    /// Offset up to which it has everything; absent where it is not tracked.
    pub seen: Option<u64>,
    /// The stream's epoch.
    pub epoch: Option<String>,
    /// Bytes in its outbox, of all channels.
    pub waiting_bytes: usize,
}

/// The channels with the most subscribers of a worker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopChannels {
    /// Subscribers and name, the largest first.
    pub channels: Vec<(usize, String)>,
    /// False where there were more channels than could be looked at.
    pub complete: bool,
}

/// A query of an operator, with the way back.
pub enum DetailRequest {
    /// Connections by client id.
    Connections {
        /// Only such.
        filter: ConnectionFilter,
        /// Client ids above this one.
        after: String,
        /// At most so many.
        limit: usize,
        /// Receives the answer.
        answer: oneshot::Sender<ScanPage<ConnectionDetail>>,
    },
    /// Subscribers of a channel by client id.
    Subscribers {
        /// The channel.
        channel: String,
        /// Client ids above this one.
        after: String,
        /// At most so many.
        limit: usize,
        /// Receives the answer.
        answer: oneshot::Sender<ScanPage<SubscriberDetail>>,
    },
    /// A ping of a client.
    Ping {
        /// Its client id.
        client: String,
        /// Receives the place where the time until its pong will be, if the client is on this worker.
        answer: oneshot::Sender<Option<oneshot::Receiver<Duration>>>,
    },
    /// The part that a session alone knows of itself.
    Session {
        /// Its client id.
        client: String,
        /// Receives the place where it will be, if the client is on this worker.
        answer: oneshot::Sender<Option<oneshot::Receiver<SessionDetail>>>,
    },
    /// Channels with the most subscribers.
    Top {
        /// At most so many.
        limit: usize,
        /// Receives the answer.
        answer: oneshot::Sender<TopChannels>,
    },
}

impl DetailRequest {
    pub(super) async fn answer(self, hub: &RefCell<Hub>, traffic: &TrafficCounters) {
        match self {
            Self::Connections { filter, after, limit, answer } => {
                let connections = DetailScan {
                    user: filter.user.as_deref().map(Arc::from),
                    channels_max: if filter.client.is_some() { usize::MAX } else { CHANNELS_IN_LIST },
                    filter,
                };
                Scan::new(connections, &after, limit).answer(hub, traffic, answer).await;
            }
            Self::Subscribers { channel, after, limit, answer } => {
                Scan::new(SubscriberScan { channel }, &after, limit).answer(hub, traffic, answer).await;
            }
            Self::Ping { client, answer } => {
                // The requester may have gone meanwhile; then nobody misses the answer.
                let _ = answer.send(ask(&hub.borrow(), &client, Signal::Ping));
            }
            Self::Session { client, answer } => {
                let _ = answer.send(ask(&hub.borrow(), &client, Signal::Describe));
            }
            Self::Top { limit, answer } => {
                let top = top_channels(hub, traffic, limit, &answer).await;
                // The requester may have gone meanwhile; then nobody misses the answer.
                let _ = answer.send(top);
            }
        }
    }
}

/// Asks the session of a client, if it is on this worker.
fn ask<T>(
    hub: &Hub,
    client: &str,
    question: impl FnOnce(SessionAnswer<T>) -> Signal,
) -> Option<oneshot::Receiver<T>> {
    let session = hub.registry().get(*hub.registry().clients.get(client)?)?;
    let (sender, answer) = oneshot::channel();
    session.signal(question(SessionAnswer::new(sender)));
    Some(answer)
}

/// Clients of a worker that pass a filter.
struct DetailScan {
    filter: ConnectionFilter,
    user: Option<Arc<str>>,
    channels_max: usize,
}

impl ScanSource for DetailScan {
    type Entry = ConnectionDetail;

    fn start(&self) -> &str {
        self.filter.client.as_deref().unwrap_or_default()
    }

    fn names<'a>(&'a self, hub: &'a Hub, from: Bound<&str>) -> ScanNames<'a> {
        match (&self.filter.client, &self.user) {
            (Some(client), _) => {
                Box::new(hub.registry().client_ids(from).take_while(move |name| ***name == **client))
            }
            (None, Some(user)) => Box::new(hub.registry().client_ids_of(user, from)),
            (None, None) => Box::new(hub.registry().client_ids(from)),
        }
    }

    fn entry(&self, hub: &Hub, client: &str) -> Option<(ConnectionDetail, usize)> {
        let key = *hub.registry().clients.get(client)?;
        let session = hub.registry().get(key)?;
        let ConnectionFilter { user, transport, channel, address, sdk, lagging, .. } = &self.filter;
        let description = session.description.as_deref();
        let (waiting_bytes, waiting_ms) = session.outbox.waiting();
        let is_wanted = user.as_deref().is_none_or(|user| *session.user == *user)
            && transport.as_deref().is_none_or(|transport| session.transport == transport)
            && channel.as_deref().is_none_or(|channel| session.is_in(channel))
            && address.as_deref().is_none_or(|wanted| has_address(description, wanted))
            && sdk.as_deref().is_none_or(|sdk| description.is_some_and(|own| has_sdk(own, sdk)))
            && (!lagging || waiting_bytes > 0);
        if !is_wanted {
            return None;
        }
        let names = session.channel_names();
        let channels: Vec<_> =
            names.iter().take(self.channels_max).map(|name| channel_detail(hub, key, name)).collect();
        let name_bytes: usize = channels.iter().map(|channel| ENTRY_BYTES + channel.channel.len()).sum();
        let detail = ConnectionDetail {
            client: client.to_owned(),
            user: session.user.as_ref().to_owned(),
            transport: session.transport.to_owned(),
            protocol: session.protocol.to_owned(),
            encoding: Some(session.encoding.framing.compression().to_owned()),
            connected_at: session.connected_at_ms,
            waiting_bytes,
            waiting_ms,
            address: description.and_then(|own| written(own.address)),
            forwarded_by: description.and_then(|own| written(own.forwarded_by)),
            sdk: description.and_then(|own| given(&own.sdk)),
            sdk_version: description.and_then(|own| given(&own.sdk_version)),
            bytes_out: session.outbox.written(),
            channel_count: names.len(),
            channels,
        };
        let bytes = 2 * ENTRY_BYTES + 2 * client.len() + detail.user.len() + name_bytes;
        Some((detail, bytes))
    }
}

/// `wanted`: the name of an SDK, or its name, a slash, and its version.
fn has_sdk(own: &ClientDescription, wanted: &str) -> bool {
    let is_of_version = |(name, version): (&str, &str)| *own.sdk == *name && *own.sdk_version == *version;
    *own.sdk == *wanted || wanted.rsplit_once('/').is_some_and(is_of_version)
}

fn has_address(description: Option<&ClientDescription>, wanted: &str) -> bool {
    let own = description.and_then(|description| description.address);
    own.is_some_and(|own| {
        wanted.parse::<IpAddr>().is_ok_and(|wanted| wanted.to_canonical() == own.to_canonical())
    })
}

fn written(address: Option<IpAddr>) -> Option<String> {
    address.map(|address| address.to_canonical().to_string())
}

fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn channel_detail(hub: &Hub, key: SessionKey, name: &str) -> ChannelDetail {
    let seen = hub.channels.get(name).and_then(|channel| channel.subscriptions.get(&key)?.last_delivered());
    let subscription = hub.registry().get(key).and_then(|session| session.subscription(name));
    let (server_side, presence) = subscription.unwrap_or_default();
    ChannelDetail {
        channel: name.to_owned(),
        seen: seen.map(|position| position.offset),
        epoch: seen.map(|position| position.epoch.as_ref().to_owned()),
        server_side,
        presence,
    }
}

/// Clients of a worker that are in a channel.
struct SubscriberScan {
    channel: String,
}

impl ScanSource for SubscriberScan {
    type Entry = SubscriberDetail;

    fn start(&self) -> &str {
        ""
    }

    fn names<'a>(&'a self, hub: &'a Hub, from: Bound<&str>) -> ScanNames<'a> {
        if hub.subscribers(&self.channel).is_none() {
            return Box::new(std::iter::empty());
        }
        Box::new(hub.registry().client_ids(from))
    }

    fn entry(&self, hub: &Hub, client: &str) -> Option<(SubscriberDetail, usize)> {
        let key = *hub.registry().clients.get(client)?;
        let session = hub.registry().get(key).filter(|session| session.is_in(&self.channel))?;
        let seen = hub
            .channels
            .get(&*self.channel)
            .and_then(|channel| channel.subscriptions.get(&key)?.last_delivered());
        let detail = SubscriberDetail {
            user: session.user.as_ref().to_owned(),
            seen: seen.map(|position| position.offset),
            epoch: seen.map(|position| position.epoch.as_ref().to_owned()),
            waiting_bytes: session.outbox.len_bytes(),
        };
        let bytes = ENTRY_BYTES + client.len() + detail.user.len();
        Some((detail, bytes))
    }
}

/// Looks at all channels, and keeps the largest ones.
async fn top_channels(
    hub: &RefCell<Hub>,
    traffic: &TrafficCounters,
    limit: usize,
    answer: &oneshot::Sender<TopChannels>,
) -> TopChannels {
    let mut largest: BinaryHeap<Reverse<(usize, Reverse<Arc<str>>)>> = BinaryHeap::new();
    let mut next: Bound<Arc<str>> = Bound::Unbounded;
    let mut spent = Duration::ZERO;
    let mut complete = false;
    while !complete && spent < TOP_TIME && !answer.is_closed() {
        let started = Instant::now();
        let last = {
            let hub = hub.borrow();
            let mut last = None;
            complete = true;
            for (index, name) in hub.channel_names(as_str(&next)).enumerate() {
                if index > 0 && index % ENTRIES_PER_LOOK == 0 && started.elapsed() >= SLICE {
                    complete = false;
                    break;
                }
                let count = hub.subscribers(name).unwrap_or_default();
                if largest.len() < limit || largest.peek().is_some_and(|least| count > least.0.0) {
                    largest.push(Reverse((count, Reverse(name.clone()))));
                    if largest.len() > limit {
                        largest.pop();
                    }
                }
                last = Some(name.clone());
            }
            last
        };
        let took = started.elapsed();
        spent += took;
        traffic.held(took);
        if let Some(last) = last {
            next = Bound::Excluded(last);
        }
        tokio::task::yield_now().await;
    }
    let channels = largest.into_sorted_vec().into_iter();
    let channels = channels.map(|Reverse((count, Reverse(name)))| (count, name.as_ref().to_owned()));
    TopChannels { channels: channels.collect(), complete }
}
