//! One call as it comes in: the key is checked, then the body is read up to `api.body_max_bytes`. `docs/protocols/http.md` §4.4.
//!
//! An extractor of its own, since the stock one copies every body and answers errors that are not JSON.

use std::sync::Arc;

use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    web::{Bytes, Data},
};
use futures_util::{FutureExt, future::LocalBoxFuture};

use crate::{
    api::{error::ApiError, error_mode, guard},
    disconnect::ErrorCode,
    http::body::{self, BodyError},
    node::Node,
    settings::{ApiSettings, ErrorMode},
};

/// A call with a valid key.
pub(super) struct ApiCall {
    /// The node that carries it out.
    pub(super) node: Arc<Node>,
    /// The whole body.
    pub(super) body: Bytes,
    /// The place where its errors are told.
    pub(super) error_mode: ErrorMode,
    pub(super) settings: Data<ApiSettings>,
}

/// Checks what is known before the body is read.
fn start(request: &HttpRequest) -> Result<(Arc<Node>, Data<ApiSettings>, ErrorMode), ApiError> {
    let node = request.app_data::<Data<Node>>().ok_or(ErrorCode::INTERNAL)?;
    let settings = request.app_data::<Data<ApiSettings>>().ok_or(ErrorCode::INTERNAL)?;
    guard::check(node, request)?;
    let error_mode = error_mode::of_call(settings.error_mode, request.headers())?;
    Ok((Arc::clone(node), settings.clone(), error_mode))
}

fn unreadable(error: BodyError, limit_bytes: usize) -> ApiError {
    match error {
        BodyError::TooLarge => {
            let sentence = format!("the body is larger than {limit_bytes} bytes (api.body_max_bytes)");
            ApiError::new(error.code(), sentence)
        }
        _ => error.into(),
    }
}

impl FromRequest for ApiCall {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let started = start(request).map(|(node, settings, error_mode)| {
            let body = body::read(request.headers(), payload.take(), settings.body_max_bytes);
            (body, node, settings, error_mode)
        });
        async move {
            let (body, node, settings, error_mode) = started?;
            let body = body.await.map_err(|error| unreadable(error, settings.body_max_bytes))?;
            Ok(Self { node, body, error_mode, settings })
        }
        .boxed_local()
    }
}
