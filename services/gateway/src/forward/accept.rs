//! Accepts forwarded requests at the owner of a session: only with a proven signature, for this node and for the first
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
    Forwarded, Forwarder, REFUSED, WRONG_PROOF,
    signature::{ForwardSignature, SIGNATURE_HEADER, SignatureError, SignedFields},
    target,
};
use crate::http::body;

/// Why a forwarded request does not pass.
#[derive(Debug, thiserror::Error)]
enum AcceptError {
    #[error("its body cannot be read")]
    Body,
    #[error(transparent)]
    Seal(#[from] SignatureError),
    #[error("it is for another node")]
    Misdirected,
    #[error("it was here before")]
    Replayed,
}

impl AcceptError {
    /// The word that the other node gets.
    fn word(&self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Seal(SignatureError::Malformed) => "malformed",
            Self::Seal(SignatureError::Forged) => WRONG_PROOF,
            Self::Misdirected => "node",
            Self::Replayed => "replayed",
        }
    }
}

/// The middleware.
///
/// # Errors
/// Those of the service behind it.
pub async fn accept(
    forwarder: web::Data<Forwarder>,
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    if !request.headers().contains_key(SIGNATURE_HEADER) {
        return next.call(request).await.map(ServiceResponse::map_into_boxed_body);
    }
    let metrics = &forwarder.node.metrics.forward;
    match accept_forwarded(&forwarder, &mut request).await {
        Ok(()) => metrics.count_received("accepted"),
        Err(refusal) => {
            metrics.count_received("refused");
            tracing::debug!(%refusal, peer = ?request.peer_addr(), "forwarded request refused");
            let mut response = HttpResponse::build(StatusCode::FORBIDDEN);
            response.insert_header((REFUSED, refusal.word()));
            return Ok(request.into_response(response.finish()));
        }
    }
    next.call(request).await.map(ServiceResponse::map_into_boxed_body)
}

/// Looks at the signature. The request goes on as if its client had come here itself.
async fn accept_forwarded(forwarder: &Forwarder, request: &mut ServiceRequest) -> Result<(), AcceptError> {
    let node = &forwarder.node;
    let mut signatures = request.headers().get_all(SIGNATURE_HEADER);
    let (Some(signature), None) = (signatures.next().cloned(), signatures.next()) else {
        return Err(SignatureError::Malformed.into());
    };
    let signature = signature.to_str().map_err(|_| SignatureError::Malformed)?;
    let payload = request.extract::<web::Payload>().await.map_err(|_| AcceptError::Body)?;
    let body = body::read(request.headers(), payload, forwarder.body_max_bytes())
        .await
        .map_err(|_| AcceptError::Body)?;
    let signed =
        SignedFields { method: request.method().as_str(), target: target(request.request()), body: &body };
    let opened = match ForwardSignature::open(signature, &node.secrets.known(), &signed) {
        Err(SignatureError::Forged) => {
            // The others may have agreed on another secret.
            node.secrets.renew().await;
            ForwardSignature::open(signature, &node.secrets.known(), &signed)?
        }
        opened => opened?,
    };
    if *opened.to != *node.id {
        return Err(AcceptError::Misdirected);
    }
    if !forwarder.shared.windows.take(&opened.from, opened.number) {
        return Err(AcceptError::Replayed);
    }
    let (_, mut payload) = h1::Payload::create(true);
    payload.unread_data(body);
    request.set_payload(payload.into());
    request.head_mut().peer_addr = opened.client;
    request.extensions_mut().insert(Forwarded { from: opened.from });
    Ok(())
}
