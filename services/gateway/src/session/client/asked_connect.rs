//! A connect without a token, about which the backend is asked. `docs/protocols/proxy.md`.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use gorani_protocol::client::{Connect, Recover};

use super::{
    ClientSession,
    state::{AdmittedClient, ClientState, ProxiedCommand, ReturningSubs},
};
use crate::{
    disconnect::{Disconnect, ErrorCode, Refused},
    proxy_call::{ConnectGrant, ProxyId, ProxyOutcome, ProxyPayload, ProxyRequest, ProxyResult},
    session::{
        Actions, Now,
        shared::{
            deadlines::has_expired, policy::ClientIdentity, proxied::decided, recovery::RequestedFeatures,
        },
    },
};

impl ClientSession {
    /// Keeps the headers of a connect for the backend, and asks it where it decides. True if the connect goes no further now.
    pub(super) fn asks_about_connect(
        &mut self,
        id: u32,
        connect: &Connect<'_>,
        actions: &mut Actions,
    ) -> bool {
        let Some(calls) = &mut self.calls else { return false };
        let headers = connect.headers.iter().map(|(name, value)| (&**name, &**value));
        if let Err(disconnect) = calls.session.emulate(&self.policy, headers) {
            self.close(disconnect, actions);
            return true;
        }
        let Some(proxy) = self.policy.connect_proxy(&connect.token) else { return false };
        let request = ProxyRequest::Connect {
            data: connect.data.as_ref().map(ProxyPayload::of),
            name: connect.name.to_string(),
            version: connect.version.to_string(),
            channels: connect.subs.keys().map(ToString::to_string).collect(),
        };
        let returning = connect.subs.iter().map(|(channel, recover)| {
            let epoch = Cow::Owned(recover.epoch.to_string());
            (Cow::Owned(channel.to_string()), Recover { epoch, ..*recover })
        });
        let returning: ReturningSubs = returning.collect();
        self.ask_about_connect(proxy, request, ProxiedCommand::Connect { id, returning }, actions);
        true
    }

    /// Asks the backend about a connect. All that comes meanwhile waits.
    pub(super) fn ask_about_connect(
        &mut self,
        proxy: ProxyId,
        request: ProxyRequest,
        command: ProxiedCommand,
        actions: &mut Actions,
    ) {
        // The hub gets the identity when the backend has said who it is.
        self.identity = ClientIdentity::unknown(self.policy.new_client_id());
        if let Some(calls) = &mut self.calls {
            calls.session.identify(&self.identity);
        }
        self.state = ClientState::Asked;
        self.ask(proxy, request, command, actions);
    }

    /// The backend has answered to the connect of a client.
    pub(super) fn on_connect_answer(
        &mut self,
        id: u32,
        returning: &ReturningSubs,
        outcome: ProxyOutcome,
        now: Now,
        actions: &mut Actions,
    ) {
        self.state = ClientState::New;
        let admitted = self.admit_by_backend(outcome, now);
        self.begin_client(id, admitted, returning, now, actions);
    }

    /// Admits a client as the backend says.
    pub(super) fn admit_by_backend(
        &mut self,
        outcome: ProxyOutcome,
        now: Now,
    ) -> Result<AdmittedClient, Refused> {
        let client = match &self.calls {
            Some(calls) if !calls.session.caller().client.is_empty() => calls.session.caller().client.clone(),
            _ => self.policy.new_client_id(),
        };
        let grant = match decided(outcome)? {
            ProxyResult::Connect(Some(grant)) => *grant,
            ProxyResult::Connect(None) => {
                self.policy.admit_without_credentials()?;
                ConnectGrant::default()
            }
            _ => return Err(ErrorCode::INTERNAL.into()),
        };
        let expires_at = (grant.expire_at > 0).then_some(grant.expire_at);
        if has_expired(expires_at, now) {
            return Err(ErrorCode::EXPIRED.into());
        }
        self.identity = ClientIdentity::of_grant(&grant, client);
        let mut subscriptions = self.personal_subscriptions(&grant.user)?;
        for (channel, granted) in grant.subscriptions() {
            if subscriptions.iter().any(|known| *known.channel == *channel) {
                continue;
            }
            if subscriptions.len() >= self.policy.settings.max_subscriptions {
                return Err(Refused::Disconnect(Disconnect::CHANNEL_LIMIT));
            }
            let mut subscription =
                self.subscription_of_server(channel, &granted, RequestedFeatures::BY_SERVER, now)?;
            subscription.channel = Arc::from(channel);
            subscriptions.push(subscription);
        }
        let data = grant.data.map_or(Bytes::new(), |data| self.reply_data(data));
        Ok(AdmittedClient { subscriptions, expires_at, data, meta: grant.meta })
    }
}
