//! The decoder of a backend's answers. A backend is trusted, and its answers are still bounded and checked: what is passed on to
//! clients must be JSON that they can read.
//!
//! Backends in PHP write an empty map as `[]`: it stands where an empty object may. [`shape`] has the JSON of each kind.

mod error;
mod shape;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use gorani_broker::DataKind;
use gorani_protocol::client::{JSON_DEPTH, json_compact_check};
use serde::Deserialize;
use serde_json::value::RawValue;

pub use self::error::AnswerError;
use self::{
    error::described,
    shape::{ConnectShape, EndShape, ErrorShape, PublishShape, RefreshShape, SubscribeShape, object},
};
use crate::{
    disconnect::{Disconnect, ProxyError},
    proxy_call::{
        ConnectGrant, ProxyAnswer, ProxyPayload, ProxyResult, PublishGrant, RefreshGrant, SubscribeGrant,
    },
    session::shared::{IDEMPOTENCY_KEY_MAX_BYTES, TAGS_MAX, TAGS_MAX_BYTES},
    settings::ProxyEvent,
};

/// Bytes of a close frame's reason at most.
const REASON_MAX_BYTES: usize = 123;
/// Codes with which a backend may end a connection.
const END_CODES: std::ops::RangeInclusive<u32> = 4000..=4999;

/// An answer, and what of it an operator should know.
#[derive(Debug, Clone, PartialEq)]
pub struct DecodedAnswer {
    /// The answer.
    pub answer: ProxyAnswer,
    /// A part that was not followed.
    pub remark: Option<&'static str>,
}

/// The three answers, of which the first that is there counts.
#[derive(Default, Deserialize)]
#[serde(default)]
struct AnswerShape<'a> {
    #[serde(borrow)]
    disconnect: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

/// Reads the body of a 200.
///
/// # Errors
/// It is no answer.
pub fn decode(event: ProxyEvent, body: &[u8]) -> Result<DecodedAnswer, AnswerError> {
    json_compact_check(body, JSON_DEPTH)?;
    let shape: AnswerShape<'_> = if shape::is_empty_list(body) {
        AnswerShape::default()
    } else {
        serde_json::from_slice(body).map_err(|error| AnswerError::Shape("answer", described(&error)))?
    };
    if let Some(raw) = shape.disconnect {
        return Ok(end(&object("disconnect", raw)?));
    }
    if let Some(raw) = shape.error {
        let ErrorShape { code, message, temporary } = object("error", raw)?;
        if code == 0 {
            return Err(AnswerError::ErrorCode);
        }
        let answer = ProxyAnswer::Error(ProxyError { code, message, temporary });
        return Ok(DecodedAnswer { answer, remark: None });
    }
    let mut remark = None;
    let result = match event {
        ProxyEvent::Connect => {
            let shape: Option<ConnectShape<'_>> = given(shape.result)?;
            if shape.as_ref().is_some_and(|shape| shape.caps.is_some() || shape.labels.is_some()) {
                remark = Some("caps and labels of a connect result are not followed");
            }
            ProxyResult::Connect(shape.map(|shape| connect(shape).map(Box::new)).transpose()?)
        }
        ProxyEvent::Refresh | ProxyEvent::SubRefresh => {
            let shape: Option<RefreshShape<'_>> = given(shape.result)?;
            ProxyResult::Refresh(shape.map(refresh).transpose()?)
        }
        ProxyEvent::Subscribe => {
            let shape: Option<SubscribeShape<'_>> = given(shape.result)?;
            ProxyResult::Subscribe(Box::new(subscribe(shape.unwrap_or_default())?))
        }
        ProxyEvent::Publish => {
            let shape: Option<PublishShape<'_>> = given(shape.result)?;
            ProxyResult::Publish(Box::new(publish(shape.unwrap_or_default())?))
        }
        ProxyEvent::Rpc => {
            let shape: shape::RpcShape<'_> = given(shape.result)?.unwrap_or_default();
            ProxyResult::Rpc(payload(shape.data, &shape.b64data)?)
        }
    };
    Ok(DecodedAnswer { answer: ProxyAnswer::Result(result), remark })
}

fn given<'a, T: Deserialize<'a> + Default>(raw: Option<&'a RawValue>) -> Result<Option<T>, AnswerError> {
    raw.map(|raw| object("result", raw)).transpose()
}

fn end(EndShape { code, reason }: &EndShape) -> DecodedAnswer {
    match u16::try_from(*code) {
        Ok(close) if END_CODES.contains(code) => {
            let disconnect = Disconnect::new(close, cut(reason).to_owned());
            DecodedAnswer { answer: ProxyAnswer::Disconnect(disconnect), remark: None }
        }
        _ => DecodedAnswer {
            answer: ProxyAnswer::Disconnect(Disconnect::INTERNAL),
            remark: Some("disconnect.code is not between 4000 and 4999; the connection is closed with 3004"),
        },
    }
}

/// A reason as long as a close frame carries it.
fn cut(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(REASON_MAX_BYTES)]
}

fn connect(shape: ConnectShape<'_>) -> Result<ConnectGrant, AnswerError> {
    let subs = shape.subs.0.into_iter().map(|(channel, sub)| Ok((channel, subscribe(sub)?)));
    Ok(ConnectGrant {
        user: shape.user,
        expire_at: shape.expire_at,
        info: info(shape.info, &shape.b64info)?,
        data: payload(shape.data, &shape.b64data)?,
        channels: shape.channels,
        subs: subs.collect::<Result<_, AnswerError>>()?,
        meta: raw_bytes(shape.meta),
    })
}

fn refresh(shape: RefreshShape<'_>) -> Result<RefreshGrant, AnswerError> {
    Ok(RefreshGrant {
        expired: shape.expired,
        expire_at: shape.expire_at,
        info: info(shape.info, &shape.b64info)?,
        meta: raw_bytes(shape.meta),
    })
}

fn subscribe(shape: SubscribeShape<'_>) -> Result<SubscribeGrant, AnswerError> {
    Ok(SubscribeGrant {
        expire_at: shape.expire_at,
        info: info(shape.info, &shape.b64info)?,
        data: payload(shape.data, &shape.b64data)?,
        overrides: shape.overrides.0.into(),
    })
}

fn publish(shape: PublishShape<'_>) -> Result<PublishGrant, AnswerError> {
    let tags: Vec<(String, String)> = shape.tags.0.into_iter().collect();
    let tag_bytes: usize = tags.iter().map(|(key, value)| key.len() + value.len()).sum();
    if tags.len() > TAGS_MAX || tag_bytes > TAGS_MAX_BYTES {
        return Err(AnswerError::Tags);
    }
    if shape.idempotency_key.len() > IDEMPOTENCY_KEY_MAX_BYTES {
        return Err(AnswerError::IdempotencyKey);
    }
    // Here alone `data` counts more than `b64data`, as in Centrifugo.
    let data = match shape.data {
        Some(raw) => Some(json(raw)),
        None => payload(None, &shape.b64data)?,
    };
    Ok(PublishGrant {
        data,
        skip_history: shape.skip_history,
        tags,
        idempotency_key: shape.idempotency_key,
        drop: shape.drop,
    })
}

/// A payload: base64 counts more than JSON.
fn payload(data: Option<&RawValue>, b64data: &str) -> Result<Option<ProxyPayload>, AnswerError> {
    if b64data.is_empty() {
        return Ok(data.map(json));
    }
    let bytes = shape::base64(b64data).ok_or(AnswerError::Base64("b64data"))?;
    let is_json = json_compact_check(&bytes, JSON_DEPTH).is_ok();
    let kind = if is_json { DataKind::Json } else { DataKind::Binary };
    Ok(Some(ProxyPayload { data: bytes.into(), kind }))
}

fn json(raw: &RawValue) -> ProxyPayload {
    ProxyPayload { data: Bytes::copy_from_slice(raw.get().as_bytes()), kind: DataKind::Json }
}

/// The info of a client that others see: always JSON.
fn info(info: Option<&RawValue>, b64info: &str) -> Result<Bytes, AnswerError> {
    if b64info.is_empty() {
        return Ok(raw_bytes(info));
    }
    let bytes = shape::base64(b64info).ok_or(AnswerError::Base64("b64info"))?;
    json_compact_check(&bytes, JSON_DEPTH).map_err(|_| AnswerError::Info)?;
    Ok(bytes.into())
}

fn raw_bytes(raw: Option<&RawValue>) -> Bytes {
    raw.map(|raw| Bytes::copy_from_slice(raw.get().as_bytes())).unwrap_or_default()
}
