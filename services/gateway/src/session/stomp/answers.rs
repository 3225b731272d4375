//! The consequences of answers of the backend: to CONNECT, SUBSCRIBE, SEND and expiries; and the end of a session that waits for them.
//! `docs/protocols/stomp.md` §14.

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use gorani_broker::{Position, Publication};
use gorani_protocol::stomp::{Headers, StompCommand};
use tokio::time::Instant;

use super::{
    StompSession, StompState,
    calls::AskedFor,
    connect::ENTRY,
    failure::Failure,
    state::{StompSubscription, SubscriptionSource},
    subscriptions::is_recoverable,
    transactions::ValidSend,
};
use crate::{
    disconnect::{Disconnect, ErrorCode, Refused},
    format::message_headers::CONTENT_TYPE,
    proxy_call::{
        ConnectGrant, ProxyId, ProxyOutcome, ProxyRequest, ProxyResult, PublishGrant, SubscribeGrant,
    },
    session::{
        Action, Actions, Now, Ticket,
        shared::{
            TAGS_MAX, TAGS_MAX_BYTES,
            deadlines::{end_of, has_expired, is_due},
            login_limit::Credential,
            policy::ClientIdentity,
            proxied::{Prolonged, ask_again_after, carried_out, decided},
        },
    },
};

impl StompSession {
    /// Asks the backend who the client is.
    pub(super) fn ask_to_connect(&mut self, proxy: ProxyId, headers: &Headers, actions: &mut Actions) {
        let Some(calls) = &mut self.calls else { return };
        calls.session.identify(&self.identity);
        let text = |name| headers.get(name).unwrap_or_default().to_owned();
        let request = ProxyRequest::Connect {
            data: None,
            name: text("client-name"),
            version: text("client-version"),
            channels: Vec::new(),
        };
        let asked = AskedFor::Connect(headers.get("passcode").is_some());
        actions.push(calls.ask((ENTRY, asked), proxy, request));
    }

    /// The backend has answered. True if the frame that was asked about is done with it.
    pub(super) fn answered(
        &mut self,
        ticket: Ticket,
        outcome: ProxyOutcome,
        now: Now,
        actions: &mut Actions,
    ) -> Result<bool, Failure> {
        let Some(asked) = self.calls.as_mut().and_then(|calls| calls.answered(ticket)) else {
            self.policy.proxy_counts.stale.fetch_add(1, Ordering::Relaxed);
            return Ok(false);
        };
        match asked {
            AskedFor::Connect(has_passcode) => self
                .connect_answered(outcome, has_passcode, now, actions)
                .map_err(|failure| failure.of(StompCommand::Connect, None)),
            AskedFor::Subscribe(recover) => self.subscribe_answered(ticket, recover, outcome, now, actions),
            AskedFor::Publish(send) => {
                let (name, answered) =
                    (send.name.clone(), self.publish_answered(ticket, *send, outcome, actions));
                answered.map_err(|failure| failure.of(StompCommand::Send, None).about(&name))
            }
            AskedFor::Rpc(reply) => self.replied(ticket, &reply, outcome, actions).map(|()| true),
            AskedFor::Refresh => self.refresh_answered(outcome, now, actions).map(|()| false),
            AskedFor::SubRefresh(channel) => {
                self.sub_refresh_answered(&channel, outcome, now).map(|()| false)
            }
        }
    }

    fn connect_answered(
        &mut self,
        outcome: ProxyOutcome,
        has_passcode: bool,
        now: Now,
        actions: &mut Actions,
    ) -> Result<bool, Failure> {
        let StompState::Entering(offer) = self.state else { return Ok(false) };
        let grant = match decided(outcome) {
            Ok(ProxyResult::Connect(grant)) => grant,
            Ok(_) => return Err(ErrorCode::INTERNAL.into()),
            Err(refused) => {
                // A passcode that the backend refuses is a wrong login, as one of a backend of our own.
                let is_wrong = !matches!(&refused, Refused::Backend(error) if error.temporary);
                if let Some(limit) = self.login_limit.as_deref().filter(|_| has_passcode && is_wrong) {
                    limit.failed(Credential::Password);
                }
                return Err(refused.into());
            }
        };
        let Some(grant) = grant else {
            self.policy.admit_without_credentials()?;
            self.admit(offer, &Bytes::new(), now, actions);
            return Ok(false);
        };
        let expires_at = (grant.expire_at > 0).then_some(grant.expire_at);
        if has_expired(expires_at, now) {
            return Err(ErrorCode::EXPIRED.into());
        }
        let granted = self.granted_channels(&grant, now)?;
        if let Some(calls) = &mut self.calls {
            calls.granted = granted;
        }
        self.identity = ClientIdentity::of_grant(&grant, self.identity.client.clone());
        self.clock.expires = end_of(expires_at, Duration::ZERO, now);
        self.admit(offer, &grant.meta, now, actions);
        Ok(false)
    }

    /// The channels to which a client may subscribe by the answer to its CONNECT.
    fn granted_channels(
        &self,
        grant: &ConnectGrant,
        now: Now,
    ) -> Result<Vec<(Box<str>, SubscribeGrant)>, Failure> {
        let granted = grant.subscriptions();
        if granted.len() > self.policy.settings.max_subscriptions {
            return Err(Failure::of_disconnect(Disconnect::CHANNEL_LIMIT));
        }
        for (channel, grant) in &granted {
            self.policy.granted_by_proxy(channel, grant, now)?;
        }
        Ok(granted.into_iter().map(|(channel, grant)| (channel.into(), grant)).collect())
    }

    fn subscribe_answered(
        &mut self,
        ticket: Ticket,
        recover: Option<Position>,
        outcome: ProxyOutcome,
        now: Now,
        actions: &mut Actions,
    ) -> Result<bool, Failure> {
        let policy = self.policy.clone();
        let is_it = |known: &&mut StompSubscription| known.under_way == Some(ticket);
        let Some(subscription) = self.subscriptions.iter_mut().find(is_it) else { return Ok(true) };
        let SubscriptionSource::Channel(channel) = &subscription.source else { return Ok(true) };
        let channel = channel.clone();
        let destination = subscription.shown.destination.clone();
        let failed = |failure: Failure| failure.of(StompCommand::Subscribe, None).about(&destination);
        let answer = decided(outcome).map_err(|refused| {
            actions.push(Action::NoteRefused(channel.clone(), refused.code()));
            failed(refused.into())
        })?;
        let grant = match answer {
            ProxyResult::Subscribe(grant) => *grant,
            _ => return Err(failed(ErrorCode::INTERNAL.into())),
        };
        let granted =
            policy.granted_by_proxy(&channel, &grant, now).map_err(|refused| failed(refused.into()))?;
        if recover.is_some() && !is_recoverable(&granted.options) {
            return Err(failed(ErrorCode::NOT_AVAILABLE.into()));
        }
        subscription.expires = end_of(granted.expires_at, Duration::ZERO, now);
        subscription.by = granted.by;
        self.watch_expiry();
        self.join(ticket, channel, (&granted.options, grant.info), recover, actions);
        Ok(false)
    }

    fn publish_answered(
        &mut self,
        ticket: Ticket,
        send: ValidSend,
        outcome: ProxyOutcome,
        actions: &mut Actions,
    ) -> Result<bool, Failure> {
        let grant = match carried_out(outcome)? {
            ProxyResult::Publish(grant) => *grant,
            _ => PublishGrant::default(),
        };
        let is_replaced = grant.data.is_some();
        let decided = self.policy.publication_by_proxy(&send.name, send.payload(), grant)?;
        let is_dropped = decided.is_none();
        if let Some((mut publication, options)) = decided {
            keep_headers(&mut publication, send.publication, is_replaced)?;
            actions.push(Action::Publish(ticket, send.name, publication, options));
        }
        self.run_steps(actions);
        Ok(is_dropped)
    }

    /// Asks the backend if the connection may go on. False if there is nobody to ask.
    pub(super) fn ask_to_refresh(&mut self, actions: &mut Actions) -> bool {
        let (Some(proxy), Some(calls)) = (self.policy.proxies.refresh, &mut self.calls) else { return false };
        self.clock.expires = None;
        let ticket = self.receipts.ticket();
        actions.push(calls.ask((ticket, AskedFor::Refresh), proxy, ProxyRequest::Refresh));
        true
    }

    fn refresh_answered(
        &mut self,
        outcome: ProxyOutcome,
        now: Now,
        actions: &mut Actions,
    ) -> Result<(), Failure> {
        match Prolonged::of(outcome, now) {
            Prolonged::Until { expire_at, info, meta } => {
                self.identity.renew_info(&info);
                self.keep_meta(&meta, actions);
                self.clock.expires = end_of(Some(expire_at), Duration::ZERO, now);
            }
            Prolonged::Expired => return Err(Failure::of_disconnect(Disconnect::EXPIRED)),
            Prolonged::Ended(disconnect) => return Err(Failure::of_disconnect(disconnect)),
            Prolonged::Deferred => self.clock.expires = Some(now.instant + ask_again_after()),
        }
        Ok(())
    }

    /// Asks the backend about each channel whose subscriptions have reached their expiry. False if there is nobody to ask about one.
    pub(super) fn ask_to_sub_refresh(&mut self, now: Now, actions: &mut Actions) -> bool {
        while let Some(due) = self.subscriptions.iter().find(|known| is_due(known.expires, now)) {
            let SubscriptionSource::Channel(channel) = &due.source else { return false };
            let channel = channel.clone();
            let (Some(proxy), Some(calls)) =
                (self.policy.proxies.channel(&channel).sub_refresh, &mut self.calls)
            else {
                return false;
            };
            let ticket = self.receipts.ticket();
            let asked = AskedFor::SubRefresh(channel.clone());
            let request = ProxyRequest::SubRefresh { channel: channel.clone() };
            actions.push(calls.ask((ticket, asked), proxy, request));
            self.expire(&channel, None);
        }
        true
    }

    fn sub_refresh_answered(
        &mut self,
        channel: &str,
        outcome: ProxyOutcome,
        now: Now,
    ) -> Result<(), Failure> {
        let expires = match Prolonged::of(outcome, now) {
            _ if !self.is_subscribed(channel) => {
                self.policy.proxy_counts.stale.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            Prolonged::Until { expire_at, .. } => end_of(Some(expire_at), Duration::ZERO, now),
            Prolonged::Expired => return Err(Failure::of_disconnect(Disconnect::SUBSCRIPTION_EXPIRED)),
            Prolonged::Ended(disconnect) => return Err(Failure::of_disconnect(disconnect)),
            Prolonged::Deferred => Some(now.instant + ask_again_after()),
        };
        self.expire(channel, expires);
        Ok(())
    }

    /// The subscriptions of a channel end at this time.
    fn expire(&mut self, channel: &str, expires: Option<Instant>) {
        for known in self.subscriptions.iter_mut().filter(|known| known.is_of(channel)) {
            known.expires = expires;
        }
        self.watch_expiry();
    }

    /// The node ends the session. Where it goes down, the calls under way get their answers first; no further frame runs.
    pub(super) fn end_in_order(&mut self, disconnect: Disconnect, now: Now, actions: &mut Actions) {
        let is_open = matches!(self.state, StompState::Open | StompState::Leaving);
        match &mut self.calls {
            Some(calls) if disconnect == Disconnect::SHUTDOWN && is_open && calls.is_awaited() => {
                calls.ending = Some(disconnect);
                calls.give_up_by.get_or_insert(now.instant + self.policy.call_grace);
            }
            _ => self.fail(Failure::of_disconnect(disconnect), actions),
        }
    }

    /// The time until which answers are waited for.
    pub(super) fn give_up_by(&self) -> Option<Instant> {
        self.calls.as_ref().and_then(|calls| calls.give_up_by)
    }

    /// Ends a session whose node goes down, once its calls are answered.
    pub(super) fn end_when_answered(&mut self, actions: &mut Actions) {
        let Some(calls) = &mut self.calls else { return };
        if !calls.is_awaited()
            && !self.receipts.is_awaited()
            && let Some(disconnect) = calls.ending.take()
        {
            self.fail(Failure::of_disconnect(disconnect), actions);
        }
    }

    /// The time for answers is over: the session ends without them.
    pub(super) fn give_up(&mut self, now: Now, actions: &mut Actions) {
        let Some(calls) = &mut self.calls else { return };
        calls.forget();
        calls.give_up_by = None;
        let ending = calls.ending.take();
        self.receipts.give_up();
        self.send_receipts(now, actions);
        if let Some(disconnect) = ending {
            self.fail(Failure::of_disconnect(disconnect), actions);
        }
    }
}

/// Keeps the headers that the client chose, but for those that the backend set. A content type is not that of other data.
fn keep_headers(publication: &mut Publication, sent: Publication, is_replaced: bool) -> Result<(), Failure> {
    let set = std::mem::take(&mut publication.tags);
    let is_kept =
        |name: &str| !(set.iter().any(|(set, _)| set == name) || (is_replaced && name == CONTENT_TYPE));
    let mut tags: Vec<_> = sent.tags.into_iter().filter(|(name, _)| is_kept(name)).collect();
    tags.extend(set.iter().cloned());
    let bytes: usize = tags.iter().map(|(name, value)| name.len() + value.len()).sum();
    if tags.len() > TAGS_MAX || bytes > TAGS_MAX_BYTES {
        return Err(Failure::limit("too many headers of your own, or too long ones"));
    }
    *publication =
        Publication { tags, info: sent.info, time_ms: sent.time_ms, ..std::mem::take(publication) };
    Ok(())
}
