//! STOMP 1.0, 1.1 and 1.2: a client's bytes in, [`StompFrame`]s out; a server's frames as bytes. `docs/protocols/stomp.md` §1.
//!
//! The journey: a transport's bytes, cut anywhere → [`StompDecoder`] → the gateway's `session/stomp` → [`encode::frame`] →
//! the outbox. Nothing here knows what a destination is.
//!
//! - [`decoder`]: bytes to frames, every limit checked before anything is kept.
//! - [`headers`]: what comes out.
//! - [`encode`]: frames to bytes.
//! - [`command::Version`], [`headers::HeartBeat`]: what client and server agree on.

pub mod command;
pub mod decoder;
pub mod encode;
pub mod headers;

#[cfg(test)]
mod tests;

pub use self::{
    command::{StompCommand, StompDecodeError, Version},
    decoder::{StompDecoder, StompLimits},
    encode::{ServerCommand, StompFrameWriter},
    headers::{AgreedHeartBeat, BadHeartBeat, Headers, HeartBeat, StompFrame},
};
