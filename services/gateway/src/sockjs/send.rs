//! Requests that bring messages: `xhr_send` and `jsonp_send`. They are answered once the session has taken what they
//! bring. `docs/protocols/sockjs.md` §4.1, §5.5 and §5.9.

use std::borrow::Cow;

use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
    web,
};
use gorani_protocol::sockjs::{BatchError, Transport, batch, callback};

use super::request::{NO_SUCH_SESSION, SockJsRequest, refuse};
use crate::{
    forward::routing::SendOutcome,
    http::body,
    http_session::registry::{Busy, DeliveryError, InboundMessages, SessionOwner, SessionRequest},
};

/// Answers a request that brings messages.
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
        Transport::JsonpSend => callback::payload(asked.context.header(header::CONTENT_TYPE.as_str()), &body),
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
