//! The WebSocket protocol, strict and without IO: handshake, frames, messages, permessage-deflate.
//!
//! It stands between the socket and the session. [`Offer`] judges the client's request and writes the 101;
//! [`WebSocketDecoder`] turns the bytes that follow into [`WebSocketEvent`]s; [`encode`] and [`Deflater`] make the frames sent.
//! RFC 6455 and RFC 7692; our rules are `docs/protocols/websocket.md`.
//!
//! ```
//! use gorani_protocol::websocket::{Input, WebSocketDecoder, WebSocketEvent};
//!
//! let mut decoder = WebSocketDecoder::new(64 * 1024, false, false);
//! let mut bytes = *b"\x81\x82\x00\x00\x00\x00hi";
//! let mut input = Input::new(&mut bytes);
//! while let Some(event) = decoder.next(&mut input)? {
//!     assert_eq!(event, WebSocketEvent::Text("hi"));
//! }
//! # Ok::<(), gorani_protocol::websocket::ProtocolError>(())
//! ```
#![deny(clippy::indexing_slicing)]

pub mod decoder;
pub mod deflate;
pub mod encode;
pub mod error;
pub mod event;
pub mod extension;
pub mod frame;
pub mod handshake;
pub mod inflate;
pub mod input;

mod message;
mod partial;

#[cfg(test)]
mod tests;

pub use decoder::WebSocketDecoder;
pub use deflate::{DeflateParams, Deflater};
pub use error::ProtocolError;
pub use event::{CloseFrame, WebSocketEvent, WebSocketMessageKind};
pub use frame::Opcode;
pub use handshake::{HandshakeRefusal, Offer, SubprotocolPolicy, accept_key};
pub use inflate::Inflater;
pub use input::Input;
