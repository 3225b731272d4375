//! Why a line is no command. Two classes, because the session answers them differently: a disconnect for a client that
//! does not speak the protocol, an error reply for one command. `docs/protocols/client.md` §1.8.

use thiserror::Error;

use crate::client::json::JsonError;

/// Why a line is no command. Never holds an excerpt of it: tokens do not belong into logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Not the protocol: the connection is to be closed (3501).
    #[error("malformed command: {0}")]
    Malformed(#[from] Malformed),
    /// A well-formed command that cannot be carried out: the reply is an error, the connection lives on.
    #[error("command {id} is invalid: {reason}")]
    Invalid {
        /// Id for the reply, never 0.
        id: u32,
        /// What is wrong with it.
        reason: Invalid,
    },
}

/// What is not the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Malformed {
    /// Not UTF-8, nested too deep, or not exactly one JSON value.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// JSON, but not an object, or a field of another type or outside its range.
    #[error("unexpected type or range at column {column}")]
    Shape {
        /// Byte column in the line, from 1, at or shortly after the fault.
        column: usize,
    },
    /// More than one request in one command.
    #[error("more than one request in one command")]
    TwoRequests,
    /// An id, but no request that we know.
    #[error("no known request")]
    NoRequest,
    /// No id, or id 0, on a request that has a reply.
    #[error("no id on a request that needs one")]
    NoId,
}

/// What is wrong with one command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Invalid {
    /// Publish without data (107).
    #[error("publish without data")]
    NoData,
    /// A kind of publish or sub_refresh that we do not have: map channels, tracking (108).
    #[error("kind of request not available")]
    NotAvailable,
}
