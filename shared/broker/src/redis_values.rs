//! Values that Redis answers, read as what they must be. Another shape is an answer that cannot be read.

use bytes::Bytes;
use redis::Value;

use crate::BrokerError;

/// The error of an answer that cannot be read. The request was carried out.
pub(crate) fn unreadable() -> BrokerError {
    BrokerError::UnknownOutcome("an answer of unknown shape".to_owned())
}

pub(crate) fn values(value: Value) -> Result<Vec<Value>, BrokerError> {
    match value {
        Value::Array(values) => Ok(values),
        _ => Err(unreadable()),
    }
}

pub(crate) fn array<const N: usize>(value: Value) -> Result<[Value; N], BrokerError> {
    values(value)?.try_into().map_err(|_| unreadable())
}

pub(crate) fn bytes(value: Value) -> Result<Bytes, BrokerError> {
    match value {
        Value::BulkString(bytes) => Ok(bytes.into()),
        _ => Err(unreadable()),
    }
}

pub(crate) fn text(value: Value) -> Result<String, BrokerError> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).map_err(|_| unreadable()),
        _ => Err(unreadable()),
    }
}

pub(crate) fn number(value: Value) -> Result<u64, BrokerError> {
    match value {
        Value::Int(number) => u64::try_from(number).map_err(|_| unreadable()),
        _ => Err(unreadable()),
    }
}
