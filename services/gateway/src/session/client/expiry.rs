//! Connections and subscriptions whose time is over: how much grace they have, and the backend that is asked if they go on.
//! `docs/protocols/proxy.md`.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    ClientSession, ClientState,
    commands::PENDING_REQUESTS,
    state::{ClientSubscription, ProxiedCommand},
};
use crate::{
    disconnect::{Disconnect, Unsubscribed},
    proxy_call::{ProxyId, ProxyOutcome, ProxyRequest},
    session::{
        Actions, Now, Ticket,
        shared::{
            deadlines::{self, is_due},
            proxied::{Prolonged, ask_again_after},
        },
    },
};

/// Time after which a subscription is looked at again whose backend could not be asked, because too much was asked already.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);

impl ClientSession {
    /// The end of a connection that expires at this time in Unix seconds. Its client has a grace to refresh it; a backend has none.
    pub(super) fn end_of_connection(&self, expires_at: Option<u64>, now: Now) -> Option<Instant> {
        let asks = self.policy.proxies.refresh.is_some();
        deadlines::end_of(
            expires_at,
            if asks { Duration::ZERO } else { self.policy.settings.expiry_grace },
            now,
        )
    }

    /// The same for a subscription.
    pub(super) fn end_of_subscription(&self, subscription: &ClientSubscription, now: Now) -> Option<Instant> {
        let grace =
            if subscription.asks_backend { Duration::ZERO } else { self.policy.settings.expiry_grace };
        deadlines::end_of(subscription.expires_at, grace, now)
    }

    /// The proxy that is asked if subscriptions to a channel go on.
    pub(super) fn sub_refresh_proxy(&self, channel: &str) -> Option<ProxyId> {
        self.calls.as_ref()?;
        self.policy.proxies.channel(channel).sub_refresh
    }

    /// The connection's time is over: the backend is asked, or it ends.
    pub(super) fn expire(&mut self, now: Now, actions: &mut Actions) {
        let proxy = self.policy.proxies.refresh.filter(|_| matches!(self.state, ClientState::Connected));
        let Some(proxy) = proxy else { return self.close(Disconnect::EXPIRED, actions) };
        self.clock.expires = None;
        let ticket = self.ask(proxy, ProxyRequest::Refresh, ProxiedCommand::Refresh, actions);
        if let Some(calls) = &mut self.calls {
            calls.refresh = Some(ticket);
        }
        tracing::debug!(
            client = &*self.identity.client,
            at_ms = now.unix_ms,
            "asking the backend to refresh"
        );
    }

    pub(super) fn on_refresh_answer(
        &mut self,
        ticket: Ticket,
        outcome: ProxyOutcome,
        now: Now,
        actions: &mut Actions,
    ) {
        match &mut self.calls {
            Some(calls) if calls.refresh == Some(ticket) => calls.refresh = None,
            _ => return self.drop_stale_answer(),
        }
        match Prolonged::of(outcome, now) {
            Prolonged::Until { expire_at, info, meta } => {
                self.clock.expires = self.end_of_connection(Some(expire_at), now);
                self.renew_info(&info);
                self.keep_meta(&meta, actions);
            }
            Prolonged::Expired => self.close(Disconnect::EXPIRED, actions),
            Prolonged::Ended(disconnect) => self.close(disconnect, actions),
            // A backend that does not answer ends nothing: it is asked again later.
            Prolonged::Deferred => self.clock.expires = Some(now.instant + ask_again_after()),
        }
    }

    /// Others see this of the client from now on, in every channel.
    pub(super) fn renew_info(&mut self, info: &Bytes) {
        if info.is_empty() {
            return;
        }
        self.identity.renew_info(info);
        for subscription in &mut self.subscriptions {
            subscription.info = self.identity.info_for(subscription.info.channel_info.clone());
        }
    }

    pub(super) fn expire_subscriptions(&mut self, now: Now, actions: &mut Actions) {
        let expired = self.subscriptions.iter().filter(|subscription| is_due(subscription.expires, now));
        let expired: Vec<_> = expired.map(|known| (known.channel.clone(), known.server_side)).collect();
        for (channel, is_server_side) in expired {
            if let Some(proxy) = self.sub_refresh_proxy(&channel) {
                self.ask_about_subscription(proxy, &channel, now, actions);
            } else if is_server_side {
                return self.close(Disconnect::SUBSCRIPTION_EXPIRED, actions);
            } else {
                self.server_unsubscribe(&channel, Unsubscribed::EXPIRED, actions);
            }
        }
        self.clock.set_subscription_expiry(&self.subscriptions);
    }

    fn ask_about_subscription(
        &mut self,
        proxy: ProxyId,
        channel: &Arc<str>,
        now: Now,
        actions: &mut Actions,
    ) {
        let is_full = self.pending.len() >= PENDING_REQUESTS;
        if let Some(subscription) = self.subscription_mut(channel) {
            subscription.expires = is_full.then(|| now.instant + LOOK_AGAIN_AFTER);
        }
        if is_full {
            return;
        }
        let request = ProxyRequest::SubRefresh { channel: channel.clone() };
        let ticket =
            self.ask(proxy, request, ProxiedCommand::SubRefresh { channel: channel.clone() }, actions);
        if let Some(calls) = &mut self.calls {
            calls.sub_refreshes.push((channel.clone(), ticket));
        }
    }

    pub(super) fn on_sub_refresh_answer(
        &mut self,
        ticket: Ticket,
        channel: &Arc<str>,
        outcome: ProxyOutcome,
        now: Now,
        actions: &mut Actions,
    ) {
        let is_awaited = self.calls.as_mut().is_some_and(|calls| calls.take_sub_refresh(channel, ticket));
        let known = self.subscription(channel).filter(|_| is_awaited);
        let Some(is_server_side) = known.map(|known| known.server_side) else {
            return self.drop_stale_answer();
        };
        match Prolonged::of(outcome, now) {
            Prolonged::Until { expire_at, info, .. } => {
                let info = (!info.is_empty()).then(|| self.identity.info_for(info));
                let end = deadlines::end_of(Some(expire_at), Duration::ZERO, now);
                if let Some(subscription) = self.subscription_mut(channel) {
                    subscription.expires = end;
                    subscription.expires_at = Some(expire_at);
                    subscription.info = info.unwrap_or_else(|| subscription.info.clone());
                }
            }
            Prolonged::Expired if is_server_side => {
                return self.close(Disconnect::SUBSCRIPTION_EXPIRED, actions);
            }
            Prolonged::Expired => self.server_unsubscribe(channel, Unsubscribed::EXPIRED, actions),
            Prolonged::Ended(disconnect) => return self.close(disconnect, actions),
            Prolonged::Deferred => {
                let again = now.instant + ask_again_after();
                if let Some(subscription) = self.subscription_mut(channel) {
                    subscription.expires = Some(again);
                }
            }
        }
        self.clock.set_subscription_expiry(&self.subscriptions);
    }
}
