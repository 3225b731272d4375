//! Subscribe, publish and rpc where the backend decides or answers, and the way of every call: asked under a ticket, answered
//! under the same. `docs/protocols/proxy.md`.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use gorani_protocol::client::{ClientForm, Payload, Publish, Subscribe};

use super::{
    ClientSession,
    state::{
        ClientState, ClientSubscription, PendingRequest, ProxiedCommand, ProxiedRequest, WantedSubscription,
    },
};
use crate::{
    disconnect::{Disconnect, ErrorCode, Refused},
    proxy_call::{
        ProxyFailure, ProxyId, ProxyOutcome, ProxyPayload, ProxyRequest, ProxyResult, SubscribeGrant,
    },
    session::{
        Action, Actions, Now, Ticket,
        shared::{
            proxied::{carried_out, decided},
            recovery::RequestedFeatures,
        },
    },
};

impl ClientSession {
    /// Asks the backend.
    pub(super) fn ask(
        &mut self,
        proxy: ProxyId,
        request: ProxyRequest,
        command: ProxiedCommand,
        actions: &mut Actions,
    ) -> Ticket {
        let payload = match &request {
            ProxyRequest::Connect { data, .. }
            | ProxyRequest::Subscribe { data, .. }
            | ProxyRequest::Rpc { data, .. } => data.as_ref(),
            ProxyRequest::Publish { data, .. } => Some(data),
            ProxyRequest::Refresh | ProxyRequest::SubRefresh { .. } => None,
        };
        let bytes = payload.map_or(0, |payload| u32::try_from(payload.data.len()).unwrap_or(u32::MAX));
        let ticket = self.ticket(PendingRequest::Proxied(Box::new(ProxiedRequest { command, bytes })));
        let calls = self.calls.get_or_insert_default();
        calls.bytes = calls.bytes.saturating_add(bytes);
        actions.push(Action::Proxy(ticket, calls.session.ask(proxy, request)));
        ticket
    }

    /// The backend has answered, or could not be asked.
    pub(super) fn on_answer(
        &mut self,
        ticket: Ticket,
        request: ProxiedRequest,
        outcome: ProxyOutcome,
        now: Now,
        actions: &mut Actions,
    ) {
        let ProxiedRequest { command, bytes } = request;
        if let Some(calls) = &mut self.calls {
            calls.bytes = calls.bytes.saturating_sub(bytes);
        }
        match command {
            ProxiedCommand::Connect { id, returning } => {
                self.on_connect_answer(id, &returning, outcome, now, actions);
            }
            ProxiedCommand::Receiver(receive_query) => {
                self.state = ClientState::New;
                let admitted = self.admit_by_backend(outcome, now);
                self.begin_receiver(admitted, *receive_query, now, actions);
            }
            ProxiedCommand::ReceiverChannel { channel } => {
                self.on_receiver_channel_answer(channel, outcome, now, actions);
            }
            ProxiedCommand::Subscribe { id, wanted } => {
                self.on_subscribe_answer(ticket, id, wanted, outcome, now, actions);
            }
            ProxiedCommand::Publish { id, channel, data } => {
                self.on_publish_answer(id, channel, data, outcome, now, actions);
            }
            ProxiedCommand::Rpc { id } => self.on_rpc_answer(id, outcome, actions),
            ProxiedCommand::Refresh => self.on_refresh_answer(ticket, outcome, now, actions),
            ProxiedCommand::SubRefresh { channel } => {
                self.on_sub_refresh_answer(ticket, &channel, outcome, now, actions);
            }
        }
    }

    /// An answer that nobody waits for any more.
    pub(super) fn drop_stale_answer(&self) {
        self.policy.proxy_counts.stale.fetch_add(1, Ordering::Relaxed);
    }

    /// Data of the backend as a reply holds it.
    pub(super) fn reply_data(&self, data: ProxyPayload) -> Bytes {
        match self.traits.form {
            ClientForm::Json => data.to_json(),
            ClientForm::Protobuf => data.data,
        }
    }

    /// Asks the backend about a subscribe, if it decides on it. The channel is taken meanwhile, so that what the client says of it
    /// waits for the answer. False if the session decides itself.
    pub(super) fn asks_about_subscribe(
        &mut self,
        id: u32,
        subscribe: &Subscribe<'_>,
        actions: &mut Actions,
    ) -> bool {
        if !subscribe.token.is_empty() {
            return false;
        }
        let Some(proxy) = self.policy.subscribe_proxy(&subscribe.channel) else { return false };
        let (mut wanted, mut reserved) = match self.reserve(subscribe) {
            Ok(reserved) => reserved,
            Err(refused) => {
                self.refuse_command(id, refused, actions);
                return true;
            }
        };
        self.renew_epoch(&wanted.channel, wanted.recover.as_mut());
        let request = ProxyRequest::Subscribe {
            channel: wanted.channel.clone(),
            token: String::new(),
            data: subscribe.data.as_ref().map(ProxyPayload::of),
        };
        let command = ProxiedCommand::Subscribe { id, wanted };
        reserved.under_way = Some(self.ask(proxy, request, command, actions));
        self.subscriptions.push(reserved);
        true
    }

    /// The subscription that a client asks for, and one that stands in its place until the backend has decided.
    fn reserve(
        &self,
        subscribe: &Subscribe<'_>,
    ) -> Result<(WantedSubscription, ClientSubscription), Refused> {
        self.may_begin(subscribe)?;
        let granted = self.policy.server_side(&subscribe.channel, None)?;
        let reserved = self.granted(&subscribe.channel, &granted, RequestedFeatures::default());
        let wanted = WantedSubscription {
            channel: reserved.channel.clone(),
            requested: super::subscriptions::requested_features(subscribe),
            recover: super::subscriptions::requested_position(subscribe),
            reject: subscribe.rejects_unrecovered(),
        };
        Ok((wanted, reserved))
    }

    fn on_subscribe_answer(
        &mut self,
        ticket: Ticket,
        id: u32,
        wanted: WantedSubscription,
        outcome: ProxyOutcome,
        now: Now,
        actions: &mut Actions,
    ) {
        if self.under_way(&wanted.channel, ticket).is_none() {
            // The server ended it meanwhile, and said so; the command has its answer all the same.
            self.drop_stale_answer();
            return self.refuse(id, ErrorCode::INTERNAL, actions);
        }
        self.remove(&wanted.channel);
        let granted = decided(outcome).and_then(|result| match result {
            ProxyResult::Subscribe(grant) => {
                self.subscription_by_backend(&wanted.channel, &grant, wanted.requested, now)
            }
            _ => Err(ErrorCode::INTERNAL.into()),
        });
        match granted {
            Ok(mut subscription) => {
                if let Some(position) = wanted.recover {
                    subscription.recover_from(position);
                }
                let pending =
                    PendingRequest::Subscribe { id, channel: wanted.channel, reject: wanted.reject };
                let most = self.policy.settings.reply_max_bytes;
                actions.push(self.begin_subscription(subscription, pending, most));
                self.clock.set_subscription_expiry(&self.subscriptions);
            }
            Err(refused) => {
                actions.push(Action::NoteRefused(wanted.channel, refused.code()));
                self.refuse_command(id, refused, actions);
            }
        }
    }

    /// A subscription as the backend grants it.
    fn subscription_by_backend(
        &self,
        channel: &str,
        grant: &SubscribeGrant,
        requested: RequestedFeatures,
        now: Now,
    ) -> Result<ClientSubscription, Refused> {
        let granted = self.policy.granted_by_proxy(channel, grant, now)?;
        let mut subscription = self.granted(channel, &granted, requested);
        subscription.info = self.identity.info_for(grant.info.clone());
        if let Some(data) = &grant.data {
            subscription.data = self.reply_data(data.clone());
        }
        subscription.expires = self.end_of_subscription(&subscription, now);
        Ok(subscription)
    }

    /// The same for one that comes with the connection, by the backend's word or because a receiver named the channel.
    pub(super) fn subscription_of_server(
        &self,
        channel: &str,
        grant: &SubscribeGrant,
        requested: RequestedFeatures,
        now: Now,
    ) -> Result<ClientSubscription, Refused> {
        let mut subscription = self.subscription_by_backend(channel, grant, requested, now)?;
        subscription.server_side = true;
        Ok(subscription)
    }

    /// Asks the backend about a publication, if it decides on it. False if the session decides itself.
    pub(super) fn asks_about_publish(
        &mut self,
        id: u32,
        publish: &Publish<'_>,
        actions: &mut Actions,
    ) -> bool {
        let Some(proxy) = self.policy.publish_proxy(&publish.channel) else { return false };
        if let Err(error) = self.policy.channel_options(&publish.channel) {
            self.refuse(id, error, actions);
            return true;
        }
        let channel: Arc<str> = (*publish.channel).into();
        let data = ProxyPayload::of(&publish.data);
        let request = ProxyRequest::Publish { channel: channel.clone(), data: data.clone() };
        self.ask(proxy, request, ProxiedCommand::Publish { id, channel, data }, actions);
        true
    }

    fn on_publish_answer(
        &mut self,
        id: u32,
        channel: Arc<str>,
        sent: ProxyPayload,
        outcome: ProxyOutcome,
        now: Now,
        actions: &mut Actions,
    ) {
        let granted = carried_out(outcome).and_then(|result| match result {
            ProxyResult::Publish(grant) => self.policy.publication_by_proxy(&channel, sent, *grant),
            _ => Err(ErrorCode::INTERNAL.into()),
        });
        match granted {
            Ok(Some((mut publication, options))) => {
                let info = self.subscription(&channel).map(|subscription| subscription.info.clone());
                publication.info = Some(info.unwrap_or_else(|| self.identity.info_for(Bytes::new())));
                publication.time_ms = now.unix_ms;
                let ticket = self.ticket(PendingRequest::Publish { id });
                actions.push(Action::Publish(ticket, channel, publication, options));
            }
            Ok(None) => {
                self.count_success();
                let form = self.traits.form;
                actions.reply(form, |out| form.reply_publish(id, out));
            }
            Err(refused) => self.refuse_command(id, refused, actions),
        }
    }

    /// The client calls a method of the backend.
    pub(super) fn rpc(&mut self, id: u32, method: &str, data: Option<&Payload<'_>>, actions: &mut Actions) {
        let proxy = match self.policy.proxies.rpc(method) {
            Ok(proxy) => proxy,
            Err(error) => return self.refuse(id, error, actions),
        };
        let data = data.map(ProxyPayload::of);
        let request = ProxyRequest::Rpc { method: method.to_owned(), data, headers: Vec::new() };
        self.ask(proxy, request, ProxiedCommand::Rpc { id }, actions);
    }

    fn on_rpc_answer(&mut self, id: u32, outcome: ProxyOutcome, actions: &mut Actions) {
        match carried_out(outcome) {
            Ok(ProxyResult::Rpc(data)) => {
                self.count_success();
                let data = data.map_or(Bytes::new(), |data| self.reply_data(data));
                let form = self.traits.form;
                actions.reply(form, |out| form.reply_rpc(id, &data, out));
            }
            Ok(_) => self.refuse_command(id, ErrorCode::INTERNAL.into(), actions),
            Err(refused) => self.refuse_command(id, refused, actions),
        }
    }

    /// Ends the session. If its node goes down, it ends when the calls under way are answered, and after a while at the latest.
    pub(super) fn end_after_calls(&mut self, disconnect: Disconnect, now: Now, actions: &mut Actions) {
        let is_asking = self.pending.values().any(|pending| pending.proxied().is_some());
        match &mut self.calls {
            Some(calls) if disconnect == Disconnect::SHUTDOWN && is_asking => {
                // The node says it more than once.
                calls.ending.get_or_insert((disconnect, now.instant + self.policy.call_grace));
            }
            _ => self.close(disconnect, actions),
        }
    }

    /// Ends a session that waited for its calls, if it is time. Calls that have no answer even now get one that says so.
    pub(super) fn look_at_ending(&mut self, now: Now, actions: &mut Actions) {
        let Some((disconnect, by)) = self.calls.as_mut().and_then(|calls| calls.ending.clone()) else {
            return;
        };
        if matches!(self.state, ClientState::Ended) || (!self.pending.is_empty() && now.instant < by) {
            return;
        }
        let mut tickets: Vec<Ticket> = self.pending.keys().copied().collect();
        tickets.sort_by_key(|ticket| ticket.0);
        for ticket in tickets {
            let Some(command) = self.pending.get(&ticket).and_then(PendingRequest::proxied) else { continue };
            let (id, error) = match command {
                ProxiedCommand::Subscribe { id, .. } => (*id, ProxyFailure::Unknown.of_decision()),
                ProxiedCommand::Publish { id, .. } | ProxiedCommand::Rpc { id } => {
                    (*id, ProxyFailure::Unknown.of_effect())
                }
                _ => continue,
            };
            self.refuse_command(id, Refused::Backend(error.into()), actions);
        }
        self.close(disconnect, actions);
    }
}
