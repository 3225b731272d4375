//! Requests that bring messages: `xhr_send` and `jsonp_send`. They are answered once the session has taken what they
//! bring. `specs/sockjs.md` items 12, 24, 28.

use std::borrow::Cow;

use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
    web,
};
use gorani_protocol::sockjs::{BatchError, Transport, batch, form};

use super::{
    Door,
    door::{self, NO_SUCH_SESSION},
};
use crate::transport::{
    body,
    forward::owners::Delivery,
    held::{
        directory::{NotBrought, Owner},
        visit::{Arrival, Busy, Visit},
    },
};

/// Answers a request that brings messages.
pub(super) async fn send(
    door: &Door<'_>,
    session: &str,
    transport: Transport,
    payload: web::Payload,
) -> HttpResponse {
    let body = match body::read(payload, door.endpoint.batch_max_bytes).await {
        Ok(body) => body,
        Err(error) => return door.sentence(error.status(), error.to_string()),
    };
    // Any type is legal: what is not a form is taken as it is.
    let batch = match transport {
        Transport::JsonpSend => form::payload(door.header(header::CONTENT_TYPE.as_str()), &body),
        _ => Cow::Borrowed(body.as_ref()),
    };
    let messages = match batch::decode(&batch, door.endpoint.batch_limits()) {
        Ok(messages) => messages.into_iter().map(Cow::into_owned),
        Err(error @ (BatchError::Empty | BatchError::Broken)) => {
            return door.sentence(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
        }
        Err(error @ (BatchError::TooMany | BatchError::TooLarge)) => {
            return door.sentence(StatusCode::PAYLOAD_TOO_LARGE, error.to_string());
        }
    };
    let (arrival, taken) = Arrival::new(messages);
    let key = door.endpoint.key(session);
    let owner = door.local.directory.owner("", &key);
    if matches!(owner, Owner::Ended(_)) {
        return door.sentence(StatusCode::NOT_FOUND, NO_SUCH_SESSION);
    }
    let Owner::Here = owner else {
        return match door.local.forwarding.deliver(&key, door.request, &body).await {
            Delivery::Answered(response) => {
                door.count_if_wrong(&response);
                response
            }
            Delivery::Unknown => door.no_such_session(),
            Delivery::Unavailable => door.unreachable(),
        };
    };
    if let Err(refused) = door.check_owner(&key) {
        return door::refuse(&door.local.node, &refused);
    }
    if let Err(NotBrought::Busy) = door.local.directory.bring(&key, Visit::Deliver(arrival)) {
        return door.sentence(StatusCode::SERVICE_UNAVAILABLE, Busy.to_string());
    }
    match taken.await {
        Ok(Ok(())) if transport == Transport::JsonpSend => door.sentence(StatusCode::OK, "ok"),
        Ok(Ok(())) => door.session_answer(StatusCode::NO_CONTENT, transport.content_type()).finish(),
        Ok(Err(Busy)) => door.sentence(StatusCode::SERVICE_UNAVAILABLE, Busy.to_string()),
        Err(_) => door.sentence(StatusCode::NOT_FOUND, NO_SUCH_SESSION),
    }
}
