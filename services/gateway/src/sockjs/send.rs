//! Requests that bring messages: `xhr_send` and `jsonp_send`. They are answered once the session has taken what they
//! bring. `docs/protocols/sockjs.md` §4.1, §5.5 and §5.9.

use std::borrow::Cow;

use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
    web,
};
use gorani_protocol::sockjs::{BatchError, Transport, batch, form};

use super::{
    SockJsRequest,
    request::{self, NO_SUCH_SESSION},
};
use crate::{
    forward::routing::SendOutcome,
    http::body,
    http_session::{
        registry::{DeliveryError, SessionOwner},
        request::{Busy, InboundMessages, SessionRequest},
    },
};

/// Answers a request that brings messages.
pub(super) async fn send(
    context: &SockJsRequest<'_>,
    session: &str,
    transport: Transport,
    payload: web::Payload,
) -> HttpResponse {
    let body = match body::read(context.request.headers(), payload, context.endpoint.batch_max_bytes).await {
        Ok(body) => body,
        Err(error) => return context.message(error.status(), error.to_string()),
    };
    // Any type is legal: what is not a form is taken as it is.
    let batch = match transport {
        Transport::JsonpSend => form::payload(context.header(header::CONTENT_TYPE.as_str()), &body),
        _ => Cow::Borrowed(body.as_ref()),
    };
    let messages = match batch::decode(&batch, context.endpoint.batch_limits()) {
        Ok(messages) => messages.into_iter().map(Cow::into_owned),
        Err(error @ (BatchError::Empty | BatchError::Broken)) => {
            return context.message(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
        }
        Err(error @ (BatchError::TooMany | BatchError::TooLarge)) => {
            return context.message(StatusCode::PAYLOAD_TOO_LARGE, error.to_string());
        }
    };
    let (messages, taken) = InboundMessages::new(messages);
    let key = context.endpoint.key(session);
    let owner = context.local.registry.owner("", &key);
    if matches!(owner, SessionOwner::Ended(_)) {
        return context.message(StatusCode::NOT_FOUND, NO_SUCH_SESSION);
    }
    let SessionOwner::Here = owner else {
        return match context.forwarder.deliver(&key, context.request, &body).await {
            SendOutcome::Answered(response) => {
                context.count_if_wrong(&response);
                response
            }
            SendOutcome::Unknown => context.no_such_session(),
            SendOutcome::Unavailable => context.unreachable(),
        };
    };
    if let Err(refused) = context.check_owner(&key) {
        return request::refuse(&context.local.node, &refused);
    }
    if let Err(DeliveryError::Busy) = context.local.registry.deliver(&key, SessionRequest::Send(messages)) {
        return context.message(StatusCode::SERVICE_UNAVAILABLE, Busy.to_string());
    }
    match taken.await {
        Ok(Ok(())) if transport == Transport::JsonpSend => context.message(StatusCode::OK, "ok"),
        Ok(Ok(())) => context.session_answer(StatusCode::NO_CONTENT, transport.content_type()).finish(),
        Ok(Err(Busy)) => context.message(StatusCode::SERVICE_UNAVAILABLE, Busy.to_string()),
        Err(_) => context.message(StatusCode::NOT_FOUND, NO_SUCH_SESSION),
    }
}
