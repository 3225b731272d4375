//! Batches of messages that clients send: in requests (`xhr_send`, `jsonp_send`), or over one WebSocket. `docs/protocols/sockjs.md`
//! §4.1, §5.1, §5.5 and §5.9.

use std::{borrow::Cow, collections::VecDeque};

use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
    web,
};
use gorani_protocol::sockjs::{BatchError, BatchLimits, Transport, batch};

use super::request::{NO_SUCH_SESSION, SockJsRequest, refuse};
use crate::{
    disconnect::Disconnect,
    forward::routing::SendOutcome,
    http::body,
    http_session::registry::{Busy, DeliveryError, InboundMessages, SessionOwner, SessionRequest},
    session::{Actions, Incoming, Now, Outcome, Session, Signal, Ticket, session_methods},
};

/// WebSocket: a kind of message that is not accepted.
const NOT_ACCEPTABLE: u16 = 1003;
/// WebSocket: the message is too large.
const TOO_BIG: u16 = 1009;
/// Messages of a batch that are handed on before the transport looks at the clock.
const MESSAGES_PER_STEP: usize = 16;

/// Answers a request that brings messages, once the session has taken them.
pub(super) async fn send(
    asked: &SockJsRequest<'_>,
    session: &str,
    transport: Transport,
    payload: web::Payload,
) -> HttpResponse {
    let body =
        match body::read(asked.context.request.headers(), payload, asked.endpoint.batch_max_bytes).await {
            Ok(body) => body,
            Err(error) => return asked.message(error.status(), error.to_string()),
        };
    // Any type is legal: what is not a form is taken as it is.
    let batch = match transport {
        Transport::JsonpSend => batch::payload(asked.context.header(header::CONTENT_TYPE.as_str()), &body),
        _ => Cow::Borrowed(body.as_ref()),
    };
    let messages = match batch::decode(&batch, asked.endpoint.batch_limits()) {
        Ok(messages) => messages.into_iter().map(Cow::into_owned),
        Err(error @ (BatchError::Empty | BatchError::Broken)) => {
            return asked.message(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
        }
        Err(error @ (BatchError::TooMany | BatchError::TooLarge)) => {
            return asked.message(StatusCode::PAYLOAD_TOO_LARGE, error.to_string());
        }
    };
    let (messages, taken) = InboundMessages::new(messages);
    let key = asked.endpoint.key(session);
    let owner = asked.context.local.registry.owner("", &key);
    if matches!(owner, SessionOwner::Ended(_)) {
        return asked.message(StatusCode::NOT_FOUND, NO_SUCH_SESSION);
    }
    let SessionOwner::Here = owner else {
        return match asked.forwarder.deliver(&key, asked.context.request, &body).await {
            SendOutcome::Answered(response) => {
                asked.count_if_wrong(&response);
                response
            }
            SendOutcome::Unknown => asked.no_such_session(),
            SendOutcome::Unavailable => asked.unreachable(),
        };
    };
    if let Err(refused) = asked.check_owner(&key) {
        return refuse(&asked.context.local.node, &refused);
    }
    if let Err(DeliveryError::Busy) =
        asked.context.local.registry.deliver(&key, SessionRequest::Send(messages))
    {
        return asked.message(StatusCode::SERVICE_UNAVAILABLE, Busy.to_string());
    }
    match taken.await {
        Ok(Ok(())) if transport == Transport::JsonpSend => asked.message(StatusCode::OK, "ok"),
        Ok(Ok(())) => asked.session_answer(StatusCode::NO_CONTENT, transport.content_type()).finish(),
        Ok(Err(Busy)) => asked.message(StatusCode::SERVICE_UNAVAILABLE, Busy.to_string()),
        Err(_) => asked.message(StatusCode::NOT_FOUND, NO_SUCH_SESSION),
    }
}

/// A session over one WebSocket that gets its messages in batches, which are taken apart for the session inside. Its output is
/// framed by the hub's encoder.
pub struct FramedSession {
    session: Box<dyn Session>,
    limits: BatchLimits,
    /// Messages of a batch that the session could not take yet: until it has, nothing more is read.
    waiting: VecDeque<String>,
    /// Their bytes.
    waiting_bytes: usize,
    /// Messages that may still be handed on in this step.
    left: usize,
}

impl FramedSession {
    /// The session inside.
    pub fn new(session: Box<dyn Session>, limits: BatchLimits) -> Self {
        Self { session, limits, waiting: VecDeque::new(), waiting_bytes: 0, left: 0 }
    }

    /// Hands on what waits, as far as the session can take it in this step.
    fn hand_on(&mut self, now: Now, actions: &mut Actions) {
        while self.left > 0
            && !self.session.is_blocked()
            && !self.session.has_more()
            && !actions.is_closing()
            && let Some(message) = self.waiting.pop_front()
        {
            self.left -= 1;
            self.waiting_bytes -= size_of_message(&message);
            self.session.message(Incoming::Text(&message), now, actions);
        }
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
    }
}

/// Bytes that a message holds while it waits, near enough.
fn size_of_message(message: &str) -> usize {
    message.len() + size_of::<String>()
}

impl Session for FramedSession {
    session_methods!(to session: opened pong poll_outside deadline has_connected principal has_left failed closed);

    fn message(&mut self, message: Incoming<'_>, now: Now, actions: &mut Actions) {
        let Incoming::Text(text) = message else {
            return actions.close(Disconnect::new(NOT_ACCEPTABLE, "binary is not accepted here"));
        };
        match batch::decode(text.as_bytes(), self.limits) {
            Ok(messages) => {
                self.left = MESSAGES_PER_STEP;
                self.waiting.extend(messages.into_iter().map(Cow::into_owned));
                self.waiting_bytes = self.waiting.iter().map(|message| size_of_message(message)).sum();
                self.hand_on(now, actions);
            }
            Err(BatchError::Empty) => {}
            Err(BatchError::Broken) => {
                // Without a close message: nothing may follow what is broken.
                actions.close(Disconnect::ABNORMAL);
            }
            Err(error @ (BatchError::TooMany | BatchError::TooLarge)) => {
                actions.close(Disconnect::new(TOO_BIG, error.to_string()));
            }
        }
    }

    fn signal(&mut self, signal: Signal, now: Now, actions: &mut Actions) {
        self.session.signal(signal, now, actions);
        self.hand_on(now, actions);
    }

    fn outcome(&mut self, ticket: Ticket, outcome: Outcome, now: Now, actions: &mut Actions) {
        self.session.outcome(ticket, outcome, now, actions);
        self.hand_on(now, actions);
    }

    fn is_blocked(&self) -> bool {
        !self.waiting.is_empty() || self.session.is_blocked()
    }

    fn has_more(&self) -> bool {
        self.session.has_more() || (self.left == 0 && !self.waiting.is_empty() && !self.session.is_blocked())
    }

    fn resume(&mut self, now: Now, actions: &mut Actions) {
        if self.session.has_more() {
            self.session.resume(now, actions);
        }
        self.left = MESSAGES_PER_STEP;
        self.hand_on(now, actions);
    }

    fn input_bytes(&self) -> usize {
        self.waiting_bytes + self.session.input_bytes()
    }

    fn ending(&mut self) {
        self.waiting = VecDeque::new();
        self.waiting_bytes = 0;
        self.session.ending();
    }
}
