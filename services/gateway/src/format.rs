//! The wire forms of publications: the protocol's words, and the framing of the transport around them.
//!
//! Below the sessions, which write their replies in the same words, and below the hub, which knows an encoding by its number and
//! asks for ready bytes. `docs/architecture.md` §3.4.
//!
//! - [`encoding`]: the protocol and the framing of a session, the format of a subscription; numbers and compressors for them.
//! - [`encoder`]: encodes events once for each distinct encoding.
//! - [`views`]: broker values as the client protocol shows them.
//! - [`position`]: positions as text, for receivers without commands.
//! - [`message_headers`]: MESSAGE frames of STOMP.
//! - `message_frames`: the same for many subscriptions, shared but for their ids.

pub mod encoder;
pub mod encoding;
mod message_frames;
pub mod message_headers;
pub mod position;
pub mod views;
