//! STOMP 1.0, 1.1 and 1.2: a client's bytes in, [`StompFrame`]s out; a server's frames as bytes back. `docs/protocols/stomp.md` §1.
//!
//! The journey: a transport's bytes, cut anywhere → [`StompDecoder`] → the gateway's `session/stomp` → [`encode::frame`] → the
//! outbox. Nothing here knows what a destination is.
//!
//! - [`decoder`]: bytes to frames, every limit checked before anything is kept.
//! - [`frame`], [`headers`]: what comes out.
//! - [`escape`]: what each version writes in place of `:`, LF, CR and `\`.
//! - [`encode`]: frames to bytes.
//! - [`version`], [`heart_beat`]: what client and server agree on.
//! - [`error`]: what a client can do wrong.

pub mod command;
pub mod decoder;
pub mod encode;
pub mod error;
pub mod escape;
pub mod frame;
pub mod headers;
pub mod heart_beat;
pub mod version;

#[cfg(test)]
mod tests;

pub use self::{
    command::StompCommand,
    decoder::{StompDecoder, StompLimits},
    encode::{ServerCommand, StompFrameWriter},
    error::StompDecodeError,
    frame::StompFrame,
    headers::Headers,
    heart_beat::{AgreedHeartBeat, BadHeartBeat, HeartBeat},
    version::Version,
};
