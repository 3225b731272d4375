//! The gate of the owner: requests that other nodes forward pass it only with a proven seal, for this node and for the first
//! time. Put around every route that is forwarded to; requests of clients pass untouched.

use actix_http::h1;
use actix_web::{
    Error, HttpMessage, HttpResponse,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::StatusCode,
    middleware::Next,
    web,
};

use super::{
    Forwarded, Forwarding, REFUSED, WRONG_PROOF,
    seal::{SEAL, Seal, SealError, Sealed},
    target,
};
use crate::transport::{body, held::opening::Local};

/// Bytes of a forwarded body besides what a message may have, at most.
const ENVELOPE_BYTES: usize = 64 * 1024;
/// How many bytes one of a message may take in a body.
const ESCAPED_BYTES: usize = 6;

/// Why a forwarded request does not pass.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("its body cannot be read")]
    Body,
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error("it is for another node")]
    Misdirected,
    #[error("it was here before")]
    Replayed,
}

impl Refusal {
    /// What the other node is told.
    fn word(&self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Seal(SealError::Malformed) => "malformed",
            Self::Seal(SealError::Forged) => WRONG_PROOF,
            Self::Misdirected => "node",
            Self::Replayed => "replayed",
        }
    }
}

/// The middleware.
///
/// # Errors
/// Those of the service behind it.
pub async fn gate(
    local: web::Data<Local>,
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    if !request.headers().contains_key(SEAL) {
        return next.call(request).await.map(ServiceResponse::map_into_boxed_body);
    }
    let forwarding = &local.forwarding;
    let metrics = &forwarding.node.metrics.forward;
    match admit(forwarding, &mut request).await {
        Ok(()) => metrics.count_received("accepted"),
        Err(refusal) => {
            metrics.count_received("refused");
            tracing::debug!(%refusal, peer = ?request.peer_addr(), "a forwarded request is refused");
            let mut response = HttpResponse::build(StatusCode::FORBIDDEN);
            response.insert_header((REFUSED, refusal.word()));
            return Ok(request.into_response(response.finish()));
        }
    }
    next.call(request).await.map(ServiceResponse::map_into_boxed_body)
}

/// Looks at the seal. The request goes on as if its client had come here itself.
async fn admit(forwarding: &Forwarding, request: &mut ServiceRequest) -> Result<(), Refusal> {
    let node = &forwarding.node;
    let mut seals = request.headers().get_all(SEAL);
    let (Some(seal), None) = (seals.next().cloned(), seals.next()) else {
        return Err(SealError::Malformed.into());
    };
    let seal = seal.to_str().map_err(|_| SealError::Malformed)?;
    let message = node.settings.client.message_max_bytes.saturating_mul(ESCAPED_BYTES);
    let most = message.max(node.settings.sockjs.batch_max_bytes) + ENVELOPE_BYTES;
    let payload = request.extract::<web::Payload>().await.map_err(|_| Refusal::Body)?;
    let body = body::read(payload, most).await.map_err(|_| Refusal::Body)?;
    let sealed = Sealed { method: request.method().as_str(), target: target(request.request()), body: &body };
    let opened = match Seal::open(seal, &node.secrets.known(), &sealed) {
        Err(SealError::Forged) => {
            // The others may have agreed on another secret.
            node.renew_secret().await;
            Seal::open(seal, &node.secrets.known(), &sealed)?
        }
        opened => opened?,
    };
    if *opened.to != *node.id {
        return Err(Refusal::Misdirected);
    }
    if !forwarding.shared.windows.take(&opened.from, opened.number) {
        return Err(Refusal::Replayed);
    }
    let (_, mut payload) = h1::Payload::create(true);
    payload.unread_data(body);
    request.set_payload(payload.into());
    request.head_mut().peer_addr = opened.client;
    request.extensions_mut().insert(Forwarded { from: opened.from });
    Ok(())
}
