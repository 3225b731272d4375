//! A subscription of a session, and what a reply says of it. `docs/protocols/client.md` §5.

use std::sync::Arc;

use bytes::Bytes;
use gorani_auth::ChannelOptions;
use gorani_broker::{ClientInfo, Position};
use gorani_protocol::client::{PublicationFields, SubscribeResult};
use tokio::time::Instant;

use crate::{
    format::{encoding::SubscriptionFormat, position::Unrecovered, views::publication_view},
    session::{
        Now, SubscribeParams, Subscribed, Ticket,
        shared::{expiry::ttl, recovery::retention},
    },
};

/// A channel that the session is in, or is about to be.
#[derive(Clone)]
pub(super) struct ClientSubscription {
    pub(super) channel: Arc<str>,
    pub(super) server_side: bool,
    /// The ticket of its pending request to the node, if there is one.
    pub(super) under_way: Option<Ticket>,
    pub(super) recoverable: bool,
    pub(super) recover: Option<Position>,
    /// The reason why the position that its client named is not used for recovery.
    pub(super) unrecovered: Option<Unrecovered>,
    /// The time at which it ends unless refreshed, grace included.
    pub(super) expires: Option<Instant>,
    pub(super) expires_at: Option<u64>,
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
        SubscribeResult {
            expires: self.expires_at.is_some(),
            ttl: ttl(self.expires_at, now),
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
