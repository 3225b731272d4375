//! `/app`: SEND and SUBSCRIBE that the backend answers, and its replies. `docs/protocols/stomp.md` §14.

use bytes::{Bytes, BytesMut};
use gorani_broker::{DataKind, Publication};
use gorani_protocol::stomp::{Headers, StompFrame};
use serde::Serialize;

use super::{
    StompSession,
    calls::AskedFor,
    destination,
    failure::Failure,
    rpc_call::{RpcCall, RpcReply},
    send::kind_of,
    state::StompSubscription,
};
use crate::{
    disconnect::{ErrorCode, ProxyError, Refused},
    format::message_headers::{self, CONTENT_TYPE, DeliveryHeaders},
    proxy_call::{ProxyOutcome, ProxyPayload, ProxyRequest, ProxyResult},
    session::{Actions, Ticket, shared::proxied::carried_out},
};

/// Errors of calls go to subscriptions of this destination.
const ERRORS: &str = "/user/queue/errors";

/// Names of headers of STOMP's frames begin with this in the settings of proxies.
const HEADER_PREFIX: &str = "stomp-";

/// The header that a client finds its call by.
const CORRELATION_ID: &str = "correlation-id";

/// An error, as the body of a MESSAGE.
#[derive(Serialize)]
struct ErrorBody<'a> {
    code: u32,
    message: &'a str,
    temporary: bool,
    destination: &'a str,
}

impl StompSession {
    /// Checks a call of `/app`.
    pub(super) fn rpc_call(
        &self,
        frame: &StompFrame,
        destination: &str,
        method: &str,
        subscription: Option<&str>,
    ) -> Result<Box<RpcCall>, Failure> {
        let proxy = self.policy.proxies.rpc(method).map_err(|error| self.no_rpc(error, method))?;
        let headers = &frame.headers;
        let text = |name| headers.get(name).map(Into::into);
        let data = (!frame.body.is_empty()).then(|| ProxyPayload {
            kind: kind_of(headers.get(CONTENT_TYPE), &frame.body),
            data: frame.body.clone(),
        });
        Ok(Box::new(RpcCall {
            proxy,
            method: method.to_owned(),
            data,
            headers: self.forwarded(headers),
            reply: RpcReply {
                destination: destination.into(),
                subscription: subscription.map(Into::into),
                correlation_id: text(CORRELATION_ID),
                receipt: text("receipt"),
            },
        }))
    }

    /// The failure for a method that no proxy answers. It names the setting.
    fn no_rpc(&self, error: ErrorCode, method: &str) -> Failure {
        let reason = match method.split_once(':') {
            Some((namespace, _)) => {
                format!("set proxy_enabled for the namespace {namespace:?} in rpc.namespaces")
            }
            None => "set rpc.without_namespace.proxy_enabled, and rpc.proxy.endpoint".to_owned(),
        };
        Failure::not_served(error).because(reason)
    }

    /// The headers of a frame that some proxy forwards.
    fn forwarded(&self, headers: &Headers) -> Vec<(Box<str>, Box<str>)> {
        let listed = self.policy.proxies.emulated_headers.iter();
        let of_frames = listed.filter_map(|listed| Some((listed, listed.strip_prefix(HEADER_PREFIX)?)));
        of_frames
            .filter_map(|(listed, name)| {
                let (_, value) = headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
                // It would break the request apart.
                let is_broken = value.bytes().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
                (!is_broken).then(|| (listed.clone(), value.into()))
            })
            .collect()
    }

    /// Asks the backend once the calls before it are answered.
    pub(super) fn call_rpc(&mut self, ticket: Ticket, call: Box<RpcCall>, actions: &mut Actions) {
        if let Some(calls) = &mut self.calls {
            calls.hold_rpc(ticket, call);
        }
        self.run_rpcs(actions);
    }

    fn run_rpcs(&mut self, actions: &mut Actions) {
        let Some(calls) = &mut self.calls else { return };
        while let Some((ticket, call)) = calls.next_rpc(self.policy.proxies.rpc.concurrency.get()) {
            let RpcCall { proxy, method, data, headers, reply } = *call;
            let request = ProxyRequest::Rpc { method, data, headers };
            actions.push(calls.ask((ticket, AskedFor::Rpc(reply)), proxy, request));
        }
    }

    /// The backend has answered a call of `/app`, or has not. An error goes to the client's queue of errors: the session goes on.
    pub(super) fn replied(
        &mut self,
        ticket: Ticket,
        reply: &RpcReply,
        outcome: ProxyOutcome,
        actions: &mut Actions,
    ) -> Result<(), Failure> {
        self.run_rpcs(actions);
        match carried_out(outcome) {
            Ok(ProxyResult::Rpc(Some(payload))) => self.write_reply(reply, payload, actions),
            Ok(_) => {}
            Err(Refused::Disconnect(disconnect)) => return Err(Failure::of_disconnect(disconnect)),
            Err(Refused::Backend(error)) => {
                self.receipts.failed(ticket);
                self.write_error(reply, &error, actions);
            }
            Err(Refused::Error(error)) => {
                self.receipts.failed(ticket);
                self.write_error(reply, &error.into(), actions);
            }
        }
        Ok(())
    }

    fn write_reply(&mut self, reply: &RpcReply, payload: ProxyPayload, actions: &mut Actions) {
        if payload.data.is_empty() {
            return;
        }
        let publication = Publication { data: payload.data, kind: payload.kind, ..Publication::default() };
        match &reply.subscription {
            Some(name) => {
                let is_it = |known: &StompSubscription| known.name() == &**name && known.is_replies();
                self.write_to(is_it, &publication, reply, &[], actions);
            }
            None => {
                let queue = destination::reply_queue(&reply.destination);
                let is_it = |known: &StompSubscription| *known.shown.destination == *queue;
                self.write_to(is_it, &publication, reply, &[], actions);
            }
        }
    }

    fn write_error(&mut self, reply: &RpcReply, error: &ProxyError, actions: &mut Actions) {
        let ProxyError { code, ref message, temporary } = *error;
        let body = ErrorBody { code, message, temporary, destination: &reply.destination };
        let data = serde_json::to_vec(&body).map(Bytes::from).unwrap_or_default();
        let publication = Publication { data, kind: DataKind::Json, ..Publication::default() };
        let code = code.to_string();
        let headers = [("error-code", &*code), ("message", &**message)];
        let is_it = |known: &StompSubscription| *known.shown.destination == *ERRORS;
        self.write_to(is_it, &publication, reply, &headers, actions);
    }

    /// Writes a message to these subscriptions of this session alone. Without one it is dropped, and counted.
    fn write_to(
        &mut self,
        is_it: impl Fn(&StompSubscription) -> bool,
        publication: &Publication,
        reply: &RpcReply,
        headers: &[(&str, &str)],
        actions: &mut Actions,
    ) {
        let style = self.style();
        let mut server_headers = headers.to_vec();
        server_headers.extend(reply.correlation_id.as_deref().map(|id| (CORRELATION_ID, id)));
        server_headers.extend(reply.receipt.as_deref().map(|receipt| ("receipt-id", receipt)));
        let delivery = DeliveryHeaders { more: &server_headers, ..DeliveryHeaders::default() };
        let mut is_written = false;
        for subscription in self.subscriptions.iter().filter(|known| is_it(known)) {
            self.serial += 1;
            let message_id = format!("r-{}", self.serial);
            self.budget.count(publication.data.len());
            actions.message(message_headers::message_kind(publication, style), |out: &mut BytesMut| {
                subscription.shown.write_delivery(style, publication, &message_id, delivery, out);
            });
            is_written = true;
        }
        if !is_written {
            self.policy.proxy_counts.undelivered.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            tracing::debug!(
                destination = &*reply.destination,
                "reply of the backend dropped: the client has no subscription for it"
            );
        }
    }
}
