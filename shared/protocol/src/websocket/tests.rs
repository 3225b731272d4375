//! The rules of `docs/protocols/websocket.md` §1 to §13 that concern the codec: `line_7_…` shows one of its section 7.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod client;
mod close;
mod compression;
mod control;
mod fragments;
mod frames;
mod handshake;
mod limits;
mod negotiation;
mod splits;
mod text;
