//! `POST /emulation`: commands for a session whose responses go one way. It may land on any node, which takes it to the session's
//! ([`crate::transport::forward`]). `specs/http-transports.md`, item 8.

use std::borrow::Cow;

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use bytes::Bytes;
use serde::Deserialize;

use super::{door::Door, refusal::Refusal};
use crate::{
    disconnect::ErrorCode,
    node::admission::attempts::Attempt,
    transport::{
        forward::{Lost, is_forwarded},
        held::{
            directory::{NotBrought, Owner},
            opening::Local,
            visit::{Arrival, Busy, Visit},
        },
    },
};

/// How many bytes one of the data may take in the body: `"` is two, a control character six.
const ESCAPED_BYTES: usize = 6;
/// Bytes of a body besides the data.
const ENVELOPE_BYTES: usize = 1024;

/// Commands, and the session that they are for.
#[derive(Deserialize)]
struct Emulated<'a> {
    #[serde(borrow, default)]
    session: Cow<'a, str>,
    #[serde(borrow, default)]
    node: Cow<'a, str>,
    /// Commands, joined by newlines.
    #[serde(default)]
    data: String,
}

/// Answers 204 once the session has taken the commands.
pub async fn emulation(request: HttpRequest, payload: web::Payload, local: web::Data<Local>) -> HttpResponse {
    let door = match Door::of(&request, &local) {
        Ok(door) => door,
        Err(refusal) => return refusal.response(),
    };
    let most = local.node.settings.client.message_max_bytes.saturating_mul(ESCAPED_BYTES) + ENVELOPE_BYTES;
    let answered = match door.body(payload, most).await {
        Ok(body) => hand_over(&door, &request, &body).await,
        Err(refusal) => Err(refusal),
    };
    answered.unwrap_or_else(|refusal| door.refuse(&refusal))
}

async fn hand_over(door: &Door, request: &HttpRequest, body: &Bytes) -> Result<HttpResponse, Refusal> {
    let local = &door.local;
    let emulated: Emulated<'_> = serde_json::from_slice(body)
        .map_err(|_| Refusal::bad_request("the body must be an object with session, node and data"))?;
    if emulated.session.is_empty() || emulated.data.is_empty() {
        return Err(Refusal::bad_request("session and data must be there"));
    }
    if emulated.data.len() > local.node.settings.client.message_max_bytes {
        return Err(Refusal::new(ErrorCode::LIMIT_EXCEEDED, "the commands are too large"));
    }
    match local.directory.owner(&emulated.node, &emulated.session) {
        Owner::Here => {
            let (arrival, taken) = Arrival::new([emulated.data]);
            match local.directory.bring(&emulated.session, Visit::Deliver(arrival)) {
                Ok(()) => {}
                Err(NotBrought::Busy) => return Err(ErrorCode::TOO_MANY_REQUESTS.into()),
                Err(NotBrought::Over) => return Err(over()),
            }
            match taken.await {
                Ok(Ok(())) => Ok(door.response(StatusCode::NO_CONTENT).finish()),
                Ok(Err(Busy)) => Err(ErrorCode::TOO_MANY_REQUESTS.into()),
                Err(_) => Err(over()),
            }
        }
        Owner::Elsewhere(node) => match local.forwarding.relay(&node, request, body).await {
            Ok(response) if response.status() == StatusCode::NOT_FOUND => Err(unknown(door, request)),
            Ok(response) => Ok(response),
            Err(Lost::Busy) => Err(ErrorCode::TOO_MANY_REQUESTS.into()),
            Err(Lost::Unreachable | Lost::Elsewhere) => Err(unknown(door, request)),
        },
        Owner::Ended(_) => Err(over()),
        Owner::Nobody => Err(unknown(door, request)),
    }
}

fn over() -> Refusal {
    Refusal::new(ErrorCode::NOT_AVAILABLE, "no such session, or it is over")
        .with_status(StatusCode::NOT_FOUND)
}

/// Nobody has the session: its client is late, or somebody guesses. It is counted where the client's request has arrived;
/// who names too many is told so. A right id of 128 random bits is nobody's guess, and is never refused.
fn unknown(door: &Door, request: &HttpRequest) -> Refusal {
    let node = &door.local.node;
    if is_forwarded(request) || node.failed_attempt(Attempt::OwnSessionId, node.network_of(door.peer)) {
        return over();
    }
    Refusal::new(ErrorCode::TOO_MANY_REQUESTS, "too many requests for sessions that do not exist")
}
